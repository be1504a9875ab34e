# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Where cargo builds. Needs common.sh. Most of a build's time goes into the crates that ours depend on, which are the same for
# every checkout with the same Cargo.lock: a fresh checkout starts with those that an earlier run has kept.

# Toolchains do not share a folder: each would throw the other's results away.
export CARGO_TARGET_DIR=$ROOT/build/cargo
# What is built once, and tests that say where they failed, need neither of these: a fifth of the time.
export CARGO_INCREMENTAL=0 CARGO_PROFILE_DEV_DEBUG=0

dependencies=$CACHE/crates/$(cat "$ROOT"/Cargo.{lock,toml} | sha256sum | cut -c1-12)

if [[ ! -e $CARGO_TARGET_DIR && -e $dependencies/.done ]]; then
	mkdir -p "$ROOT/build"
	# The times tell cargo what is up to date; half a copy must not be taken for a whole one.
	cp -a "$dependencies" "$CARGO_TARGET_DIR.$$"
	mv -T "$CARGO_TARGET_DIR.$$" "$CARGO_TARGET_DIR"
fi

# keep_dependencies: once all has been built
keep_dependencies() {
	local former
	once "$dependencies" copy_dependencies
	unused "$dependencies" | while read -r former; do
		rm -r "$former"
	done
}

copy_dependencies() {
	cp -a "$CARGO_TARGET_DIR/." "$dependencies"
	# Ours are told by the checkout's path, and soon stale.
	CARGO_TARGET_DIR=$dependencies "$ROOT/ci/builder" run --kernel 7.3-amd64 -- \
		cargo clean -q --locked -p stor-pure -p libstor -p storctl -p stor-abi-fuzz -p stor-format-fuzz -p stor-crash -p stor-interop \
			-p stor-pool-test -p stor-replica-crash -p stor-thin-gen -p stor-thin-bench
	find "$dependencies" -type d -name incremental -exec rm -r {} +
}
