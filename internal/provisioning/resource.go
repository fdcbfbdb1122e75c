// SPDX-License-Identifier: Apache-2.0

package provisioning

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Schemas of what is sent (RFC 7643 section 8.7.1, RFC 7644 section 8.2).
// Those of answers are not looked at: servers leave them out, or add their own.
const (
	schemaUser  = "urn:ietf:params:scim:schemas:core:2.0:User"
	schemaGroup = "urn:ietf:params:scim:schemas:core:2.0:Group"
	schemaPatch = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
)

// Endpoints (RFC 7644 section 3.2).
const (
	users  = "Users"
	groups = "Groups"
)

// resource is what is read of a User or a Group.
type resource struct {
	ID          string `json:"id"`
	ExternalID  string `json:"externalId"`
	UserName    string `json:"userName"`
	DisplayName string `json:"displayName"`
	Active      *flag  `json:"active"`
	Emails      values `json:"emails"`
	Members     values `json:"members"`
	Meta        meta   `json:"meta"`
}

type meta struct {
	// Created is compared only; text that is no time sorts first.
	Created string `json:"created"`
	Version string `json:"version"`
}

func (m meta) created() time.Time {
	t, _ := time.Parse(time.RFC3339, m.Created)
	return t
}

// active tells whether the account may be used. The attribute is optional (RFC
// 7643 section 4.1.1); a server without it does not suspend anybody.
func (r *resource) active() bool { return r.Active == nil || bool(*r.Active) }

func (r *resource) hasEmail(address string) bool {
	return slices.ContainsFunc(r.Emails, func(v string) bool { return sameText(strings.TrimSpace(v), address) })
}

func (r *resource) hasMember(id string) bool { return slices.Contains(r.Members, id) }

// flag is a boolean that some servers write as text.
type flag bool

// UnmarshalJSON takes anything that is not clearly true for false: a person who
// may be suspended stays out.
func (f *flag) UnmarshalJSON(data []byte) error {
	*f = flag(strings.EqualFold(strings.Trim(string(data), `"`), "true"))
	return nil
}

// count is a number that some servers write as text.
type count int

func (c *count) UnmarshalJSON(data []byte) error {
	n, err := strconv.Atoi(strings.Trim(string(data), `"`))
	*c = count(n)
	return err
}

// values are the values of a multi-valued attribute. Some servers write plain
// text instead of objects, or one value without a list around it.
type values []string

func (v *values) UnmarshalJSON(data []byte) error {
	*v = nil
	var items []json.RawMessage
	if bytes.HasPrefix(data, []byte("[")) {
		if err := json.Unmarshal(data, &items); err != nil {
			return err
		}
	} else {
		items = []json.RawMessage{data}
	}
	for _, item := range items {
		var value struct{ Value string }
		text := &value.Value
		var target any = &value
		if bytes.HasPrefix(item, []byte(`"`)) {
			target = text
		}
		if err := json.Unmarshal(item, target); err != nil {
			return err
		}
		if *text != "" {
			*v = append(*v, *text)
		}
	}
	return nil
}

// list is the answer to a query (RFC 7644 section 3.4.2).
type list struct {
	TotalResults *count     `json:"totalResults"`
	Resources    []resource `json:"Resources"`
}

// newUser is an account to create.
type newUser struct {
	Schemas     []string   `json:"schemas"`
	ExternalID  string     `json:"externalId"`
	UserName    string     `json:"userName"`
	Name        newName    `json:"name"`
	DisplayName string     `json:"displayName"`
	Emails      []newEmail `json:"emails"`
	Active      bool       `json:"active"`
}

type newName struct {
	Formatted  string `json:"formatted"`
	GivenName  string `json:"givenName"`
	FamilyName string `json:"familyName"`
}

type newEmail struct {
	Value   string `json:"value"`
	Type    string `json:"type"`
	Primary bool   `json:"primary"`
}

// newGroup is a group to create.
type newGroup struct {
	Schemas     []string `json:"schemas"`
	ExternalID  string   `json:"externalId"`
	DisplayName string   `json:"displayName"`
}

// patch is a change of a resource (RFC 7644 section 3.5.2).
type patch struct {
	Schemas    []string    `json:"schemas"`
	Operations []operation `json:"Operations"`
}

type operation struct {
	Op    string   `json:"op"`
	Path  string   `json:"path"`
	Value []member `json:"value"`
}

type member struct {
	Value string `json:"value"`
}
