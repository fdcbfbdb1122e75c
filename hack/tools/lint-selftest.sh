#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# A linter whose rules match nothing passes as well as one that finds nothing. This plants forbidden code in a copy of
# the tree and fails unless the linter, with the configuration of this repository, refuses each piece of it.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=hack/tools/lib.sh
source "$here/lib.sh"
cd "$here/../.."

linter=$("$here/build.sh" golangci-lint)
self=github.com/lti-operator/lti-operator
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT

# What is committed and what is about to be, less what was deleted.
git ls-files -z --cached --others --exclude-standard |
	while IFS= read -r -d '' file; do [[ -f $file ]] && printf '%s\0' "$file"; done |
	tar --null -T - -cf - | tar -xf - -C "$copy"

planted=() reasons=()

# plant LINTER DIR CODE... puts code below DIR that LINTER must refuse, in a package of its own: nothing imports it, so
# it makes no import cycle, which would be reported in place of what is looked for.
plant() {
	local by=$1 dir=$2/zz${#planted[@]}
	shift 2
	mkdir -p "$copy/$dir"
	printf 'package planted\n\n%s\n' "$*" >"$copy/$dir/planted.go"
	planted+=("$dir")
	reasons+=("$by")
}

# refuse DIR IMPORT says that DIR must not import IMPORT.
refuse() {
	plant depguard "$1" "import _ \"$2\""
	# The linter gives up on imports that lead nowhere, and some of these packages are still to be written.
	if [[ $2 == "$self"/* ]] && ! compgen -G "$copy/${2#"$self"/}/*.go" >/dev/null; then
		mkdir -p "$copy/${2#"$self"/}"
		echo 'package stub' >"$copy/${2#"$self"/}/stub.go"
	fi
}

# The launch handler: no Kubernetes, and nothing of the operator.
for dir in cmd/launch-handler internal/{configdir,egress,grades,handler,handler/tool,identity,lti,pages,provisioning,results,rounds,routing,store,store/sqlite}; do
	refuse "$dir" k8s.io/api/core/v1
	refuse "$dir" sigs.k8s.io/yaml
	refuse "$dir" "$self/api/v1alpha1"
	refuse "$dir" "$self/internal/publish"
done
# Whatever computes talks to no API server.
for dir in api/v1alpha1 internal/{keys,compile,workload}; do
	refuse "$dir" k8s.io/client-go/kubernetes
	refuse "$dir" sigs.k8s.io/controller-runtime
	refuse "$dir" "$self/internal/publish"
	refuse "$dir" "$self/controllers"
done
# The operator knows nothing of the handler's inside.
for dir in internal/publish controllers cmd/lti-operator cmd/kubectl-lti; do
	refuse "$dir" "$self/internal/handler"
	refuse "$dir" "$self/internal/store"
done
refuse api/v1alpha1 "$self/internal/routing"
refuse internal/routing "$self/internal/keys"
refuse internal/keys "$self/internal/compile"
refuse internal/compile "$self/internal/workload"
refuse internal/publish "$self/controllers"
refuse cmd/kubectl-lti "$self/controllers"
refuse internal/details "$self/api/v1alpha1"
refuse internal/configdir "$self/internal/handler"
refuse internal/lti "$self/internal/store"
refuse internal/store "$self/internal/grades"
refuse internal/unheard-of "$self/internal/routing"
for dir in api/v1alpha1 controllers cmd/lti-operator cmd/launch-handler internal/{egress,grades,handler,identity,keys,store}; do
	refuse "$dir" github.com/golang-jwt/jwt/v5
	refuse "$dir" math/rand
	refuse "$dir" math/rand/v2
done
for dir in controllers internal/{grades,handler,identity,lti,publish}; do
	plant forbidigo "$dir" 'import "net/http"

var planted = &http.Client{}'
	plant forbidigo "$dir" 'import "net/http"

var planted = http.DefaultClient'
	plant forbidigo "$dir" 'import "net/http"

var planted, _ = http.Get("https://tool.example/jwks")'
done

# accepted LINTER prints the planted pieces that LINTER does not find. One linter at a time: depguard needs no types and
# so is not held up by code that does not compile.
accepted() {
	local by=$1 dirs=() dir i
	for i in "${!planted[@]}"; do
		[[ ${reasons[i]} == "$by" ]] && dirs+=("${planted[i]}")
	done
	say "lint-selftest: ${#dirs[@]} pieces of code that $by must refuse"
	(cd "$copy" && GOWORK=off "$linter" run --enable-only "$by" --modules-download-mode mod --show-stats=false \
		--output.text.path report --output.text.print-issued-lines=false "${dirs[@]/#/./}") >"$copy/log" 2>&1 &&
		say "the linter finds nothing"
	# A program that cannot be loaded hides everything else.
	if grep -h 'typecheck\|level=error' "$copy/log" "$copy/report" >&2; then
		die "the linter could not do its work"
	fi
	for dir in "${dirs[@]}"; do
		grep -q "^$dir/planted.go:.*($by)\$" "$copy/report" ||
			printf '%s: %s\n' "${dir%/*}" "$(sed -n '3,$p' "$copy/$dir/planted.go" | tr -s '\n' ' ')"
	done
}

for by in depguard forbidigo; do
	missed=$(accepted "$by")
	[[ -z $missed ]] || die "$by accepts
$missed"
done

# What the rules cannot see: packages that come in through others.
linked=$(CGO_ENABLED=0 go list -deps ./cmd/launch-handler)
if kubernetes=$(grep -E '(^|[/.])k8s\.io/' <<<"$linked"); then
	say "$kubernetes"
	die "cmd/launch-handler links these Kubernetes packages"
fi
