package relocate

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/tree"
)

// The host's python3 and gcc are requirements of these tests.

// interpreter is the host's python3 itself, without what may stand before it in PATH.
var interpreter = sync.OnceValues(func() (string, error) {
	out, err := exec.Command("python3", "-I", "-c", "import sys; print(sys.executable)").Output()
	return strings.TrimSuffix(string(out), "\n"), err
})

// python runs code that has the module as r and its arguments in sys.argv.
func python(t *testing.T, code string, args ...string) string {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, Module().Path), string(module), 0o644)
	code = "import sys; sys.dont_write_bytecode = True; sys.path.insert(0, " + fmt.Sprintf("%q", dir) + "); import ampoule_relocate as r\n" + code
	executable, err := interpreter()
	if err != nil {
		t.Fatalf("finding python3: %v", err)
	}
	return run(t, executable, append([]string{"-I", "-c", code}, args...)...)
}

// run runs a command and returns its standard output.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	var out, complaints bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaints
	if err := cmd.Run(); err != nil {
		t.Fatalf("running %s: %v\n%s", name, err, &complaints)
	}
	return out.String()
}

func write(t *testing.T, name, text string, mode fs.FileMode) {
	t.Helper()
	err := os.MkdirAll(filepath.Dir(name), 0o755)
	if err == nil {
		err = os.WriteFile(name, []byte(text), 0o644)
	}
	if err == nil {
		err = os.Chmod(name, mode)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func mode(t *testing.T, name string) fs.FileMode {
	t.Helper()
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode()
}

func TestModule(t *testing.T) {
	t.Parallel()
	e := Module()
	data, err := e.ReadAll()
	if err != nil || e.Kind != tree.File || e.Mode != 0o644 || e.Path != "ampoule_relocate.py" || !bytes.Equal(data, module) {
		t.Errorf("module %+v, %v", e, err)
	}
}

// TestRelocatedScripts runs a script where it was not installed: in a directory
// with an odd name, and through a link.
func TestRelocatedScripts(t *testing.T) {
	t.Parallel()
	root := filepath.Join(t.TempDir(), "it's a [new] $place")
	bin := filepath.Join(root, "bin")
	script := filepath.Join(bin, "tool")
	write(t, script, "#!/built/here/bin/python3.13 -E\n'''What it says.'''\nfrom __future__ import annotations\nimport sys\nprint(__doc__, sys.flags.ignore_environment, sys.argv[1:])\nsys.exit(3 if 'fail' in sys.argv else 0)\n", 0o755)
	write(t, filepath.Join(bin, "python3.13"), "#!/bin/sh\necho beside\nexec python3 \"$@\"\n", 0o755)
	python(t, "r.relocate_scripts(sys.argv[1], '/built/here')", bin)
	if mode(t, script) != 0o755 {
		t.Errorf("mode %v", mode(t, script))
	}
	if strings.Contains(read(t, script), "/built/here") {
		t.Errorf("the script still names where it was built:\n%s", read(t, script))
	}
	link := filepath.Join(t.TempDir(), "linked tool")
	if err := os.Symlink(script, link); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{script, link} {
		out := run(t, name, "one two", "$HOME")
		if !strings.HasPrefix(out, "beside\n") || !strings.HasSuffix(out, "What it says. 1 ['one two', '$HOME']\n") {
			t.Errorf("%s prints %q", name, out)
		}
	}
	err := exec.Command(script, "fail").Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 3 {
		t.Errorf("a script that exits with 3 gives %v", err)
	}
}

func TestOtherFilesOfBinAreKept(t *testing.T) {
	t.Parallel()
	bin := t.TempDir()
	for name, text := range map[string]string{
		"shell":      "#!/bin/sh\nexec /built/here/bin/python3\n",
		"env":        "#!/usr/bin/env python3\n",
		"look-alike": "#!/built/here2/bin/python3\n",
		"outside":    "#!/built/here/lib/python3\n",
		"empty":      "",
		"binary":     "\x7fELF#!/built/here/bin/python3\n",
		"later":      "\n#!/built/here/bin/python3\n",
		"sub/script": "#!/built/here/bin/python3\n",
	} {
		write(t, filepath.Join(bin, name), text, 0o755)
	}
	if err := os.Symlink("sub/script", filepath.Join(bin, "link")); err != nil {
		t.Fatal(err)
	}
	before := contents(t, bin)
	python(t, "r.relocate_scripts(sys.argv[1], '/built/here')", bin)
	if diff := cmp.Diff(before, contents(t, bin)); diff != "" {
		t.Errorf("files changed (-before +after):\n%s", diff)
	}
}

// contents maps the files below a directory to what they hold.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	got, err := tree.FromDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, e := range got.Entries() {
		if e.Kind == tree.File {
			files[e.Path] = read(t, filepath.Join(dir, e.Path))
		}
	}
	return files
}

// recordHash is the hash as RECORD spells it.
func recordHash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "sha256=" + base64.RawURLEncoding.EncodeToString(sum[:])
}

func TestFixRecords(t *testing.T) {
	t.Parallel()
	root := filepath.Join(t.TempDir(), "[x]")
	site := filepath.Join(root, "lib", "site-packages")
	write(t, filepath.Join(site, "a", "b,ü.py"), "changed", 0o644)
	write(t, filepath.Join(root, "bin", "a"), "rewritten", 0o755)
	write(t, filepath.Join(site, "a", "_vendor", "v-1.dist-info", "RECORD"), "untouched,sha256=x,1\n", 0o644)
	info := filepath.Join(site, "a-1.dist-info", "RECORD")
	write(t, info, strings.Join([]string{
		`a-1.dist-info/RECORD,,`, `"a/b,ü.py",sha256=old,3`, `a/__pycache__/b.cpython-313.pyc,sha256=old,3`,
		`../../bin/a,sha512=old,3`, `a/unhashed.py,,`, "",
	}, "\r\n"), 0o644)
	python(t, "r.fix_records(sys.argv[1])", site)
	want := "../../bin/a," + recordHash("rewritten") + ",9\n" +
		"a-1.dist-info/RECORD,,\n" +
		"\"a/b,ü.py\"," + recordHash("changed") + ",7\n" +
		"a/unhashed.py,,\n"
	if diff := cmp.Diff(want, read(t, info)); diff != "" {
		t.Errorf("RECORD (-want +got):\n%s", diff)
	}
	vendored := filepath.Join(site, "a", "_vendor", "v-1.dist-info", "RECORD")
	if got := read(t, vendored); got != "untouched,sha256=x,1\n" {
		t.Errorf("the RECORD of a vendored distribution, a file like any other, is now %q", got)
	}
}

func TestFixRecordsRefusesAMissingFile(t *testing.T) {
	t.Parallel()
	site := t.TempDir()
	write(t, filepath.Join(site, "a-1.dist-info", "RECORD"), "gone.py,sha256=x,1\n", 0o644)
	got := python(t, "try:\n    r.fix_records(sys.argv[1])\nexcept FileNotFoundError as e:\n    print(e.filename)", site)
	if want := filepath.Join(site, "gone.py") + "\n"; got != want {
		t.Errorf("missing: %q, want %q", got, want)
	}
}

func TestCompileAll(t *testing.T) {
	t.Parallel()
	var made [2]map[string]string
	for i := range made {
		site := filepath.Join(t.TempDir(), "out", "lib")
		write(t, filepath.Join(site, "good.py"), "def f(): pass\n", 0o644)
		write(t, filepath.Join(site, "template.py"), "{{ no Python }}\n", 0o644)
		write(t, filepath.Join(site, "bad_coding.py"), "x = 1\n", 0o644)
		if i == 1 {
			// Bytecode must not depend on when the source was written.
			if err := os.Chtimes(filepath.Join(site, "good.py"), tree.Time, tree.Time); err != nil {
				t.Fatal(err)
			}
		}
		python(t, "r.compile_all(sys.argv[1], sys.argv[2], '/opt/ampoule', sys.argv[3])", site, filepath.Dir(site), fmt.Sprint(i+1))
		made[i] = contents(t, site)
		if len(made[i]) != 4 {
			t.Errorf("files after compiling: %d", len(made[i]))
		}
		for name, data := range made[i] {
			if !strings.HasSuffix(name, ".pyc") {
				continue
			}
			if !strings.HasPrefix(name, "__pycache__/good.") {
				t.Errorf("%s was compiled", name)
			}
			// PEP 552: bit 0 says that there is a hash, bit 1 that it is compared.
			if flags := data[4:8]; flags != "\x01\x00\x00\x00" {
				t.Errorf("flags % x", flags)
			}
			if !strings.Contains(data, "/opt/ampoule/lib/good.py") || strings.Contains(data, filepath.Dir(site)) {
				t.Error("the bytecode names the directory that it was compiled in")
			}
		}
	}
	if diff := cmp.Diff(made[0], made[1]); diff != "" {
		t.Errorf("compiled twice (-first +second):\n%s", diff)
	}
}

// What a process loaded and compiled before is in the bytecode of what it compiles next:
// neither the number of jobs nor bytecode that is there already may decide it.
func TestCompileManyFiles(t *testing.T) {
	t.Parallel()
	var made []map[string]string
	for _, jobs := range []string{"1", "3"} {
		site := filepath.Join(t.TempDir(), "out", "lib")
		for i := range 420 {
			// Some have a class whose qualified name others have as a text.
			text := fmt.Sprintf("class A%d:\n    class B:\n        pass\n", i%7)
			if i%3 == 0 {
				text = fmt.Sprintf("x = {'A%d.B': 1}\n", i%7)
			}
			write(t, filepath.Join(site, fmt.Sprintf("p%d/m%d.py", i%5, i)), text, 0o644)
		}
		python(t, "r.compile_all(sys.argv[1], sys.argv[2], '/opt/ampoule', sys.argv[3])", site, filepath.Dir(site), jobs)
		made = append(made, contents(t, site))
	}
	if len(made[0]) != 840 {
		t.Errorf("%d files", len(made[0]))
	}
	if diff := cmp.Diff(made[0], made[1]); diff != "" {
		t.Errorf("with one job and with three (-one +three):\n%s", diff)
	}
	empty := t.TempDir()
	python(t, "r.compile_all(sys.argv[1], sys.argv[1], '/', '2')", empty)
	if got := contents(t, empty); len(got) > 0 {
		t.Errorf("a directory without sources: %v", got)
	}
}

func TestStrip(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	lib, debug := filepath.Join(dir, "liba.so"), filepath.Join(dir, "debug", "lib", "liba.so.debug")
	write(t, filepath.Join(dir, "a.c"), "static int hidden(void) { return 1; } int shown(void) { return hidden(); }\n", 0o644)
	run(t, "gcc", "-g", "-O0", "-shared", "-fPIC", "-nostdlib", "-o", lib, filepath.Join(dir, "a.c"))
	if err := os.Chmod(lib, 0o555); err != nil {
		t.Fatal(err)
	}
	python(t, "assert r.is_elf(sys.argv[1]); r.strip(sys.argv[1], sys.argv[2])", lib, debug)
	if mode(t, lib) != 0o555 {
		t.Errorf("mode %v", mode(t, lib))
	}
	stripped := read(t, lib)
	if strings.Contains(stripped, ".debug_info") || strings.Contains(stripped, "hidden") || !strings.Contains(stripped, "shown") {
		t.Error("the library has its debug information or lost its exported symbol")
	}
	if !strings.Contains(stripped, "liba.so.debug\x00") {
		t.Error("the library does not name its debug information")
	}
	if !strings.Contains(read(t, debug), ".debug_info") {
		t.Error("the debug information is not kept")
	}
	if _, err := os.Stat(lib + ".new"); err == nil {
		t.Error("a temporary file is left")
	}
}

// patchelf stands in for the tool, which is in the toolchain's image: it answers
// from the variables NEEDED and RPATH, and appends what it is told to do to the file.
const patchelf = `#!/bin/sh
case $1 in
--print-needed) [ -n "$NEEDED" ] || exit 1; printf '%s\n' $NEEDED ;;
--print-rpath) printf '%s\n' "$RPATH" ;;
*) for last; do :; done; echo "$1 $2 $3" >> "$last" ;;
esac
`

func withPatchelf(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "patchelf"), patchelf, 0o755)
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

func TestFindCarried(t *testing.T) {
	withPatchelf(t)
	name := filepath.Join(t.TempDir(), "lib", "x.so")
	for place, want := range map[string]string{"..": "$ORIGIN/..", ".": "$ORIGIN", "../../lib": "$ORIGIN/../../lib"} {
		write(t, name, "ELF\n", 0o555)
		python(t, "r.find_carried(sys.argv[1], sys.argv[2])", name, place)
		if got, want := read(t, name), "ELF\n--force-rpath --set-rpath "+want+"\n"; got != want || mode(t, name) != 0o555 {
			t.Errorf("place %s: %q with mode %v, want %q", place, got, mode(t, name), want)
		}
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
}

func TestNeedsCarried(t *testing.T) {
	withPatchelf(t)
	for _, c := range []struct{ needed, rpath, want string }{
		{"libc.so.6 libm.so.6 ld-linux-x86-64.so.2", "", "False"},
		{"libc.so.6 libcrypt.so.1", "", "True"},
		{"libcurl.so.4", "", "True"},
		{"libstdc++.so.6", "$ORIGIN/../x.libs", "False"},
		{"", "", "False"},
	} {
		t.Setenv("NEEDED", c.needed)
		t.Setenv("RPATH", c.rpath)
		if got := python(t, "print(r.needs_carried('x'))"); got != c.want+"\n" {
			t.Errorf("needed %q with RPATH %q: %s", c.needed, c.rpath, got)
		}
	}
}

func TestKeepOwnRPATH(t *testing.T) {
	withPatchelf(t)
	name := filepath.Join(t.TempDir(), "x.so")
	for _, c := range []struct{ rpath, want string }{
		{"", ""},
		{"$ORIGIN/../x.libs", ""},
		{"$ORIGIN/../x.libs:/usr/lib/x86_64-linux-gnu/hdf5/serial:$ORIGIN", "--set-rpath $ORIGIN/../x.libs:$ORIGIN " + name + ".new\n"},
		{"/usr/lib/x86_64-linux-gnu/hdf5/serial", "--remove-rpath " + name + ".new \n"},
		{"$ORIGINAL/lib", "--remove-rpath " + name + ".new \n"},
	} {
		t.Setenv("RPATH", c.rpath)
		write(t, name, "ELF\n", 0o644)
		python(t, "r.keep_own_rpath(sys.argv[1])", name)
		if got, want := read(t, name), "ELF\n"+c.want; got != want {
			t.Errorf("RPATH %q: %q, want %q", c.rpath, got, want)
		}
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
}
