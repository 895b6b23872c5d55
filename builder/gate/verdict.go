package gate

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"ampoule/audit"
	"ampoule/audit/survey"
	"ampoule/faults"
	"ampoule/store"
)

// RefusedError says that the gate refused a tree.
type RefusedError struct {
	Verdict audit.Verdict
	// Kept is the target in which the tree was kept for a shell; empty if it was not.
	Kept string
}

func (e *RefusedError) Error() string {
	refused := 0
	for _, f := range e.Verdict.Findings {
		if f.Severity != audit.Warn && f.Excepted == "" {
			refused++
		}
	}
	what := "the tree"
	if e.Verdict.Group != "" {
		what = "the tree with dependency group " + e.Verdict.Group
	}
	if refused == 1 {
		return "the gate refused " + what + ": 1 finding"
	}
	return fmt.Sprintf("the gate refused %s: %d findings", what, refused)
}

// Kind says whose fault it is.
func (*RefusedError) Kind() faults.Kind { return faults.Refused }

// Hint says what an exception takes, and how to look at the tree.
func (e *RefusedError) Hint() string {
	hint := "each finding says what to do; an exception is written into the recipe under gate.except, with its reason and its end"
	if e.Verdict.Group != "" {
		hint = "each finding says what to do; an exception for a group's files is written into the recipe under gate.groups, with its reason and its end"
	}
	if e.Kept != "" {
		hint += "; `ampoule shell` opens the refused tree in target " + e.Kept
	}
	return hint
}

// Wheel is a wheel in the store.
type Wheel struct{ File, SHA256 string }

// CheckWheels judges wheels before they are installed: whether each is what its RECORD
// says. The verdict is nil unless one is refused.
func CheckWheels(st *store.Store, wheels []Wheel, now time.Time) (*audit.Verdict, error) {
	var findings []audit.Finding
	for _, w := range wheels {
		found, err := checkWheel(st, w)
		if err != nil {
			return nil, err
		}
		findings = append(findings, found...)
	}
	if !slices.ContainsFunc(findings, func(f audit.Finding) bool { return f.Severity != audit.Warn }) {
		return nil, nil
	}
	return &audit.Verdict{Schema: audit.VerdictSchema, Time: now.UTC().Format(time.RFC3339), Findings: findings}, nil
}

func checkWheel(st *store.Store, w Wheel) ([]audit.Finding, error) {
	f, err := st.Open(w.SHA256)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	return audit.CheckWheel(f, info.Size(), w.File), nil
}

// Keep writes a verdict about a recipe's tree into a directory, whatever it says: as JSON,
// SARIF and JUnit. Version is that of whoever judged.
func Keep(dir, recipe, version string, v audit.Verdict) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("keeping the verdict: %w", err)
	}
	report := survey.OfVerdict(recipe, v)
	for name, write := range map[string]func(io.Writer) error{
		"verdict.json":      func(w io.Writer) error { _, err := w.Write(append(data, '\n')); return err },
		"verdict.sarif":     func(w io.Writer) error { return report.WriteSARIF(w, version) },
		"verdict.junit.xml": report.WriteJUnit,
	} {
		var b bytes.Buffer
		err := write(&b)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), b.Bytes(), 0o600)
		}
		if err != nil {
			return fmt.Errorf("keeping the verdict: %w", err)
		}
	}
	return nil
}
