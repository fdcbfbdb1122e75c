# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# Shared by the scripts below hack/: building a pinned Go program once per machine. To be sourced, not run.

say() { printf '%s\n' "$*" >&2; }
die() {
	say "error: $*"
	exit 1
}

# cache_root prints the folder below which everything built by these scripts is kept.
cache_root() {
	printf '%s\n' "${LTI_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/lti-operator}"
}

# module_hash DIR prints a short hash that changes with the pinned modules of DIR and with the target platform.
module_hash() {
	{ cat "$1/go.mod" "$1/go.sum" && go env GOOS GOARCH; } | git hash-object --stdin | cut -c1-12
}

# build_once DEST MODULE_DIR PACKAGE [GO_BUILD_FLAG...] builds PACKAGE of the module in MODULE_DIR to DEST unless it is
# there already. Two runs at once build it once: the second waits. DEST appears complete or not at all, so a run that is
# interrupted leaves nothing half-built behind. Progress goes to stderr.
build_once() {
	local dest=$1 dir=$2 package=$3
	shift 3
	[[ -x $dest ]] && return 0
	command -v go >/dev/null || die "go is not installed"
	mkdir -p "$(dirname "$dest")"
	# A subshell, so that its traps and its lock end with it.
	(
		if command -v flock >/dev/null; then
			exec 9>"$dest.lock"
			flock -n 9 || {
				say "$(basename "$dest"): another run is building it, waiting"
				flock 9
			}
			[[ -x $dest ]] && exit 0
			rm -f "$dest".tmp.* # of a run that was killed; nobody else is building under this lock
		fi
		tmp=$dest.tmp.${BASHPID:-$$}
		SECONDS=0
		say "$(basename "$dest"): building $package"
		(cd "$dir" && CGO_ENABLED=0 GOWORK=off exec go build -mod=readonly -trimpath -buildvcs=false "$@" -o "$tmp" "$package") \
			</dev/null >&2 9>&- &
		pid=$!
		# A background job of a script ignores Ctrl-C, so it is ended here.
		trap 'kill "$pid" 2>/dev/null || true; rm -f "$tmp"' EXIT
		trap 'exit 130' INT TERM
		next=15
		while kill -0 "$pid" 2>/dev/null; do
			sleep 0.3
			if ((SECONDS >= next)); then
				say "$(basename "$dest"): ${SECONDS} s"
				next=$((SECONDS + 15))
			fi
		done
		wait "$pid" || die "building $package failed"
		mv "$tmp" "$dest"
		say "$(basename "$dest"): built in ${SECONDS} s"
	)
}
