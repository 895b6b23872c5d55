package seal

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/builder/relocate"
	"ampoule/store"
	"ampoule/tree"
)

// What a file does not find by its own search path it is to find in the tree's lib.
func TestCarriedPath(t *testing.T) {
	t.Parallel()
	files := map[string]tree.Entry{site + "x.libs/libx.so.1": {}, "lib/liby.so.1": {}}
	for name, c := range map[string]struct {
		file   string
		needed []string
		search string
		want   string
	}{
		"finds all":              {site + "x/m.so", []string{"libc.so.6", "libx.so.1"}, "$ORIGIN/../x.libs", ""},
		"glibc alone":            {site + "x/m.so", []string{"libc.so.6", "libm.so.6", "ld-linux-x86-64.so.2"}, "", ""},
		"nothing":                {site + "x/m.so", nil, "", ""},
		"lacks one":              {site + "x/m.so", []string{"libx.so.1", "libstdc++.so.6"}, "$ORIGIN/../x.libs", "$ORIGIN/../x.libs:$ORIGIN/../../.."},
		"lacks one, in braces":   {site + "x/m.so", []string{"libx.so.1"}, "${ORIGIN}/../x.libs", ""},
		"has none":               {site + "m.so", []string{"libstdc++.so.6"}, "", "$ORIGIN/../.."},
		"has that already":       {site + "x/m.so", []string{"libstdc++.so.6"}, "$ORIGIN/../../..", ""},
		"of the build's machine": {site + "m.so", []string{"libx.so.1"}, "/usr/lib:", "/usr/lib:$ORIGIN/../.."},
		"in lib":                 {"lib/libz.so.1", []string{"liby.so.1"}, "", "$ORIGIN"},
		"in lib, finds it":       {"lib/libz.so.1", []string{"liby.so.1"}, "$ORIGIN", ""},
		"in bin":                 {"bin/tool", []string{"liby.so.1"}, "", "$ORIGIN/../lib"},
	} {
		got, wanted := carriedPath(c.file, &linking{needed: c.needed, search: c.search}, files)
		if got != c.want || wanted != (c.want != "") {
			t.Errorf("%s: %q, %t; want %q", name, got, wanted, c.want)
		}
	}
}

// What the loader would look at is read of ELF files, and of no others.
func TestLinking(t *testing.T) {
	t.Parallel()
	st, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	f := &finisher{stage: &Stage{Store: st}}
	got, err := f.linking(shared(t, site+"m.so", "liba.so.1", "libc.so.6"))
	if err != nil || got == nil || got.search != "" {
		t.Fatalf("a module: %+v, %v", got, err)
	}
	if diff := cmp.Diff([]string{"liba.so.1", "libc.so.6"}, got.needed); diff != "" {
		t.Errorf("needed (-want +got):\n%s", diff)
	}
	for _, flags := range [][]string{{"-Wl,-rpath,$ORIGIN/x"}, {"-Wl,--disable-new-dtags,-rpath,$ORIGIN/x"}} {
		if got, err = f.linking(compiled(t, site+"m.so", "", append(flags, "-shared")...)); err != nil || got.search != "$ORIGIN/x" {
			t.Errorf("with %q: %+v, %v", flags, got, err)
		}
	}
	for _, text := range []string{"", "x", "\x7fEL", "\x7fELF", "\x7fELF and no more"} {
		if got, err := f.linking(tree.FileEntry("x", 0o644, []byte(text))); got != nil || err != nil {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
}

// runFinish runs finish_wheel.py as a sandbox does, with the host's python3, and returns
// the tree and what was said.
func runFinish(t *testing.T, told job, files map[string]string, setup string) (*tree.Tree, string, error) {
	t.Helper()
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		file := filepath.Join(dir, name)
		err := os.MkdirAll(filepath.Dir(file), 0o755)
		if err == nil {
			err = os.WriteFile(file, []byte(text), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	module := relocate.Module()
	code, err := module.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(told)
	if err != nil {
		t.Fatal(err)
	}
	write(module.Path, string(code))
	write("finish_wheel.py", string(finishScript))
	write("job.json", string(data))
	write("tree/.keep", "")
	for name, text := range files {
		write("tree/"+name, text)
	}
	program := "import sys, runpy; sys.argv = sys.argv[1:]\n" + setup + "\nrunpy.run_path(sys.argv[0], run_name='__main__')"
	cmd := exec.Command("python3", "-I", "-S", "-B", "-c", program, filepath.Join(dir, "finish_wheel.py"), "/opt/ampoule", "2")
	said, failed := cmd.CombinedOutput()
	got, err := tree.FromDir(filepath.Join(dir, "tree"))
	if err != nil {
		t.Fatal(err)
	}
	return got, string(said), failed
}

// A file that is no Python stays without bytecode, and the others have theirs.
func TestFinishWheel(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat("(", 5000) + strings.Repeat(")", 5000)
	got, said, err := runFinish(t, job{Patches: []patch{}, Compile: true, Site: "site"}, map[string]string{
		"site/good.py": "x = 1\n", "site/template.py": "{{ no Python }}\n", "site/deep.py": "x = " + deep + "\n", "site/nul.py": "x\x00y\n", "site/a/__init__.py": "",
	}, "")
	if err != nil || !strings.Contains(said, "SyntaxError") {
		t.Fatalf("%v\n%s", err, said)
	}
	var made []string
	for _, e := range got.Entries() {
		if strings.HasSuffix(e.Path, ".pyc") {
			made = append(made, e.Path[:strings.Index(e.Path, ".cpython")])
		}
	}
	if diff := cmp.Diff([]string{"site/__pycache__/good", "site/a/__pycache__/__init__"}, made); diff != "" {
		t.Errorf("bytecode (-want +got):\n%s", diff)
	}
	// The hash in the header is that of the source, as this package computes it.
	for _, e := range got.Entries() {
		if !strings.HasSuffix(e.Path, ".pyc") {
			continue
		}
		data, err := e.ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		b := bytecode{suffix: e.Path[strings.Index(e.Path, ".cpython"):], magic: data[:4]}
		source := map[bool]string{true: "x = 1\n", false: ""}[strings.Contains(e.Path, "good")]
		if err := b.check(e, tree.FileEntry("x.py", 0o644, []byte(source))); err != nil {
			t.Error(err)
		}
		if err := b.check(e, tree.FileEntry("x.py", 0o644, []byte("other"))); err == nil {
			t.Error("bytecode of another source passes")
		}
	}
}

// A file that ends the compiler's process is told by its name.
func TestFinishWheelTellsCulprit(t *testing.T) {
	t.Parallel()
	// It stands for a fault of the compiler, of which none is known.
	setup := `import os
os.environ["PYTHONPATH"] = ""
import subprocess
run = subprocess.run
def crashing(args, **options):
    if "bad.py" in options.get("input", ""):
        raise subprocess.CalledProcessError(-11, args)
    return run(args, **options)
subprocess.run = crashing`
	_, said, err := runFinish(t, job{Patches: []patch{}, Compile: true, Site: "site"}, map[string]string{"site/good.py": "x = 1\n", "site/p/bad.py": "x = 2\n"}, setup)
	if err == nil || !strings.Contains(said, "the compiler ended with -11, at: p/bad.py\n") {
		t.Errorf("%v\n%s", err, said)
	}
}

// ELF files get the search path that they are told to get.
func TestFinishWheelPatches(t *testing.T) {
	t.Parallel()
	setup := `import subprocess
def patchelf(args, **options):
    with open(args[-1], "a") as f: f.write(" ".join(args[:-1]))
subprocess.run = patchelf`
	got, said, err := runFinish(t, job{Patches: []patch{{"site/m.so", "$ORIGIN/../lib"}}}, map[string]string{"site/m.so": "ELF ", "site/x.py": ""}, setup)
	if err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	e, _ := got.Lookup("site/m.so")
	if data, err := e.ReadAll(); string(data) != "ELF patchelf --force-rpath --set-rpath $ORIGIN/../lib" || err != nil {
		t.Errorf("%q, %v", data, err)
	}
	if diff := cmp.Diff([]string{".keep", "site/m.so", "site/x.py"}, paths(got)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

// The hash is the one that the host's python3 computes.
func TestSourceHash(t *testing.T) {
	t.Parallel()
	for suffix, rounds := range map[string]int{".cpython-310.pyc": 2, ".cpython-39.pyc": 2, ".cpython-311.pyc": 1, ".cpython-313.pyc": 1, ".cpython-314t.pyc": 1} {
		if got := roundsOf(suffix); got != rounds {
			t.Errorf("%s: %d rounds", suffix, got)
		}
	}
	out, err := exec.Command("python3", "-I", "-c", `import importlib.util, sys
print(importlib.util.MAGIC_NUMBER.hex(), sys.implementation.cache_tag)
for n in (0, 1, 7, 8, 9, 300): print(importlib.util.source_hash(b"x" * n).hex())`).Output()
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if err != nil || len(lines) != 7 {
		t.Fatalf("%q, %v", out, err)
	}
	magic, tag, _ := strings.Cut(lines[0], " ")
	number, err := hex.DecodeString(magic)
	if err != nil {
		t.Fatal(err)
	}
	for i, n := range []int{0, 1, 7, 8, 9, 300} {
		if got := fmt.Sprintf("%x", sourceHash(number, []byte(strings.Repeat("x", n)), roundsOf("."+tag+".pyc"))); got != lines[i+1] {
			t.Errorf("%s: of %d bytes %s, want %s", tag, n, got, lines[i+1])
		}
	}
}
