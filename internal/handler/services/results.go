// SPDX-License-Identifier: Apache-2.0

package services

import (
	"net/http"

	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/lti/service"
	"github.com/lti-operator/lti-operator/internal/results"
	"github.com/lti-operator/lti-operator/internal/store"
)

// maxListed is how many results are on one page for the academy.
const maxListed = 200

// ResultsPage is what the academy's back end reads of results.
type ResultsPage struct {
	Results []results.View `json:"results"`
	// Next is what the next page begins after; empty on the last.
	Next string `json:"next,omitempty"`
}

// ResultWithHistory is one result, with the messages that made it what it is, the newest first.
type ResultWithHistory struct {
	results.View
	History []results.Message `json:"history"`
}

// ListForAcademy answers the academy's back end with results of external activities.
func (s *Services) ListForAcademy(r *http.Request) (any, error) {
	params, err := lti.ParseForm(r.URL.RawQuery)
	if err != nil {
		return nil, err
	}
	page, err := service.ParsePage(params, maxListed)
	if err != nil {
		return nil, err
	}
	filter := store.ResultFilter{After: page.After, Limit: page.Limit + 1}
	for name, to := range map[string]*string{"activity": &filter.Activity, "sub": &filter.Subject} {
		if *to, err = service.Parameter(params, name); err != nil {
			return nil, err
		}
	}
	found, err := s.Book.List(r.Context(), filter)
	if err != nil {
		return nil, storeRefusal(lti.InternalError, err)
	}
	answer := ResultsPage{Results: found}
	if len(found) > page.Limit {
		answer.Results = found[:page.Limit]
		answer.Next = found[page.Limit-1].ID
	}
	return answer, nil
}

// ShowForAcademy answers the academy's back end with one result and its history.
func (s *Services) ShowForAcademy(r *http.Request) (any, error) {
	id := r.PathValue("id")
	found, err := s.Book.Find(r.Context(), id)
	if err != nil {
		return nil, storeRefusal(lti.ResultUnknown, err)
	}
	history, err := s.Book.History(r.Context(), id, store.MaxHistory)
	if err != nil {
		return nil, storeRefusal(lti.InternalError, err)
	}
	return ResultWithHistory{found, history}, nil
}
