package audit

import (
	"slices"
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
		"not there":       {Locked{"other", "1.0"}, []string{"refuse metadata lib/python3.13/site-packages: lock other 1.0"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := subject(t, installed("victim", tree.FileEntry(site+"victim.py", 0o644, nil))...)
			s.Locked = []Locked{c.locked}
			expect(t, judge(t, s), c.want...)
		})
	}
}
