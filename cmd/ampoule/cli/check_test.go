package cli

import (
	"context"
	"encoding/json"
	"io"
	"os"
	"strings"
	"testing"

	"ampoule/builder"
	"ampoule/builder/compare"
	"ampoule/store"
)

// checked is a Checker's answer.
type checked builder.Checked

func (c checked) Check(context.Context, builder.Request, string, func(*store.Store) (builder.Publisher, io.Closer, error)) (builder.Checked, error) {
	return builder.Checked(c), nil
}

func TestCheck(t *testing.T) {
	t.Parallel()
	s, out, errs := session(t, goodRecipe)
	if err := os.WriteFile(lockPath(s.Recipe), lockOf(t, s.Recipe, "3.10", sumA).Encode(), 0o644); err != nil {
		t.Fatal(err)
	}
	same := checked{Name: "web", What: "everything", First: "sha256:" + sumA, Second: "sha256:" + sumA}
	if err := Check(t.Context(), s, same, builder.Request{}, "", reference); err != nil || out.String() != "same bits: web@sha256:"+sumA+"\n" {
		t.Errorf("%v, told %s", err, out)
	}
	out.Reset()
	same.What = "idna==3.10"
	if err := Check(t.Context(), s, same, builder.Request{}, "idna", reference); err != nil || out.String() != "same bits: idna==3.10 sha256:"+sumA+"\n" {
		t.Errorf("one part: %v, told %s", err, out)
	}

	other := same
	other.Second = "sha256:other"
	other.Differences = []compare.Difference{
		{File: "idna.whl!idna/data.py", Place: "line 2", First: "a", Second: "b", Cause: "the host name where it was built"},
		{File: "idna.whl!RECORD", Place: "line 1"},
	}
	out.Reset()
	err := Check(t.Context(), s, other, builder.Request{}, "idna", reference)
	if ExitCode(err) != codeRefused || !strings.Contains(err.Error(), "idna==3.10: a second build gave other bits, in 2 places") {
		t.Errorf("error %v", err)
	}
	want := `idna==3.10 differs
  first   sha256:` + sumA + `
  second  sha256:other

idna.whl!idna/data.py: line 2
  first   a
  second  b
  likely  the host name where it was built

idna.whl!RECORD: line 1
`
	if out.String() != want {
		t.Errorf("told\n%s\nwant\n%s%s", out, want, errs)
	}
	s.Output = JSON
	out.Reset()
	var told builder.Checked
	if err := Check(t.Context(), s, other, builder.Request{}, "idna", reference); ExitCode(err) != codeRefused {
		t.Errorf("error %v", err)
	}
	if err := json.Unmarshal(out.Bytes(), &told); err != nil || len(told.Differences) != 2 || told.Differences[0].Cause == "" {
		t.Errorf("as JSON: %v, %s", err, out)
	}
}
