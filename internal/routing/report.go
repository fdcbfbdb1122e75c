// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"encoding/json"
	"time"
)

// PathControlTable is where the handler's control port reports the table it serves.
const PathControlTable = "/v1/table"

// PathControlDeployments is where the control port lists deployments that launched and are not listed.
const PathControlDeployments = "/v1/unknown-deployments"

// PathControlGrades is where the control port lists grades, selected by the parameters subject, activity, registration and
// state, and PathControlSend, below it, sends one of them again.
const (
	PathControlGrades = "/v1/grades"
	PathControlSend   = "/send"
)

// MaxControlGrades is the most grades that are looked at for one answer, those that changed last. An answer has the header
// HeaderControlMore when there are older ones, which may be selected too.
const (
	MaxControlGrades  = 1000
	HeaderControlMore = "Lti-Operator-More"
)

// Grade is the grade of one learner in one gradebook, as the control port lists it.
type Grade struct {
	// ID is what it is sent again by.
	ID             string `json:"id"`
	Registration   string `json:"registration"`
	DeploymentID   string `json:"deploymentID,omitempty"`
	ContextID      string `json:"contextID,omitempty"`
	ResourceLinkID string `json:"resourceLinkID"`
	LTIUserID      string `json:"ltiUserID"`
	Subject        string `json:"subject"`
	Activity       string `json:"activity"`
	Protocol       string `json:"protocol"`
	// Grade is the one that the gradebook shall hold; nil for none.
	Grade *Points `json:"grade,omitempty"`
	State string  `json:"state"`
	// Wanted counts the grades that the gradebook was to hold so far, and Confirmed is the newest that it is known to have
	// taken; 0 for none. When they differ it holds an earlier grade.
	Wanted    int64 `json:"wanted,omitempty"`
	Confirmed int64 `json:"confirmed,omitempty"`
	// Reason is the code of what went wrong last.
	Reason   string `json:"reason,omitempty"`
	Attempts int    `json:"attempts,omitempty"`
	// DueAt is when it is sent next; zero for never.
	DueAt     time.Time `json:"dueAt,omitzero"`
	TriedAt   time.Time `json:"triedAt,omitzero"`
	UpdatedAt time.Time `json:"updatedAt"`
}

// Points are a score, in exact decimal numbers.
type Points struct {
	Given   json.Number `json:"given"`
	Maximum json.Number `json:"maximum"`
	// Completed says that the learner has done everything.
	Completed bool `json:"completed,omitempty"`
}

// UnknownDeployment is a deployment that launched, provably from its platform, and is not listed.
type UnknownDeployment struct {
	Platform    string    `json:"platform"`
	ID          string    `json:"id"`
	FirstSeenAt time.Time `json:"firstSeenAt"`
}

// Report is what a launch handler says on its control port about the table it serves.
type Report struct {
	// Hash is the identity of the served table; empty before the first.
	Hash string `json:"hash"`
	// LoadedAt is when it was loaded.
	LoadedAt time.Time `json:"loadedAt,omitzero"`
	// RejectedHash and RejectedReason describe the newest set that was refused, if that is newer than the served one.
	RejectedHash   string `json:"rejectedHash,omitempty"`
	RejectedReason string `json:"rejectedReason,omitempty"`
	// FormatMajors are the format versions that this handler can read.
	FormatMajors []int `json:"formatMajors"`
}
