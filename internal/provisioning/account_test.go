// SPDX-License-Identifier: Apache-2.0

package provisioning

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/lti-operator/lti-operator/internal/egress"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var _ Doer = (*egress.Client)(nil)

// noor launches for the first time.
func noor() Person {
	return Person{Realm: "moodle", LTIUserID: "4", GivenName: "Noor", FamilyName: "de Vries", Email: "Noor@example.org"}
}

func vouched(p Person) Person {
	p.EmailVouched = true
	return p
}

func TestCreate(t *testing.T) {
	d := newDirectory(t)
	c := d.client(t)
	first, err := c.Ensure(t.Context(), noor(), "")
	if err != nil || !first.Created || first.Linked || !first.Active || first.ID == "" {
		t.Fatal(first, err)
	}
	rows := d.Users.All()
	if len(rows) != 1 {
		t.Fatal(rows)
	}
	want := map[string]any{
		"externalId": "moodle:4", "userName": "Noor@example.org", "displayName": "Noor de Vries", "active": true,
		"name":   map[string]any{"formatted": "Noor de Vries", "givenName": "Noor", "familyName": "de Vries"},
		"emails": []any{map[string]any{"value": "Noor@example.org", "type": "work", "primary": true}},
	}
	if diff := cmp.Diff(want, rows[0].Attrs); diff != "" {
		t.Error(diff)
	}

	// From now on the person needs neither a name nor an address, and no launch
	// changes the account.
	changed := Person{Realm: "moodle", LTIUserID: "4", GivenName: "N", FamilyName: "V", Email: "other@example.org", EmailVouched: true}
	for name, known := range map[string]string{"remembered": first.ID, "forgotten": ""} {
		for _, p := range []Person{{Realm: "moodle", LTIUserID: "4"}, changed} {
			d.Log()
			again, err := c.Ensure(t.Context(), p, known)
			if err != nil || again != (Account{ID: first.ID, Active: true}) {
				t.Error(name, again, err)
			}
			if lines := d.Log(); len(lines) != 1 {
				t.Error(name, lines)
			}
		}
	}
	if diff := cmp.Diff(rows, d.Users.All()); diff != "" {
		t.Error(diff)
	}
}

func TestExternalID(t *testing.T) {
	for want, p := range map[string]Person{
		"moodle:4":                     {Realm: "moodle", LTIUserID: "4"},
		"moodle:a:b":                   {Realm: "moodle", LTIUserID: "a:b"},
		"lti12%3Amoodle.example:4":     {Realm: "lti12:moodle.example", LTIUserID: "4"},
		"lti12-key%3A100%25 sure:a%3A": {Realm: "lti12-key:100% sure", LTIUserID: "a%3A"},
	} {
		if got := p.ExternalID(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// People of different realms never meet.
func TestExternalIDsOfTwoPeopleDiffer(t *testing.T) {
	text := rapid.StringMatching(`[ab:%3A]{1,8}`)
	rapid.Check(t, func(t *rapid.T) {
		p := Person{Realm: text.Draw(t, "realm"), LTIUserID: text.Draw(t, "user")}
		q := Person{Realm: text.Draw(t, "other realm"), LTIUserID: text.Draw(t, "other user")}
		if p != q && p.ExternalID() == q.ExternalID() {
			t.Fatal(p.ExternalID())
		}
	})
}

func TestRemembered(t *testing.T) {
	d := newDirectory(t)
	c := d.client(t)
	created, err := c.Ensure(t.Context(), noor(), "")
	if err != nil {
		t.Fatal(err)
	}

	d.Users.Set(created.ID, map[string]any{"active": false})
	for _, known := range []string{created.ID, ""} {
		if a, err := c.Ensure(t.Context(), noor(), known); !errors.Is(err, ErrSuspended) || a != (Account{ID: created.ID}) {
			t.Error(a, err)
		}
	}

	d.Users.Remove(created.ID)
	d.Log()
	if a, err := c.Ensure(t.Context(), noor(), created.ID); !errors.Is(err, ErrGone) || a != (Account{}) {
		t.Error(a, err)
	}
	if lines := d.Log(); len(lines) != 1 || len(d.Users.All()) != 0 {
		t.Error("a deleted account came back", lines)
	}
	// Once somebody has decided so:
	again, err := c.Ensure(t.Context(), noor(), "")
	if err != nil || !again.Created || again.ID == created.ID {
		t.Error(again, err)
	}
}

func TestMissingUserData(t *testing.T) {
	d := newDirectory(t)
	c := d.client(t)
	for name, tt := range map[string]struct {
		change func(*Person)
		want   []string
	}{
		"nothing is known":            {func(p *Person) { *p = Person{Realm: "moodle", LTIUserID: "4"} }, []string{"email", "given_name", "family_name"}},
		"blanks are nothing":          {func(p *Person) { p.GivenName, p.FamilyName = " ", "\t" }, []string{"given_name", "family_name"}},
		"the address is not one":      {func(p *Person) { p.Email = "noor" }, []string{"email"}},
		"the address has a line feed": {func(p *Person) { p.Email = "noor@example.org\nx" }, []string{"email"}},
		"the address is not text":     {func(p *Person) { p.Email = "noor\xff@example.org" }, []string{"email"}},
	} {
		p := noor()
		tt.change(&p)
		_, err := c.Ensure(t.Context(), p, "")
		missing, ok := errors.AsType[*MissingUserDataError](err)
		if !ok || !errors.Is(err, ErrMissingUserData) || !slices.Equal(missing.Missing, tt.want) || !strings.HasSuffix(err.Error(), tt.want[0]+" missing") && len(tt.want) == 1 {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, p := range []Person{{}, {Realm: "moodle"}, {LTIUserID: "4"}, {Realm: "moodle", LTIUserID: "\xff"}, {Realm: "moodle", LTIUserID: "a\x00"}} {
		if _, err := c.Ensure(t.Context(), p, "x"); !errors.Is(err, ErrInvalidPerson) {
			t.Error(err)
		}
	}
	if len(d.Users.All()) != 0 {
		t.Error("an account was created")
	}
}

const learners = `userType eq "Learner"`

func TestLinkByEmail(t *testing.T) {
	learner := func(more map[string]any) map[string]any {
		attrs := account("noor@EXAMPLE.org", map[string]any{"userType": "Learner", "externalId": "hr-17"})
		for k, v := range more {
			attrs[k] = v
		}
		return attrs
	}
	for name, tt := range map[string]struct {
		accounts   []map[string]any
		unvouched  bool
		linkFilter string
		unnamed    bool
		want       error // nil: the first account is linked
	}{
		"the one account with the address":            {accounts: []map[string]any{learner(nil)}},
		"without a name, which it has":                {accounts: []map[string]any{learner(nil)}, unnamed: true},
		"the platform may not speak for it":           {accounts: []map[string]any{learner(nil)}, unvouched: true, want: ErrEmailInUse},
		"the link filter lets it through":             {accounts: []map[string]any{learner(nil)}, linkFilter: learners},
		"the link filter does not":                    {accounts: []map[string]any{learner(map[string]any{"userType": "Staff"})}, linkFilter: learners, want: ErrEmailInUse},
		"the link filter has an or":                   {accounts: []map[string]any{learner(map[string]any{"userType": "Staff"})}, linkFilter: learners + ` or userType eq "Guest"`, want: ErrEmailInUse},
		"an account without the attribute":            {accounts: []map[string]any{account("noor@example.org", nil)}, linkFilter: learners, want: ErrEmailInUse},
		"suspended":                                   {accounts: []map[string]any{learner(map[string]any{"active": false})}, want: ErrEmailInUse},
		"suspended, with link filter":                 {accounts: []map[string]any{learner(map[string]any{"active": false})}, linkFilter: learners, want: ErrEmailInUse},
		"two accounts":                                {accounts: []map[string]any{learner(nil), learner(map[string]any{"userName": "b", "externalId": "hr-18"})}, want: ErrEmailInUse},
		"two accounts, the filter lets one":           {accounts: []map[string]any{learner(nil), learner(map[string]any{"userName": "b", "userType": "Staff"})}, linkFilter: learners},
		"two accounts, one of them active":            {accounts: []map[string]any{learner(nil), learner(map[string]any{"userName": "b", "active": false})}},
		"a further address":                           {accounts: []map[string]any{learner(map[string]any{"emails": []any{map[string]any{"value": "x@example.org"}, map[string]any{"value": "noor@example.org"}}})}},
		"the address is only the user name":           {accounts: []map[string]any{{"userName": "noor@example.org", "active": true}}},
		"the address is the user name of another":     {accounts: []map[string]any{account("x@example.org", map[string]any{"userName": "noor@example.org"})}, want: ErrEmailInUse},
		"the account of the same person elsewhere":    {accounts: []map[string]any{learner(map[string]any{"externalId": "canvas:9"})}},
		"with the bare user id, linking is forbidden": {accounts: []map[string]any{learner(map[string]any{"externalId": "4"})}, unvouched: true, want: ErrEmailInUse},
	} {
		for _, kind := range []string{"full", "naive", "no emails", "no not"} {
			t.Run(name+"/"+kind, func(t *testing.T) {
				d := newDirectory(t, func(d *directory) {
					d.Naive = kind == "naive"
					switch kind {
					case "no emails":
						d.Front = refusing(http.StatusBadRequest, "emails")
					case "no not":
						d.Front = refusing(http.StatusNotImplemented, "not (")
					}
				})
				var ids []string
				for _, attrs := range tt.accounts {
					if attrs["userName"] == "login-noor%40EXAMPLE.org" && (kind == "naive" || kind == "no emails") {
						// Without emails in filters it is found by its name only.
						attrs["userName"] = "noor@example.org"
					}
					ids = append(ids, d.Users.Put(attrs))
				}
				before := d.Users.All()
				p := noor()
				p.EmailVouched = !tt.unvouched
				if tt.unnamed {
					p.GivenName, p.FamilyName = "", ""
				}
				c := d.client(t, func(o *Options) { o.LinkFilter = tt.linkFilter })
				a, err := c.Ensure(t.Context(), p, "")
				switch {
				case kind != "full" && len(tt.accounts) > 1 && kind != "no not":
					// The other one cannot be found.
				case kind != "full" && kind != "no not" && (name == "an account without the attribute" || name == "two accounts"):
				case !errors.Is(err, tt.want), tt.want == nil && a != Account{ID: ids[0], Active: true, Linked: true}:
					t.Error(a, err)
				case err != nil && strings.Contains(err.Error(), "example"):
					t.Error(err)
				}
				if err == nil && !a.Linked {
					return // a second account was right
				}
				if diff := cmp.Diff(before, d.Users.All()); diff != "" {
					t.Error("an account was changed or created", diff)
				}
			})
		}
	}
}

// The bare user id is not looked up, whatever system put it there.
func TestForeignExternalID(t *testing.T) {
	d := newDirectory(t)
	other := d.Users.Put(account("hr@example.org", map[string]any{"externalId": "4"}))
	d.Users.Put(account("x@example.org", map[string]any{"externalId": "MOODLE:4"}))
	a, err := d.client(t).Ensure(t.Context(), vouched(noor()), "")
	if err != nil || !a.Created || a.ID == other {
		t.Error(a, err)
	}
	for _, line := range d.Log() {
		if strings.Contains(line, `"4"`) {
			t.Error(line)
		}
	}
}

func TestOneExternalIDTwice(t *testing.T) {
	d := newDirectory(t)
	for _, name := range []string{"a", "b"} {
		d.Users.Put(map[string]any{"userName": name, "externalId": "moodle:4", "active": name == "a"})
	}
	if _, err := d.client(t).Ensure(t.Context(), vouched(noor()), ""); !errors.Is(err, ErrAmbiguous) {
		t.Error(err)
	}
}

// A server that ignores filters gives a list of everybody.
func TestFiltersIgnored(t *testing.T) {
	everything := withFilter(func(string) string { return "" })
	firstPart := withFilter(func(f string) string {
		f, _, _ = strings.Cut(f, " and ")
		return f
	})
	for name, front := range map[string]func(http.Handler) http.Handler{"all": everything, "all after and": firstPart} {
		t.Run(name, func(t *testing.T) {
			d := newDirectory(t, func(d *directory) { d.Front, d.MaxResults = front, 7 })
			for i := range 40 {
				d.Users.Put(account(fmt.Sprintf("user%d@example.org", i), map[string]any{"externalId": fmt.Sprintf("moodle:%d", 100+i), "userType": "Staff"}))
				d.Groups.Put(map[string]any{"displayName": fmt.Sprintf("group %d", i)})
			}
			c := d.client(t, func(o *Options) { o.LinkFilter, o.CreateGroups = learners, true })

			a, err := c.Ensure(t.Context(), vouched(noor()), "")
			if err != nil || !a.Created {
				t.Fatal(a, err)
			}
			if again, err := c.Ensure(t.Context(), vouched(noor()), ""); err != nil || again.ID != a.ID || again.Created {
				t.Error(again, err)
			}
			p := noor()
			p.LTIUserID = "139"
			if a, err := c.Ensure(t.Context(), p, ""); err != nil || a.ID != d.Users.All()[39].ID {
				t.Error("the account on the last page", a, err)
			}
			staff := vouched(noor())
			staff.LTIUserID, staff.Email = "5", "user7@example.org"
			if a, err := c.Ensure(t.Context(), staff, ""); !errors.Is(err, ErrEmailInUse) {
				t.Error("the link filter was ignored", a, err)
			}

			if err := c.Enrol(t.Context(), a.ID, "group 39"); err != nil {
				t.Error(err)
			}
			if err := c.Enrol(t.Context(), a.ID, "new"); err != nil {
				t.Error(err)
			}
			if n := len(d.Groups.All()); n != 41 {
				t.Error(n)
			}
			for i, g := range d.Groups.All() {
				if members, _ := g.Attrs["members"].([]any); len(members) != map[bool]int{true: 1}[i >= 39] {
					t.Error(g)
				}
			}
		})
	}

	d := newDirectory(t, func(d *directory) { d.Front = everything })
	for i := range maxScanned + 1 {
		d.Users.Put(account(fmt.Sprintf("user%d@example.org", i), nil))
	}
	if _, err := d.client(t).Ensure(t.Context(), noor(), ""); !errors.Is(err, ErrProtocol) || !strings.Contains(err.Error(), "ignored") {
		t.Error(err)
	}
	if n := len(d.Users.All()); n != maxScanned+1 {
		t.Error("an account was created without knowing whether there is one")
	}
}

func TestLinkFilterRefused(t *testing.T) {
	d := newDirectory(t, func(d *directory) { d.Front = refusing(http.StatusBadRequest, "userType") })
	d.Users.Put(account("noor@example.org", nil))
	_, err := d.client(t, func(o *Options) { o.LinkFilter = learners }).Ensure(t.Context(), vouched(noor()), "")
	if !errors.Is(err, ErrProtocol) || !strings.Contains(err.Error(), "link filter") {
		t.Error(err)
	}
}

// 200 first launches of one person, at two replicas.
func TestConcurrentFirstLaunches(t *testing.T) {
	for name, change := range map[string]func(*directory){
		"unique user names and external ids": func(*directory) {},
		"unique user names only":             func(d *directory) { d.Users.Unique = []string{"userName"} },
		"no filters by external id":          func(d *directory) { d.Front = refusing(http.StatusBadRequest, "externalId") },
	} {
		t.Run(name, func(t *testing.T) {
			// Both replicas have found nobody when the first creates.
			var posts atomic.Int32
			both := make(chan struct{})
			d := newDirectory(t, change, func(d *directory) {
				front := d.Front
				d.Front = func(next http.Handler) http.Handler {
					if front != nil {
						next = front(next)
					}
					return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						if r.Method == http.MethodPost {
							if posts.Add(1) == 2 {
								close(both)
							}
							<-both
						}
						next.ServeHTTP(w, r)
					})
				}
			})
			clients := []*Client{d.client(t), d.client(t)}
			accounts := make([]Account, 200)
			errs := make([]error, 200)
			start := make(chan struct{})
			var wg sync.WaitGroup
			for i := range accounts {
				wg.Go(func() {
					<-start
					p := noor()
					if i%3 == 0 {
						p.Email = "noor@example.org" // another flight
					}
					accounts[i], errs[i] = clients[i%2].Ensure(t.Context(), p, "")
				})
			}
			close(start)
			wg.Wait()
			created := 0
			for i, a := range accounts {
				if errs[i] != nil || a.ID != accounts[0].ID || !a.Active || a.Linked {
					t.Fatal(a, errs[i])
				}
				if a.Created {
					created++
				}
			}
			if n := len(d.Users.All()); n != 1 || created != 1 || d.Users.Conflicts == 0 {
				t.Errorf("%d accounts, %d created, %d conflicts", n, created, d.Users.Conflicts)
			}
		})
	}
}

// One person of two systems, at the same time.
func TestConflictWithAnotherPerson(t *testing.T) {
	var d *directory
	var once sync.Once
	d = newDirectory(t, func(dir *directory) {
		dir.Front = func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodPost {
					once.Do(func() {
						d.Users.Put(account("noor@example.org", map[string]any{"userName": "noor@example.org", "externalId": "canvas:9"}))
					})
				}
				next.ServeHTTP(w, r)
			})
		}
	})
	c := d.client(t)
	if _, err := c.Ensure(t.Context(), noor(), ""); !errors.Is(err, ErrEmailInUse) {
		t.Error(err)
	}
	if a, err := c.Ensure(t.Context(), vouched(noor()), ""); err != nil || !a.Linked {
		t.Error(a, err)
	}
	if n := len(d.Users.All()); n != 1 {
		t.Error(n)
	}
}

// The account was created, but nobody heard of it.
func TestLostAnswer(t *testing.T) {
	for name, spoil := range map[string]func(w http.ResponseWriter){
		"the connection breaks": func(http.ResponseWriter) { panic(http.ErrAbortHandler) },
		"a proxy gives up":      func(w http.ResponseWriter) { w.WriteHeader(http.StatusGatewayTimeout) },
		"half an answer": func(w http.ResponseWriter) {
			w.Header().Set("Content-Length", "1000")
			w.WriteHeader(http.StatusCreated)
			w.Write([]byte(`{"id":`))
			panic(http.ErrAbortHandler)
		},
		"no body": func(w http.ResponseWriter) { w.WriteHeader(http.StatusCreated) },
		"no id": func(w http.ResponseWriter) {
			w.WriteHeader(http.StatusCreated)
			w.Write([]byte(`{}`))
		},
	} {
		t.Run(name, func(t *testing.T) {
			var posts atomic.Int32
			d := newDirectory(t, func(d *directory) {
				d.Front = func(next http.Handler) http.Handler {
					return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						if r.Method == http.MethodPost && r.URL.Path == "/scim/Users" && posts.Add(1) == 1 {
							next.ServeHTTP(discard{}, r)
							spoil(w)
							return
						}
						next.ServeHTTP(w, r)
					})
				}
			})
			d.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
			c := d.client(t)
			a, err := c.Ensure(t.Context(), noor(), "")
			if strings.HasPrefix(name, "no ") {
				if err != nil || !a.Created {
					t.Fatal(a, err)
				}
			} else if !errors.Is(err, ErrUnavailable) {
				t.Fatal(a, err)
			}
			if a, err := c.Ensure(t.Context(), noor(), ""); err != nil || a.Created || a.ID == "" {
				t.Error(a, err)
			}
			if n := len(d.Users.All()); n != 1 || posts.Load() != 1 {
				t.Error(n, posts.Load())
			}
		})
	}
}

type discard struct{}

func (discard) Header() http.Header         { return http.Header{} }
func (discard) Write(b []byte) (int, error) { return len(b), nil }
func (discard) WriteHeader(int)             {}

// Who gives up does not undo what was begun.
func TestCallerGivesUp(t *testing.T) {
	arrived, proceed := make(chan struct{}), make(chan struct{})
	d := newDirectory(t, func(d *directory) {
		d.Front = func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodPost {
					close(arrived)
					<-proceed
				}
				next.ServeHTTP(w, r)
			})
		}
	})
	c := d.client(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		_, err := c.Ensure(ctx, noor(), "")
		done <- err
	}()
	<-arrived
	cancel()
	if err := <-done; !errors.Is(err, ErrUnavailable) || !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	// Somebody else who waits for the same.
	go func() {
		_, err := c.Ensure(t.Context(), noor(), "")
		done <- err
	}()
	close(proceed)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if n := len(d.Users.All()); n != 1 {
		t.Error(n)
	}
}

func TestPersonIsNotLogged(t *testing.T) {
	var b bytes.Buffer
	p := noor()
	slog.New(slog.NewJSONHandler(&b, nil)).Info(fmt.Sprintf("%v %+v %s", p, p, p), "person", p)
	for _, s := range []string{"Noor", "Vries", "example", `"4"`} {
		if strings.Contains(b.String(), s) {
			t.Error(b.String())
		}
	}
	if !strings.Contains(b.String(), "moodle") {
		t.Error(b.String())
	}
}

func TestNew(t *testing.T) {
	ok := Options{URL: "https://academy.example/scim/v2/", Token: func() string { return canary }, Doer: egress.New(egress.Options{})}
	c, err := New(ok)
	if err != nil || c.base != "https://academy.example/scim/v2" || c.timeout != DefaultTimeout || c.maxBody != DefaultMaxBody || c.now().Before(time.Unix(1, 0)) {
		t.Fatal(c, err)
	}
	for name, change := range map[string]func(*Options){
		"no token":         func(o *Options) { o.Token = nil },
		"no doer":          func(o *Options) { o.Doer = nil },
		"no URL":           func(o *Options) { o.URL = "" },
		"no host":          func(o *Options) { o.URL = "https:///scim" },
		"credentials":      func(o *Options) { o.URL = "https://u:" + canary + "@academy.example" },
		"a query":          func(o *Options) { o.URL = "https://academy.example?x=" + canary },
		"a fragment":       func(o *Options) { o.URL = "https://academy.example#x" },
		"another scheme":   func(o *Options) { o.URL = "ftp://academy.example" },
		"no URL at all":    func(o *Options) { o.URL = "https://academy.example/%zz" + canary },
		"filter gets out":  func(o *Options) { o.LinkFilter = `userType eq "a") or (userType pr` },
		"filter is open":   func(o *Options) { o.LinkFilter = `(userType pr` },
		"filter is quoted": func(o *Options) { o.LinkFilter = `userType eq "a\"` },
	} {
		o := ok
		change(&o)
		if _, err := New(o); err == nil || strings.Contains(err.Error(), canary) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
