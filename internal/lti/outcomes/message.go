// Package outcomes implements the Basic Outcomes service of LTI 1.1 (LTI 1.1
// section 6): one grade, addressed by lis_result_sourcedid, is replaced, read or
// deleted with an XML message ("POX") whose request is signed with OAuth 1.0a.
//
// [Client] is the tool's side. The platform's side reads messages with
// [ParseRequest] and answers with [Request.Answer] or [Request.Refused]; it verifies
// the signature over the body as it arrived, with [oauth1.VerifyBody], before it
// reads anything.
package outcomes

import (
	"errors"
	"strings"

	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/lti/decimal"
	"github.com/lti-operator/lti-operator/internal/lti/service"
)

// Namespace of the messages.
const Namespace = "http://www.imsglobal.org/services/ltiv1p1/xsd/imsoms_v1p0"

// MediaType of requests and answers.
const MediaType = "application/xml"

// version is imsx_version, in both directions.
const version = "V1.0"

// Operation is what to do with a grade.
type Operation string

// The operations (LTI 1.1 sections 6.1.1 to 6.1.3). Others occur in the field
// and are answered as unsupported.
const (
	ReplaceResult Operation = "replaceResult"
	ReadResult    Operation = "readResult"
	DeleteResult  Operation = "deleteResult"
)

// Known reports whether the operation is one of the three.
func (o Operation) Known() bool { return o == ReplaceResult || o == ReadResult || o == DeleteResult }

// Data is what a learner handed in, an extension that Canvas understands; it
// takes the first member that is there.
type Data struct {
	Text, URL, LaunchURL string
}

// Request is one message of a tool.
type Request struct {
	Operation Operation
	// MessageID is imsx_messageIdentifier; the answer refers to it.
	MessageID string
	// SourcedID is lis_result_sourcedid of a launch. It is opaque; Moodle's is
	// JSON.
	SourcedID string
	// Score is from 0 to 1, both included, for ReplaceResult. It may be nil if
	// there is Data.
	Score *decimal.Decimal
	// Language of Score, a BCP 47 tag; "en" if empty. It does not change how
	// Score is written, which is with a point (LTI 1.1 section 6.1.1).
	Language string
	// Data is optional, for ReplaceResult.
	Data Data
}

// Places is how exact [Fraction] is, in digits after the point: what the binary
// numbers hold in which grade books keep grades.
const Places = 15

// Fraction returns points out of a maximum as a score: cut off after Places
// digits, so that no score becomes better than it is, and at most 1, for there
// is no extra credit here. It returns false without a maximum, or for negative
// points.
func Fraction(given, maximum decimal.Decimal) (decimal.Decimal, bool) {
	if given.Sign() < 0 || maximum.Sign() <= 0 {
		return decimal.Decimal{}, false
	}
	f, ok := given.Quo(maximum, Places)
	if one := decimal.FromInt(1); f.Cmp(one) > 0 {
		f = one
	}
	return f, ok
}

func inRange(score decimal.Decimal) bool {
	return score.Sign() >= 0 && score.Cmp(decimal.FromInt(1)) <= 0
}

// Encode returns the message. Equal requests have equal bytes. The error is of
// reason RequestInvalid.
func (r Request) Encode() ([]byte, error) {
	switch {
	case !r.Operation.Known():
		return nil, service.Refuse("the operation is not one of Basic Outcomes")
	case r.SourcedID == "":
		return nil, service.Refuse("the outcome has no sourced ID")
	case r.MessageID == "":
		return nil, service.Refuse("the message has no ID")
	case r.Operation == ReplaceResult && r.Score == nil && r.Data == Data{}:
		return nil, service.Refuse("there is neither a score nor data")
	case r.Score != nil && !inRange(*r.Score):
		return nil, service.Refuse("the score is not from 0 to 1")
	}
	var w writer
	w.WriteString(`<?xml version="1.0" encoding="UTF-8"?>` + "\n" + `<imsx_POXEnvelopeRequest xmlns="` + Namespace + `"><imsx_POXHeader><imsx_POXRequestHeaderInfo>`)
	w.element("imsx_version", version)
	w.element("imsx_messageIdentifier", r.MessageID)
	w.WriteString(`</imsx_POXRequestHeaderInfo></imsx_POXHeader><imsx_POXBody><` + string(r.Operation) + `Request><resultRecord><sourcedGUID>`)
	w.element("sourcedId", r.SourcedID)
	w.WriteString(`</sourcedGUID>`)
	if r.Operation == ReplaceResult {
		w.WriteString(`<result>`)
		if r.Score != nil {
			w.score(*r.Score, r.Language)
		}
		if r.Data != (Data{}) {
			w.WriteString(`<resultData>`)
			w.optional("text", r.Data.Text)
			w.optional("url", r.Data.URL)
			w.optional("ltiLaunchUrl", r.Data.LaunchURL)
			w.WriteString(`</resultData>`)
		}
		w.WriteString(`</result>`)
	}
	w.WriteString(`</resultRecord></` + string(r.Operation) + `Request></imsx_POXBody></imsx_POXEnvelopeRequest>`)
	if w.err != nil {
		return nil, service.Refuse("the outcome has characters that XML does not allow")
	}
	return w.Bytes(), nil
}

func (w *writer) score(score decimal.Decimal, language string) {
	if language == "" {
		language = "en"
	}
	w.WriteString(`<resultScore>`)
	w.element("language", language)
	w.element("textString", score.String())
	w.WriteString(`</resultScore>`)
}

// ParseRequest reads a message of a tool. Namespaces are not looked at, and
// blanks around texts do not count.
//
// An operation that Known does not know is no error: the request has it, and is
// to be answered with Unsupported. Refusals are RequestTooLarge,
// RequestMalformed (a document type declaration too), ParameterMissing,
// ParameterRepeated and ParameterInvalid. Next to a refusal the request has as
// much as could be read, so that an answer can refer to it; it is nil only if
// nothing could.
func ParseRequest(body []byte) (*Request, error) {
	root, err := readXML(body)
	switch {
	case errors.Is(err, errTooLarge):
		return nil, lti.Refuse(lti.RequestTooLarge, "message of more than %d bytes", MaxBytes)
	case err != nil:
		return nil, lti.Refuse(lti.RequestMalformed, "%v", err)
	case root.name != "imsx_POXEnvelopeRequest":
		return nil, lti.Refuse(lti.RequestMalformed, "message is not an imsx_POXEnvelopeRequest")
	}
	r := &Request{MessageID: root.trimmed("imsx_POXHeader", "imsx_POXRequestHeaderInfo", "imsx_messageIdentifier")}
	content, repeated := root.find("imsx_POXBody")
	switch {
	case repeated || content != nil && len(content.children) > 1:
		return r, lti.Refuse(lti.ParameterRepeated, "message has more than one operation")
	case content == nil || len(content.children) == 0:
		return r, lti.Refuse(lti.ParameterMissing, "message has no operation")
	}
	operation := content.children[0]
	r.Operation = operationOf(operation.name)
	if !r.Operation.Known() {
		return r, nil
	}
	id, repeated := operation.find("resultRecord", "sourcedGUID", "sourcedId")
	switch {
	case repeated:
		return r, lti.Refuse(lti.ParameterRepeated, "message has more than one sourcedId")
	case id == nil || strings.TrimSpace(id.text.String()) == "":
		return r, lti.Refuse(lti.ParameterMissing, "missing: sourcedId")
	case len(id.children) > 0:
		return r, lti.Refuse(lti.ParameterInvalid, "sourcedId has elements in it")
	}
	r.SourcedID = strings.TrimSpace(id.text.String())
	if r.Operation != ReplaceResult {
		return r, nil
	}
	return r, r.readResult(operation)
}

// readResult reads what a grade is to be replaced with.
func (r *Request) readResult(operation *element) error {
	result := []string{"resultRecord", "result"}
	data := func(name string) string { return operation.trimmed(append(result, "resultData", name)...) }
	r.Data = Data{Text: data("text"), URL: data("url"), LaunchURL: data("ltiLaunchUrl")}
	score, repeated := operation.find(append(result, "resultScore", "textString")...)
	switch {
	case repeated:
		return lti.Refuse(lti.ParameterRepeated, "message has more than one score")
	case score == nil && r.Data == Data{}:
		return lti.Refuse(lti.ParameterMissing, "missing: textString")
	case score == nil:
		return nil
	}
	d, err := decimal.Parse(strings.TrimSpace(score.text.String()))
	if err != nil || !inRange(d) || len(score.children) > 0 {
		return lti.Refuse(lti.ParameterInvalid, "textString is not a number from 0 to 1")
	}
	r.Score, r.Language = &d, operation.trimmed(append(result, "resultScore", "language")...)
	return nil
}

// operationOf returns the operation that an element or an
// imsx_operationRefIdentifier names: Moodle writes replaceResultRequest there,
// Canvas replaceResult.
func operationOf(name string) Operation {
	return Operation(strings.TrimSuffix(name, "Request"))
}

// CodeMajor says how a request went (LTI 1.1 section 6.1).
type CodeMajor string

// The values of imsx_codeMajor.
const (
	Success     CodeMajor = "success"
	Processing  CodeMajor = "processing"
	Failure     CodeMajor = "failure"
	Unsupported CodeMajor = "unsupported"
)

// Response is the answer to a [Request]. The HTTP status of an answer is 200
// whatever its CodeMajor is.
type Response struct {
	CodeMajor CodeMajor
	// Severity is "status", "warning" or "error"; "status" if empty.
	Severity string
	// Description is for people. In an answer of another system it is hostile
	// text.
	Description string
	// MessageID is that of the answer.
	MessageID string
	// MessageRef is the MessageID of the request.
	MessageRef string
	// Operation is that of the request.
	Operation Operation
	// Score is the answer to ReadResult; nil if there is none, which is a
	// success too.
	Score *decimal.Decimal
}

// Answer returns an answer to the request, with an ID of its own.
func (r *Request) Answer(messageID string, code CodeMajor, description string) Response {
	a := Response{CodeMajor: code, Severity: "status", Description: description, MessageID: messageID}
	if code == Failure {
		a.Severity = "error"
	}
	if r != nil {
		a.MessageRef, a.Operation = r.MessageID, r.Operation
	}
	return a
}

// Refused returns the answer to a request that is refused, with an ID of its own:
// Unsupported for an operation that Known does not know, Failure for everything
// else, described by what the code means. The request may be nil.
//
// What the tool cannot help and may try again, such as StoreUnavailable, is better
// answered with the HTTP status of the code: tools take Failure for final.
func (r *Request) Refused(messageID string, code lti.Code) Response {
	major := Failure
	if code == lti.OperationUnsupported {
		major = Unsupported
	}
	return r.Answer(messageID, major, code.Reason().Summary)
}

// Encode returns the message. Characters that XML does not allow, which the
// request cannot have had, are an error.
func (r Response) Encode() ([]byte, error) {
	var w writer
	w.WriteString(`<?xml version="1.0" encoding="UTF-8"?>` + "\n" + `<imsx_POXEnvelopeResponse xmlns="` + Namespace + `"><imsx_POXHeader><imsx_POXResponseHeaderInfo>`)
	w.element("imsx_version", version)
	w.element("imsx_messageIdentifier", r.MessageID)
	w.WriteString(`<imsx_statusInfo>`)
	w.element("imsx_codeMajor", string(r.CodeMajor))
	severity := r.Severity
	if severity == "" {
		severity = "status"
	}
	w.element("imsx_severity", severity)
	w.element("imsx_description", r.Description)
	w.element("imsx_messageRefIdentifier", r.MessageRef)
	w.element("imsx_operationRefIdentifier", string(r.Operation))
	w.WriteString(`</imsx_statusInfo></imsx_POXResponseHeaderInfo></imsx_POXHeader><imsx_POXBody>`)
	switch {
	case r.Operation == ReadResult && r.CodeMajor == Success:
		w.WriteString(`<readResultResponse><result>`)
		if r.Score != nil {
			w.score(*r.Score, "")
		} else {
			// A grade that there is not is read as an empty text.
			w.WriteString(`<resultScore><language>en</language><textString></textString></resultScore>`)
		}
		w.WriteString(`</result></readResultResponse>`)
	case r.Operation.Known():
		w.WriteString(`<` + string(r.Operation) + `Response/>`)
	}
	w.WriteString(`</imsx_POXBody></imsx_POXEnvelopeResponse>`)
	if w.err != nil {
		return nil, w.err
	}
	return w.Bytes(), nil
}

// ParseResponse reads an answer, leniently: of what occurs twice the first
// counts, and only imsx_codeMajor is needed. The error says what is wrong with
// it.
func ParseResponse(body []byte) (*Response, error) {
	root, err := readXML(body)
	if err != nil {
		return nil, err
	}
	if root.name != "imsx_POXEnvelopeResponse" {
		return nil, errors.New("message is not an imsx_POXEnvelopeResponse")
	}
	info, _ := root.find("imsx_POXHeader", "imsx_POXResponseHeaderInfo")
	if info == nil {
		return nil, errors.New("message has no header")
	}
	status := func(name string) string { return info.trimmed("imsx_statusInfo", name) }
	r := &Response{
		CodeMajor:   CodeMajor(strings.ToLower(status("imsx_codeMajor"))),
		Severity:    status("imsx_severity"),
		Description: status("imsx_description"),
		MessageID:   info.trimmed("imsx_messageIdentifier"),
		MessageRef:  status("imsx_messageRefIdentifier"),
		Operation:   operationOf(status("imsx_operationRefIdentifier")),
	}
	switch r.CodeMajor {
	case Success, Processing, Failure, Unsupported:
	default:
		return nil, errors.New("imsx_codeMajor is missing or has an unknown value")
	}
	if text := root.trimmed("imsx_POXBody", "readResultResponse", "result", "resultScore", "textString"); text != "" {
		d, err := decimal.Parse(text)
		if err != nil {
			return nil, errors.New("textString is not a number")
		}
		r.Score = &d
	}
	return r, nil
}
