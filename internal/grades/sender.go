// SPDX-License-Identifier: Apache-2.0

package grades

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"slices"
	"time"

	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/lti/ags"
	"github.com/lti-operator/lti-operator/internal/lti/decimal"
	"github.com/lti-operator/lti-operator/internal/lti/oauth1"
	"github.com/lti-operator/lti-operator/internal/lti/outcomes"
	"github.com/lti-operator/lti-operator/internal/lti/service"
	"github.com/lti-operator/lti-operator/internal/lti/token"
	"github.com/lti-operator/lti-operator/internal/store"
)

// Directory knows the other systems, as they are configured now. Each method returns a reason why nothing may be sent
// there at present, or "". What is not sent waits until it may be.
type Directory interface {
	// Client returns us as an LTI 1.3 platform knows us. Addresses that come from an issuer which the platform has not, and
	// has not had, get nothing of it; an empty issuer is not looked at.
	Client(platform, issuer, deploymentID string) (client token.Client, reason string)
	// Credentials returns the shared secret of a consumer key, and the method to sign with.
	Credentials(consumerKey string) (credentials oauth1.Credentials, method, reason string)
	// Column describes the line item of an activity.
	Column(activity string) (title string, create bool, reason string)
}

// ReasonLineItemPending is why a grade waits while another one of the same link has the line item made.
const ReasonLineItemPending = "LineItemPending"

// ReasonLineItemMissing is why a grade is refused whose link has no line item, and may have none made.
const ReasonLineItemMissing = "LineItemMissing"

// lineItemLease is how long making a line item may take.
const lineItemLease = 30 * time.Second

// Services sends grades over Assignment and Grade Services and Basic Outcomes.
type Services struct {
	Directory Directory
	Tokens    *token.Cache
	Doer      service.Doer
	LineItems store.Grades
	Now       lti.Clock
	Random    io.Reader
}

var _ Sender = (*Services)(nil)

// Send implements Sender.
func (s *Services) Send(ctx context.Context, row *Leased) Result {
	title, create, reason := s.Directory.Column(row.Activity)
	switch {
	case reason != "":
		return Result{Outcome: NotSent, Reason: reason}
	case row.Address.Protocol == ProtocolOutcomes:
		return s.sendOutcome(ctx, row)
	}
	return s.sendScore(ctx, row, column{title, create})
}

// column is how the line item of an activity is to be made, if it may be.
type column struct {
	title  string
	create bool
}

func (s *Services) sendOutcome(ctx context.Context, row *Leased) Result {
	credentials, method, reason := s.Directory.Credentials(row.Address.ConsumerKey)
	if reason != "" {
		return Result{Outcome: NotSent, Reason: reason}
	}
	client := outcomes.Client{Doer: s.Doer, Credentials: credentials, SignatureMethod: method, Now: s.Now, Random: s.Random}
	if row.Grade == nil {
		return resultOf(client.Delete(ctx, row.Address.ServiceURL, row.Address.SourcedID))
	}
	score, ok := outcomes.Fraction(row.Grade.Given, row.Grade.Maximum)
	if !ok {
		return resultOf(service.Refuse("the grade is no fraction"))
	}
	return resultOf(client.Replace(ctx, row.Address.ServiceURL, row.Address.SourcedID, score, outcomes.Data{}))
}

func (s *Services) sendScore(ctx context.Context, row *Leased, c column) Result {
	us, reason := s.Directory.Client(row.Address.Platform, row.Address.Issuer, row.Link.DeploymentID)
	if reason != "" {
		return Result{Outcome: NotSent, Reason: reason}
	}
	endpoint := ags.Endpoint{Scopes: row.Address.Scopes}
	client := ags.Client{Doer: s.Doer, Tokens: s.Tokens.Source(us, endpoint.TokenScopes()), Now: s.Now}
	item, made, failed := s.lineItem(ctx, &client, row, c)
	if failed != nil {
		return *failed
	}
	score := ags.Score{
		UserID: row.Address.LTIUserID, Timestamp: row.Row.SentAt,
		ActivityProgress: ags.Initialized, GradingProgress: ags.NotReady,
		// Canvas takes the first score for a submission, and each further one for another.
		SameSubmission: row.Row.Confirmed > 0,
	}
	if row.Grade != nil {
		score.Points = &ags.Points{Given: row.Grade.Given, Maximum: row.Grade.Maximum}
		score.ActivityProgress, score.GradingProgress = ags.InProgress, ags.FullyGraded
		if row.Grade.Completed {
			score.ActivityProgress = ags.Completed
		}
	}
	err := client.PostScore(ctx, item, score)
	if made && service.ReasonOf(err) == service.LineItemGone {
		// It was one of ours, which somebody has deleted. The next attempt finds or makes another.
		if err := s.LineItems.ForgetLineItem(ctx, row.column(), item); err != nil {
			return Result{Outcome: NotSent, Reason: string(service.LineItemGone)}
		}
	}
	return resultOf(err)
}

// lineItem returns the line item of the row's link; made tells that it is not the one that the platform named.
func (s *Services) lineItem(ctx context.Context, client *ags.Client, row *Leased, c column) (url string, made bool, failed *Result) {
	if row.Address.LineItemURL != "" {
		return row.Address.LineItemURL, false, nil
	}
	if row.Address.ContainerURL == "" {
		return "", false, &Result{Outcome: Refused, Reason: ReasonLineItemMissing}
	}
	now := s.Now()
	url, lease, err := s.LineItems.LeaseLineItem(ctx, row.column(), now, now.Add(lineItemLease))
	switch {
	case err != nil:
		return "", false, &Result{Outcome: NotSent, Reason: string(service.Unavailable)}
	case url != "":
		return url, true, nil
	case lease == "":
		return "", false, &Result{Outcome: NotSent, Reason: ReasonLineItemPending}
	}
	url, err = s.findOrCreate(ctx, client, row, c)
	if uncertain := (&service.Error{}); errors.As(err, &uncertain) && uncertain.Uncertain {
		// It may yet be made: nobody looks again before this attempt is certainly over.
		return "", false, &Result{Outcome: NotSent, Reason: string(uncertain.Reason), RetryAfter: max(uncertain.RetryAfter, lineItemLease)}
	}
	if stored := s.LineItems.SetLineItem(ctx, row.column(), lease, url); stored != nil && err == nil {
		return "", false, &Result{Outcome: NotSent, Reason: string(service.Unavailable)}
	}
	if err != nil {
		r := resultOf(err)
		if r.Outcome == Unknown {
			r.Outcome = NotSent // no score was
		}
		return "", false, &r
	}
	return url, true, nil
}

// column is the link whose line item is remembered: one of its issuer, so that another one that is registered under the same
// name later does not get its grades.
func (row *Leased) column() store.Link {
	link := row.Link
	if issuer := row.Address.Issuer; issuer != "" {
		sum := sha256.Sum256([]byte(issuer))
		link.Registration += " " + hex.EncodeToString(sum[:])
	}
	return link
}

// errNoLineItem means that a link has no line item, and none may be made.
var errNoLineItem = &service.Error{Class: service.Permanent, Reason: ReasonLineItemMissing}

// findOrCreate looks before it makes one: an attempt whose answer was lost may have made it.
func (s *Services) findOrCreate(ctx context.Context, client *ags.Client, row *Leased, c column) (string, error) {
	found, err := client.LineItems(ctx, row.Address.ContainerURL, ags.Filter{ResourceLinkID: row.Link.ResourceLinkID})
	if err != nil {
		return "", err
	}
	if len(found) > 0 {
		// Of several ours is the one with the activity.
		ours := max(0, slices.IndexFunc(found, func(l ags.LineItem) bool { return l.ResourceID == row.Activity }))
		return found[ours].ID, nil
	}
	endpoint := ags.Endpoint{Scopes: row.Address.Scopes}
	if !c.create || !endpoint.May(ags.ScopeLineItem) {
		return "", errNoLineItem
	}
	item := ags.LineItem{
		Label: c.title, ScoreMaximum: decimal.FromInt(100), ResourceLinkID: row.Link.ResourceLinkID, ResourceID: row.Activity,
	}
	if row.Grade != nil {
		item.ScoreMaximum = row.Grade.Maximum
	}
	made, err := client.CreateLineItem(ctx, row.Address.ContainerURL, item)
	return made.ID, err
}

// resultOf says what an error means for the row.
func resultOf(err error) Result {
	var e *service.Error
	switch {
	case err == nil:
		return Result{Outcome: Accepted}
	case !errors.As(err, &e):
		return Result{Outcome: Unknown, Reason: string(service.Unavailable)}
	}
	r := Result{Reason: string(e.Reason), RetryAfter: e.RetryAfter}
	switch {
	case e.Class == service.Superseded:
		r.Outcome = Superseded
	case e.Class == service.Permanent && e.Reason != service.ClientRefused:
		r.Outcome = Refused
	case e.Uncertain:
		r.Outcome = Unknown
	default:
		// ClientRefused passes by itself: platforms keep our key set for hours after there is a new key.
		r.Outcome = NotSent
	}
	return r
}
