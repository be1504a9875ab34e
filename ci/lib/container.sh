# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Container images without a container engine: buildah with its store in the cache. Needs common.sh and apt.sh.

# The cache's own store; what has to go at a reboot (mount counts) lies in /run.
store=(--root "$CACHE/containers" --runroot "/run/stor-$(cksum <<<"$CACHE" | cut -d' ' -f1)")

buildah() {
	command buildah "${store[@]}" "$@"
}

# base_image SUITE: print the name of a minimal Debian image, pulled where a registry is reachable, else made here
base_image() {
	need buildah
	once "$CACHE/bases/$1" make_base "$1"
	echo "localhost/stor-base:$1"
}

make_base() {
	local container
	if timeout 300 buildah "${store[@]}" pull -q "${STOR_BASE:-debian}:$1" >/dev/null 2>&1; then
		buildah tag "${STOR_BASE:-debian}:$1" "localhost/stor-base:$1"
		return
	fi
	say "no registry within reach: making the $1 base image with mmdebstrap"
	need mmdebstrap debian-archive-keyring
	mmdebstrap --quiet --variant=minbase --include=ca-certificates --aptopt='Acquire::Check-Valid-Until "false"' \
		"$1" "$CACHE/bases/$1/root.tar" "$(mirror)" 2>"$CACHE/bases/$1/log" ||
		die "mmdebstrap failed: $(tail -n1 "$CACHE/bases/$1/log")"
	container=$(buildah from scratch)
	buildah add -q "$container" "$CACHE/bases/$1/root.tar" / >/dev/null
	buildah commit -q --rm "$container" "localhost/stor-base:$1" >/dev/null
	rm "$CACHE/bases/$1/root.tar"
}
