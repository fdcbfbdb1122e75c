// SPDX-License-Identifier: Apache-2.0

package configdir

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"time"

	"github.com/lti-operator/lti-operator/internal/routing"
)

// ErrorCode says why the newest configuration is not served.
type ErrorCode string

// Error codes. They are stable: the operator and alerts may match them.
const (
	// CodeMissing: the directory or the manifest is not there (yet).
	CodeMissing ErrorCode = "Missing"
	// CodeIncomplete: a shard that the manifest names is not there (yet).
	CodeIncomplete ErrorCode = "Incomplete"
	// CodeCorrupt: a file is not what its hash says, or cannot be decoded.
	CodeCorrupt ErrorCode = "Corrupt"
	// CodeUnsupportedFormat: the table was written for another major version of the launch handler.
	CodeUnsupportedFormat ErrorCode = "UnsupportedFormat"
	// CodeUnreadable: the operating system refuses to read a file.
	CodeUnreadable ErrorCode = "Unreadable"
)

// messages are fixed texts: an error of the decoder may quote what it was reading, and key shards hold secrets.
var messages = map[ErrorCode]string{
	CodeMissing:           "there is no manifest in the configuration directory",
	CodeIncomplete:        "a file that the manifest names is not in the configuration directory",
	CodeCorrupt:           "a file in the configuration directory is damaged",
	CodeUnsupportedFormat: "the routing table has a format that this launch handler cannot read",
	CodeUnreadable:        "a file in the configuration directory cannot be read",
}

// Report says what is served, and why not something newer. It holds no secrets.
type Report struct {
	// Hash of the table that is served, in hex; empty before the first one.
	Hash string `json:"hash,omitempty"`
	// LoadedAt is when that table began to be served.
	LoadedAt time.Time `json:"loadedAt,omitzero"`
	// LastError is nil when the newest configuration is the one being served.
	LastError *Error `json:"lastError,omitempty"`
	// RejectedHash is the hash that the refused manifest gives itself; empty when there is no such manifest, or it
	// cannot be read so far.
	RejectedHash string `json:"rejectedHash,omitempty"`
	// ReadableFormats lists the formats that can be read: each with its major version and the newest minor version that
	// is fully understood.
	ReadableFormats []routing.FormatVersion `json:"readableFormats"`
}

// Error is a reason not to serve the newest configuration.
type Error struct {
	Code    ErrorCode `json:"code"`
	Message string    `json:"message"`
}

// ReadableFormats lists the table formats that this build can read.
func ReadableFormats() []routing.FormatVersion {
	return []routing.FormatVersion{{Major: routing.FormatMajor, Minor: routing.FormatMinor}}
}

// Report returns a copy of the present state.
func (w *Watcher) Report() Report {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := w.report
	r.ReadableFormats = slices.Clone(r.ReadableFormats)
	if r.LastError != nil {
		e := *r.LastError
		r.LastError = &e
	}
	return r
}

// accept records that the newest configuration is served, and returns the functions to call if it is a new one.
func (w *Watcher) accept(hash string, changed bool) []func(*routing.Index) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.report.LastError, w.report.RejectedHash = nil, ""
	if !changed {
		return nil
	}
	w.report.Hash, w.report.LoadedAt = hash, w.now()
	return slices.Clone(w.callbacks)
}

// reject records why the newest configuration is not served. It is logged when it is news, not at every check.
func (w *Watcher) reject(ctx context.Context, hash string, err error) {
	code := codeOf(err)
	w.mu.Lock()
	known := w.report.LastError != nil && w.report.LastError.Code == code && w.report.RejectedHash == hash
	w.report.LastError = &Error{Code: code, Message: messages[code]}
	w.report.RejectedHash = hash
	serving := w.report.Hash
	w.mu.Unlock()
	switch {
	case known:
	case serving == "" && (code == CodeMissing || code == CodeIncomplete):
		w.log.InfoContext(ctx, "waiting for the first routing table", "code", code)
	default:
		w.rejected(code)
		w.log.WarnContext(ctx, "routing table refused", "code", code, "reason", messages[code], "rejected", hash,
			"serving", serving)
	}
}

func codeOf(err error) ErrorCode {
	switch {
	case errors.Is(err, errMissing):
		return CodeMissing
	case errors.Is(err, routing.ErrFormat):
		return CodeUnsupportedFormat
	case errors.Is(err, routing.ErrCorrupt):
		return CodeCorrupt
	case errors.Is(err, routing.ErrIncomplete) && errors.Is(err, fs.ErrNotExist):
		return CodeIncomplete
	default:
		return CodeUnreadable
	}
}
