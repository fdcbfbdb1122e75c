// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lti-operator/lti-operator/api/v1alpha1"
	"github.com/lti-operator/lti-operator/internal/keys"
)

// canary is a secret value that must be nowhere but in its Secret.
type canary struct {
	origin string
	value  []byte
}

// sink is a place where people or programs without access to Secrets can read.
type sink struct {
	name    string
	content []byte
}

// leaks judges that no secret of any Secret has come out during all that happened before.
func (c *checks) leaks(ctx context.Context) {
	canaries, err := c.canaries(ctx)
	if err != nil {
		c.fail("the Secrets can be read", err)
		return
	}
	var sinks []sink
	c.check("no secret is in a log, an event, a status, a ConfigMap, a metric, a page or an address", func() (string, error) {
		if sinks, err = c.sinks(ctx); err != nil {
			return "", err
		}
		size := 0
		for _, s := range sinks {
			if len(s.content) == 0 {
				return "", fmt.Errorf("%s is empty: nothing was searched", s.name)
			}
			size += len(s.content)
		}
		return fmt.Sprintf("%d secrets searched for in %d places with %d KiB", len(canaries), len(sinks), size>>10), found(canaries, sinks)
	})
	c.check("no learner's name or address is in a log, an event, a status, a ConfigMap or a metric", func() (string, error) {
		var people []canary
		for _, l := range c.directory.learners {
			for origin, value := range map[string]string{"name": l.Name, "family name": l.FamilyName, "address": l.Email} {
				people = append(people, canary{origin: origin + " of " + l.Login, value: []byte(value)})
			}
		}
		return fmt.Sprintf("%d searched for", len(people)), found(people, slices.DeleteFunc(slices.Clone(sinks), func(s sink) bool { return s.name == trafficName }))
	})
	c.check("one that is planted is found, in each of these places and in each spelling", func() (string, error) {
		plants := 0
		for i, s := range sinks {
			for _, planted := range canaries {
				for _, spelling := range spellings(planted.value) {
					plants++
					with := slices.Clone(sinks[i : i+1])
					with[0].content = slices.Concat(s.content, spelling)
					if found([]canary{planted}, with) == nil {
						return "", fmt.Errorf("the %s is not found in %s", planted.origin, s.name)
					}
				}
			}
		}
		if plants == 0 {
			return "", errors.New("nothing was planted")
		}
		return fmt.Sprintf("%d plants", plants), nil
	})
}

// found says where a secret is that should not be there.
func found(canaries []canary, sinks []sink) error {
	var errs []error
	for _, s := range sinks {
		for _, c := range canaries {
			for _, spelling := range spellings(c.value) {
				if bytes.Contains(s.content, spelling) {
					errs = append(errs, fmt.Errorf("%s holds the %s", s.name, c.origin))
					break
				}
			}
		}
	}
	return errors.Join(errs...)
}

// spellings are the ways in which programs write a value.
func spellings(value []byte) [][]byte {
	// Without the last group, which depends on what follows the value.
	whole := value[:len(value)/3*3]
	return [][]byte{
		value,
		[]byte(url.QueryEscape(string(value))),
		[]byte(hex.EncodeToString(value)),
		[]byte(base64.StdEncoding.EncodeToString(whole)),
		[]byte(base64.URLEncoding.EncodeToString(whole)),
	}
}

// canaries are the secret values of all Secrets: those of other parties and those that the operator has made.
func (c *checks) canaries(ctx context.Context) ([]canary, error) {
	var secrets corev1.SecretList
	if err := c.cluster.Client.List(ctx, &secrets, client.InNamespace(namespace), client.MatchingLabels{v1alpha1.LabelUse: v1alpha1.LabelUseValue}); err != nil {
		return nil, fmt.Errorf("list Secrets: %w", err)
	}
	// What is in the same Secrets and no secret.
	public := []string{
		v1alpha1.SecretKeyConsumerKey, keys.AcademyControlCertificate, v1alpha1.SecretKeyExpiresAt, v1alpha1.SecretKeyRequest,
	}
	var out []canary
	for _, s := range secrets.Items {
		for name, value := range s.Data {
			if slices.Contains(public, name) {
				continue
			}
			if bytes.HasPrefix(value, []byte("-----BEGIN")) {
				// One line from the middle tells a key from any other; the first ones are alike.
				lines := bytes.Split(bytes.TrimSpace(value), []byte("\n"))
				value = lines[len(lines)/2]
			}
			if key, isWebhook := strings.CutPrefix(string(value), "whsec_"); isWebhook {
				// What signs is the key that the text stands for; in base64, it is the text.
				decoded, err := base64.StdEncoding.DecodeString(key)
				if err != nil {
					return nil, fmt.Errorf("read %s of Secret %s: %w", name, s.Name, err)
				}
				value = decoded
			}
			if len(value) < 16 {
				return nil, fmt.Errorf("the value of %s in Secret %s is too short to be searched for", name, s.Name)
			}
			out = append(out, canary{origin: name + " of Secret " + s.Name, value: value})
		}
	}
	if len(out) < 6 {
		return nil, fmt.Errorf("only %d secrets are there", len(out))
	}
	return out, nil
}

// sinks collects whatever can be read without access to Secrets.
func (c *checks) sinks(ctx context.Context) ([]sink, error) {
	var out []sink
	for _, kind := range []string{"lti", "configmaps", "events"} {
		text, err := c.cluster.kubectl(ctx, "get", kind, "-o", "yaml")
		if err != nil {
			return nil, err
		}
		out = append(out, sink{"kubectl get " + kind, []byte(text)})
	}
	for _, name := range []string{"lti-operator", firstHandler.name, secondHandler.name} {
		log, err := os.ReadFile(filepath.Join(c.logDir, name+".log"))
		if err != nil {
			return nil, fmt.Errorf("read log: %w", err)
		}
		out = append(out, sink{"the log of " + name, log})
	}
	for _, address := range []string{loopback(firstHandler.ops), loopback(operatorMetricsPort)} {
		status, metrics, err := get(ctx, "http://"+address+"/metrics")
		if err != nil || status != http.StatusOK {
			return nil, fmt.Errorf("read the metrics at %s: status %d: %w", address, status, errors.Join(err))
		}
		out = append(out, sink{"the metrics at " + address, metrics})
	}
	traffic, err := os.ReadFile(c.traffic())
	if err != nil {
		return nil, fmt.Errorf("read what browsers were sent: %w", err)
	}
	if !strings.Contains(string(traffic), c.peers.Check.Handler) {
		return nil, errors.New("the record of what browsers were sent has nothing of the launch handler")
	}
	return append(out, sink{trafficName, traffic}), nil
}

// trafficName is what we call what browsers were sent. Learners may see their names there.
const trafficName = "the pages and addresses that browsers were sent"

// traffic is where the browser checks write what they were sent.
func (d *demo) traffic() string { return filepath.Join(d.artifacts(), "traffic.jsonl") }
