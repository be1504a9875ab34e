# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Stor as the pool that is tested (tests/vm/lib/pool): on one disk, or with the metadata on the first and the data on the others.
# $POOL_OPTIONS are words for `pool create`; with $POOL_FREE all but so many blocks of it are a volume's that nobody looks at.
# Nothing is allowed to it that a check finds, leaks included.

quiet() { "$@" >/dev/null; }

pool_create() {
	local disks
	read -ra disks <<<"$POOL_DISKS"
	((${#disks[@]} == 1)) || disks=(--metadata-device "${disks[@]}")
	# One of an earlier trial, on other disks or what is left of it.
	storctl pool remove tried --force >/dev/null 2>&1 || true
	# shellcheck disable=SC2086 # words
	quiet storctl pool create tried "${disks[@]}" --force --inactive --block-size "$((POOL_BLOCK * 512))" ${POOL_OPTIONS-}
	[[ ! ${POOL_FREE-} ]] || pool_fill
}

# metadata_start: print the sector of the first disk that the metadata begins at: areas begin at whole MiB, metadata with its magic
metadata_start() {
	local disk=${POOL_DISKS%% *} at
	for at in {1..64}; do
		[[ $(od -An -td8 -j "$((at << 20 | 32))" -N 8 "$disk") -ne 27022010 ]] || break
	done
	echo "$((at << 11))"
}

# with_metadata COMMAND…: of a closed pool, with a device that is its metadata
with_metadata() {
	local status=0 size
	size=$(storctl --json pool show tried | jq '.pool.metadata_size / 512')
	dmsetup create metadata --table "0 $size linear ${POOL_DISKS%% *} $(metadata_start)"
	"$@" /dev/mapper/metadata || status=$?
	dmsetup remove --retry metadata
	return "$status"
}

# pool_fill: a new pool's first blocks become a volume's, at no cost: its metadata is written anew with their mappings
pool_fill() {
	local blocks
	blocks=$(storctl --json pool show tried | jq ".pool | .data_size / .data_block_size - $POOL_FREE")
	quiet storctl pool activate tried
	quiet storctl volume create filler --pool tried --size "$((blocks * POOL_BLOCK * 512))" --inactive
	quiet storctl pool deactivate tried
	with_metadata fill "$blocks"
	pool_check
}

# fill BLOCKS METADATA
fill() {
	local map="<range_mapping origin_begin=\"0\" data_begin=\"0\" length=\"$1\" time=\"0\"/>"
	thin_dump "$2" | sed -E "s|(<device .*mapped_blocks=\")0(\".*>)|\1$1\2$map|" >/tmp/filled.xml
	thin_restore -q -i /tmp/filled.xml -o "$2"
}

# The volumes that are active with it are all.
pool_open() {
	quiet storctl pool activate tried
	[[ $# == 0 ]] || quiet volume_nodes "$@"
}

# Of disks that lost it nothing is left to be found, and so nothing is open.
pool_close() {
	local said
	said=$(storctl pool deactivate tried 2>&1) || [[ $said == *"there is no pool tried"* ]] || {
		echo "$said" >&2
		return 1
	}
}

pool_check() {
	quiet storctl pool check tried
	with_metadata strict
}

# strict METADATA: what thin_check says must not be more than that it is sound
strict() {
	local said
	said=$(thin_check "$1" 2>&1) || {
		echo "thin_check: $said" >&2
		return 1
	}
}

pool_used() {
	# Deletion goes on in the background.
	local end=$((SECONDS + 60)) left used
	while read -r left used < <(storctl --json pool show tried | jq -r '.pool | "\(.deleting) \(.data_used / .data_block_size)"'); do
		((left && SECONDS < end)) || break
		sleep 0.1
	done
	echo "$used"
}

volume_create() { quiet storctl volume create "$1" --pool tried --size "$(($2 * 512))"; }
volume_open() { quiet storctl volume activate "$1"; }

volume_nodes() {
	local -A nodes=()
	local dir volume
	for dir in /sys/block/stor*; do
		[[ ! -e $dir ]] || nodes[$(<"$dir/stor/name")]=/dev/${dir##*/}
	done
	for volume; do
		[[ ${nodes[tried-$volume]-} ]] || {
			echo "volume $volume is not active" >&2
			return 1
		}
		echo "${nodes[tried-$volume]}"
	done
}

volume_delete() { quiet storctl volume remove "$1"; }
snapshot_create() { quiet storctl snapshot create "$1" "$2" --activate; }
volume_clone() { quiet storctl volume clone "$1" "$2"; }
volume_rollback() { quiet storctl volume rollback "$2" --discard-current; }
