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
// state. PathControlResults is where it lists results of external activities, selected by subject, activity and delivery, and,
// with an ID below it, shows one of them. PathControlSend, below the ID of either, sends it again.
const (
	PathControlGrades  = "/v1/grades"
	PathControlResults = "/v1/results"
	PathControlSend    = "/send"
)

// MaxControlListed is the most that is looked at for one list: of grades those that changed last, of results the first by
// their IDs, after that in the parameter after. An answer has the header HeaderControlMore when there are further ones, which
// may be selected too; of results it is the ID to go on after.
const (
	MaxControlListed  = 1000
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

// Result is what has become of one of the academy's learners in an external activity, as the control port lists it.
type Result struct {
	// ID is what it is shown and sent again by.
	ID       string `json:"id"`
	Activity string `json:"activity"`
	// LineItem is empty for the activity's own.
	LineItem string `json:"lineItem,omitempty"`
	// Subject is who the learner is at the academy's identity provider, and LTIUserID in the other system.
	Subject   string `json:"subject"`
	LTIUserID string `json:"ltiUserID"`
	Status    string `json:"status,omitempty"`
	// Score is the one that stands; nil for none.
	Score *Points `json:"score,omitempty"`
	// MinimumScore is the one by which an exam was passed or failed, in percent; 0 if it was not.
	MinimumScore int32 `json:"minimumScore,omitempty"`
	// ActivityProgress and GradingProgress are empty with Basic Outcomes.
	ActivityProgress string `json:"activityProgress,omitempty"`
	GradingProgress  string `json:"gradingProgress,omitempty"`
	// SubmittedAt and Timestamp are as the other system says; zero if it does not.
	SubmittedAt time.Time `json:"submittedAt,omitzero"`
	Timestamp   time.Time `json:"timestamp,omitzero"`
	// Version counts what there was to tell the academy; 0 for nothing yet.
	Version   int64     `json:"version"`
	StartedAt time.Time `json:"startedAt"`
	UpdatedAt time.Time `json:"updatedAt"`
	Delivery  Delivery  `json:"delivery"`
}

// DeliveryNone is the state of a delivery of which there is nothing to tell.
const DeliveryNone = "None"

// Delivery is how far the academy has been told of a result.
type Delivery struct {
	State string `json:"state"`
	// Attempts is how often it was tried in vain, and Reason the code of what went wrong last.
	Attempts int    `json:"attempts,omitempty"`
	Reason   string `json:"reason,omitempty"`
	// NextAttemptAt is when it is tried next; zero for never.
	NextAttemptAt time.Time `json:"nextAttemptAt,omitzero"`
}

// ResultWithHistory is a result, with the messages that made it what it is, the newest first.
type ResultWithHistory struct {
	Result
	History []ResultMessage `json:"history"`
}

// ResultMessage is a message that changed a result.
type ResultMessage struct {
	// At is when it was accepted.
	At time.Time `json:"at"`
	// Source is the protocol: AGS or BasicOutcomes.
	Source           string    `json:"source"`
	Operation        string    `json:"operation"`
	Score            *Points   `json:"score,omitempty"`
	ActivityProgress string    `json:"activityProgress,omitempty"`
	GradingProgress  string    `json:"gradingProgress,omitempty"`
	Timestamp        time.Time `json:"timestamp,omitzero"`
	// Status is that of the result after the message.
	Status string `json:"status,omitempty"`
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
