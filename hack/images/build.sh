#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Builds the images of the operator and the launch handler of the tree that this file is in, into OUT (default
# bin/images). What they are made of besides: ARCHES (default this machine's), VERSION (default dev) and
# SOURCE_DATE_EPOCH (default the time of the last commit).
#
#	ARCHES="amd64 arm64" VERSION=v1.2.3 hack/images/build.sh
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=hack/tools/lib.sh
source "$here/../tools/lib.sh"
cd "$here/../.."

if [[ -z ${SOURCE_DATE_EPOCH:-} ]]; then
	# A tree without history, as from an archive, has no such time: then the first second of 1970, which is as good.
	SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null || echo 0)
fi
export SOURCE_DATE_EPOCH
arches=${ARCHES:-$(go env GOARCH)}

mkdir -p bin
(cd "$here" && CGO_ENABLED=0 GOWORK=off go build -mod=readonly -trimpath -buildvcs=false -o ../../bin/image-builder .)
bin/image-builder --root . --out "${OUT:-bin/images}" --version "${VERSION:-dev}" --arch "${arches// /,}" \
	lti-operator=cmd/lti-operator launch-handler=cmd/launch-handler
cat "${OUT:-bin/images}/digests.txt"
