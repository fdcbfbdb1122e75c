// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lti-operator/lti-operator/api/v1alpha1"
	"github.com/lti-operator/lti-operator/internal/compile"
	"github.com/lti-operator/lti-operator/internal/egress"
	"github.com/lti-operator/lti-operator/internal/keys"
	"github.com/lti-operator/lti-operator/internal/workload"
)

// controlFlags say which launch handlers to ask.
type controlFlags struct {
	Academy    string `default:"default" help:"Name of the LTIAcademy."`
	ControlURL string `placeholder:"URL" help:"Address of a launch handler's control port, such as https://127.0.0.1:9422. Left out: that of a pod, by a port-forward."`
	clusterFlags
}

// controlPort is the control port of one launch handler.
type controlPort struct {
	// url has no slash at the end; where says in words what it leads to.
	url, where, academy string
	token               string
	client              *egress.Client
	stop                func()
}

// open finds a launch handler of the academy. All of them have the same store, so that one is as good as another.
func (f *controlFlags) open(ctx context.Context) (*controlPort, error) {
	address, err := f.address()
	if err != nil {
		return nil, err
	}
	in, err := f.connect()
	if err != nil {
		return nil, err
	}
	academyKeys, err := in.academyKeys(ctx, f.Academy)
	if err != nil {
		return nil, err
	}
	p := &controlPort{url: address, where: address, academy: f.Academy, token: academyKeys.ControlToken, stop: func() {}}
	if p.client, err = egress.NewPinned(academyKeys.TrustedCertificatesPEM(), keys.ControlServerName); err != nil {
		return nil, fmt.Errorf("read the certificate in Secret %s: %w", compile.AcademySecretName(f.Academy), err)
	}
	if address != "" {
		return p, nil
	}
	pod, err := in.handlerPod(ctx, f.Academy)
	if err != nil {
		return nil, err
	}
	local, stop, err := forward(ctx, in.config, pod, workload.ControlPort)
	if err != nil {
		return nil, fmt.Errorf("forward a port to pod %s: %w", pod.Name, err)
	}
	p.url, p.where, p.stop = "https://"+local, "pod "+pod.Name, stop
	return p, nil
}

// address reads --control-url.
func (f *controlFlags) address() (string, error) {
	if f.ControlURL == "" {
		return "", nil
	}
	u, err := url.Parse(f.ControlURL)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" || u.User != nil ||
		strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		// It is not repeated: somebody may have put a token there.
		return "", usageError{errors.New("--control-url: not an address such as https://127.0.0.1:9422")}
	}
	return "https://" + u.Host, nil
}

// academyKeys reads the Secret that lets the operator in at control ports.
func (c *cluster) academyKeys(ctx context.Context, academy string) (*keys.Academy, error) {
	name := compile.AcademySecretName(academy)
	secret := &corev1.Secret{}
	err := c.reader.Get(ctx, types.NamespacedName{Namespace: c.namespace, Name: name}, secret)
	switch {
	case apierrors.IsNotFound(err):
		return nil, c.whyNoKeys(ctx, academy, name)
	case apierrors.IsForbidden(err):
		return nil, fmt.Errorf("the control port of a launch handler asks for the token in Secret %s, which you may not read: %w", name, err)
	case err != nil:
		return nil, fmt.Errorf("read Secret %s: %w", name, err)
	}
	ring, err := keys.AcademyKeys.Decode(secret.Data, secret.CreationTimestamp.Time)
	if err != nil {
		return nil, fmt.Errorf("read Secret %s: %w", name, err)
	}
	return ring.Academy(), nil
}

// whyNoKeys explains that the Secret of an academy does not exist.
func (c *cluster) whyNoKeys(ctx context.Context, academy, secret string) error {
	err := c.reader.Get(ctx, types.NamespacedName{Namespace: c.namespace, Name: academy}, &v1alpha1.LTIAcademy{})
	switch {
	case apierrors.IsNotFound(err):
		return fmt.Errorf("there is no LTIAcademy %s in namespace %s", academy, c.namespace)
	case meta.IsNoMatchError(err):
		return errors.New("the cluster does not know the kind LTIAcademy: lti-operator is not installed there")
	case err != nil:
		return fmt.Errorf("there is no Secret %s in namespace %s; is there an LTIAcademy %s?", secret, c.namespace, academy)
	}
	return fmt.Errorf("LTIAcademy %s has no keys yet: the operator has not made Secret %s", academy, secret)
}

// handlerPod finds a pod that serves.
func (c *cluster) handlerPod(ctx context.Context, academy string) (types.NamespacedName, error) {
	pods := &corev1.PodList{}
	if err := c.reader.List(ctx, pods, client.InNamespace(c.namespace), client.MatchingLabels(workload.Labels(academy))); err != nil {
		return types.NamespacedName{}, fmt.Errorf("list the pods of the launch handler: %w", err)
	}
	all := len(pods.Items)
	ready := slices.DeleteFunc(pods.Items, func(p corev1.Pod) bool {
		return !p.DeletionTimestamp.IsZero() || !slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
		})
	})
	switch {
	case all == 0:
		return types.NamespacedName{}, fmt.Errorf(
			"LTIAcademy %s has no pod of a launch handler in namespace %s; --control-url takes the address of one that runs elsewhere", academy, c.namespace)
	case len(ready) == 0:
		return types.NamespacedName{}, fmt.Errorf("no launch handler of LTIAcademy %s is ready: 0 of %d pods", academy, all)
	}
	first := slices.MinFunc(ready, func(a, b corev1.Pod) int { return cmp.Compare(a.Name, b.Name) })
	return client.ObjectKeyFromObject(&first), nil
}

// close ends the port-forward.
func (p *controlPort) close() {
	p.client.CloseIdleConnections()
	p.stop()
}

// answer is what a control port says.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// ask sends a request. It fails unless the answer is one of the statuses that are known to the caller.
func (p *controlPort) ask(ctx context.Context, method, path string, known ...int) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, method, p.url+path, http.NoBody)
	if err != nil {
		return answer{}, fmt.Errorf("ask the launch handler: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+p.token)
	resp, err := p.client.Do(req)
	if err != nil {
		return answer{}, p.unanswered(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return answer{}, p.unanswered(err)
	}
	switch status := resp.StatusCode; {
	case slices.Contains(known, status):
		return answer{status, resp.Header, body}, nil
	case status == http.StatusUnauthorized:
		return answer{}, fmt.Errorf(
			"the launch handler (%s) refuses the token in Secret %s; when the keys have just changed, it has the new ones within a minute", p.where, compile.AcademySecretName(p.academy))
	case status == http.StatusServiceUnavailable:
		return answer{}, fmt.Errorf("the launch handler (%s) cannot reach its store; its log says why", p.where)
	default:
		// Its body could be that of something else at this address.
		return answer{}, fmt.Errorf("the launch handler (%s) answers with status %d; is it of another release?", p.where, status)
	}
}

// unanswered explains why there is no answer.
func (p *controlPort) unanswered(err error) error {
	var foreign *tls.CertificateVerificationError
	var failed *egress.Error
	switch {
	case errors.As(err, &foreign):
		return fmt.Errorf(
			"what answers (%s) has not got the certificate of LTIAcademy %s: it is the launch handler of another academy, or something else: %w",
			p.where, p.academy, foreign.Err)
	case errors.As(err, &failed) && failed.Kind == egress.TooLarge:
		return errors.New("the answer is too long: narrow it down with --subject or --activity")
	case errors.As(err, &failed) && failed.Err != nil:
		return fmt.Errorf("the launch handler (%s) does not answer: %w", p.where, failed.Err)
	}
	return fmt.Errorf("the launch handler (%s) does not answer: %w", p.where, err)
}
