package wheels

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/audit"
	"ampoule/builder/relocate"
	"ampoule/recipes"
)

// python finds the host's python3, a requirement of these tests: the scripts that
// run in sandboxes are for Python 3.11 and later.
var python = sync.OnceValues(func() (string, error) {
	name, err := exec.LookPath("python3")
	if err != nil {
		return "", err
	}
	return name, exec.Command(name, "-c", "import sys; sys.exit(sys.version_info < (3, 11))").Run()
})

// driver is a directory with the driver and what it imports.
func driver(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	module := relocate.Module()
	text, err := module.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"driver.py": driverScript, module.Path: text} {
		write(t, filepath.Join(dir, name), data)
	}
	// The toolchain has patchelf, this host perhaps not: what is compiled here needs no library.
	write(t, filepath.Join(dir, "bin", "patchelf"), []byte("#!/bin/sh\nexit 0\n"))
	if err := os.Chmod(filepath.Join(dir, "bin", "patchelf"), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// call runs a statement after "from driver import *" and returns what it prints.
func call(t *testing.T, dir, statement string, args ...string) (string, error) {
	t.Helper()
	interpreter, err := python()
	if err != nil {
		t.Fatalf("these tests need python3, of 3.11 or later: %v", err)
	}
	script := "import sys; sys.path.insert(0, " + `"` + dir + `"` + "); from driver import *\n" + statement
	cmd := exec.Command(interpreter, append([]string{"-c", script}, args...)...)
	cmd.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1", "PATH="+filepath.Join(dir, "bin")+":"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

func write(t *testing.T, name string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// member is a file of an archive.
type member struct {
	name, text string
	mode       os.FileMode
}

func tarGz(t *testing.T, members ...member) []byte {
	t.Helper()
	var buf bytes.Buffer
	z := gzip.NewWriter(&buf)
	w := tar.NewWriter(z)
	for _, m := range members {
		if err := w.WriteHeader(&tar.Header{Name: m.name, Mode: 0o644, Size: int64(len(m.text)), Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, m.text); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	z.Close()
	return buf.Bytes()
}

func zipped(t testing.TB, members ...member) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := zip.NewWriter(&buf)
	for _, m := range members {
		header := &zip.FileHeader{Name: m.name, Method: zip.Deflate}
		header.SetMode(m.mode | 0o600)
		f, err := w.CreateHeader(header)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(f, m.text); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func plain(name string) tar.Header { return tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644} }

func linked(name, target string, kind byte) tar.Header {
	return tar.Header{Name: name, Linkname: target, Typeflag: kind, Mode: 0o644}
}

// tarOf is an archive of headers without content.
func tarOf(t *testing.T, headers ...tar.Header) []byte {
	t.Helper()
	var buf bytes.Buffer
	z := gzip.NewWriter(&buf)
	w := tar.NewWriter(z)
	for _, h := range headers {
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func TestDriverUnpack(t *testing.T) {
	t.Parallel()
	dir := driver(t)
	project := member{"demo-1.0/setup.py", "setup()\n", 0o644}
	for name, c := range map[string]struct {
		archive []byte
		want    string
		fails   bool
	}{
		"demo-1.0.tar.gz":   {tarGz(t, project), "demo-1.0 ['setup.py']", false},
		"demo-1.0.zip":      {zipped(t, project), "demo-1.0 ['setup.py']", false},
		"two-1.0.tar.gz":    {tarGz(t, project, member{"other/x", "", 0}), "this one holds: demo-1.0, other", true},
		"file-1.0.tar.gz":   {tarGz(t, member{"setup.py", "", 0}), "this one holds: setup.py", true},
		"out-1.0.tar.gz":    {tarGz(t, project, member{"demo-1.0/../../../out", "", 0}), "outside the destination", true},
		"abs-1.0.tar.gz":    {tarGz(t, project, member{"/tmp/out", "", 0}), "outside the destination", true},
		"inside-1.0.tar.gz": {tarOf(t, linked("demo-1.0/a", "../demo-1.0/b", tar.TypeSymlink), plain("demo-1.0/b")), "demo-1.0 ['a', 'b']", false},
		"link-1.0.tar.gz":   {tarOf(t, linked("demo-1.0/a", "../../etc", tar.TypeSymlink)), "'demo-1.0/a' is outside", true},
		"root-1.0.tar.gz":   {tarOf(t, linked("demo-1.0/a", "/etc", tar.TypeSymlink)), "'demo-1.0/a' is outside", true},
		"hard-1.0.tar.gz":   {tarOf(t, linked("demo-1.0/a", "../driver.py", tar.TypeLink)), "'demo-1.0/a' is outside", true},
		"below-1.0.tar.gz":  {tarOf(t, linked("demo-1.0/a", ".", tar.TypeSymlink), plain("demo-1.0/a/b")), "below the link", true},
		"twice-1.0.tar.gz":  {tarOf(t, linked("demo-1.0/d", ".", tar.TypeSymlink), linked("demo-1.0/e", "d/../../out", tar.TypeSymlink), plain("demo-1.0/e")), "'demo-1.0/e'", true},
		"chain-1.0.tar.gz":  {tarOf(t, linked("demo-1.0/e", "d/../x", tar.TypeSymlink), linked("demo-1.0/d", ".", tar.TypeSymlink)), "below the link", true},
		"file-2.0.tar.gz":   {tarOf(t, linked("demo-1.0/e", "x", tar.TypeSymlink), plain("demo-1.0/e")), "is a link, too", true},
		"device-1.0.tar.gz": {tarOf(t, linked("demo-1.0/null", "", tar.TypeChar)), "a device or a pipe", true},
		"pipe-1.0.tar.gz":   {tarOf(t, linked("demo-1.0/pipe", "", tar.TypeFifo)), "a device or a pipe", true},
		"many-1.0.tar.gz":   {tarGz(t, project, member{"demo-1.0/1", "", 0}, member{"demo-1.0/2", "", 0}, member{"demo-1.0/3", "", 0}), "more than 3 files", true},
		"large-1.0.tar.gz":  {tarGz(t, project, member{"demo-1.0/1", strings.Repeat("x", 101), 0}), "or 100 bytes", true},
		"large-1.0.zip":     {zipped(t, project, member{"demo-1.0/1", strings.Repeat("x", 101), 0}), "or 100 bytes", true},
	} {
		write(t, filepath.Join(dir, "sdist", name), c.archive)
		got, err := call(t, dir, "import driver; driver.MAX_FILES, driver.MAX_BYTES = 3, 100\ns = unpack(*sys.argv[1:]); print(os.path.basename(s), sorted(os.listdir(s)))", filepath.Join(dir, "sdist", name), filepath.Join(dir, "src-"+name))
		if !strings.Contains(got, c.want) || (err != nil) != c.fails {
			t.Errorf("%s: %s, %v", name, got, err)
		}
	}
}

func TestDriverBuildSystem(t *testing.T) {
	t.Parallel()
	dir := driver(t)
	for name, c := range map[string]struct{ text, want string }{
		"none":     {"", "('setuptools.build_meta:__legacy__', [])"},
		"no table": {"[tool.black]\n", "('setuptools.build_meta:__legacy__', [])"},
		"backend":  {"[build-system]\nrequires = []\nbuild-backend = \"flit_core.buildapi\"\n", "('flit_core.buildapi', [])"},
		"in-tree":  {"[build-system]\nrequires = []\nbuild-backend = \"b\"\nbackend-path = [\".\"]\n", "('b', ['.'])"},
	} {
		source := filepath.Join(dir, name)
		if err := os.MkdirAll(source, 0o755); err != nil {
			t.Fatal(err)
		}
		if c.text != "" {
			write(t, filepath.Join(source, "pyproject.toml"), []byte(c.text))
		}
		if got, err := call(t, dir, "print(backend_of(build_system(sys.argv[1])))", source); err != nil || got != c.want {
			t.Errorf("%s: %s, %v", name, got, err)
		}
	}
}

// extensionModule compiles a shared object with debug information, with the host's
// gcc, a requirement of these tests.
func extensionModule(t *testing.T) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "m.so")
	cmd := exec.Command("gcc", "-g", "-shared", "-fPIC", "-nostdlib", "-x", "c", "-", "-o", name)
	cmd.Stdin = strings.NewReader("int PyInit_m(void) { return 0; }\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("compiling a module: %v\n%s", err, out)
	}
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// However a backend packs a wheel, the finished one has the same bytes, its RECORD
// holds, and what was stripped is where it will be looked for.
func TestDriverFinishWheel(t *testing.T) {
	t.Parallel()
	so := extensionModule(t)
	info := "demo-1.0.dist-info/"
	members := []member{
		{info + "RECORD", "", 0o664},
		{info + "METADATA", "Name: demo\nVersion: 1.0\n", 0o664},
		{info + "WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: cp313-cp313-linux_x86_64\n", 0o664},
		{"demo/__init__.py", "", 0o600},
		{"demo/m.cpython-313-x86_64-linux-gnu.so", so, 0o700},
		{`demo/a,"b".txt`, "text", 0o666},
	}
	const file = "demo-1.0-cp313-cp313-linux_x86_64.whl"
	var sums [][32]byte
	for range 2 {
		dir := driver(t)
		wheel := filepath.Join(dir, "out", file)
		write(t, wheel, zipped(t, members...))
		if out, err := call(t, dir, "finish_wheel(sys.argv[1])", wheel); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		data, err := os.ReadFile(wheel)
		if err != nil {
			t.Fatal(err)
		}
		sums = append(sums, sha256.Sum256(data))
		checkFinished(t, dir, data, file, so)
		// The other way round, with other modes that mean the same.
		slices.Reverse(members)
		for i := range members {
			members[i].mode = members[i].mode&0o100 | 0o640
		}
	}
	if sums[0] != sums[1] {
		t.Error("two wheels of the same files differ")
	}
}

func checkFinished(t *testing.T, dir string, data []byte, file, so string) {
	t.Helper()
	if findings := audit.CheckWheel(bytes.NewReader(data), int64(len(data)), file); len(findings) > 0 {
		t.Errorf("findings: %+v", findings)
	}
	z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range z.File {
		names = append(names, f.Mode().String()+" "+f.Name)
		if strings.HasSuffix(f.Name, ".so") && f.UncompressedSize64 >= uint64(len(so)) {
			t.Errorf("%s has %d bytes, %d before", f.Name, f.UncompressedSize64, len(so))
		}
	}
	want := []string{
		"-rw-r--r-- demo/__init__.py", `-rw-r--r-- demo/a,"b".txt`, "-rwxr-xr-x demo/m.cpython-313-x86_64-linux-gnu.so",
		"-rw-r--r-- demo-1.0.dist-info/METADATA", "-rw-r--r-- demo-1.0.dist-info/WHEEL", "-rw-r--r-- demo-1.0.dist-info/RECORD",
	}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("members (-want +got):\n%s", diff)
	}
	debug, err := filepath.Glob(filepath.Join(dir, "debug/lib/python*/site-packages/demo/m.cpython-313-x86_64-linux-gnu.so.debug"))
	if err != nil || len(debug) != 1 {
		t.Errorf("debug information: %v, %v", debug, err)
	}
}

// backendModule is a backend in the sdist itself. What it wants stands in a file, and
// what it was told comes back in its metadata.
const backendModule = `import json, os
def get_requires_for_build_wheel(settings=None):
    with open("wants") as f:
        return f.read().splitlines()
def prepare_metadata_for_build_wheel(out, settings=None):
    os.makedirs(os.path.join(out, "demo-1.0.dist-info"))
    with open(os.path.join(out, "demo-1.0.dist-info", "METADATA"), "w") as f:
        f.write("Name: demo\nSettings: %s\n" % json.dumps(settings, sort_keys=True))
    return "demo-1.0.dist-info"
def build_wheel(out, settings=None, metadata=None):
    raise SystemExit(7)
`

// project is an sdist with that backend.
func project(t *testing.T, wants string) []byte {
	t.Helper()
	return tarGz(t, member{name: "demo-1.0/pyproject.toml", text: inTree}, member{name: "demo-1.0/backend.py", text: backendModule}, member{name: "demo-1.0/wants", text: wants})
}

const inTree = "[build-system]\nrequires = [\"old\"]\nbuild-backend = \"backend\"\nbackend-path = [\".\"]\n"

// drive runs the driver as sandboxes do, with config settings as JSON and further files.
// result is what it answers.
func drive(t *testing.T, mode, settings string, sdist []byte, more map[string]string) (dir, result, said string, code int) {
	t.Helper()
	interpreter, err := python()
	if err != nil {
		t.Fatalf("these tests need python3, of 3.11 or later: %v", err)
	}
	dir = driver(t)
	write(t, filepath.Join(dir, "sdist", "demo-1.0.tar.gz"), sdist)
	write(t, filepath.Join(dir, "job.json"), []byte(`{"config_settings": `+settings+`}`))
	for name, text := range more {
		write(t, filepath.Join(dir, name), []byte(text))
	}
	cmd := exec.Command(interpreter, "-I", filepath.Join(dir, "driver.py"), mode)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1")
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	told, err := os.ReadFile(filepath.Join(dir, "out", "result.json"))
	if err != nil && exit == nil {
		t.Fatal(err)
	}
	return dir, string(told), string(out), cmd.ProcessState.ExitCode()
}

// patchOf changes one line of pyproject.toml.
func patchOf(old, new string) string {
	return "--- a/pyproject.toml\n+++ b/pyproject.toml\n@@ -1,4 +1,4 @@\n [build-system]\n-requires = [\"" + old + "\"]\n+requires = [\"" + new + "\"]\n build-backend = \"backend\"\n backend-path = [\".\"]\n"
}

func TestDriverPatches(t *testing.T) {
	t.Parallel()
	sdist := project(t, "")
	first, second := "patches/0000-b.patch", "patches/0001-a.patch"
	states := func(requires string) string {
		return `{"failed_patch": null, "build_system": {"requires": ["` + requires + `"], "build-backend": "backend", "backend-path": ["."]}}`
	}
	for name, c := range map[string]struct {
		patches map[string]string
		want    string
	}{
		"none":            {nil, states("old")},
		"in their order":  {map[string]string{first: patchOf("old", "new"), second: patchOf("new", "newer")}, states("newer")},
		"first fails":     {map[string]string{first: patchOf("other", "new"), second: patchOf("old", "new")}, `{"failed_patch": 0, "build_system": null}`},
		"second fails":    {map[string]string{first: patchOf("old", "new"), second: patchOf("old", "newer")}, `{"failed_patch": 1, "build_system": null}`},
		"applied already": {map[string]string{first: patchOf("older", "old")}, `{"failed_patch": 0, "build_system": null}`},
		"no patch":        {map[string]string{first: "nothing\n"}, `{"failed_patch": 0, "build_system": null}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, result, said, code := drive(t, "static", "null", sdist, c.patches)
			if code != 0 || result != c.want {
				t.Errorf("code %d, result %s\n%s", code, result, said)
			}
		})
	}
	if _, result, said, code := drive(t, "static", "null", tarGz(t, member{name: "demo-1.0/setup.py"}), nil); code != 0 || result != `{"failed_patch": null, "build_system": null}` {
		t.Errorf("without pyproject.toml: code %d, result %s\n%s", code, result, said)
	}
	// Nothing but locking goes on past a patch that does not apply.
	if dir, _, said, code := drive(t, "requires", "null", sdist, map[string]string{first: patchOf("other", "new")}); code == 0 || !strings.Contains(said, "a patch does not apply") {
		t.Errorf("code %d, in %s\n%s", code, dir, said)
	}
}

// The patch that brings a Cargo.lock makes it to the letter, behind those of the recipe.
func TestDriverAddsCargoLock(t *testing.T) {
	t.Parallel()
	lock := recipes.CargoLock{File: "py/Cargo.lock", Text: "# Written by cargo.\nversion = 4\n\n[[package]]\nname = \"a\"\ndependencies = [\n \"b\",\n]\n"}
	dir, result, said, code := drive(t, "static", "null", project(t, ""), map[string]string{
		"patches/0000.patch": patchOf("old", "new"), "patches/cargo-lock-0000.patch": string(lock.Patch()),
	})
	data, err := os.ReadFile(filepath.Join(dir, "src", "demo-1.0", "py", "Cargo.lock"))
	if err != nil || string(data) != lock.Text || code != 0 || !strings.Contains(result, `"failed_patch": null`) {
		t.Errorf("code %d, result %s, the file is %q, %v\n%s", code, result, data, err, said)
	}
}

func TestDriverConfigSettings(t *testing.T) {
	t.Parallel()
	for settings, want := range map[string]string{
		"null": "null",
		`{"setup-args": ["-Dx=y", "-Dz"], "builddir": "b"}`: `{"builddir": "b", "setup-args": ["-Dx=y", "-Dz"]}`,
	} {
		_, result, said, code := drive(t, "metadata", settings, project(t, ""), nil)
		var told answer
		if err := json.Unmarshal([]byte(result), &told); code != 0 || err != nil || told.Metadata != "Name: demo\nSettings: "+want+"\n" {
			t.Errorf("%s: code %d, result %s\n%s", settings, code, result, said)
		}
	}
}

// What a backend asks for when it builds is in its lock, or is refused by name before
// anything is built.
func TestDriverChecksRequires(t *testing.T) {
	t.Parallel()
	const info = "Needed_Pkg-1.0.dist-info/"
	need := zipped(t, member{name: "needed.py"}, member{name: info + "METADATA", text: "Metadata-Version: 2.1\nName: Needed.Pkg\nVersion: 1.0\n"},
		member{name: info + "WHEEL", text: "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"},
		member{name: info + "RECORD", text: "needed.py,,\n" + info + "METADATA,,\n" + info + "WHEEL,,\n" + info + "RECORD,,\n"})
	needs := map[string]string{"needs/Needed_Pkg-1.0-py3-none-any.whl": string(need)}
	for name, c := range map[string]struct {
		wants string
		needs map[string]string
		said  string
		code  int
	}{
		"nothing": {"", nil, "", 7},
		"missing": {"Not_There >= 1\n", nil, "the build wants Not_There >= 1, which its lock does not have\n", 1},
		"one of":  {"needed-pkg[x]>=1\nnot-there\n", needs, "the build wants not-there, which its lock does not have\n", 1},
		// Whether a marker holds is what resolution knows.
		"with a marker": {"not-there; sys_platform == 'win32'\n", nil, "", 7},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, _, said, code := drive(t, "wheel", "null", project(t, c.wants), c.needs)
			// The backend itself ends with 7: that is passed on.
			if code != c.code || said != c.said {
				t.Errorf("code %d, said %q, want %d, %q", code, said, c.code, c.said)
			}
		})
	}
}

// The step that is told is the one that asks the backend; to prepare stops before it.
func TestDriverStep(t *testing.T) {
	t.Parallel()
	dir, result, said, code := drive(t, "prepare", `{"a": "b"}`, project(t, "missing\n"), nil)
	if code != 0 || result != "{}" || said != "" {
		t.Fatalf("code %d, result %s\n%s", code, result, said)
	}
	data, err := os.ReadFile(filepath.Join(dir, "step.json"))
	if err != nil {
		t.Fatal(err)
	}
	var step hookStep
	if err := json.Unmarshal(data, &step); err != nil || !step.sound() {
		t.Fatalf("the step is %s, %v", data, err)
	}
	if step.Dir != filepath.Join(dir, "src", "demo-1.0") || step.Env["VIRTUAL_ENV"] != filepath.Join(dir, "env") || !strings.HasPrefix(step.Env["PATH"], filepath.Join(dir, "env", "bin")+":") || step.Env["PIP_NO_INDEX"] != "1" {
		t.Errorf("the step is %s", data)
	}
	if args := strings.Join(step.Args, " "); !strings.Contains(args, " wheel backend ") || !strings.HasSuffix(args, ` {"a": "b"}`) {
		t.Errorf("the step is %q", step.Args)
	}
	cmd := exec.Command(step.Args[0], step.Args[1:]...)
	cmd.Dir = step.Dir
	for name, value := range step.Env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "the build wants missing") {
		t.Errorf("run again: %v\n%s", err, out)
	}
}
