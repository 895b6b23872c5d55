// Package specimen compiles files that tests judge.
package specimen

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Compile compiles C source with the host's gcc, without the host's libraries, so that a
// directory can be the whole machine. It returns the file's path.
func Compile(t testing.TB, source string, flags ...string) string {
	t.Helper()
	dir := t.TempDir()
	file, out := filepath.Join(dir, "x.c"), filepath.Join(dir, "out")
	if err := os.WriteFile(file, []byte(source), 0o644); err != nil {
		t.Fatal(err)
	}
	args := append([]string{"-nostdlib", "-Wl,--no-as-needed", "-o", out, file}, flags...)
	if told, err := exec.CommandContext(t.Context(), "gcc", args...).CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v\n%s", err, told)
	}
	return out
}
