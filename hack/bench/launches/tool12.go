// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/lti-operator/lti-operator/hack/bench/measure"
	platforms "github.com/lti-operator/lti-operator/hack/launches"
	"github.com/lti-operator/lti-operator/hack/table"
	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/lti/oauth1"
	"github.com/lti-operator/lti-operator/internal/routing"
)

// imsLTI is hack/peers/bench-ims.mjs.
const imsLTI = "ims-lti"

const (
	// consumerKey is that of the activity.
	consumerKey = "height-4Yq1"
	// formRealm is the realm of those who come with it.
	formRealm = platformName + "/lti12"
)

// tool12 measures LTI 1.2 launches of the academy as tool: the launch handler on PostgreSQL and on SQLite, and ims-lti. All
// get the same forms. A launch is one request, and ends where the browser is sent to the activity.
func tool12(ctx context.Context, b *bench) (outcome, error) {
	credentials := platforms.Credentials{ConsumerKey: consumerKey, SharedSecret: rand.Text()}
	t, err := b.table()
	if err != nil {
		return nil, err
	}
	t.Credentials = []routing.Credential{{
		ConsumerKey: consumerKey, Secrets: []string{credentials.SharedSecret}, Activity: activityName, Realm: formRealm,
	}}
	if err := table.Write(b.file("config"), t); err != nil {
		return nil, err
	}
	var subjects []*subject
	for _, name := range []string{ours, oursSQLite, imsLTI} {
		s := &subject{name: name, launches: b.flags.Launches}
		s.steps = []step{{
			name: stepLaunch, before: func(ctx context.Context, launches []*launch) error { return b.signForms(ctx, credentials, launches) },
			request: func(l *launch) []byte {
				return request(http.MethodPost, routing.ActivityLaunchURL("", activityName), browserFields+"Origin: "+issuer+"\r\n", nil, l.form)
			},
			check: (*launch).hasCode,
		}}
		if name == imsLTI {
			err = b.startIMS(ctx, s, credentials)
		} else {
			err = b.startHandler(ctx, s, name == oursSQLite)
		}
		if err != nil {
			return nil, err
		}
		subjects = append(subjects, s)
	}
	return b.compare(ctx, "LTI 1.2 launches of the academy as tool", subjects, ratiosTool12)
}

func (b *bench) startIMS(ctx context.Context, s *subject, credentials platforms.Credentials) error {
	free, err := measure.FreeAddresses(1)
	if err != nil {
		return err
	}
	s.address = free[0]
	c, err := b.peerCommand(s, "bench-ims.mjs", map[string]string{
		"consumerKey": credentials.ConsumerKey, "sharedSecret": credentials.SharedSecret,
		"path": routing.ActivityLaunchURL("", activityName), "targetURL": targetURL,
	})
	if err != nil {
		return err
	}
	return b.startSubject(ctx, s, &c, func(conn *connection) error {
		_, err := conn.exchange(request(http.MethodGet, "/", "", nil, ""))
		return err
	})
}

// signForms signs the forms of launches.
func (b *bench) signForms(ctx context.Context, credentials platforms.Credentials, launches []*launch) error {
	return b.onAllCores(ctx, launches, func(l *launch) error {
		params, err := l.params()
		if err != nil {
			return err
		}
		signed, err := oauth1.SignForm(routing.ActivityLaunchURL(academyURL, activityName), params, credentials, time.Now(), rand.Text())
		if err != nil {
			return err
		}
		// In the order of the names; no server looks at that.
		form := url.Values{}
		for _, p := range signed {
			form.Add(p.Name, p.Value)
		}
		l.form = form.Encode()
		return nil
	})
}

// params are what Moodle 4.5 sends over LTI 1.2, as recorded from one: with a sourced ID that is new in each launch.
func (l *launch) params() (lti.Params, error) {
	p, course := l.who, strconv.Itoa(l.who.course+2)
	random := make([]byte, 32+4)
	if _, err := rand.Read(random); err != nil {
		return nil, err
	}
	launchID := int(random[32])<<16 | int(random[33])<<8 | int(random[34])
	sourcedID, err := json.Marshal(map[string]any{
		"data": map[string]any{"instanceid": course, "userid": p.id, "typeid": "1", "launchid": launchID}, "hash": hex.EncodeToString(random[:32]),
	})
	if err != nil {
		return nil, err
	}
	services := moodleLTI + "services.php/"
	memberships := services + "CourseSection/" + course + "/bindings/1/memberships"
	const ags = "https://purl.imsglobal.org/spec/lti-ags/scope/"
	var params lti.Params
	for _, field := range [][2]string{
		{"user_id", p.id},
		{"lis_person_sourcedid", "SIS-" + p.id},
		{"roles", "Learner"},
		{"context_id", course},
		{"context_label", "SAFE10" + course},
		{"context_title", "Safety at work — group " + course},
		{"lti_message_type", "basic-lti-launch-request"},
		{"resource_link_title", resourceTitle},
		{"resource_link_description", "Opens the academy"},
		{"resource_link_id", course},
		{"context_type", "CourseSection"},
		{"lis_course_section_sourcedid", "COURSE-" + course},
		{"lis_result_sourcedid", string(sourcedID)},
		{"lis_outcome_service_url", moodleLTI + "service.php"},
		{"lis_person_name_given", p.given},
		{"lis_person_name_family", p.family},
		{"lis_person_name_full", p.name()},
		{"ext_user_username", "user" + p.id},
		{"lis_person_contact_email_primary", "user" + p.id + "@university.example"},
		{"launch_presentation_locale", "en"},
		{"ext_lms", "moodle-2"},
		{"tool_consumer_info_product_family_code", "moodle"},
		{"tool_consumer_info_version", "2024100706"},
		{"lti_version", "LTI-1p0"},
		{"tool_consumer_instance_guid", "f000f16c043cfee57f0ecbb4d4c23716"},
		{"tool_consumer_instance_name", "university"},
		{"tool_consumer_instance_description", "University"},
		{"custom_chapter", "3"},
		{"custom_static", "one & two"},
		{"custom_uname", "user" + p.id},
		{"launch_presentation_document_target", "window"},
		{"launch_presentation_return_url", moodleLTI + "return.php?course=" + course + "&launch_container=4&instanceid=1&sesskey=gU6Pn2wEWK"},
		{"custom_gradebookservices_scope", ags + "lineitem.readonly," + ags + "result.readonly," + ags + "score," + ags + "lineitem"},
		{"custom_lineitems_url", services + course + "/lineitems?type_id=1"},
		{"custom_lineitem_url", services + course + "/lineitems/3/lineitem?type_id=1"},
		{"custom_context_memberships_url", memberships},
		{"custom_context_memberships_v2_url", memberships},
		{"custom_context_memberships_versions", "1.0,2.0"},
		{"custom_system_setting_url", services + "tool/1/custom"},
		{"custom_context_setting_url", services + "CourseSection/" + course + "/bindings/tool/1/custom"},
		{"custom_link_setting_url", services + "links/1/custom"},
	} {
		params = append(params, lti.Param{Name: field[0], Value: field[1]})
	}
	return params, nil
}

func ratiosTool12(c *Comparison) *measure.Report {
	report := &measure.Report{}
	theirs := c.subject(imsLTI)
	for _, us := range []struct{ what, name string }{{"ours", ours}, {"ours on SQLite", oursSQLite}} {
		ratio := c.subject(us.name).perRound(theirs, stepLaunch)
		report.Add(us.what+" / ims-lti: server CPU, launch", ratio.median(), 1, "×")
		report.Note("%s / ims-lti: server CPU by round %s", us.what, ratio)
	}
	report.Note("ours spends each nonce durably, and knows or makes the person's account and grade; ims-lti checks the form, " +
		"has its nonces in memory, and knows nobody")
	return report
}
