# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Trials of a pool that are the same for every flavour (tests/vm/lib/pool): . /stor/tests/vm/lib/pool-test.sh
# shellcheck source=/dev/null
. /stor/tests/vm/lib/stor.sh

# need_flavour FLAVOUR: load what drives such pools
need_flavour() {
	[[ $1 == replica ]] || need_module dm-thin-pool
	[[ $1 != dm ]] || return 0
	insmod "$STOR_KMOD/stor.ko"
	defer rmmod stor
	load_engine 0.1.0
	defer rmmod "$(engine_module 0.1.0)"
}

# use_pool FLAVOUR DISK…: a new pool on these disks, closed; closed again when the scenario ends
use_pool() {
	set_pool "$@"
	rm -f /tmp/state /tmp/journal
	pool pool_create
	defer pool pool_close
}

# set_pool FLAVOUR DISK…: a pool that was made before
set_pool() {
	local -
	set +x
	POOL_FLAVOUR=$1
	export POOL_OPTIONS POOL_FREE
	export POOL_DISKS=${*:2} POOL_BLOCK=${POOL_BLOCK-128} POOL_SECTORS=${POOL_SECTORS-32768}
}

# pool FUNCTION ARGUMENT…: of the flavour
pool() { /stor/tests/vm/lib/pool "$POOL_FLAVOUR" "$@"; }

# try WHAT OPTION…: stor-pool-test on this pool
try() {
	stor-pool-test "$1" --flavour "$POOL_FLAVOUR" --sectors "$POOL_SECTORS" --block "$POOL_BLOCK" \
		--seed "$((${STOR_SEED-0} + 1))" "${@:2}"
}

# power_cuts COUNT FLAVOUR DISK… [--OPTION=VALUE…]: on a new pool; nothing that was durable may be lost
power_cuts() {
	local count=$1 words=("${@:2}") options=()
	while [[ ${#words[@]} -gt 0 && ${words[-1]} == -* ]]; do
		options=("${words[-1]}" "${options[@]}")
		unset 'words[-1]'
	done
	use_pool "${words[@]}"
	try cuts --rounds "$count" "${options[@]}"
	pool pool_close
	undefer
}

# lying_disks COUNT FLAVOUR DISK… [--OPTION]: so many times disks that ignore flushes are noticed
lying_disks() {
	local n words=("${@:2}") options=()
	if [[ ${words[-1]} == -* ]]; then
		options=("${words[-1]}")
		unset 'words[-1]'
	fi
	for ((n = $1; n; n--)); do
		use_pool "${words[@]}"
		STOR_SEED=$n refuse "power cut (random|none)" try cuts --rounds 20 "${options[@]}"
		pool pool_close
		undefer
	done
}

# guest_cuts FLAVOUR DISK…: a phase of a scenario whose guest goes with its disks; what is to survive it is on the host
guest_cuts() {
	grep -q ' /out 9p ' /proc/mounts || skip "this kernel has no 9p"
	if ((PHASE == 1)); then
		use_pool "$@"
	else
		set_pool "$@"
		defer pool pool_close
	fi
	try cuts --folder /out --within 4000 --rounds $((PHASE < 3 ? 1 : 0))
	rm /out/state /out/journal
}

# random_sequences COUNT FLAVOUR DISK…: on a new pool, beside a model
random_sequences() {
	export POOL_SECTORS=8192
	use_pool "${@:2}"
	try sequences --count "$1"
	pool pool_close
	undefer
}

# log_writes DISK LOG: what is written to /dev/mapper/logged goes to the disk, and to a log
log_writes() {
	need_module dm-log-writes
	dm logged "0 $(blockdev --getsz "$1") log-writes $1 $2"
}
