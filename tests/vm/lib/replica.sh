# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Replicas: . /stor/tests/vm/lib/stor.sh first

# make_legs OPTION… DEVICE…: legs of a new array that are in sync, as mdadm makes them
make_legs() {
	local options=()
	while [[ $1 == --* ]]; do options+=("$1") && shift; done
	mdadm --create /dev/md9 --run --level=1 --raid-devices=$# --metadata=1.2 --bitmap=internal --assume-clean "${options[@]}" "$@"
	mdadm --stop /dev/md9
}

# assemble NAME LEG…: by the name that its metadata has, or that becomes its name if it was md's own
assemble() {
	storctl replica assemble "$@" >&2
}

# replica NAME PATH: what `storctl replica show` has at that jq path, such as .running.copied
replica() {
	local -
	set +x
	storctl --json replica show "$1" | jq -rc ".replica$2"
}

# leg_state NAME SLOT: of one leg
leg_state() { replica "$1" ".legs[$2].state"; }

# leg_is NAME SLOT STATE…: whether it is in one of them
leg_is() {
	local - state
	set +x
	state=$(leg_state "$1" "$2")
	[[ " ${*:3} " == *" $state "* ]]
}

# settled NAME: within two minutes, on the debug kernel within ten, all legs that are there are in sync, and no bit says otherwise
settled() {
	local - end=$((SECONDS + 120))
	set +x
	! debug_kernel || end=$((end + 480))
	until [[ $(replica "$1" ' | (.state - ["no-tie-break"] | length == 0) and .running.needed == 0') == true ]]; do
		((SECONDS < end)) || fail "replica $1 is not whole again: $(replica "$1" "")"
		sleep 0.2
	done
}

# sum DEVICE: of all that a volume holds
sum() { dd if="$1" bs=1M iflag=direct status=none | xxh64sum; }

# leg_sum LEG: of what a leg has of the volume, as md's metadata says where that is
leg_sum() {
	local - said offset size
	set +x
	said=$(mdadm --examine "$1")
	offset=$(sed -n 's/ *Data Offset : \([0-9]*\) .*/\1/p' <<<"$said")
	size=$(sed -n 's/ *Array Size : \([0-9]*\) .*/\1/p' <<<"$said")
	dd if="$1" bs=1M iflag=direct,skip_bytes,count_bytes skip=$((offset * 512)) count=$((size * 1024)) status=none | xxh64sum
}

# same_legs LEG…: all have the same data
same_legs() {
	local - first leg
	set +x
	first=$(leg_sum "$1")
	for leg in "${@:2}"; do equal "data of $leg and $1" "$(leg_sum "$leg")" "$first"; done
}

# legs of device-mapper, that can fail: legs N DISK… makes leg0, leg1, …; their nodes are in $legs
legs() {
	local n=0 disk
	legs=() below=("$@")
	for disk; do
		dm "leg$n" "$(whole "$disk")"
		defer dmsetup remove --retry "leg$n"
		legs+=("/dev/mapper/leg$((n++))")
	done
}

# whole DISK: a table that is all of it
whole() { echo "0 $(blockdev --getsz "$1") linear $1 0"; }

# table TABLE N…: these legs get it, all at one instant; "good" is their disk, "error" nothing but errors
table() {
	local - n text
	set +x
	for n in "${@:2}"; do dmsetup suspend --noflush --nolockfs "leg$n"; done
	for n in "${@:2}"; do
		case $1 in
		good) text=$(whole "${below[n]}") ;;
		error) text="0 $(blockdev --getsz "${below[n]}") error" ;;
		*) text=$1 ;;
		esac
		dmsetup load "leg$n" --table "$text"
	done
	for n in "${@:2}"; do dmsetup resume "leg$n"; done
}
