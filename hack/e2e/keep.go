// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lti-operator/lti-operator/api/v1alpha1"
	"github.com/lti-operator/lti-operator/hack/launches"
)

var productKinds = []string{v1alpha1.KindAcademy, v1alpha1.KindPlatform, v1alpha1.KindTool, v1alpha1.KindActivity}

// resources are all of the product, as they stand.
func (e *e2e) resources(ctx context.Context) ([]unstructured.Unstructured, error) {
	var all []unstructured.Unstructured
	for _, kind := range productKinds {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(kind + "List"))
		if err := e.k.List(ctx, list, client.InNamespace(namespace)); err != nil {
			return nil, err
		}
		all = append(all, list.Items...)
	}
	return all, nil
}

// handedOut is everything that stands in systems of others: what may never change by itself. It is text, by what it is.
func (e *e2e) handedOut(ctx context.Context) (map[string]string, error) {
	all, err := e.resources(ctx)
	if err != nil {
		return nil, err
	}
	values := map[string]string{}
	for i := range all {
		o := &all[i]
		name := o.GetKind() + "/" + o.GetName()
		for _, field := range []string{"details", "lti12", "lti13", "external"} {
			if part, ok, _ := unstructured.NestedMap(o.Object, "status", field); ok {
				text, err := json.Marshal(part)
				if err != nil {
					return nil, err
				}
				values[name+" "+field] = string(text)
			}
		}
		keys, _, _ := unstructured.NestedSlice(o.Object, "status", "keys")
		for _, k := range keys {
			key, _ := k.(map[string]any)
			values[fmt.Sprintf("%s key %v", name, key["keyID"])] = fmt.Sprint(key["state"])
		}
	}
	secrets, err := e.generatedSecrets(ctx)
	if err != nil {
		return nil, err
	}
	for i := range secrets {
		for key, value := range secrets[i].Data {
			if key != "keys.json" {
				values["Secret/"+secrets[i].Name+" "+key] = string(value)
			}
		}
	}
	return values, nil
}

// same tells which of the values are others now. It does not tell them: some are secret.
func same(before, after map[string]string) error {
	var changed []string
	for _, what := range slices.Sorted(maps.Keys(before)) {
		if now, ok := after[what]; !ok {
			changed = append(changed, what+" is gone")
		} else if now != before[what] {
			changed = append(changed, what+" has changed")
		}
	}
	if len(changed) > 0 {
		return errors.New(strings.Join(changed, ", "))
	}
	return nil
}

// generatedSecrets are those of the operator, less the shards, which are made from the others.
func (e *e2e) generatedSecrets(ctx context.Context) ([]corev1.Secret, error) {
	var list corev1.SecretList
	if err := e.k.List(ctx, &list, client.InNamespace(namespace), client.MatchingLabels{"app.kubernetes.io/managed-by": "lti-operator"}); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(list.Items, func(s corev1.Secret) bool { return strings.Contains(s.Name, "-keys-") }), nil
}

func (e *e2e) reinstall(ctx context.Context) error {
	before, err := e.handedOut(ctx)
	if err != nil {
		return err
	}
	return e.undisturbed(ctx, func(ctx context.Context) error {
		pods, err := e.handlerPods(ctx)
		if err != nil {
			return err
		}
		for _, name := range []string{release, crdsRelease} {
			if err := e.helm(ctx, "uninstall", name, "--wait", "--timeout", "2m"); err != nil {
				return err
			}
		}
		if err := sleep(ctx, 3*time.Second); err != nil {
			return err
		}
		after, err := e.handedOut(ctx)
		if err != nil {
			return fmt.Errorf("after helm uninstall: %w", err)
		}
		e.report.check(e.phase, fmt.Sprintf("helm uninstall keeps definitions, resources and Secrets (%d values)", len(before)), same(before, after))
		now, err := e.handlerPods(ctx)
		if err == nil && (len(now) != len(pods) || now[0].UID != pods[0].UID) {
			err = errors.New("they are others")
		}
		e.report.check(e.phase, "the launch handlers go on", err)
		err = e.k.get(ctx, release, &appsv1.Deployment{})
		if client.IgnoreNotFound(err) == nil && err != nil {
			err = nil
		} else {
			err = errors.Join(errors.New("the operator is still there"), err)
		}
		e.report.check(e.phase, "the operator is gone", err)
		// As if nothing had been there.
		if err := e.installCharts(ctx); err != nil {
			return err
		}
		took, err := e.changeTakes(ctx, time.Minute)
		if err != nil {
			return err
		}
		e.report.tell(e.phase, "installed again; a change → effective", fmt.Sprintf("%.1f s", took.Seconds()))
		if err := e.resourcesReady(ctx, time.Minute); err != nil {
			return err
		}
		if after, err = e.handedOut(ctx); err != nil {
			return err
		}
		e.report.check(e.phase, "installed again: same key IDs, URLs, details and credentials", same(before, after))
		return nil
	})
}

// small is an academy on SQLite, beside the other one.
const small = `
apiVersion: lti-operator.io/v1alpha1
kind: LTIAcademy
metadata: {name: small}
spec:
  title: Small Academy
  url: https://small.acme.example
  storage: {sqlite: {size: 1Gi}}
  clients: [{clientID: academy-app, clientSecretRef: {name: academy-app}}]
---
apiVersion: lti-operator.io/v1alpha1
kind: LTIActivity
metadata: {name: ladder}
spec:
  academyRef: {name: small}
  title: Ladder check
  type: Microlearning
  share: {targetURL: "https://academy.acme.example/courses/7", signIn: LaunchCode}
`

// sqliteRestart restarts the one launch handler of an academy on SQLite.
func (e *e2e) sqliteRestart(ctx context.Context) error {
	const handler = "small-launch-handler"
	if err := e.k.apply(ctx, small, nil); err != nil {
		return err
	}
	if err := e.resourcesReady(ctx, 2*time.Minute); err != nil {
		return err
	}
	service, activity, secret := &corev1.Service{}, &v1alpha1.LTIActivity{}, &corev1.Secret{}
	if err := errors.Join(e.k.get(ctx, handler, service), e.k.get(ctx, "ladder", activity)); err != nil {
		return err
	}
	if err := e.k.get(ctx, activity.Status.LTI12.CredentialsSecretName, secret); err != nil {
		return err
	}
	a := &launches.Academy{URL: "https://small.acme.example", Base: "http://" + service.Spec.ClusterIP, Client: launches.NewClient(nil)}
	a.Client.Timeout = 2 * time.Second
	credentials := launches.Credentials{
		ConsumerKey: string(secret.Data[v1alpha1.SecretKeyConsumerKey]), SharedSecret: string(secret.Data[v1alpha1.SecretKeySharedSecret]),
	}
	subject := func() (string, error) {
		arrived, err := launches.LaunchForm(ctx, a, credentials, personOf(kinds[1], 0), launches.Link{Activity: "ladder", ID: "link", Context: "course"})
		if err != nil {
			return "", err
		}
		claims, err := e.app.Redeem(ctx, a, arrived)
		if err != nil {
			return "", err
		}
		return claims.Subject, nil
	}
	before, err := subject()
	if err != nil {
		return err
	}
	if err := e.k.merge(ctx, &v1alpha1.LTIAcademy{}, "small", `{"spec":{"handler":{"podAnnotations":{"e2e/round":"1"}}}}`); err != nil {
		return err
	}
	// From the last launch that works to the first one that does again.
	var last, first time.Time
	tried, failed := 0, 0
	for deadline := time.Now().Add(2 * time.Minute); first.IsZero(); tried++ {
		if _, err := subject(); err == nil && failed == 0 {
			last = time.Now()
		} else if err == nil {
			first = time.Now()
		} else {
			failed++
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("after 2 minutes %d of %d launches have failed", failed, tried)
		}
		if err := sleep(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
	e.report.tell(e.phase, "a restart with SQLite: without launches for", fmt.Sprintf("%.1f s", first.Sub(last).Seconds()))
	after, err := subject()
	if err == nil && after != before {
		err = errors.New("a known person has become another")
	}
	e.report.check(e.phase, "a known person is known after it", err)
	if err := e.rolledOut(ctx, handler, time.Minute); err != nil {
		return err
	}
	return errors.Join(
		e.k.Delete(ctx, &v1alpha1.LTIActivity{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "ladder"}}),
		e.k.Delete(ctx, &v1alpha1.LTIAcademy{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "small"}}),
	)
}

// backup is what docs/install.md says to keep.
type backup struct {
	secrets   []corev1.Secret
	resources []unstructured.Unstructured
	database  []byte
}

// plain is an object as a file has it: what the API server adds is left out.
func plain(o client.Object) {
	o.SetUID("")
	o.SetResourceVersion("")
	o.SetGeneration(0)
	o.SetCreationTimestamp(metav1.Time{})
	o.SetManagedFields(nil)
	o.SetOwnerReferences(nil)
}

func (e *e2e) makeBackup(ctx context.Context) (*backup, error) {
	b := &backup{}
	var err error
	if b.secrets, err = e.generatedSecrets(ctx); err != nil {
		return nil, err
	}
	if b.resources, err = e.resources(ctx); err != nil {
		return nil, err
	}
	for i := range b.secrets {
		plain(&b.secrets[i])
	}
	for i := range b.resources {
		plain(&b.resources[i])
		unstructured.RemoveNestedField(b.resources[i].Object, "status")
	}
	dump := exec.CommandContext(ctx, e.database.Program("pg_dump"), "--no-owner", "--no-privileges", "--dbname="+e.databaseURL)
	var problems bytes.Buffer
	dump.Stderr = &problems
	if b.database, err = dump.Output(); err != nil {
		return nil, fmt.Errorf("pg_dump: %w: %s", err, problems.String())
	}
	return b, nil
}

func (e *e2e) restore(ctx context.Context) error {
	// Of everybody who was ever launched, these are launched again in the end.
	for _, k := range kinds {
		if err := e.launchUntil(ctx, k, 20*time.Second); err != nil {
			return err
		}
	}
	before, err := e.handedOut(ctx)
	if err != nil {
		return err
	}
	b, err := e.makeBackup(ctx)
	if err != nil {
		return err
	}
	e.say("backed up: %d Secrets, %d resources, %d KiB of the database", len(b.secrets), len(b.resources), len(b.database)>>10)
	if err := errors.Join(e.peers.close(), e.clusterDown(ctx), e.database.Close()); err != nil {
		return err
	}
	if err := e.clusterUp(ctx); err != nil {
		return err
	}
	began := time.Now()
	if err := e.peers.listen(ctx, nil); err != nil {
		return err
	}
	if err := e.startDatabase(); err != nil {
		return err
	}
	fill := exec.CommandContext(ctx, e.database.Program("psql"), "--quiet", "--no-psqlrc", "--set=ON_ERROR_STOP=1", "--output=/dev/null", "--dbname="+e.databaseURL)
	fill.Stdin = bytes.NewReader(b.database)
	if out, err := fill.CombinedOutput(); err != nil {
		return fmt.Errorf("psql: %w: %s", err, out)
	}
	if err := errors.Join(e.makeNamespaces(ctx), e.k.apply(ctx, prerequisites, e.values())); err != nil {
		return err
	}
	for i := range b.secrets {
		if err := e.k.Create(ctx, &b.secrets[i]); err != nil {
			return err
		}
	}
	if err := e.installCharts(ctx); err != nil {
		return err
	}
	for i := range b.resources {
		o := &b.resources[i]
		if err := e.k.Create(ctx, o); client.IgnoreAlreadyExists(err) != nil {
			return err
		}
	}
	if err := e.k.apply(ctx, samples, e.values()); err != nil {
		return err
	}
	if err := e.resourcesReady(ctx, 2*time.Minute); err != nil {
		return err
	}
	e.report.tell(e.phase, "empty cluster → all Ready", strconv.Itoa(int(time.Since(began).Seconds()))+" s")
	after, err := e.handedOut(ctx)
	if err != nil {
		return err
	}
	e.report.check(e.phase, fmt.Sprintf("same key IDs, URLs, details and credentials (%d values)", len(before)), same(before, after))
	for _, k := range kinds {
		e.report.check(e.phase, "a known person reaches the same account: "+k.name, e.launchUntil(ctx, k, 20*time.Second))
	}
	return nil
}
