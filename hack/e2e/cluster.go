// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"text/template"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lti-operator/lti-operator/api/v1alpha1"
	"github.com/lti-operator/lti-operator/hack/bench/measure"
)

const (
	// namespace is where the operator is installed and works.
	namespace = "lti-e2e"
	// otherNamespace is where it must not.
	otherNamespace = "lti-e2e-other"
	release        = "lti-operator"
	crdsRelease    = "lti-operator-crds"
	// fieldOwner is this program, where it applies.
	fieldOwner = client.FieldOwner("e2e")
)

// kube is a cluster as its administrator reaches it.
type kube struct {
	client.Client
	config *rest.Config
	set    *kubernetes.Clientset
}

func connect(kubeconfig string) (*kube, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig: %w", err)
	}
	config.QPS, config.Burst, config.Timeout = 500, 1000, 30*time.Second
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return nil, err
	}
	k := &kube{config: config}
	if k.Client, err = client.New(config, client.Options{Scheme: scheme}); err != nil {
		return nil, err
	}
	k.set, err = kubernetes.NewForConfig(config)
	return k, err
}

// get reads an object of the namespace.
func (k *kube) get(ctx context.Context, name string, object client.Object) error {
	if err := k.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, object); err != nil {
		return fmt.Errorf("read %T %s: %w", object, name, err)
	}
	return nil
}

// merge patches an object with JSON.
func (k *kube) merge(ctx context.Context, object client.Object, name, patch string) error {
	object.SetNamespace(namespace)
	object.SetName(name)
	if err := k.Patch(ctx, object, client.RawPatch("application/merge-patch+json", []byte(patch)), fieldOwner); err != nil {
		return fmt.Errorf("patch %T %s: %w", object, name, err)
	}
	return nil
}

// objectsIn reads the objects of a YAML stream.
func objectsIn(text string) ([]*unstructured.Unstructured, error) {
	var list []*unstructured.Unstructured
	decoder := utilyaml.NewYAMLOrJSONDecoder(strings.NewReader(text), 4096)
	for {
		object := &unstructured.Unstructured{}
		err := decoder.Decode(&object.Object)
		if errors.Is(err, io.EOF) {
			return list, nil
		}
		if err != nil {
			return nil, err
		}
		if len(object.Object) > 0 {
			list = append(list, object)
		}
	}
}

// apply applies the objects of a template to the namespace, as kubectl apply --server-side does.
func (k *kube) apply(ctx context.Context, text string, values any) error {
	t, err := template.New("").Option("missingkey=error").Parse(text)
	if err != nil {
		return err
	}
	var out strings.Builder
	if err := t.Execute(&out, values); err != nil {
		return err
	}
	objects, err := objectsIn(out.String())
	if err != nil {
		return err
	}
	for _, o := range objects {
		if o.GetKind() != "Namespace" {
			o.SetNamespace(namespace)
		}
		if err := k.Apply(ctx, client.ApplyConfigurationFromUnstructured(o), fieldOwner, client.ForceOwnership); err != nil {
			return fmt.Errorf("apply %s %s: %w", o.GetKind(), o.GetName(), err)
		}
	}
	return nil
}

// rolledOut waits until a Deployment is what its spec says: all replicas updated and available, no other left.
func (e *e2e) rolledOut(ctx context.Context, name string, timeout time.Duration) error {
	return measure.Until(ctx, timeout, 200*time.Millisecond, func() error {
		d := &appsv1.Deployment{}
		if err := e.k.get(ctx, name, d); err != nil {
			return err
		}
		want, s := int32(1), d.Status
		if d.Spec.Replicas != nil {
			want = *d.Spec.Replicas
		}
		if s.ObservedGeneration != d.Generation || s.UpdatedReplicas != want || s.AvailableReplicas != want || s.Replicas != want {
			return fmt.Errorf("%s: %d of %d replicas updated, %d available, %d in all", name, s.UpdatedReplicas, want, s.AvailableReplicas, s.Replicas)
		}
		return nil
	})
}

// resourcesReady waits until all resources of the product are Ready in their newest generation.
func (e *e2e) resourcesReady(ctx context.Context, timeout time.Duration) error {
	return measure.Until(ctx, timeout, 300*time.Millisecond, func() error {
		var waiting []string
		for _, list := range []client.ObjectList{&v1alpha1.LTIAcademyList{}, &v1alpha1.LTIPlatformList{}, &v1alpha1.LTIToolList{}, &v1alpha1.LTIActivityList{}} {
			if err := e.k.List(ctx, list, client.InNamespace(namespace)); err != nil {
				return err
			}
			for _, o := range v1alpha1Objects(list) {
				if why := notReady(o); why != "" {
					waiting = append(waiting, fmt.Sprintf("%s: %s", o.GetName(), why))
				}
			}
		}
		if len(waiting) > 0 {
			return fmt.Errorf("%d are not Ready: %s", len(waiting), strings.Join(waiting[:min(3, len(waiting))], "; "))
		}
		return nil
	})
}

func v1alpha1Objects(list client.ObjectList) []v1alpha1.Object {
	var out []v1alpha1.Object
	switch l := list.(type) {
	case *v1alpha1.LTIAcademyList:
		for i := range l.Items {
			out = append(out, &l.Items[i])
		}
	case *v1alpha1.LTIPlatformList:
		for i := range l.Items {
			out = append(out, &l.Items[i])
		}
	case *v1alpha1.LTIToolList:
		for i := range l.Items {
			out = append(out, &l.Items[i])
		}
	case *v1alpha1.LTIActivityList:
		for i := range l.Items {
			out = append(out, &l.Items[i])
		}
	}
	return out
}

// notReady tells why an object is not Ready in its newest generation.
func notReady(o v1alpha1.Object) string {
	for _, c := range o.GetConditions() {
		if c.Type != v1alpha1.ConditionReady {
			continue
		}
		if c.Status == metav1.ConditionTrue && c.ObservedGeneration == o.GetGeneration() {
			return ""
		}
		return c.Reason + " " + c.Message
	}
	return "no condition yet"
}

// handlerPods are the launch handlers that are not about to end.
func (e *e2e) handlerPods(ctx context.Context) ([]corev1.Pod, error) {
	var list corev1.PodList
	if err := e.k.List(ctx, &list, client.InNamespace(namespace), client.MatchingLabels{"app.kubernetes.io/name": "launch-handler"}); err != nil {
		return nil, err
	}
	var pods []corev1.Pod
	for i := range list.Items {
		if list.Items[i].DeletionTimestamp == nil {
			pods = append(pods, list.Items[i])
		}
	}
	return pods, nil
}

func podReady(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// command runs a program; its error holds what it said.
func (e *e2e) command(ctx context.Context, path string, args ...string) (string, error) {
	var stdout, stderr bytes.Buffer
	c := exec.CommandContext(ctx, path, args...)
	c.Env = append(os.Environ(), "KUBECONFIG="+e.kubeconfig, "HELM_CONFIG_HOME="+e.dir, "HELM_CACHE_HOME="+e.dir, "HELM_DATA_HOME="+e.dir)
	c.Stdout, c.Stderr = &stdout, &stderr
	if path == e.flags.Cluster && args[0] != "status" {
		c.Stderr = io.MultiWriter(&stderr, os.Stderr) // it takes a while, and tells how far it is
	}
	c.Cancel = func() error { return c.Process.Signal(os.Interrupt) }
	c.WaitDelay = time.Minute
	if err := c.Run(); err != nil {
		return stdout.String(), fmt.Errorf("%s %s: %w: %s", filepath.Base(path), args[0], err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}

// helm runs helm in the namespace.
func (e *e2e) helm(ctx context.Context, args ...string) error {
	_, err := e.command(ctx, e.flags.Helm, append(args, "--namespace", namespace)...)
	return err
}

// clusterUp starts a cluster of our own, and connects to it.
func (e *e2e) clusterUp(ctx context.Context) error {
	if e.flags.Kubeconfig != "" {
		e.kubeconfig, e.address = e.flags.Kubeconfig, e.flags.Address
	} else {
		if _, err := e.command(ctx, e.flags.Cluster, "status"); err == nil {
			return errors.New("a cluster is up already: `make cluster-down` ends it, or give it as KUBECONFIG")
		}
		e.clusterStarted = true
		out, err := e.command(ctx, e.flags.Cluster, "up", "--assets", e.flags.Assets)
		if err != nil {
			return err
		}
		e.kubeconfig = strings.TrimSpace(out)
		if e.address, err = clusterAddress(); err != nil {
			return err
		}
	}
	var err error
	if e.k, err = connect(e.kubeconfig); err != nil {
		return err
	}
	e.images, err = e.loadImages(ctx, e.flags.Images)
	return err
}

// loadImages gives the cluster the images in a folder.
func (e *e2e) loadImages(ctx context.Context, folder string) (imageNames, error) {
	archives, err := filepath.Glob(filepath.Join(folder, "*.tar"))
	if err != nil || len(archives) == 0 {
		return nil, fmt.Errorf("no images in %s; `make images` makes them", folder)
	}
	names := imageNames{}
	for _, archive := range archives {
		if names[strings.TrimSuffix(filepath.Base(archive), ".tar")], err = referenceIn(archive); err != nil {
			return nil, err
		}
	}
	switch {
	case e.flags.Kubeconfig == "":
		_, err = e.command(ctx, e.flags.Cluster, append([]string{"load"}, archives...)...)
	case e.flags.Load != "":
		words := strings.Fields(e.flags.Load)
		_, err = e.command(ctx, words[0], append(words[1:], archives...)...)
	}
	return names, err
}

func (e *e2e) clusterDown(ctx context.Context) error {
	_, err := e.command(ctx, e.flags.Cluster, "down")
	if err == nil {
		e.clusterStarted = false
	}
	return err
}

// clusterAddress is that of this machine in the network of hack/cluster.
func clusterAddress() (string, error) {
	network, err := netip.ParsePrefix(cmp.Or(os.Getenv("LTI_CLUSTER_CIDR"), "10.213.0.0/16"))
	if err != nil {
		return "", fmt.Errorf("LTI_CLUSTER_CIDR: %w", err)
	}
	return network.Addr().Next().String(), nil
}

// referenceIn is the name and tag of the image in an archive.
func referenceIn(archive string) (string, error) {
	f, err := os.Open(archive)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	for r := tar.NewReader(f); ; {
		header, err := r.Next()
		if err != nil {
			return "", fmt.Errorf("%s: no manifest: %w", archive, err)
		}
		if header.Name != "manifest.json" {
			continue
		}
		var list []struct{ RepoTags []string }
		if err := json.NewDecoder(r).Decode(&list); err != nil || len(list) == 0 || len(list[0].RepoTags) == 0 {
			return "", fmt.Errorf("%s: no name in the manifest: %w", archive, err)
		}
		return list[0].RepoTags[0], nil
	}
}

// uninstallAll takes from a cluster that is not ours what was installed.
func (e *e2e) uninstallAll(ctx context.Context) error {
	var errs []error
	for _, name := range []string{namespace, otherNamespace} {
		errs = append(errs, client.IgnoreNotFound(e.k.Delete(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})))
	}
	errs = append(errs, measure.Until(ctx, 2*time.Minute, time.Second, func() error {
		err := e.k.Get(ctx, client.ObjectKey{Name: namespace}, &corev1.Namespace{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return errors.Join(errors.New("the namespace is still there"), err)
	}))
	return errors.Join(errs...)
}

// saveLogs prints what a phase that failed has left in the cluster.
func (e *e2e) saveLogs(ctx context.Context) {
	if e.k == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	var pods corev1.PodList
	if err := e.k.List(ctx, &pods, client.InNamespace(namespace)); err != nil {
		e.say("pods: %v", err)
		return
	}
	for i := range pods.Items {
		p := &pods.Items[i]
		e.say("pod %s: %s, ready %t", p.Name, p.Status.Phase, podReady(p))
		lines := int64(15)
		log, err := e.k.set.CoreV1().Pods(namespace).GetLogs(p.Name, &corev1.PodLogOptions{TailLines: &lines}).DoRaw(ctx)
		if err == nil {
			e.say("%s", log)
		}
	}
	events, err := e.k.set.CoreV1().Events(namespace).List(ctx, metav1.ListOptions{FieldSelector: "type=Warning"})
	if err == nil {
		for i := max(0, len(events.Items)-15); i < len(events.Items); i++ {
			e.say("event %s: %s %s", events.Items[i].InvolvedObject.Name, events.Items[i].Reason, events.Items[i].Message)
		}
	}
}
