// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/rsa"
	_ "embed"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"text/template"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lti-operator/lti-operator/api/v1alpha1"
	"github.com/lti-operator/lti-operator/hack/bench/measure"
	"github.com/lti-operator/lti-operator/hack/launches"
	"github.com/lti-operator/lti-operator/internal/store/postgres/pgtest"
)

//go:embed samples.yaml
var samples string

//go:embed prerequisites.yaml
var prerequisites string

//go:embed values.yaml
var valuesTemplate string

const (
	academyURL  = "https://lti.acme.example"
	handlerName = "default-launch-handler"

	sharedActivity   = "height"
	toolActivity     = "simulation"
	formActivity     = "first-aid"
	platformName     = "university"
	toolName         = "lab"
	partnerLaunchURL = "https://partner.example/launch"
)

// e2e is the run.
type e2e struct {
	flags  *flags
	began  time.Time
	dir    string
	report report

	phase      string
	phaseBegan time.Time

	clusterStarted bool
	kubeconfig     string
	address        string // of this machine, for Pods
	k              *kube
	images         imageNames

	peers       *peers
	database    *pgtest.Server
	databaseURL string
	// academy is the Service by way of connections that are kept, as those of an ingress are; fresh by a new one each time.
	academy, fresh *launches.Academy
	platform       *launches.Platform
	app            *launches.Application
	tool           *launches.Tool
	shared         launches.Credentials // generated for the shared activity
	partner        launches.Credentials // given by another system

	// round is the operator's pod annotation; a new one rolls it out.
	round  int
	sqlite bool
	met    people
}

// imageNames are names with tags, by the archive's name.
type imageNames map[string]string

func (n imageNames) split(name string) (repository, tag string) {
	i := strings.LastIndexByte(n[name], ':')
	return n[name][:max(i, 0)], n[name][i+1:]
}

// install brings everything up, as docs/install.md tells.
func (e *e2e) install(ctx context.Context) (err error) {
	if err := e.clusterUp(ctx); err != nil {
		return err
	}
	e.say("the cluster is up")
	if e.peers, err = newPeers(ctx, e.address); err != nil {
		return err
	}
	if err := e.startDatabase(); err != nil {
		return err
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	e.platform = &launches.Platform{Name: platformName, Issuer: "https://lms.example", ClientID: "academy", DeploymentID: "1", Key: key}
	e.app = &launches.Application{ClientID: "academy-app", Secret: rand.Text()}
	e.tool = &launches.Tool{Name: toolName, RedirectURI: "https://lab.example/launch"}
	e.partner = launches.Credentials{ConsumerKey: "academy-of-acme", SharedSecret: rand.Text()}

	if err := e.makeNamespaces(ctx); err != nil {
		return err
	}
	if err := e.k.apply(ctx, prerequisites, e.values()); err != nil {
		return err
	}
	if err := e.installCharts(ctx); err != nil {
		return err
	}
	began := time.Now()
	if err := e.k.apply(ctx, samples, e.values()); err != nil {
		return err
	}
	if err := e.resourcesReady(ctx, 3*time.Minute); err != nil {
		return err
	}
	e.say("charts and samples are installed and Ready")
	e.report.tell(e.phase, "samples applied → Ready", fmt.Sprintf("%.1f s", time.Since(began).Seconds()))
	if err := e.readValues(ctx); err != nil {
		return err
	}
	for _, kind := range kinds {
		e.report.check(e.phase, "a launch works: "+kind.name, e.launchUntil(ctx, kind, 20*time.Second))
	}
	return nil
}

func (e *e2e) startDatabase() (err error) {
	if e.database, err = pgtest.Run(pgtest.Listening(e.address)); err != nil {
		return fmt.Errorf("start PostgreSQL: %w", err)
	}
	if e.databaseURL, err = e.database.CreateDatabase(); err != nil {
		return fmt.Errorf("make a database: %w", err)
	}
	return nil
}

func (e *e2e) makeNamespaces(ctx context.Context) error {
	for _, name := range []string{namespace, otherNamespace} {
		ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"pod-security.kubernetes.io/enforce": "restricted"}}}
		if err := e.k.Create(ctx, ns); err != nil {
			return err
		}
	}
	return nil
}

// values are those of all templates.
func (e *e2e) values() map[string]any { return e.valuesWith(e.images) }

func (e *e2e) valuesWith(images imageNames) map[string]any {
	operator, operatorTag := images.split("lti-operator")
	handler, handlerTag := images.split("launch-handler")
	return map[string]any{
		"OperatorRepository": operator, "OperatorTag": operatorTag, "HandlerRepository": handler, "HandlerTag": handlerTag, "Round": e.round,
		"SQLite": e.sqlite, "Peers": e.peers.url, "Address": e.address, "Database": e.databaseURL,
		"ApplicationSecret": e.app.Secret, "LearnersSecret": e.peers.provider.ClientSecret,
		"Authority":  "    " + strings.ReplaceAll(strings.TrimSpace(e.peers.authority), "\n", "\n    "),
		"PartnerKey": e.partner.ConsumerKey, "PartnerSecret": e.partner.SharedSecret, "PlatformJWKS": e.platform.JWKS(),
	}
}

func (e *e2e) valuesFile(images imageNames) (string, error) {
	t, err := template.New("").Option("missingkey=error").Parse(valuesTemplate)
	if err != nil {
		return "", err
	}
	path := filepath.Join(e.dir, "values.yaml")
	f, err := os.Create(path)
	if err != nil {
		return "", err
	}
	return path, errors.Join(t.Execute(f, e.valuesWith(images)), f.Close())
}

// installOperator installs the operator's chart, or upgrades it.
func (e *e2e) installOperator(ctx context.Context, more ...string) error {
	return e.installRelease(ctx, "charts/lti-operator", e.images, more...)
}

func (e *e2e) installRelease(ctx context.Context, chart string, images imageNames, more ...string) error {
	path, err := e.valuesFile(images)
	if err != nil {
		return err
	}
	return e.helm(ctx, append([]string{"upgrade", "--install", release, chart, "--values", path, "--wait", "--timeout", "3m"}, more...)...)
}

// installCharts installs both, and has the launch handlers trust the authority of our peers.
func (e *e2e) installCharts(ctx context.Context) error {
	if err := e.helm(ctx, "upgrade", "--install", crdsRelease, "charts/lti-operator-crds"); err != nil {
		return err
	}
	if err := e.installOperator(ctx); err != nil {
		return err
	}
	if err := measure.Until(ctx, time.Minute, 200*time.Millisecond, func() error { return e.k.get(ctx, handlerName, &appsv1.Deployment{}) }); err != nil {
		return err
	}
	if err := e.trustPeers(ctx); err != nil {
		return err
	}
	if err := e.rolledOut(ctx, handlerName, 3*time.Minute); err != nil {
		return err
	}
	return e.reach(ctx)
}

// trustPeers mounts the authority into the launch handler. There is no field for it in LTIAcademy, so it is done as with
// any other Deployment: the operator owns the fields that it applies, and leaves others alone.
func (e *e2e) trustPeers(ctx context.Context) error {
	return e.k.apply(ctx, `
apiVersion: apps/v1
kind: Deployment
metadata: {name: `+handlerName+`}
spec:
  template:
    spec:
      containers:
        - name: launch-handler
          volumeMounts: [{name: authority, mountPath: /etc/pki/tls/certs, readOnly: true}]
      volumes: [{name: authority, configMap: {name: e2e-authority}}]
`, nil)
}

// reach finds the Service of the launch handlers.
func (e *e2e) reach(ctx context.Context) error {
	service := &corev1.Service{}
	if err := e.k.get(ctx, handlerName, service); err != nil {
		return err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	// As an ingress does: connections are kept, several to each launch handler.
	transport.MaxIdleConnsPerHost = 32
	e.academy = &launches.Academy{URL: academyURL, Base: cmp.Or(e.flags.Base, "http://"+service.Spec.ClusterIP), Client: launches.NewClient(transport)}
	single := transport.Clone()
	single.DisableKeepAlives = true
	e.fresh = &launches.Academy{URL: academyURL, Base: e.academy.Base, Client: launches.NewClient(single)}
	e.peers.book.mu.Lock()
	defer e.peers.book.mu.Unlock()
	e.peers.book.academy, e.peers.book.known = e.academy, nil
	return nil
}

// readValues reads what an administrator of another system would paste.
func (e *e2e) readValues(ctx context.Context) error {
	a := &v1alpha1.LTIActivity{}
	if err := e.k.get(ctx, sharedActivity, a); err != nil {
		return err
	}
	if a.Status.LTI12 == nil {
		return errors.New("the shared activity has no values for LTI 1.2")
	}
	secret := &corev1.Secret{}
	if err := e.k.get(ctx, a.Status.LTI12.CredentialsSecretName, secret); err != nil {
		return err
	}
	e.shared = launches.Credentials{
		ConsumerKey: string(secret.Data[v1alpha1.SecretKeyConsumerKey]), SharedSecret: string(secret.Data[v1alpha1.SecretKeySharedSecret]),
	}
	return nil
}

// launchUntil tries a launch until it works.
func (e *e2e) launchUntil(ctx context.Context, k kind, timeout time.Duration) error {
	return measure.Until(ctx, timeout, 200*time.Millisecond, func() error { return k.launch(ctx, e, e.academy, personOf(k, 0)) })
}
