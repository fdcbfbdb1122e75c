// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

const (
	clusterDomain = "cluster.local"
	apiPort       = "6443"
	// inside is where the cluster's folder is to be found in the node: short, as the path of a socket must be, and the same
	// wherever the folder is.
	inside = "/run/lti-cluster"

	pauseImage   = "lti-operator.io/pause:cluster"
	corednsImage = "lti-operator.io/coredns:cluster"
)

// assets are what build.sh makes.
var assets = []string{
	"etcd", "kube-apiserver", "kubectl", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy",
	"containerd", "containerd-shim-runc-v2", "ctr", "pause.tar", "coredns.tar",
}

// component is a program of the node.
type component struct {
	name string
	args []string
	// after is what must answer before it is started: a TCP address, a socket's path or a URL.
	after string
}

// components are the programs of the node, in the order of their start.
func (n network) components() []component {
	keys := inside + "/keys/"
	config := inside + "/config/"
	// Before that it refuses those who have permissions only by default, and they try again later and later.
	api := "https://127.0.0.1:" + apiPort + "/readyz"
	return []component{
		{name: "etcd", args: []string{
			"--data-dir=" + inside + "/etcd",
			"--listen-client-urls=http://127.0.0.1:2379", "--advertise-client-urls=http://127.0.0.1:2379",
			"--listen-peer-urls=http://127.0.0.1:2380",
			// Nothing in it outlives the node.
			"--unsafe-no-fsync=true",
		}},
		{name: "containerd", args: []string{"--config=" + config + "containerd.toml"}},
		{name: "kube-apiserver", after: "127.0.0.1:2379", args: []string{
			"--etcd-servers=http://127.0.0.1:2379",
			"--bind-address=0.0.0.0", "--secure-port=" + apiPort, "--advertise-address=" + n.node.String(),
			"--client-ca-file=" + keys + "ca.crt",
			"--tls-cert-file=" + keys + "apiserver.crt", "--tls-private-key-file=" + keys + "apiserver.key",
			"--kubelet-certificate-authority=" + keys + "ca.crt", "--kubelet-preferred-address-types=InternalIP",
			"--kubelet-client-certificate=" + keys + "apiserver-kubelet-client.crt",
			"--kubelet-client-key=" + keys + "apiserver-kubelet-client.key",
			"--service-account-issuer=https://kubernetes.default.svc." + clusterDomain,
			"--service-account-key-file=" + keys + "service-accounts.key",
			"--service-account-signing-key-file=" + keys + "service-accounts.key",
			"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
			"--service-cluster-ip-range=" + n.services.String(),
			"--allow-privileged=true",
		}},
		{name: "kube-controller-manager", after: api, args: []string{
			"--kubeconfig=" + config + "kube-controller-manager.kubeconfig",
			"--bind-address=127.0.0.1", "--use-service-account-credentials=true",
			// As everywhere: it ends when it cannot keep its lease, and begins anew. Otherwise, when the API server is back
			// after a minute, it takes every node for lost, and Services lose their Pods.
			"--leader-elect=true",
			"--root-ca-file=" + keys + "ca.crt",
			"--service-account-private-key-file=" + keys + "service-accounts.key",
			"--cluster-signing-cert-file=" + keys + "ca.crt", "--cluster-signing-key-file=" + keys + "ca.key",
		}},
		{name: "kube-scheduler", after: api, args: []string{
			"--kubeconfig=" + config + "kube-scheduler.kubeconfig",
			"--authentication-kubeconfig=" + config + "kube-scheduler.kubeconfig",
			"--authorization-kubeconfig=" + config + "kube-scheduler.kubeconfig",
			"--bind-address=127.0.0.1", "--leader-elect=false",
		}},
		{name: "kubelet", after: inside + "/containerd.sock", args: []string{
			"--config=" + config + "kubelet.yaml", "--kubeconfig=" + config + "kubelet.kubeconfig",
			"--root-dir=" + inside + "/kubelet", "--hostname-override=" + nodeName, "--node-ip=" + n.node.String(),
		}},
		{name: "kube-proxy", after: api, args: []string{"--config=" + config + "kube-proxy.yaml"}},
	}
}

// writeConfig writes the configuration of the node's programs.
func (c *cluster) writeConfig() error {
	runc, err := lookPath("runc")
	if err != nil {
		return err
	}
	for _, dir := range []string{"config", "config/cni", "logs", "kubelet", "volume-plugins", "pods", "sysctl"} {
		if err := os.MkdirAll(c.path(dir), 0o755); err != nil {
			return err
		}
	}
	files := map[string]string{
		"config/containerd.toml": fmt.Sprintf(`version = 3
root = '%[1]s/containerd'
state = '/run/containerd'
disabled_plugins = [
  'io.containerd.snapshotter.v1.blockfile', 'io.containerd.snapshotter.v1.btrfs', 'io.containerd.snapshotter.v1.devmapper',
  'io.containerd.snapshotter.v1.zfs', 'io.containerd.internal.v1.opt', 'io.containerd.nri.v1.nri',
]

[grpc]
  address = '%[1]s/containerd.sock'

[plugins.'io.containerd.cri.v1.images']
  snapshotter = 'overlayfs'
  [plugins.'io.containerd.cri.v1.images'.pinned_images]
    sandbox = '%[2]s'

[plugins.'io.containerd.cri.v1.runtime']
  # Where it lacks CAP_SYS_RESOURCE, a sandbox could not be given the score that it is to have, and would not start.
  restrict_oom_score_adj = %[3]t
  disable_apparmor = true
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
    runtime_type = 'io.containerd.runc.v2'
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
      BinaryName = '%[4]s'
      SystemdCgroup = false
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = ['%[5]s']
    conf_dir = '%[1]s/config/cni'
`, inside, pauseImage, !hasCapability(24), runc, cniFolder()),
		// Each Pod has a wire of its own and is routed to. On a bridge, answers of one Pod to another would not pass the rules
		// of kube-proxy, unless the kernel has br_netfilter. Pods have no way out of this machine, so that tests cannot come to
		// depend on one; hence no masquerading either.
		"config/cni/10-ptp.conflist": fmt.Sprintf(`{
  "cniVersion": "0.4.0",
  "name": "pods",
  "plugins": [{
    "type": "ptp",
    "mtu": 1400,
    "ipam": {
      "type": "host-local",
      "ranges": [[{"subnet": %q}]],
      "routes": [{"dst": "0.0.0.0/0"}]
    }
  }]
}
`, c.net.pods),
		"config/kubelet.yaml": fmt.Sprintf(`apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: 0.0.0.0
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: %[1]s/keys/ca.crt}
authorization: {mode: Webhook}
tlsCertFile: %[1]s/keys/kubelet-server.crt
tlsPrivateKeyFile: %[1]s/keys/kubelet-server.key
containerRuntimeEndpoint: unix://%[1]s/containerd.sock
cgroupDriver: cgroupfs
cgroupRoot: /%[2]s
# Version 1 of control groups still does, and there are machines with no other.
failCgroupV1: false
failSwapOn: false
enforceNodeAllocatable: []
# The device of the root file system may not be one that kubelet can resolve.
localStorageCapacityIsolation: false
# A disk that is nearly full ends no Pods here.
evictionHard: {memory.available: 50Mi, nodefs.available: "0%%", nodefs.inodesFree: "0%%", imagefs.available: "0%%", imagefs.inodesFree: "0%%"}
# Images are imported, not pulled: one that is gone cannot be had again.
imageGCHighThresholdPercent: 100
imageMaximumGCAge: 0s
clusterDomain: %[3]s
clusterDNS: [%[4]s]
resolvConf: %[1]s/config/resolv.conf
podLogsDir: %[1]s/pods
volumePluginDir: %[1]s/volume-plugins
# There is no iptables here.
makeIPTablesUtilChains: false
nodeStatusUpdateFrequency: 5s
seccompDefault: true
`, inside, c.cgroupName(), clusterDomain, c.net.dnsService),
		"config/kube-proxy.yaml": fmt.Sprintf(`apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
clientConnection: {kubeconfig: %s/config/kube-proxy.kubeconfig}
clusterCIDR: %s
hostnameOverride: %s
# These belong to this machine, or need not be set.
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
`, inside, c.net.pods, nodeName),
		// Nobody answers there: Pods have no way out. CoreDNS is not to ask itself.
		"config/resolv.conf": "nameserver " + c.net.machine.String() + "\noptions timeout:1 attempts:1\n",
	}
	for path, content := range files {
		if err := os.WriteFile(c.path(path), []byte(content), 0o644); err != nil {
			return err
		}
	}
	for key, value := range sysctls {
		if err := os.WriteFile(c.path("sysctl", strings.ReplaceAll(key, "/", ".")), []byte(value+"\n"), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// sysctls are what kubelet sets for the whole machine. It finds them in the node as it wants them, and leaves them.
var sysctls = map[string]string{
	"vm/overcommit_memory":      "1",
	"vm/panic_on_oom":           "0",
	"kernel/panic":              "10",
	"kernel/panic_on_oops":      "1",
	"kernel/keys/root_maxkeys":  "1000000",
	"kernel/keys/root_maxbytes": "25000000",
}

// hasCapability tells whether this process may do what a capability stands for (capabilities(7)).
func hasCapability(number uint) bool {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(status)) {
		var set uint64
		if n, _ := fmt.Sscanf(line, "CapEff: %x", &set); n == 1 {
			return set&(1<<number) != 0
		}
	}
	return false
}

// environment is that of programs of the node, and of those that talk to it.
func environment(assets string) []string {
	return append(os.Environ(), "PATH="+strings.Join([]string{assets, os.Getenv("PATH"), "/usr/sbin", "/sbin"}, string(filepath.ListSeparator)))
}
