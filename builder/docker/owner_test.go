package docker

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/docker/docker/api/types/container"
)

// A lock file keeps its mark, and no copy of it has the same.
func TestMark(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "locks")
	o, err := takeOwner(dir)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Base(o.file.Name())
	copied, moved := dir+"-copy", dir+"-moved"
	if out, err := exec.Command("cp", "-a", dir, copied).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := os.Rename(dir, moved); err != nil {
		t.Fatal(err)
	}
	if got := markAt(t, filepath.Join(moved, name)); got != o.mark || got == "" {
		t.Errorf("after renaming the mark is %q, before %q", got, o.mark)
	}
	if got := markAt(t, filepath.Join(copied, name)); got == o.mark {
		t.Errorf("a copy has the mark of the original, %q", got)
	}
	if err := o.file.Close(); err != nil {
		t.Error(err)
	}
}

func markAt(t *testing.T, path string) string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	mark, err := markOf(f)
	if err != nil {
		t.Fatal(err)
	}
	return mark
}

func TestIsOwned(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		state       container.ContainerState
		label, mark string
		want        bool
	}{
		"its owner's file":         {container.StateRunning, "a", "a", true},
		"made and never started":   {container.StateCreated, "a", "a", true},
		"another file":             {container.StateRunning, "a", "b", false},
		"no file":                  {container.StateRunning, "a", "", false},
		"no file and no mark":      {container.StateRunning, "", "", false},
		"of an older program":      {container.StateRunning, "", "a", false},
		"ended, of another file":   {container.StateExited, "a", "b", true},
		"ended, without a file":    {container.StateExited, "a", "", true},
		"dead":                     {container.StateDead, "", "", true},
		"another's, being started": {container.StateCreated, "a", "b", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			summary := container.Summary{State: c.state, Labels: map[string]string{labelLock: c.label}}
			if got := isOwned(summary, c.mark); got != c.want {
				t.Errorf("owned: %t", got)
			}
		})
	}
}
