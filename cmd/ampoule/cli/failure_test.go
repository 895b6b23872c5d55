package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/builder/progress"
	"ampoule/cmd/ampoule/display"
	"ampoule/config"
	"ampoule/faults"
	"ampoule/recipes"
)

func TestFailureOf(t *testing.T) {
	t.Parallel()
	at := func(file string, line, column int) *recipes.Position {
		return &recipes.Position{File: file, Line: line, Column: column}
	}
	for name, tt := range map[string]struct {
		err  error
		want Failure
	}{
		"of no kind": {errors.New("x"), Failure{Kind: "internal", Code: 1, What: "x"}},
		"hints": {
			fmt.Errorf("doing: %w", faults.New(faults.Build, "outer", "a: %w", &hinted{"inner", errors.New("b")})),
			Failure{Kind: "build", Code: 8, What: "doing: a: hinted: b", Hint: "outer\ninner"},
		},
		"files": {
			fmt.Errorf("reading: %w", recipes.Faults{
				{File: "a.yaml", Line: 3, Column: 5, What: "unknown key", Hint: "did you mean name?"}, {File: "b.txt", What: "wrong"}, {What: "more"},
			}),
			Failure{
				Kind: "input", Code: 3, What: "a.yaml:3:5: unknown key\nb.txt: wrong\nmore", Where: at("a.yaml", 3, 5), Hint: "did you mean name?",
				Faults: []FileFault{{"unknown key", at("a.yaml", 3, 5), "did you mean name?"}, {"wrong", at("b.txt", 0, 0), ""}, {"more", nil, ""}},
			},
		},
		"settings":    {&config.Error{Where: "/c:x.yaml:2:4", Msg: "wrong", Help: "so"}, Failure{Kind: "input", Code: 3, What: "/c:x.yaml:2:4: wrong", Where: at("/c:x.yaml", 2, 4), Hint: "so"}},
		"a variable":  {&config.Error{Where: "AMPOULE_X", Msg: "wrong"}, Failure{Kind: "input", Code: 3, What: "AMPOULE_X: wrong"}},
		"interrupted": {&InterruptedError{Signal: os.Interrupt, Err: recipes.Faults{{File: "a", What: "b", Hint: "c"}}}, Failure{Kind: "interrupted", Code: 130, What: "interrupted (interrupt): a: b"}},
		"a password": {
			faults.New(faults.Remote, "ask https://me:pw@x.example/", "asking https://me:pw@x.example/"),
			Failure{Kind: "remote", Code: 7, What: "asking https://***@x.example/", Hint: "ask https://***@x.example/"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tt.want.Schema = FailureSchema
			got := failureOf(tt.err)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("failure (-want +got):\n%s", diff)
			}
			text, err := json.Marshal(got)
			if err != nil {
				t.Fatal(err)
			}
			validate(t, "failure", text)
		})
	}
}

// Each kind of fault is documented with its code.
func TestKindsAreDocumented(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../../docs/failures.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range faults.Kinds() {
		if row := fmt.Sprintf("| `%s` | %d |", kind, kind.Code()); !bytes.Contains(page, []byte(row)) {
			t.Errorf("docs/failures.md lacks %s", row)
		}
	}
}

// All that a call tells is one feed: in order, and each message once, whether a display
// stands or not.
func TestMessagesAreEvents(t *testing.T) {
	t.Parallel()
	s, _, errs := session(t, goodRecipe)
	s.Progress = display.JSON
	s.note("before https://me:pw@x.example/")
	_, err := watched(t.Context(), s, func(ctx context.Context) (int, error) {
		progress.Start(ctx, progress.StageSeal, "").End(nil)
		s.warn("within")
		return 0, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	s.tell("after")
	var got []string
	for line := range strings.Lines(errs.String()) {
		validate(t, "event", []byte(line))
		var e progress.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprint(e.Seq, " ", e.Kind, " ", e.Message))
	}
	want := []string{"1 told before https://***@x.example/", "2 started ", "3 done ", "4 warned within", "5 told after"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

// A result that is there already is the only JSON value on stdout.
func TestFailAfterResult(t *testing.T) {
	t.Parallel()
	s, out, errs := session(t, goodRecipe)
	s.Output = JSON
	if err := s.print("", "verdict"); err != nil {
		t.Fatal(err)
	}
	s.fail(faults.New(faults.Refused, "", "refused"))
	if out.String() != "\"verdict\"\n" || errs.String() != "error: refused\n" {
		t.Errorf("stdout %q, stderr %q", out, errs)
	}
}
