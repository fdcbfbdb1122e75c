// SPDX-License-Identifier: Apache-2.0

package results

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/lti/service"
	"github.com/lti-operator/lti-operator/internal/store"
)

// MediaEvent is the media type of an event in structured mode (CloudEvents 1.0, JSON event format section 3).
const MediaEvent = "application/cloudevents+json"

// EventType is the type of the one kind of event there is.
const EventType = "io.lti-operator.result.changed.v1"

// Headers of a signed request (Standard Webhooks, "Webhook Headers").
const (
	HeaderID        = "Webhook-Id"
	HeaderTimestamp = "Webhook-Timestamp"
	HeaderSignature = "Webhook-Signature"
)

// Event is what the academy is told: a CloudEvent.
type Event struct {
	SpecVersion string `json:"specversion"`
	// ID is the result and its version: the same in each attempt.
	ID string `json:"id"`
	// Source is the URL of the academy.
	Source string `json:"source"`
	Type   string `json:"type"`
	// Subject is activity and subject, with percent-encoding and a slash between them.
	Subject         string    `json:"subject"`
	Time            time.Time `json:"time"`
	DataContentType string    `json:"datacontenttype"`
	Data            View      `json:"data"`
}

// eventOf returns the event that says how a result stands.
func eventOf(source string, r *store.Result, s *State) Event {
	v := viewOf(r, s)
	return Event{
		SpecVersion: "1.0", ID: v.ID + "." + strconv.FormatInt(v.Version, 10), Source: source, Type: EventType,
		Subject: url.PathEscape(v.Activity) + "/" + url.PathEscape(v.Subject), Time: v.UpdatedAt,
		DataContentType: "application/json", Data: v,
	}
}

// Secret signs events. It is never printed.
type Secret struct{ key []byte }

const (
	secretPrefix = "whsec_"
	redacted     = "[redacted]"
	// A secret has 24 to 64 bytes (Standard Webhooks, "Signature scheme").
	minSecret, maxSecret = 24, 64
)

var errSecret = fmt.Errorf("the webhook secret is not %s and base64 of %d to %d bytes", secretPrefix, minSecret, maxSecret)

// ParseSecret reads a secret as Standard Webhooks writes it: "whsec_" and base64. The error does not quote it.
func ParseSecret(text string) (Secret, error) {
	encoded, ok := strings.CutPrefix(strings.TrimSpace(text), secretPrefix)
	if !ok {
		return Secret{}, errSecret
	}
	key, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil || len(key) < minSecret || len(key) > maxSecret {
		return Secret{}, errSecret
	}
	return Secret{key}, nil
}

// String returns no part of the secret.
func (Secret) String() string { return redacted }

// GoString returns no part of the secret.
func (Secret) GoString() string { return redacted }

// sign returns the signature of one attempt (Standard Webhooks, "Symmetric signatures").
func (s Secret) sign(id, timestamp string, body []byte) string {
	h := hmac.New(sha256.New, s.key)
	h.Write([]byte(id + "." + timestamp + "."))
	h.Write(body)
	return "v1," + base64.StdEncoding.EncodeToString(h.Sum(nil))
}

// Target is where the academy wants to be told.
type Target struct {
	URL string
	// Source is the URL of the academy.
	Source string
	// Secrets sign, each of them: one, or two while one is replaced.
	Secrets []Secret
}

// Reasons why an event was not delivered, besides those of package service. They are part of the product's interface.
const (
	// ReasonGone: the academy does not want events any more (410). It is told nothing further of the result until there is
	// news of it, or somebody asks for it.
	ReasonGone = "Gone"
	// ReasonRefused: the academy answered with a status that is not one of success, and none that says why.
	ReasonRefused = "Refused"
)

// answer is what came of one attempt.
type answer struct {
	// reason is what went wrong; empty if the academy has it.
	reason string
	// after is how long the academy asked to wait.
	after time.Duration
}

// maxAnswer is how much of an answer is read. Nothing in it matters.
const maxAnswer = 64 << 10

// post sends an event. Whatever the academy answers with but success, nothing may be assumed to have arrived, or not to.
func (t *Target) post(ctx context.Context, d service.Doer, now lti.Clock, e *Event) answer {
	body, err := json.Marshal(e)
	if err != nil {
		return answer{reason: string(service.RequestInvalid)}
	}
	// Nothing goes unsigned.
	if _, ok := service.ParseURL(t.URL); !ok || len(t.Secrets) == 0 {
		return answer{reason: string(service.RequestInvalid)}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, t.URL, bytes.NewReader(body))
	if err != nil {
		return answer{reason: string(service.RequestInvalid)}
	}
	timestamp := strconv.FormatInt(now().Unix(), 10)
	signatures := make([]string, len(t.Secrets))
	for i, s := range t.Secrets {
		signatures[i] = s.sign(e.ID, timestamp, body)
	}
	req.Header.Set("Content-Type", MediaEvent)
	req.Header.Set(HeaderID, e.ID)
	req.Header.Set(HeaderTimestamp, timestamp)
	req.Header.Set(HeaderSignature, strings.Join(signatures, " "))
	a, err := service.Call(d, req, maxAnswer, now())
	if err != nil {
		var failed *service.Error
		if errors.As(err, &failed) && failed.Status >= 200 && failed.Status <= 299 {
			// The status says it all, however the body ends.
			return answer{}
		}
		return answer{reason: string(service.Unreachable)}
	}
	switch {
	case a.OK():
		return answer{}
	case a.Status == http.StatusGone:
		return answer{reason: ReasonGone}
	}
	return answer{reason: string(a.Refused(ReasonRefused).Reason), after: service.RetryAfter(a.Header, now())}
}
