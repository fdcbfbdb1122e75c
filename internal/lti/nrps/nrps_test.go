package nrps

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/lti/launch"
	"github.com/lti-operator/lti-operator/internal/lti/service"
)

const memberships = "https://lti.acme.example/tools/quiz/contexts/height/memberships"

func learner() []launch.Role { return []launch.Role{{Scope: launch.ContextRole, Name: "Learner"}} }

func container(members ...Member) Container {
	return Container{ID: memberships, Context: Context{ID: "height", Title: "Working at height"}, Members: members}
}

func TestEncode(t *testing.T) {
	const head = `{"id":"` + memberships + `","context":{"id":"height","title":"Working at height"},"members":`
	const roles = `"roles":["http://purl.imsglobal.org/vocab/lis/v2/membership#Learner"]`
	for name, tt := range map[string]struct {
		container Container
		want      string
	}{
		"nobody": {container(), head + `[]}`},
		"somebody of whom everything is known": {
			container(Member{UserID: "u-1", Roles: learner(), Name: "Ann Lee", GivenName: "Ann", FamilyName: "Lee", Email: "ann@acme.example"}),
			head + `[{"status":"Active","name":"Ann Lee","given_name":"Ann","family_name":"Lee","email":"ann@acme.example","user_id":"u-1",` + roles + `}]}`,
		},
		"somebody of whom nothing is": {container(Member{UserID: "u-1", Roles: learner(), Status: Inactive}), head + `[{"status":"Inactive","user_id":"u-1",` + roles + `}]}`},
		"two": {
			container(Member{UserID: "u-1", Roles: learner()}, Member{UserID: "u-2", Status: Deleted, Roles: []launch.Role{launch.ParseRole("urn:lti:role:ims/lis/TeachingAssistant"), launch.ParseRole("Instructor")}}),
			head + `[{"status":"Active","user_id":"u-1",` + roles + `},{"status":"Deleted","user_id":"u-2",` +
				`"roles":["http://purl.imsglobal.org/vocab/lis/v2/membership/Instructor#TeachingAssistant","http://purl.imsglobal.org/vocab/lis/v2/membership#Instructor"]}]}`,
		},
		"with messages": {
			container(Member{UserID: "u-1", Roles: learner(), Message: &Message{Custom: map[string]string{"chapter": "3"}}}, Member{UserID: "u-2", Roles: learner(), Message: &Message{}}),
			head + `[{"status":"Active","user_id":"u-1",` + roles + `,"message":[{"https://purl.imsglobal.org/spec/lti/claim/message_type":"LtiResourceLinkRequest","https://purl.imsglobal.org/spec/lti/claim/custom":{"chapter":"3"}}]},` +
				`{"status":"Active","user_id":"u-2",` + roles + `,"message":[{"https://purl.imsglobal.org/spec/lti/claim/message_type":"LtiResourceLinkRequest"}]}]}`,
		},
		"no address":               {Container{Context: Context{ID: "height"}}, ""},
		"an address without host":  {Container{ID: "/memberships", Context: Context{ID: "height"}}, ""},
		"no course":                {Container{ID: memberships}, ""},
		"a member without an ID":   {container(Member{Roles: learner()}), ""},
		"an ID that is not text":   {container(Member{UserID: "u-\xff", Roles: learner()}), ""},
		"a member without a role":  {container(Member{UserID: "u-1"}), ""},
		"a role that is not known": {container(Member{UserID: "u-1", Roles: []launch.Role{launch.ParseRole("Lerner")}}), ""},
		"a status of another case": {container(Member{UserID: "u-1", Roles: learner(), Status: "active"}), ""},
	} {
		got, err := tt.container.Encode()
		if diff := cmp.Diff(tt.want, string(got)); diff != "" || (err != nil) != (tt.want == "") {
			t.Errorf("%s: %v\n%s", name, err, diff)
		}
	}
}

func TestParseQuery(t *testing.T) {
	for query, tt := range map[string]struct {
		want Query
		code lti.Code
	}{
		"":                                 {Query{Page: service.Page{Limit: MaxLimit}}, ""},
		"rlid=2&role=Learner&limit=1":      {Query{"Learner", "2", service.Page{Limit: 1}}, ""},
		"limit=100000&after=u-1&unknown=x": {Query{Page: service.Page{Limit: MaxLimit, After: "u-1"}}, ""},
		"role=+Learner+":                   {Query{Role: "Learner", Page: service.Page{Limit: MaxLimit}}, ""},
		"role=":                            {Query{Page: service.Page{Limit: MaxLimit}}, ""},
		"role=Lerner":                      {Query{}, lti.ParameterInvalid},
		"role=http://evil.example/Learner": {Query{}, lti.ParameterInvalid},
		"role=a&role=b":                    {Query{}, lti.ParameterRepeated},
		"rlid=1&rlid=2":                    {Query{}, lti.ParameterRepeated},
		"rlid=%00":                         {Query{}, lti.ParameterInvalid},
		"limit=0":                          {Query{}, lti.ParameterInvalid},
		"limit=many":                       {Query{}, lti.ParameterInvalid},
	} {
		params, err := lti.ParseForm(query)
		if err != nil {
			t.Fatal(err)
		}
		got, err := ParseQuery(params)
		if got != tt.want || lti.CodeOf(err) != tt.code {
			t.Errorf("%q: %+v, %v", query, got, err)
		}
	}
}

func TestSelects(t *testing.T) {
	const vocabulary = "http://purl.imsglobal.org/vocab/lis/v2/"
	for role, want := range map[string]bool{
		"": true, "Learner": true, "learner": true, "urn:lti:role:ims/lis/Learner": true, vocabulary + "membership#Learner": true,
		"Instructor": false, vocabulary + "membership#Instructor": false, vocabulary + "institution/person#Learner": false,
		vocabulary + "membership/Learner#NonCreditLearner": false,
	} {
		if got := (Query{Role: role}).Selects(learner()); got != want {
			t.Errorf("%q: %v", role, got)
		}
	}
	assistant := []launch.Role{launch.ParseRole("Mentor"), launch.ParseRole("TeachingAssistant")}
	for role, want := range map[string]bool{"Instructor": true, "TeachingAssistant": true, "Mentor": true, "Learner": false} {
		if got := (Query{Role: role}).Selects(assistant); got != want {
			t.Errorf("%q: %v", role, got)
		}
	}
	if (Query{Role: "Learner"}).Selects(nil) {
		t.Error("nobody's roles are selected")
	}
}

// Whatever is asked for, the next page asks for the same.
func FuzzParseQuery(f *testing.F) {
	f.Add("rlid=2&role=Learner&limit=1", "u-1")
	f.Add("role=http%3A%2F%2Fpurl.imsglobal.org%2Fvocab%2Flis%2Fv2%2Fmembership%23Instructor&after=%3E%22", "Ü <>")
	f.Add("limit=0x1", "")
	f.Fuzz(func(t *testing.T, query, last string) {
		params, err := lti.ParseForm(query)
		if err != nil {
			return
		}
		q, err := ParseQuery(params)
		if err != nil {
			if code := lti.CodeOf(err); code != lti.ParameterInvalid && code != lti.ParameterRepeated || q != (Query{}) {
				t.Fatalf("%+v, %v", q, err)
			}
			return
		}
		if q.Limit < 1 || q.Limit > MaxLimit || !q.Selects(learner()) && q.Role == "" {
			t.Fatalf("%+v", q)
		}
		next, err := url.Parse(service.Link(http.Header{"Link": {q.Next(memberships, last)}}, "next"))
		if err != nil || !strings.HasPrefix(next.String(), memberships+"?") {
			t.Fatalf("%s, %v", next, err)
		}
		if params, err = lti.ParseForm(next.RawQuery); err != nil || params.Get("after") != last {
			t.Fatalf("%s: %v", next, err)
		}
		params[len(params)-1].Value = q.After
		if back, err := ParseQuery(params); err != nil || back != q {
			t.Fatalf("%+v became %+v, %v", q, back, err)
		}
	})
}

// A page is JSON, whatever people are called.
func FuzzEncode(f *testing.F) {
	f.Add("u-1", "Ann \"Lee\" </script>", "ann@acme.example", "${x}")
	f.Add("\xff", "\x00", "\u2028", "")
	f.Fuzz(func(t *testing.T, id, name, email, custom string) {
		text, err := container(Member{UserID: id, Roles: learner(), Name: name, Email: email, Message: &Message{map[string]string{"c": custom}}}).Encode()
		if err != nil {
			if id != "" && utf8.ValidString(id) {
				t.Fatal(err)
			}
			return
		}
		var back struct {
			Members []struct {
				UserID string `json:"user_id"`
				Name   *string
				Email  *string
			}
		}
		if err := json.Unmarshal(text, &back); err != nil || len(back.Members) != 1 {
			t.Fatalf("%s: %v", text, err)
		}
		m := back.Members[0]
		if m.UserID != id || (m.Name == nil) != (name == "") || (m.Email == nil) != (email == "") {
			t.Fatalf("%s", text)
		}
	})
}
