# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# What scenarios have at hand, in the guest. Sourced by scenario-main; docs/testing.md tells how to use it.
# shellcheck disable=SC2034 # some variables are for the scenarios

REL=$(uname -r)
STOR_KMOD=/stor/build/kmod/$REL
PATH=/stor/build/tools:$PATH
SCENARIO=$1
undo=()
# Nobody runs udev here unless a scenario does: libdevmapper makes its nodes itself.
export DM_DISABLE_UDEV=1

# --- how a scenario ends

# fail TEXT: end, failed, for this reason
fail() {
	echo "why $*" >&3
	exit 1
}

# skip REASON: end, skipped
skip() {
	echo "skip $*" >&3
	exit 77
}

# defer COMMAND…: when the scenario ends, however it ends, run this; last in, first out; it must succeed
defer() {
	local -
	set +x
	undo=("$(printf '%q ' "$@")" "${undo[@]}")
}

# undefer: forget the last defer, because the scenario has done it
undefer() {
	local -
	set +x
	undo=("${undo[@]:1}")
}

# forget_undo: nothing is put away, because the guest is about to be cut off
forget_undo() { undo=(); }

finish() {
	local - status=$? command
	set +x
	trap - ERR
	set +e
	for command in "${undo[@]}"; do
		echo "undo: $command"
		if ! eval "$command"; then
			((status)) || echo "why cleaning up failed: $command" >&3
			((status)) || status=1
		fi
	done
	exit "$status"
}
trap finish EXIT
# on_error COMMAND STATUS: remember the line of the scenario that failed
on_error() {
	local - status=$2 frame command=$1
	set +x
	((BASH_SUBSHELL == 0)) || return "$status"
	for ((frame = 1; frame < ${#BASH_SOURCE[@]}; frame++)); do
		if [[ ${BASH_SOURCE[frame]} == "$SCENARIO" ]]; then
			# What failed is not what peer() ends with.
			[[ ${FUNCNAME[1]} != peer ]] || command=$(sed -n "${BASH_LINENO[frame - 1]}s/^\s*//p" "$SCENARIO")
			echo "why line ${BASH_LINENO[frame - 1]}: ${command//$'\n'/ }: exit status $status" >&3
			return "$status"
		fi
	done
}
set -E
trap 'on_error "$BASH_COMMAND" "$?"' ERR

# --- what a scenario needs

full() { [[ ${STOR_FULL-} ]]; }
debug_kernel() { [[ $REL == *-debug ]]; }

# count SAMPLE FULL: how often, in this run
count() { if full; then echo "$2"; else echo "$1"; fi; }

# need_module NAME [PARAMETER…]: load it, or skip
need_module() {
	[[ -d /sys/module/${1//-/_} && $# == 1 ]] || modprobe "$@" || skip "this kernel has no module $1"
}

# host REQUEST…: have the harness do something to the machine from outside:
#   unplug DISK | plug DISK | resize DISK BYTES | throttle DISK IOPS       DISK is disk0, disk1, …
#   crawl DISK BYTES                                                       so many a second; 0 takes the limit away, but not from what waits
#   cut none|all|random SEED [MILLISECONDS] [DISK…]   after that time the power of all volatile disks goes, or of some: they lose what was
#                                               not flushed, or a part of it, or nothing, and then answer errors until
#   power [DISK…]                               it is back. In a phase that ends by `cut`, the guest goes with all disks, too
#   peer kill | peer boot                       the second guest's power goes, its disks keep what they got; it boots on them
#   link cut [in|out]                           frames between the two guests are lost, all or those that come in here or go out
#   link heal                                   they are not
# What it answers beside ok, such as the sectors that were kept and lost, is in $answered.
host() {
	local -
	set +x
	echo "host $*" >&3
	read -r answered <&3
	[[ $answered == ok* ]] || fail "host $*: $answered"
	answered=${answered#ok}
}

# peer COMMAND…: run it in the second guest, where it has guest.sh at hand; its output and status are this one's. One word is
# evaluated there as shell. What it leaves in the background goes on until the peer ends.
peer() {
	local - file said status out err text=""
	set +x
	for file in "${peer_files[@]}"; do text+=". $file"$'\n'; done
	text+=$'set -x\n'
	if (($# == 1)); then text+=$1; else text+=$(printf '%q ' "$@"); fi
	echo "host peer run $(base64 -w0 <<<"$text")" >&3
	read -r said status out err <&3
	[[ $said == ok ]] || fail "peer $*: $said $status $out $err"
	base64 -d <<<"${out#=}"
	base64 -d <<<"${err#=}" >&2
	return "$status"
}
# peer_has FILE…: the peer's commands have the functions of these at hand, too
peer_has() { peer_files=("$@"); }
peer_files=()

# --- checks

# refuse REGEX COMMAND…: it must fail, with one line on standard error that matches
refuse() {
	local - regex=$1 said status=0
	set +x
	shift
	said=$("$@" 2>&1 >/dev/null) || status=$?
	((status)) || fail "should be refused: $*"
	((status < 126)) || fail "died with $status: $*: $said"
	[[ $said != *$'\n'* ]] || fail "says more than one line: $*: ${said//$'\n'/ | }"
	[[ $said =~ $regex ]] || fail "should say '$regex': $*: $said"
}

# equal WHAT A B
equal() {
	local -
	set +x
	[[ $2 == "$3" ]] || fail "$1: '$2', should be '$3'"
}

# eventually COMMAND…: it must succeed within 20 s, on the debug kernel within 100
eventually() {
	local - end=$((SECONDS + 20))
	set +x
	! debug_kernel || end=$((end + 80))
	until "$@"; do
		((SECONDS < end)) || fail "did not come true in time: $*"
		sleep 0.1
	done
}

# end_fio PID: end a fio that runs for ever in the background; fail if it found anything wrong
#
# By a signal, after which its status is 128. Its trigger file would have it save what it verified, which now and then crashes it.
end_fio() {
	local status=0
	kill -TERM "$1" || true
	wait "$1" || status=$?
	# 143: it had not begun yet.
	((status == 128 || status == 143)) || fail "fio: exit status $status"
}

# --- devices

# disk N: print the node of the N-th disk of the header, as soon as it is there
disk() {
	local - entry end=$((SECONDS + 10))
	set +x
	while ((SECONDS < end)); do
		for entry in /sys/block/{vd,nvme,sd}*; do
			case $entry in
			*/vd*) [[ $(<"$entry/serial") == "disk$1" ]] || continue ;;
			*/nvme*) [[ $(<"$entry/device/serial") =~ ^disk$1\ *$ ]] || continue ;;
			*/sd*) grep -aq "disk$1\$" "$entry/device/vpd_pg80" || continue ;;
			esac
			echo "/dev/${entry##*/}"
			return
		done 2>/dev/null
		sleep 0.1
	done
	fail "no disk$1"
}

# ram_disks: /dev/ram0 … ram3, 64 MiB each, empty
ram_disks() {
	local node
	if [[ -e /dev/ram0 ]]; then
		for node in /dev/ram[0-3]; do blkdiscard "$node"; done
	else
		modprobe brd rd_nr=4 rd_size=65536 || skip "this kernel has no brd"
		defer rmmod brd
	fi
}

# null_disk NAME ATTRIBUTE=VALUE…: a null_blk disk; print its node
null_disk() {
	local dir=/sys/kernel/config/nullb/$1 word
	[[ -d /sys/kernel/config/nullb ]] || modprobe null_blk nr_devices=0 || skip "this kernel has no null_blk"
	mkdir "$dir"
	for word in "${@:2}"; do
		echo "${word#*=}" >"$dir/${word%%=*}"
	done
	echo 1 >"$dir/power"
	echo "/dev/$1"
}

# drop_null_disk NAME
drop_null_disk() {
	rmdir "/sys/kernel/config/nullb/$1"
}

# loop_disk FILE SIZE: a loop device with direct I/O where it can; print its node
loop_disk() {
	[[ -e /dev/loop-control ]] || modprobe loop
	truncate -s "$2" "$1"
	losetup --find --show "$1"
}

# dm NAME TABLE: a device-mapper device; its node is /dev/mapper/NAME
dm() {
	dmsetup create "$1" --table "$2"
}
