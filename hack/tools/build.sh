#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Builds a tool pinned in go.mod here, once per machine, and prints its path as the last line of stdout:
#
#	"$(hack/tools/build.sh controller-gen)" --version
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=hack/tools/lib.sh
source "$here/lib.sh"

name=${1:?usage: build.sh NAME, where NAME is controller-gen or golangci-lint}
case $name in
controller-gen) module=sigs.k8s.io/controller-tools package=$module/cmd/controller-gen variable=$module/pkg/version.version ;;
golangci-lint) module=github.com/golangci/golangci-lint/v2 package=$module/cmd/golangci-lint variable=main.version ;;
*) die "no tool called $name: it must be listed here and in $here/go.mod" ;;
esac

version=$(awk -v module="$module" '$1 == module { print $2 }' "$here/go.mod")
[[ -n $version ]] || die "no version of $module in $here/go.mod"

path=$(cache_root)/bin/$name-$version-$(module_hash "$here")
# The version is not decoration: controller-gen writes its own into every CRD.
build_once "$path" "$here" "$package" -ldflags "-s -w -X $variable=$version"

printf '%s\n' "$path"
