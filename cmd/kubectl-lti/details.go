// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/lti-operator/lti-operator/api/v1alpha1"
	"github.com/lti-operator/lti-operator/internal/details"
)

// detailsCommand is `kubectl lti details`.
type detailsCommand struct {
	Object     []string `arg:"" name:"KIND/NAME" help:"platform, tool or activity (or any name that kubectl knows for them), and the name of the object: KIND/NAME or KIND NAME."`
	For        string   `default:"generic" placeholder:"SYSTEM" help:"The other learning system, for the labels that its administrator sees: ${systems}. Left out: the names in the specifications."`
	ShowSecret bool     `help:"Print consumer key and shared secret too. Without it no Secret is read."`
	Output     string   `short:"o" enum:"text,json,yaml" default:"text" help:"Output format: text, json or yaml."`
	clusterFlags
}

// Help returns the examples, for kong.
func (*detailsCommand) Help() string { return "Examples:\n\n" + detailsExamples }

// Run implements the command.
func (c *detailsCommand) Run(ctx context.Context, t terminal) error {
	system, ok := details.Find(c.For)
	if !ok {
		return usageError{fmt.Errorf("--for: unknown system %q; known are %s", c.For, systems())}
	}
	kind, name, err := parseObject(c.Object)
	if err != nil {
		return err
	}
	in, err := c.connect()
	if err != nil {
		return err
	}
	s, err := handOver(ctx, in.reader, kind, types.NamespacedName{Namespace: in.namespace, Name: name}, system, c.ShowSecret)
	if err != nil {
		return err
	}
	return s.write(t.out, c.Output)
}

// systems lists what --for takes.
func systems() string {
	all := details.Systems()
	names := make([]string, len(all))
	for i, s := range all {
		names[i] = s.Name
	}
	return strings.Join(names, ", ")
}

// kindNames are the names of each kind, in lower case: ours, and those of the CustomResourceDefinition.
var kindNames = map[string][]string{
	v1alpha1.KindPlatform: {"platform", "platforms", "ltiplatform", "ltiplatforms", "ltip"},
	v1alpha1.KindTool:     {"tool", "tools", "ltitool", "ltitools", "ltit"},
	v1alpha1.KindActivity: {"activity", "activities", "ltiactivity", "ltiactivities", "ltia"},
	v1alpha1.KindAcademy:  {"academy", "academies", "ltiacademy", "ltiacademies", "ltiac"},
}

// parseObject reads KIND/NAME or KIND NAME. The kind may be followed by .lti-operator.io.
func parseObject(args []string) (kind, name string, err error) {
	if len(args) == 1 {
		args = strings.Split(args[0], "/")
	}
	if len(args) != 2 || args[0] == "" || args[1] == "" || strings.Contains(args[1], "/") {
		return "", "", usageError{errors.New("give one object, as KIND/NAME or KIND NAME")}
	}
	given := strings.TrimSuffix(strings.ToLower(args[0]), "."+v1alpha1.GroupVersion.Group)
	for kind, names := range kindNames {
		if !slices.Contains(names, given) {
			continue
		}
		if kind == v1alpha1.KindAcademy {
			return "", "", errors.New("an LTIAcademy has no values for another party: they are those of a platform, a tool or an activity")
		}
		return kind, args[1], nil
	}
	return "", "", fmt.Errorf("unknown kind %q; known are platform, tool and activity", args[0])
}

// handOver reads an object, and with showSecret the Secret that its status names, and makes the sheet for a system.
func handOver(ctx context.Context, reader client.Reader, kind string, key types.NamespacedName, system details.System, showSecret bool) (*sheet, error) {
	var object interface {
		client.Object
		v1alpha1.Object
	}
	switch kind {
	case v1alpha1.KindPlatform:
		object = &v1alpha1.LTIPlatform{}
	case v1alpha1.KindTool:
		object = &v1alpha1.LTITool{}
	default:
		object = &v1alpha1.LTIActivity{}
	}
	if err := (&cluster{reader: reader, namespace: key.Namespace}).read(ctx, kind, key.Name, object); err != nil {
		return nil, err
	}
	m := &maker{system: system, sheet: &sheet{Kind: kind, Namespace: key.Namespace, Name: key.Name, System: system.Title}}
	if showSecret {
		m.credentials = func(name string) (*corev1.Secret, error) {
			secret := &corev1.Secret{}
			err := reader.Get(ctx, types.NamespacedName{Namespace: key.Namespace, Name: name}, secret)
			return secret, err
		}
	}
	var err error
	switch o := object.(type) {
	case *v1alpha1.LTIPlatform:
		err = m.platform(o)
	case *v1alpha1.LTITool:
		err = m.tool(o)
	case *v1alpha1.LTIActivity:
		err = m.activity(o)
	}
	if errors.Is(err, errNoDetails) {
		return nil, fmt.Errorf("%s %s has no values to hand over yet: %s", kind, key.Name, why(object))
	} else if err != nil {
		return nil, err
	}
	if meta.IsStatusConditionFalse(object.GetConditions(), v1alpha1.ConditionReady) {
		m.note("This %s is not ready: %s.", kind, why(object))
	}
	m.sheet.Notes = append(m.sheet.Notes, system.Notes...)
	return m.sheet, nil
}

// why says from the conditions of an object what its values are waiting for.
func why(object v1alpha1.Object) string {
	for _, conditionType := range []string{v1alpha1.ConditionAccepted, v1alpha1.ConditionReady} {
		if c := meta.FindStatusCondition(object.GetConditions(), conditionType); c != nil && c.Status != metav1.ConditionTrue {
			return fmt.Sprintf("%s is %s (%s): %s", c.Type, c.Status, c.Reason, c.Message)
		}
	}
	return "the operator has not looked at it"
}

// write prints a sheet.
func (s *sheet) write(w io.Writer, format string) error {
	switch format {
	case "json":
		encoder := json.NewEncoder(w)
		encoder.SetIndent("", "  ")
		encoder.SetEscapeHTML(false)
		return encoder.Encode(s)
	case "yaml":
		text, err := yaml.Marshal(s)
		if err != nil {
			return err
		}
		_, err = w.Write(text)
		return err
	}
	s.text(w)
	return nil
}
