//go:build docker

package endtoend

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ampoule/recipes"
)

// forging is what hostile code does in a process of the gate: it answers for everybody on
// every channel that it finds, and ends the process as if all was well.
const forging = `import json, os, sys
lines = ""
for line in [{"Kind": "import", "Module": "victim._victim", "OK": True}, {"Kind": "done"}]:
    line["File"] = "lib/python3.13/site-packages/victim/_victim.cpython-313-x86_64-linux-gnu.so"
    line["Mapped"] = [sys.executable, sys.prefix + "/" + line["File"]]
    lines += json.dumps(line) + "\n"
for fd in range(1, 64):
    try: os.write(fd, lines.encode())
    except OSError: pass
os._exit(0)
`

// aborting is a build backend whose wheel holds a module that aborts when it is loaded, in
// a package that imports what it is told first.
const aborting = `
import base64, hashlib, os, subprocess, sys, sysconfig, zipfile

def build_wheel(directory, config_settings=None, metadata_directory=None):
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    open("victim.c", "w").write("#include <Python.h>\n#include <stdlib.h>\nPyMODINIT_FUNC PyInit__victim(void) { abort(); }\n")
    subprocess.run(["gcc", "-shared", "-fPIC", "-O2", "-I", sysconfig.get_path("include"), "-o", "victim.so", "victim.c"], check=True)
    files = {
        "victim/__init__.py": b"FAULT\n",
        "victim/_victim" + suffix: open("victim.so", "rb").read(),
        "victim-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: victim\nVersion: 1.0\n",
        "victim-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: false\nTag: cp313-cp313-linux_x86_64\n",
    }
    record = ""
    for name, data in files.items():
        record += "%s,sha256=%s,%d\n" % (name, base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode(), len(data))
    files["victim-1.0.dist-info/RECORD"] = (record + "victim-1.0.dist-info/RECORD,,\n").encode()
    with zipfile.ZipFile(os.path.join(directory, "victim-1.0-cp313-cp313-linux_x86_64.whl"), "w") as z:
        for name, data in files.items():
            z.writestr(zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0)), data)
    return "victim-1.0-cp313-cp313-linux_x86_64.whl"
`

// testifyRecipe requires what a test makes. No test of it can pass.
const testifyRecipe = faultRecipe + `test:
  imports: [does_not_exist]
`

// pureWheel packs a wheel of pure Python, of files by their names in it.
func pureWheel(t *testing.T, name string, files map[string]string) []byte {
	t.Helper()
	files = maps.Clone(files)
	info := name + "-1.0.dist-info/"
	files[info+"METADATA"] = "Metadata-Version: 2.1\nName: " + name + "\nVersion: 1.0\n"
	files[info+"WHEEL"] = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
	var record strings.Builder
	for _, file := range slices.Sorted(maps.Keys(files)) {
		sum := sha256.Sum256([]byte(files[file]))
		fmt.Fprintf(&record, "%s,sha256=%s,%d\n", file, base64.RawURLEncoding.EncodeToString(sum[:]), len(files[file]))
	}
	files[info+"RECORD"] = record.String() + info + "RECORD,,\n"
	var buf bytes.Buffer
	z := zip.NewWriter(&buf)
	for _, file := range slices.Sorted(maps.Keys(files)) {
		w, err := z.Create(file)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(files[file])); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// beside writes a recipe that requires the distribution of an sdist and pure wheels, with
// more text at its end.
func (f *faultWorld) beside(t *testing.T, name, more string, sdist []byte, pure map[string][]byte) (recipe string) {
	t.Helper()
	recipe = f.writeFor(t, name, sdist)
	requirements := []string{"victim==1.0"}
	for _, dist := range slices.Sorted(maps.Keys(pure)) {
		requirements = append(requirements, dist+"==1.0")
	}
	text := fmt.Sprintf(f.recipe, "fault-"+name, strings.Join(requirements, ", ")) + more
	if err := os.WriteFile(recipe, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	r, err := recipes.ReadRecipe(recipe)
	if err != nil {
		t.Fatal(err)
	}
	reqs, err := recipes.ReadRequirements(r)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(filepath.Dir(recipe), "ampoule.lock")
	lock, err := recipes.ReadLock(file)
	if err != nil {
		t.Fatal(err)
	}
	lock.Answers = recipes.MakeAnswers(r, reqs)
	for dist, wheel := range pure {
		sum := sha256.Sum256(wheel)
		hash := hex.EncodeToString(sum[:])
		if err := os.WriteFile(filepath.Join(f.kept, hash), wheel, 0o644); err != nil {
			t.Fatal(err)
		}
		lock.Dists = append(lock.Dists, recipes.Dist{Name: dist, Version: "1.0", File: dist + "-1.0-py3-none-any.whl", SHA256: hash})
	}
	slices.SortFunc(lock.Dists, func(a, b recipes.Dist) int { return strings.Compare(a.Name, b.Name) })
	lock.Requirements = slices.Sorted(slices.Values(requirements))
	if err := os.WriteFile(file, lock.Encode(), 0o644); err != nil {
		t.Fatal(err)
	}
	return recipe
}

// TestNothingJudgedTestifies builds a distribution whose module aborts, beside others that
// would answer for it: as startup code, accepted or not, in the standard library's place, or as
// what it imports. The gate refuses it each time, and afterwards, too: nothing was remembered
// that they said.
func TestNothingJudgedTestifies(t *testing.T) {
	beside(t)
	f := newFaultWorldFor(t, testifyRecipe)
	f.backend = aborting
	const (
		load  = "load: lib/python3.13/site-packages/victim/_victim"
		tests = "recipe-tests"
	)
	accepted := "gate:\n  except:\n    - {check: startup, files: [lib/python3.13/site-packages/evil.pth], why: a test, until: 2099-01-01}\n"
	calm := f.beside(t, "testify-alone", "", pack(t, f.backend, ""), nil)
	for _, c := range []struct {
		name, imports, more string
		evil                map[string]string
		want                []string
	}{
		{"pth", "", "", map[string]string{"evil.pth": "import evil\n", "evil.py": forging}, []string{load, tests, "startup: lib/python3.13/site-packages/evil.pth"}},
		{"pth-accepted", "", accepted, map[string]string{"evil.pth": "import evil\n", "evil.py": forging}, []string{load, tests}},
		{"sitecustomize", "", "", map[string]string{"sitecustomize.py": forging}, []string{load, tests, "startup: lib/python3.13/site-packages/sitecustomize.py"}},
		{"stdlib", "", "", map[string]string{"evil-1.0.data/data/lib/python3.13/sitecustomize.py": forging}, []string{"lib/python3.13/sitecustomize.py"}},
		{"zip", "", "", map[string]string{"evil-1.0.data/data/lib/python313.zip": ""}, []string{"lib/python313.zip"}},
		{"imported", "import evil", "", map[string]string{"evil.py": forging}, []string{load, tests}},
		{"alone", "", "", nil, []string{load, tests}},
	} {
		t.Run(c.name, func(t *testing.T) {
			recipe := calm
			if c.evil != nil {
				recipe = f.beside(t, "testify-"+c.name, c.more, pack(t, f.backend, c.imports), map[string][]byte{"evil": pureWheel(t, "evil", c.evil)})
			}
			out, errs, code := f.startRecipe(t, recipe)()
			for _, want := range c.want {
				if !strings.Contains(errs, want) {
					t.Errorf("%q is not told:\n%s", want, last(errs, 4000))
				}
			}
			if code != 4 {
				t.Errorf("exit code %d, want 4:\n%s", code, last(errs, 4000))
			}
			f.notPublished(t, "testify-"+c.name, out)
		})
	}
}
