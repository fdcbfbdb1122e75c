// SPDX-License-Identifier: Apache-2.0

package services

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"

	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/lti/ags"
	"github.com/lti-operator/lti-operator/internal/lti/decimal"
	"github.com/lti-operator/lti-operator/internal/lti/launch"
	"github.com/lti-operator/lti-operator/internal/routing"
	"github.com/lti-operator/lti-operator/internal/store"
)

// activityMaximum is the scoreMaximum of the line item that every activity has, until the tool changes it. Scores say what
// they are out of themselves.
const activityMaximum = 100

// lineItemURL is the ID of a line item.
func (c *call) lineItemURL(id string) string {
	return routing.ToolLineItemURL(c.Academy.URL, c.tool.Name, c.activity.Name, id)
}

func (c *call) lineItemsURL() string {
	return routing.ToolLineItemsURL(c.Academy.URL, c.tool.Name, c.activity.Name)
}

// activityLineItem is the line item that the activity has of its own.
func (c *call) activityLineItem() ags.LineItem {
	return ags.LineItem{
		ID: c.lineItemURL(store.ActivityLineItem), Label: c.activity.Title, ScoreMaximum: decimal.FromInt(activityMaximum),
		ResourceLinkID: c.activity.External.LTI13.ResourceLinkID,
	}
}

// lineItem is a stored line item as tools see it.
func (c *call) lineItem(stored *store.ToolLineItem) (ags.LineItem, error) {
	var l ags.LineItem
	if err := json.Unmarshal(stored.Document, &l); err != nil {
		return ags.LineItem{}, err
	}
	l.ID = c.lineItemURL(stored.ID)
	if stored.ID == store.ActivityLineItem {
		l.ResourceLinkID = c.activity.External.LTI13.ResourceLinkID
	}
	return l, nil
}

// findLineItem returns the line item in the path, with its ID alone.
func (s *Services) findLineItem(r *http.Request, c *call) (id string, l ags.LineItem, err error) {
	id = r.PathValue("lineItem")
	stored, err := s.Store.ToolLineItem(r.Context(), c.realm(), c.activity.Name, id)
	switch {
	case err == nil:
		l, err = c.lineItem(&stored)
		return id, l, err
	case errors.Is(err, store.ErrNotFound) && id == store.ActivityLineItem:
		return id, c.activityLineItem(), nil
	}
	return "", ags.LineItem{}, storeRefusal(lti.LineItemUnknown, err)
}

// listLineItems lists the columns of the activity's gradebook (AGS 2.0 section 3.2).
func (s *Services) listLineItems(rw http.ResponseWriter, r *http.Request) {
	s.inContext(rw, r, func(c *call) error {
		params, err := lti.ParseForm(r.URL.RawQuery)
		if err != nil {
			return err
		}
		query, err := ags.ParseItemsQuery(params)
		if err != nil {
			return err
		}
		stored, err := s.Store.ToolLineItems(r.Context(), c.realm(), c.activity.Name)
		if err != nil {
			return storeRefusal(lti.InternalError, err)
		}
		items := []ags.LineItem{c.activityLineItem()}
		for i := range stored {
			l, err := c.lineItem(&stored[i])
			if err != nil {
				return err
			}
			if stored[i].ID == store.ActivityLineItem {
				items[0] = l
				continue
			}
			items = append(items, l)
		}
		items = slices.DeleteFunc(items, func(l ags.LineItem) bool { return !query.Selects(l) })
		if query.After != "" {
			at := slices.IndexFunc(items, func(l ags.LineItem) bool { return l.ID == query.After })
			if at < 0 {
				return lti.Refuse(lti.LineItemUnknown, "the page before ended at a line item that is gone; begin again")
			}
			items = items[at+1:]
		}
		if len(items) > query.Limit {
			items = items[:query.Limit]
			rw.Header().Set("Link", query.Next(c.lineItemsURL(), items[len(items)-1].ID))
		}
		body, err := ags.AnswerLineItems(items)
		if err != nil {
			return err
		}
		write(rw, http.StatusOK, ags.MediaLineItemContainer, body)
		return nil
	}, ags.ScopeLineItem, ags.ScopeLineItemReadOnly)
}

// showLineItem shows one column.
func (s *Services) showLineItem(rw http.ResponseWriter, r *http.Request) {
	s.inContext(rw, r, func(c *call) error {
		_, l, err := s.findLineItem(r, c)
		if err != nil {
			return err
		}
		return answerLineItem(rw, http.StatusOK, l)
	}, ags.ScopeLineItem, ags.ScopeLineItemReadOnly)
}

func answerLineItem(rw http.ResponseWriter, status int, l ags.LineItem) error {
	body, err := ags.AnswerLineItem(l)
	if err != nil {
		return err
	}
	write(rw, status, ags.MediaLineItem, body)
	return nil
}

// createLineItem makes a column of the tool's own. Its scores are kept, and decide nothing: what becomes of the activity is
// decided by the line item that it has anyway.
func (s *Services) createLineItem(rw http.ResponseWriter, r *http.Request) {
	s.inContext(rw, r, func(c *call) error {
		l, err := c.readLineItem(rw, r)
		if err != nil {
			return err
		}
		id, err := launch.NewNonce(s.Random)
		if err != nil {
			return err
		}
		if err := s.putLineItem(r, c, id, &l); err != nil {
			return err
		}
		rw.Header().Set("Location", l.ID)
		return answerLineItem(rw, http.StatusCreated, l)
	}, ags.ScopeLineItem)
}

// updateLineItem replaces what is known about a column; its scores stay.
func (s *Services) updateLineItem(rw http.ResponseWriter, r *http.Request) {
	s.inContext(rw, r, func(c *call) error {
		id, _, err := s.findLineItem(r, c)
		if err != nil {
			return err
		}
		l, err := c.readLineItem(rw, r)
		if err != nil {
			return err
		}
		if id == store.ActivityLineItem {
			l.ResourceLinkID = c.activity.External.LTI13.ResourceLinkID
		}
		if err := s.putLineItem(r, c, id, &l); err != nil {
			return err
		}
		return answerLineItem(rw, http.StatusOK, l)
	}, ags.ScopeLineItem)
}

// readLineItem reads a line item that a tool sent. It may be of the activity's own resource link, and of no other.
func (c *call) readLineItem(rw http.ResponseWriter, r *http.Request) (ags.LineItem, error) {
	body, err := readBody(rw, r)
	if err != nil {
		return ags.LineItem{}, err
	}
	l, err := ags.ParseLineItem(body, ags.Lenient)
	if err != nil {
		return ags.LineItem{}, err
	}
	if l.ResourceLinkID != "" && l.ResourceLinkID != c.activity.External.LTI13.ResourceLinkID {
		return ags.LineItem{}, lti.Refuse(lti.ParameterInvalid, "resourceLinkId is not a resource link of this context")
	}
	return l, nil
}

// putLineItem stores a line item, and gives it its URL.
func (s *Services) putLineItem(r *http.Request, c *call, id string, l *ags.LineItem) error {
	l.ID = ""
	document, err := json.Marshal(l)
	if err != nil {
		return err
	}
	if err := s.Store.PutToolLineItem(r.Context(), store.ToolLineItem{
		Realm: c.realm(), Activity: c.activity.Name, ID: id, Document: document, CreatedAt: s.Now(),
	}); err != nil {
		return storeRefusal(lti.ParameterInvalid, err)
	}
	l.ID = c.lineItemURL(id)
	return nil
}

// deleteLineItem deletes a column of the tool's own, with its scores.
func (s *Services) deleteLineItem(rw http.ResponseWriter, r *http.Request) {
	s.inContext(rw, r, func(c *call) error {
		id := r.PathValue("lineItem")
		if id == store.ActivityLineItem {
			return lti.Refuse(lti.LineItemProtected, "")
		}
		if err := s.Store.DeleteToolLineItem(r.Context(), c.realm(), c.activity.Name, id); err != nil {
			return storeRefusal(lti.LineItemUnknown, err)
		}
		rw.WriteHeader(http.StatusNoContent)
		return nil
	}, ags.ScopeLineItem)
}
