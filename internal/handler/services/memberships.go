// SPDX-License-Identifier: Apache-2.0

package services

import (
	"net/http"

	"github.com/lti-operator/lti-operator/internal/handler/platform"
	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/lti/launch"
	"github.com/lti-operator/lti-operator/internal/lti/nrps"
	"github.com/lti-operator/lti-operator/internal/routing"
	"github.com/lti-operator/lti-operator/internal/store"
)

// listMembers tells who has opened the activity (NRPS 2.0). Tools remove people who are missing in the answer, so there is
// none that is shorter than the truth: whatever goes wrong is an error.
func (s *Services) listMembers(rw http.ResponseWriter, r *http.Request) {
	s.inContext(rw, r, func(c *call) error {
		params, err := lti.ParseForm(r.URL.RawQuery)
		if err != nil {
			return err
		}
		query, err := nrps.ParseQuery(params)
		if err != nil {
			return err
		}
		if link := c.activity.External.LTI13.ResourceLinkID; query.ResourceLinkID != "" && query.ResourceLinkID != link {
			return lti.Refuse(lti.ContextUnknown, "rlid is not a resource link of this context")
		}
		address := routing.ToolMembershipsURL(c.Academy.URL, c.tool.Name, c.activity.Name)
		context := platform.ContextOf(c.activity)
		page := nrps.Container{ID: address, Context: nrps.Context{ID: context.ID, Label: context.Label, Title: context.Title}}
		roles := []launch.Role{launch.ParseRole(launch.RoleLearner)}
		if query.Selects(roles) {
			members, err := s.Store.Members(r.Context(), c.realm(), c.activity.Name, query.After, query.Limit+1)
			if err != nil {
				return storeRefusal(lti.InternalError, err)
			}
			if len(members) > query.Limit {
				members = members[:query.Limit]
				rw.Header().Set("Link", query.Next(address, members[len(members)-1].ID))
			}
			for i := range members {
				page.Members = append(page.Members, c.member(&members[i], roles, query.ResourceLinkID != ""))
			}
		}
		body, err := page.Encode()
		if err != nil {
			return err
		}
		write(rw, http.StatusOK, nrps.MediaType, body)
		return nil
	}, nrps.Scope)
}

// member is a learner as the tool may know them.
func (c *call) member(l *store.Learner, roles []launch.Role, withMessage bool) nrps.Member {
	p := platform.PersonOf(l, c.tool.Privacy).Person()
	m := nrps.Member{UserID: l.ID, Roles: roles, Name: p.Name, GivenName: p.GivenName, FamilyName: p.FamilyName, Email: p.Email}
	if withMessage {
		message := platform.MessageOf(&c.Academy, c.tool, c.activity, l)
		m.Message = &nrps.Message{Custom: launch.Substitute(message.Parameters, message.Variables())}
	}
	return m
}
