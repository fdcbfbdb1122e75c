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
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/lti-operator/lti-operator/api/v1alpha1"
	"github.com/lti-operator/lti-operator/hack/bench/measure"
	"github.com/lti-operator/lti-operator/internal/routing"
)

// Ports of the demo, all on the loopback address. The samples name them, but for that of the metrics.
const (
	platformPort = 9401
	academyPort  = 9403
	// directoryPort is that of the academy's accounts.
	directoryPort = 9405
	// identityPort is that of the academy's identity provider.
	identityPort = 9406
	// operatorMetricsPort is where the operator serves its metrics.
	operatorMetricsPort = 9404
	// Those of the systems whose activities the academy's learners open.
	simulationPort = 9407
	examPort       = 9408
	partnerPort    = 9410
	workshopPort   = 9411
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

	simulationToolName = "simulation-lab"
	examToolName       = "safety-exams"
	workshopToolName   = "rope-workshop"
	simulationName     = "rescue-simulation"
	examName           = "height-exam"
	partnerName        = "first-aid"
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

	Simulation simulationFile
	Exam       examFile
	Partner    partnerFile
	// ResultsSecret signs what the academy is told of results.
	ResultsSecret []byte
}

// simulationFile is the configuration of hack/peers/tool-ltijs.mjs.
type simulationFile struct {
	URL                    string         `json:"url"`
	Name                   string         `json:"name"`
	ClientID               string         `json:"clientId"`
	AuthenticationEndpoint string         `json:"authenticationEndpoint"`
	AccessTokenEndpoint    string         `json:"accesstokenEndpoint"`
	AuthConfig             simulationKeys `json:"authConfig"`
}

type simulationKeys struct {
	Method string `json:"method"`
	Key    string `json:"key"`
}

// examFile is the configuration of hack/peers/tool-strict.mjs.
type examFile struct {
	Issuer           string `json:"issuer"`
	ClientID         string `json:"clientID"`
	DeploymentID     string `json:"deploymentID"`
	ConfigurationURL string `json:"configurationURL"`
}

// partnerFile is the configuration of hack/peers/tool-ims.mjs.
type partnerFile struct {
	Consumers []consumer `json:"consumers"`
}

type consumer struct {
	ConsumerKey  string `json:"consumerKey"`
	SharedSecret string `json:"sharedSecret"`
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
	External   checkExternal `json:"external"`
}

// checkExternal are the activities that were made elsewhere.
type checkExternal struct {
	Simulation externalActivity `json:"simulation"`
	Exam       externalActivity `json:"exam"`
	Partner    externalActivity `json:"partner"`
	// Workshop is a tool that registers itself, and at which authors choose activities.
	Workshop workshop `json:"workshop"`
	// IdentityProvider is where the academy's learners sign in.
	IdentityProvider string    `json:"identityProvider"`
	People           []learner `json:"people"`
}

type workshop struct {
	Tool string `json:"tool"`
}

// externalActivity is what the other system must be told of an activity.
type externalActivity struct {
	Name        string            `json:"name"`
	Title       string            `json:"title"`
	Description string            `json:"description"`
	StartURL    string            `json:"startURL"`
	Tool        string            `json:"tool,omitempty"` // where the services of the tool are
	LaunchURL   string            `json:"launchURL"`
	LinkID      string            `json:"linkID"`
	Parameters  map[string]string `json:"parameters"`
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
	return c, d.readExternal(ctx, academy, c)
}

// readExternal copies what the systems whose activities our learners open have to know, and what we know of them.
func (d *demo) readExternal(ctx context.Context, academy *v1alpha1.LTIAcademy, c *peerConfig) error {
	simulation, exam := &v1alpha1.LTITool{}, &v1alpha1.LTITool{}
	results, credentials := &corev1.Secret{}, &corev1.Secret{}
	if academy.Spec.Results == nil {
		return errors.New("the academy of the samples wants no results")
	}
	e := &c.Check.External
	e.Workshop.Tool = workshopToolName
	partner, err := d.readActivity(ctx, partnerName, &e.Partner)
	if err != nil {
		return err
	}
	_, simulationErr := d.readActivity(ctx, simulationName, &e.Simulation)
	_, examErr := d.readActivity(ctx, examName, &e.Exam)
	if err := errors.Join(
		simulationErr, examErr,
		d.cluster.get(ctx, simulationToolName, simulation), d.cluster.get(ctx, examToolName, exam),
		d.cluster.get(ctx, academy.Spec.Results.Webhook.SigningSecretRef.Name, results),
		d.cluster.get(ctx, partner.ExternalSecretName(), credentials),
	); err != nil {
		return err
	}
	s, x := simulation.Status.Details, exam.Status.Details
	if s == nil || x == nil {
		return errors.New("a tool has no details for the other party in its status")
	}
	c.Simulation = simulationFile{
		URL: s.PlatformID, Name: academy.Spec.Title, ClientID: s.ClientID, AuthenticationEndpoint: s.AuthenticationURL,
		AccessTokenEndpoint: s.AccessTokenURL, AuthConfig: simulationKeys{Method: "JWK_SET", Key: s.JWKSURL},
	}
	c.Exam = examFile{
		Issuer: x.PlatformID, ClientID: x.ClientID, DeploymentID: x.DeploymentID,
		ConfigurationURL: routing.ToolDiscoveryURL(academy.Spec.URL, examToolName),
	}
	c.Partner.Consumers = []consumer{{
		ConsumerKey: string(credentials.Data[v1alpha1.SecretKeyConsumerKey]), SharedSecret: string(credentials.Data[v1alpha1.SecretKeySharedSecret]),
	}}
	e.IdentityProvider, e.People = string(academy.Spec.Learners.OIDC.IssuerURL), d.directory.learners
	c.ResultsSecret = results.Data[v1alpha1.SecretKeySigningSecret]
	return nil
}

// readActivity copies what is sent to the other system when the activity is opened.
func (d *demo) readActivity(ctx context.Context, name string, to *externalActivity) (*v1alpha1.LTIActivity, error) {
	a := &v1alpha1.LTIActivity{}
	if err := d.cluster.get(ctx, name, a); err != nil {
		return nil, err
	}
	if a.Spec.External == nil || a.Status.External == nil {
		return nil, fmt.Errorf("activity %s is not one that was made elsewhere, or its status says nothing of it", name)
	}
	*to = externalActivity{
		Name: name, Title: a.Spec.Title, Description: a.Spec.Description, StartURL: a.Status.External.StartURL, Parameters: map[string]string{},
	}
	parameters := []v1alpha1.LaunchParameter(nil)
	if l := a.Spec.External.LTI12; l != nil {
		to.LaunchURL, to.LinkID, parameters = string(l.LaunchURL), l.ResourceLinkID, l.Parameters
	}
	if l := a.Spec.External.LTI13; l != nil {
		to.LaunchURL, to.LinkID, to.Tool, parameters = string(l.ResourceURL), a.EffectiveResourceLinkID(), l.ToolRef.Name, l.Parameters
	}
	for _, p := range parameters {
		to.Parameters[p.Name] = p.Value
	}
	return a, nil
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
	resultsFileName  = "results-secret"

	simulationFileName = "tool-ltijs.json"
	examFileName       = "tool-strict.json"
	partnerFileName    = "tool-ims.json"
)

func (c *peerConfig) write(dir string) error {
	for name, value := range map[string]any{
		platformFileName: c.Platform, checkFileName: c.Check, simulationFileName: c.Simulation, examFileName: c.Exam, partnerFileName: c.Partner,
	} {
		content, err := json.MarshalIndent(value, "", "  ")
		if err != nil {
			return fmt.Errorf("encode: %w", err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			return err
		}
	}
	return errors.Join(
		os.WriteFile(filepath.Join(dir, secretFileName), c.ClientSecret, 0o600),
		os.WriteFile(filepath.Join(dir, learnersFileName), c.LearnersSecret, 0o600),
		os.WriteFile(filepath.Join(dir, resultsFileName), c.ResultsSecret, 0o600),
	)
}

// startPeers starts the other systems and the academy and waits until they listen.
func (d *demo) startPeers(ctx context.Context) error {
	accounts, err := d.directory.accounts()
	if err != nil {
		return err
	}
	var databases [2]string // ltijs has one for each tool
	for i := range databases {
		if databases[i], err = d.database.CreateDatabase(); err != nil {
			return fmt.Errorf("make a database: %w", err)
		}
	}
	file := func(name string) string { return filepath.Join(d.dir, name) }
	peers := []struct {
		name, script, config string
		port                 int
		portVariable         string
		env                  []string
	}{
		{name: "academy", script: "academy.mjs", port: academyPort, portVariable: "ACADEMY_PORT", env: []string{
			"CLIENT_ID=" + d.peers.ClientID, "CLIENT_SECRET_FILE=" + file(secretFileName), "RESULTS_SECRET_FILE=" + file(resultsFileName),
			"EXTERNAL_ACTIVITIES=" + strings.Join([]string{simulationName, examName, partnerName}, ","),
		}},
		{name: "platform", script: "platform.mjs", config: platformFileName, port: platformPort, portVariable: "LMS_PORT"},
		{name: "identity-provider", script: "idp.mjs", port: identityPort, portVariable: "IDP_PORT", env: []string{
			"CLIENT_ID=" + d.peers.LearnersClientID, "CLIENT_SECRET_FILE=" + file(learnersFileName), "IDP_ACCOUNTS=" + accounts,
		}},
		{name: "tool-ltijs", script: "tool-ltijs.mjs", config: simulationFileName, port: simulationPort, portVariable: "TOOL_PORT", env: []string{
			"DATABASE_URL=" + databases[0],
		}},
		{name: "tool-workshop", script: "tool-ltijs.mjs", port: workshopPort, portVariable: "TOOL_PORT", env: []string{
			"DATABASE_URL=" + databases[1], "TOOL_HOST=workshop.localhost",
		}},
		{name: "tool-strict", script: "tool-strict.mjs", config: examFileName, port: examPort, portVariable: "TOOL_PORT"},
		{name: "tool-ims", script: "tool-ims.mjs", config: partnerFileName, port: partnerPort, portVariable: "TOOL_PORT"},
	}
	for _, p := range peers {
		args := []string{d.peer(p.script)}
		if p.config != "" {
			args = append(args, file(p.config))
		}
		env := append(p.env, "LTI_URL="+d.peers.Check.Handler, p.portVariable+"="+strconv.Itoa(p.port))
		if _, err := d.procs.Start(measure.Command{Name: p.name, Path: "node", Args: args, Env: env}); err != nil {
			return err
		}
	}
	for _, p := range peers {
		if err := poll(ctx, 20*time.Second, func() error {
			conn, err := net.DialTimeout("tcp", loopback(p.port), time.Second)
			if err != nil {
				return err
			}
			return conn.Close()
		}); err != nil {
			return fmt.Errorf("wait for %s at port %d: %w", p.name, p.port, err)
		}
	}
	return nil
}

// poll tries until it succeeds, ctx ends or the time is over.
func poll(ctx context.Context, timeout time.Duration, try func() error) error {
	return measure.Until(ctx, timeout, 10*time.Millisecond, try)
}
