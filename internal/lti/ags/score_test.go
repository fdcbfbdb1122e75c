package ags

import (
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/lti/decimal"
	"github.com/lti-operator/lti-operator/internal/lti/service"
)

func TestEncode(t *testing.T) {
	cest := time.FixedZone("", 2*3600)
	for name, tt := range map[string]struct {
		change func(*Score)
		want   string
	}{
		"a score": {func(*Score) {}, `{"userId":"4","timestamp":"2026-11-23T21:53:22.511Z","scoreGiven":7.5,"scoreMaximum":10,"comment":"well done","activityProgress":"Completed","gradingProgress":"FullyGraded"}`},
		"0 points are points": {
			func(s *Score) { s.Points.Given = decimal.Decimal{}; s.Comment = "" },
			`{"userId":"4","timestamp":"2026-11-23T21:53:22.511Z","scoreGiven":0,"scoreMaximum":10,"activityProgress":"Completed","gradingProgress":"FullyGraded"}`,
		},
		"no points are none": {
			func(s *Score) {
				s.Points, s.Comment = nil, ""
				s.ActivityProgress, s.GradingProgress = InProgress, NotReady
			},
			`{"userId":"4","timestamp":"2026-11-23T21:53:22.511Z","activityProgress":"InProgress","gradingProgress":"NotReady"}`,
		},
		"more than the maximum, exactly": {
			func(s *Score) { s.Points = &Points{dec(t, "100.000000000000000000001"), dec(t, "3")}; s.Comment = "" },
			`{"userId":"4","timestamp":"2026-11-23T21:53:22.511Z","scoreGiven":100.000000000000000000001,"scoreMaximum":3,"activityProgress":"Completed","gradingProgress":"FullyGraded"}`,
		},
		"everything": {func(s *Score) {
			s.Timestamp = time.Date(2026, 7, 1, 0, 0, 0, 999_999_999, cest)
			s.StartedAt, s.SubmittedAt = s.Timestamp.Add(-time.Hour), s.Timestamp
			s.ScoringUserID, s.SameSubmission, s.Comment = "3", true, "a \"b\"\n<c>"
		}, `{"userId":"4","timestamp":"2026-06-30T22:00:00.999Z","scoreGiven":7.5,"scoreMaximum":10,"comment":"a \"b\"\n\u003cc\u003e","activityProgress":"Completed","gradingProgress":"FullyGraded",` +
			`"submission":{"startedAt":"2026-06-30T21:00:00.999Z","submittedAt":"2026-06-30T22:00:00.999Z"},"scoringUserId":"3","https://canvas.instructure.com/lti/submission":{"new_submission":false}}`},
		"no user":                      {func(s *Score) { s.UserID = "" }, ""},
		"a user that is not text":      {func(s *Score) { s.UserID = "\xff" }, ""},
		"no timestamp":                 {func(s *Score) { s.Timestamp = time.Time{} }, ""},
		"a timestamp beyond all years": {func(s *Score) { s.Timestamp = time.Date(12000, 1, 1, 0, 0, 0, 0, time.UTC) }, ""},
		"no activity progress":         {func(s *Score) { s.ActivityProgress = "" }, ""},
		"an unknown grading progress":  {func(s *Score) { s.GradingProgress = "fullygraded" }, ""},
		"less than no points":          {func(s *Score) { s.Points.Given = dec(t, "-0.1") }, ""},
		"points without a maximum":     {func(s *Score) { s.Points.Maximum = decimal.Decimal{} }, ""},
		"points with a negative limit": {func(s *Score) { s.Points.Maximum = dec(t, "-1") }, ""},
	} {
		s := goodScore(t)
		tt.change(&s)
		got, err := s.Encode()
		if tt.want == "" {
			if service.ReasonOf(err) != service.RequestInvalid {
				t.Errorf("%s: %s, %v", name, got, err)
			}
			c, _ := newClient(func(*http.Request) (*http.Response, error) { t.Error("sent"); return nil, nil })
			if err := c.PostScore(t.Context(), itemURL, s); service.ReasonOf(err) != service.RequestInvalid {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if diff := cmp.Diff(tt.want, string(got)); diff != "" || err != nil {
			t.Errorf("%s: %v\n%s", name, err, diff)
		}
	}
}

func TestPostScore(t *testing.T) {
	canvasOld := `{"errors":{"type":"bad_request","message":"Provided timestamp of 2026-11-23T21:53:22.511Z before last updated timestamp of 2026-11-23T21:54:00.123Z"}}`
	tests := map[string]struct {
		status int
		body   string
		class  service.Class
		reason service.Reason
	}{
		"200 (Moodle)":                 {200, "", "", ""},
		"200 (Canvas)":                 {200, `{"resultUrl":"https://lms.example/r/1"}`, "", ""},
		"201 (Open edX)":               {201, `{}`, "", ""},
		"202":                          {202, "", "", ""},
		"204 (the specification)":      {204, "", "", ""},
		"200 with a page":              {200, "<html>", "", ""},
		"409 (Moodle)":                 {409, "[]", service.Superseded, service.TimestampOld},
		"409":                          {409, "", service.Superseded, service.TimestampOld},
		"an old timestamp at Canvas":   {400, canvasOld, service.Superseded, service.TimestampOld},
		"an old timestamp at Open edX": {400, `{"timestamp":["Score timestamp can only be updated to a later point in time"]}`, service.Superseded, service.TimestampOld},
		"no timestamp at Canvas":       {400, `{"errors":{"message":"Provided timestamp of x not a valid timestamp"}}`, service.Permanent, service.ScoreRefused},
		"the user at Canvas":           {422, `{"errors":{"type":"unprocessable_entity","message":"User not found in course or is not a student"}}`, service.Permanent, service.UserUnknown},
		"the attempts at Canvas":       {422, `{"errors":{"message":"The maximum number of allowed attempts has been reached for this submission"}}`, service.Permanent, service.ScoreRefused},
		"the user at Moodle":           {400, "[]", service.Permanent, service.UserUnknown},
		"the user at Blackboard":       {400, `{"status":400,"message":"User could not be found: 123"}`, service.Permanent, service.UserUnknown},
		"not enrolled at Brightspace":  {403, `User in requested score is not enrolled in the org unit`, service.Permanent, service.UserUnknown},
		"no user at Brightspace":       {404, `User in requested score does not exist`, service.Permanent, service.UserUnknown},
		"the line item at Moodle":      {403, `{"status":403,"reason":"Line item does not exist.","request":{}}`, service.Permanent, service.LineItemGone},
		"404":                          {404, `{"reason":"Not Found: Grade item 4 doesn't exist."}`, service.Permanent, service.LineItemGone},
		"410":                          {410, "", service.Permanent, service.LineItemGone},
		"403":                          {403, "", service.Permanent, service.NotPermitted},
		"throttled at Canvas":          {403, "403 Forbidden (Rate Limit Exceeded)", service.Temporary, service.Throttled},
		"400":                          {400, `{"error":"bad"}`, service.Permanent, service.ScoreRefused},
		"405":                          {405, "", service.Permanent, service.ScoreRefused},
		"412":                          {412, "", service.Permanent, service.ScoreRefused},
		"415":                          {415, "", service.Permanent, service.ScoreRefused},
		"422":                          {422, "", service.Permanent, service.ScoreRefused},
		"401":                          {401, "", service.Permanent, service.TokenRefused},
		"408":                          {408, "", service.Temporary, service.Unavailable},
		"429":                          {429, "", service.Temporary, service.Throttled},
		"500":                          {500, "timestamp earlier", service.Temporary, service.Unavailable},
		"503":                          {503, "user not found", service.Temporary, service.Unavailable},
		"302":                          {302, "", service.Temporary, service.Redirected},
		"308":                          {308, "", service.Permanent, service.Redirected},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c, _ := newClient(func(r *http.Request) (*http.Response, error) {
				body, _ := io.ReadAll(r.Body)
				want, _ := goodScore(t).Encode()
				if string(body) != string(want) || r.Method != "POST" || r.URL.String() != ScoresURL(itemURL) || r.Header.Get("Content-Type") != MediaScore || !strings.HasPrefix(r.Header.Get("Authorization"), "Bearer token-") {
					t.Errorf("%s %s %s %v", r.Method, r.URL, body, r.Header)
				}
				return answer(tt.status, tt.body, "Retry-After", "120"), nil
			})
			err := c.PostScore(t.Context(), itemURL, goodScore(t))
			if service.ClassOf(err) != tt.class || service.ReasonOf(err) != tt.reason {
				t.Fatal(err)
			}
			var e *service.Error
			if !errors.As(err, &e) {
				return
			}
			if e.Status != tt.status || (e.RetryAfter == 2*time.Minute) != (e.Class == service.Temporary || e.Reason == service.Redirected) {
				t.Errorf("%+v", e)
			}
			if e.Uncertain != (tt.status == 408 || tt.status >= 500) {
				t.Errorf("uncertain: %v", e.Uncertain)
			}
			if want := time.Date(2026, 11, 23, 21, 54, 0, 123_000_000, time.UTC); (tt.body == canvasOld) != e.StoredAt.Equal(want) {
				t.Errorf("stored at %s", e.StoredAt)
			}
		})
	}
	t.Run("no answer", func(t *testing.T) {
		c, _ := newClient(func(*http.Request) (*http.Response, error) { return nil, io.ErrUnexpectedEOF })
		err := c.PostScore(t.Context(), itemURL, goodScore(t))
		if e, ok := errors.AsType[*service.Error](err); !ok || e.Class != service.Temporary || e.Reason != service.Unreachable || !e.Uncertain {
			t.Error(err)
		}
	})
}

func TestParseScore(t *testing.T) {
	const rest = `,"activityProgress":"Completed","gradingProgress":"FullyGraded"`
	const head = `"userId":"4","timestamp":"2026-11-23T21:53:22.511Z"`
	at := start()
	points := func(given, maximum string) *Points { return &Points{dec(t, given), dec(t, maximum)} }
	base := Score{UserID: "4", Timestamp: at, ActivityProgress: Completed, GradingProgress: FullyGraded}
	with := func(change func(*Score)) *Score { s := base; change(&s); return &s }
	scored := func(given, maximum string) *Score { return with(func(s *Score) { s.Points = points(given, maximum) }) }
	timed := func(ts time.Time) *Score { return with(func(s *Score) { s.Timestamp = ts }) }
	whole := at.Truncate(time.Second)
	tests := map[string]struct {
		body            string
		strict, lenient *Score
		code            lti.Code // of what is refused
	}{
		"points":                              {`{` + head + rest + `,"scoreGiven":7.5,"scoreMaximum":10}`, scored("7.5", "10"), scored("7.5", "10"), ""},
		"0 points":                            {`{` + head + rest + `,"scoreGiven":0,"scoreMaximum":10}`, scored("0", "10"), scored("0", "10"), ""},
		"more than the maximum":               {`{` + head + rest + `,"scoreGiven":11,"scoreMaximum":10}`, scored("11", "10"), scored("11", "10"), ""},
		"digits that a float would lose":      {`{` + head + rest + `,"scoreGiven":0.1000000000000000000000001,"scoreMaximum":1e2}`, scored("0.1000000000000000000000001", "100"), scored("0.1000000000000000000000001", "100"), ""},
		"no points":                           {`{` + head + rest + `}`, &base, &base, ""},
		"points null":                         {`{` + head + rest + `,"scoreGiven":null,"scoreMaximum":10}`, &base, &base, ""},
		"a maximum alone":                     {`{` + head + rest + `,"scoreMaximum":0}`, &base, &base, ""},
		"points without a maximum":            {`{` + head + rest + `,"scoreGiven":7}`, nil, nil, lti.ParameterMissing},
		"points with the maximum null":        {`{` + head + rest + `,"scoreGiven":7,"scoreMaximum":null}`, nil, nil, lti.ParameterMissing},
		"points out of 0":                     {`{` + head + rest + `,"scoreGiven":7,"scoreMaximum":0}`, nil, nil, lti.ParameterInvalid},
		"negative points":                     {`{` + head + rest + `,"scoreGiven":-1,"scoreMaximum":10}`, nil, nil, lti.ParameterInvalid},
		"minus 0 points are 0":                {`{` + head + rest + `,"scoreGiven":-0.0,"scoreMaximum":10}`, scored("0", "10"), scored("0", "10"), ""},
		"points as strings (Moodle)":          {`{` + head + rest + `,"scoreGiven":"66.00000","scoreMaximum":"100.00000"}`, nil, scored("66", "100"), lti.ParameterInvalid},
		"points as an empty string":           {`{` + head + rest + `,"scoreGiven":"","scoreMaximum":100}`, nil, nil, lti.ParameterInvalid},
		"points as text":                      {`{` + head + rest + `,"scoreGiven":"7,5","scoreMaximum":100}`, nil, nil, lti.ParameterInvalid},
		"points as a list":                    {`{` + head + rest + `,"scoreGiven":[7],"scoreMaximum":100}`, nil, nil, lti.ParameterInvalid},
		"points beyond all numbers":           {`{` + head + rest + `,"scoreGiven":1e999999,"scoreMaximum":100}`, nil, nil, lti.ParameterInvalid},
		"a zone with a colon":                 {`{"userId":"4","timestamp":"2026-11-23T22:53:22.511+01:00"` + rest + `}`, &base, &base, ""},
		"a zone without a colon (Moodle)":     {`{"userId":"4","timestamp":"2026-11-23T21:53:22+0000"` + rest + `}`, nil, timed(whole), lti.ParameterInvalid},
		"a zone without minutes":              {`{"userId":"4","timestamp":"2026-11-23T21:53:22.511+00"` + rest + `}`, nil, &base, lti.ParameterInvalid},
		"a blank for the T":                   {`{"userId":"4","timestamp":"2026-11-23 21:53:22 +0000"` + rest + `}`, nil, timed(whole), lti.ParameterInvalid},
		"small letters in a timestamp":        {`{"userId":"4","timestamp":"2026-11-23t21:53:22z"` + rest + `}`, nil, timed(whole), lti.ParameterInvalid},
		"no zone":                             {`{"userId":"4","timestamp":"2026-11-23T21:53:22"` + rest + `}`, nil, nil, lti.ParameterInvalid},
		"a timestamp that is a number":        {`{"userId":"4","timestamp":1795470802` + rest + `}`, nil, nil, lti.ParameterInvalid},
		"the 30th of February":                {`{"userId":"4","timestamp":"2026-02-30T21:53:22Z"` + rest + `}`, nil, nil, lti.ParameterInvalid},
		"the year 0":                          {`{"userId":"4","timestamp":"0000-02-03T21:53:22Z"` + rest + `}`, nil, nil, lti.ParameterInvalid},
		"no timestamp":                        {`{"userId":"4"` + rest + `}`, nil, nil, lti.ParameterMissing},
		"timestamp null":                      {`{"userId":"4","timestamp":null` + rest + `}`, nil, nil, lti.ParameterMissing},
		"no user":                             {`{"timestamp":"2026-11-23T21:53:22.511Z"` + rest + `}`, nil, nil, lti.ParameterMissing},
		"an empty user":                       {`{"userId":"","timestamp":"2026-11-23T21:53:22.511Z"` + rest + `}`, nil, nil, lti.ParameterMissing},
		"a user that is a number":             {`{"userId":4,"timestamp":"2026-11-23T21:53:22.511Z"` + rest + `}`, nil, &base, lti.ParameterInvalid},
		"a user that is an object":            {`{"userId":{},"timestamp":"2026-11-23T21:53:22.511Z"` + rest + `}`, nil, nil, lti.ParameterInvalid},
		"a user with a line break":            {`{"userId":"4\n","timestamp":"2026-11-23T21:53:22.511Z"` + rest + `}`, nil, nil, lti.ParameterInvalid},
		"a user of 256 bytes":                 {`{"userId":"` + strings.Repeat("x", 256) + `","timestamp":"2026-11-23T21:53:22.511Z"` + rest + `}`, nil, nil, lti.ParameterInvalid},
		"no activityProgress":                 {`{` + head + `,"gradingProgress":"FullyGraded"}`, nil, nil, lti.ParameterMissing},
		"no gradingProgress":                  {`{` + head + `,"activityProgress":"Completed"}`, nil, nil, lti.ParameterMissing},
		"an unknown activityProgress":         {`{` + head + `,"activityProgress":"completed","gradingProgress":"FullyGraded"}`, nil, nil, lti.ParameterInvalid},
		"an unknown gradingProgress":          {`{` + head + `,"activityProgress":"Completed","gradingProgress":"Graded"}`, nil, nil, lti.ParameterInvalid},
		"progress that is a number":           {`{` + head + `,"activityProgress":1,"gradingProgress":"FullyGraded"}`, nil, nil, lti.ParameterInvalid},
		"an extension":                        {`{` + head + rest + `,"https://canvas.instructure.com/lti/submission":{"new_submission":false}}`, &base, &base, ""},
		"names are exact":                     {`{` + head + rest + `,"SCOREGIVEN":7,"scoremaximum":10}`, &base, &base, ""},
		"a comment":                           {`{` + head + rest + `,"comment":"<b>"}`, with(func(s *Score) { s.Comment = "<b>" }), with(func(s *Score) { s.Comment = "<b>" }), ""},
		"a comment null":                      {`{` + head + rest + `,"comment":null,"submission":null,"scoringUserId":null}`, &base, &base, ""},
		"a comment that is a number":          {`{` + head + rest + `,"comment":7}`, nil, &base, lti.ParameterInvalid},
		"who graded":                          {`{` + head + rest + `,"scoringUserId":"3"}`, with(func(s *Score) { s.ScoringUserID = "3" }), with(func(s *Score) { s.ScoringUserID = "3" }), ""},
		"who graded, empty":                   {`{` + head + rest + `,"scoringUserId":""}`, &base, &base, ""},
		"who graded, a list":                  {`{` + head + rest + `,"scoringUserId":[]}`, nil, &base, lti.ParameterInvalid},
		"a submission":                        {`{` + head + rest + `,"submission":{"startedAt":"2026-11-23T21:53:22.511Z","submittedAt":"2026-11-23T22:53:22.511+01:00"}}`, with(func(s *Score) { s.StartedAt, s.SubmittedAt = at, at }), with(func(s *Score) { s.StartedAt, s.SubmittedAt = at, at }), ""},
		"a submission at a time without zone": {`{` + head + rest + `,"submission":{"submittedAt":"2026-11-23T21:53:22"}}`, nil, &base, lti.ParameterInvalid},
		"a submission that is text":           {`{` + head + rest + `,"submission":"x"}`, nil, &base, lti.ParameterInvalid},
		"two scores in one":                   {`{` + head + rest + `,"scoreGiven":1,"scoreGiven":10,"scoreMaximum":10}`, nil, nil, lti.ParameterRepeated},
		"two users, one of them escaped":      {`{` + head + rest + `,"user\u0049d":"5"}`, nil, nil, lti.ParameterRepeated},
		"no JSON":                             {`<score>`, nil, nil, lti.RequestMalformed},
		"no object":                           {`[]`, nil, nil, lti.RequestMalformed},
		"half an object":                      {`{` + head, nil, nil, lti.RequestMalformed},
		"two objects":                         {`{` + head + rest + `}{}`, nil, nil, lti.RequestMalformed},
		"nothing":                             {``, nil, nil, lti.RequestMalformed},
		"null":                                {`null`, nil, nil, lti.RequestMalformed},
		"too much":                            {`{` + strings.Repeat(" ", MaxScoreBytes) + `}`, nil, nil, lti.RequestTooLarge},
		"blanks around":                       {"\n {" + head + rest + "} \n", &base, &base, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			for how, want := range map[Reading]*Score{Strict: tt.strict, Lenient: tt.lenient} {
				got, err := ParseScore([]byte(tt.body), how)
				if want == nil {
					if lti.CodeOf(err) != tt.code || !got.Equal(Score{}) {
						t.Errorf("%d: %+v, %v", how, got, err)
					}
					continue
				}
				if err != nil || !got.Equal(*want) {
					t.Errorf("%d: %+v, %v", how, got, err)
				}
			}
		})
	}
}

// A score as Moodle sends one as a tool.
func TestParseAScoreOfMoodle(t *testing.T) {
	body := `{"scoreGiven":"66.00000","scoreMaximum":"100.00000","activityProgress":"Completed","gradingProgress":"FullyGraded","userId":"4","timestamp":"2026-11-23T21:49:55+0000"}`
	got, err := ParseScore([]byte(body), Lenient)
	want := Score{UserID: "4", Timestamp: time.Date(2026, 11, 23, 21, 49, 55, 0, time.UTC), Points: &Points{dec(t, "66"), dec(t, "100")}, ActivityProgress: Completed, GradingProgress: FullyGraded}
	if err != nil || !got.Equal(want) {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestEqual(t *testing.T) {
	for name, change := range map[string]func(*Score){
		"user":       func(s *Score) { s.UserID = "5" },
		"timestamp":  func(s *Score) { s.Timestamp = s.Timestamp.Add(1) },
		"given":      func(s *Score) { s.Points = &Points{dec(t, "7.4"), s.Points.Maximum} },
		"maximum":    func(s *Score) { s.Points = &Points{s.Points.Given, dec(t, "11")} },
		"points":     func(s *Score) { s.Points = nil },
		"comment":    func(s *Score) { s.Comment = "" },
		"activity":   func(s *Score) { s.ActivityProgress = Submitted },
		"grading":    func(s *Score) { s.GradingProgress = Pending },
		"started":    func(s *Score) { s.StartedAt = start() },
		"submitted":  func(s *Score) { s.SubmittedAt = start() },
		"who graded": func(s *Score) { s.ScoringUserID = "3" },
	} {
		a, b := goodScore(t), goodScore(t)
		change(&b)
		if a.Equal(b) || b.Equal(a) || !b.Equal(b) {
			t.Errorf("%s does not count", name)
		}
	}
	a, b := goodScore(t), goodScore(t)
	b.Timestamp, b.SameSubmission = b.Timestamp.In(time.FixedZone("x", 3600)), true
	if !a.Equal(b) {
		t.Error("the zone or the extension counts")
	}
}

// scores draws a score that can be sent.
func scores(t *rapid.T) Score {
	number := func(name string) decimal.Decimal {
		d, err := decimal.Parse(rapid.StringMatching(`[0-9]{1,10}(\.[0-9]{1,20})?`).Draw(t, name))
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	moment := func(name string) time.Time {
		return time.UnixMilli(rapid.Int64Range(0, 4_000_000_000_000).Draw(t, name)).In(time.FixedZone("", 60*rapid.IntRange(-720, 720).Draw(t, "zone")))
	}
	s := Score{
		UserID:           rapid.StringMatching(`[ -~é]{1,20}`).Draw(t, "user"),
		Timestamp:        moment("timestamp"),
		Comment:          rapid.String().Draw(t, "comment"),
		ActivityProgress: rapid.SampledFrom([]ActivityProgress{Initialized, Started, InProgress, Submitted, Completed}).Draw(t, "activity"),
		GradingProgress:  rapid.SampledFrom([]GradingProgress{FullyGraded, Pending, PendingManual, Failed, NotReady}).Draw(t, "grading"),
		ScoringUserID:    rapid.StringMatching(`[a-z]{0,4}`).Draw(t, "grader"),
		SameSubmission:   rapid.Bool().Draw(t, "same"),
	}
	if rapid.Bool().Draw(t, "points?") {
		p := Points{number("given"), number("maximum")}
		if p.Maximum.Sign() == 0 {
			p.Maximum = decimal.FromInt(1)
		}
		s.Points = &p
	}
	if rapid.Bool().Draw(t, "submission?") {
		s.SubmittedAt = moment("submitted")
	}
	return s
}

// What is sent is read as it was, strictly and leniently, digit by digit.
func TestWhatIsSentIsRead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := scores(t)
		body, err := s.Encode()
		if err != nil {
			t.Fatal(err)
		}
		for _, how := range []Reading{Strict, Lenient} {
			if got, err := ParseScore(body, how); err != nil || !got.Equal(s) {
				t.Fatalf("%s is %+v, %v", body, got, err)
			}
		}
		again, _ := s.Encode()
		if string(again) != string(body) {
			t.Fatal("encoded differently the second time")
		}
	})
}

// Whatever a tool sends is refused with a code, or is a score with all that its
// users rely on; and what is read strictly is read leniently the same.
func FuzzParseScore(f *testing.F) {
	f.Add([]byte(`{"scoreGiven":"66.00000","scoreMaximum":"100.00000","activityProgress":"Completed","gradingProgress":"FullyGraded","userId":"4","timestamp":"2026-11-23T21:49:55+0000"}`))
	f.Add([]byte(`{"timestamp":"2026-11-23T21:53:22.511Z","scoreGiven":7.5,"scoreMaximum":10,"comment":"well done","activityProgress":"Completed","gradingProgress":"FullyGraded","userId":"4"}`))
	f.Add([]byte(`{"userId":4,"timestamp":"2026-01-01 00:00:00 Z","activityProgress":"Started","gradingProgress":"NotReady","scoreGiven":null,"submission":{"startedAt":"x"}}`))
	f.Add([]byte(`{"a":1,"\u0061":2}`))
	codes := []lti.Code{lti.RequestTooLarge, lti.RequestMalformed, lti.ParameterRepeated, lti.ParameterMissing, lti.ParameterInvalid}
	f.Fuzz(func(t *testing.T, body []byte) {
		strict, strictErr := ParseScore(body, Strict)
		s, err := ParseScore(body, Lenient)
		if err != nil {
			if !slices.Contains(codes, lti.CodeOf(err)) || strictErr == nil {
				t.Fatalf("%v, strictly %v", err, strictErr)
			}
			return
		}
		if strictErr == nil && !strict.Equal(s) {
			t.Fatalf("strictly %+v, leniently %+v", strict, s)
		}
		if s.UserID == "" || len(s.UserID) > maxUserID || s.Timestamp.IsZero() || !s.ActivityProgress.Known() || !s.GradingProgress.Known() {
			t.Fatalf("%+v", s)
		}
		if s.Points != nil && (s.Points.Given.Sign() < 0 || s.Points.Maximum.Sign() <= 0) {
			t.Fatalf("%+v", s.Points)
		}
		// Passed on, it is read again the same, but for what a millisecond cuts.
		again, err := s.Encode()
		if err != nil {
			t.Fatal(err)
		}
		back, err := ParseScore(again, Strict)
		s.Timestamp, s.StartedAt, s.SubmittedAt = s.Timestamp.Truncate(time.Millisecond), s.StartedAt.Truncate(time.Millisecond), s.SubmittedAt.Truncate(time.Millisecond)
		if err != nil || !back.Equal(s) {
			t.Fatalf("%s: %+v, %v, want %+v", again, back, err, s)
		}
	})
}

// Whatever a platform answers to a score is success or an error with a class and
// a reason, and without the token.
func FuzzScoreAnswer(f *testing.F) {
	f.Add(400, []byte("Provided timestamp of a before last updated timestamp of 2026-11-23T21:54:00.123Z."), "10")
	f.Add(401, []byte("token-1"), "")
	f.Add(422, []byte(`{"errors":"User not found"}`), "Mon, 23 Nov 2026 21:53:52 GMT")
	f.Fuzz(func(t *testing.T, status int, body []byte, retry string) {
		c, _ := newClient(always(status, string(body), "Retry-After", retry))
		err := c.PostScore(t.Context(), itemURL, goodScore(t))
		if err == nil {
			if status < 200 || status > 299 {
				t.Fatalf("status %d is a success", status)
			}
			return
		}
		var e *service.Error
		if !errors.As(err, &e) || !slices.Contains(service.Reasons(), e.Reason) || e.RetryAfter < 0 || e.RetryAfter > service.MaxRetryAfter {
			t.Fatalf("%#v", err)
		}
		if (e.Class == service.Superseded) != (e.Reason == service.TimestampOld) || e.Class == "" {
			t.Fatalf("%#v", e)
		}
		if strings.Contains(e.Remote+e.Error(), "token-1") || status == 401 && strings.Contains(e.Remote, "token-2") {
			t.Fatalf("%#v", e)
		}
	})
}
