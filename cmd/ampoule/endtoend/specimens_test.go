//go:build docker

package endtoend

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
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
