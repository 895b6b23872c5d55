package unpack

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/builder/relocate"
	"ampoule/builder/unpack/unpacktest"
	"ampoule/tree"
)

// The host's python3, with its pip, is a requirement of these tests.

// host is the host's python3 itself, without what may stand before it in PATH.
var host = sync.OnceValues(func() (Interpreter, error) {
	return describe("python3")
})

// describe asks an interpreter where it has what.
func describe(python string) (Interpreter, error) {
	out, err := exec.Command(python, "-I", "-c", `import os, sys, sysconfig
print(os.path.realpath(sys.prefix)[1:])
print(os.path.basename(os.path.realpath(sys.executable)))
print("%d.%d" % sys.version_info[:2])
paths = sysconfig.get_paths(scheme="posix_prefix", vars={"base": "/x", "platbase": "/x", "installed_base": "/x"})
print(os.path.relpath(paths["purelib"], "/x"))
print(os.path.relpath(paths["include"], "/x"))
print(sys.version_info[1], os.uname().machine)`).Output()
	words := strings.Split(strings.TrimSpace(string(out)), "\n")
	if err != nil || len(words) != 6 {
		return Interpreter{}, fmt.Errorf("asking %s: %q, %w", python, out, err)
	}
	in := Interpreter{Prefix: words[0], Executable: words[1], Version: words[2], Site: words[3], Headers: words[4]}
	_, err = fmt.Sscan(words[5], &in.Tags.Minor, &in.Tags.Machine)
	return in, err
}

// byPip installs wheels as builds did before wheels were unpacked in Go: pip, with the
// files relocated and RECORD written anew. pip is loaded once; each wheel has a process.
const byPip = `import glob, os, sys
relocate, pip, outs, prefix, site, *wheels = sys.argv[1:]
sys.dont_write_bytecode = True
sys.path.insert(0, relocate)
if pip: sys.path.insert(0, pip)
import ampoule_relocate
import pip._internal.commands.install
from pip._internal.cli.main import main

def install(wheel, out):
    if main(["install", "--prefix", out, "--ignore-installed", "--no-index", "--no-deps", "--no-compile", "--no-cache-dir", "--quiet", "--quiet",
             "--disable-pip-version-check", "--no-warn-script-location", "--root-user-action=ignore", "--break-system-packages", wheel]):
        sys.exit("pip cannot install the wheel")
    packages = os.path.join(out, site)
    for path in glob.glob(os.path.join(packages, "*.dist-info", "direct_url.json")):
        os.unlink(path)
        record = os.path.join(os.path.dirname(path), "RECORD")
        with open(record, encoding="utf-8") as f:
            rows = [row for row in f if ".dist-info/direct_url.json," not in row]
        with open(record, "w", encoding="utf-8", newline="\n") as f:
            f.writelines(rows)
    ampoule_relocate.relocate_scripts(os.path.join(out, "bin"), prefix)
    ampoule_relocate.fix_records(packages)

for wheel in wheels:
    child = os.fork()
    if child == 0:
        install(wheel, os.path.join(outs, os.path.basename(wheel)))
        sys.stdout.flush()
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        sys.exit(wheel + " was not installed")
`

// pipInstalls gives the trees that pip makes of wheels: an archive of pip, or the
// interpreter's own.
func pipInstalls(t *testing.T, in Interpreter, pip string, wheelFiles ...string) []*tree.Tree {
	t.Helper()
	dir, outs := t.TempDir(), t.TempDir()
	module := relocate.Module()
	code, err := module.ReadAll()
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, module.Path), code, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	args := append([]string{"-I", "-c", byPip, dir, pip, outs, "/" + in.Prefix, in.Site}, wheelFiles...)
	cmd := exec.Command("/"+in.Prefix+"/bin/"+in.Executable, args...)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Run(); err != nil {
		t.Fatalf("pip: %v\n%s", err, said.Bytes())
	}
	trees := make([]*tree.Tree, len(wheelFiles))
	for i, file := range wheelFiles {
		if trees[i], err = tree.FromDir(filepath.Join(outs, filepath.Base(file))); err != nil {
			t.Fatal(err)
		}
	}
	return trees
}

// Python's zipfile writes the forms of zip that Go's does not: ZIP64 fields, ZIP64 end
// records, and data descriptors behind members whose sizes were not known.
func TestZip64(t *testing.T) {
	t.Parallel()
	if _, err := host(); err != nil {
		t.Fatal(err)
	}
	const file = "zips-1.0-py3-none-any.whl"
	for name, how := range map[string]string{
		"ZIP64 fields":      `z = zipfile.ZipFile(out, "w")`,
		"ZIP64 end records": `zipfile.ZIP_FILECOUNT_LIMIT = 1; z = zipfile.ZipFile(out, "w")`,
		"descriptors": `class Unseekable:
    def __init__(self): self.f = open(out, "wb")
    def write(self, data): return self.f.write(data)
    def flush(self): self.f.flush()
z = zipfile.ZipFile(Unseekable(), "w", zipfile.ZIP_DEFLATED)`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			from, out := filepath.Join(t.TempDir(), file), filepath.Join(t.TempDir(), file)
			if err := os.WriteFile(from, unpacktest.Wheel(t, file, text("zips.py", "x = 1\n"), text("empty.py", "")), 0o644); err != nil {
				t.Fatal(err)
			}
			code := "import sys, zipfile\nsource, out = sys.argv[1:]\n" + how + `
for info in zipfile.ZipFile(source).infolist():
    with z.open(info.filename, "w", force_zip64=True) as f: f.write(zipfile.ZipFile(source).read(info))
z.close()`
			if said, err := exec.Command("python3", "-I", "-c", code, from, out).CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, said)
			}
			data, err := os.ReadFile(out)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := unpacked(t, file, data); err != nil {
				t.Error(err)
			}
		})
	}
}

// told says what each path of a tree is, with what is in short files that differ often.
func told(t *testing.T, tr *tree.Tree) map[string]string {
	t.Helper()
	files := map[string]string{}
	for _, e := range tr.Entries() {
		text := fmt.Sprintf("%d %v %d %s", e.Kind, e.Mode&fs.ModePerm, e.Size, e.SHA256)
		if e.Kind == tree.File && e.Size < 1<<20 && (filepath.Base(e.Path) == "RECORD" || strings.HasPrefix(e.Path, "bin/")) {
			data, err := e.ReadAll()
			if err != nil {
				t.Fatal(err)
			}
			text += "\n" + string(data)
		}
		files[e.Path] = text
	}
	return files
}

// compareWithPip compares a wheel, unpacked, with what pip made of it.
func compareWithPip(t *testing.T, in Interpreter, want *tree.Tree, wheelFile string) {
	t.Helper()
	f, err := os.Open(wheelFile)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	w, err := Open(f, info.Size(), filepath.Base(wheelFile), in)
	if err != nil {
		t.Fatal(err)
	}
	got, err := w.Tree(nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(told(t, want), told(t, got)); diff != "" {
		t.Errorf("(-pip +unpacked):\n%s", diff)
	}
	for _, e := range got.Entries() {
		if e.Kind == tree.File {
			if _, err := e.ReadAll(); err != nil {
				t.Error(err)
			}
		}
	}
}
