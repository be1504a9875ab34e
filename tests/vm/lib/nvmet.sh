# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# NVMe over TCP, between two guests or within one; a peer's commands have this file, too: . /stor/tests/vm/lib/stor.sh and replica.sh first

peer_has /stor/tests/vm/lib/{stor,replica,nvmet}.sh
nvmet=/sys/kernel/config/nvmet

# offer NAME DEVICE…: the other guest, or this one if there is no other, can connect to a subsystem of that name, with these as its namespaces 1, 2, …
offer() {
	local name=$1 device space n=0
	modprobe nvmet-tcp
	[[ -d $nvmet ]] || mount -t configfs configfs /sys/kernel/config
	mkdir "$nvmet/subsystems/$name"
	echo 1 >"$nvmet/subsystems/$name/attr_allow_any_host"
	for device in "${@:2}"; do
		space=$nvmet/subsystems/$name/namespaces/$((++n))
		mkdir "$space"
		echo "$device" >"$space/device_path"
		# The same after each boot, or it is taken for another namespace.
		printf '%032x' $n | sed 's/\(.\{8\}\)\(....\)\(....\)\(....\)/\1-\2-\3-\4-/' >"$space/device_uuid"
		[[ ! -e $space/resv_enable ]] || echo 1 >"$space/resv_enable"
		echo 1 >"$space/enable"
	done
	if [[ ! -d $nvmet/ports/1 ]]; then
		mkdir $nvmet/ports/1
		echo tcp >$nvmet/ports/1/addr_trtype
		echo ipv4 >$nvmet/ports/1/addr_adrfam
		echo "${STOR_ADDRESS%/*}" >$nvmet/ports/1/addr_traddr
		echo 4420 >$nvmet/ports/1/addr_trsvcid
	fi
	ln -s "$nvmet/subsystems/$name" "$nvmet/ports/1/subsystems/$name"
}

# withdraw NAME: it is no longer there
withdraw() {
	rm -f "$nvmet/ports/1/subsystems/$1"
	rmdir "$nvmet/subsystems/$1/namespaces"/* "$nvmet/subsystems/$1"
	rmdir $nvmet/ports/1 2>/dev/null || true
}

# reach NAME ADDRESS N…: connect to it, until these namespaces are there; what is not answered fails in seconds, and the connection is tried
# anew for ten minutes
reach() {
	local n
	modprobe nvme-tcp
	nvme connect -t tcp -a "$2" -s 4420 -n "$1" --hostid="$(host_id)" --hostnqn="nqn.2014-08.org.nvmexpress:uuid:$(host_id)" \
		--keep-alive-tmo=6 --fast_io_fail_tmo=1 --reconnect-delay=1 --ctrl-loss-tmo=600
	for n in "${@:3}"; do eventually reached "$1" "$n"; done
}
reached() { [[ -b $(far "$1" "$2") ]]; }
host_id() { sed 's/\(.\{8\}\)\(....\)\(....\)\(....\)/\1-\2-\3-\4-/' /etc/machine-id; }

# far NAME N: the node here of a namespace of a subsystem, whose own number may be another one
far() {
	local dir
	# The one that has all paths, and no path.
	for dir in /sys/block/nvme[0-9]n* /sys/block/nvme[0-9][0-9]n*; do
		if grep -qsx "$1" "$dir/device/subsysnqn" && grep -qsx "$2" "$dir/nsid"; then echo "/dev/${dir##*/}"; fi
	done
}
