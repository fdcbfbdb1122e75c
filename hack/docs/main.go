// SPDX-License-Identifier: Apache-2.0

// Command docs writes the pages of docs/ that are made from tables in the code. "make generate" runs it.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/lti-operator/lti-operator/internal/details"
	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/pages"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: docs DIRECTORY")
		os.Exit(2)
	}
	reasons, err := reasonsPage()
	for name, content := range map[string]string{"reasons.md": reasons, "details.md": details.Markdown()} {
		if err == nil {
			err = os.WriteFile(filepath.Join(os.Args[1], name), []byte(content), 0o644)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "docs:", err)
		os.Exit(1)
	}
}

const reasonsIntro = `<!-- Made from internal/lti/reason.go and internal/pages/texts/en.json by "make generate". -->

# Reasons for refusing a launch

Every refusal has one of these codes. It stands on the page that the person sees, next to a reference number; in the log
line of the launch handler (` + "`\"msg\":\"refused\",\"reason\":…,\"reference\":…`" + `); in the metric
` + "`lti_launches_total{result=\"refused\",reason=…}`" + `; and in the JSON answers to the academy's applications. Codes do not
change their meaning. Only ` + "`Overloaded`" + ` has neither reference number nor a log line of its own: see [overload.md](overload.md).

"Who" is who can do something about it: the **learner** by opening the activity again, the administrator of the **other
system**, or the administrator of the **academy**.

| code | HTTP | who | what it means | what to do |
|---|---|---|---|---|
`

func reasonsPage() (string, error) {
	who := map[lti.Audience]string{lti.Learner: "learner", lti.OtherParty: "other system", lti.Academy: "academy"}
	var b strings.Builder
	b.WriteString(reasonsIntro)
	for _, code := range lti.Codes() {
		r := code.Reason()
		text, ok := pages.Explain("en", string(code))
		if !ok {
			return "", fmt.Errorf("there is no page about %s", code)
		}
		advice := text.Administrator
		if advice == "" {
			advice = "Open the activity again."
		}
		fmt.Fprintf(&b, "| `%s` | %d | %s | %s | %s |\n", code, r.Status, who[r.Audience], cell(r.Summary), cell(advice))
	}
	return b.String(), nil
}

// cell makes a text fit into one cell of a table.
func cell(text string) string { return strings.ReplaceAll(text, "|", "\\|") }
