#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Fuzzes every target there is, one after the other, for FUZZTIME each (default 20s). A finding leaves the input that
# shows it below testdata/fuzz, to be committed as a regression test with the repair, and makes this fail when all
# targets had their turn.
#
#	FUZZTIME=5m hack/tools/fuzz.sh
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=hack/tools/lib.sh
source "$here/lib.sh"
cd "$here/../.."

fuzztime=${FUZZTIME:-20s}

# targets prints package and name of every fuzz target of the module.
targets() {
	local package file
	go list -f '{{range .TestGoFiles}}{{$.ImportPath}} {{$.Dir}}/{{.}}{{"\n"}}{{end}}{{range .XTestGoFiles}}{{$.ImportPath}} {{$.Dir}}/{{.}}{{"\n"}}{{end}}' ./... |
		while read -r package file; do
			[[ -n $package ]] || continue # a package without tests
			sed -n "s|^func \(Fuzz[A-Za-z0-9_]*\)(.*|$package \1|p" "$file"
		done
}

# last PATTERN FILE prints the number behind the last match.
last() {
	{ grep -o "$1 [0-9]*" "$2" || true; } | tail -n 1 | { grep -o '[0-9]*$' || echo 0; }
}

# spurious FILE tells whether the only complaint of a run is that its time was up: a race in Go before 1.27 between the
# end of FUZZTIME and the workers (https://go.dev/issue/75804). There is no failing input then.
spurious() {
	[[ $(sed -n '/^--- FAIL: /,/^FAIL$/p' "$1" | sed 1d) == '    context deadline exceeded
FAIL' ]]
}

list=$(targets)
[[ -n $list ]] || die "no fuzz targets found"

log=$(mktemp)
trap 'rm -f "$log"' EXIT
count=0 executions=0 findings=0
SECONDS=0
while read -r package name; do
	count=$((count + 1))
	status=0
	# By default a minute goes to making each interesting input shorter, which leaves none for new ones.
	go test -run='^$' -fuzz="^$name\$" -fuzztime="$fuzztime" -fuzzminimizetime=100x "$package" </dev/null >"$log" 2>&1 || status=$?
	execs=$(last 'execs:' "$log")
	executions=$((executions + execs))
	result="$execs executions, $(last 'new interesting:' "$log") new interesting"
	if ((status != 0)) && ! spurious "$log"; then
		findings=$((findings + 1))
		result+=", FAILED"
		cat "$log" >&2
	fi
	printf '%-28s %s\n' "${package##*/}.$name" "$result"
done <<<"$list"

printf -v minutes '%d.%d' $((SECONDS / 60)) $((SECONDS % 60 / 6))
echo "fuzz: $count targets, $minutes minutes, $executions executions, $findings findings"
((findings == 0)) || die "commit what is new in testdata/fuzz together with the repair"
