//go:build docker

package trials

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"ampoule/bench/internal/drive"
	"ampoule/bench/internal/recorded"
)

// killed are builds that are killed early, in the middle and late: while wheels compile, and
// while they are installed. Each takes two more builds.
var killed = []string{"stored-003", "stored-001", "stored-005"}

// A few builds with a real engine are killed; `measure kills` kills many.
func TestKills(t *testing.T) {
	program := filepath.Join(t.TempDir(), "ampoule")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, "./cmd/ampoule")
	// Of the module that ships it, whose go.mod says what it is made of.
	build.Dir = filepath.Join("..", "..", "..")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	trials := &Trials{
		// The store of the other tests with an engine: it outlives them.
		Ampoule: drive.Program{Path: program, Show: t.Output()}, Docker: drive.Program{Path: "docker"}, Store: filepath.Join(cache, "ampoule-test", "store"),
		Results: t.TempDir(), Now: time.Now, Say: t.Logf,
	}
	if err := trials.Kills(t.Context(), killed); err != nil {
		t.Fatal(err)
	}
	book, err := recorded.Open[recorded.Kill](filepath.Join(trials.Results, recorded.KillsFile))
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range book.All() {
		t.Logf("%s: after %.1f s of %.1f s, during %s", k.Name, k.AfterSeconds, k.WholeSeconds, k.During)
		if !k.Passed {
			t.Errorf("%s: %s, left %q", k.Name, k.Error, k.Left)
		}
	}
	if n := len(book.All()); n != len(killed) {
		t.Errorf("%d builds were killed", n)
	}
}
