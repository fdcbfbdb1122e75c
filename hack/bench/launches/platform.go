// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/lti-operator/lti-operator/hack/bench/measure"
	"github.com/lti-operator/lti-operator/internal/keys"
)

// tokenLifetime is longer than Moodle's minute: tokens are signed before they are sent, and those of an overload are many. It is
// that of the login that they answer.
const tokenLifetime = 10 * time.Minute

const resourceTitle = "Working safely at height"

// person is somebody on the platform, in one of its courses.
type person struct {
	id, given, family string
	course            int
}

// courses is their number. Each has one link to the activity.
const courses = 20

func newPerson(i int) *person {
	// Moodle's IDs are short numbers; its first two users are the guest and the administrator.
	return &person{id: strconv.Itoa(i + 3), given: "Lena" + strconv.Itoa(i%97), family: "Learner-" + strconv.Itoa(i), course: i % courses}
}

func (p *person) name() string { return p.given + " " + p.family }

const (
	claim      = "https://purl.imsglobal.org/spec/lti/claim/"
	moodlePath = "/mod/lti/"
	moodleLTI  = issuer + moodlePath
)

// claims are what Moodle 4.5 puts into an ID token, as recorded from one.
func (l *launch) claims(s *subject, now time.Time) jwt.MapClaims {
	from, p, course, link := s.platform, l.who, strconv.Itoa(l.who.course+2), ""
	if l.activity != nil {
		link = "-" + l.activity.name // each in a link of its own
	}
	moodle := from.Issuer + moodlePath
	lineItems := cmp.Or(s.gradebook, moodle+"services.php") + "/" + course + "/lineitems"
	memberships := moodle + "services.php/CourseSection/" + course + "/bindings/2/memberships"
	return jwt.MapClaims{
		"nonce": l.nonce, "iat": now.Unix(), "exp": now.Add(tokenLifetime).Unix(), "iss": from.Issuer, "aud": from.ClientID, "sub": p.id,
		"given_name": p.given, "family_name": p.family, "name": p.name(), "email": "user" + p.id + "@university.example",
		claim + "deployment_id": from.DeploymentID, claim + "target_link_uri": s.targetLink(l),
		claim + "version": "1.3.0", claim + "message_type": "LtiResourceLinkRequest",
		claim + "lis":           map[string]any{"person_sourcedid": "SIS-" + p.id, "course_section_sourcedid": "COURSE-" + course},
		claim + "roles":         []string{"http://purl.imsglobal.org/vocab/lis/v2/membership#Learner"},
		claim + "context":       map[string]any{"id": course, "label": "SAFE10" + course, "title": "Safety at work — group " + course, "type": []string{"CourseSection"}},
		claim + "resource_link": map[string]any{"id": course + link, "title": resourceTitle, "description": "Opens the academy"},
		claim + "ext":           map[string]any{"user_username": "user" + p.id, "lms": "moodle-2"},
		claim + "launch_presentation": map[string]any{
			"locale": "en", "document_target": "window",
			"return_url": moodle + "return.php?course=" + course + "&launch_container=4&instanceid=2&sesskey=St5GO50Ngl",
		},
		claim + "tool_platform": map[string]any{
			"product_family_code": "moodle", "version": "2024100706", "guid": "f000f16c043cfee57f0ecbb4d4c23716", "name": "university", "description": "University",
		},
		claim + "custom": map[string]any{
			"chapter": "3", "static": "one & two", "uname": "user" + p.id, "context_memberships_url": memberships,
			"system_setting_url":  moodle + "services.php/tool/2/custom",
			"context_setting_url": moodle + "services.php/CourseSection/" + course + "/bindings/tool/2/custom",
			"link_setting_url":    moodle + "services.php/links/{link_id}/custom",
		},
		"https://purl.imsglobal.org/spec/lti-bo/claim/basicoutcome": map[string]any{
			"lis_result_sourcedid":    `{"data":{"instanceid":"2","userid":"` + p.id + `","typeid":"2","launchid":1874300474},"hash":"3197967634e0cf09e6b8cb4690ac2eb1f914c0520de96fd10a2e746c3b63364e"}`,
			"lis_outcome_service_url": moodle + "service.php",
		},
		"https://purl.imsglobal.org/spec/lti-ags/claim/endpoint": map[string]any{
			"scope": []string{
				"https://purl.imsglobal.org/spec/lti-ags/scope/lineitem", "https://purl.imsglobal.org/spec/lti-ags/scope/lineitem.readonly",
				"https://purl.imsglobal.org/spec/lti-ags/scope/result.readonly", "https://purl.imsglobal.org/spec/lti-ags/scope/score",
			},
			"lineitems": lineItems + "?type_id=2",
			"lineitem":  lineItems + "/4/lineitem?type_id=2",
		},
		"https://purl.imsglobal.org/spec/lti-nrps/claim/namesroleservice": map[string]any{
			"context_memberships_url": memberships, "service_versions": []string{"1.0", "2.0"},
		},
	}
}

// sign signs the ID tokens of launches.
func (b *bench) sign(ctx context.Context, s *subject, launches []*launch) error {
	key := s.platform.Key
	id := keys.PublicJWK(&key.PublicKey).KeyID
	return b.onAllCores(ctx, launches, func(l *launch) (err error) {
		token := jwt.NewWithClaims(jwt.SigningMethodRS256, l.claims(s, time.Now()))
		token.Header["kid"] = id
		l.token, err = token.SignedString(key)
		return err
	})
}

// onAllCores does for each launch what others do: they have machines of their own.
func (b *bench) onAllCores(ctx context.Context, launches []*launch, do func(*launch) error) (err error) {
	all := make([]int, b.cores)
	for i := range all {
		all[i] = i
	}
	if err := measure.Pin(all...); err != nil {
		return err
	}
	runtime.GOMAXPROCS(b.cores)
	defer func() { err = errors.Join(err, b.keepToDriverCore()) }()
	errs := make([]error, b.cores)
	var (
		next    atomic.Int64
		workers sync.WaitGroup
	)
	for n := range errs {
		workers.Go(func() {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= len(launches) {
					return
				}
				if errs[n] = do(launches[i]); errs[n] != nil {
					return
				}
			}
		})
	}
	workers.Wait()
	return errors.Join(append(errs, ctx.Err())...)
}

// keepToDriverCore leaves the other cores to the servers.
func (b *bench) keepToDriverCore() error {
	runtime.GOMAXPROCS(1)
	return measure.Pin(b.flags.DriverCore)
}

// served is a server of others, in this program.
type served struct {
	url    string
	server *http.Server
}

func serve(l net.Listener, handler http.Handler) *served {
	s := &served{"http://" + l.Addr().String(), &http.Server{ReadHeaderTimeout: exchangeTimeout, Handler: handler}}
	go func() { _ = s.server.Serve(l) }()
	return s
}

// listen takes a free port: what a server says may depend on it.
func listen() (net.Listener, error) { return net.Listen("tcp", "127.0.0.1:0") }

// serveKeySet has the platform's key set behind an address, for those who fetch it.
func serveKeySet(content string) (*served, error) {
	l, err := listen()
	if err != nil {
		return nil, err
	}
	return serve(l, http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(rw, content)
	})), nil
}

func (s *served) close() { _ = s.server.Close() }
