package cpython

import (
	"slices"
	"testing"

	"ampoule/builder/fetch"
	"ampoule/recipes"
)

func TestLocked(t *testing.T) {
	t.Parallel()
	if got := Path("opt/ampoule", "3.13.5"); got != "/opt/ampoule/bin/python3.13" {
		t.Errorf("the path is %s", got)
	}
	locked := recipes.LockedPython{Version: "3.99.0", File: "Python-3.99.0.tgz", SHA256: "0", Flags: []string{"--with-magic"}}
	want := fetch.Item{Source: "cpython", Name: "cpython", Version: "3.99.0", File: "Python-3.99.0.tgz", SHA256: "0"}
	if got := Item(locked); got != want {
		t.Errorf("fetched is %+v", got)
	}
	if got := Flags(locked); !slices.Equal(got, locked.Flags) {
		t.Errorf("it knows %q", got)
	}
	// What a known release says counts, whatever its lock does.
	locked.Version = "3.13.5"
	if got := Flags(locked); slices.Contains(got, "--with-magic") || len(got) == 0 {
		t.Errorf("a known release knows %q", got)
	}
}
