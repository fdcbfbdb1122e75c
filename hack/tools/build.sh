#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Builds a tool pinned in go.mod here, in benchstat/ or in charts/, once per machine, and prints its path as the last line of stdout:
#
#	"$(hack/tools/build.sh controller-gen)" --version
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=hack/tools/lib.sh
source "$here/lib.sh"

name=${1:?usage: build.sh NAME, where NAME is benchstat, controller-gen, golangci-lint, helm or kubeconform}
dir=$here
case $name in
controller-gen) module=sigs.k8s.io/controller-tools package=$module/cmd/controller-gen variable=$module/pkg/version.version ;;
golangci-lint) module=github.com/golangci/golangci-lint/v2 package=$module/cmd/golangci-lint variable=main.version ;;
# In modules of their own: a new helm does not make golangci-lint be built again, which takes minutes.
benchstat) dir=$here/benchstat module=golang.org/x/perf package=$module/cmd/benchstat variable=main.version ;;
kubeconform) dir=$here/charts module=github.com/yannh/kubeconform package=$module/cmd/kubeconform variable=main.version ;;
helm) dir=$here/charts module=helm.sh/helm/v4 package=$module/cmd/helm variable=$module/internal/version.version ;;
*) die "no tool called $name: it must be listed here and in a go.mod below $here" ;;
esac

version=$(awk -v module="$module" '$1 == module { print $2 }' "$dir/go.mod")
[[ -n $version ]] || die "no version of $module in $dir/go.mod"

path=$(cache_root)/bin/$name-$version-$(module_hash "$dir")
# The version is not decoration: controller-gen writes its own into every CRD.
build_once "$path" "$dir" "$package" -ldflags "-s -w -X $variable=$version"

printf '%s\n' "$path"
