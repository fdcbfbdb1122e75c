// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lti-operator/lti-operator/api/v1alpha1"
	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/lti/launch"
	"github.com/lti-operator/lti-operator/internal/lti/oauth1"
)

// formsCompared is how many forms our check of signatures and that of ims-lti judge.
const formsCompared = 1000

// signedForm is a form as hack/peers/tool-ims.mjs verifies it.
type signedForm struct {
	URL    string `json:"url"`
	Body   string `json:"body"`
	Secret string `json:"secret"`
}

// signatures judges that ims-lti accepts the forms that we sign, and refuses with us those that were tampered with.
func (c *checks) signatures(ctx context.Context) {
	c.check(fmt.Sprintf("ims-lti and we agree about %d signed forms, of which half were tampered with", formsCompared), func() (string, error) {
		var forms []signedForm
		for i := range formsCompared {
			form, err := makeForm(i)
			if err != nil {
				return "", fmt.Errorf("form %d: %w", i, err)
			}
			if i%2 == 1 {
				form.tamper(i / 2)
			}
			forms = append(forms, form)
		}
		theirs, err := verifyAll(ctx, forms)
		if err != nil {
			return "", err
		}
		if len(theirs) != len(forms) {
			return "", fmt.Errorf("ims-lti judged %d of them", len(theirs))
		}
		for i, form := range forms {
			_, refused := form.verify(ctx)
			if good := i%2 == 0; (refused == nil) != good || theirs[i] != good {
				return "", fmt.Errorf("of form %d we say %w, and ims-lti %t: POST %s %s", i, errors.Join(refused), theirs[i], form.URL, form.Body)
			}
		}
		return "", nil
	})
}

// Values that signatures stumble over. Names are plain: ims-lti does not encode those that need it, and sorts "a1=" before
// "a=", so that no name may be another one with a digit, "-", "." or "%" after it.
var (
	hardValues = []string{
		"plain", "a b", "a+b", "100 % sure", "%41", "R&D", "x=y", "één", "Čapková", "日本語", "🙂", "!*'()", "~-._", "a\"b<c>", "/?#[]@:;,$", "line\r\nline",
	}
	hardQueries = []string{
		"", "?course=7", "?course=7&course=8", "?course=8&course=7&course=8", "?q=", "?topic=burns%20%26%20cuts&lang=nl", "?a=%C3%A9&b=%2B&c=x+y", "?~tilde=*%21",
	}
	hardPaths = []string{"/launch", "/launch/a%20b", "/launch/%C3%A9", "/launch/(x)"}
)

// makeForm signs the launch of one of many combinations.
func makeForm(i int) (signedForm, error) {
	hard := func(n int) string { return hardValues[(i*n+n)%len(hardValues)] }
	address := "http://partner.localhost:" + strconv.Itoa(partnerPort) + hardPaths[i/2%len(hardPaths)] + hardQueries[i/3%len(hardQueries)]
	credentials := oauth1.Credentials{ConsumerKey: "key " + hardValues[i%4], SharedSecret: "secret " + hard(3)}
	nonce := "nonce-" + strconv.Itoa(i)
	if i%5 == 0 {
		// What no launch of ours has: empty values, and a name that comes twice.
		params, err := oauth1.SignForm(address, lti.Params{
			{Name: "lti_message_type", Value: "basic-lti-launch-request"},
			{Name: "lti_version", Value: "LTI-1p0"},
			{Name: "resource_link_id", Value: hard(5)},
			{Name: "empty", Value: ""},
			{Name: "twice", Value: hard(7)},
			{Name: "twice", Value: hard(11)},
		}, credentials, time.Now(), nonce)
		return signedForm{URL: address, Body: encode(params), Secret: credentials.SharedSecret}, err
	}
	params, err := launch.Form12(address, launch.Launch12{Visit: launch.Visit{
		ResourceLink: launch.ResourceLink{ID: hard(5), Title: hard(7)},
		Subject:      "learner " + strconv.Itoa(i), Roles: []string{launch.RoleLearner},
		Context:    &launch.Context{ID: hard(9), Title: hard(11)},
		Person:     launch.Person{Name: hard(13), GivenName: hard(1), FamilyName: hard(15), Email: "zoë@example.org"}.Without(launch.Privacy{}),
		Parameters: []launch.Parameter{{Name: "topic", Value: hard(17)}, {Name: "size", Value: hard(19)}, {Name: "mode", Value: ""}},
	}, Outcome: &launch.Outcome{ServiceURL: "http://lti.localhost:9402/outcomes?x=" + url.QueryEscape(hard(3)), SourcedID: hard(21)}},
		credentials, time.Now(), nonce)
	return signedForm{URL: address, Body: encode(params), Secret: credentials.SharedSecret}, err
}

// encode writes a form as browsers do.
func encode(params lti.Params) string {
	pairs := make([]string, len(params))
	for i, p := range params {
		pairs[i] = url.QueryEscape(p.Name) + "=" + url.QueryEscape(p.Value)
	}
	return strings.Join(pairs, "&")
}

// tamper changes a form, in one of several ways, after it was signed.
func (f *signedForm) tamper(way int) {
	const signature = "&oauth_signature="
	switch way % 8 {
	case 0:
		f.Body = strings.Replace(f.Body, "resource_link_id=", "resource_link_id=x", 1)
	case 1:
		f.Body += "&roles=Instructor"
	case 2:
		_, f.Body, _ = strings.Cut(f.Body, "&") // without the first
	case 3:
		f.Body = strings.Replace(f.Body, "oauth_nonce=", "oauth_nonce=x", 1)
	case 4:
		f.Secret += "x"
	case 5:
		f.URL = strings.Replace(f.URL, "/launch", "/launch/else", 1)
	case 6:
		address, query, _ := strings.Cut(f.URL, "?")
		f.URL = address + "?" + strings.Trim("added=1&"+query, "&")
	case 7:
		// Another letter in the signature.
		at := strings.Index(f.Body, signature) + len(signature)
		letter := "A"
		if f.Body[at:at+1] == letter {
			letter = "B"
		}
		f.Body = f.Body[:at] + letter + f.Body[at+1:]
	}
}

// verify is what the launch handler does with a form.
func (f *signedForm) verify(ctx context.Context) (*oauth1.Verified, error) {
	body, err := lti.ParseForm(f.Body)
	if err != nil {
		return nil, err
	}
	address, query, _ := strings.Cut(f.URL, "?")
	return oauth1.Verify(ctx, oauth1.Request{Method: http.MethodPost, URL: address, RawQuery: query, Body: body},
		func(context.Context, string) ([]string, error) { return []string{f.Secret}, nil }, time.Now())
}

// verifyAll has ims-lti judge forms.
func verifyAll(ctx context.Context, forms []signedForm) (accepted []bool, err error) {
	body, err := json.Marshal(forms)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+loopback(partnerPort)+"/verify", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := httpClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	return accepted, json.Unmarshal(answer, &accepted)
}

// examLaunch is a launch as hack/peers/tool-strict.mjs lists it.
type examLaunch struct {
	Number     int      `json:"launch"`
	Violations []string `json:"violations"`
	Claims     struct {
		Subject string `json:"sub"`
		Email   string `json:"email"`
	} `json:"claims"`
}

// examLaunches are those that the exam's tool had so far.
func (c *checks) examLaunches(ctx context.Context) ([]examLaunch, error) {
	_, body, err := get(ctx, "http://"+loopback(examPort)+"/launches")
	if err != nil {
		return nil, err
	}
	var found []examLaunch
	if err := json.Unmarshal(body, &found); err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, errors.New("the exam was never opened")
	}
	return found, nil
}

// serviceAnswer is what the launch handler answered the exam's tool.
type serviceAnswer struct {
	Status int    `json:"status"`
	Step   string `json:"step"`
	Body   struct {
		AccessToken string `json:"access_token"`
		Reason      string `json:"reason"`
	} `json:"body"`
}

// drive has the exam's tool call a service.
func (c *checks) drive(ctx context.Context, query url.Values) (a serviceAnswer, err error) {
	_, body, err := get(ctx, "http://"+loopback(examPort)+"/drive?"+query.Encode())
	if err != nil {
		return a, err
	}
	return a, json.Unmarshal(body, &a)
}

// The browser check by which an exam is opened once more.
const openExam = "external, LTI 1.3, strict tool in our frame, cookies blocked"

// toolSwitch judges that a tool that is deactivated is refused at once wherever it, or a learner, comes by; and that nothing is
// lost by it.
func (c *checks) toolSwitch(ctx context.Context) {
	e := &c.peers.Check.External
	launches, err := c.examLaunches(ctx)
	if err != nil {
		c.fail("the exam's launches can be read", err)
		return
	}
	last := launches[len(launches)-1]
	call := url.Values{"call": {"members"}, "launch": {strconv.Itoa(last.Number)}}
	granted, err := c.drive(ctx, url.Values{"call": {"token"}, "launch": call["launch"]})
	if err != nil || granted.Body.AccessToken == "" {
		c.fail("the exam's tool has an access token", fmt.Errorf("status %d: %w", granted.Status, errors.Join(err)))
		return
	}
	withToken := url.Values{"call": call["call"], "launch": call["launch"], "token": {granted.Body.AccessToken}}
	activation := func(a v1alpha1.Activation) []string {
		return []string{"patch", "ltitool", examToolName, "--type=merge", "--patch", fmt.Sprintf(`{"spec":{"activation":%q}}`, a)}
	}

	c.check("a tool that is deactivated is refused everywhere, other tools are not", func() (string, error) {
		tool := &v1alpha1.LTITool{}
		if err := c.cluster.get(ctx, examToolName, tool); err != nil {
			return "", err
		}
		took, err := c.takes(ctx, activation(v1alpha1.Deactivated), func() error {
			status, page, err := get(ctx, e.Exam.StartURL)
			if m := reasonPattern.FindSubmatch(page); err == nil && (m == nil || string(m[1]) != string(lti.ToolDeactivated)) {
				return fmt.Errorf("a learner is answered with %d", status)
			} else if err == nil && !strings.Contains(string(page), tool.Spec.Title) {
				return fmt.Errorf("the page does not name %s", tool.Spec.Title)
			}
			return err
		})
		if err != nil {
			return "", err
		}
		for name, wanted := range map[string]struct {
			query  url.Values
			status int
		}{
			// RFC 6749 section 5.2 has one status for what is refused at the token endpoint.
			"for an access token":  {call, http.StatusBadRequest},
			"with an access token": {withToken, http.StatusForbidden},
		} {
			a, err := c.drive(ctx, wanted.query)
			if err != nil {
				return "", err
			}
			if a.Status != wanted.status || a.Body.Reason != string(lti.ToolDeactivated) {
				return "", fmt.Errorf("%s the tool is answered with %d %s", name, a.Status, a.Body.Reason)
			}
		}
		for _, other := range []externalActivity{e.Simulation, e.Partner} {
			if status, _, err := get(ctx, other.StartURL); err != nil || status != http.StatusSeeOther {
				return "", fmt.Errorf("%s is answered with %d: %w", other.Name, status, errors.Join(err))
			}
		}
		return fmt.Sprintf("%d ms from the start of kubectl to the refusal", took.Milliseconds()), nil
	})
	c.check("a tool that is activated again goes on with what it had", func() (string, error) {
		took, err := c.takes(ctx, activation(v1alpha1.Activated), func() error {
			a, err := c.drive(ctx, withToken)
			if err == nil && a.Status != http.StatusOK {
				return fmt.Errorf("with its former access token the tool is answered with %d", a.Status)
			}
			return err
		})
		if err != nil {
			return "", err
		}
		_, err = c.waitReady(ctx)
		return fmt.Sprintf("%d ms", took.Milliseconds()), err
	})
	c.runBrowser(ctx, c.artifacts(), " (after the tool was deactivated)", "CHECK_ONLY="+openExam, "CHECK_TRAFFIC="+c.traffic())
	c.check("the tool knows the learner by the same ID as before", func() (string, error) {
		after, err := c.examLaunches(ctx)
		if err != nil {
			return "", err
		}
		if len(after) == len(launches) {
			return "", errors.New("the exam was not opened again")
		}
		again := after[len(after)-1]
		before := slices.IndexFunc(launches, func(l examLaunch) bool { return l.Claims.Email == again.Claims.Email })
		if before < 0 || launches[before].Claims.Subject != again.Claims.Subject || again.Claims.Subject == "" {
			return "", fmt.Errorf("it is %q", again.Claims.Subject)
		}
		return "", nil
	})
}
