# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# A kernel's source and the object tree that modules are built with. Needs common.sh, apt.sh and kernel.sh.
#
# Debian's header packages lack the Rust metadata (rust/*.rmeta), so it is made again here: the packaged source, the kernel's
# own configuration and the very same rustc give the very same symbol names, and that is checked.
# shellcheck disable=SC2154 # kernel() sets release, from, version, gcc and toolchain

# fragments: what the debug kernel is configured with
fragments() {
	echo "$ROOT/tests/kernels/debug.config"
	[[ $release != *-net ]] || echo "$ROOT/tests/kernels/debug-net.config"
}

# source_tree: print where the unpacked source of $version is
source_tree() {
	once "$CACHE/source/$version" unpack_source
	echo "$CACHE/source/$version"
}

unpack_source() {
	local deb package
	need xz-utils
	package=linux-source-$(series "$version")
	deb=$(fetch "$from" "$package=$version")
	say "unpacking the source of $version"
	dpkg-deb --fsys-tarfile "$deb" | tar xO "./usr/src/$package.tar.xz" | xz -dc -T0 |
		tar x -C "$CACHE/source/$version" --strip-components=1
}

# in_builder LOG CMD…: in the toolchain of $release, quiet unless it fails
in_builder() {
	"$ROOT/ci/builder" run --kernel "$release" -- "${@:2}" >"$1" 2>&1 ||
		die "failed, see $1: $(grep -m1 -E 'rror[: ]|[*]{3}' "$1" || tail -n1 "$1")"
}

# object_tree: print the object tree of $release
object_tree() {
	local tree recipe=make_tree inputs=()
	if [[ $release == *-stor-debug* ]]; then
		recipe=make_debug_tree
		mapfile -t inputs < <(fragments)
	fi
	tree=$CACHE/trees/$release/$({
		declare -f "$recipe"
		echo "$version"
		tr ' ' '\n' <<<"${toolchain% *}" # pahole is only used by what is built later
		cat /dev/null "${inputs[@]}"
	} | sha256sum | cut -c1-12)
	once "$tree" "$recipe" "$tree"
	unused "$tree" | xargs -rd'\n' rm -rf
	echo "$tree"
}

make_tree() {
	local tree=$1 source headers started=$SECONDS
	source=$(source_tree)
	headers=$(fetch "$from" "linux-headers-$release=$version")
	dpkg-deb --fsys-tarfile "$headers" | tar x -C "$tree" --strip-components=4 \
		"./usr/src/linux-headers-$release/"{.config,Module.symvers,vmlinux}
	cp "$tree/.config" "$tree/stock.config"
	# Debian's key is not ours; modules are signed, if at all, with the machine owner's.
	sed -i 's/^CONFIG_MODULE_SIG_KEY=.*/CONFIG_MODULE_SIG_KEY=""/' "$tree/.config"
	# Debian's Makefile reads this, so "make -C TREE M=…" needs no more variables.
	cat >"$tree/.kernelvariables" <<-END
		override ARCH = x86
		override KERNELRELEASE = $release
		override CROSS_COMPILE = x86_64-linux-gnu-
		CC = x86_64-linux-gnu-gcc-$gcc
	END
	KERNEL=$release "$ROOT/ci/builder" make
	say "making the Rust metadata of $release (about 2 minutes, once)"
	in_builder "$tree/log" make -C "$source" O="$tree" olddefconfig
	same_config "$tree"
	in_builder "$tree/log" make -C "$source" O="$tree" "-j$JOBS" prepare modules_prepare
	same_symbols "$tree"
	say "made the Rust metadata of $release in $((SECONDS - started)) s"
}

# same_config TREE: no option may have changed; another build of a C tool is only worth a word, but rustc's version is part
# of every symbol's name
same_config() {
	local changed fatal
	changed=$({ diff "$1/stock.config" "$1/.config" || true; } | sed -En 's/^[<>] (# )?(CONFIG_[A-Z0-9_]*).*/\2/p' |
		sort -u | sed '/^CONFIG_MODULE_SIG_KEY$/d')
	[[ $changed ]] || return 0
	fatal=$(sed -E '/^CONFIG_(GCC|CC|AS|LD|PAHOLE)_VERSION(_TEXT)?$/d' <<<"$changed")
	[[ ! $fatal ]] || die "$release was not built with what Debian $from has now:" \
		"kernel: $(sed -n 's/^CONFIG_RUSTC_VERSION_TEXT=//p' "$1/stock.config")," \
		"builder: $(sed -n 's/^CONFIG_RUSTC_VERSION_TEXT=//p' "$1/.config"); options that differ: ${fatal//$'\n'/ }"
	say "warning: $release was built with other builds of the C tools than Debian $from has now: ${changed//$'\n'/ }"
}

# same_symbols TREE: the metadata names each Rust symbol as the kernel exports it
same_symbols() {
	local missing
	missing=$(comm -23 <(cut -f2 "$1/Module.symvers" | grep -E '^(_R|rust_helper_)' | sort) \
		<(grep -hoP 'EXPORT_SYMBOL_RUST_GPL\(\K\w+' "$1"/rust/exports_*_generated.h | sort) | wc -l)
	((missing == 0)) ||
		die "the Rust metadata made for $release does not match that kernel: it exports $missing Rust symbols under other names"
}

# make_debug_tree TREE: the debug kernel, whole; TREE/installed is like a stock kernel's folder
make_debug_tree() {
	local tree=$1 source started=$SECONDS make fragments
	source=$(source_tree)
	mapfile -t fragments < <(fragments)
	# KASAN and Rust together need clang. "x86" would start allnoconfig from 32 bits, and keep what is chosen for them.
	cat >"$tree/.kernelvariables" <<-END
		override ARCH = x86_64
		override KERNELRELEASE = $release
		CC = clang
	END
	# Looking for what to warn of takes a tenth of the time.
	make=(nice -n 5 make -C "$source" O="$tree" "-j$JOBS" KCFLAGS=-w)
	KERNEL=$release "$ROOT/ci/builder" make
	say "building the debug kernel $release (up to 20 minutes, once)"
	in_builder "$tree/log" "${make[@]}" allnoconfig
	in_builder "$tree/log" "$source/scripts/kconfig/merge_config.sh" -m -O "$tree" "$tree/.config" "${fragments[@]}"
	in_builder "$tree/log" "${make[@]}" olddefconfig
	same_fragment "$tree"
	in_builder "$tree/log" "${make[@]}" bzImage modules
	in_builder "$tree/log" "${make[@]}" INSTALL_MOD_PATH="$tree/installed" modules_install
	mkdir "$tree/installed/boot"
	cp "$tree/arch/x86/boot/bzImage" "$tree/installed/boot/vmlinuz-$release"
	cp "$tree/.config" "$tree/installed/boot/config-$release"
	cp "$tree/System.map" "$tree/installed/boot/System.map-$release"
	# Modules are built with what is left.
	find "$tree" \( -path "$tree/scripts" -o -path "$tree/tools" -o -path "$tree/installed" \) -prune -o \
		\( -name '*.o' -o -name '*.a' -o -name '*.ko' -o -name '*.mod.c' -o -name 'vmlinux*' \) -type f -exec rm {} +
	say "built the debug kernel $release in $((SECONDS - started)) s"
}

# same_fragment TREE: Kconfig drops what it cannot have without a word
same_fragment() {
	local line lost=
	while read -r line; do
		case $line in
		CONFIG_*) grep -qxF "$line" "$1/.config" || lost+=" ${line%=*}" ;;
		"# CONFIG_"*) ! grep -q "^$(cut -d' ' -f2 <<<"$line")=" "$1/.config" || lost+=" ${line#\# }" ;;
		esac
	done < <(cat "${fragments[@]}")
	[[ ! $lost ]] || die "these lines of ${fragments[*]#"$ROOT/"} did not survive olddefconfig:$lost"
}
