package ci

import (
	"context"
	"fmt"
	"os"
	"strings"
)

// github is GitHub Actions: its workflow commands, and the files that a step writes to
// (GitHub Docs, "Workflow commands for GitHub Actions").
type github struct {
	// output and summary are the step's files; empty where the runner gave none.
	output, summary string
}

func newGitHub(p Place) System {
	return github{output: p.get("GITHUB_OUTPUT"), summary: p.get("GITHUB_STEP_SUMMARY")}
}

// Name implements [System].
func (github) Name() string { return "github" }

// Begin implements [System].
func (github) Begin(p Part) string { return "::group::" + githubData.Replace(oneLine(p.Title)) }

// End implements [System].
func (github) End(Part) string { return "::endgroup::" }

// Annotate implements [System].
func (github) Annotate(a Annotation) string {
	var at []string
	if a.File != "" {
		at = append(at, "file="+githubProperty.Replace(a.File))
		if a.Line > 0 {
			at = append(at, fmt.Sprintf("line=%d", a.Line))
		}
		if a.Column > 0 {
			at = append(at, fmt.Sprintf("col=%d", a.Column))
		}
	}
	command := string(a.Level)
	if len(at) > 0 {
		command += " " + strings.Join(at, ",")
	}
	return "::" + command + "::" + githubData.Replace(a.Message)
}

// The runner reads these back (actions/runner, ActionCommand).
var (
	githubData     = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
	githubProperty = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C")
)

// Stop implements [System].
func (github) Stop(token string) string { return "::stop-commands::" + token }

// Resume implements [System].
func (github) Resume(token string) string { return "::" + token + "::" }

// Disarm implements [System]: stopped commands are not obeyed, but pages that show a log still take "##[error]"
// and the like for what they stand for.
func (github) Disarm() []Replacement {
	return []Replacement{{From: "##[", To: "# #["}}
}

// Export implements [System].
func (g github) Export(_ context.Context, values []Value) error {
	var b strings.Builder
	for _, v := range values {
		fmt.Fprintf(&b, "%s=%s\n", v.Name, oneLine(v.Text))
	}
	return appendTo(g.output, b.String())
}

// Summarize implements [System].
func (g github) Summarize(_ context.Context, markdown string) error {
	return appendTo(g.summary, markdown)
}

// appendTo appends to a file that others write to as well. Without a name it does nothing.
func appendTo(file, text string) error {
	if file == "" {
		return nil
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		return fmt.Errorf("writing for later steps: %w", err)
	}
	_, err = f.WriteString(text)
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return fmt.Errorf("writing for later steps: %w", err)
	}
	return nil
}
