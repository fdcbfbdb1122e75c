// SPDX-License-Identifier: Apache-2.0

package tool

import (
	"cmp"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"golang.org/x/text/unicode/norm"

	"github.com/lti-operator/lti-operator/internal/handler/web"
	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/lti/decimal"
	"github.com/lti-operator/lti-operator/internal/lti/deeplink"
	"github.com/lti-operator/lti-operator/internal/lti/launch"
	"github.com/lti-operator/lti-operator/internal/pages"
	"github.com/lti-operator/lti-operator/internal/routing"
	"github.com/lti-operator/lti-operator/internal/store"
)

const (
	// choiceLifetime is how long a teacher may take to choose.
	choiceLifetime = time.Hour
	// responseLifetime is for the way of the response from the browser to the platform.
	responseLifetime = 5 * time.Minute
	// choiceScope is that of choices that were answered.
	choiceScope = "choice"
	// choicesPerPage is the number of activities on one page of the list.
	choicesPerPage = 20
	// maxNameLength is the length of the longest name of an activity; what is longer is none.
	maxNameLength = 253
	// doDecline goes back to a platform that accepts nothing of what there is.
	doDecline = "decline"
)

// maximumScore is that of the column that is made with a link: grades are percentages.
var maximumScore = decimal.FromInt(100)

// choice is what is known of a request to choose activities. It is sealed in the form, for in the frame of another system
// there are no cookies.
type choice struct {
	// ID is spent when the choice is answered. It is made from the nonce of the request, so that each is answered once.
	ID                                     string
	Platform, Issuer, ClientID, Deployment string
	ReturnURL                              string
	Data                                   *string
	Targets                                []string
	Multiple, LineItems                    bool
	Locale                                 string
	ExpiresAt                              time.Time
}

// newChoice is the choice that a verified request asks for.
func newChoice(m *launch.Message, platform *routing.Platform, now time.Time) *choice {
	s := m.DeepLinking
	return &choice{
		ID: m.Nonce.Key(), Platform: platform.Name, Issuer: m.Issuer, ClientID: m.ClientID, Deployment: m.DeploymentID,
		ReturnURL: s.ReturnURL, Data: s.Data, Targets: s.AcceptTargets, Multiple: s.AcceptMultiple,
		// A platform that says nothing about line items ignores them at worst.
		LineItems: s.AcceptLineItem == nil || *s.AcceptLineItem,
		Locale:    m.Presentation.Locale, ExpiresAt: now.Add(choiceLifetime),
	}
}

// offer answers a verified LtiDeepLinkingRequest with the list of activities. Its nonce is spent last: reloading the page
// asks for nothing twice.
func (t *Tool) offer(rw http.ResponseWriter, r *http.Request, v *visit, m *launch.Message) error {
	if m.TargetLinkURI != "" {
		if _, _, ok := v.targetOf(m.TargetLinkURI, v.platform); !ok {
			return lti.Refuse(lti.TargetLinkUnknown, "target_link_uri is not an address of this academy")
		}
	}
	if !m.IsAuthor() {
		return lti.Refuse(lti.RoleNotAllowed, "none of the roles is that of an author")
	}
	c := newChoice(m, v.platform, t.Now())
	token, err := v.sealer.SealPicker(c)
	if err != nil {
		return err
	}
	if !m.DeepLinking.Accepts(deeplink.TypeResourceLink) {
		v.about.Back = &pages.AutoSubmit{
			Action: routing.PlatformPickURL("", v.platform.Name),
			Fields: []pages.Field{{Name: pages.PickerToken, Value: token}, {Name: pages.PickerDo, Value: doDecline}},
		}
		return lti.Refuse(lti.ContentTypeNotAccepted, "accept_types does not contain %s", deeplink.TypeResourceLink)
	}
	if err := t.Store.SpendNonce(r.Context(), web.NonceOf(m.Nonce)); err != nil {
		return storeRefusal(err)
	}
	t.Web.Metrics.Launch(&v.about, "")
	http.SetCookie(rw, loginCookie(v.loginCookie, "", -1))
	return v.picker(c, &wish{page: 1}, token).Write(rw, web.View(r, &v.about))
}

// wish is what the form of the list says.
type wish struct {
	do, query, kind string
	page            int
	// chosen are names of activities, each once.
	chosen []string
}

// readWish reads the form of the list. Whatever it says, it is only a wish.
func readWish(params lti.Params) (*wish, error) {
	w := &wish{}
	for name, to := range map[string]*string{pages.PickerDo: &w.do, pages.PickerQuery: &w.query, pages.PickerType: &w.kind} {
		value, _, err := params.Only(name)
		if err != nil {
			return nil, err
		}
		*to = value
	}
	if runes := []rune(lti.Readable(w.query)); len(runes) > pages.PickerQueryLength {
		w.query = string(runes[:pages.PickerQueryLength])
	} else {
		w.query = string(runes)
	}
	page, asked, err := params.Only(pages.PickerPage)
	if err != nil {
		return nil, err
	}
	if !asked {
		if page, _, err = params.Only(pages.PickerShown); err != nil {
			return nil, err
		}
	}
	w.page, _ = strconv.Atoi(page)
	for _, p := range params {
		if p.Name == pages.PickerActivity && !slices.Contains(w.chosen, p.Value) {
			w.chosen = append(w.chosen, p.Value)
		}
	}
	return w, nil
}

// pick is where the form of the list is posted to: it shows more of the list, or answers the platform.
func (t *Tool) pick(rw http.ResponseWriter, r *http.Request) {
	t.serve(rw, r, launch.Version13, func(v *visit) error {
		registration, err := v.findPlatform(r.PathValue("platform"))
		if err != nil {
			return err
		}
		params, err := web.ReadForm(rw, r)
		if err != nil {
			return err
		}
		c, token, err := t.openChoice(v, registration, params)
		if err != nil {
			return err
		}
		w, err := readWish(params)
		if err != nil {
			return err
		}
		if len(w.chosen) > 1 && !c.Multiple {
			return lti.Refuse(lti.ParameterRepeated, "parameter %s occurs more than once", pages.PickerActivity)
		}
		var problem pages.Problem
		var gone []string
		switch w.do {
		case pages.PickerCancel:
			return t.answer(rw, r, v, registration, c, &deeplink.Response{})
		case doDecline:
			return t.answer(rw, r, v, registration, c, declined(web.View(r, &v.about).Lang))
		case pages.PickerAdd:
			var items []deeplink.Item
			items, gone = v.itemsOf(c, w.chosen)
			switch {
			case len(gone) > 0:
				problem = pages.ProblemGone
			case len(items) == 0:
				problem = pages.ProblemNothing
			case len(items) > deeplink.MaxItems:
				problem = pages.ProblemMany
			default:
				return t.answer(rw, r, v, registration, c, &deeplink.Response{Items: items})
			}
		}
		page := v.picker(c, w, token)
		page.Problem, page.Gone = problem, gone
		return page.Write(rw, web.View(r, &v.about))
	})
}

// openChoice opens what the form brings back and checks that it still holds: for this platform, as it is registered now.
func (t *Tool) openChoice(v *visit, registration *registration, params lti.Params) (c *choice, token string, err error) {
	token, _, err = params.Only(pages.PickerToken)
	if err != nil {
		return nil, "", err
	}
	if token == "" {
		return nil, "", lti.Refuse(lti.ParameterMissing, "missing: %s", pages.PickerToken)
	}
	c = &choice{}
	if err := v.sealer.OpenPicker(token, c); err != nil {
		return nil, "", lti.Refuse(lti.StateInvalid, "the form was not made by us, or our keys have changed since").Because(err)
	}
	switch {
	case c.Platform != v.platform.Name:
		return nil, "", lti.Refuse(lti.StateInvalid, "the form belongs to another registration")
	case !t.Now().Before(c.ExpiresAt):
		return nil, "", lti.Refuse(lti.LaunchExpired, "the form is older than %s", choiceLifetime)
	case c.Issuer != registration.Issuer || c.ClientID != registration.ClientID:
		return nil, "", lti.Refuse(lti.LaunchExpired, "issuer or client ID of the registration has changed since")
	}
	v.about.Locale = c.Locale
	return c, token, stillDeployed(v.platform, c.Deployment)
}

// declined is the response to a platform that accepts nothing of what there is.
func declined(lang string) *deeplink.Response {
	why, _ := pages.Explain(lang, string(lti.ContentTypeNotAccepted))
	return &deeplink.Response{ErrorMessage: why.Happened, ErrorLog: why.Administrator}
}

// answer signs a response and lets the browser post it to where the request came from. The choice is spent last.
func (t *Tool) answer(rw http.ResponseWriter, r *http.Request, v *visit, registration *registration, c *choice, response *deeplink.Response) error {
	ids, err := t.tokens(1)
	if err != nil {
		return err
	}
	response.Issuer, response.Audience, response.DeploymentID = registration.ClientID, []string{registration.Issuer}, c.Deployment
	response.Nonce, response.Data = ids[0], c.Data
	response.IssuedAt = t.Now()
	response.ExpiresAt = response.IssuedAt.Add(responseLifetime)
	claims, err := response.Claims()
	if err != nil {
		return err
	}
	key, err := registration.signingKey()
	if err != nil {
		return lti.Refuse(lti.NotRegistered, "the signing key cannot be used").Because(err)
	}
	token, err := key.Sign(claims)
	if err != nil {
		return err
	}
	spent := store.Nonce{Scope: choiceScope, Value: c.ID, ExpiresAt: c.ExpiresAt.Add(web.NonceMargin)}
	if err := t.Store.SpendNonce(r.Context(), spent); errors.Is(err, store.ErrReplayed) {
		return lti.Refuse(lti.LaunchAlreadyUsed, "the choice was answered before").Because(err)
	} else if err != nil {
		return storeRefusal(err)
	}
	t.Web.Log.LogAttrs(r.Context(), slog.LevelInfo, "answered a choice",
		slog.String("platform", c.Platform), slog.Int("activities", len(response.Items)))
	return pages.AutoSubmit{
		Action: c.ReturnURL, Fields: []pages.Field{{Name: deeplink.ParameterResponse, Value: token}},
	}.Write(rw, web.View(r, &v.about))
}

// itemsOf are the content items of chosen activities. gone are the names of those that the platform may not open, or not
// any more.
func (v *visit) itemsOf(c *choice, chosen []string) (items []deeplink.Item, gone []string) {
	for _, name := range chosen {
		activity := v.Activity(name)
		if activity == nil || v.mayOpen(activity, v.platform) != nil {
			gone = append(gone, name[:min(len(name), maxNameLength)])
			continue
		}
		items = append(items, v.itemOf(c, activity))
	}
	return items, gone
}

// itemOf is the link to an activity. The custom parameter leads to the activity also on a platform that keeps the
// parameters and opens the general target link.
func (v *visit) itemOf(c *choice, a *routing.Activity) deeplink.Item {
	item := deeplink.Item{
		Type: deeplink.TypeResourceLink, URL: routing.ActivityResourceURL(v.base, a.Name), Title: a.Title, Text: a.Description,
		Custom: map[string]string{customActivity: a.Name},
	}
	if c.LineItems {
		item.LineItem = &deeplink.LineItem{Label: a.Title, ScoreMaximum: maximumScore, ResourceID: a.Name}
	}
	accepted := &deeplink.Settings{AcceptTargets: c.Targets}
	embedded := a.Share.Presentation == routing.PresentationEmbedded
	switch {
	case embedded && accepted.AcceptsTarget(deeplink.TargetIFrame):
		item.IFrame = &deeplink.IFrame{}
	case !embedded && accepted.AcceptsTarget(deeplink.TargetWindow):
		// Canvas opens a new window for this name only.
		item.Window = &deeplink.Window{TargetName: "_blank"}
	}
	return item
}

// offered is an activity in the list.
type offered struct {
	*routing.Activity
	// title and text are what is sorted by, and what is searched.
	title, text string
}

// sharedActivities are those that other systems may open, in the order of the list.
func sharedActivities(index *routing.Index) []offered {
	var all []offered
	index.Activities(func(a *routing.Activity) {
		if a.Share != nil {
			all = append(all, offered{a, folded(a.Title), folded(a.Title + "\n" + a.Description)})
		}
	})
	slices.SortFunc(all, func(a, b offered) int {
		return cmp.Or(strings.Compare(a.title, b.title), strings.Compare(a.Name, b.Name))
	})
	return all
}

// folded is a text without case and diacritics.
func folded(s string) string {
	return strings.ToLower(strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Mn, r) {
			return -1
		}
		return r
	}, norm.NFKD.String(s)))
}

// picker is the page of the list that is wished for, with what is chosen.
func (v *visit) picker(c *choice, w *wish, token string) pages.Picker {
	page := pages.Picker{
		Integration: v.platform.Title, Action: routing.PlatformPickURL("", v.platform.Name), Token: token,
		Multiple: c.Multiple, Query: w.query, Type: w.kind, Types: activityTypes(),
	}
	if !slices.Contains(page.Types, w.kind) {
		page.Type = ""
	}
	words := strings.Fields(folded(w.query))
	left := slices.Clone(w.chosen)
	isChosen := func(a *routing.Activity) bool {
		i := slices.Index(left, a.Name)
		if i >= 0 {
			left = slices.Delete(left, i, i+1)
		}
		return i >= 0
	}
	var found []*routing.Activity
	for _, o := range v.shared() {
		fits := page.Type == "" || page.Type == o.Type
		for _, word := range words {
			fits = fits && strings.Contains(o.text, word)
		}
		if fits && v.mayOpen(o.Activity, v.platform) == nil {
			found = append(found, o.Activity)
		}
	}
	page.Found = len(found)
	page.Pages = max(1, (len(found)+choicesPerPage-1)/choicesPerPage)
	page.Page = min(max(w.page, 1), page.Pages)
	from := (page.Page - 1) * choicesPerPage
	for _, a := range found[from:min(from+choicesPerPage, len(found))] {
		page.Items = append(page.Items, pickerItem(a, isChosen(a)))
	}
	for _, name := range left {
		if a := v.Activity(name); a != nil && v.mayOpen(a, v.platform) == nil {
			page.Chosen = append(page.Chosen, pickerItem(a, true))
		}
	}
	return page
}

func pickerItem(a *routing.Activity, chosen bool) pages.PickerItem {
	return pages.PickerItem{
		Name: a.Name, Title: a.Title, Description: a.Description, Type: a.Type, DurationMinutes: int(a.DurationMinutes), Chosen: chosen,
	}
}

// activityTypes are the types of LTIActivity.spec.type that can be shared.
func activityTypes() []string { return []string{"ELearning", "Microlearning", "LearningPlaylist"} }
