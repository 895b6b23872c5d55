package audit

import (
	"slices"
	"strings"
	"testing"

	"ampoule/tree"
)

func TestMetadata(t *testing.T) {
	t.Parallel()
	const info = "lib/python3.13/site-packages/victim-1.0.dist-info"
	requiring := func(lines ...string) []tree.Entry {
		return installed("victim", metadataFile(info, "victim", "1.0", lines...))
	}
	other := installed("Some_Other", metadataFile(site+"Some_Other-1.0.dist-info", "some.other", "1.0", "Requires-Dist: absent; extra == 'more'"))
	program := func(module, points string) []tree.Entry {
		return installed("victim", tree.FileEntry(site+"victim.py", 0o644, []byte(module)), tree.FileEntry(info+"/entry_points.txt", 0o644, []byte(points)))
	}
	missing := func(value string) []string {
		return []string{"refuse metadata " + info + "/METADATA: Requires-Dist " + value}
	}
	refused := func(value string) []string {
		return []string{"refuse metadata " + info + "/entry_points.txt: program " + value}
	}
	for name, c := range map[string]struct {
		entries []tree.Entry
		want    []string
	}{
		"nothing required":               {requiring(), nil},
		"what is there":                  {slices.Concat(requiring("Requires-Dist: some-other (>=1,<2)"), other), nil},
		"what is not there":              {requiring("Requires-Dist: some-other>=1"), missing("some-other>=1")},
		"another version":                {slices.Concat(requiring("Requires-Dist: some-other>=2"), other), missing("some-other>=2")},
		"for another system":             {requiring("Requires-Dist: colorama; sys_platform == 'win32'"), nil},
		"for another Python":             {requiring("Requires-Dist: tomli; python_version < '3.11'"), nil},
		"for this Python":                {requiring("Requires-Dist: tomli; python_version >= '3.13'"), missing("tomli")},
		"an extra that nobody wants":     {requiring("Requires-Dist: pytest; extra == 'test'"), nil},
		"an extra that another wants":    {slices.Concat(requiring("Requires-Dist: some-other[more]"), other), []string{"refuse metadata " + site + "Some_Other-1.0.dist-info/METADATA: Requires-Dist absent"}},
		"what cannot be read":            {requiring("Requires-Dist: ???"), []string{"warn metadata " + info + "/METADATA: Requires-Dist ???"}},
		"another name":                   {installed("victim", metadataFile(info, "villain", "1.0")), []string{"refuse metadata " + info + "/METADATA: Name, Version villain 1.0"}},
		"another version of itself":      {installed("victim", metadataFile(info, "victim", "1.1")), []string{"refuse metadata " + info + "/METADATA: Name, Version victim 1.1"}},
		"no header":                      {installed("victim", tree.FileEntry(info+"/METADATA", 0o644, []byte("no header"))), []string{"refuse metadata " + info + "/METADATA: header *"}},
		"a program":                      {program("def main(): pass\n", "[console_scripts]\nrun = victim:main\n"), nil},
		"a program of nothing":           {program("def main(): pass\n", "[console_scripts]\nrun = victim:start\n"), refused("run = victim:start")},
		"a program of no module":         {program("", "[gui_scripts]\nrun = victim.cli:main [more]\n"), refused("run = victim.cli:main [more]")},
		"a program that names no object": {program("", "[console_scripts]\nrun = victim\n"), refused("run = victim")},
		"a module that makes its names":  {program("from os import *\n", "[console_scripts]\nrun = victim:main\n"), nil},
		"a method":                       {program("class App: pass\n", "[console_scripts]\nrun = victim:App.main\n"), nil},
		"a plugin":                       {program("", "[flask.commands]\nrun = nowhere:main\n# c\n"), nil},
		"a program of the library":       {slices.Concat(program("", "[console_scripts]\nrun = json.tool:main\n"), []tree.Entry{tree.FileEntry("lib/python3.13/json/tool.py", 0o644, nil)}), nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			expect(t, judge(t, subject(t, c.entries...)), c.want...)
		})
	}
}

func TestMetadataAndLock(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		locked Locked
		want   []string
	}{
		"as locked":       {Locked{"Victim", "1.0"}, nil},
		"equal versions":  {Locked{"victim", "1"}, nil},
		"another version": {Locked{"victim", "1.1"}, []string{"refuse metadata lib/python3.13/site-packages/victim-1.0.dist-info/METADATA: lock victim 1.1"}},
		"not there": {Locked{"other", "1.0"}, []string{
			"refuse metadata lib/python3.13/site-packages: lock other 1.0", "refuse metadata lib/python3.13/site-packages/victim-1.0.dist-info: lock victim 1.0",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := subject(t, installed("victim", tree.FileEntry(site+"victim.py", 0o644, nil))...)
			s.Locked = []Locked{c.locked}
			expect(t, judge(t, s), c.want...)
		})
	}
}

// What was compiled with a NumPy that the one here, 1.0, refuses is told; what it takes is
// not.
func TestMetadataAndCompiled(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		with Locked
		want []string
	}{
		"compiled with a later NumPy of before 1.25": {Locked{"numpy", "1.24.4"}, []string{
			"warn metadata lib/python3.13/site-packages/victim-1.0.dist-info/METADATA: compiled with numpy 1.24.4, and 1.0 runs"}},
		"compiled with a later NumPy":           {Locked{"numpy", "2.3.1"}, nil},
		"compiled with another cffi":            {Locked{"cffi", "2.1.1"}, nil},
		"compiled with what is not in the tree": {Locked{"absent", "1.1"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			entries := installed("victim", tree.FileEntry(site+"victim.py", 0o644, nil))
			for _, other := range []string{"numpy", "cffi"} {
				entries = append(entries, installed(other, tree.FileEntry(site+other+".py", 0o644, nil))...)
			}
			s := subject(t, entries...)
			s.CompiledWith = map[string][]Locked{"victim": {c.with}}
			expect(t, judge(t, s), c.want...)
		})
	}
	for _, c := range []struct {
		compiled, runs string
		want           bool
	}{
		{"1.24.0", "2.0.0", true}, {"1.26.4", "2.0.0rc1", true}, {"2.0.0", "1.26.4", false}, {"2.3", "2.1", false},
		{"1.26.4", "1.25.0", false}, {"1.23.0", "1.24.0", false}, {"1.24.1", "1.24.0", true}, {"junk", "1.24.0", false}, {"1.24.0", "junk", false},
	} {
		if got := refusesCompiled("NumPy", c.compiled, c.runs); got != c.want {
			t.Errorf("%s refuses what was compiled with %s: %t", c.runs, c.compiled, got)
		}
	}
}

// script is a program in bin that a distribution's RECORD lists.
func script(first string) []tree.Entry {
	return installed("victim", tree.FileEntry("bin/run", 0o755, []byte(first+"\nimport sys\n")))
}

// The lines that start programs: sealed trees have the first, uv writes the second on
// request, pip the others where a path is long or has spaces in it.
const (
	relocated     = `#!/usr/bin/env -S sh -c 'exec "$(dirname -- "$(realpath -- "$0")")/python3.13" "$0" "$@"'`
	lookedUp      = "#!/bin/sh\n'''exec' \"$(dirname -- \"$(realpath -- \"$0\")\")\"/'python' \"$0\" \"$@\"\n' '''"
	inQuotes      = "#!/bin/sh\n'''exec' \"/opt/my web/bin/python\" \"$0\" \"$@\"\n' '''"
	inApostrophes = "#!/bin/sh\n'''exec' '/opt/my web/bin/python' \"$0\" \"$@\"\n' '''"
	unquoted      = "#!/bin/sh\n'''exec' /opt/web/bin/python \"$0\" \"$@\"\n' '''"
)

// What travels starts its programs wherever it is.
func TestMetadataOfPrograms(t *testing.T) {
	t.Parallel()
	refused := func(python string) []string { return []string{"refuse metadata bin/run: #! " + python} }
	for name, c := range map[string]struct {
		first string
		want  []string
	}{
		"started by what is beside it":        {relocated, nil},
		"started by a path that is looked up": {lookedUp, nil},
		"started by a shell":                  {"#!/bin/sh", nil},
		"started by whichever is on the path": {"#!/usr/bin/env python3", nil},
		"started by a program of such a name": {"#!/opt/bin/python-tool", nil},
		"started by an absolute path":         {"#!/opt/web/bin/python3.13", refused("/opt/web/bin/python3.13")},
		"started by the system's Python":      {"#! /usr/bin/python3 -sE", refused("/usr/bin/python3")},
		"started by a relative path":          {"#!python", refused("python")},
		"started by a path with spaces":       {inQuotes, refused("/opt/my web/bin/python")},
		"started by a path in apostrophes":    {inApostrophes, refused("/opt/my web/bin/python")},
		"started by a long path":              {unquoted, refused("/opt/web/bin/python")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := judge(t, subject(t, script(c.first)...))
			expect(t, v, c.want...)
			for _, f := range v.Findings {
				if !strings.Contains(f.Remedy, "exception") {
					t.Errorf("the remedy is none for a recipe: %s", f.Remedy)
				}
			}
		})
	}
}

// What is found has to start where it is.
func TestFoundPrograms(t *testing.T) {
	t.Parallel()
	const venv = "srv/v/"
	program := interpreter(t)
	python := fromFile(t, "usr/bin/python3.13", program)
	python.Owner = OwnerInterpreter
	copied := fromFile(t, venv+"bin/python3", program)
	link := func(at, to string) tree.Entry { return tree.Entry{Path: at, Kind: tree.Symlink, Link: to} }
	machine := rootfs(t, "mid", python, copied, fromFile(t, "usr/bin/python3.9", program), fromFile(t, "opt/other/bin/python3.13", program),
		link("usr/bin/python3", "python3.13"), link(venv+"bin/python", "/usr/bin/python3"), link("home/me", "/srv"))
	told := func(python string) string { return "warn metadata /srv/v/bin/run: #! " + python }
	for name, c := range map[string]struct{ first, want string }{
		"the environment's":             {"#!/srv/v/bin/python", ""},
		"through a link":                {"#!/home/me/v/bin/python", ""},
		"a copy in the environment":     {"#!/srv/v/bin/python3", ""},
		"the interpreter's own":         {"#!/usr/bin/python3", ""},
		"whichever is on the path":      {"#!/usr/bin/env python", ""},
		"what an artifact has":          {relocated, ""},
		"another version beside it":     {"#!/usr/bin/python3.9", told("/usr/bin/python3.9")},
		"another one":                   {"#!/opt/other/bin/python3.13", told("/opt/other/bin/python3.13")},
		"an environment that was moved": {"#!/srv/old/bin/python", told("/srv/old/bin/python")},
		"a relative path":               {"#!bin/python", told("bin/python")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			entries := script(c.first)
			for i := range entries {
				entries[i].Path = venv + entries[i].Path
			}
			got := strings.Join(inspected(t, "metadata", machine, Place{
				Tree: newTree(t, append(entries, python)...), Interpreter: python.Path, Site: venv + strings.TrimSuffix(site, "/"),
			}), "\n")
			if got != c.want {
				t.Errorf("found %q, want %q", got, c.want)
			}
		})
	}
}
