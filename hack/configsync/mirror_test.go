// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/lti-operator/lti-operator/api/v1alpha1"
)

const namespace = "lti"

func meta(name, academy string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace: namespace, Name: name, Labels: map[string]string{v1alpha1.LabelAcademy: academy},
	}
}

func newMirror(t *testing.T) (*mirror, *fake.Clientset) {
	client := fake.NewClientset(
		&corev1.ConfigMap{ObjectMeta: meta("acme-routing-0", "acme"), BinaryData: map[string][]byte{"r0": {1, 2}}},
		&corev1.ConfigMap{ObjectMeta: meta("acme-manifest", "acme"), Data: map[string]string{"manifest.json": "{}"}},
		&corev1.Secret{ObjectMeta: meta("acme-keys-3", "acme"), Data: map[string][]byte{"k3": {3}}},
		// Of the academy, but not in the volume.
		&corev1.Secret{ObjectMeta: meta("acme-control", "acme"), Data: map[string][]byte{"tls.key": {9}}},
		// Of another academy.
		&corev1.ConfigMap{ObjectMeta: meta("other-routing-0", "other"), Data: map[string]string{"o": "o"}},
	)
	return &mirror{
		client: client, namespace: namespace, academy: "acme", dir: filepath.Join(t.TempDir(), "config"),
		log: slog.New(slog.DiscardHandler),
	}, client
}

func TestOnceWritesWhatThePodWouldMount(t *testing.T) {
	m, _ := newMirror(t)
	if err := m.run(context.Background(), true); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"r0": "\x01\x02", "k3": "\x03", "manifest.json": "{}"}
	if diff := cmp.Diff(want, shown(t, m.dir)); diff != "" {
		t.Error(diff)
	}
}

func TestChangesAreFollowed(t *testing.T) {
	m, client := newMirror(t)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.run(ctx, false) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	waitFor(t, m.dir, map[string]string{"r0": "\x01\x02", "k3": "\x03", "manifest.json": "{}"})

	_, err := client.CoreV1().ConfigMaps(namespace).Update(ctx, &corev1.ConfigMap{
		ObjectMeta: meta("acme-manifest", "acme"), Data: map[string]string{"manifest.json": "[]"},
	}, metav1.UpdateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	waitFor(t, m.dir, map[string]string{"r0": "\x01\x02", "k3": "\x03", "manifest.json": "[]"})

	if err := client.CoreV1().Secrets(namespace).Delete(ctx, "acme-keys-3", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	waitFor(t, m.dir, map[string]string{"r0": "\x01\x02", "manifest.json": "[]"})
}

func waitFor(t *testing.T, dir string, want map[string]string) {
	t.Helper()
	var diff string
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		got, err := tryShown(dir)
		if err != nil {
			continue // in the middle of a swap
		}
		if diff = cmp.Diff(want, got); diff == "" {
			return
		}
	}
	t.Fatal(diff)
}
