package corpus

import (
	"slices"
	"testing"
)

// TestCorpus wants of each breakage an environment, and of the environments that a third of
// all is broken.
func TestCorpus(t *testing.T) {
	t.Parallel()
	environments, err := Environments()
	if err != nil {
		t.Fatal(err)
	}
	breakages, err := Breakages()
	if err != nil {
		t.Fatal(err)
	}
	var whole []string
	for _, e := range environments {
		for _, python := range e.Pythons {
			whole = append(whole, e.Name+"/"+python)
		}
	}
	for _, b := range breakages {
		if !slices.Contains(whole, b.Of) {
			t.Errorf("%s breaks %q, which is none of %q", b.Name, b.Of, whole)
		}
	}
	if len(environments) < 40 || 3*len(breakages) < len(whole)+len(breakages) {
		t.Errorf("%d environments, %d with their Pythons, %d broken", len(environments), len(whole), len(breakages))
	}
}

func TestHead(t *testing.T) {
	t.Parallel()
	head, rest := headed("# what: a shop: two\n# python: 3.11\n# only a comment\nflask\n")
	if head["what"] != "a shop: two" || head["python"] != "3.11" || len(head) != 2 || rest != "# only a comment\nflask\n" {
		t.Errorf("%q, %q", head, rest)
	}
	if err := wanted(head, "what", "source"); err == nil {
		t.Error("a line is missing and nothing was said")
	}
}
