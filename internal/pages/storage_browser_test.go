//go:build browser

package pages

import (
	"fmt"
	"net/http"
	"testing"
)

// TestPlatformStorageInABrowser lets hack/peers/tool-storage-check.mjs judge the pages that use another system's storage.
func TestPlatformStorageInABrowser(t *testing.T) {
	judge(t, "tool-storage-check.mjs", func(w http.ResponseWriter, r *http.Request, host, port string) error {
		at := func(host string) string { return "http://" + host + ".localhost:" + port }
		v := View{FrameAncestors: "https: http://*.localhost:*"}
		storage := PlatformStorage{Origin: at("lms"), Target: r.URL.Query().Get("target"), Key: "lti_state_1"}
		switch host + r.URL.Path {
		case "lti.localhost/leave":
			return LeaveAtPlatform{
				PlatformStorage: storage, Value: "s3cret", Next: at("lms") + "/authorize?x=1",
				Otherwise: AutoSubmit{Action: "/otherwise", Fields: []Field{{"login_hint", "4"}, {"lti_message_hint", `"quoted" & <tagged>`}}},
			}.Write(w, v)
		case "lti.localhost/ask":
			return AskPlatform{
				PlatformStorage: storage, Field: "stored_secret",
				Form: AutoSubmit{Action: "/judge", Fields: []Field{{"state", "s1.x"}, {"id_token", "t"}}},
			}.Write(w, v)
		}
		serveOther(w, r, host)
		fmt.Fprintf(w, `<pre id="from">%s %s</pre>`, r.Header.Get("Sec-Fetch-Site"), r.Header.Get("Origin"))
		return nil
	})
}
