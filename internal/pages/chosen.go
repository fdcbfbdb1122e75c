package pages

import (
	"encoding/base64"
	"fmt"
	"html/template"
	"net/http"
)

// ChooseInWindow is the page with the link that begins a choice in a new, top-level
// window.
type ChooseInWindow struct {
	// Tool is the title of the system to choose at.
	Tool string
	// Address is an absolute http or https URL, or a path.
	Address string
}

// Write answers with the page.
func (c ChooseInWindow) Write(w http.ResponseWriter, v View) error {
	if err := checkAddress("address", c.Address); err != nil {
		return err
	}
	lang, texts := v.catalog()
	return render(w, "choose", http.StatusOK, policy{frame: v.frame(framedByDefault), formAction: nobody}, map[string]any{
		"Lang": lang, "UI": texts.UI, "Title": texts.heading(c.Tool), "Page": c,
	})
}

// Chosen is the page with what an author chose at a tool, and the text of the
// resources that it can become. It works without JavaScript; with it there is a
// button that copies the text.
type Chosen struct {
	// Tool is the title of the system that it was chosen at.
	Tool string
	// Message and Problem are what that system says.
	Message, Problem string
	Items            []ChosenItem
	// YAML is empty when none of the items can become a resource.
	YAML string
	// FileName is for the download.
	FileName string
	// ChooseAgain is where a choice begins: a path.
	ChooseAgain string
}

// ChosenItem is one item. Unusable, which is empty for one that can be used, and
// Notes are names of texts.
type ChosenItem struct {
	Name, Title, Text, Address string
	Unusable                   string
	Notes                      []string
}

// copyScript shows the button, which is of no use without it. Where there is no
// clipboard the text is selected at least.
const copyScript = `{
const button = document.getElementById("copy"), text = document.getElementById("yaml"), status = document.getElementById("copied");
button.hidden = false;
button.addEventListener("click", async () => {
  text.select();
  try { await navigator.clipboard.writeText(text.value); } catch { if (!document.execCommand("copy")) return; }
  status.textContent = button.dataset.done;
});
}`

var copyScriptHash = cspHash(copyScript)

// Write answers with the page.
func (c Chosen) Write(w http.ResponseWriter, v View) error {
	if err := checkAddress("address to choose again", c.ChooseAgain); err != nil {
		return err
	}
	lang, texts := v.catalog()
	for _, item := range c.Items {
		for _, name := range append([]string{item.Unusable}, item.Notes...) {
			if _, ok := texts.UI[name]; name != "" && !ok {
				return fmt.Errorf("no text for the note %q", name)
			}
		}
	}
	p := policy{frame: v.frame(nobody), formAction: nobody}
	if c.YAML != "" {
		p.script = copyScriptHash
	}
	return render(w, "chosen", http.StatusOK, p, map[string]any{
		"Lang": lang, "UI": texts.UI, "Title": texts.UI["chosenTitle"], "Page": c,
		// A data URL, because nothing is kept that an address of ours could answer with.
		"Download": template.URL("data:application/yaml;base64," + base64.StdEncoding.EncodeToString([]byte(c.YAML))), //nolint:gosec // base64
		"Script":   template.JS(copyScript),                                                                           //nolint:gosec // a constant
	})
}
