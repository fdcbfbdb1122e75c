package service

import (
	"bytes"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Doer sends a request. It guards against addresses that must not be reached,
// bounds time, and follows no redirect: requests carry tokens and signatures,
// and a redirect would hand them to somebody else.
type Doer interface {
	Do(req *http.Request) (*http.Response, error)
}

// Limits.
const (
	// MaxBody is the longest answer that is read, in bytes.
	MaxBody = 1 << 20
	// MaxRetryAfter is the longest wait that another system can ask for. A
	// longer one is a mistake more often than a wish, and would hold up a
	// grade for days.
	MaxRetryAfter = time.Hour
	// MaxExcerpt is the longest [Excerpt], in characters.
	MaxExcerpt = 200
)

// An Answer is a response that was read to its end.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
	// At is when it arrived, by our clock.
	At time.Time
}

// OK reports whether the status is one of success. Services answer a score with
// 200 (Moodle, Canvas), 201 (Open edX), 202 or 204 (the example of AGS 2.0
// section 3.4.2).
func (a *Answer) OK() bool { return a.Status >= 200 && a.Status <= 299 }

// Call sends a request and reads the answer, whatever its status is. The errors
// are of reason Unreachable and, for an answer longer than limit bytes,
// AnswerInvalid; both are Temporary and Uncertain.
func Call(d Doer, req *http.Request, limit int64, now time.Time) (*Answer, error) {
	res, err := d.Do(req)
	if err != nil {
		return nil, &Error{Class: Temporary, Reason: Unreachable, Uncertain: true, Err: err}
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(res.Body, limit+1))
	switch {
	case err != nil:
		return nil, &Error{Class: Temporary, Reason: Unreachable, Status: res.StatusCode, Uncertain: true, Detail: "the answer is not complete", Err: err}
	case int64(len(body)) > limit:
		// A refusal is a refusal however long its page is.
		if res.StatusCode < 300 {
			return nil, Invalid(res.StatusCode, "the answer is longer than "+strconv.FormatInt(limit, 10)+" bytes")
		}
		body = body[:limit]
	}
	return &Answer{Status: res.StatusCode, Header: res.Header, Body: body, At: now}, nil
}

// Refused returns the error for what every service means by a status: redirects,
// 408, 425, 429 and 5xx, and 403 if it is how Canvas throttles. For all others
// it returns the error with class Permanent and the given reason, which the
// caller refines. Secrets of the request do not get into the error.
func (a *Answer) Refused(otherwise Reason, secrets ...string) *Error {
	e := &Error{Class: Temporary, Status: a.Status, RetryAfter: RetryAfter(a.Header, a.At), Remote: Excerpt(a.Body, secrets...)}
	switch {
	case a.Status == http.StatusTooManyRequests,
		// Canvas says "403 Forbidden (Rate Limit Exceeded)".
		a.Status == http.StatusForbidden && a.Says("rate limit exceeded"):
		e.Reason = Throttled
	case a.Status >= 500, a.Status == http.StatusRequestTimeout, a.Status == http.StatusTooEarly:
		// A proxy says so of a server that went on.
		e.Reason, e.Uncertain = Unavailable, a.Status != http.StatusTooEarly
	case a.Status >= 300 && a.Status <= 399:
		e.Reason = Redirected
		if a.Status == http.StatusMovedPermanently || a.Status == http.StatusPermanentRedirect {
			e.Class = Permanent
		}
	default:
		e.Class, e.Reason, e.RetryAfter = Permanent, otherwise, 0
	}
	return e
}

// Says reports whether the body contains a text, in whatever case.
func (a *Answer) Says(text string) bool {
	return bytes.Contains(bytes.ToLower(a.Body), []byte(text))
}

// RetryAfter reads the header of this name: seconds, or a date (RFC 9110
// section 10.2.3). It returns 0 for a header that is absent, invalid or in the
// past, and MaxRetryAfter for a longer wait.
func RetryAfter(h http.Header, now time.Time) time.Duration {
	v := strings.TrimSpace(h.Get("Retry-After"))
	if v == "" {
		return 0
	}
	if strings.Trim(v, "0123456789") == "" {
		seconds, err := strconv.Atoi(v)
		if err != nil || seconds > int(MaxRetryAfter/time.Second) {
			return MaxRetryAfter
		}
		return time.Duration(seconds) * time.Second
	}
	at, err := http.ParseTime(v)
	if err != nil {
		return 0
	}
	return min(max(at.Sub(now), 0), MaxRetryAfter)
}

// redacted stands for a secret.
const redacted = "[redacted]"

// Excerpt makes the beginning of what another system wrote fit to be shown:
// runs of blanks and control characters become one blank, what is not UTF-8 and
// invisible characters go, and secrets are replaced. The result has at most
// MaxExcerpt characters. It is still hostile text, to be escaped where it is
// shown.
func Excerpt(body []byte, secrets ...string) string {
	// Before anything is cut, so that a secret is found whole; and again when
	// what may have been inside of one is gone. A secret may be part of a
	// character, so that what is left of it has to go too.
	text := clean(redact(clean(redact(string(body), secrets)), secrets))
	n := 0
	for i := range text {
		if n == MaxExcerpt {
			return strings.TrimSpace(text[:i])
		}
		n++
	}
	return text
}

// maxCleaned bounds the work for an excerpt, in characters.
const maxCleaned = 20 * MaxExcerpt

func clean(text string) string {
	var b strings.Builder
	n, blank := 0, false
	for i := 0; i < len(text) && n < maxCleaned; {
		r, size := utf8.DecodeRuneInString(text[i:])
		i += size
		switch {
		case unicode.IsSpace(r) || unicode.IsControl(r):
			blank = n > 0
			continue
		case r == utf8.RuneError && size == 1, !unicode.IsPrint(r):
			continue
		}
		if blank {
			b.WriteByte(' ')
		}
		blank = false
		b.WriteRune(r)
		n++
	}
	return b.String()
}

func redact(text string, secrets []string) string {
	for _, s := range secrets {
		if s == "" {
			continue
		}
		// As it was sent in a header or in a form, and as PHP writes it in JSON.
		for _, form := range []string{s, url.QueryEscape(s), strings.ReplaceAll(s, "/", `\/`)} {
			text = strings.ReplaceAll(text, form, redacted)
		}
	}
	return text
}

// Trim returns a body without what some systems put around JSON or XML: a byte
// order mark and blanks.
func Trim(body []byte) []byte {
	return bytes.TrimSpace(bytes.TrimPrefix(body, []byte("\xef\xbb\xbf")))
}
