# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# What every script here needs: where things are, how to speak, how to get a tool, how to make a thing once.
# Use: . "${BASH_SOURCE[0]%/*}/lib/common.sh"
# shellcheck disable=SC2034 # the variables are for the scripts that source this

ROOT=$(cd "${BASH_SOURCE[0]%/*}/../.." && pwd)
CACHE=${STOR_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/stor}
JOBS=${JOBS:-$(nproc)}
export LC_ALL=C.UTF-8
shopt -s inherit_errexit
mkdir -p "$CACHE"

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
# 3: somebody has said why
die() {
	say "error: $*"
	exit 3
}
# A command that fails without a word would end a script without one.
unexpected() {
	local status=$?
	((status == 3)) || say "status $status in line $1 of ${BASH_SOURCE[1]##*/}: $BASH_COMMAND"
}
set -E
trap 'unexpected "$LINENO"' ERR

# need PACKAGE…: install the Debian packages that are missing
need() {
	local missing
	mapfile -t missing < <(comm -13 \
		<(dpkg-query -W -f '${db:Status-Status} ${Package}\n' "$@" 2>/dev/null | sed -n 's/^installed //p' | sort) \
		<(printf '%s\n' "$@" | sort -u))
	((${#missing[@]})) || return 0
	((EUID == 0)) || die "these packages are needed, install them or run this as root: ${missing[*]}"
	say "installing ${missing[*]}"
	# The lock is for scripts of ours that run side by side; other users of apt are waited for by its own option.
	flock "$CACHE/need.lock" bash -euc '
		export DEBIAN_FRONTEND=noninteractive
		apt() { apt-get -qq -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 "$@"; }
		apt install -y --no-install-recommends "$@" || { apt update && apt install -y --no-install-recommends "$@"; }
	' need "${missing[@]}" >"$CACHE/need.log" 2>&1 || die "cannot install ${missing[*]} (see $CACHE/need.log)"
}

# once DIR COMMAND…: run COMMAND, which fills the empty folder DIR, unless an earlier run has; one at a time
once() {
	local dir=$1
	shift
	[[ ! -e $dir/.done ]] || return 0
	mkdir -p "${dir%/*}"
	(
		exec {lock}>"$dir.lock"
		flock "$lock"
		[[ ! -e $dir/.done ]] || exit 0
		rm -rf "$dir"
		mkdir "$dir"
		"$@" {lock}>&-
		touch "$dir/.done"
	)
}

# unused DIR: print the folders beside DIR that nobody has used for two weeks, and mark DIR as used now
unused() {
	touch "$1"
	find "${1%/*}" -mindepth 1 -maxdepth 1 -type d -mtime +14
}
