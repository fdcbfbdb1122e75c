package pages

import (
	"errors"
	"html/template"
	"net/http"
)

// Register is the page on which the administrator of another learning system decides
// to have the academy registered there (LTI Dynamic Registration 1.0 section 3.3).
type Register struct {
	// Academy and Platform are titles: of the academy, and of the other system as the
	// academy knows it.
	Academy, Platform string
	// Host is that of the other system, as its administrator knows it.
	Host string
	// Action is where Fields are posted: a path.
	Action string
	Fields []Field
}

// Write answers with the page.
func (p Register) Write(w http.ResponseWriter, v View) error {
	if err := checkAddress("form action", p.Action); err != nil {
		return err
	}
	lang, c := v.catalog()
	return render(w, "register", http.StatusOK, policy{frame: v.frame(framedByDefault)}, map[string]any{
		"Lang": lang, "UI": c.UI, "Title": c.UI["registerTitle"], "Page": p,
	})
}

// Registered is the page after a registration, which is not approved yet. Its button has
// the other system close the window or frame (LTI Dynamic Registration 1.0 section 3.7);
// without JavaScript there is none.
type Registered struct {
	// ID is what the academy approves.
	ID string
	// Academy and Host are as in Register.
	Academy, Host string
}

// closeScript tells whoever opened the window, or has the frame. The message says
// nothing that anybody may not know.
const closeScript = `(function(){var p=document.getElementById("close");p.hidden=false;p.firstChild.addEventListener("click",function(){` +
	`(window.opener||window.parent).postMessage({subject:"org.imsglobal.lti.close"},"*")})})()`

var closeScriptHash = cspHash(closeScript)

// Write answers with the page.
func (p Registered) Write(w http.ResponseWriter, v View) error {
	if p.ID == "" {
		return errors.New("page without the ID of a registration")
	}
	lang, c := v.catalog()
	return render(w, "registered", http.StatusOK, policy{frame: v.frame(framedByDefault), script: closeScriptHash, formAction: nobody}, map[string]any{
		"Lang": lang, "UI": c.UI, "Title": c.UI["registeredTitle"], "Page": p, "Script": template.JS(closeScript), //nolint:gosec // a constant
	})
}
