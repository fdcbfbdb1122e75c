// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"text/template"
	"time"
)

// checkNamespace is where the Pods of check are.
const checkNamespace = "cluster-check"

//go:embed check.yaml
var checkPods string

// check starts Pods of the images in a folder, under the Pod security standard "restricted", and sees that they run, keep
// what they write, and can be reached: from this machine and from other Pods, by address and by name.
func (c *cluster) check(ctx context.Context, images string) error {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	archives, err := filepath.Glob(filepath.Join(images, "*.tar"))
	if err != nil || len(archives) == 0 {
		return fmt.Errorf("no images in %s; `make images` makes them", images)
	}
	probe, err := c.program("probe.tar")
	if err != nil {
		return err
	}
	if err := c.load(ctx, append(archives, probe)); err != nil {
		return err
	}
	c.say("%d images loaded", len(archives)+1)

	references := map[string]string{}
	for _, archive := range append(archives, probe) {
		reference, err := referenceIn(archive)
		if err != nil {
			return err
		}
		references[strings.TrimSuffix(filepath.Base(archive), ".tar")] = reference
	}
	var out strings.Builder
	t, err := template.New("").Parse(checkPods)
	if err != nil {
		return err
	}
	if err := t.Execute(&out, map[string]any{
		"Namespace": checkNamespace, "Operator": references["lti-operator"], "Handler": references["launch-handler"], "Probe": references["probe"],
	}); err != nil {
		return err
	}
	remove := func(ctx context.Context) error {
		return c.kubectl(ctx, "", "delete", "namespace", checkNamespace, "--ignore-not-found", "--wait", "--timeout=60s")
	}
	if err := remove(ctx); err != nil {
		return err
	}
	err = c.checkPods(ctx, out.String())
	if err != nil {
		pods, _ := c.kubectlOutput(ctx, "", "get", "pods,events", "-n", checkNamespace, "-o", "wide")
		return fmt.Errorf("%w\n%s", err, pods)
	}
	if err := remove(ctx); err != nil {
		return err
	}
	c.say("the Pods are gone")
	return nil
}

func (c *cluster) checkPods(ctx context.Context, documents string) error {
	if err := c.kubectl(ctx, documents, "apply", "--server-side", "--filename=-"); err != nil {
		return err
	}
	in := func(args ...string) (string, error) {
		return c.kubectlOutput(ctx, "", append([]string{"-n", checkNamespace}, args...)...)
	}
	for _, pod := range []string{"launch-handler-version", "lti-operator-version"} {
		if _, err := in("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/"+pod, "--timeout=90s"); err != nil {
			return err
		}
		log, err := in("logs", pod)
		if err != nil {
			return err
		}
		c.say("%s ran and said %q", pod, strings.TrimSpace(log))
	}
	if _, err := in("wait", "--for=condition=Ready", "pod/launch-handler", "--timeout=90s"); err != nil {
		return err
	}
	c.say("the launch handler runs, with a volume")
	address, err := in("get", "service", "launch-handler", "-o", "jsonpath={.spec.clusterIP}")
	if err != nil {
		return err
	}
	if err := c.retry(ctx, "the Service answers", func(ctx context.Context) error { return get(ctx, "http://"+address+":8081/livez") }); err != nil {
		return err
	}
	c.say("the Service answers this machine at %s", address)
	name := "launch-handler." + checkNamespace + ".svc." + clusterDomain
	if err := c.retry(ctx, "its name is known", func(ctx context.Context) error { return c.resolve(ctx, name, address) }); err != nil {
		return err
	}
	c.say("cluster DNS knows %s", name)
	if _, err := in("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/probe", "--timeout=60s"); err != nil {
		log, _ := in("logs", "probe")
		return fmt.Errorf("%w: %s", err, log)
	}
	c.say("the Service answers another Pod by its name")
	if _, err := in("exec", "launch-handler", "--", "/launch-handler", "--version"); err != nil {
		return err
	}
	c.say("kubectl exec and logs work")
	if err := c.stopProgram(ctx, "kube-apiserver"); err != nil {
		return err
	}
	_, apiErr := in("get", "pods")
	if err := get(ctx, "http://"+address+":8081/livez"); err != nil || apiErr == nil {
		return fmt.Errorf("without the API server: kubectl says %w, the Service %w", apiErr, err)
	}
	if err := c.startProgram(ctx, "kube-apiserver"); err != nil {
		return err
	}
	return nil
}

func get(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	response, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s", url, response.Status)
	}
	return nil
}

// resolve asks cluster DNS for a name, from this machine.
func (c *cluster) resolve(ctx context.Context, name, want string) error {
	resolver := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, net.JoinHostPort(c.net.dnsService.String(), "53"))
	}}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	got, err := resolver.LookupHost(ctx, name+".")
	if err != nil {
		return err
	}
	if !slices.Contains(got, want) {
		return errors.New("cluster DNS says that " + name + " is " + strings.Join(got, ", ") + ", not " + want)
	}
	return nil
}
