package pages

import (
	_ "embed"
	"errors"
	"html/template"
	"net/http"
	"strconv"
	"strings"
)

// Names of the fields that a Picker posts.
const (
	// PickerToken is the token; PickerActivity is the name of a chosen activity, once
	// for each.
	PickerToken    = "picker"
	PickerActivity = "activity"
	// PickerQuery and PickerType narrow the list.
	PickerQuery = "q"
	PickerType  = "type"
	// PickerPage is the page of the list to show, PickerShown the one that was shown.
	PickerPage  = "page"
	PickerShown = "shown"
	// PickerDo is one of PickerAdd and PickerCancel.
	PickerDo     = "do"
	PickerAdd    = "add"
	PickerCancel = "cancel"
)

// PickerQueryLength is the longest text to search for, in characters.
const PickerQueryLength = 200

// Problem is why what was chosen in a Picker is not added.
type Problem string

// Problems of a Picker.
const (
	// ProblemNothing: nothing is chosen.
	ProblemNothing Problem = "nothing"
	// ProblemGone: some of the activities, which Picker.Gone has, are not available
	// any more.
	ProblemGone Problem = "gone"
	// ProblemMany: more are chosen than one answer may have.
	ProblemMany Problem = "many"
)

// Picker is the page where a teacher of another learning system chooses activities.
// It is one form and needs neither JavaScript nor cookies.
type Picker struct {
	// Integration is the title of the learning system.
	Integration string
	// Action is where the form is posted: an absolute http or https URL, or a path.
	Action string
	// Token is posted along.
	Token string
	// Multiple allows more than one activity.
	Multiple bool
	// Query and Type are what the list is narrowed to; empty for all. Types are those
	// there are.
	Query, Type string
	Types       []string
	// Found is the number of activities in the whole list; Page counts from 1 to Pages.
	Found, Page, Pages int
	// Items are those of this page, and Chosen those that are chosen and not among
	// them.
	Items, Chosen []PickerItem
	// Problem is empty for none; Gone are names of activities.
	Problem Problem
	Gone    []string
}

// PickerItem is an activity to choose.
type PickerItem struct {
	// Name is posted.
	Name               string
	Title, Description string
	// Type is that of the activity; DurationMinutes is left out when it is 0.
	Type            string
	DurationMinutes int
	Chosen          bool
}

//go:embed templates/picker.css
var pickerStyle string

var pickerStyleHash = cspHash(style + pickerStyle)

// pickerRow is a PickerItem in words.
type pickerRow struct {
	PickerItem
	// Input is checkbox or radio; ID is unique in the page.
	Input, ID string
	Facts     string
}

// Write answers with the page.
func (p Picker) Write(w http.ResponseWriter, v View) error {
	if err := checkAddress("form action", p.Action); err != nil {
		return err
	}
	if p.Token == "" {
		return errors.New("picker without a token")
	}
	lang, c := v.catalog()
	heading := c.UI["pickOne"]
	if p.Multiple {
		heading = c.UI["pickMany"]
	}
	data := map[string]any{
		"Lang": lang, "UI": c.UI, "Page": p, "Heading": heading, "Lead": c.fill("pickLead", p.Integration),
		"Found": c.found(p), "Types": c.types(p), "Items": c.rows(p, "a", p.Items), "Chosen": c.rows(p, "c", p.Chosen),
		"Previous": p.Page - 1, "Next": p.Page + 1, "Fields": pickerFields(),
	}
	title := heading + " – " + c.found(p)
	switch p.Problem {
	case "":
		data["Problem"] = ""
	case ProblemGone:
		data["Problem"] = c.UI["pickGone"]
	case ProblemMany:
		data["Problem"] = c.UI["pickTooMany"]
	default:
		data["Problem"] = c.UI["pickNothing"]
	}
	if p.Problem != "" {
		title = c.UI["pickProblem"] + ": " + title
	}
	data["Title"] = title
	data["Style"] = template.CSS(style + pickerStyle) //nolint:gosec // embedded at build time
	return render(w, "picker", http.StatusOK, policy{frame: v.frame(framedByDefault), style: pickerStyleHash}, data)
}

func pickerFields() map[string]string {
	return map[string]string{
		"token": PickerToken, "activity": PickerActivity, "query": PickerQuery, "type": PickerType, "page": PickerPage,
		"shown": PickerShown, "do": PickerDo, "add": PickerAdd, "cancel": PickerCancel, "length": strconv.Itoa(PickerQueryLength),
	}
}

// fill puts values in place of {} in a text.
func (c catalog) fill(key string, values ...string) string {
	text := c.UI[key]
	for _, v := range values {
		text = strings.Replace(text, "{}", v, 1)
	}
	return text
}

// found words how long the list is, and which part of it is shown.
func (c catalog) found(p Picker) string {
	text := c.UI["pickFoundNone"]
	switch {
	case p.Found == 1:
		text = c.UI["pickFoundOne"]
	case p.Found > 1:
		text = c.fill("pickFound", strconv.Itoa(p.Found))
	}
	if p.Pages > 1 {
		text += ", " + c.fill("pickPage", strconv.Itoa(p.Page), strconv.Itoa(p.Pages))
	}
	return text
}

// pickerType is a choice of the filter.
type pickerType struct {
	Value, Label string
	Selected     bool
}

func (c catalog) types(p Picker) []pickerType {
	out := []pickerType{{"", c.UI["pickAllTypes"], p.Type == ""}}
	for _, t := range p.Types {
		out = append(out, pickerType{t, c.activityType(t), p.Type == t})
	}
	return out
}

// activityType words the type of an activity.
func (c catalog) activityType(t string) string {
	if label, ok := c.UI["type"+t]; ok {
		return label
	}
	return t
}

func (c catalog) rows(p Picker, prefix string, items []PickerItem) []pickerRow {
	out := make([]pickerRow, 0, len(items))
	for i, item := range items {
		item.Title = c.heading(item.Title)
		row := pickerRow{PickerItem: item, Input: "radio", ID: prefix + strconv.Itoa(i+1), Facts: c.activityType(item.Type)}
		if p.Multiple {
			row.Input = "checkbox"
		}
		if d := c.duration(item.DurationMinutes); d != "" {
			row.Facts += ", " + d
		}
		out = append(out, row)
	}
	return out
}
