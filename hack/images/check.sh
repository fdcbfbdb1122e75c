#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Proves that the images do not depend on where they are built: builds them in two copies of the tree, in folders of
# different names and depths, and fails unless all that comes out is the same, byte for byte. ARCHES as for build.sh.
#
# The copies share the compiler's cache, so that this takes seconds; with FRESH=1 the second has an empty one, which
# compiles everything once more, with another temporary folder, home and locale besides.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=hack/tools/lib.sh
source "$here/../tools/lib.sh"
cd "$here/../.."

(cd "$here" && GOWORK=off CGO_ENABLED=0 go test ./...)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH VERSION=check

# copy DIR copies what is committed and what is about to be, less what was deleted.
copy() {
	mkdir -p "$1"
	git ls-files -z --cached --others --exclude-standard |
		while IFS= read -r -d '' file; do [[ -f $file ]] && printf '%s\0' "$file"; done |
		tar --null -T - -cf - | tar -xf - -C "$1"
}

copy "$work/one"
copy "$work/another/place/two"
say "images-check: building in the first copy"
"$work/one/hack/images/build.sh" >/dev/null
say "images-check: building in the second copy"
second=(env)
if [[ -n ${FRESH:-} ]]; then
	mkdir -p "$work/tmp" "$work/home"
	second+=("GOCACHE=$work/cache" "GOMODCACHE=$(go env GOMODCACHE)" "TMPDIR=$work/tmp" "HOME=$work/home" LC_ALL=C TZ=Asia/Tokyo)
fi
"${second[@]}" "$work/another/place/two/hack/images/build.sh" >/dev/null

diff -r "$work/one/bin/images" "$work/another/place/two/bin/images" >&2 || die "two copies of the same tree give different images"
cat "$work/one/bin/images/digests.txt"
say "images-check: both copies give the same images"
