#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Proves the cluster: starts it (a second time too, which must do nothing), runs Pods of the images in bin/images in it,
# ends it, and fails unless this machine is as it was before: interfaces, addresses, routes, rules of nftables, mounts,
# control groups, settings of the kernel, and files where programs of a node leave theirs. What others start or end on the
# machine meanwhile, such as another cluster, it takes for its own.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=hack/tools/lib.sh
source "$here/../tools/lib.sh"
cd "$here/../.."
PATH=$PATH:/usr/sbin:/sbin

# snapshot prints what a node may leave behind on this machine.
snapshot() {
	ip -o address | sed 's/ *valid_lft.*//'
	ip route show table all
	nft list tables
	awk '{ print $5, $9 }' /proc/self/mountinfo | sort
	find /sys/fs/cgroup -type d \( -name 'kubepods*' -o -name 'lti-cluster*' \)
	sysctl -e -n net.ipv4.ip_forward vm.overcommit_memory vm.panic_on_oom kernel.panic kernel.panic_on_oops kernel.keys.root_maxkeys
	find /run/containerd /run/netns /run/lti-* /var/lib/cni /var/lib/kubelet /var/lib/containerd /var/log/pods /var/log/containers \
		/etc/cni /opt/cni /opt/containerd /usr/libexec/kubernetes 2>/dev/null || true
	pgrep -l . | awk '$2 ~ /^(kubelet|kube-proxy|containerd|containerd-shim|kube-scheduler|kube-controller|coredns|pause)$/ { print $2 }' | sort | uniq -c
}

cluster=bin/cluster
make --no-print-directory "$cluster"
"$cluster" status >/dev/null 2>&1 && die "the cluster is up already; 'make cluster-down' ends it"
"$cluster" preflight
hack/tools/ensure.sh runc cni-plugins nft ip conntrack >&2
assets=$(hack/cluster/build.sh)
before=$(snapshot)
trap '"$cluster" down || true' EXIT
"$cluster" up --assets "$assets"
"$cluster" up --assets "$assets" >/dev/null
"$cluster" check bin/images
"$cluster" down
trap - EXIT
after=$(snapshot)
[[ $before == "$after" ]] || {
	diff <(printf '%s\n' "$before") <(printf '%s\n' "$after") >&2 || true
	die "this machine is not as it was before"
}
say "this machine is as it was before"
