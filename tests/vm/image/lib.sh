# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# The driver image in containers, in the guest. Sourced by this group's scenarios and by others that want it.

archive() {
	[[ -e $1 ]] || skip "there is no ${1#/stor/}: make it with 'make image'"
}

# cgroups: what container engines want
cgroups() {
	mountpoint -q /sys/fs/cgroup || mount -t cgroup2 cgroup2 /sys/fs/cgroup
}

# --- podman, as people run it

# image VERSION: load that driver image for this kernel from its archive, and set $image to its name
image() {
	local file=/stor/build/image/$REL/stor-driver-$1.tar
	archive "$file"
	cgroups
	image=localhost/stor-driver:$(tr + _ <<<"$1-$REL")
	# A place for its layers that overlay can lie on; a scenario may have given another.
	mkdir -p /var/lib/containers
	mountpoint -q /var/lib/containers || mount -t tmpfs tmpfs /var/lib/containers
	podman image exists "$image" || podman load -q -i "$file"
}

# What docs/driver-image.md names: to load, and to do everything.
# shellcheck disable=SC2034 # for the scenarios
to_load=(--cap-add=SYS_MODULE)
# shellcheck disable=SC2034 # likewise
to_control=(--cap-add=SYS_MODULE --cap-add=SYS_ADMIN -v /dev:/dev --device-cgroup-rule='a *:* rwm')

# contain [OPTION…] -- ARGUMENT…: run $image with no more than what the options give it
contain() {
	local - options=()
	set +x
	while [[ $1 != -- ]]; do
		options+=("$1")
		shift
	done
	podman run --rm --network=none --cgroup-manager=cgroupfs --cap-drop=all "${options[@]}" "$image" "${@:2}"
}

# storctl_from_image: the image's storctl is the node's from now on
storctl_from_image() {
	contain -v /usr/local/bin:/target --entrypoint=/usr/bin/cp -- /usr/bin/storctl /target
	PATH=/usr/local/bin:$PATH
}

# --- crun alone: the same containers, ten times faster to start here

# unpack FILE DIR: the archive's files
unpack() {
	local oci manifest layer
	oci=$(mktemp -d /tmp/oci.XXXX)
	mkdir -p "$2"
	tar x -C "$oci" -f "$1"
	manifest=$oci/blobs/$(jq -r '.manifests[0].digest' "$oci/index.json" | tr : /)
	for layer in $(jq -r '.layers[].digest' "$manifest" | tr : /); do
		tar xz -C "$2" -f "$oci/blobs/$layer"
	done
	rm -r "$oci"
}

# bundle VERSION: set $bundle to a folder that crun takes, with that image's files in rootfs/
bundle() {
	local file=/stor/build/image/$REL/stor-driver-$1.tar
	archive "$file"
	cgroups
	bundle=/run/stor-driver-$1
	[[ -d $bundle ]] || {
		unpack "$file" "$bundle/rootfs"
		crun spec -b "$bundle"
		mv "$bundle/config.json" "$bundle/spec.json"
	}
}

# cell CAPABILITIES JQ ARGUMENT…: run $bundle's entry point with these capabilities ("SYS_MODULE SYS_ADMIN" or "") and its
# configuration changed by a jq filter
cell() {
	local - arguments
	set +x
	arguments=$(jq -n '$ARGS.positional' --args -- /usr/bin/stor-driver "${@:3}")
	jq --argjson arguments "$arguments" --arg capabilities "$1" '
		.process.terminal = false | .process.args = $arguments | .root.readonly = false |
		($capabilities | split(" ") | map("CAP_" + .)) as $all | .process.capabilities |= map_values($all) |
		'"${2:-.}" "$bundle/spec.json" >"$bundle/config.json"
	crun --cgroup-manager=cgroupfs run -b "$bundle" "cell-$$"
}

# bind SOURCE TARGET: a jq filter for cell
bind() { echo ".mounts += [{source: \"$1\", destination: \"$2\", type: \"bind\", options: [\"rbind\", \"rw\"]}]"; }
# shellcheck disable=SC2034 # for the scenarios
everything="SYS_MODULE SYS_ADMIN" all_devices=".linux.resources.devices = [{allow: true, access: \"rwm\"}] | $(bind /dev /dev)"

# unload_all: what a scenario may have left loaded
unload_all() {
	local module
	for module in /sys/module/stor_engine_* /sys/module/stor; do
		[[ ! -d $module ]] || rmmod "${module##*/}"
	done
}
