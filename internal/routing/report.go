// SPDX-License-Identifier: Apache-2.0

package routing

import "time"

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
