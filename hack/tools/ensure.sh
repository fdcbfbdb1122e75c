#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Makes sure that programs which Go cannot build are there, and installs the missing ones with apt-get where there is
# one. Ends with an error that names the program when it cannot.
#
#	hack/tools/ensure.sh node npm chromium
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=hack/tools/lib.sh
source "$here/lib.sh"

node_major=20

# present NAME tells whether the program is there and new enough.
present() {
	if [[ $1 == postgres ]]; then
		# Debian keeps the server out of PATH, one folder for each version.
		compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || command -v initdb >/dev/null
		return
	fi
	if [[ $1 == cni-plugins ]]; then
		# They are in no PATH.
		[[ -x /usr/lib/cni/ptp || -x /usr/lib64/cni/ptp || -x /opt/cni/bin/ptp ]]
		return
	fi
	# Debian keeps some where only root's PATH leads.
	PATH=$PATH:/usr/sbin:/sbin command -v "$1" >/dev/null || return 1
	case $1 in
	node) node -e "process.exit(parseInt(process.versions.node) >= $node_major ? 0 : 1)" ;;
	esac
}

packages_of() {
	case $1 in
	node) echo nodejs ;;
	gcc) echo gcc libc6-dev ;;
	postgres) echo postgresql ;;
	cni-plugins) echo containernetworking-plugins ;;
	nft) echo nftables ;;
	ip) echo iproute2 ;;
	promtool) ;; # see below
	chromium | conntrack | npm | runc | shellcheck) echo "$1" ;;
	*) die "ensure.sh does not know $1" ;;
	esac
}

(($# > 0)) || die "usage: ensure.sh NAME..."

missing=() packages=()
for name; do
	found=$(packages_of "$name")
	present "$name" && continue
	missing+=("$name")
	read -ra words <<<"$found"
	packages+=("${words[@]}")
done
((${#missing[@]} > 0)) || exit 0

command -v apt-get >/dev/null || die "missing: ${missing[*]} (node $node_major or newer). Please install; there is no apt-get here to do it."
as_root=()
if ((EUID != 0)); then
	command -v sudo >/dev/null || die "missing: ${missing[*]}. Run this as root."
	as_root=(sudo)
fi

say "installing ${missing[*]}"
log=$(mktemp)
unpacked=$(mktemp -d)
trap 'rm -rf "$log" "$unpacked"' EXIT
install_missing() {
	if [[ " ${missing[*]} " == *' postgres '* && ! -e /etc/postgresql-common/createcluster.conf ]]; then
		# The package would otherwise make a cluster and start it.
		"${as_root[@]}" install -d /etc/postgresql-common
		echo 'create_main_cluster = false' | "${as_root[@]}" tee /etc/postgresql-common/createcluster.conf >/dev/null
	fi
	"${as_root[@]}" apt-get -q update || return
	if [[ " ${missing[*]} " == *' promtool '* ]]; then
		# The package would start a server, so only this one program of it is taken.
		(cd "$unpacked" && apt-get -q download prometheus && dpkg-deb -x ./prometheus_*.deb . &&
			"${as_root[@]}" install -m 755 usr/bin/promtool /usr/local/bin/) || return
	fi
	((${#packages[@]} == 0)) ||
		"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qy install --no-install-recommends "${packages[@]}"
}
install_missing </dev/null >"$log" 2>&1 || {
	tail -n 20 "$log" >&2
	die "apt-get could not install ${missing[*]}"
}

for name in "${missing[@]}"; do
	present "$name" && continue
	[[ $name == node ]] && die "node $node_major or newer is needed; found $(node --version 2>/dev/null || echo none) after installing ${packages[*]}"
	die "$name is still missing after installing ${packages[*]}"
done
