package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// A call that is asked for profiles leaves what Go's tools read, also when it fails. Profiles are the
// process's, so that nothing runs beside it.
func TestProfiles(t *testing.T) { //nolint:paralleltest // a process has one profile at a time
	for name, args := range map[string][]string{"well": {"version"}, "failing": {"version", "--output", "toml"}} {
		dir := t.TempDir()
		cpu, trace := filepath.Join(dir, "cpu"), filepath.Join(dir, "trace")
		var out, errs bytes.Buffer
		Main(&Session{Out: &out, Err: &errs}, append(args, "--cpuprofile", cpu, "--trace", trace))
		for file, begin := range map[string]string{cpu: "\x1f\x8b", trace: "go 1."} {
			data, err := os.ReadFile(file)
			if err != nil || !bytes.HasPrefix(data, []byte(begin)) {
				t.Errorf("%s: %s has %d bytes, %v", name, filepath.Base(file), len(data), err)
			}
		}
	}
	var out, errs bytes.Buffer
	if code := Main(&Session{Out: &out, Err: &errs}, []string{"version", "--cpuprofile", filepath.Join(t.TempDir(), "none", "cpu")}); code == 0 {
		t.Error("a profile that cannot be written is no fault")
	}
}
