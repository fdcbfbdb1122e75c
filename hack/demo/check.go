// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lti-operator/lti-operator/api/v1alpha1"
	"github.com/lti-operator/lti-operator/hack/bench/measure"
	"github.com/lti-operator/lti-operator/internal/routing"
	"github.com/lti-operator/lti-operator/internal/workload"
)

// How often the checks repeat what could go right by chance.
const (
	targetChanges   = 20
	launchesOffline = 20
	operatorKills   = 12
	// killWithin is the time after a change in which the operator is killed.
	killWithin = 400 * time.Millisecond
	// changedAtOnce is how many activities change before a kill, so that many shards have to be written.
	changedAtOnce = 16
)

// tally counts checks and prints a line for each.
type tally struct {
	out            io.Writer
	passed, failed int
}

// check runs one check; figure is what it measured, if anything.
func (t *tally) check(text string, run func() (figure string, err error)) {
	figure, err := run()
	if err != nil {
		t.fail(text, err)
		return
	}
	if figure != "" {
		text += ": " + figure
	}
	t.pass(text)
}

func (t *tally) pass(text string) {
	t.passed++
	fmt.Fprintf(t.out, "ok %d - %s\n", t.passed+t.failed, text)
}

func (t *tally) fail(text string, err error) {
	t.failed++
	fmt.Fprintf(t.out, "not ok %d - %s: %s\n", t.passed+t.failed, text, strings.ReplaceAll(err.Error(), "\n", "\n  "))
}

// section prints what is judged next, and how long it took.
func (t *tally) section(name string, run func()) {
	start := time.Now()
	fmt.Fprintf(t.out, "# %s\n", name)
	run()
	fmt.Fprintf(t.out, "# %s: %.1f s\n", name, time.Since(start).Seconds())
}

// runChecks judges a demo that runs.
func (d *demo) runChecks(ctx context.Context, t *tally) (err error) {
	sign, err := startSigner(d.peer("sign12.mjs"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sign.stop()) }()
	c := &checks{demo: d, tally: t, sign: sign, link: d.peers.Platform.LTI12[0], academy: d.peers.Check.Academy}
	for _, s := range []struct {
		name string
		run  func(context.Context)
	}{
		{"launches in a browser", c.browser},
		{"signatures of LTI 1.2", c.signatures},
		{"accounts", c.accounts},
		{"grades", c.grades},
		{"conditions", c.conditions},
		{"a broken resource", c.broken},
		{"changes", c.changes},
		{"switched off", c.switches},
		{"a tool switched off", c.toolSwitch},
		{"the operator is killed in the middle of its work", c.kills},
		{"secrets", c.leaks},
		{"without API server", c.offline},
	} {
		t.section(s.name, func() { s.run(ctx) })
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	return nil
}

type checks struct {
	*demo
	*tally
	sign    *signer
	link    link12 // the activity that opens in a window
	academy string
}

// browser runs hack/peers/check.mjs.
func (c *checks) browser(ctx context.Context) {
	c.runBrowser(ctx, c.artifacts(), "", "CHECK_REQUIRE_ALL=1", "CHECK_TRAFFIC="+c.traffic(),
		"SECOND_LTI_URL=http://lti.localhost:"+strconv.Itoa(secondHandler.public),
		"KUBECTL="+c.cluster.kubectlPath, "KUBECTL_LTI="+c.bin("kubectl-lti"), "KUBECONFIG="+c.cluster.Kubeconfig)
}

var (
	resultPattern = regexp.MustCompile(`^(ok|not ok) \d+ - (.*)$`)
	totalPattern  = regexp.MustCompile(`^(\d+) passed, (\d+) failed$`)
)

// runBrowser passes on the lines of check.mjs, with its numbers continuing ours; only limits it to some checks.
func (c *checks) runBrowser(ctx context.Context, artifacts, suffix string, env ...string) {
	reader, writer := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := run(ctx, measure.Command{
			Path: "node", Args: []string{c.peer("check.mjs"), filepath.Join(c.dir, checkFileName)},
			Env: append([]string{"CHECK_ARTIFACTS=" + artifacts}, env...),
		}, writer, os.Stderr)
		_ = writer.Close()
		done <- err
	}()
	passed, failed, total := 0, 0, ""
	lines := bufio.NewScanner(reader)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		if totalPattern.MatchString(line) {
			total = line
			continue
		}
		m := resultPattern.FindStringSubmatch(line)
		switch {
		case m == nil:
			fmt.Fprintln(c.tally.out, line)
		case m[1] == "ok":
			passed++
			c.pass(m[2] + suffix)
		default:
			failed++
			text, why, _ := strings.Cut(m[2], ": ")
			c.fail(text+suffix, errors.New(why))
		}
	}
	_ = reader.Close()
	err := <-done
	// A run that breaks off, or that counts otherwise than we did, has not judged what it should have.
	if want := fmt.Sprintf("%d passed, %d failed", passed, failed); total != want || passed+failed == 0 {
		c.fail("the browser's checks run to their end"+suffix, fmt.Errorf("they say %q after %s: %w", total, want, errors.Join(err)))
	} else if failed == 0 && err != nil {
		c.fail("the browser's checks run to their end"+suffix, err)
	}
}

// grades judges what an administrator sees of the grades, and can do about them.
func (c *checks) grades(ctx context.Context) {
	plugin := func(args ...string) (string, error) {
		var out strings.Builder
		err := run(ctx, measure.Command{Path: c.bin("kubectl-lti"), Args: append([]string{"grades"}, append(args,
			"--kubeconfig="+c.cluster.Kubeconfig, "--namespace="+namespace, "--control-url=https://"+loopback(firstHandler.control))...)}, &out, os.Stderr)
		return out.String(), err
	}
	confirmed := func() (int, error) {
		out, err := plugin("list", "--activity="+newWindowName, "--state=Confirmed", "-o", "json")
		if err != nil {
			return 0, err
		}
		var found []routing.Grade
		err = json.Unmarshal([]byte(out), &found)
		return len(found), err
	}
	c.check("kubectl lti grades list shows both gradebooks as confirmed, and resend sends them again", func() (string, error) {
		before, err := confirmed()
		if err != nil || before < 2 {
			return "", fmt.Errorf("%d are confirmed: %w", before, errors.Join(err))
		}
		if _, err := plugin("resend", "--all", "--state=Confirmed"); err != nil {
			return "", err
		}
		return fmt.Sprintf("%d grades", before), poll(ctx, 10*time.Second, func() error {
			after, err := confirmed()
			if err == nil && after != before {
				err = fmt.Errorf("%d of %d are confirmed again", after, before)
			}
			return err
		})
	})
}

// conditions judges what the samples' conditions say.
func (c *checks) conditions(ctx context.Context) {
	c.check("kubectl wait --for=condition=Ready lti --all", func() (string, error) {
		out, err := c.waitReady(ctx)
		return fmt.Sprintf("%d objects", strings.Count(out, "condition met")), err
	})
	c.check("kubectl get lti prints a table of all kinds", func() (string, error) {
		out, err := c.cluster.kubectl(ctx, "get", "lti")
		if err != nil {
			return "", err
		}
		for line := range strings.Lines(out) {
			fmt.Fprint(c.tally.out, "  ", line)
		}
		fmt.Fprintln(c.tally.out)
		for _, want := range []string{"ltiacademy.", "ltiplatform.", "ltitool.", "ltiactivity.", "READY", newWindowName} {
			if !strings.Contains(out, want) {
				return "", fmt.Errorf("it has no %q", want)
			}
		}
		return "", nil
	})
	c.check("a partner who has not answered yet is not Registered, but Ready", func() (string, error) {
		p := &v1alpha1.LTIPlatform{}
		return "", errors.Join(c.cluster.get(ctx, "future-partner", p),
			expectCondition(p, v1alpha1.ConditionReady, metav1.ConditionTrue, ""),
			expectCondition(p, v1alpha1.ConditionRegistered, metav1.ConditionFalse, v1alpha1.ReasonAwaitingRegistration))
	})
	c.check("a partner whose contract has ended is Deactivated, and Ready", func() (string, error) {
		p := &v1alpha1.LTIPlatform{}
		return "", errors.Join(c.cluster.get(ctx, "former-partner", p),
			expectCondition(p, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonDeactivated))
	})
}

// expectCondition compares a condition; an empty reason matches each.
func expectCondition(o v1alpha1.Object, name string, status metav1.ConditionStatus, reason string) error {
	condition := meta.FindStatusCondition(o.GetConditions(), name)
	switch {
	case condition == nil:
		return fmt.Errorf("%s has no condition %s", o.GetName(), name)
	case condition.Status != status || reason != "" && condition.Reason != reason:
		return fmt.Errorf("%s is %s=%s (%s): %s", o.GetName(), name, condition.Status, condition.Reason, condition.Message)
	case condition.ObservedGeneration != o.GetGeneration():
		return fmt.Errorf("%s of %s is about generation %d, not %d", name, o.GetName(), condition.ObservedGeneration, o.GetGeneration())
	}
	return nil
}

// broken adds a resource that cannot work; it must say so, and harm nobody.
func (c *checks) broken(ctx context.Context) {
	const name, field = "broken-reference", "spec.share.lti12.credentialsSecretRef"
	c.check("an activity that refers to a missing Secret is not Ready, and names "+field, func() (string, error) {
		if _, err := c.cluster.kubectl(ctx, "apply", "--server-side", "-f", c.samples("broken")); err != nil {
			return "", err
		}
		a := &v1alpha1.LTIActivity{}
		return "", poll(ctx, 10*time.Second, func() error {
			if err := errors.Join(c.cluster.get(ctx, name, a),
				expectCondition(a, v1alpha1.ConditionReady, metav1.ConditionFalse, "")); err != nil {
				return err
			}
			if ready := meta.FindStatusCondition(a.Status.Conditions, v1alpha1.ConditionReady); !strings.Contains(ready.Message, field) {
				return fmt.Errorf("its message is %q", ready.Message)
			}
			return nil
		})
	})
	c.check("all others stay Ready for 2 s", func() (string, error) {
		others := 0
		for end := time.Now().Add(2 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
			all, err := c.resources(ctx)
			if err != nil {
				return "", err
			}
			others = len(all) - 1
			for _, o := range all {
				if o.GetName() == name {
					if expectCondition(o, v1alpha1.ConditionReady, metav1.ConditionTrue, "") == nil {
						return "", errors.New("the broken one became Ready")
					}
				} else if err := expectCondition(o, v1alpha1.ConditionReady, metav1.ConditionTrue, ""); err != nil {
					return "", err
				}
			}
		}
		return fmt.Sprintf("%d objects", others), nil
	})
	c.check("a launch of another activity works beside it", func() (string, error) {
		target, err := c.target(ctx)
		if err != nil {
			return "", err
		}
		return "", c.sign.launchTo(ctx, c.link, target)
	})
	c.check("it can be deleted", func() (string, error) {
		_, err := c.cluster.kubectl(ctx, "delete", "--timeout=10s", "-f", c.samples("broken"))
		return "", err
	})
}

// resources lists the objects of all kinds.
func (c *checks) resources(ctx context.Context) ([]v1alpha1.Object, error) {
	var (
		academies  v1alpha1.LTIAcademyList
		platforms  v1alpha1.LTIPlatformList
		tools      v1alpha1.LTIToolList
		activities v1alpha1.LTIActivityList
		all        []v1alpha1.Object
	)
	for _, list := range []client.ObjectList{&academies, &platforms, &tools, &activities} {
		if err := c.cluster.Client.List(ctx, list, client.InNamespace(namespace)); err != nil {
			return nil, fmt.Errorf("list %T: %w", list, err)
		}
		if err := meta.EachListItem(list, func(o runtime.Object) error {
			object, ok := o.(v1alpha1.Object)
			if !ok {
				return fmt.Errorf("%T is no resource of ours", o)
			}
			all = append(all, object)
			return nil
		}); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// target is where the activity leads according to its spec.
func (c *checks) target(ctx context.Context) (string, error) {
	a := &v1alpha1.LTIActivity{}
	if err := c.cluster.get(ctx, c.link.Name, a); err != nil {
		return "", err
	}
	if a.Spec.Share == nil {
		return "", fmt.Errorf("activity %s is not shared", c.link.Name)
	}
	return string(a.Spec.Share.TargetURL), nil
}

// changes measures how long a change takes to reach the people who launch.
func (c *checks) changes(ctx context.Context) {
	before, err := c.target(ctx)
	if err != nil {
		c.fail("the activity can be read", err)
		return
	}
	var all, patches []time.Duration
	c.check("a new targetURL is served without a restart", func() (string, error) {
		took, _, err := c.changeTarget(ctx, c.academy+"/courses/77")
		return fmt.Sprintf("%d ms from the start of kubectl patch to the first launch that leads there", took.Milliseconds()), err
	})
	c.check(fmt.Sprintf("%d changes of targetURL", targetChanges), func() (string, error) {
		for i := range targetChanges {
			took, patch, err := c.changeTarget(ctx, fmt.Sprintf("%s/courses/77-%d", c.academy, i+1))
			if err != nil {
				return "", err
			}
			all, patches = append(all, took), append(patches, patch)
		}
		return fmt.Sprintf("p50 %d ms, max %d ms (of which kubectl itself p50 %d ms)",
			median(all).Milliseconds(), slices.Max(all).Milliseconds(), median(patches).Milliseconds()), nil
	})
	c.check("the former targetURL is served again", func() (string, error) {
		_, _, err := c.changeTarget(ctx, before)
		return "", err
	})
}

// changeTarget patches the activity and launches it until it leads to the new place.
func (c *checks) changeTarget(ctx context.Context, target string) (took, patch time.Duration, err error) {
	start := time.Now()
	if _, err := c.cluster.kubectl(ctx, "patch", "ltiactivity", c.link.Name, "--type=merge",
		"--patch", fmt.Sprintf(`{"spec":{"share":{"targetURL":%q}}}`, target)); err != nil {
		return 0, 0, err
	}
	patch = time.Since(start)
	deadline := start.Add(10 * time.Second)
	for {
		place, err := c.sign.launch12(ctx, c.link)
		switch {
		case err != nil:
			return 0, 0, err // not one launch may fail on the way
		case place == target:
			return time.Since(start), patch, nil
		case time.Now().After(deadline):
			return 0, 0, fmt.Errorf("after 10 s a launch still leads to %s", place)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func median(all []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[len(sorted)/2]
}

// kills ends the operator at random instants. What it leaves behind must be enough to start a launch handler.
func (c *checks) kills(ctx context.Context) {
	var names []string
	for i := range changedAtOnce {
		names = append(names, fmt.Sprintf("changing-%d", i+1))
	}
	activities := func() []*v1alpha1.LTIActivity {
		var list []*v1alpha1.LTIActivity
		for _, name := range names {
			list = append(list, &v1alpha1.LTIActivity{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}})
		}
		return list
	}
	torn, slowest := 0, time.Duration(0)
	c.check(fmt.Sprintf("a fresh launch handler starts after each of %d kills", operatorKills), func() (string, error) {
		for _, a := range activities() {
			a.Spec = v1alpha1.LTIActivitySpec{
				Title: "Before", Type: v1alpha1.ELearning,
				Share: &v1alpha1.ActivityShare{TargetURL: v1alpha1.PeerURL(c.academy + "/courses/1"), SignIn: v1alpha1.SignInLaunchCode},
			}
			if err := c.cluster.Client.Create(ctx, a); err != nil {
				return "", fmt.Errorf("create activity: %w", err)
			}
		}
		for i := range operatorKills {
			if _, err := c.waitReady(ctx); err != nil {
				return "", err
			}
			wasTorn, took, err := c.killOnce(ctx, i, activities())
			if err != nil {
				return "", fmt.Errorf("kill %d: %w", i+1, err)
			}
			if wasTorn {
				torn++
			}
			slowest = max(slowest, took)
		}
		return fmt.Sprintf("%d fell between the writes of one table; slowest start %d ms", torn, slowest.Milliseconds()), nil
	})
	c.check("the operator finishes what it was killed in", func() (string, error) {
		if _, err := c.waitReady(ctx); err != nil {
			return "", err
		}
		for _, a := range activities() {
			if err := c.cluster.Client.Delete(ctx, a); err != nil {
				return "", fmt.Errorf("delete activity: %w", err)
			}
		}
		target, err := c.target(ctx)
		if err != nil {
			return "", err
		}
		return "", c.sign.launchTo(ctx, c.link, target)
	})
}

// killOnce changes activities, kills the operator and starts a handler from what the API server holds. It tells whether
// the kill fell between the writes of a table, and how long the handler took to be ready.
func (c *checks) killOnce(ctx context.Context, number int, activities []*v1alpha1.LTIActivity) (torn bool, took time.Duration, err error) {
	before, err := c.published(ctx)
	if err != nil {
		return false, 0, err
	}
	delay, err := rand.Int(rand.Reader, big.NewInt(int64(killWithin)))
	if err != nil {
		return false, 0, err
	}
	patch := client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"spec":{"title":"After kill %d"}}`, number))
	patched := make(chan error, 1)
	killed := time.After(time.Duration(delay.Int64()))
	go func() {
		var errs []error
		for _, a := range activities {
			errs = append(errs, c.cluster.Client.Patch(ctx, a, patch))
		}
		patched <- errors.Join(errs...)
	}()
	<-killed
	c.operator.Kill()
	if err := <-patched; err != nil {
		return false, 0, fmt.Errorf("patch activity: %w", err)
	}
	after, err := c.published(ctx)
	if err != nil {
		return false, 0, err
	}
	dir := filepath.Join(c.dir, "kill-"+strconv.Itoa(number))
	if err := os.Mkdir(dir, 0o700); err != nil {
		return false, 0, err
	}
	log, err := os.OpenFile(filepath.Join(c.logDir, "configsync-once.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return false, 0, err
	}
	defer func() { _ = log.Close() }()
	config := filepath.Join(dir, "config")
	if err := run(ctx, measure.Command{Path: c.bin("configsync"), Args: []string{
		"--kubeconfig", c.cluster.Kubeconfig, "--namespace", namespace, "--dir", config, "--once",
	}}, log, log); err != nil {
		return false, 0, fmt.Errorf("configsync --once: %w", err)
	}
	took, err = c.startSpare(ctx, config, filepath.Join(dir, "launches.db"))
	if err != nil {
		return false, 0, err
	}
	return after.torn(before), took, c.startOperator()
}

// startSpare starts a third handler, measures how long it takes to be ready, and stops it.
func (c *checks) startSpare(ctx context.Context, config, store string) (time.Duration, error) {
	start := time.Now()
	handler, err := c.startHandler(spareHandler, config, store)
	if err != nil {
		return 0, err
	}
	defer handler.Stop()
	err = waitHandlerReady(ctx, spareHandler, 10*time.Second)
	return time.Since(start), err
}

// publication is what the operator has written so far.
type publication struct {
	manifest routing.Manifest
	shards   map[string]bool // the hashes of all shards that are there
}

// torn tells whether shards were added of which no manifest tells yet.
func (p publication) torn(before publication) bool {
	named := p.manifest.ShardHashes()
	for hash := range p.shards {
		if !before.shards[hash] && !slices.Contains(named, hash) {
			return true
		}
	}
	return false
}

func (c *checks) published(ctx context.Context) (publication, error) {
	p := publication{shards: map[string]bool{}}
	manifest := &corev1.ConfigMap{}
	if err := c.cluster.get(ctx, workload.ManifestConfigMapName(v1alpha1.DefaultAcademyName), manifest); err != nil {
		return p, err
	}
	var err error
	if p.manifest, err = routing.DecodeManifest([]byte(manifest.Data[routing.ManifestFile])); err != nil {
		return p, fmt.Errorf("read manifest: %w", err)
	}
	add := func(files map[string][]byte) {
		for file := range files {
			if hash, ok := routing.ShardHash(file); ok {
				p.shards[hash] = true
			}
		}
	}
	for i := range routing.RoutingShards {
		shard := &corev1.ConfigMap{}
		if err := c.cluster.get(ctx, workload.RoutingConfigMapName(v1alpha1.DefaultAcademyName, i), shard); err != nil {
			return p, err
		}
		add(shard.BinaryData)
	}
	for i := range routing.KeyShards {
		shard := &corev1.Secret{}
		if err := c.cluster.get(ctx, workload.KeySecretName(v1alpha1.DefaultAcademyName, i), shard); err != nil {
			return p, err
		}
		add(shard.Data)
	}
	return p, nil
}

// offline stops the API server for good. Learners must not notice.
func (c *checks) offline(ctx context.Context) {
	target, err := c.target(ctx)
	if err != nil {
		c.fail("the activity can be read", err)
		return
	}
	// Both may end over it; neither is needed for launches.
	c.operator.ExpectEnd()
	c.configsync.ExpectEnd()
	c.check("the API server is gone", func() (string, error) {
		if err := c.cluster.Stop(); err != nil {
			return "", err
		}
		if c.cluster.get(ctx, v1alpha1.DefaultAcademyName, &v1alpha1.LTIAcademy{}) == nil {
			return "", errors.New("it still answers")
		}
		return "", nil
	})
	c.check(fmt.Sprintf("%d launches work without API server", launchesOffline), func() (string, error) {
		for range launchesOffline {
			if err := c.sign.launchTo(ctx, c.link, target); err != nil {
				return "", err
			}
		}
		return "", nil
	})
	c.runBrowser(ctx, filepath.Join(c.artifacts(), "offline"), " (without API server)",
		"CHECK_ONLY=LTI 1.3, learner, window, cookies allowed")
	c.check("a launch handler that starts without API server becomes ready", func() (string, error) {
		took, err := c.startSpare(ctx, c.configDir(), filepath.Join(c.dir, "offline.db"))
		return fmt.Sprintf("%d ms", took.Milliseconds()), err
	})
}
