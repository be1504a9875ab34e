# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# What scenarios of the product have at hand, besides guest.sh: . /stor/tests/vm/lib/stor.sh

# engine_module VERSION: the name of its module
engine_module() { echo "stor_engine_${1//[.+-]/_}"; }

# load_engine VERSION [PARAMETER=VALUE…]: load it
load_engine() {
	local module
	module=$(engine_module "$1")
	[[ -e $STOR_KMOD/$module.ko ]] || fail "build it first: ENGINES='… $1' make kmod"
	insmod "$STOR_KMOD/$module.ko" "${@:2}"
}

# load_stor [VERSION…]: the front and these engines (0.1.0 if none is named). When the scenario ends, all volumes, all
# engines and the front go.
load_stor() {
	insmod "$STOR_KMOD/stor.ko"
	defer unload_stor
	local version
	for version in "${@:-0.1.0}"; do load_engine "$version"; done
}

# unload_stor: all volumes, all engines and the front
unload_stor() {
	local module
	drop_volumes
	for module in /sys/module/stor_engine_*; do
		[[ ! -e $module ]] || rmmod "${module##*/}"
	done
	rmmod stor
}

# volume NAME DEVICE…: make it; print its node
volume() {
	storctl volume create "$@" >&2
	node "$1"
}

# node NAME: the node of a volume
node() {
	local dir
	for dir in /sys/block/stor*; do
		[[ $(<"$dir/stor/name") != "$1" ]] || echo "/dev/${dir##*/}"
	done
}

# drop_volumes: remove all, newest first
drop_volumes() {
	local name
	for name in $(storctl --json volume list | jq -r '.volumes | reverse | .[].name'); do
		storctl volume remove "$name" >/dev/null
	done
}

# engine_of NAME: the version that drives a volume
engine_of() {
	local node
	node=$(node "$1")
	echo "$(<"/sys/block/${node##*/}/stor/engine")"
}

# verify NAME FIO-OPTION…: fio writes to a volume and verifies what it wrote, in the background, until stop_verify
verify() {
	local node
	node=$(node "$1")
	fio --name="$1" --filename="$node" --direct=1 --time_based --runtime=100000 --verify=crc32c --verify_fatal=1 \
		--output="/tmp/fio.$1" "${@:2}" &
	verifying+=($!)
}

# stop_verify: end them all; fail if one found anything wrong
stop_verify() {
	local pid
	for pid in "${verifying[@]}"; do end_fio "$pid"; done
	verifying=()
}
verifying=()

# field NAME PATH: what `storctl volume show` has at that jq path, such as .size
field() {
	local -
	set +x
	storctl --json volume show "$1" | jq -r ".volume$2"
}

# by_dm POOL: dm-thin reads of an active pool's volumes what Stor reads, in the first 128 MiB of each (32 in the sample); the pool is active again
# afterwards
by_dm() {
	local -A sums=()
	local dir name most
	need_module dm-thin-pool
	most=$(count 32 128)
	for dir in /sys/block/stor*; do
		name=$(<"$dir/stor/name")
		[[ $name != "$1"-* ]] || sums[$name]=$(dd if="/dev/${dir##*/}" bs=1M count="$most" iflag=direct status=none | xxh64sum)
	done
	((${#sums[@]})) || fail "pool $1 has no active volume"
	storctl pool deactivate "$1"
	storctl pool activate "$1" --fallback
	for name in "${!sums[@]}"; do
		# Snapshots do not come with their pool.
		[[ -e /dev/mapper/$name ]] || storctl --fallback volume activate "$1/${name#"$1"-}"
		equal "what dm-thin reads of $name" "$(dd if="/dev/mapper/$name" bs=1M count="$most" iflag=direct status=none | xxh64sum)" "${sums[$name]}"
	done
	storctl pool deactivate "$1" --fallback
	storctl pool activate "$1"
}
