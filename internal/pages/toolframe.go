package pages

import (
	_ "embed"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// StorageTarget is the lti_storage_target of launches into a ToolFrame: the tool
// finds the platform's storage in the parent of its own window (1EdTech LTI OIDC
// Login with LTI Client Side postMessages 0.1).
const StorageTarget = "_parent"

// ToolFrame is the page of ours around an activity that was made elsewhere: a
// heading, a link back and a frame that fills the rest. The frame is filled by Src or
// by Form.
//
// Its script answers the tool in the frame: platform storage (1EdTech LTI postMessage
// Storage 0.1) and the messages lti.frameResize and lti.close. What the tool stores
// lives as long as the page does, from the login to the launch.
type ToolFrame struct {
	// Title is that of the activity.
	Title string
	// ReturnURL is where the link back leads, and the page when the tool asks to be
	// closed: an absolute http or https URL, or a path. Empty for nowhere.
	ReturnURL string
	// Reload is the path that takes the place of the page's own in the address bar,
	// so that a reload begins a new launch and no one-time value comes again.
	Reload string
	// ToolURLs are addresses of the tool, absolute http or https URLs. Their origins
	// are those that the page answers, and that may use camera, microphone and the
	// like. At least one.
	ToolURLs []string
	// FrameSources is the CSP source list of what may be in the frame: the tool, the
	// places that it sends the learner to, and ourselves. Empty means "https:".
	FrameSources string
	// Src is an absolute http or https URL, or a path. Empty when there is a Form.
	Src string
	// Form is posted into the frame; nil when there is a Src. Without JavaScript its
	// button does it.
	Form *AutoSubmit
}

//go:embed templates/toolframe.js
var toolScript string

var toolScriptHash = cspHash(toolScript)

// toolPermissions are what e-learning and supervised exams need of a browser that a
// frame of another origin does not get by itself (Permissions Policy, the allow
// attribute).
var toolPermissions = []string{
	"autoplay", "camera", "clipboard-write", "display-capture", "encrypted-media", "fullscreen", "microphone",
}

// toolSettings are what the script reads.
type toolSettings struct {
	Origins []string `json:"origins"`
	Reload  string   `json:"reload"`
	Back    string   `json:"back,omitempty"`
}

// Write answers with the page.
func (f ToolFrame) Write(w http.ResponseWriter, v View) error {
	p := policy{
		frame: v.frame(nobody), script: toolScriptHash, content: sourceList(f.FrameSources, "https:"), formAction: nobody,
	}
	switch {
	case (f.Src == "") == (f.Form == nil):
		return errors.New("a frame is filled by an address or by a form")
	case f.Form != nil:
		if err := checkAddress("form action", f.Form.Action); err != nil {
			return err
		}
		p.formAction = "" // the tool redirects
	default:
		if err := checkAddress("address in the frame", f.Src); err != nil {
			return err
		}
	}
	if f.ReturnURL != "" {
		if err := checkAddress("return URL", f.ReturnURL); err != nil {
			return err
		}
	}
	if u, err := url.Parse(f.Reload); err != nil || !isPath(u, f.Reload) {
		return errors.New("the address for reloads is not a path")
	}
	origins, err := originsOf(f.ToolURLs)
	if err != nil {
		return err
	}
	allow := make([]string, len(toolPermissions))
	for i, permission := range toolPermissions {
		allow[i] = permission + " " + strings.Join(origins, " ")
	}
	lang, c := v.catalog()
	return render(w, "tool", http.StatusOK, p, map[string]any{
		"Lang": lang, "UI": c.UI, "Title": c.heading(f.Title), "Page": f, "Allow": strings.Join(allow, "; "),
		"Settings": toolSettings{Origins: origins, Reload: f.Reload, Back: f.ReturnURL},
		"Script":   template.JS(toolScript), //nolint:gosec // embedded at build time
	})
}

// originsOf returns the origins of absolute URLs as browsers write them (HTML,
// "ASCII serialization of an origin"), each once.
func originsOf(addresses []string) ([]string, error) {
	var origins []string
	for _, address := range addresses {
		u, err := url.Parse(address)
		if err != nil || !isAbsolute(u) {
			return nil, errors.New("an address of the tool is not an absolute http or https URL")
		}
		host, port := strings.ToLower(u.Hostname()), u.Port()
		// What is not in this set could end the allow attribute's list, or needs
		// Punycode to be compared with what the browser says.
		if strings.Trim(host, "abcdefghijklmnopqrstuvwxyz0123456789.-_:") != "" {
			return nil, errors.New("an address of the tool has a host that is not plain ASCII")
		}
		if strings.Contains(host, ":") {
			host = "[" + host + "]"
		}
		origin := u.Scheme + "://" + host
		if port != "" && port != map[string]string{"https": "443", "http": "80"}[u.Scheme] {
			origin = fmt.Sprintf("%s:%s", origin, port)
		}
		if !slices.Contains(origins, origin) {
			origins = append(origins, origin)
		}
	}
	if len(origins) == 0 {
		return nil, errors.New("a frame without an address of the tool")
	}
	return origins, nil
}

// LeaveFrame is the page, in the frame of a ToolFrame, that takes the place of that
// whole page by an address.
type LeaveFrame struct {
	// Address is an absolute http or https URL, or a path.
	Address string
}

const leaveScript = `top.location.replace(document.getElementById("back").href)`

var leaveScriptHash = cspHash(leaveScript)

// Write answers with the page.
func (l LeaveFrame) Write(w http.ResponseWriter, v View) error {
	if err := checkAddress("return URL", l.Address); err != nil {
		return err
	}
	lang, c := v.catalog()
	p := policy{frame: v.frame(framedByDefault), script: leaveScriptHash, formAction: nobody}
	return render(w, "leave", http.StatusOK, p, map[string]any{
		"Lang": lang, "UI": c.UI, "Title": c.UI["submitTitle"], "Page": l, "Script": template.JS(leaveScript), //nolint:gosec // a constant
	})
}
