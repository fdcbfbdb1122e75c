#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Makes images and charts of the release before this one in bin/previous, out of the history of this checkout: of PREVIOUS,
# else of the newest tag v* before HEAD, else of the commit below.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=hack/tools/lib.sh
source "$here/../tools/lib.sh"
cd "$here/../.."

# As long as nothing is released: a tree whose tables and database know nothing of deep linking and dynamic registration.
unreleased=91b137c95dfd3119e05ea77e7b33470549d00633

previous=${PREVIOUS:-$(git describe --tags --match 'v[0-9]*' --abbrev=0 HEAD^ 2>/dev/null || echo "$unreleased")}
commit=$(git rev-parse --verify --quiet "$previous^{commit}") || die "the history of this checkout has no $previous; a shallow clone needs git fetch --unshallow"
out=$PWD/bin/previous
[[ $(cat "$out/commit" 2>/dev/null) != "$commit" ]] || exit 0

say "previous: building $previous"
rm -rf "$out"
mkdir -p "$out/tree"
git archive "$commit" | tar -x -C "$out/tree"
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct "$commit") OUT=$out/images VERSION=previous "$out/tree/hack/images/build.sh" >&2
mv "$out/tree/charts" "$out/charts"
rm -rf "$out/tree"
echo "$commit" >"$out/commit"
