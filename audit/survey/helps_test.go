package survey

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// backend is a build backend (PEP 517) that packs what lies in the directory wheel: what it
// compiles was compiled before.
const backend = `import os, zipfile
def build_wheel(to, settings=None, metadata=None):
    name = open("name").read()
    with zipfile.ZipFile(os.path.join(to, name), "w") as z:
        for top, _, files in os.walk("wheel"):
            for f in files:
                path = os.path.join(top, f)
                z.write(path, os.path.relpath(path, "wheel"))
    return name
`

// sdist is a source archive whose build gives a wheel of some name with some files.
func sdist(t *testing.T, wheel string, files map[string]string) string {
	t.Helper()
	all := map[string]string{
		"PKG-INFO": "Metadata-Version: 2.1\nName: spam\nVersion: 1.0\n", "backend.py": backend, "name": wheel,
		"pyproject.toml": "[build-system]\nrequires = []\nbuild-backend = 'backend'\nbackend-path = ['.']\n",
	}
	maps.Copy(all, under("wheel", files))
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		err := w.WriteHeader(&tar.Header{Name: "spam-1.0/" + name, Mode: 0o644, Size: int64(len(all[name])), ModTime: time.Unix(1<<30, 0)})
		if err == nil {
			_, err = w.Write([]byte(all[name]))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// pipped is an environment of the machine's Python, and a directory that stands for an index.
type pipped struct{ exe, env, index string }

// newPipped makes an environment into which pip has installed spam from an index.
func newPipped(t *testing.T, exe string, index map[string]string) pipped {
	t.Helper()
	p := pipped{exe, filepath.Join(t.TempDir(), "env"), t.TempDir()}
	for name, text := range index {
		if err := os.WriteFile(filepath.Join(p.index, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if told, err := exec.CommandContext(t.Context(), exe, "-m", "venv", "--without-pip", p.env).CombinedOutput(); err != nil {
		t.Fatalf("venv: %v\n%s", err, told)
	}
	p.run(t, "pip install --no-deps --only-binary :all: spam")
	return p
}

// run runs a command of pip's for the environment, with the index in place of another one.
func (p pipped) run(t *testing.T, command string) {
	t.Helper()
	pip := fmt.Sprintf("exec %s -m pip --python %s/bin/python --quiet --disable-pip-version-check install --no-index --find-links %s ", p.exe, p.env, p.index)
	line, ok := strings.CutPrefix(command, "pip install ")
	if own := p.python(t) + " -m pip install "; !ok {
		line, ok = strings.CutPrefix(command, own)
	}
	if !ok {
		t.Fatalf("%q is no installation", command)
	}
	if told, err := exec.CommandContext(t.Context(), "sh", "-c", pip+line).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", command, err, told)
	}
}

// site is where the environment has distributions.
func (p pipped) site(t *testing.T) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(p.env, "lib/python3*/site-packages"))
	if err != nil || len(found) != 1 {
		t.Fatalf("site-packages: %q, %v", found, err)
	}
	return found[0]
}

// python is how people call the environment's interpreter.
func (p pipped) python(t *testing.T) string {
	t.Helper()
	return filepath.Join(p.env, "bin", filepath.Base(filepath.Dir(p.site(t))))
}

// verdict audits the environment, and wants of it what importing shows.
func (p pipped) verdict(t *testing.T, works bool) Unit {
	t.Helper()
	told, err := exec.CommandContext(t.Context(), p.env+"/bin/python", "-c", "import spam").CombinedOutput()
	r, lookErr := Look(t.Context(), Target{Files: Machine("/"), Path: p.env})
	if lookErr != nil {
		t.Fatal(lookErr)
	}
	if (err == nil) != works || (r.Outcome == Refused) == works {
		t.Fatalf("it works: %t, want %t; %s, refused: %q\n%s", err == nil, works, r.Outcome, refused(r), told)
	}
	return r.Units[0]
}

// A remedy's command makes of an environment that does not work one that does; where the same
// release would bring the same file, no command says so.
func TestRemediesHelp(t *testing.T) {
	t.Parallel()
	exe, suffix, tag := pythonHere(t)
	published := strings.Replace(tag, "linux_", "manylinux_2_17_", 1)
	stub := func(soname string) string {
		lib := filepath.Join(t.TempDir(), "lib.so")
		if err := os.WriteFile(lib, compile(t, "int stub;", "-shared", "-fPIC", "-Wl,-soname,"+soname), 0o644); err != nil {
			t.Fatal(err)
		}
		return lib
	}
	with := func(more string, flags ...string) map[string]string {
		return map[string]string{"spam" + suffix: string(compile(t, importable+more, append([]string{"-shared", "-fPIC", "-Wl,-z,now"}, flags...)...))}
	}
	sound := with("")
	lacking := with("extern int PyModule_NoSuchThing(void); int spam(void) { return PyModule_NoSuchThing(); }")
	needy := with("", stub("libgone.so.1"), "-Wl,-rpath,$ORIGIN/gone_libs")
	gone := map[string]string{"gone_libs/libgone.so.1": string(compile(t, "int stub;", "-shared", "-fPIC", "-Wl,-soname,libgone.so.1"))}
	const name, nameOfGone = "spam-1.0-", "gone-1.0-"
	for what, c := range map[string]struct {
		index map[string]string
		// spoil is what happens to what was installed.
		spoil func(site string) error
		// command is a part of the remedy's; empty where there is none.
		command string
	}{
		"a file was changed": {
			index: map[string]string{name + published + ".whl": pack(t, distOf("spam", published, "", map[string]string{"spam/__init__.py": ""}))},
			spoil: func(site string) error {
				return os.WriteFile(site+"/spam/__init__.py", []byte("import nothing_there\n"), 0o644)
			},
			command: "--force-reinstall --no-deps spam",
		},
		"a module of another Python": {
			index: map[string]string{name + published + ".whl": pack(t, distOf("spam", published, "", sound))},
			spoil: func(site string) error {
				other := "spam.cpython-39-x86_64-linux-gnu.so"
				record, err := os.ReadFile(site + "/spam-1.0.dist-info/RECORD")
				return errors.Join(err, os.Rename(site+"/spam"+suffix, site+"/"+other),
					os.WriteFile(site+"/spam-1.0.dist-info/RECORD", bytes.Replace(record, []byte("spam"+suffix), []byte(other), 1), 0o644))
			},
			command: "--force-reinstall --no-deps --no-cache-dir spam",
		},
		"a requirement is not there": {
			index: map[string]string{
				name + published + ".whl":       pack(t, distOf("spam", published, "Requires-Dist: gone>=1\n", needy)),
				nameOfGone + published + ".whl": pack(t, distOf("gone", published, "", gone)),
			},
			command: "'gone>=1'",
		},
		"compiled elsewhere": {
			index: map[string]string{
				name + tag + ".whl": pack(t, distOf("spam", tag, "", lacking)),
				"spam-1.0.tar.gz":   sdist(t, name+tag+".whl", distOf("spam", tag, "", sound)),
			},
			command: "--no-cache-dir --no-binary spam",
		},
		"published": {index: map[string]string{name + published + ".whl": pack(t, distOf("spam", published, "", lacking))}},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			p := newPipped(t, exe, c.index)
			if c.spoil != nil {
				if err := c.spoil(p.site(t)); err != nil {
					t.Fatal(err)
				}
			}
			u := p.verdict(t, false)
			if !strings.Contains(u.Command, c.command) || (u.Command == "") != (c.command == "") {
				t.Fatalf("%s\n$ %s", u.Remedy, u.Command)
			}
			if c.command == "" {
				p.run(t, "pip install --force-reinstall --no-deps --no-cache-dir spam==1.0")
				p.verdict(t, false)
				return
			}
			for command := range strings.SplitSeq(u.Command, "\n") {
				p.run(t, command)
			}
			p.verdict(t, true)
		})
	}
}
