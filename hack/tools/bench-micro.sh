#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Runs the Go benchmarks of what touches neither disk nor network, and prints what benchstat makes of them. Each round runs every benchmark once, for
# BENCHTIME (default 100ms), and there are COUNT rounds (default 6), so that a machine that slows down for a while does so
# for all of them. What benchstat reads is written to OUT; BASE is such a file of a former run, to compare with.
#
# Where a benchmark has part=whole and part=floor, which is the cryptographic primitive in it, their ratio is printed too. It
# is that of the least times of all rounds: whatever else a machine does can only make one longer.
#
#	COUNT=10 BASE=/tmp/before.txt ONLY=Launch hack/tools/bench-micro.sh
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=hack/tools/lib.sh
source "$here/lib.sh"
cd "$here/../.."

count=${COUNT:-6} benchtime=${BENCHTIME:-100ms} only=${ONLY:-.} base=${BASE:-} out=${OUT:-bin/bench-micro.txt}
[[ -z $base || -f $base ]] || die "there is no $base"
[[ -z $base || ! $base -ef $out ]] || die "BASE is the file that this run is written to; copy it, or give another OUT"
benchstat=$("$here/build.sh" benchstat)

binaries=$(mktemp -d)
trap 'rm -rf "$binaries"' EXIT

mapfile -t dirs < <(git ls-files --cached --others --exclude-standard -- 'internal/*_test.go' ':!internal/store' |
	xargs grep -l '^func Benchmark' | xargs -n 1 dirname | sort -u)
((${#dirs[@]} > 0)) || die "no benchmarks found"
for dir in "${dirs[@]}"; do
	say "building the benchmarks of $dir"
	go test -c -o "$binaries/${dir//\//_}" "./$dir"
done

mkdir -p "$(dirname "$out")"
: >"$out"
for ((round = 1; round <= count; round++)); do
	say "round $round of $count"
	for dir in "${dirs[@]}"; do
		# In the package's folder, as go test does: there is testdata.
		(cd "$dir" && "$binaries/${dir//\//_}" -test.run='^$' -test.bench="$only" -test.benchtime="$benchtime") >"$binaries/log" 2>&1 || {
			cat "$binaries/log" >&2
			die "the benchmarks of $dir failed"
		}
		cat "$binaries/log" >>"$out"
	done
done

grep -q '^Benchmark' "$out" || die "no benchmark is called like ONLY=$only"

"$benchstat" ${base:+"$base"} "$out"
awk '
	$1 == "pkg:" { package = $2; sub(/.*\/internal\//, "", package) }
	$1 ~ /\/part=(whole|floor)/ {
		name = $1
		sub(/^Benchmark/, "", name)
		sub(/\/part=.*/, "", name)
		name = package "." name
		part = $1 ~ /part=whole/ ? "whole" : "floor"
		if (!((name, part) in least)) {
			if (part == "whole") order[++names] = name
			least[name, part] = $3
		}
		if ($3 < least[name, part]) least[name, part] = $3
	}
	END {
		if (names) printf "\n%-34s %12s %12s %8s\n", "least time, beside the primitive", "whole", "floor", "ratio"
		for (i = 1; i <= names; i++) {
			whole = least[order[i], "whole"]
			floor = least[order[i], "floor"]
			printf "%-34s %9.1f µs %9.1f µs %8.2f\n", order[i], whole / 1e3, floor / 1e3, whole / floor
		}
	}' "$out"
