#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Fails when what is generated is not what is committed or about to be: runs every generator and compares their files
# before and after, so it works on a tree with uncommitted changes too. The regenerated files stay for you to commit.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=hack/tools/lib.sh
source "$here/lib.sh"
cd "$here/../.."

# generated prints a hash and the name of every file that generators may write.
generated() {
	git ls-files -z --cached --others --exclude-standard -- api config charts docs |
		while IFS= read -r -d '' file; do
			[[ -f $file ]] && printf '%s %s\n' "$(git hash-object --no-filters "$file")" "$file"
		done | sort -k2
}

before=$(generated)
"${MAKE:-make}" --no-print-directory generate
after=$(generated)

failed=0
if [[ $before != "$after" ]]; then
	say "these files were not up to date; commit what 'make generate' has now written:"
	diff <(printf '%s\n' "$before") <(printf '%s\n' "$after") | awk '/^[<>]/ { print "  " $3 }' | sort -u >&2 || true
	failed=1
fi

while IFS= read -r -d '' file; do
	dir=$(dirname "$file")
	# Changes nothing, and fails with the difference.
	if ! (cd "$dir" && GOWORK=off go mod tidy -diff); then
		say "$file is not tidy; run 'go mod tidy' in $dir"
		failed=1
	fi
done < <(git ls-files -z --cached --others --exclude-standard -- go.mod '*/go.mod')

exit "$failed"
