// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/discovery"
	"k8s.io/utils/clock"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/lti-operator/lti-operator/api/v1alpha1"
)

// Pauses between two looks at the resource definitions: doubling while something is missing, and the last one from then
// on.
const (
	firstDefinitionsLook = time.Second
	lastDefinitionsLook  = 30 * time.Second
)

// Definitions waits until the API server serves the resource definitions that this operator was built for, and starts the
// controllers then. With older ones the API server would drop fields without a word, and without any, watches fail: the
// operator stays running, is not ready, says why, and publishes nothing.
type Definitions struct {
	Discovery discovery.DiscoveryInterface
	Clock     clock.Clock
	// Begin is called once, when everything is there.
	Begin func() error

	mu      sync.Mutex
	missing error
	looked  bool
}

// Ready is a readiness check.
func (d *Definitions) Ready(*http.Request) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.looked {
		return errors.New("the resource definitions were not looked at yet")
	}
	return d.missing
}

// NeedLeaderElection implements manager.LeaderElectionRunnable: also a replica that only waits says what it misses.
func (d *Definitions) NeedLeaderElection() bool { return false }

// Start implements manager.Runnable.
func (d *Definitions) Start(ctx context.Context) error {
	pause, started := firstDefinitionsLook, false
	for {
		missing := missingDefinitions(d.Discovery)
		if ctx.Err() != nil {
			return nil
		}
		d.note(ctx, missing)
		if missing == nil {
			pause = lastDefinitionsLook
			if !started {
				started = true
				if err := d.Begin(); err != nil {
					return fmt.Errorf("set up controllers: %w", err)
				}
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-d.Clock.After(pause):
		}
		pause = min(2*pause, lastDefinitionsLook)
	}
}

// note keeps the newest finding, and logs it when it is another one than before.
func (d *Definitions) note(ctx context.Context, missing error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	before, first := d.missing, !d.looked
	d.missing, d.looked = missing, true
	switch {
	case missing == nil && !first && before != nil:
		logf.FromContext(ctx).Info("the resource definitions are there now")
	case missing != nil && (before == nil || before.Error() != missing.Error()):
		logf.FromContext(ctx).Error(missing, "nothing is reconciled or published before the resource definitions are there")
	}
}

// missingDefinitions compares what the API server serves with the types of this operator.
func missingDefinitions(d discovery.DiscoveryInterface) error {
	groups, err := d.OpenAPIV3().Paths()
	if err != nil {
		return fmt.Errorf("ask the API server for its resources: %w", err)
	}
	group, ok := groups["apis/"+v1alpha1.GroupVersion.String()]
	if !ok {
		return fmt.Errorf("the resource definitions of %s are not installed: apply the charts/lti-operator-crds of this version", v1alpha1.GroupVersion)
	}
	text, err := group.Schema(runtime.ContentTypeJSON)
	if err != nil {
		return fmt.Errorf("ask the API server for the schema of %s: %w", v1alpha1.GroupVersion, err)
	}
	var document struct {
		Components struct {
			Schemas map[string]openAPISchema `json:"schemas"`
		} `json:"components"`
	}
	if err := json.Unmarshal(text, &document); err != nil {
		return fmt.Errorf("read the schema of %s: %w", v1alpha1.GroupVersion, err)
	}
	var missing []string
	for _, object := range []any{v1alpha1.LTIAcademy{}, v1alpha1.LTIPlatform{}, v1alpha1.LTITool{}, v1alpha1.LTIActivity{}} {
		kind := reflect.TypeOf(object).Name()
		found := false
		for _, s := range document.Components.Schemas {
			for _, id := range s.Kinds {
				if id.Kind == kind && id.Group == v1alpha1.GroupVersion.Group && id.Version == v1alpha1.GroupVersion.Version {
					found = true
					missing = append(missing, missingFields(kind, reflect.TypeOf(object), s)...)
				}
			}
		}
		if !found {
			missing = append(missing, kind)
		}
	}
	if len(missing) > 0 {
		const most = 5
		more := ""
		if len(missing) > most {
			missing, more = missing[:most], fmt.Sprintf(" and %d more", len(missing)-most)
		}
		return fmt.Errorf("the resource definitions of %s are older than this operator: %s%s missing; apply the charts/lti-operator-crds of this version",
			v1alpha1.GroupVersion, strings.Join(missing, ", "), more)
	}
	return nil
}

// openAPISchema is what is looked at of a schema in OpenAPI 3.
type openAPISchema struct {
	Properties map[string]openAPISchema `json:"properties"`
	Items      *openAPISchema           `json:"items"`
	Kinds      []struct {
		Group   string `json:"group"`
		Version string `json:"version"`
		Kind    string `json:"kind"`
	} `json:"x-kubernetes-group-version-kind"`
}

// missingFields lists the fields of our own types that a schema lacks. Types of others (conditions, resources) are not
// looked into.
func missingFields(path string, t reflect.Type, s openAPISchema) (missing []string) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() == reflect.Slice {
		if s.Items == nil {
			return nil
		}
		return missingFields(path, t.Elem(), *s.Items)
	}
	if t.Kind() != reflect.Struct || t.PkgPath() != reflect.TypeFor[v1alpha1.LTIAcademy]().PkgPath() {
		return nil
	}
	for i := range t.NumField() {
		field := t.Field(i)
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if name == "" && field.Anonymous {
			missing = append(missing, missingFields(path, field.Type, s)...)
			continue
		}
		if name == "" || name == "-" {
			continue
		}
		property, ok := s.Properties[name]
		if !ok {
			missing = append(missing, path+"."+name)
			continue
		}
		missing = append(missing, missingFields(path+"."+name, field.Type, property)...)
	}
	return missing
}
