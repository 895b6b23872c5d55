package cli

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/jsonschema-go/jsonschema"

	"ampoule/audit"
	"ampoule/audit/preflight"
	"ampoule/audit/survey"
)

// schemas are the forms of JSON that others read, by the name of their schema in docs.
var schemas = []struct {
	name, id string
	make     func() (*jsonschema.Schema, error)
}{
	{"verdict", audit.VerdictSchema, func() (*jsonschema.Schema, error) { return jsonschema.For[audit.Verdict](nil) }},
	{"audit", survey.Schema, func() (*jsonschema.Schema, error) { return jsonschema.For[survey.Report](nil) }},
	{"preflight", preflight.Schema, func() (*jsonschema.Schema, error) { return jsonschema.For[preflight.Report](nil) }},
}

// schemaOf makes the schema of a form: its field "schema" names it.
func schemaOf(t *testing.T, name string) *jsonschema.Schema {
	t.Helper()
	for _, s := range schemas {
		if s.name != name {
			continue
		}
		made, err := s.make()
		if err != nil {
			t.Fatal(err)
		}
		made.Schema = "https://json-schema.org/draft/2020-12/schema"
		made.Title = s.id
		id := any(s.id)
		made.Properties["schema"].Const = &id
		return made
	}
	t.Fatalf("no schema %s", name)
	return nil
}

func TestSchemasAreCurrent(t *testing.T) {
	t.Parallel()
	for _, s := range schemas {
		got, err := json.MarshalIndent(schemaOf(t, s.name), "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, '\n')
		file := filepath.Join("..", "..", "..", "docs", s.name+".schema.json")
		if *update {
			if err := os.WriteFile(file, got, 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Errorf("%s is not current; `go test ./cmd/ampoule/cli -update` writes it (-is +should be):\n%s", file, diff)
		}
	}
}

// validate wants JSON to be of a form.
func validate(t *testing.T, name string, data []byte) {
	t.Helper()
	resolved, err := schemaOf(t, name).Resolve(nil)
	if err != nil {
		t.Fatal(err)
	}
	var value any
	if err := json.Unmarshal(data, &value); err != nil {
		t.Fatal(err)
	}
	if err := resolved.Validate(value); err != nil {
		t.Errorf("what is written is not of the schema %s: %v\n%s", name, err, data)
	}
}

func TestReportsAreOfTheirSchemas(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "broken-1.0-py3-none-any.whl"), []byte("no zip"), 0o644); err != nil {
		t.Fatal(err)
	}
	report, err := survey.Look(t.Context(), survey.Target{Files: survey.Machine(dir), Path: "/"})
	if err != nil {
		t.Fatal(err)
	}
	var told bytes.Buffer
	if err := report.WriteJSON(&told); err != nil {
		t.Fatal(err)
	}
	validate(t, "audit", told.Bytes())

	verdict, err := json.Marshal(audit.Verdict{
		Schema: audit.VerdictSchema, Targets: []audit.VerdictTarget{{Name: "vm"}}, Checks: []audit.CheckResult{{Name: "record"}},
		Findings: []audit.Finding{{Check: "record", Severity: audit.Warn}}, Exceptions: []audit.ExceptionResult{{Exception: audit.Exception{Files: []string{"*"}}, State: audit.ExceptionUsed}},
		Binary: []audit.BinaryWheel{{File: "a.whl"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	validate(t, "verdict", verdict)
}
