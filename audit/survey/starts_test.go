package survey

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"ampoule/audit"
)

// hostPython is the machine's interpreter, links followed, and its version, X.Y.
func hostPython(t *testing.T) (exe, version string) {
	t.Helper()
	exe, err := exec.LookPath("/usr/bin/python3")
	if err != nil {
		exe, err = exec.LookPath("python3")
	}
	if err == nil {
		// A shim or an environment leads to one.
		var out []byte
		out, err = exec.CommandContext(t.Context(), exe, "-c", "import os, sys; print(os.path.realpath(sys.executable))").Output()
		exe = strings.TrimSpace(string(out))
	}
	m := regexp.MustCompile(`^python(\d+\.\d+)$`).FindStringSubmatch(filepath.Base(exe))
	if err != nil || m == nil {
		t.Fatalf("python3 of this machine: %s, %v", exe, err)
	}
	return exe, m[1]
}

// environment is a virtual environment of the machine's interpreter, made by package venv,
// with a module and a program.
type environment struct {
	t    *testing.T
	dir  string
	exe  string
	name string // python3.11
}

func newEnvironment(t *testing.T, options ...string) *environment {
	t.Helper()
	exe, version := hostPython(t)
	e := &environment{t, filepath.Join(t.TempDir(), "env"), exe, "python" + version}
	args := slices.Concat([]string{"-m", "venv", "--without-pip"}, options, []string{e.dir})
	if out, err := exec.CommandContext(t.Context(), exe, args...).CombinedOutput(); err != nil {
		t.Fatalf("making an environment: %v\n%s", err, out)
	}
	e.install("#!" + filepath.Join(e.dir, "bin/python") + "\n")
	return e
}

// install leaves what an installer does: a module, its distribution, and a program.
func (e *environment) install(first string) {
	for name, text := range distOf("spam", "py3-none-any", "", map[string]string{"spam.py": "def main(): print('hi')\n", "../../../bin/spam": first + "import spam; spam.main()\n"}) {
		e.write(filepath.Join("lib", e.name, "site-packages", name), text)
	}
}

func (e *environment) path(name string) string { return filepath.Join(e.dir, name) }

func (e *environment) write(name, text string) {
	e.t.Helper()
	if err := os.MkdirAll(filepath.Dir(e.path(name)), 0o755); err != nil {
		e.t.Fatal(err)
	}
	if err := os.WriteFile(e.path(name), []byte(text), 0o755); err != nil {
		e.t.Fatal(err)
	}
}

// remove removes what patterns match.
func (e *environment) remove(patterns ...string) {
	e.t.Helper()
	for _, pattern := range patterns {
		names, err := filepath.Glob(e.path(pattern))
		if err != nil || len(names) == 0 {
			e.t.Fatalf("nothing is at %s: %v", pattern, err)
		}
		for _, name := range names {
			if err := os.RemoveAll(name); err != nil {
				e.t.Fatal(err)
			}
		}
	}
}

func (e *environment) link(target, name string) {
	e.t.Helper()
	if err := os.Symlink(target, e.path(name)); err != nil {
		e.t.Fatal(err)
	}
}

func (e *environment) rename(from, to string) {
	e.t.Helper()
	if err := os.Rename(e.path(from), e.path(to)); err != nil {
		e.t.Fatal(err)
	}
}

// change replaces a line of pyvenv.cfg.
func (e *environment) change(key, line string) {
	e.t.Helper()
	data, err := os.ReadFile(e.path("pyvenv.cfg"))
	if err != nil {
		e.t.Fatal(err)
	}
	e.write("pyvenv.cfg", regexp.MustCompile(`(?m)^`+key+` = .*$`).ReplaceAllLiteralString(string(data), line))
}

// move gives the environment another name.
func (e *environment) move() {
	e.rename(".", "../moved")
	e.dir = filepath.Join(filepath.Dir(e.dir), "moved")
}

// runs reports whether a command ends well, called in another directory with nothing of this
// process's environment.
func runs(t *testing.T, name string, args ...string) (bool, string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir, cmd.Env = "/", []string{"PATH=/usr/bin:/bin", "LC_ALL=C.UTF-8"}
	out, err := cmd.CombinedOutput()
	return err == nil, fmt.Sprintf("%v %s", err, out)
}

// A copy of the interpreter, and what it needs beside it: a program that needs a libpython
// of its own and then becomes the machine's interpreter.
func (e *environment) shared() {
	e.t.Helper()
	lib := filepath.Join(e.t.TempDir(), "lib"+e.name+"-of-test.so.1.0")
	compileWithLibc(e.t, lib, "int _PyRuntime;", "-shared", "-fPIC", "-Wl,-soname,"+filepath.Base(lib))
	data, err := os.ReadFile(lib)
	if err != nil {
		e.t.Fatal(err)
	}
	e.write("base/lib/"+filepath.Base(lib), string(data))
	e.write("base/lib/"+e.name+"/os.py", "")
	compileWithLibc(e.t, e.path("base/bin/"+e.name), fmt.Sprintf(`#include <unistd.h>
extern int _PyRuntime; int main(int n, char **v) { v[0] = "%s"; return _PyRuntime + execv("%s", v); }`, e.path("bin/python-of-test"), e.exe),
		"-Wl,--no-as-needed", lib, "-Wl,-rpath,$ORIGIN/../lib")
	e.link(e.exe, "bin/python-of-test")
	e.remove("bin/python", "bin/python3", "bin/"+e.name)
	for _, name := range []string{"python", "python3", e.name} {
		e.link("../base/bin/"+e.name, "bin/"+name)
	}
}

func compileWithLibc(t *testing.T, out, source string, flags ...string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "gcc", append([]string{"-x", "c", "-", "-x", "none", "-o", out}, flags...)...)
	cmd.Stdin = strings.NewReader(source)
	if told, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v\n%s", err, told)
	}
}

// What an audit says of an environment is what happens when its interpreter and its programs
// are started.
func TestEnvironmentsStart(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		options []string
		change  func(e *environment)
		// imports and starts say what happens: the interpreter imports what is installed, and
		// the program starts.
		imports, starts bool
		// tells is a part of what the audit says.
		tells string
	}{
		"as it was made":     {nil, func(*environment) {}, true, true, ""},
		"with copies":        {[]string{"--copies"}, func(*environment) {}, true, true, ""},
		"with the system's":  {[]string{"--system-site-packages"}, func(*environment) {}, true, true, ""},
		"moved":              {nil, (*environment).move, true, false, "bin/python itself starts"},
		"moved, with copies": {[]string{"--copies"}, (*environment).move, true, false, "bin/python itself starts"},
		"moved, behind a link": {nil, func(e *environment) {
			old := e.dir
			e.move()
			e.dir = old
			e.link("moved", "../env")
			e.dir = filepath.Join(filepath.Dir(old), "moved")
		}, true, true, ""},
		"moved, relocatable": {nil, func(e *environment) {
			e.install("#!/bin/sh\n'''exec' \"$(dirname -- \"$(realpath -- \"$0\")\")\"/'python' \"$0\" \"$@\"\n' '''\n")
			e.move()
		}, true, true, ""},
		"its interpreter gone": {nil, func(e *environment) {
			e.remove("bin/python*")
			e.link("/opt/gone/bin/"+e.name, "bin/"+e.name)
			e.link(e.name, "bin/python3")
			e.link("python3", "bin/python")
			e.change("home", "home = /opt/gone/bin")
		}, false, false, "/opt/gone/bin/"},
		"its interpreter gone, home not": {nil, func(e *environment) { e.remove("bin/python*"); e.link("/opt/gone/python3", "bin/python") }, false, false, "/opt/gone/python3"},
		"no interpreter":                 {nil, func(e *environment) { e.remove("bin/python*") }, false, false, "has no interpreter"},
		"python3 gone": {nil, func(e *environment) {
			e.remove("bin/python3")
			e.link("/opt/gone/python3", "bin/python3")
			e.remove("bin/python")
			e.link(e.exe, "bin/python")
		}, true, true, ""},
		"links in a circle": {nil, func(e *environment) {
			e.remove("bin/python*")
			e.link("python3", "bin/python")
			e.link("python", "bin/python3")
		}, false, false, "which is not there"},
		"a directory for an interpreter": {nil, func(e *environment) { e.remove("bin/python*"); e.write("bin/python/x", "") }, false, false, "leads to no file"},
		"home gone":                      {nil, func(e *environment) { e.change("home", "home = /opt/gone/bin") }, true, true, ""},
		"home gone, with copies":         {[]string{"--copies"}, func(e *environment) { e.change("home", "home = /opt/gone/bin") }, true, true, ""},
		"no home":                        {nil, func(e *environment) { e.change("home", "x = y") }, true, true, ""},
		"HOME":                           {nil, func(e *environment) { e.change("home", "HOME=  "+filepath.Dir(e.exe)+" ") }, true, true, ""},
		"an empty pyvenv.cfg":            {nil, func(e *environment) { e.write("pyvenv.cfg", "") }, true, true, ""},
		"pyvenv.cfg beside python":       {nil, func(e *environment) { e.rename("pyvenv.cfg", "bin/pyvenv.cfg") }, true, true, ""},
		"no pyvenv.cfg":                  {nil, func(e *environment) { e.remove("pyvenv.cfg") }, false, false, "no pyvenv.cfg"},
		"no pyvenv.cfg, with copies":     {[]string{"--copies"}, func(e *environment) { e.remove("pyvenv.cfg") }, false, false, "no pyvenv.cfg"},
		"another version":                {nil, func(e *environment) { e.rename("lib/"+e.name, "lib/python3.99") }, false, false, "imports nothing from"},
		"another version, with copies":   {[]string{"--copies"}, func(e *environment) { e.rename("lib/"+e.name, "lib/python3.99") }, false, false, "imports nothing from"},
		"may not be executed": {[]string{"--copies"}, func(e *environment) {
			for _, n := range []string{"python", "python3", e.name} {
				if err := os.Chmod(e.path("bin/"+n), 0o644); err != nil {
					e.t.Fatal(err)
				}
			}
		}, false, false, "may not be executed"},
		"no program":    {nil, func(e *environment) { e.remove("bin/python*"); e.write("bin/python", "\x00\x01garbage") }, false, false, "is no program"},
		"an empty file": {nil, func(e *environment) { e.remove("bin/python*"); e.write("bin/python", "") }, false, false, "is no program"},
		"a program for no machine": {nil, func(e *environment) {
			e.remove("bin/python*")
			e.write("bin/"+e.name, "\x7fELF nothing")
			e.link(e.name, "bin/python")
		}, false, false, "no program that could be loaded"},
		"a script that starts one": {nil, func(e *environment) {
			e.remove("bin/python*")
			e.write("bin/python", "#!/bin/sh\nexec '"+e.exe+"' -c 'pass'\n")
		}, true, true, ""},
		"lib is another's":         {nil, func(e *environment) { e.rename("lib", "../other-lib"); e.link("../other-lib", "lib") }, true, true, ""},
		"its library is another's": {nil, func(e *environment) { e.rename("lib/"+e.name, "../other"); e.link("../../other", "lib/"+e.name) }, true, true, ""},
		"its library is another's, moved": {nil, func(e *environment) {
			e.rename("lib/"+e.name, "../other")
			e.link("../../other", "lib/"+e.name)
			e.move()
		}, true, false, "it does not start"},
		"a libpython":        {nil, (*environment).shared, true, true, ""},
		"its libpython gone": {nil, func(e *environment) { e.shared(); e.remove("base/lib/libpython*") }, false, false, "libpython"},
		"a program without a hash": {nil, func(e *environment) {
			e.write("bin/more", "#!"+e.path("bin/python")+"\n")
			record := e.site("spam-1.0.dist-info/RECORD")
			data, err := os.ReadFile(e.path(record))
			if err != nil {
				e.t.Fatal(err)
			}
			e.write(record, string(data)+"../../../bin/more,,\n")
		}, true, true, ""},
		"its loader gone": {nil, func(e *environment) {
			e.remove("bin/python*")
			compileWithLibc(e.t, e.path("bin/"+e.name), "int main(void) { return 0; }", "-Wl,--dynamic-linker=/lib/ld-gone.so.2")
			e.link(e.name, "bin/python")
		}, false, false, "dynamic loader /lib/ld-gone.so.2"},
		"a program with a return":         {nil, func(e *environment) { e.install("#!" + e.path("bin/python") + "\r\n") }, true, false, "carriage return"},
		"a program of a gone environment": {nil, func(e *environment) { e.install("#!/opt/gone/bin/python3\n") }, true, false, "/opt/gone/bin/python3"},
		"a program that uses env":         {nil, func(e *environment) { e.install("#!/usr/bin/env -S " + e.path("bin/python") + "\n") }, true, true, ""},
		"a program without RECORD":        {nil, func(e *environment) { e.write("bin/more", "#!/opt/gone/bin/python\n") }, true, true, "program more names"},
		"several programs": {nil, func(e *environment) {
			for i := range 8 {
				e.write(fmt.Sprintf("bin/tool%d", i), "#!/opt/gone/bin/python\n")
			}
		}, true, true, "8 programs (tool0, tool1, tool2, tool3, tool4 and 3 more) name"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnvironment(t, c.options...)
			c.change(e)
			imports, importing := runs(t, e.path("bin/python"), "-c", "import spam")
			starts, starting := runs(t, e.path("bin/spam"))
			if imports != c.imports || starts != c.starts {
				t.Fatalf("importing: %t (%s), starting: %t (%s)", imports, importing, starts, starting)
			}
			r, err := Look(t.Context(), Target{Files: Machine("/"), Path: e.dir})
			if err != nil {
				t.Fatal(err)
			}
			lines, causes := refused(r), ""
			for _, u := range r.Units {
				for _, f := range u.Findings {
					if f.Check == "environment" && f.Severity == audit.Refuse {
						causes += f.Value + ": " + f.Cause + "\n"
					}
				}
			}
			if works := imports && starts && !strings.Contains(c.tells, "program"); works != (len(lines) == 0) {
				t.Errorf("it works: %t; refused:\n%s", works, strings.Join(lines, "\n"))
			}
			if !strings.Contains(causes, c.tells) {
				t.Errorf("it does not tell %q:\n%s", c.tells, causes)
			}
		})
	}
}
