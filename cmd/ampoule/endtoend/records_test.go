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
)

// damagedKinds are kinds of records that a build from finished stages takes.
var damagedKinds = []string{"layer-index", "part-layer", "install", "wheel", "labelled-wheel", "layer-blob", "gate-loads", "gate-order"}

// TestDamagedRecords flips a bit in every record that the last steps of a build take, in a
// copy of the store. It is told, and the next build gives the same digest.
func TestDamagedRecords(t *testing.T) {
	f := newFaultWorld(t)
	copied := filepath.Join(t.TempDir(), "store")
	run(t, "cp", "-a", "--reflink=auto", f.store, copied)
	f.store = copied
	t.Cleanup(func() { forgetImages(t, copied) })
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
