//go:build docker

package endtoend

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ampoule/audit"
)

// specimens are modules as build systems make them with a real interpreter that has a
// shared libpython: by what they say in their own files, they link it or do not.
var specimens = []struct {
	name string
	// files are the project's, build the commands in it: BIN is the environment's programs,
	// PYTHON its interpreter.
	files    map[string]string
	build    [][]string
	poisoned bool
}{
	{
		name: "gcc, by hand", poisoned: true,
		build: [][]string{{"sh", "-c", `gcc -shared -fPIC -I"$(PYTHON -c 'import sysconfig; print(sysconfig.get_path("include"))')" spam.c -o spam.cpython-313-x86_64-linux-gnu.so -L"$(PYTHON -c 'import sys; print(sys.base_prefix)')/lib" -lpython3.13`}},
	},
	{
		name:  "gcc, without it",
		build: [][]string{{"sh", "-c", `gcc -shared -fPIC -I"$(PYTHON -c 'import sysconfig; print(sysconfig.get_path("include"))')" spam.c -o spam.cpython-313-x86_64-linux-gnu.so`}},
	},
	{
		name: "CMake's Development", poisoned: true,
		files: map[string]string{"CMakeLists.txt": `cmake_minimum_required(VERSION 3.20)
project(spam C)
find_package(Python REQUIRED COMPONENTS Interpreter Development)
add_library(spam MODULE spam.c)
target_link_libraries(spam PRIVATE Python::Python)
set_target_properties(spam PROPERTIES PREFIX "" SUFFIX ".cpython-313-x86_64-linux-gnu.so")
`},
		build: [][]string{{"BIN/cmake", "-G", "Ninja", "-DCMAKE_MAKE_PROGRAM=BIN/ninja", "-DPython_EXECUTABLE=PYTHON", "."}, {"BIN/ninja"}},
	},
	{
		name: "CMake's Development.Module",
		files: map[string]string{"CMakeLists.txt": `cmake_minimum_required(VERSION 3.20)
project(spam C)
find_package(Python REQUIRED COMPONENTS Interpreter Development.Module)
python_add_library(spam MODULE WITH_SOABI spam.c)
`},
		build: [][]string{{"BIN/cmake", "-G", "Ninja", "-DCMAKE_MAKE_PROGRAM=BIN/ninja", "-DPython_EXECUTABLE=PYTHON", "."}, {"BIN/ninja"}},
	},
	{
		name: "Meson, to embed", poisoned: true,
		files: map[string]string{"meson.build": `project('spam', 'c')
py = import('python').find_installation('PYTHON', pure: false)
py.extension_module('spam', 'spam.c', dependencies: py.dependency(embed: true), install: true)
`},
		build: [][]string{{"BIN/meson", "setup", "build"}, {"BIN/ninja", "-C", "build"}, {"sh", "-c", "mv build/*.so ."}},
	},
	{
		name: "Meson",
		files: map[string]string{"meson.build": `project('spam', 'c')
py = import('python').find_installation('PYTHON', pure: false)
py.extension_module('spam', 'spam.c', install: true)
`},
		build: [][]string{{"BIN/meson", "setup", "build"}, {"BIN/ninja", "-C", "build"}, {"sh", "-c", "mv build/*.so ."}},
	},
}

// TestSpecimens builds modules with the build systems that people have, and audits them
// against the interpreter that they were built with, and against production's: the ones
// that link libpython are refused in both, the others in none.
func TestSpecimens(t *testing.T) {
	beside(t)
	ci, production := interpreterOf(t, "--enable-shared"), interpreterOf(t)
	work := t.TempDir()
	venv := filepath.Join(work, "venv")
	run(t, filepath.Join(ci, "bin/python3"), "-m", "venv", venv)
	run(t, filepath.Join(venv, "bin/pip"), "install", "--quiet", "cmake", "ninja", "meson")
	fill := strings.NewReplacer("BIN", filepath.Join(venv, "bin"), "PYTHON", filepath.Join(venv, "bin/python"))
	for _, s := range specimens {
		t.Run(s.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "site-packages")
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			for name, text := range s.files {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(fill.Replace(text)), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.WriteFile(filepath.Join(dir, "spam.c"), []byte(spam["spam.c"]), 0o644); err != nil {
				t.Fatal(err)
			}
			for _, command := range s.build {
				args := make([]string, len(command))
				for i, arg := range command {
					args[i] = fill.Replace(arg)
				}
				runIn(t, dir, []string{"PATH=" + filepath.Join(venv, "bin") + ":" + os.Getenv("PATH")}, args[0], args[1:]...)
			}
			modules, err := filepath.Glob(filepath.Join(dir, "spam*.so"))
			if err != nil || len(modules) != 1 {
				t.Fatalf("modules %q, %v", modules, err)
			}
			for _, prefix := range []string{ci, production} {
				python := filepath.Join(prefix, "bin/python3.13")
				if s.poisoned {
					poisoned(t, audited(t, 4, modules[0], "--against", python), filepath.Base(modules[0]))
				} else {
					audited(t, 0, modules[0], "--against", python)
				}
			}
		})
	}
}

// TestABIFlags audits modules of a debug build without the GIL and of a release build
// against each other: what fits one does not fit the other, whatever its name says.
func TestABIFlags(t *testing.T) {
	beside(t)
	flagged, production := interpreterOf(t, "--enable-shared", "--disable-gil", "--with-pydebug"), interpreterOf(t)
	flagged, production = filepath.Join(flagged, "bin/python3.13td"), filepath.Join(production, "bin/python3.13")
	const own, plain = ".cpython-313td-x86_64-linux-gnu.so", ".cpython-313-x86_64-linux-gnu.so"
	dir := filepath.Join(t.TempDir(), "site-packages")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "spam.c"), []byte(counting(spam["spam.c"])), 0o644); err != nil {
		t.Fatal(err)
	}
	module := func(python, file string, flags ...string) string {
		t.Helper()
		include := strings.TrimSpace(run(t, python, "-c", "import sysconfig; print(sysconfig.get_path('include'))"))
		name, _, _ := strings.Cut(file, ".")
		runIn(t, dir, nil, "gcc", append([]string{"-shared", "-fPIC", "-I" + include, "-DPyInit_spam=PyInit_" + name, "spam.c", "-o", file}, flags...)...)
		return filepath.Join(dir, file)
	}
	for _, c := range []struct {
		what, file, python, against string
		flags                       []string
		// refused is the beginning of each refusal.
		refused []string
	}{
		{"its own", "a" + own, flagged, flagged, nil, nil},
		{"its own, linked to libpython", "b" + own, flagged, flagged,
			[]string{"-L" + filepath.Join(filepath.Dir(flagged), "../lib"), "-lpython3.13td"}, []string{"libpython-needed b" + own + " libpython3.13td.so.1.0"}},
		{"in production", "c" + own, flagged, production, nil, []string{"symbols ", "tags c" + own + " " + own}},
		{"in production, renamed", "d" + plain, flagged, production, nil, []string{"symbols d" + plain + " _Py_"}},
		{"production's own", "e" + plain, production, production, nil, nil},
		{"production's here", "f" + plain, production, flagged, nil, []string{"tags f" + plain + " " + plain}},
		{"production's here, for the stable ABI", "g.abi3.so", production, flagged, []string{"-DPy_LIMITED_API=0x030b0000"}, []string{"tags g.abi3.so .abi3.so"}},
	} {
		t.Run(c.what, func(t *testing.T) {
			code := 4
			if c.refused == nil {
				code = 0
			}
			got := refusals(audited(t, code, module(c.python, c.file, c.flags...), "--against", c.against))
			for i := range min(len(got), len(c.refused)) {
				if !strings.HasPrefix(got[i], c.refused[i]) {
					t.Errorf("refused: %q, want %q", got[i], c.refused[i])
				}
			}
			if len(got) != len(c.refused) {
				t.Errorf("refused: %q, want %q", got, c.refused)
			}
		})
	}
	published(t, flagged)
}

// counting has a module take a reference and give it back: debug builds, and those without
// the GIL, count by functions of their own.
func counting(source string) string {
	return strings.Replace(source, "return PyModule_Create(&def);",
		"PyObject *m = PyModule_Create(&def); Py_XINCREF(m); Py_XDECREF(m); return m;", 1)
}

// published installs wheels as they are published for builds without the GIL: they work,
// and nothing is refused. The same releases for builds with one are.
func published(t *testing.T, python string) {
	t.Helper()
	work := t.TempDir()
	venv, others := filepath.Join(work, "venv"), filepath.Join(work, "others")
	run(t, python, "-m", "venv", venv)
	pip := []string{"-m", "pip", "--disable-pip-version-check", "--quiet"}
	names := []string{"markupsafe", "charset-normalizer", "frozenlist"}
	run(t, filepath.Join(venv, "bin/python"), slices.Concat(pip, []string{"install", "--only-binary", ":all:"}, names)...)
	run(t, filepath.Join(venv, "bin/python"), "-c", "import markupsafe._speedups, charset_normalizer.md, frozenlist._frozenlist")
	audited(t, 0, venv)
	run(t, filepath.Join(venv, "bin/python"), slices.Concat(pip, []string{
		"download", "--no-deps", "--dest", others, "--only-binary", ":all:", "--abi", "cp313", "--platform", "manylinux_2_17_x86_64", "--platform", "manylinux_2_28_x86_64"}, names)...)
	r := audited(t, 4, others, "--against", python)
	if n := r.Count(audit.Refuse); n != len(names) || len(r.Units) != len(names) {
		t.Errorf("%d of %d wheels are refused: %q", n, len(r.Units), refusals(r))
	}
}

// TestDebian audits a whole machine with Debian's own Python, and with its debug build,
// beside what importing shows there.
func TestDebian(t *testing.T) {
	beside(t)
	root := bootstrapped(t, "bookworm-python", "bookworm", "--variant=minbase", "--include=python3-dev,python3-dbg,python3-yaml")
	site := filepath.Join(root, "usr/local/lib/python3.11/dist-packages")
	// A run that was cut short may have left a module there.
	if err := errors.Join(os.RemoveAll(site), os.MkdirAll(site, 0o755)); err != nil {
		t.Fatal(err)
	}
	audited(t, 0, "/", "--root", root)
	source := filepath.Join(t.TempDir(), "spam.c")
	if err := os.WriteFile(source, []byte(counting(spam["spam.c"])), 0o644); err != nil {
		t.Fatal(err)
	}
	headers := "-I" + filepath.Join(root, "usr/include/python3.11")
	for _, c := range []struct {
		what, suffix string
		flags        []string
		// imports reports whether the release and the debug interpreter take it, refused what the
		// audits against them refuse.
		imports [2]bool
		refused [2]string
	}{
		{"a module", ".cpython-311-x86_64-linux-gnu.so", []string{headers}, [2]bool{true, true}, [2]string{}},
		{"a module that is linked to libpython", ".cpython-311-x86_64-linux-gnu.so",
			[]string{headers, "-L" + filepath.Join(root, "usr/lib/x86_64-linux-gnu"), "-lpython3.11"},
			[2]bool{true, true}, [2]string{"libpython-needed ", "libpython-needed "}},
		{"a debug module", ".cpython-311d-x86_64-linux-gnu.so", []string{headers + "d", headers}, [2]bool{false, true}, [2]string{"symbols ", ""}},
	} {
		t.Run(c.what, func(t *testing.T) {
			module := filepath.Join(site, "spam"+c.suffix)
			run(t, "gcc", slices.Concat([]string{"-shared", "-fPIC", source, "-o", module}, c.flags, []string{"-I" + filepath.Join(root, "usr/include")})...)
			defer os.Remove(module)
			for i, python := range []string{"/usr/bin/python3.11", "/usr/bin/python3.11d"} {
				if err := exec.CommandContext(t.Context(), "chroot", root, python, "-c", "import spam").Run(); (err == nil) != c.imports[i] {
					t.Errorf("imported by %s: %v", python, err)
				}
				code := 4
				if c.refused[i] == "" {
					code = 0
				}
				refused := refusals(audited(t, code, "/", "--root", root, "--against", python))
				if code != 0 && (len(refused) != 1 || !strings.HasPrefix(refused[0], c.refused[i]+filepath.Base(module))) {
					t.Errorf("against %s: refused %q", python, refused)
				}
			}
		})
	}
}
