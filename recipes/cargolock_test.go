package recipes

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A Cargo.lock stands in the lock as it is, and as a patch that adds it.
func TestCargoLockInLock(t *testing.T) {
	t.Parallel()
	const text = "# Written by cargo.\nversion = 4\n\n[[package]]\nname = \"a\"\ndependencies = [\n \"b\",\n]\n"
	l := goodLock()
	at := slices.IndexFunc(l.Dists, func(d Dist) bool { return d.Build != nil })
	build := *l.Dists[at].Build
	build.CargoLocks = []CargoLock{{File: "Cargo.lock", Text: text}, {File: "py/Cargo.lock", Text: "version = 3\n"}}
	before := l.Dists[at].Build.Lines()
	l.Dists[at].Build = &build
	read, err := ParseLock("ampoule.lock", l.Encode())
	if err != nil {
		t.Fatalf("%v\n%s", err, l.Encode())
	}
	got, _ := read.Dist(l.Dists[at].ID())
	if diff := cmp.Diff(build.CargoLocks, got.Build.CargoLocks); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if string(read.Encode()) != string(l.Encode()) || before.CargoLocks != nil || len(build.Lines().CargoLocks) != 2 {
		t.Errorf("written again it differs, or the lines are %q", build.Lines().CargoLocks)
	}
	if want := "--- /dev/null\n+++ b/py/Cargo.lock\n@@ -0,0 +1,1 @@\n+version = 3\n"; string(build.CargoLocks[1].Patch()) != want {
		t.Errorf("the patch is %s", build.CargoLocks[1].Patch())
	}
	for name, c := range map[string]struct{ file, text, want string }{
		"above":      {"../Cargo.lock", text, "is not a clean path"},
		"another":    {"Cargo.toml", text, "is not a clean path"},
		"not sorted": {"z/Cargo.lock", text, "the files are sorted, each once"},
	} {
		wrong := build
		wrong.CargoLocks = []CargoLock{{File: c.file, Text: c.text}, {File: "py/Cargo.lock", Text: text}}
		l.Dists[at].Build = &wrong
		if _, err := ParseLock("ampoule.lock", l.Encode()); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, text := range map[string]string{
		"no end": "version = 4", "indented": " version = 4\n", "nothing": "\n", "two ends": "a\n\n", "another line end": "a\r\n", "no text": "a\xff\n",
		"too long": strings.Repeat(fmt.Sprintln("#"), MaxCargoLock),
	} {
		if (CargoLock{File: "Cargo.lock", Text: text}).Sound() {
			t.Errorf("%s: it is taken", name)
		}
	}
	if !build.CargoLocks[0].Sound() {
		t.Error("a sound one is not taken")
	}
}
