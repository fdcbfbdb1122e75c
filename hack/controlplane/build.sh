#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Provides etcd, kube-apiserver and kubectl for tests and the demo, and prints their folder as the last line of stdout:
#
#	KUBEBUILDER_ASSETS="$(hack/controlplane/build.sh)" go test ./...
#
# A folder given in KUBEBUILDER_ASSETS is taken as it is. Otherwise the versions pinned in go.mod here are built from
# source, once per machine: minutes the first time, nothing after that.
#
# With --node it builds the other programs of Kubernetes into the same folder too, those that make a whole node of it;
# KUBEBUILDER_ASSETS does not count then.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=hack/tools/lib.sh
source "$here/../tools/lib.sh"

node=()
case ${1:-} in
'') ;;
--node) node=(kube-controller-manager kube-scheduler kubelet kube-proxy) ;;
*) die "usage: build.sh [--node]" ;;
esac

if ((${#node[@]} == 0)) && [[ -n ${KUBEBUILDER_ASSETS:-} ]]; then
	for name in etcd kube-apiserver kubectl; do
		[[ -x $KUBEBUILDER_ASSETS/$name ]] ||
			die "KUBEBUILDER_ASSETS is set to $KUBEBUILDER_ASSETS, which holds no $name; unset it to build one"
	done
	printf '%s\n' "$KUBEBUILDER_ASSETS"
	exit 0
fi

version=$(awk '$1 == "k8s.io/kubernetes" { print $2 } $2 == "k8s.io/kubernetes" && $1 == "require" { print $3 }' "$here/go.mod")
[[ $version =~ ^v([0-9]+)\.([0-9]+)\. ]] || die "no version of k8s.io/kubernetes in $here/go.mod"
major=${BASH_REMATCH[1]} minor=${BASH_REMATCH[2]}
assets=$(cache_root)/controlplane/$version-$(module_hash "$here")

# Without these both report v0.0.0-master, and clients would take the server for one of unknown age.
ldflags="-s -w"
for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
	ldflags+=" -X $package.gitVersion=$version -X $package.gitMajor=$major -X $package.gitMinor=$minor"
	ldflags+=" -X $package.gitTreeState=clean"
done

build_once "$assets/etcd" "$here" go.etcd.io/etcd/server/v3 -ldflags "-s -w"
build_once "$assets/kube-apiserver" "$here" k8s.io/kubernetes/cmd/kube-apiserver -ldflags "$ldflags"
build_once "$assets/kubectl" "$here" k8s.io/kubernetes/cmd/kubectl -ldflags "$ldflags"
for name in "${node[@]}"; do
	build_once "$assets/$name" "$here" "k8s.io/kubernetes/cmd/$name" -ldflags "$ldflags"
done

printf '%s\n' "$assets"
