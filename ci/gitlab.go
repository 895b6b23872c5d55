package ci

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// gitlab is GitLab CI: sections of a log, and a file of variables, which a job hands on as
// artifacts:reports:dotenv (GitLab Docs, "Job logs", "artifacts:reports"). It has neither
// annotations nor summaries of a job's own.
type gitlab struct {
	shell
	file string
}

func newGitLab(p Place) System {
	return gitlab{file: exportFile(p.get("CI_PROJECT_DIR"))}
}

// Name implements [System].
func (gitlab) Name() string { return "gitlab" }

// Begin implements [System].
func (gitlab) Begin(p Part) string {
	return fmt.Sprintf("\x1b[0Ksection_start:%d:%s[collapsed=false]\r\x1b[0K%s", p.Unix, p.ID, oneLine(p.Title))
}

// End implements [System].
func (gitlab) End(p Part) string {
	return fmt.Sprintf("\x1b[0Ksection_end:%d:%s\r\x1b[0K", p.Unix, p.ID)
}

// Disarm implements [System]: GitLab finds sections anywhere in a line.
func (gitlab) Disarm() []Replacement {
	return []Replacement{{From: "section_start:", To: `section_start\:`}, {From: "section_end:", To: `section_end\:`}}
}

// Export implements [System].
func (g gitlab) Export(_ context.Context, values []Value) error {
	return writeVariables(g.file, values)
}

// writeVariables writes the file of variables anew: a step that runs twice hands on what it found
// last. Without a name it does nothing.
func writeVariables(file string, values []Value) error {
	if file == "" {
		return nil
	}
	if err := os.WriteFile(file, Variables(values), 0o644); err != nil {
		return fmt.Errorf("writing for later steps: %w", err)
	}
	return nil
}

// exportFile is the file of variables in a checkout; empty without one.
func exportFile(checkout string) string {
	if checkout == "" {
		return ""
	}
	return filepath.Join(checkout, "ampoule.env")
}
