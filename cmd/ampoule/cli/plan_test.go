package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/builder"
	"ampoule/builder/fetch"
)

func TestPlanText(t *testing.T) {
	t.Parallel()
	got := planText(builder.Plan{
		Key: "sha256:00", Inputs: []fetch.Item{{Source: "pypi"}, {Source: "cpython"}, {Source: "pypi"}}, Compiled: []string{"a==1"},
		Adopted: []builder.Adopted{
			{Name: "b", Version: "2", Until: "2027-03-01", Why: "adopted", Known: []string{"Debian packages libb-dev"}, Blocks: []string{"no sdist"}},
			{Name: "c", Version: "3", Until: "2027-03-01", Why: "adopted"},
		},
	})
	want := `key       sha256:00
inputs    3 files: 1 of cpython, 2 of pypi
compiled  CPython, and 1 wheel
  a==1
adopted   2 published wheels
  b==2, until 2027-03-01: adopted
    known: Debian packages libb-dev
    open:  no sdist
  c==3, until 2027-03-01: adopted
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Files that an editor or git of Windows has written mean what they meant.
func TestPlanOfWindowsLines(t *testing.T) {
	t.Parallel()
	recipe := strings.Replace(goodRecipe, "requirements: [idna==3.10]", "requirements: requirements.txt", 1)
	var plans []string
	for _, end := range []string{"\n", "\r\n"} {
		s, out, _ := session(t, recipe)
		put := func(name string, text []byte) {
			if err := os.WriteFile(name, bytes.ReplaceAll(text, []byte("\n"), []byte(end)), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		put(filepath.Join(filepath.Dir(s.Recipe), "requirements.txt"), []byte("# one\nidna==3.10\n"))
		put(s.Recipe, []byte(recipe))
		put(lockPath(s.Recipe), lockOf(t, s.Recipe, "3.10", sumA).Encode())
		if err := Plan(t.Context(), s); err != nil {
			t.Fatalf("%q: %v", end, err)
		}
		plans = append(plans, out.String())
	}
	if diff := cmp.Diff(plans[0], plans[1]); diff != "" {
		t.Errorf("(-Linux +Windows):\n%s", diff)
	}
}
