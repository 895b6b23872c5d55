//go:build docker

package endtoend

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ampoule/store"
)

// damagedKinds are kinds of records that a build from finished stages takes.
var damagedKinds = []string{"layer-index", "part-layer", "install", "wheel", "labelled-wheel", "layer-blob", "gate-loads", "gate-order"}

// cloned makes a store with all content and records of the tests', and nothing published, and
// returns its directory. Content is linked: it lies beside that store.
func cloned(t *testing.T) string {
	t.Helper()
	return clonedOf(t, func(string) bool { return true })
}

// clonedOf makes a store with all content and the records of some kinds.
func clonedOf(t *testing.T, kinds func(kind string) bool) string {
	t.Helper()
	from, err := store.Open(filepath.Join(cache, "store"))
	if err != nil {
		t.Fatal(err)
	}
	release, err := from.Use(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	dir, err := os.MkdirTemp(cache, "clone-") //nolint:usetesting // a link stays on one file system
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	_, err = from.Clone(dir, func(string) bool { return true }, func(kind string, _ []byte) bool { return kinds(kind) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { forgetImages(t, dir) })
	return dir
}

// TestDamagedRecords flips a bit in every record that the last steps of a build take, in a
// copy of the store. It is told, and the next build gives the same digest.
func TestDamagedRecords(t *testing.T) {
	beside(t)
	f := newFaultWorld(t)
	copied := cloned(t)
	f.store = copied
	does := fmt.Sprintf("pass # %d", time.Now().UnixNano())
	calm, errs, code := f.startAfresh(t, does)()
	if code != 0 {
		t.Fatalf("exit code %d\n%s", code, last(errs, 4000))
	}
	for _, kind := range damagedKinds {
		files, err := filepath.Glob(filepath.Join(copied, "records", kind, "*", "*"))
		if err != nil || len(files) == 0 {
			t.Fatalf("records of %s: %q, %v", kind, files, err)
		}
		for _, file := range files {
			flipBit(t, file)
		}
	}
	out, err := exec.CommandContext(t.Context(), program, "--store", copied, "store", "verify").Output()
	for _, kind := range damagedKinds {
		if !strings.Contains(string(out), filepath.Join(copied, "records", kind)+"/") {
			t.Errorf("records of %s are damaged, told: %v\n%s", kind, err, out)
		}
	}
	if again, errs, code := f.startAfresh(t, does)(); code != 0 || again != calm {
		t.Errorf("from damaged records %q, before %s, code %d\n%s", again, calm, code, last(errs, 4000))
	}
}

// flipBit flips a bit in the middle of a file.
func flipBit(t *testing.T, file string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text[len(text)/2] ^= 1
	if err := os.WriteFile(file, text, 0o644); err != nil {
		t.Fatal(err)
	}
}

// forgetImages removes what a store has in Docker, by having everything collected.
func forgetImages(t *testing.T, dir string) {
	t.Helper()
	out, err := exec.Command(program, "--store", dir, "store", "gc", "--keep", "0h").CombinedOutput()
	if err != nil {
		t.Errorf("collecting everything: %v\n%s", err, out)
	}
}
