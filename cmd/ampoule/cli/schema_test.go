package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/jsonschema-go/jsonschema"

	"ampoule/audit"
	"ampoule/audit/preflight"
	"ampoule/audit/survey"
	"ampoule/builder/progress"
	"ampoule/cmd/ampoule/display"
	"ampoule/contents"
	"ampoule/service/wire"
)

// schemas are the forms of JSON that others read, by the name of their schema in docs.
var schemas = []struct {
	name, id string
	make     func() (*jsonschema.Schema, error)
}{
	{"verdict", audit.VerdictSchema, func() (*jsonschema.Schema, error) { return jsonschema.For[audit.Verdict](nil) }},
	{"audit", survey.Schema, func() (*jsonschema.Schema, error) { return jsonschema.For[survey.Report](nil) }},
	// Events are many and small: they do not name their schema.
	{"event", "ampoule.event/v1", eventSchema},
	{"failure", FailureSchema, func() (*jsonschema.Schema, error) { return jsonschema.For[Failure](nil) }},
	{"diff", contents.DiffSchema, func() (*jsonschema.Schema, error) { return jsonschema.For[contents.Diff](nil) }},
	{"channel", ChannelSchema, func() (*jsonschema.Schema, error) { return jsonschema.For[ChannelReport](nil) }},
	{"agent-status", AgentSchema, func() (*jsonschema.Schema, error) { return jsonschema.For[AgentReport](nil) }},
	{"deployments", wire.DeploymentsSchema, func() (*jsonschema.Schema, error) { return jsonschema.For[DeploymentsReport](nil) }},
	{"channel-check", ChannelCheckSchema, func() (*jsonschema.Schema, error) { return jsonschema.For[ChannelCheckReport](nil) }},
	{"preflight", preflight.Schema, func() (*jsonschema.Schema, error) { return jsonschema.For[preflight.Report](nil) }},
}

// eventSchema lists the kinds and the stages.
func eventSchema() (*jsonschema.Schema, error) {
	kinds, stages := &jsonschema.Schema{Type: "string"}, &jsonschema.Schema{Type: "string", Enum: []any{""}}
	for _, k := range progress.Kinds() {
		kinds.Enum = append(kinds.Enum, string(k))
	}
	for _, s := range progress.Stages() {
		stages.Enum = append(stages.Enum, s.String())
	}
	return jsonschema.For[progress.Event](&jsonschema.ForOptions{TypeSchemas: map[reflect.Type]*jsonschema.Schema{
		reflect.TypeFor[progress.Kind](): kinds, reflect.TypeFor[progress.Stage](): stages,
	}})
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
		if named, ok := made.Properties["schema"]; ok {
			id := any(s.id)
			named.Const = &id
		}
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

// What a verb that is watched writes with --progress json are events of their schema: of one
// build, numbered from 1 on. Kinds and stages are the documented ones.
func TestEventsAreOfTheirSchema(t *testing.T) {
	t.Parallel()
	s, _, errs := session(t, goodRecipe)
	s.Progress = display.JSON
	_, err := watched(t.Context(), s, func(ctx context.Context) (int, error) {
		task := progress.Start(progress.Of(ctx, "web"), progress.StageWheel, "numpy==2.3.1")
		task.Wait(progress.Holder{Build: "b", Recipe: "web", Process: 1, Host: "h", Since: time.Now(), Has: progress.Memory, Step: "wheel-scipy"})
		task.Resume()
		task.Advance(1, 2, progress.Bytes)
		progress.Send(ctx, progress.Event{Kind: progress.Warned, Message: "some day"})
		task.End(nil)
		return 0, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var kinds []progress.Kind
	build := ""
	for line := range strings.Lines(errs.String()) {
		validate(t, "event", []byte(line))
		var e progress.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		kinds = append(kinds, e.Kind)
		if build == "" {
			build = e.Build
		}
		if e.Build == "" || e.Build != build || e.Seq != uint64(len(kinds)) || time.Since(e.Time) > time.Minute {
			t.Errorf("event %d is %s", len(kinds), line)
		}
	}
	want := []progress.Kind{progress.Started, progress.Waiting, progress.Resumed, progress.Advanced, progress.Warned, progress.Done}
	if diff := cmp.Diff(want, kinds); diff != "" {
		t.Errorf("kinds (-want +got):\n%s", diff)
	}
	page, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "events.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range progress.Kinds() {
		if !bytes.Contains(page, []byte("`"+string(k)+"`")) {
			t.Errorf("docs/events.md does not name the kind %s", k)
		}
	}
	for _, s := range progress.Stages() {
		if !bytes.Contains(page, []byte("`"+s.String()+"`")) {
			t.Errorf("docs/events.md does not name the stage %s", s)
		}
	}
}
