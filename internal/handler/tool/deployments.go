// SPDX-License-Identifier: Apache-2.0

package tool

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/lti-operator/lti-operator/internal/lti"
)

const (
	// noteEvery is how often one unknown deployment is written to the store, however often it launches.
	noteEvery = time.Minute
	// maxNoted bounds the deployments that are remembered for that.
	maxNoted = 1024
)

// noted remembers which unknown deployments were written to the store recently.
type noted struct {
	mu sync.Mutex
	at map[deploymentKey]time.Time
}

type deploymentKey struct{ platform, id string }

// due tells whether a deployment is to be written now.
func (n *noted) due(key deploymentKey, now time.Time) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if last, ok := n.at[key]; ok && now.Sub(last) < noteEvery {
		return false
	}
	if n.at == nil || len(n.at) >= maxNoted {
		n.at = map[deploymentKey]time.Time{}
	}
	n.at[key] = now
	return true
}

// forget makes a deployment due again: writing it has failed.
func (n *noted) forget(key deploymentKey) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.at, key)
}

// noteDeployment remembers a deployment that launched and is not listed, so that status can show it. The launch is
// refused all the same, and a store that fails changes nothing about that.
func (t *Tool) noteDeployment(ctx context.Context, platform string, err error) {
	var refusal *lti.Refusal
	if !errors.As(err, &refusal) || refusal.Code != lti.DeploymentUnknown || refusal.Value == "" {
		return
	}
	if !t.noted.due(deploymentKey{platform, refusal.Value}, t.Now()) {
		return
	}
	if err := t.Store.NoteUnknownDeployment(ctx, platform, refusal.Value); err != nil {
		t.noted.forget(deploymentKey{platform, refusal.Value})
		t.Web.Log.WarnContext(ctx, "could not note an unknown deployment", "platform", platform, "error", err.Error())
	}
}
