# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# The kernel's dm-thin as the pool that is tested (tests/vm/lib/pool): the first disk has the metadata, the second the data.
# A volume v7 is the thin device 7, of $POOL_SECTORS sectors. Leaks after a power cut are its habit, and only counted.
read -r metadata data <<<"$POOL_DISKS"

message() { dmsetup message pool 0 "$*"; }

# durably COMMAND…: send a message that ends with a commit, which it is answered after even if that has failed
durably() {
	message "$@"
	[[ $(dmsetup status pool) =~ \ (rw|out_of_data_space)\  ]]
}

pool_create() {
	dd if=/dev/zero of="$metadata" bs=4k count=1 oflag=direct conv=fsync status=none
	pool_open
	pool_close
}

pool_open() {
	dmsetup create pool --table "0 $(blockdev --getsz "$data") thin-pool $metadata $data $POOL_BLOCK 0"
	local volume
	for volume; do volume_open "$volume"; done
}

pool_close() {
	local name
	for name in $(dmsetup ls --target thin | awk '/^v[0-9]/ { print $1 }') $(dmsetup ls --target thin-pool | awk '/^pool\t/ { print $1 }'); do
		# A snapshot that was interrupted leaves its origin suspended.
		dmsetup resume "$name" || true
		dmsetup remove --retry "$name"
	done
}

# Between the removal of mappings and the end of their discards below dm-thin counts the blocks once more, and may commit: after a
# power cut counts are too high. stor-pool-test takes that for leaks; thin_check does if nobody has the block, and otherwise for damage.
pool_check() {
	local said
	said=$(thin_check --ignore-non-fatal-errors "$metadata" 2>&1) ||
		[[ $said == *"Bad reference count for data block"* ]] || {
		echo "thin_check: $said" >&2
		return 1
	}
	stor-pool-test check --leaks "$metadata"
}

pool_used() { dmsetup status pool | awk '{ split($6, used, "/"); print used[1] }'; }

volume_create() {
	message create_thin "${1#v}"
	volume_open "$1"
}

volume_open() { dmsetup create "$1" --table "0 $POOL_SECTORS thin /dev/mapper/pool ${1#v}"; }

volume_nodes() { printf '/dev/mapper/%s\n' "$@"; }

volume_delete() {
	dmsetup remove --retry "$1"
	durably delete "${1#v}"
}

snapshot_create() {
	local status=0
	dmsetup suspend --nolockfs "$1"
	durably create_snap "${2#v}" "${1#v}" || status=$?
	dmsetup resume "$1"
	((status == 0)) || return "$status"
	volume_open "$2"
}

volume_clone() { snapshot_create "$@"; }

volume_rollback() {
	volume_delete "$1"
	snapshot_create "$2" "$1"
}
