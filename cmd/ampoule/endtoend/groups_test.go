//go:build docker

package endtoend

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ampoule/recipes"
)

// groupRecipe requires one pure distribution.
const groupRecipe = `apiVersion: ampoule/v1
name: %s
` + quickstartPython + `base: {debian: bookworm}
requirements: [itsdangerous==2.2.0]
runtime:
  container: {base: {debian: bookworm}}
test:
  imports: [itsdangerous]
`

// tried is what a verb said, and its exit code.
type tried struct {
	out, errs string
	code      int
}

// try runs the program, which may fail, beside kept inputs.
func try(t *testing.T, kept string, args ...string) tried {
	t.Helper()
	return in(t, "", []string{"AMPOULE_KEPT=" + kept}, args...)
}

// grouped is a recipe on its way through a test.
type grouped struct {
	file, text, kept string
}

// write writes the recipe with more behind it.
func (g grouped) write(t *testing.T, more string) {
	t.Helper()
	if err := os.WriteFile(g.file, []byte(g.text+more), 0o644); err != nil {
		t.Fatal(err)
	}
}

// laying gives the recipe a group, locked by hand, of one wheel that the test makes.
func (g grouped) laying(t *testing.T, files map[string]string) {
	t.Helper()
	g.write(t, "dependency-groups: {test: [evil==1.0]}\n")
	wheel := pureWheel(t, "evil", files)
	sum := sha256.Sum256(wheel)
	hash := hex.EncodeToString(sum[:])
	if err := os.WriteFile(filepath.Join(g.kept, hash), wheel, 0o644); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(filepath.Dir(g.file), "ampoule.lock")
	lock, err := recipes.ReadLock(file)
	if err != nil {
		t.Fatal(err)
	}
	lock.Groups = map[string]recipes.LockedGroup{"test": {
		Answers: []string{"evil==1.0"}, Requirements: []string{"evil==1.0"},
		Dists: []recipes.Dist{{Name: "evil", Version: "1.0", File: "evil-1.0-py3-none-any.whl", SHA256: hash}},
	}}
	if err := os.WriteFile(file, lock.Encode(), 0o644); err != nil {
		t.Fatal(err)
	}
}

// inside is a test file's way into the container and through pytest, by the program that the
// group brings.
const inside = `
import subprocess, sys
open("/tmp/test_it.py", "w").write("import itsdangerous, markupsafe._speedups\ndef test_it(): assert itsdangerous.Signer('k').sign('x')\n")
sys.exit(subprocess.run(["/opt/ampoule/bin/pytest", "-q", "-p", "no:cacheprovider", "/tmp/test_it.py"]).returncode)
`

// TestDependencyGroups lays pytest, and a module that is compiled for the group, over a published artifact, whose digest stays, and refuses
// groups that would not leave it as it is.
func TestDependencyGroups(t *testing.T) {
	beside(t)
	name := fmt.Sprintf("groups-%d", time.Now().UnixNano())
	g := grouped{file: filepath.Join(t.TempDir(), "ampoule.yaml"), text: fmt.Sprintf(groupRecipe, name), kept: t.TempDir()}
	g.write(t, "")
	ampoule(t, "-f", g.file, "lock")
	lockFile := filepath.Join(filepath.Dir(g.file), "ampoule.lock")
	alone, err := os.ReadFile(lockFile)
	if err != nil {
		t.Fatal(err)
	}
	ref := ampoule(t, "-f", g.file, "build")

	requirements := filepath.Join(filepath.Dir(g.file), "requirements-test.txt")
	if err := os.WriteFile(requirements, []byte("itsdangerous\npytest>=8,<9\nmarkupsafe==3.0.2\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	g.write(t, "dependency-groups: {test: requirements-test.txt}\n")
	if stale := try(t, g.kept, "-f", g.file, "build"); stale.code != 3 || !strings.Contains(stale.errs, "the lock does not know the dependency group test") {
		t.Errorf("before locking: %+v", stale)
	}
	ampoule(t, "-f", g.file, "lock")
	with, err := os.ReadFile(lockFile)
	if err != nil || !bytes.HasPrefix(with, alone) || !bytes.Contains(with[len(alone):], []byte("pytest==8")) {
		t.Fatalf("the lock with a group, %v:\n%s", err, with)
	}
	if missing := try(t, g.kept, "run", "--group", "test", ref); missing.code != 5 || !strings.Contains(missing.errs, "ampoule build --group test") {
		t.Errorf("before it is built: %+v", missing)
	}
	built := try(t, g.kept, "-f", g.file, "build", "--group", "test")
	if built.code != 0 || built.out != ref || !strings.Contains(built.errs, "group test: sha256:") || !strings.Contains(built.errs, "gate: passed with group test") {
		t.Fatalf("with a group: %+v, without one %s", built, ref)
	}
	if again := try(t, g.kept, "-f", g.file, "build", "--groups"); again.code != 0 || again.out != ref || !strings.Contains(again.errs, "published already") {
		t.Errorf("again: %+v", again)
	}
	if ran := try(t, g.kept, "run", "--group", "test", ref, "--", "-c", inside); ran.code != 0 || !strings.Contains(ran.out, "1 passed") {
		t.Errorf("pytest in the artifact: %+v", ran)
	}
	if without := try(t, g.kept, "run", ref, "--", "-c", "import pytest"); without.code != 1 || !strings.Contains(without.errs, "ModuleNotFoundError") {
		t.Errorf("without the group: %+v", without)
	}
	if listed := ampoule(t, "inspect", ref); !strings.Contains(listed, "application/vnd.ampoule.group.v1") || !strings.Contains(listed, "group-test.tar.gz") {
		t.Errorf("inspect says:\n%s", listed)
	}

	if err := os.WriteFile(requirements, []byte("pytest>=8,<9\nitsdangerous<2.2\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	conflict := try(t, g.kept, "-f", g.file, "lock")
	for _, want := range []string{"itsdangerous==2.2.0", requirements + ":2:1: itsdangerous<2.2", g.file + ":9:16: itsdangerous==2.2.0"} {
		if conflict.code != 3 || !strings.Contains(conflict.errs, want) {
			t.Errorf("a conflict does not say %q: %+v", want, conflict)
		}
	}

	for _, c := range []struct {
		name  string
		files map[string]string
		want  []string
	}{
		{"a module is shadowed", map[string]string{"itsdangerous.py": "evil = True\n"}, []string{"evil would shadow lib/python3.13/site-packages/itsdangerous of itsdangerous"}},
		{"a file is changed", map[string]string{"itsdangerous/__init__.py": "evil = True\n"}, []string{"evil would change lib/python3.13/site-packages/itsdangerous/__init__.py of itsdangerous"}},
		{"startup code", map[string]string{"evil.pth": "import evil\n", "evil.py": "import itsdangerous; itsdangerous.Signer = None\n"}, []string{"startup: lib/python3.13/site-packages/evil.pth", "with dependency group test"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			g.laying(t, c.files)
			refused := try(t, g.kept, "-f", g.file, "build", "--group", "test")
			for _, want := range c.want {
				if refused.code != 4 || refused.out != "" || !strings.Contains(refused.errs, want) {
					t.Errorf("it does not say %q: %+v", want, refused)
				}
			}
			if missing := try(t, g.kept, "-f", g.file, "run", "--group", "test", ref); missing.code != 5 {
				t.Errorf("the refused group: %+v", missing)
			}
		})
	}
}
