// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lti-operator/lti-operator/api/v1alpha1"
	"github.com/lti-operator/lti-operator/internal/keys"
)

// Until when the operator is waited for that was asked for a new link, and how often it is looked for.
const (
	linkPatience = 30 * time.Second
	linkLook     = 250 * time.Millisecond
)

// registrationCommands are `kubectl lti registration`.
type registrationCommands struct {
	Link    registrationLinkCommand    `cmd:"" help:"Print the link by which the other party registers."`
	List    listRegistrationsCommand   `cmd:"" help:"List what has registered, the newest first."`
	Approve approveRegistrationCommand `cmd:"" help:"Print, or apply, the lines that approve a registration."`
}

// registrant is an object whose other party may register by a link.
type registrant interface {
	client.Object
	v1alpha1.Object
	Dynamic() *v1alpha1.DynamicRegistration
}

// registrantOf reads a platform or a tool with dynamic registration.
func (c *cluster) registrantOf(ctx context.Context, args []string) (kind string, obj registrant, err error) {
	kind, name, err := parseObject(args)
	if err != nil {
		return "", nil, err
	}
	switch kind {
	case v1alpha1.KindPlatform:
		obj = &v1alpha1.LTIPlatform{}
	case v1alpha1.KindTool:
		obj = &v1alpha1.LTITool{}
	default:
		return "", nil, fmt.Errorf("an %s does not register: platforms and tools do", kind)
	}
	if err := c.read(ctx, kind, name, obj); err != nil {
		return "", nil, err
	}
	if obj.Dynamic() == nil {
		return "", nil, fmt.Errorf("%s %s does not register by a link: spec.registration.dynamic is not set", kind, name)
	}
	return kind, obj, nil
}

// read reads one object of ours.
func (c *cluster) read(ctx context.Context, kind, name string, into client.Object) error {
	switch err := c.reader.Get(ctx, types.NamespacedName{Namespace: c.namespace, Name: name}, into); {
	case apierrors.IsNotFound(err):
		return fmt.Errorf("there is no %s %s in namespace %s", kind, name, c.namespace)
	case meta.IsNoMatchError(err):
		return fmt.Errorf("the cluster does not know the kind %s: lti-operator is not installed there", kind)
	case err != nil:
		return fmt.Errorf("read %s %s: %w", kind, name, err)
	}
	return nil
}

// patch writes a merge patch to an object.
func (c *cluster) patch(ctx context.Context, obj client.Object, change map[string]any) error {
	text, err := json.Marshal(change)
	if err != nil {
		return err
	}
	if err := c.writer.Patch(ctx, obj, client.RawPatch(types.MergePatchType, text)); err != nil {
		return fmt.Errorf("patch %s: %w", obj.GetName(), err)
	}
	return nil
}

// registrationLinkCommand is `kubectl lti registration link`.
type registrationLinkCommand struct {
	Object []string `arg:"" name:"KIND/NAME" help:"platform or tool, and the name of the object: KIND/NAME or KIND NAME."`
	New    bool     `help:"Have a new link made first. The former one ends."`
	clusterFlags
}

// Help returns the examples, for kong.
func (*registrationLinkCommand) Help() string { return "Examples:\n\n" + registrationLinkExamples }

// Run implements the command.
func (c *registrationLinkCommand) Run(ctx context.Context, t terminal) error {
	in, err := c.connect()
	if err != nil {
		return err
	}
	kind, obj, err := in.registrantOf(ctx, c.Object)
	if err != nil {
		return err
	}
	request := ""
	if c.New {
		request = t.time().UTC().Format(time.RFC3339Nano)
		annotation := map[string]any{"metadata": map[string]any{"annotations": map[string]string{v1alpha1.AnnotationRegistrationLink: request}}}
		if err := in.patch(ctx, obj, annotation); err != nil {
			return err
		}
	}
	secret, err := in.linkSecret(ctx, kind, obj, request)
	if err != nil {
		return err
	}
	end, err := time.Parse(time.RFC3339, string(secret.Data[v1alpha1.SecretKeyExpiresAt]))
	link := string(secret.Data[v1alpha1.SecretKeyRegistrationURL])
	if err != nil || link == "" {
		return fmt.Errorf("the Secret %s has no link that can be used; --new has another one made", secret.Name)
	}
	if !end.After(t.time()) {
		return fmt.Errorf("the link ended at %s; --new has another one made", moment(end))
	}
	fmt.Fprintln(t.out, link)
	// Not among what is printed: a script takes the link.
	fmt.Fprintf(t.err, "Whoever opens this link can register, once, until %s. What has registered is used when it is approved.\n", moment(end))
	return nil
}

// linkSecret reads the Secret with a link, and waits until it answers a request; there is none if that is empty.
func (c *cluster) linkSecret(ctx context.Context, kind string, obj registrant, request string) (*corev1.Secret, error) {
	name, _ := v1alpha1.RegistrationSecretNames(kind, obj.GetName())
	secret := &corev1.Secret{}
	look := func(ctx context.Context) (bool, error) {
		err := c.reader.Get(ctx, types.NamespacedName{Namespace: c.namespace, Name: name}, secret)
		if request != "" && (apierrors.IsNotFound(err) || err == nil && string(secret.Data[v1alpha1.SecretKeyRequest]) != keys.RequestID(request)) {
			return false, nil
		}
		return true, err
	}
	err := wait.PollUntilContextTimeout(ctx, linkLook, linkPatience, true, look)
	switch {
	case apierrors.IsNotFound(err):
		return nil, fmt.Errorf("%s %s has no link yet: %s", kind, obj.GetName(), why(obj))
	case err != nil && wait.Interrupted(err):
		return nil, fmt.Errorf("the operator has not made a new link within %s; Secret %s will have it", linkPatience, name)
	case err != nil:
		return nil, fmt.Errorf("read Secret %s: %w", name, err)
	}
	return secret, nil
}

// listRegistrationsCommand is `kubectl lti registration list`.
type listRegistrationsCommand struct {
	Object []string `arg:"" optional:"" name:"KIND/NAME" help:"One platform or tool only: KIND/NAME or KIND NAME."`
	clusterFlags
}

// Help returns the examples, for kong.
func (*listRegistrationsCommand) Help() string { return "Examples:\n\n" + listRegistrationsExamples }

// registeredRow is what the list says of one registration.
type registeredRow struct {
	object, id, from, calls string
	state                   v1alpha1.RegistrationState
	at                      time.Time
	// values are what is approved besides from: pairs of a field and its value.
	values [][2]string
}

// Run implements the command.
func (c *listRegistrationsCommand) Run(ctx context.Context, t terminal) error {
	in, err := c.connect()
	if err != nil {
		return err
	}
	var rows []registeredRow
	if len(c.Object) > 0 {
		_, obj, err := in.registrantOf(ctx, c.Object)
		if err != nil {
			return err
		}
		rows = rowsOf(obj)
	} else if rows, err = in.everyRegistration(ctx); err != nil {
		return err
	}
	if len(rows) == 0 {
		fmt.Fprintln(t.err, "Nothing has registered.")
		return nil
	}
	slices.SortStableFunc(rows, func(a, b registeredRow) int { return b.at.Compare(a.at) })
	var cells [][]string
	for _, r := range rows {
		cells = append(cells, []string{r.object, string(r.state), moment(r.at), r.calls, r.from, r.id})
	}
	return writeTable(t.out, []string{"OBJECT", "STATE", "REGISTERED", "CALLS-ITSELF", "FROM", "ID"}, cells)
}

func (c *cluster) everyRegistration(ctx context.Context) ([]registeredRow, error) {
	var platforms v1alpha1.LTIPlatformList
	var tools v1alpha1.LTIToolList
	for _, list := range []client.ObjectList{&platforms, &tools} {
		if err := c.reader.List(ctx, list, client.InNamespace(c.namespace)); err != nil {
			return nil, fmt.Errorf("list what may register: %w", err)
		}
	}
	var rows []registeredRow
	for i := range platforms.Items {
		rows = append(rows, rowsOf(&platforms.Items[i])...)
	}
	for i := range tools.Items {
		rows = append(rows, rowsOf(&tools.Items[i])...)
	}
	return rows, nil
}

// rowsOf are the registrations in the status of an object.
func rowsOf(obj registrant) (rows []registeredRow) {
	row := func(kind string, k v1alpha1.KnownRegistration, from, calls string, values ...[2]string) {
		// The status may be older than the spec.
		state := v1alpha1.RegistrationPending
		if d := obj.Dynamic(); d != nil && d.Approved == k.ID {
			state = v1alpha1.RegistrationApproved
		}
		rows = append(rows, registeredRow{
			object: kind + "/" + obj.GetName(), id: k.ID, state: state, at: k.RegisteredAt.Time, from: from,
			calls: strings.ReplaceAll(calls, " ", "_"), values: values,
		})
	}
	switch o := obj.(type) {
	case *v1alpha1.LTIPlatform:
		if s := o.Status.Registration; s != nil {
			for _, k := range s.Known {
				row("platform", k.KnownRegistration, k.Issuer, k.Product, [2]string{"clientID", k.ClientID},
					[2]string{"authenticationURL", k.AuthenticationURL}, [2]string{"accessTokenURL", k.AccessTokenURL},
					[2]string{"accessTokenAudience", k.AccessTokenAudience}, [2]string{"jwksURL", k.JWKSURL}, [2]string{"deploymentID", k.DeploymentID})
			}
		}
	case *v1alpha1.LTITool:
		if s := o.Status.Registration; s != nil {
			for _, k := range s.Known {
				values := [][2]string{{"jwksURL", k.JWKSURL}, {"launchURL", k.LaunchURL}, {"deepLinkingURL", k.DeepLinkingURL}}
				for _, uri := range k.RedirectURIs {
					values = append(values, [2]string{"redirectURIs", uri})
				}
				row("tool", k.KnownRegistration, k.LoginInitiationURL, k.Name, values...)
			}
		}
	}
	return rows
}

// approveRegistrationCommand is `kubectl lti registration approve`.
type approveRegistrationCommand struct {
	Args  []string `arg:"" name:"KIND/NAME ID" help:"platform or tool and the name of the object, and the ID of the registration; registration list prints it."`
	Apply bool     `help:"Change the object in the cluster, instead of printing the lines for its file."`
	clusterFlags
}

// Help returns the examples, for kong.
func (*approveRegistrationCommand) Help() string {
	return "Examples:\n\n" + approveRegistrationExamples
}

// Run implements the command.
func (c *approveRegistrationCommand) Run(ctx context.Context, t terminal) error {
	if len(c.Args) < 2 {
		return usageError{errors.New("give one object and the ID of a registration, as KIND/NAME ID")}
	}
	object, id := c.Args[:len(c.Args)-1], c.Args[len(c.Args)-1]
	in, err := c.connect()
	if err != nil {
		return err
	}
	kind, obj, err := in.registrantOf(ctx, object)
	if err != nil {
		return err
	}
	rows := rowsOf(obj)
	i := slices.IndexFunc(rows, func(r registeredRow) bool { return r.id == id })
	if i < 0 {
		known := make([]string, len(rows))
		for i, r := range rows {
			known[i] = r.id
		}
		return fmt.Errorf("%s %s has no registration %s; known are: %s", kind, obj.GetName(), id, cmp.Or(strings.Join(known, ", "), "none"))
	}
	// All that is approved: an address that is known says nothing of the others.
	fmt.Fprintf(t.err, "Registered at %s from %s.\n", moment(rows[i].at), strings.Map(visible, rows[i].from))
	for _, v := range rows[i].values {
		if v[1] != "" {
			fmt.Fprintf(t.err, "  %s: %s\n", v[0], strings.Map(visible, v[1]))
		}
	}
	if !c.Apply {
		fmt.Fprintf(t.out, "spec:\n  registration:\n    dynamic:\n      approved: %q\n", id)
		return nil
	}
	approval := map[string]any{"registration": map[string]any{"dynamic": map[string]string{"approved": id}}}
	if err := in.patch(ctx, obj, map[string]any{"spec": approval}); err != nil {
		return err
	}
	fmt.Fprintf(t.out, "%s/%s approved\n", strings.ToLower(kind), obj.GetName())
	return nil
}
