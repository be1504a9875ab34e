# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Stor above and below others: . /stor/tests/vm/lib/stor.sh and replica.sh first

# work DEVICE [no-trims]: fio writes and verifies, and flushes; then something is discarded, if that can be
work() {
	local trims="" number
	number=$(stat -L -c '%Hr:%Lr' "$1")
	(($(<"/sys/dev/block/$number/queue/discard_max_bytes") == 0)) || trims=${2:-y}
	fio --name=work --filename="$1" --size=24M --rw=randrw --bsrange=4k-64k --iodepth=16 --ioengine=libaio --direct=1 --fsync=32 \
		--number_ios="$(count 400 10000)" --verify=crc32c --verify_fatal=1 --output=/tmp/fio || fail "$(grep -m2 -i err /tmp/fio)"
	[[ $trims != y ]] || blkdiscard --offset $((26 << 20)) --length $((2 << 20)) "$1"
}

# drop_all: all volumes, replicas and pools, whatever stands on what
drop_all() {
	local name _
	for _ in 1 2 3; do
		for name in $(storctl --json replica list | jq -r '.replicas[] | select(.running) | .name'); do
			storctl replica stop "$name" 2>/dev/null || true
		done
		for name in $(storctl --json pool list | jq -r '.pools[].name'); do storctl pool deactivate "$name" 2>/dev/null || true; done
	done
}
