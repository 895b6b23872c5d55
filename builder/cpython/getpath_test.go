package cpython

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// computePaths runs our part of Modules/getpath.py as CPython does: with the few functions
// that are there, on what was found before it.
const computePaths = `import os, sys
def realpath(path):
    for _ in range(40):
        try:
            path = os.path.normpath(os.path.join(os.path.dirname(path), os.readlink(path)))
        except OSError:
            return path
    raise OSError
names = dict(
    os_name="posix", SEP="/", py_setpath=None, base_executable=None, real_executable=None, executable=sys.argv[2],
    venv_prefix=sys.argv[3], executable_dir=sys.argv[4], real_executable_dir=sys.argv[4],
    realpath=realpath, isfile=os.path.isfile, dirname=os.path.dirname, basename=os.path.basename, joinpath=os.path.join,
)
exec(open(sys.argv[1]).read(), names)
print(names["executable"], names["executable_dir"], names["base_executable"])
`

func TestGetpath(t *testing.T) {
	t.Parallel()
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(root, "releases", "a", "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bin, "python3.13"), nil, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{
		"releases/a/bin/python3": "python3.13", "current": "releases/a", "again": root + "/current", "programs": "again/bin",
		"odd": "programs/python3", "direct": "releases/a/bin/python3", "loop": "loop",
	} {
		if err := os.Symlink(target, filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	ours := filepath.Join(t.TempDir(), "own_getpath.py")
	if err := os.WriteFile(ours, getpath, 0o644); err != nil {
		t.Fatal(err)
	}
	resolve := func(executable, environment, home string) string {
		out, err := exec.Command("python3", "-I", "-c", computePaths, ours, executable, environment, home).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", executable, err, out)
		}
		return strings.ReplaceAll(strings.TrimSpace(string(out)), root+"/", "")
	}
	const real = "releases/a/bin"
	for _, c := range []struct{ executable, environment, home, want string }{
		{"current/bin/python3", "", "", real + "/python3 " + real + " current/bin/python3"},
		{"programs/python3", "", "", real + "/python3 " + real + " programs/python3"},
		// A name that the release does not have.
		{"odd", "", "", real + "/python3.13 " + real + " odd"},
		// An environment stays one, and its home is resolved.
		{"env/bin/python", "env", "current/bin", "env/bin/python " + real + " None"},
	} {
		home := c.home
		if home != "" {
			home = filepath.Join(root, home)
		}
		if diff := cmp.Diff(c.want, resolve(filepath.Join(root, c.executable), c.environment, home)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.executable, diff)
		}
	}
	// What is no file, has no path, or leads through no linked directory, is left to the rest of the module.
	for _, executable := range []string{"", root + "/nope", root + "/loop", root + "/direct", root + "/" + real + "/python3"} {
		if got, want := resolve(executable, "", ""), strings.TrimSpace(strings.TrimPrefix(executable, root+"/")+"  None"); got != want {
			t.Errorf("%q: %q, want %q", executable, got, want)
		}
	}
}

// TestInsertGetpath puts our part where it belongs, and fails where there is no such place.
func TestInsertGetpath(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"a\nif x:\n    if not base_executable:\n        b\nif not base_executable:\n    c\n": "a\nif x:\n    if not base_executable:\n        b\nOURS\nif not base_executable:\n    c\n",
		"a\n": "",
	} {
		dir := t.TempDir()
		ours, module := filepath.Join(dir, "ours"), filepath.Join(dir, "getpath.py")
		if err := os.WriteFile(ours, []byte("OURS\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(module, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		args := insertGetpath()
		out, err := exec.Command(args[0], append(append([]string{}, args[1:len(args)-2]...), ours, module)...).CombinedOutput()
		if want == "" {
			if err == nil || !strings.Contains(string(out), "no place") {
				t.Errorf("%q: %v, %s", text, err, out)
			}
			continue
		}
		got, readErr := os.ReadFile(module)
		if diff := cmp.Diff(want, string(got)); err != nil || readErr != nil || diff != "" {
			t.Errorf("%v, %v: %s (-want +got):\n%s", err, readErr, out, diff)
		}
	}
}
