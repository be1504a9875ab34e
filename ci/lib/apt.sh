# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Debian's indices of suites that this machine does not run, each in a private apt tree in the cache. Needs common.sh.

index_minutes=${STOR_INDEX_MINUTES:-720} # an index younger than this is not asked for again

# mirror: the Debian mirror that this machine's own apt uses
mirror() {
	# shellcheck disable=SC2016 # the variables are apt's
	local site=${STOR_MIRROR:-} format='$(SITE)'
	# Before the first "apt-get update" the origin is not known yet, only the address.
	[[ $site ]] || site=$(apt-get indextargets --format "$format" 'Origin: Debian' 'Label: Debian' | sed -n 1p)
	[[ $site ]] || site=$(apt-get indextargets --format "$format" 'Component: main' | grep '/debian/*$' | sed -n 1p) ||
		die "no Debian mirror among this machine's apt sources: set STOR_MIRROR=http://HOST/debian"
	echo "${site%/}"
}

# pockets SUITE: what its kernels come from; stable's come from its backports
pockets() {
	echo "$1"
	[[ $1 != trixie ]] || echo "$1-backports"
}

# suite SUITE get|cache ARGUMENTS…: apt-get or apt-cache with the suite's tree
suite() {
	"apt-$2" -c "$CACHE/apt/$1/apt.conf" "${@:3}"
}

# refresh_index SUITE: make the suite's tree, or bring it up to date
refresh_index() {
	local tree=$CACHE/apt/$1 lock site pocket
	mkdir -p "$tree"/{lists,archives}/partial
	exec {lock}>"$tree.lock"
	flock "$lock"
	if [[ ! $(find "$tree/fresh" -mmin "-$index_minutes" 2>/dev/null) ]] || ! grep -qF "${STOR_MIRROR:-}" "$tree/sources.list"; then
		need ca-certificates debian-archive-keyring
		site=$(mirror)
		for pocket in $(pockets "$1"); do
			echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $site $pocket main"
		done >"$tree/sources.list"
		cat >"$tree/apt.conf" <<-END
			Dir::State "$tree";
			Dir::State::status "/dev/null";
			Dir::Cache "$tree";
			Dir::Cache::pkgcache "pkgcache.bin";
			Dir::Cache::srcpkgcache "srcpkgcache.bin";
			Dir::Etc::sourcelist "$tree/sources.list";
			Dir::Etc::sourceparts "/dev/null";
			Dir::Etc::preferencesparts "/dev/null";
			Acquire::Languages "none";
			Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
			APT::Update::Error-Mode "any";
			APT::Sandbox::User "root";
			// An index past its date is used with a warning (below); its signature is still checked.
			Acquire::Check-Valid-Until "false";
		END
		if suite "$1" get -qq update 2>"$tree/update.log"; then
			touch "$tree/fresh"
		elif [[ -e $tree/fresh ]]; then
			say "warning: cannot refresh the index of $1, going on with that of $(date -r "$tree/fresh" +%F)"
		else
			die "cannot read the index of $1: $(tail -n1 "$tree/update.log")"
		fi
	fi
	exec {lock}>&-
}

# warn_of_expiry SUITE: say which of its indices are past their date
warn_of_expiry() {
	local release until
	for release in "$CACHE/apt/$1"/lists/*InRelease; do
		until=$(sed -n 's/^Valid-Until: //p' "$release")
		[[ $until && $(date -d "$until" +%s) -lt $(date +%s) ]] || continue
		say "warning: the mirror's index of $(sed -n 's/^Codename: //p' "$release") was valid until $until;" \
			"it is used all the same (its signature is good)"
	done
}

# fetch SUITE PACKAGE=VERSION…: print the paths of the .debs, in the cache, checked against the index
fetch() {
	local lock uris file debs=$CACHE/debs
	mkdir -p "$debs/part"
	uris=$(suite "$1" get download --print-uris "${@:2}" 2>&1) ||
		die "$1 does not have all of ${*:2}: $(tail -n1 <<<"$uris")"
	while read -r _ file _; do
		if [[ ! -e $debs/$file ]]; then
			exec {lock}>"$debs.lock"
			flock "$lock"
			[[ -e $debs/$file ]] || {
				say "fetching $file"
				(cd "$debs/part" && suite "$1" get -qq download "${file%%_*}=$(deb_version "$file")" && mv "$file" ..) ||
					die "cannot fetch $file from $(mirror)"
			}
			exec {lock}>&-
		fi
		echo "$debs/$file"
	done <<<"$uris"
}

# deb_version FILE: apt writes an epoch's colon as %3a
deb_version() {
	local version=${1#*_}
	version=${version%_*}
	echo "${version//%3a/:}"
}
