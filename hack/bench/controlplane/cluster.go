// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/lti-operator/lti-operator/hack/apiserver"
)

// namespace is where everything lives, the operator's lease included.
const namespace = "bench"

// etcdQuota is the most that etcd may hold. Its own default of 2 GiB would end the run of an operator that writes too
// much, instead of showing how much it writes.
const etcdQuota = 8 << 30

// auditPolicy logs whatever the operator asks for, and who else writes to what concerns it. Metadata holds no content:
// the log has no Secret in it.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - level: Metadata
    users: [` + apiserver.OperatorUser + `]
  - level: Metadata
    verbs: [create, update, patch, delete, deletecollection]
    resources:
      - group: lti-operator.io
      - group: ""
        resources: [events]
      - group: events.k8s.io
      - group: coordination.k8s.io
  - level: None
`

// cluster is a real API server with its etcd, which syncs to disk as in production.
type cluster struct {
	*apiserver.Server
	auditLog string
}

func startCluster(ctx context.Context, root, assets, dir, logDir string) (*cluster, error) {
	c := &cluster{auditLog: filepath.Join(logDir, "audit.log")}
	policy := filepath.Join(dir, "audit-policy.yaml")
	data := filepath.Join(dir, "etcd")
	if err := errors.Join(os.WriteFile(policy, []byte(auditPolicy), 0o600), os.Mkdir(data, 0o700)); err != nil {
		return nil, fmt.Errorf("prepare the API server: %w", err)
	}
	server, err := apiserver.Start(ctx, apiserver.Options{
		Root: root, Assets: assets, Dir: dir, Namespace: namespace,
		Configure: func(p *envtest.ControlPlane) {
			p.Etcd = &envtest.Etcd{DataDir: data}
			p.Etcd.Configure().Disable("unsafe-no-fsync").Set("quota-backend-bytes", fmt.Sprint(etcdQuota))
			p.GetAPIServer().Configure().
				Set("audit-policy-file", policy).
				Set("audit-log-path", c.auditLog).
				Set("audit-log-maxsize", "100000") // in MiB: one file, which is read while it grows
		},
	})
	if err != nil {
		return nil, err
	}
	c.Server = server
	return c, nil
}
