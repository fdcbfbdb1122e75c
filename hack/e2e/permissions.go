// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// wideRelease is an installation in scope Cluster, with no operator running.
const wideRelease = "lti-wide"

func (e *e2e) permissions(ctx context.Context) error {
	pods, err := e.handlerPods(ctx)
	if err != nil {
		return err
	}
	var problems []error
	for i := range pods {
		problems = append(problems, e.tokenIn(&pods[i]))
	}
	e.report.check(e.phase, fmt.Sprintf("no token in the %d launch handlers", len(pods)), errors.Join(problems...))

	nobody, err := e.rules(ctx, namespace, "nobody-has-bound-this", namespace)
	if err != nil {
		return err
	}
	handler, err := e.rules(ctx, namespace, handlerName, namespace)
	if err != nil {
		return err
	}
	e.report.check(e.phase, "the launch handler's account may no more than one without any permission", differ(handler, nobody))

	path, err := e.valuesFile(e.images)
	if err != nil {
		return err
	}
	granted, err := e.granted(ctx, release, "--values", path)
	if err != nil {
		return err
	}
	here, err := e.rules(ctx, namespace, release, namespace)
	if err != nil {
		return err
	}
	there, err := e.rules(ctx, namespace, release, otherNamespace)
	if err != nil {
		return err
	}
	e.report.check(e.phase, fmt.Sprintf("scope Namespaces: the operator may what the chart grants, %d verbs, and nothing else", len(granted)), differ(here, union(nobody, granted)))
	e.report.check(e.phase, "scope Namespaces: nothing in another namespace", differ(there, nobody))
	e.report.check(e.phase, "scope Namespaces: refused what it must not", e.refused(ctx, namespace, release, slices.Concat(never, []authorizationv1.ResourceAttributes{
		{Verb: "get", Resource: "secrets", Namespace: otherNamespace},
		{Verb: "list", Resource: "secrets"},
		{Verb: "create", Resource: "pods", Namespace: otherNamespace},
		{Verb: "list", Group: "lti-operator.io", Resource: "ltiactivities"},
	})))

	// In another namespace, and with nobody at work: two operators must not work in one.
	if err := e.run(ctx, e.flags.Helm, "upgrade", "--install", wideRelease, "charts/lti-operator", "--namespace", otherNamespace,
		"--set", "scope=Cluster,replicas=0,academy.create=false,fullnameOverride="+wideRelease); err != nil {
		return err
	}
	defer func() {
		if err := e.run(context.WithoutCancel(ctx), e.flags.Helm, "uninstall", wideRelease, "--namespace", otherNamespace); err != nil {
			e.say("%v", err)
		}
	}()
	wideGranted, err := e.granted(ctx, wideRelease, "--namespace", otherNamespace, "--set", "scope=Cluster,replicas=0,academy.create=false,fullnameOverride="+wideRelease)
	if err != nil {
		return err
	}
	wide, err := e.rules(ctx, otherNamespace, wideRelease, namespace)
	if err != nil {
		return err
	}
	e.report.check(e.phase, fmt.Sprintf("scope Cluster: the operator may what the chart grants, %d verbs, in any namespace, and nothing else", len(wideGranted)), differ(wide, union(nobody, wideGranted)))
	e.report.check(e.phase, "scope Cluster: refused what it must not", e.refused(ctx, otherNamespace, wideRelease, never))
	e.report.check(e.phase, "scope Cluster: Secrets of every namespace, as the documentation says", e.allowed(ctx, otherNamespace, wideRelease, authorizationv1.ResourceAttributes{Verb: "list", Resource: "secrets"}))
	return nil
}

// run runs a program for what it does.
func (e *e2e) run(ctx context.Context, path string, args ...string) error {
	_, err := e.command(ctx, path, args...)
	return err
}

// never is what the operator may do in neither scope.
var never = []authorizationv1.ResourceAttributes{
	{Verb: "create", Group: rbacv1.GroupName, Resource: "roles", Namespace: namespace},
	{Verb: "create", Group: rbacv1.GroupName, Resource: "rolebindings", Namespace: namespace},
	{Verb: "create", Group: rbacv1.GroupName, Resource: "clusterrolebindings"},
	{Verb: "bind", Group: rbacv1.GroupName, Resource: "clusterroles"},
	{Verb: "escalate", Group: rbacv1.GroupName, Resource: "roles", Namespace: namespace},
	{Verb: "impersonate", Resource: "users"},
	{Verb: "impersonate", Resource: "serviceaccounts", Namespace: namespace},
	{Verb: "create", Resource: "serviceaccounts", Subresource: "token", Namespace: namespace},
	{Verb: "create", Resource: "pods", Namespace: namespace},
	{Verb: "create", Resource: "pods", Subresource: "exec", Namespace: namespace},
	{Verb: "delete", Resource: "secrets", Namespace: namespace},
	{Verb: "delete", Resource: "persistentvolumeclaims", Namespace: namespace},
	{Verb: "list", Group: "gateway.networking.k8s.io", Resource: "httproutes", Namespace: namespace},
	{Verb: "patch", Group: "lti-operator.io", Resource: "ltiactivities", Namespace: namespace},
	{Verb: "delete", Group: "lti-operator.io", Resource: "ltiacademies", Namespace: namespace},
	{Verb: "patch", Group: "apiextensions.k8s.io", Resource: "customresourcedefinitions"},
	{Verb: "get", Resource: "nodes"},
}

// tokenIn looks for a token of the API in a Pod: in its spec, and where its files are on this machine.
func (e *e2e) tokenIn(p *corev1.Pod) error {
	if p.Spec.AutomountServiceAccountToken == nil || *p.Spec.AutomountServiceAccountToken {
		return fmt.Errorf("%s: a token is mounted", p.Name)
	}
	for _, v := range p.Spec.Volumes {
		if v.Projected == nil {
			continue
		}
		for _, s := range v.Projected.Sources {
			if s.ServiceAccountToken != nil {
				return fmt.Errorf("%s: volume %s has a token", p.Name, v.Name)
			}
		}
	}
	if e.flags.Kubeconfig != "" {
		return nil
	}
	pid, err := processOf(p)
	if err != nil {
		return err
	}
	root := fmt.Sprintf("/proc/%d/root", pid)
	if _, err := os.Stat(root + "/launch-handler"); err != nil {
		return fmt.Errorf("look into the container: %w", err)
	}
	for _, folder := range []string{"/var/run/secrets", "/run/secrets"} {
		if _, err := os.Stat(root + folder); !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("%s: there is %s, %w", p.Name, folder, err)
		}
	}
	return nil
}

// as is the API server for a service account.
func (e *e2e) as(in, account string) (*kubernetes.Clientset, error) {
	config := rest.CopyConfig(e.k.config)
	config.Impersonate = rest.ImpersonationConfig{
		UserName: "system:serviceaccount:" + in + ":" + account,
		Groups:   []string{"system:serviceaccounts", "system:serviceaccounts:" + in, "system:authenticated"},
	}
	return kubernetes.NewForConfig(config)
}

// rules are what an account may do in a namespace, as kubectl auth can-i --list shows it.
func (e *e2e) rules(ctx context.Context, in, account, where string) (map[string]bool, error) {
	set, err := e.as(in, account)
	if err != nil {
		return nil, err
	}
	review, err := set.AuthorizationV1().SelfSubjectRulesReviews().Create(ctx,
		&authorizationv1.SelfSubjectRulesReview{Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: where}}, metav1.CreateOptions{})
	if err != nil {
		return nil, err
	}
	if review.Status.Incomplete {
		return nil, fmt.Errorf("the list is incomplete: %s", review.Status.EvaluationError)
	}
	may := map[string]bool{}
	for _, r := range review.Status.ResourceRules {
		expand(may, r.Verbs, r.APIGroups, r.Resources, r.ResourceNames)
	}
	for _, r := range review.Status.NonResourceRules {
		expand(may, r.Verbs, nil, r.NonResourceURLs, nil)
	}
	return may, nil
}

// expand adds one entry for each thing that may be done.
func expand(into map[string]bool, verbs, groups, resources, names []string) {
	if len(groups) == 0 {
		groups = []string{""}
	}
	for _, verb := range verbs {
		for _, group := range groups {
			for _, resource := range resources {
				into[strings.TrimSpace(fmt.Sprintf("%s %s.%s %s", verb, resource, group, strings.Join(names, ",")))] = true
			}
		}
	}
}

// granted is what the chart grants the operator in the namespace that it works in.
func (e *e2e) granted(ctx context.Context, name string, args ...string) (map[string]bool, error) {
	if !slices.Contains(args, "--namespace") {
		args = append(args, "--namespace", namespace)
	}
	text, err := e.command(ctx, e.flags.Helm, append([]string{"template", name, "charts/lti-operator"}, args...)...)
	if err != nil {
		return nil, err
	}
	objects, err := objectsIn(text)
	if err != nil {
		return nil, err
	}
	may := map[string]bool{}
	for _, o := range objects {
		// Only its own namespace has the Role for the lease, in scope Cluster another one than that which is looked at.
		if o.GetKind() != "ClusterRole" && (o.GetKind() != "Role" || o.GetNamespace() != namespace) {
			continue
		}
		role := &rbacv1.ClusterRole{}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, role); err != nil {
			return nil, err
		}
		for _, r := range role.Rules {
			expand(may, r.Verbs, r.APIGroups, r.Resources, r.ResourceNames)
		}
	}
	return may, nil
}

func union(a, b map[string]bool) map[string]bool {
	out := maps.Clone(a)
	maps.Copy(out, b)
	return out
}

// differ tells what is in one set only.
func differ(got, want map[string]bool) error {
	var problems []string
	for _, what := range slices.Sorted(maps.Keys(got)) {
		if !want[what] {
			problems = append(problems, "may "+what)
		}
	}
	for _, what := range slices.Sorted(maps.Keys(want)) {
		if !got[what] {
			problems = append(problems, "may not "+what)
		}
	}
	if len(problems) > 0 {
		return errors.New(strings.Join(problems, ", "))
	}
	return nil
}

func (e *e2e) allowed(ctx context.Context, in, account string, what authorizationv1.ResourceAttributes) error {
	set, err := e.as(in, account)
	if err != nil {
		return err
	}
	review, err := set.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx,
		&authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &what}}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	if !review.Status.Allowed {
		return errNotAllowed
	}
	return nil
}

var errNotAllowed = errors.New("it may not")

// refused checks that an account may do nothing of a list.
func (e *e2e) refused(ctx context.Context, in, account string, list []authorizationv1.ResourceAttributes) error {
	var problems []error
	for _, what := range list {
		switch err := e.allowed(ctx, in, account, what); {
		case err == nil:
			problems = append(problems, fmt.Errorf("it may %s %s %s in %q", what.Verb, what.Resource, what.Subresource, what.Namespace))
		case !errors.Is(err, errNotAllowed):
			problems = append(problems, err)
		}
	}
	return errors.Join(problems...)
}
