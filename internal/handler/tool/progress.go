// SPDX-License-Identifier: Apache-2.0

package tool

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/lti-operator/lti-operator/internal/grades"
	"github.com/lti-operator/lti-operator/internal/handler/web"
	"github.com/lti-operator/lti-operator/internal/identity"
	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/store"
)

// ProgressReport is what the academy's back end posts about a learner.
type ProgressReport struct {
	// Subject is the learner, as in LaunchClaims.
	Subject string `json:"sub"`
	// Activity is the name of the LTIActivity.
	Activity string `json:"activity"`
	// LaunchID stands for both, as in LaunchClaims.
	LaunchID string `json:"launch_id"`
	grades.Report
}

// Progress is what is known about a learner in an activity, and how far its grades have come.
type Progress struct {
	Subject  string `json:"sub"`
	Activity string `json:"activity"`
	grades.Progress
	Grades []grades.Entry `json:"grades"`
}

const (
	maxReportBytes = 16 << 10
	// maxAhead is how far the academy's clock may be ahead of ours: a report from the future would keep the ones that come
	// after it from counting.
	maxAhead = 5 * time.Minute
	// keyRetention is for how long an idempotency key is remembered, maxKey how long one may be.
	keyRetention = 24 * time.Hour
	maxKey       = 255
	// maxListed bounds the grades in an answer.
	maxListed = 200
	// headerIdempotencyKey is that of the IETF draft draft-ietf-httpapi-idempotency-key-header.
	headerIdempotencyKey = "Idempotency-Key"
)

//go:embed openapi.yaml
var openAPI []byte

// describe serves the description of what the academy's back end may call.
func (t *Tool) describe(rw http.ResponseWriter, r *http.Request) {
	rw.Header().Set("Content-Type", "application/yaml")
	rw.Header().Set("X-Content-Type-Options", "nosniff")
	http.ServeContent(rw, r, "", time.Time{}, bytes.NewReader(openAPI))
}

// reportProgress takes a report. When it answers 200 the report cannot get lost.
func (t *Tool) reportProgress(rw http.ResponseWriter, r *http.Request) {
	t.answerClient(rw, r, identity.ScopeProgress, func(v *visit, client string) (any, error) {
		body, err := io.ReadAll(http.MaxBytesReader(rw, r.Body, maxReportBytes))
		if err != nil {
			return nil, lti.Refuse(lti.RequestTooLarge, "at most %d bytes", maxReportBytes).Because(err)
		}
		var report ProgressReport
		decoder := json.NewDecoder(bytes.NewReader(body))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&report); err != nil {
			return nil, lti.Refuse(lti.ReportInvalid, "the body is not a report in JSON, or has members that are not known").Because(err)
		}
		now := t.Now()
		if report.At.IsZero() {
			report.At = now
		}
		if report.At.After(now.Add(maxAhead)) {
			return nil, lti.Refuse(lti.ReportInvalid, "at is in the future: is the clock right?")
		}
		if err := t.resolve(r, &report); err != nil {
			return nil, err
		}
		if err := v.mayReport(report.Subject, report.Activity, client); err != nil {
			return nil, err
		}
		var key *store.Idempotency
		if k := r.Header.Get(headerIdempotencyKey); len(k) > maxKey {
			return nil, lti.Refuse(lti.ReportInvalid, "%s is longer than %d bytes", headerIdempotencyKey, maxKey)
		} else if k != "" {
			key = &store.Idempotency{Client: client, Key: k, Request: store.HashToken(string(body)), ExpiresAt: now.Add(keyRetention)}
		}
		known, err := t.Book.Report(r.Context(), report.Subject, report.Activity, policyOf(v.Activity(report.Activity)), &report.Report, key)
		if err != nil {
			return nil, reportRefusal(err)
		}
		return t.progressOf(r, report.Subject, report.Activity, &known)
	})
}

// resolve finds out whom a report is about that names a launch.
func (t *Tool) resolve(r *http.Request, report *ProgressReport) error {
	if report.LaunchID == "" {
		return nil
	}
	if report.Subject != "" || report.Activity != "" {
		return lti.Refuse(lti.ReportInvalid, "launch_id stands for sub and activity: give the one or the others")
	}
	launched, err := t.Store.Launch(r.Context(), report.LaunchID)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return lti.Refuse(lti.LaunchUnknown, "no launch with this launch_id").Because(err)
	case err != nil && !errors.Is(err, store.ErrSuspended):
		return storeRefusal(err)
	}
	report.Subject, report.Activity = launched.Subject, launched.Activity
	return nil
}

// showProgress tells what is known.
func (t *Tool) showProgress(rw http.ResponseWriter, r *http.Request) {
	t.answerClient(rw, r, identity.ScopeProgress, func(v *visit, client string) (any, error) {
		query := r.URL.Query()
		subject, activity := query.Get("sub"), query.Get("activity")
		if err := v.mayReport(subject, activity, client); err != nil {
			return nil, err
		}
		known, err := t.Book.Progress(r.Context(), subject, activity)
		if err != nil {
			return nil, reportRefusal(err)
		}
		return t.progressOf(r, subject, activity, &known)
	})
}

func (t *Tool) progressOf(r *http.Request, subject, activity string, known *grades.Progress) (any, error) {
	entries, err := t.Book.List(r.Context(), store.GradeFilter{Subject: subject, Activity: activity, Limit: maxListed})
	if err != nil {
		return nil, reportRefusal(err)
	}
	return &Progress{Subject: subject, Activity: activity, Progress: *known, Grades: entries}, nil
}

// ForClients answers the academy's back end, which has a scope.
func (t *Tool) ForClients(scope string, handle func(r *http.Request) (any, error)) http.HandlerFunc {
	return func(rw http.ResponseWriter, r *http.Request) {
		t.answerClient(rw, r, scope, func(*visit, string) (any, error) { return handle(r) })
	}
}

// answerClient runs a request of the academy's back end, which has a scope.
func (t *Tool) answerClient(rw http.ResponseWriter, r *http.Request, scope string, handle func(v *visit, client string) (any, error)) {
	v := &visit{Snapshot: t.snapshot.Load(), about: web.About{Role: "tool"}}
	answer, err := func() (any, error) {
		if v.Snapshot == nil {
			return nil, lti.Refuse(lti.NotReady, "no routing table yet")
		}
		client, err := v.caller(r, scope, t.Now())
		if err != nil {
			return nil, err
		}
		return handle(v, client)
	}()
	if err != nil {
		t.refuseClient(rw, r, v, err)
		return
	}
	web.WriteJSON(rw, http.StatusOK, answer)
}

// mayReport checks that there is an activity to report about, and that it is the client's. A report about an activity that
// is switched off is taken: it is sent when the activity is switched on.
func (v *visit) mayReport(subject, activity, client string) error {
	if subject == "" || activity == "" {
		return lti.Refuse(lti.ReportInvalid, "sub and activity must be there")
	}
	a := v.Activity(activity)
	if a == nil {
		return lti.Refuse(lti.ActivityUnknown, "no activity of that name")
	}
	v.about.Activity = activity
	if a.Share == nil {
		return lti.Refuse(lti.NotShared, "the activity is not available to other systems")
	}
	return mayKnow(a, client)
}

func reportRefusal(err error) error {
	switch {
	case errors.Is(err, grades.ErrInvalidReport):
		return lti.Refuse(lti.ReportInvalid, "%s", err.Error()).Because(err)
	case errors.Is(err, store.ErrKeyReused):
		return lti.Refuse(lti.IdempotencyKeyReused, "").Because(err)
	case errors.Is(err, store.ErrNotFound):
		return lti.Refuse(lti.AccountUnknown, "no account with this subject").Because(err)
	}
	return storeRefusal(err)
}
