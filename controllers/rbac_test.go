// SPDX-License-Identifier: Apache-2.0

package controllers_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

// generatedRole is config/rbac/role.yaml under a name of its own.
func generatedRole(t *testing.T, name string) *rbacv1.ClusterRole {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "config", "rbac", "role.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	role := &rbacv1.ClusterRole{}
	if err := yaml.UnmarshalStrict(text, role); err != nil {
		t.Fatal(err)
	}
	role.Name = name
	return role
}

// may asks the API server whether the user may do this; an empty namespace asks for all of them.
func may(t *testing.T, user, namespace, verb, group, resource string) bool {
	t.Helper()
	resource, subresource, _ := strings.Cut(resource, "/")
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: user,
		ResourceAttributes: &authorizationv1.ResourceAttributes{
			Namespace: namespace, Verb: verb, Group: group, Resource: resource, Subresource: subresource,
		},
	}}
	if err := api.Create(t.Context(), review); err != nil {
		t.Fatal(err)
	}
	return review.Status.Allowed
}

// permission is one thing that the role allows, in one namespace.
type permission struct{ verb, group, resource string }

func permissions(role *rbacv1.ClusterRole) []permission {
	var all []permission
	for _, rule := range role.Rules {
		for _, group := range rule.APIGroups {
			for _, resource := range rule.Resources {
				for _, verb := range rule.Verbs {
					all = append(all, permission{verb, group, resource})
				}
			}
		}
	}
	return all
}

// never is what the operator must not be able to do anywhere: it would let whoever takes it over, or writes a resource,
// become anybody.
var never = []permission{
	{"create", "rbac.authorization.k8s.io", "roles"},
	{"create", "rbac.authorization.k8s.io", "rolebindings"},
	{"create", "rbac.authorization.k8s.io", "clusterroles"},
	{"create", "rbac.authorization.k8s.io", "clusterrolebindings"},
	{"update", "rbac.authorization.k8s.io", "roles"},
	{"bind", "rbac.authorization.k8s.io", "clusterroles"},
	{"escalate", "rbac.authorization.k8s.io", "clusterroles"},
	{"impersonate", "", "users"},
	{"impersonate", "", "serviceaccounts"},
	{"create", "", "serviceaccounts/token"},
	{"create", "", "pods/exec"},
	{"create", "", "pods"},
	{"delete", "", "secrets"},
	{"deletecollection", "", "secrets"},
	{"delete", "", "persistentvolumeclaims"},
	{"update", "lti-operator.io", "ltiplatforms"},
	{"patch", "lti-operator.io", "ltiplatforms"},
	{"patch", "lti-operator.io", "ltiactivities"},
	{"delete", "lti-operator.io", "ltiactivities"},
	{"list", "gateway.networking.k8s.io", "httproutes"},
	{"watch", "gateway.networking.k8s.io", "httproutes"},
	{"update", "networking.k8s.io", "ingresses"},
	{"get", "", "nodes"},
	{"create", "", "namespaces"},
}

func TestPermissionsOfTheOperator(t *testing.T) {
	inside, outside := newNamespace(t), newNamespace(t)
	role := generatedRole(t, "operator-"+inside)
	subject := func(user string) []rbacv1.Subject {
		return []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: user}}
	}
	reference := rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role.Name}
	namespaced, everywhere := "namespaced-"+inside, "everywhere-"+inside
	objects := []client.Object{
		role,
		&rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: inside, Name: "operator"}, RoleRef: reference, Subjects: subject(namespaced)},
		&rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: role.Name}, RoleRef: reference, Subjects: subject(everywhere)},
	}
	create(t, objects...)
	allowed := permissions(role)
	// The authorizer hears of a new role through a watch.
	eventually(t, func() string {
		if !may(t, namespaced, inside, "list", "", "secrets") || !may(t, everywhere, outside, "list", "", "secrets") {
			return "the roles are not in force yet"
		}
		return ""
	})
	reviews := 0
	expect := func(want bool, user, namespace string, p permission) {
		t.Helper()
		reviews++
		if got := may(t, user, namespace, p.verb, p.group, p.resource); got != want {
			t.Errorf("%s may %s %s in namespace %q: %t", user, p.verb, p.resource, namespace, got)
		}
	}
	for _, p := range allowed {
		expect(true, namespaced, inside, p)
		expect(false, namespaced, outside, p)
		expect(false, namespaced, "", p)
		expect(true, everywhere, outside, p)
	}
	for _, p := range never {
		expect(false, namespaced, inside, p)
		expect(false, everywhere, inside, p)
		expect(false, everywhere, "", p)
	}
	t.Logf("%d reviews: %d permissions of the role, %d that nothing grants", reviews, len(allowed), len(never))
}
