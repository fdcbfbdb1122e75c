// SPDX-License-Identifier: Apache-2.0

package services

import (
	"net/http"

	"github.com/lti-operator/lti-operator/internal/handler/web"
	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/lti/ags"
	"github.com/lti-operator/lti-operator/internal/results"
	"github.com/lti-operator/lti-operator/internal/store"
)

// keyOf is the result of a learner in a line item.
func (c *call) keyOf(lineItem, learner string) store.ResultKey {
	if lineItem == store.ActivityLineItem {
		lineItem = ""
	}
	return store.ResultKey{Realm: c.realm(), Activity: c.activity.Name, LineItem: lineItem, LearnerID: learner}
}

// postScore takes a score (AGS 2.0 section 3.4). The answer is 200, which is what every tool takes for success, and when it
// is given the score cannot get lost.
func (s *Services) postScore(rw http.ResponseWriter, r *http.Request) {
	s.inContext(rw, r, func(c *call) error {
		lineItem, item, err := s.findLineItem(r, c)
		if err != nil {
			return err
		}
		body, err := readBody(rw, r)
		if err != nil {
			return err
		}
		score, err := ags.ParseScore(body, ags.Lenient)
		if err != nil {
			return err
		}
		if _, err := s.Book.Score(r.Context(), c.keyOf(lineItem, score.UserID), ruleOf(c.activity), score, nil); err != nil {
			return storeRefusal(lti.LearnerUnknown, err)
		}
		web.WriteJSON(rw, http.StatusOK, map[string]string{"resultUrl": ags.ResultsURL(item.ID, score.UserID)})
		return nil
	}, ags.ScopeScore)
}

// listResults shows the scores that stand (AGS 2.0 section 3.3).
func (s *Services) listResults(rw http.ResponseWriter, r *http.Request) {
	s.inContext(rw, r, func(c *call) error {
		lineItem, item, err := s.findLineItem(r, c)
		if err != nil {
			return err
		}
		params, err := lti.ParseForm(r.URL.RawQuery)
		if err != nil {
			return err
		}
		query, err := ags.ParseResultsQuery(params)
		if err != nil {
			return err
		}
		key := c.keyOf(lineItem, query.UserID)
		found, err := s.Book.List(r.Context(), store.ResultFilter{
			Realm: key.Realm, Activity: key.Activity, LineItem: key.LineItem, LearnerID: key.LearnerID, After: query.After, Limit: query.Limit + 1,
		})
		if err != nil {
			return storeRefusal(lti.InternalError, err)
		}
		if len(found) > query.Limit {
			found = found[:query.Limit]
			rw.Header().Set("Link", query.Next(item.ID, found[len(found)-1].ID))
		}
		listed := make([]ags.Result, 0, len(found))
		for i := range found {
			if found[i].Version > 0 || found[i].Score != nil {
				listed = append(listed, resultOf(&item, &found[i]))
			}
		}
		body, err := ags.AnswerResults(listed)
		if err != nil {
			return err
		}
		write(rw, http.StatusOK, ags.MediaResultContainer, body)
		return nil
	}, ags.ScopeResultReadOnly)
}

// resultOf is a result as tools see it: out of what the score was out of, so that no digit of it is lost.
func resultOf(item *ags.LineItem, v *results.View) ags.Result {
	result := ags.Result{
		ID: ags.ResultsURL(item.ID, v.LTIUserID), ScoreOf: item.ID, UserID: v.LTIUserID, Maximum: item.ScoreMaximum, Comment: v.Comment,
	}
	if v.Score != nil {
		result.Score, result.Maximum = &v.Score.Given, v.Score.Maximum
	}
	return result
}
