#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Builds every program of the cluster of `make cluster-up` that is built from source, once per machine, and prints their
# folder as the last line of stdout. Cold it is minutes on two processors; after that nothing.
#
#	bin/cluster up --assets "$(hack/cluster/build.sh)"
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=hack/tools/lib.sh
source "$here/../tools/lib.sh"

controlplane=$("$here/../controlplane/build.sh" --node)

# All that the folder depends on: the modules, and the sources of the programs of our own.
hash=$({
	module_hash "$here/containerd"
	module_hash "$here/coredns"
	module_hash "$here/../images"
	cat "$here"/{coredns,pause,probe}/main.go "$here"/../images/*.go
} | git hash-object --stdin | cut -c1-12)
assets=$(cache_root)/cluster-assets/$(basename "$controlplane")-$hash
mkdir -p "$assets"

for name in containerd containerd-shim-runc-v2 ctr; do
	build_once "$assets/$name" "$here/containerd" "github.com/containerd/containerd/v2/cmd/$name" -ldflags "-s -w"
done
for path in "$controlplane"/*; do
	# By name, so that one folder holds all; what is built there later is not missed.
	[[ -x $path ]] && ln -sfn "$path" "$assets/$(basename "$path")"
done

# Images of the cluster's own, marked as complete by the file that is written last.
if [[ ! -e $assets/images ]]; then
	SECONDS=0
	build_once "$assets/image-builder" "$here/../images" .
	arch=$(go env GOARCH)
	"$assets/image-builder" --root "$here" --out "$assets" --version cluster --epoch 1 --arch "$arch" \
		pause=pause probe=probe coredns=coredns >&2
	touch "$assets/images"
	say "images of pause, probe and coredns: built in ${SECONDS} s"
fi

printf '%s\n' "$assets"
