// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/lti-operator/lti-operator/api/v1alpha1"
)

// Ports of the demo, all on the loopback address. The samples name the first three.
const (
	platformPort = 9401
	academyPort  = 9403
	// directoryPort is that of the academy's accounts.
	directoryPort = 9405
	// identityPort is that of the academy's identity provider.
	identityPort = 9406
	// operatorMetricsPort is where the operator serves its metrics.
	operatorMetricsPort = 9404
)

// handlerPorts are a launch handler and its three listeners.
type handlerPorts struct {
	name                 string
	public, ops, control int
}

var (
	firstHandler  = handlerPorts{name: "launch-handler", public: 9402, ops: 9412, control: 9422}
	secondHandler = handlerPorts{name: "second-launch-handler", public: 9432, ops: 9442, control: 9452}
	spareHandler  = handlerPorts{name: "spare-launch-handler", public: 9462, ops: 9472, control: 9482}
)

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// Names in config/samples/demo.
const (
	platformName     = "demo-lms"
	newWindowName    = "working-at-height"
	embeddedName     = "ladder-check"
	clientSecretName = "academy-app"
	directoryName    = "academy-directory"
	learnersName     = "academy-learners"
)

// peerConfig is what the administrators of the other systems have to know. Nothing of it is made up here: it is read
// from the resources and their Secrets, as those administrators get it.
type peerConfig struct {
	Platform     platformFile
	Check        checkFile
	ClientID     string
	ClientSecret []byte
	// LearnersClientID and LearnersSecret are the launch handler's at the academy's identity provider.
	LearnersClientID string
	LearnersSecret   []byte
}

// platformFile is the configuration of hack/peers/platform.mjs.
type platformFile struct {
	LTI13 platformLTI13 `json:"lti13"`
	LTI12 []link12      `json:"lti12"`
}

type platformLTI13 struct {
	Issuer             string   `json:"issuer"`
	ClientID           string   `json:"clientID"`
	DeploymentID       string   `json:"deploymentID"`
	LoginInitiationURL string   `json:"loginInitiationURL"`
	RedirectURIs       []string `json:"redirectURIs"`
	JWKSURL            string   `json:"jwksURL"`
	Activities         []link13 `json:"activities"`
}

type link13 struct {
	Name        string `json:"name"`
	Title       string `json:"title"`
	ResourceURL string `json:"resourceURL"`
}

type link12 struct {
	Name         string `json:"name"`
	Title        string `json:"title"`
	LaunchURL    string `json:"launchURL"`
	ConsumerKey  string `json:"consumerKey"`
	SharedSecret string `json:"sharedSecret"`
}

// checkFile is the configuration of hack/peers/check.mjs.
type checkFile struct {
	Platform   string        `json:"platform"`
	Handler    string        `json:"handler"`
	Academy    string        `json:"academy"`
	NewWindow  checkActivity `json:"newWindow"`
	Embedded   checkActivity `json:"embedded"`
	UnknownKey string        `json:"unknownKey"`
}

type checkActivity struct {
	Name  string `json:"name"`
	Title string `json:"title"`
	// FormRoles says that the roles of LTI 1.2 launches are believed.
	FormRoles bool `json:"formRoles"`
}

const unknownKeyName = "unknown-key"

// readPeerConfig copies the values that the operator hands out.
func (d *demo) readPeerConfig(ctx context.Context) (*peerConfig, error) {
	academy := &v1alpha1.LTIAcademy{}
	platform := &v1alpha1.LTIPlatform{}
	secret, learners := &corev1.Secret{}, &corev1.Secret{}
	if err := errors.Join(
		d.cluster.get(ctx, learnersName, learners),
		d.cluster.get(ctx, v1alpha1.DefaultAcademyName, academy),
		d.cluster.get(ctx, platformName, platform),
		d.cluster.get(ctx, clientSecretName, secret),
	); err != nil {
		return nil, err
	}
	details, spec, deployments := platform.Status.Details, platform.Spec.LTI13, platform.Spec.Deployments
	switch {
	case details == nil:
		return nil, fmt.Errorf("platform %s has no details for the other party in its status", platformName)
	case spec == nil || deployments == nil || len(deployments.List) == 0:
		return nil, fmt.Errorf("platform %s is not registered in the samples", platformName)
	case academy.Spec.Learners == nil:
		return nil, errors.New("the academy of the samples has no identity provider")
	case len(academy.Spec.Clients) == 0:
		return nil, errors.New("the academy of the samples has no client")
	case len(secret.Data[v1alpha1.SecretKeyClientSecret]) == 0:
		return nil, fmt.Errorf("the Secret %s has no %s", clientSecretName, v1alpha1.SecretKeyClientSecret)
	}
	c := &peerConfig{
		Platform: platformFile{LTI13: platformLTI13{
			Issuer: string(spec.Issuer), ClientID: spec.ClientID, DeploymentID: deployments.List[0].ID,
			LoginInitiationURL: details.LoginInitiationURL, RedirectURIs: []string{details.RedirectURI},
			JWKSURL: details.JWKSURL,
		}},
		Check: checkFile{
			Platform: "http://lms.localhost:" + strconv.Itoa(platformPort), Handler: academy.Spec.URL,
			Academy: "http://academy.localhost:" + strconv.Itoa(academyPort), UnknownKey: unknownKeyName,
		},
		ClientID:     academy.Spec.Clients[0].ClientID,
		ClientSecret: secret.Data[v1alpha1.SecretKeyClientSecret],

		LearnersClientID: academy.Spec.Learners.OIDC.ClientID,
		LearnersSecret:   learners.Data[v1alpha1.SecretKeyClientSecret],
	}
	for _, a := range []struct {
		name  string
		check *checkActivity
	}{{newWindowName, &c.Check.NewWindow}, {embeddedName, &c.Check.Embedded}} {
		activity := &v1alpha1.LTIActivity{}
		if err := d.cluster.get(ctx, a.name, activity); err != nil {
			return nil, err
		}
		l13, l12, err := d.readLinks(ctx, activity)
		if err != nil {
			return nil, err
		}
		c.Platform.LTI13.Activities = append(c.Platform.LTI13.Activities, l13)
		c.Platform.LTI12 = append(c.Platform.LTI12, l12)
		form := activity.Spec.Share.LTI12
		*a.check = checkActivity{Name: a.name, Title: l13.Title, FormRoles: form != nil && form.Roles == v1alpha1.LTI12RolesAccept}
	}
	c.Platform.LTI12 = append(c.Platform.LTI12, link12{
		Name: unknownKeyName, Title: "A mistyped key", LaunchURL: c.Platform.LTI12[0].LaunchURL,
		ConsumerKey: "mistyped", SharedSecret: "mistyped",
	})
	return c, nil
}

// readLinks is what somebody who adds the activity to the platform pastes there, for each version.
func (d *demo) readLinks(ctx context.Context, activity *v1alpha1.LTIActivity) (link13, link12, error) {
	name, s := activity.Name, activity.Status
	if s.LTI12 == nil || s.LTI13 == nil {
		return link13{}, link12{}, fmt.Errorf("activity %s has no values for the other party in its status", name)
	}
	secret := &corev1.Secret{}
	if err := d.cluster.get(ctx, s.LTI12.CredentialsSecretName, secret); err != nil {
		return link13{}, link12{}, err
	}
	key, shared := secret.Data[v1alpha1.SecretKeyConsumerKey], secret.Data[v1alpha1.SecretKeySharedSecret]
	if len(key) == 0 || len(shared) == 0 {
		return link13{}, link12{}, fmt.Errorf("the Secret %s has no consumer key or shared secret", secret.Name)
	}
	return link13{Name: name, Title: activity.Spec.Title, ResourceURL: s.LTI13.ResourceURL},
		link12{
			Name: name, Title: activity.Spec.Title, LaunchURL: s.LTI12.LaunchURL,
			ConsumerKey: string(key), SharedSecret: string(shared),
		}, nil
}

const (
	platformFileName = "platform.json"
	checkFileName    = "check.json"
	secretFileName   = "client-secret"
	learnersFileName = "learners-secret"
)

func (c *peerConfig) write(dir string) error {
	platform, err := json.MarshalIndent(c.Platform, "", "  ")
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	check, err := json.MarshalIndent(c.Check, "", "  ")
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	return errors.Join(
		os.WriteFile(filepath.Join(dir, platformFileName), platform, 0o600),
		os.WriteFile(filepath.Join(dir, checkFileName), check, 0o600),
		os.WriteFile(filepath.Join(dir, secretFileName), c.ClientSecret, 0o600),
		os.WriteFile(filepath.Join(dir, learnersFileName), c.LearnersSecret, 0o600),
	)
}

// startPeers starts the platform and the academy and waits until they listen.
func (d *demo) startPeers(ctx context.Context) error {
	env := []string{"LTI_URL=" + d.peers.Check.Handler}
	accounts, err := d.directory.learners()
	if err != nil {
		return err
	}
	for _, c := range []command{{
		name: "academy", args: []string{d.peer("academy.mjs")},
		env: append([]string{
			"ACADEMY_PORT=" + strconv.Itoa(academyPort), "CLIENT_ID=" + d.peers.ClientID,
			"CLIENT_SECRET_FILE=" + filepath.Join(d.dir, secretFileName),
		}, env...),
	}, {
		name: "platform", args: []string{d.peer("platform.mjs"), filepath.Join(d.dir, platformFileName)},
		env: append([]string{"LMS_PORT=" + strconv.Itoa(platformPort)}, env...),
	}, {
		name: "identity-provider", args: []string{d.peer("idp.mjs")},
		env: append([]string{
			"IDP_PORT=" + strconv.Itoa(identityPort), "CLIENT_ID=" + d.peers.LearnersClientID,
			"CLIENT_SECRET_FILE=" + filepath.Join(d.dir, learnersFileName), "IDP_ACCOUNTS=" + accounts,
		}, env...),
	}} {
		c.path = "node"
		if _, err := d.procs.start(c); err != nil {
			return err
		}
	}
	for _, port := range []int{academyPort, platformPort, identityPort} {
		if err := poll(ctx, 10*time.Second, func() error {
			conn, err := net.DialTimeout("tcp", loopback(port), time.Second)
			if err != nil {
				return err
			}
			return conn.Close()
		}); err != nil {
			return fmt.Errorf("wait for port %d: %w", port, err)
		}
	}
	return nil
}

// poll tries until it succeeds, ctx ends or the time is over.
func poll(ctx context.Context, timeout time.Duration, try func() error) error {
	deadline := time.Now().Add(timeout)
	for {
		err := try()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("not within %s: %w", timeout, err)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(10 * time.Millisecond):
		}
	}
}
