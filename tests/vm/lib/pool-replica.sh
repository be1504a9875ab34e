# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# A replica as the pool that is tested (tests/vm/lib/pool): its legs are on the disks, and its only volume is v1.
# Every other time that it is opened, or has all its legs again, these have to become equal before anything else is done; otherwise the load
# meets the rebuild.

quiet() { "$@" >/dev/null; }
get() { storctl --json replica show v1 | jq -r ".replica$1"; }

pool_create() {
	local disks
	read -ra disks <<<"$POOL_DISKS"
	# shellcheck disable=SC2086 # words
	quiet storctl replica create v1 "${disks[@]}" --force --inactive --size "$((POOL_SECTORS * 512))" ${POOL_OPTIONS-}
	# What was there before would be foreign; the first leg's zeros go to the others when it is opened.
	local leg
	for leg in "${disks[@]}"; do
		dd if=/dev/zero of="$leg" bs=1M seek="$(($(start "$leg") * 512))" count="$((POOL_SECTORS * 512))" oflag=direct,seek_bytes \
			iflag=count_bytes conv=notrunc,fsync status=none
	done
	echo 0 >/tmp/opened
}

# start LEG: its first sector of data
start() { mdadm --examine "$1" | sed -n 's/ *Data Offset : \([0-9]*\) .*/\1/p'; }

pool_open() {
	quiet storctl replica assemble v1
	[[ $(get '.legs[] | select(.device == null) | .slot') ]] || pool_whole
}

pool_is_whole() { get ' | .state == [] and .running.needed == 0'; }

pool_return() {
	# All of them may be there already.
	[[ ! $(get '.legs[] | select(.device == null) | .slot') ]] || quiet storctl replica assemble v1
	pool_whole
}

# pool_whole: all legs are there
pool_whole() {
	local opened
	opened=$(</tmp/opened)
	echo $((opened + 1)) >/tmp/opened
	((opened % 2)) || pool_equal
}

# pool_equal: nobody writes to it, so that its legs become equal
pool_equal() {
	local end=$((SECONDS + 120)) leg sum first=
	until [[ $(pool_is_whole) == true ]]; do
		((SECONDS < end)) || {
			echo "the legs do not become equal: $(get "" | tr '\n' ' ')" >&2
			return 1
		}
		sleep 0.1
	done
	for leg in $POOL_DISKS; do
		sum=$(dd if="$leg" bs=1M iflag=direct,skip_bytes,count_bytes skip="$(($(start "$leg") * 512))" count="$((POOL_SECTORS * 512))" status=none |
			xxh64sum)
		[[ ${first:=$sum} == "$sum" ]] || {
			echo "the legs are said to be in sync, and are not equal: $leg" >&2
			return 1
		}
	done
}

pool_close() {
	local said
	said=$(storctl replica stop v1 2>&1) || [[ $said == *"it is not assembled"* || $said == *"there is no replica v1"* ]] || {
		echo "$said" >&2
		return 1
	}
}

# All that can be said of it while it is closed is whether it starts.
pool_check() { quiet storctl replica assemble v1 --dry-run; }

volume_create() { volume_open "$1"; }
volume_open() { quiet volume_nodes "$1"; }

volume_nodes() {
	local dir
	for dir in /sys/block/stor*; do
		[[ ! -e $dir || $(<"$dir/stor/name") != "$1" ]] || {
			echo "/dev/${dir##*/}"
			return
		}
	done
	echo "$1 is not assembled" >&2
	return 1
}
