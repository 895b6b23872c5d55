package wheels

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
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

func TestDriverUnpack(t *testing.T) {
	t.Parallel()
	dir := driver(t)
	project := member{"demo-1.0/setup.py", "setup()\n", 0o644}
	for name, c := range map[string]struct {
		archive []byte
		want    string
		fails   bool
	}{
		"demo-1.0.tar.gz": {tarGz(t, project), "demo-1.0 ['setup.py']", false},
		"demo-1.0.zip":    {zipped(t, project), "demo-1.0 ['setup.py']", false},
		"two-1.0.tar.gz":  {tarGz(t, project, member{"other/x", "", 0}), "this one holds: demo-1.0, other", true},
		"file-1.0.tar.gz": {tarGz(t, member{"setup.py", "", 0}), "this one holds: setup.py", true},
		"out-1.0.tar.gz":  {tarGz(t, project, member{"demo-1.0/../../../out", "", 0}), "outside the destination", true},
	} {
		write(t, filepath.Join(dir, "sdist", name), c.archive)
		got, err := call(t, dir, "s = unpack(*sys.argv[1:]); print(os.path.basename(s), os.listdir(s))", filepath.Join(dir, "sdist", name), filepath.Join(dir, "src-"+name))
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
