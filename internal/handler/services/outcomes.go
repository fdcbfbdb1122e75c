// SPDX-License-Identifier: Apache-2.0

package services

import (
	"context"
	"errors"
	"net/http"

	"github.com/lti-operator/lti-operator/internal/handler/web"
	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/lti/decimal"
	"github.com/lti-operator/lti-operator/internal/lti/launch"
	"github.com/lti-operator/lti-operator/internal/lti/oauth1"
	"github.com/lti-operator/lti-operator/internal/lti/outcomes"
	"github.com/lti-operator/lti-operator/internal/routing"
	"github.com/lti-operator/lti-operator/internal/store"
)

// outcome answers Basic Outcomes (LTI 1.1 section 6). What is wrong with a message that is signed by the tool is said in the
// message that answers it, with status 200; to anybody else the status says it too.
func (s *Services) outcome(rw http.ResponseWriter, r *http.Request) {
	c := &call{Snapshot: s.snapshot.Load(), about: web.About{Role: "platform", Version: launch.Version12}}
	status := http.StatusOK
	var request *outcomes.Request
	score, err := func() (*decimal.Decimal, error) {
		body, nonce, err := s.signed(rw, r, c)
		if err != nil {
			status = lti.CodeOf(err).Reason().Status
			return nil, err
		}
		if request, err = outcomes.ParseRequest(body); err != nil {
			return nil, err
		}
		return s.changeOutcome(r.Context(), c, request, nonce)
	}()
	id, failed := launch.NewNonce(s.Random)
	answer := request.Answer(id, outcomes.Success, "ok")
	answer.Score = score
	if err != nil {
		s.Web.Note(r, &c.about, err)
		answer = request.Refused(id, lti.CodeOf(err))
		if reason := lti.CodeOf(err).Reason(); reason.Status >= 500 && reason.Code != lti.OperationUnsupported {
			// The tool may try again, and takes failure for final.
			status = reason.Status
		}
		web.RetryLater(rw, status)
	}
	s.writeOutcome(rw, r, c, status, &answer, failed)
}

// writeOutcome answers with a message. failed says that its identifier could not be made.
func (s *Services) writeOutcome(rw http.ResponseWriter, r *http.Request, c *call, status int, answer *outcomes.Response, failed error) {
	encoded, problem := answer.Encode()
	if problem = errors.Join(failed, problem); problem != nil {
		s.Web.Note(r, &c.about, problem)
		http.Error(rw, "internal error", http.StatusInternalServerError)
		return
	}
	write(rw, status, outcomes.MediaType, encoded)
}

// RefuseOverloaded answers a message of Basic Outcomes that nobody has read.
func (s *Services) RefuseOverloaded(rw http.ResponseWriter, r *http.Request, about *web.About) {
	s.Web.NoteOverloaded(rw, about)
	id, failed := launch.NewNonce(s.Random)
	answer := (*outcomes.Request)(nil).Refused(id, lti.Overloaded)
	s.writeOutcome(rw, r, &call{about: *about}, lti.Overloaded.Reason().Status, &answer, failed)
}

// signed returns the body of a request that is signed with the key of the activity, and the nonce to spend.
func (s *Services) signed(rw http.ResponseWriter, r *http.Request, c *call) ([]byte, *store.Nonce, error) {
	if err := c.begin(); err != nil {
		return nil, nil, err
	}
	a := c.Activity(r.PathValue("activity"))
	if a == nil {
		return nil, nil, lti.Refuse(lti.ActivityUnknown, "no activity of that name")
	}
	c.concerns(a)
	if a.External == nil || a.External.LTI12 == nil {
		return nil, nil, lti.Refuse(lti.NotExternal, "")
	}
	body, err := readBody(rw, r)
	if err != nil {
		return nil, nil, err
	}
	if web.IsForm(r) {
		// The signature would have to cover its parameters (OAuth Request Body Hash 1.0).
		return nil, nil, lti.Refuse(lti.RequestMalformed, "the message says that it is a form")
	}
	if len(r.Header.Values("Authorization")) > 1 {
		return nil, nil, lti.Refuse(lti.ParameterRepeated, "there is more than one Authorization header")
	}
	verified, err := oauth1.VerifyBody(r.Context(), oauth1.BodyRequest{
		Method: r.Method, URL: routing.ActivityOutcomesURL(c.Base(r.Host), a.Name), RawQuery: r.URL.RawQuery,
		Authorization: r.Header.Get("Authorization"), Body: body,
	}, func(_ context.Context, consumerKey string) ([]string, error) {
		if known := c.ExternalCredential(a.Name); known != nil && known.ConsumerKey == consumerKey {
			return known.Secrets, nil
		}
		return nil, nil
	}, s.Now())
	if err != nil {
		return nil, nil, err
	}
	nonce := web.NonceOf(verified.Nonce)
	return body, &nonce, nil
}

// changeOutcome does what a message says, and returns the score that is read.
func (s *Services) changeOutcome(ctx context.Context, c *call, request *outcomes.Request, nonce *store.Nonce) (*decimal.Decimal, error) {
	// A tool may write the results of its own activity, whatever IDs it knows.
	own := func(r *store.Result) error {
		if r.Key.Realm != store.FormRealm || r.Key.Activity != c.activity.Name {
			return lti.Refuse(lti.OutcomeUnknown, "the result is that of another activity")
		}
		return nil
	}
	var err error
	var read *decimal.Decimal
	switch request.Operation {
	case outcomes.ReplaceResult:
		_, err = s.Book.Replace(ctx, request.SourcedID, own, ruleOf(c.activity), request.Score, nonce)
	case outcomes.DeleteResult:
		_, err = s.Book.Delete(ctx, request.SourcedID, own, ruleOf(c.activity), nonce)
	case outcomes.ReadResult:
		read, err = s.Book.Read(ctx, request.SourcedID, own, nonce)
	default:
		return nil, lti.Refuse(lti.OperationUnsupported, "")
	}
	if err != nil {
		return nil, storeRefusal(lti.OutcomeUnknown, err)
	}
	return read, nil
}
