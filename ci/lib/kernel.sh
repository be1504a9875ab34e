# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# From a kernel's name to the packages it is made of. Needs common.sh and apt.sh.

# shellcheck disable=SC2034 # kernel() sets variables for its caller
supported=$ROOT/tests/kernels/supported

# supported_kernels: the table's rows "NAME SUITE SERIES FLAVOUR"
supported_kernels() {
	sed '/^#/d' "$supported"
}

# kernel NAME: for an alias of the table, an exact release, "debug" or "debug-net", set release, from (suite), version (of the packages),
# gcc (major version) and toolchain (the versions of rustc, gcc, bindgen, clang and pahole); a name that is none of these
# stops with the list of those that are
kernel() {
	local record row
	if [[ $1 =~ ^(.*-stor-)?debug(-net)?$ ]]; then
		record=${BASH_REMATCH[2]}
		kernel "$(supported_kernels | awk 'NR == 1 { print $1 }')"
		release=${release%%+*}-stor-debug$record
		return
	fi
	record=$CACHE/releases/$1
	if row=$(supported_kernels | grep "^$1 "); then
		read -r _ from series flavour <<<"$row"
		refresh_index "$from"
		[[ $record -nt $CACHE/apt/$from/fresh && $record -nt $supported ]] || resolve_alias "$1" "$from" "$series" "$flavour"
	elif [[ ! -e $record ]]; then
		resolve_release "$1"
	fi
	read -r release from version gcc toolchain <"$record"
}

refuse() {
	say "error: ${*}; supported are:"
	{
		supported_kernels | awk '{ print $1 "\t(the newest " $3 ", flavour " $4 ", of Debian " $2 ")" }'
		printf 'debug\t(the debug kernel)\ndebug-net\t(the same with TCP/IP)\nan exact release of these series, like 7.3.4+deb13-amd64\n'
	} | sed 's/^/  /' | expand -t 24 >&2
	exit 3
}

# resolve_alias NAME SUITE SERIES FLAVOUR: the newest of the series, else of the nearest supported one
resolve_alias() {
	local try found
	for try in $(nearest "$3"); do
		found=$(releases "$2" "$try" "$4" | tail -n1)
		[[ $found ]] || continue
		record "$1" "$2" "$found"
		[[ $try == "$3" ]] || {
			say "warning: Debian $2 has no $3 kernels any more, $1 is taken to be $found"
			touch -d @0 "$CACHE/releases/$1" # so that it is said the next time, too
		}
		return
	done
	refuse "Debian $2 has no kernel of a supported series for $1"
}

# resolve_release RELEASE: look the exact name up in the suites of its series
resolve_release() {
	local suite
	for suite in $(supported_kernels | awk -v release="$1" 'index(release, $3 ".") == 1 && release ~ "[0-9]-" $4 "$" { print $2 }'); do
		refresh_index "$suite"
		if releases "$suite" "$(series "$1")" "${1#*-}" | grep -Fx "$1" >/dev/null; then
			record "$1" "$suite" "$1"
			return
		fi
	done
	refuse "kernel $1 is not supported or no longer in Debian"
}

# nearest SERIES: the table's series, the nearest first and of two equally near ones the newer
nearest() {
	supported_kernels | awk '{ print $3 }' | sort -u | awk -F. -v want="$1" '
		{ split(want, w); distance = ($1 - w[1]) * 100 + $2 - w[2]; print (distance < 0 ? -distance : distance), -distance, $0 }' |
		sort -n -k1,1 -k2,2 | awk '{ print $3 }'
}

# releases SUITE SERIES FLAVOUR: those whose source is there too, the newest last
releases() {
	local found
	for found in $(suite "$1" cache pkgnames "linux-headers-$2." | sed -En "s/^linux-headers-([0-9.]+\+deb[0-9]+-$3)$/\1/p" | sort -V); do
		suite "$1" cache show "linux-source-$2=$(package_version "$1" "linux-headers-$found")" >/dev/null 2>&1 && echo "$found"
	done
	return 0
}

# package_version SUITE PACKAGE…
package_version() {
	suite "$1" cache show --no-all-versions "${@:2}" | sed -n 's/^Version: //p'
}

# record NAME SUITE RELEASE: keep what kernel() reads, which never sees half of it
record() {
	local headers gcc row name
	headers=$(suite "$2" cache show --no-all-versions "linux-headers-$3")
	gcc=$(sed -En 's/^Depends: .*gcc-([0-9]+)-for-host.*/\1/p' <<<"$headers")
	row="$3 $2 $(sed -n 's/^Version: //p' <<<"$headers") $gcc"
	row+=" $(package_version "$2" rustc "gcc-$gcc" bindgen clang pahole | paste -sd' ')"
	mkdir -p "$CACHE/releases"
	for name in "$1" "$3"; do
		echo "$row" >"$CACHE/releases/.$name.$BASHPID"
		mv "$CACHE/releases/.$name.$BASHPID" "$CACHE/releases/$name"
	done
}

# series RELEASE
series() {
	cut -d. -f1-2 <<<"$1"
}
