package seal

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/audit"
	"ampoule/faults"
	"ampoule/recipes"
	"ampoule/tree"
)

// wheelOf is what a wheel called name-1 installs: files of site-packages, "PATH=TEXT", with
// bytecode of each module, and what RECORD says of them.
func wheelOf(t *testing.T, name string, list ...string) *tree.Tree {
	t.Helper()
	info := site + name + "-1.dist-info/"
	entries := []tree.Entry{tree.FileEntry(info+"METADATA", 0o644, []byte("Name: "+name))}
	record := name + "-1.dist-info/METADATA,,\n" + name + "-1.dist-info/RECORD,,\n"
	for _, file := range list {
		p, text, _ := strings.Cut(file, "=")
		record += p + ",sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU,0\n"
		at, program := strings.CutPrefix(p, "../../../")
		if !program {
			at = site + p
		}
		entries = append(entries, tree.FileEntry(at, 0o644, []byte(text)))
		if stem, ok := strings.CutSuffix(at, ".py"); ok && !program {
			dir, base := stem[:strings.LastIndex(stem, "/")], stem[strings.LastIndex(stem, "/"):]
			entries = append(entries, tree.FileEntry(dir+"/__pycache__"+base+".cpython-313.pyc", 0o644, []byte(name+text)))
		}
	}
	return newTree(t, append(entries, tree.FileEntry(info+"RECORD", 0o644, []byte(record)))...)
}

// wheelsNamed are wheels of these distributions.
func wheelsNamed(names ...string) []Wheel {
	wheels := make([]Wheel, len(names))
	for i, name := range names {
		wheels[i] = Wheel{Name: name, File: name + "-1-py3-none-any.whl"}
	}
	return wheels
}

// installedPaths are the files below site-packages, without metadata.
func installedPaths(tr *tree.Tree) []string {
	return slices.DeleteFunc(paths(tr), func(p string) bool { return strings.Contains(p, ".dist-info/M") || strings.Contains(p, ".dist-info/R") })
}

func TestLay(t *testing.T) {
	t.Parallel()
	a, b := newTree(t, files("zope/__init__.py", "zope/a.py")...), newTree(t, files("zope/__init__.py", "zope/b.py")...)
	got, err := Settle([]*tree.Tree{a, b}, wheelsNamed("zope-a", "zope-b"), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	all, err := got.Lay()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"zope/__init__.py: wheel:zope-a", "zope/a.py: wheel:zope-a", "zope/b.py: wheel:zope-b"}, owners(all)); diff != "" || len(got.LeftOut) > 0 {
		t.Errorf("(-want +got):\n%s\n%v", diff, got.LeftOut)
	}
}

// What two wheels have beside what they are for, and nothing imports, is left out of both,
// whichever comes first, and of RECORD.
func TestSettle(t *testing.T) {
	t.Parallel()
	a := wheelOf(t, "a", "a.py=import os", "tests/__init__.py=a", "tests/test_a.py=import tests.helper", "LICENSE=a", "docs/x.txt=same")
	b := wheelOf(t, "b", "b/__init__.py=tests = 1", "tests/__init__.py=b", "LICENSE=b", "docs/x.txt=same")
	c := wheelOf(t, "c", "c.py=", "tests/only_c.py=c")
	for _, order := range [][]int{{0, 1, 2}, {2, 1, 0}} {
		var installed []*tree.Tree
		var wheels []Wheel
		for _, i := range order {
			installed, wheels = append(installed, []*tree.Tree{a, b, c}[i]), append(wheels, wheelsNamed("a", "b", "c")[i])
		}
		got, err := Settle(installed, wheels, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		want := []audit.LeftOut{
			{Place: "LICENSE", Dists: []string{"a", "b"}, Clashes: []string{"LICENSE"}},
			{Place: "tests", Dists: []string{"a", "b", "c"}, Clashes: []string{"tests/__init__.py"}},
		}
		if diff := cmp.Diff(want, got.LeftOut); diff != "" {
			t.Errorf("left out (-want +got):\n%s", diff)
		}
		all, err := got.Lay()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{
			site + "__pycache__/a.cpython-313.pyc", site + "__pycache__/c.cpython-313.pyc", site + "a.py",
			site + "b/__init__.py", site + "b/__pycache__/__init__.cpython-313.pyc", site + "c.py", site + "docs/x.txt",
		}, installedPaths(all)); diff != "" {
			t.Errorf("order %v (-want +got):\n%s", order, diff)
		}
		e, _ := all.Lookup(site + "a-1.dist-info/RECORD")
		if data, err := e.ReadAll(); err != nil || strings.Contains(string(data), "tests/") || !strings.Contains(string(data), "a.py,") {
			t.Errorf("RECORD %s, %v", data, err)
		}
		if _, ok := all.Lookup(site + "tests"); ok {
			t.Error("an empty directory stays")
		}
	}
}

// A place stays contested where something needs it, or where it is what a distribution is.
func TestSettleRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		a, b []string
		want string
	}{
		"another place":             {[]string{"x/__init__.py=a"}, []string{"b.py=", "x/__init__.py=b"}, "a and b both install " + site + "x/__init__.py, each a different one"},
		"all that it has":           {[]string{"tests/x.py=a"}, []string{"b.py=", "tests/x.py=b"}, ", and tests is all that a has"},
		"imported":                  {[]string{"a.py=def f():\n\tfrom tests.x import y", "tests/x.py=a"}, []string{"b.py=", "tests/x.py=b"}, ", and a.py of a imports tests"},
		"imported by another":       {[]string{"a.py=", "tests/x.py=a"}, []string{"b.py=import os, tests as t", "tests/x.py=b"}, ", and b.py of b imports tests"},
		"imported behind a colon":   {[]string{"a.py=try: import tests.x\nexcept: pass", "tests/x.py=a"}, []string{"b.py=", "tests/x.py=b"}, "imports tests"},
		"imported by name":          {[]string{"a.py=import_module('tests.x')", "tests/x.py=a"}, []string{"b.py=", "tests/x.py=b"}, "imports tests"},
		"an entry point":            {[]string{"a.py=", "a-1.dist-info/entry_points.txt=[x]\nrun = tests.x:main", "tests/x.py=a"}, []string{"b.py=", "tests/x.py=b"}, "imports tests"},
		"a program":                 {[]string{"a.py=", "../../../bin/a=from tests import x", "tests/x.py=a"}, []string{"b.py=", "tests/x.py=b"}, "bin/a of a imports tests"},
		"a module of that name":     {[]string{"a.py=import setup", "setup.py=a"}, []string{"b.py=", "setup.py=b"}, ", and a.py of a imports setup"},
		"a file where one has none": {[]string{"a.py=", "x=a"}, []string{"b.py=", "x/y=b"}, "both install " + site + "x,"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := Settle([]*tree.Tree{wheelOf(t, "a", c.a...), wheelOf(t, "b", c.b...)}, wheelsNamed("a", "b"), nil, nil)
			if faults.Of(err) != faults.Build || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v; want %q", err, c.want)
			}
		})
	}
}

// What no import statement is does not keep a place.
func TestSettleTakesNoTextForImport(t *testing.T) {
	t.Parallel()
	a := wheelOf(t, "a", "a.py=# import tests\nx = 'from tests import y'\nfrom .tests import z\nimport a.tests\nfrom a import tests\nyield from tests.run()\nimport mytests", "tests/x.py=a")
	got, err := Settle([]*tree.Tree{a, wheelOf(t, "b", "b.py=", "tests/x.py=b")}, wheelsNamed("a", "b"), nil, nil)
	if err != nil || len(got.LeftOut) != 1 {
		t.Errorf("got %+v, %v", got, err)
	}
}

// The hint of a clash is the recipe's own YAML, beside what stands there.
func TestClashHint(t *testing.T) {
	t.Parallel()
	installed := []*tree.Tree{wheelOf(t, "a", "tests/x.py=a", "x.py=import tests"), wheelOf(t, "b", "tests/x.py=b", "x.py=b")}
	_, err := Settle(installed, wheelsNamed("a", "b"), nil, nil)
	var clash *ClashError
	if !errors.As(err, &clash) || len(clash.Clashes) != 2 {
		t.Fatalf("got %v", err)
	}
	_, block, _ := strings.Cut(clash.Hint(), "In the recipe:\n")
	recipe, err := recipes.ParseRecipe("r", []byte("apiVersion: ampoule/v1\nname: x\npython: {version: 3.13.5}\nbase: {debian: bookworm}\nruntime:\n  vm: {glibc: \"2.36\"}\n"+block+"\n"))
	if err != nil {
		t.Fatalf("%s\n%v", block, err)
	}
	rest, _, err := Exclude(installed, wheelsNamed("a", "b"), recipe.Packages)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := Settle(rest, wheelsNamed("a", "b"), recipe.Packages, nil); err != nil || len(got.LeftOut) > 0 {
		t.Errorf("what the hint says settles nothing: %v, %v", got, err)
	}
	have := map[string]recipes.Packages{"b": {Exclude: []string{"y"}}}
	_, err = Settle(installed, wheelsNamed("a", "b"), have, nil)
	if hints := faults.Hints(err); len(hints) != 1 || !strings.Contains(hints[0], "below packages:") || !strings.Contains(hints[0], `exclude: ["y", "tests/**", "x.py"]`) {
		t.Errorf("hints %q", hints)
	}
}

// A group's wheels give way to the artifact's, and what the artifact lost without the group it
// has lost with it.
func TestSettleGroup(t *testing.T) {
	t.Parallel()
	a, b := wheelOf(t, "a", "a.py=", "tests/x.py=a"), wheelOf(t, "b", "b.py=", "tests/x.py=b")
	group := wheelOf(t, "g", "g.py=", "tests/x.py=g", "tests/g.py=")
	artifacts := func(w Wheel) bool { return w.Name != "g" }
	got, err := Settle([]*tree.Tree{group, a}, wheelsNamed("g", "a"), nil, artifacts)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]audit.LeftOut{{Place: "tests", Dists: []string{"g"}, Kept: []string{"a"}, Clashes: []string{"tests/x.py"}}}, got.LeftOut); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got.Installed[1] != a {
		t.Error("the artifact's wheel has lost something")
	}
	got, err = Settle([]*tree.Tree{a, b, group}, wheelsNamed("a", "b", "g"), nil, artifacts)
	if err != nil || len(got.LeftOut) != 1 || len(got.LeftOut[0].Dists) != 3 {
		t.Errorf("got %+v, %v", got.LeftOut, err)
	}
}

func TestExclude(t *testing.T) {
	t.Parallel()
	a := wheelOf(t, "a", "a/__init__.py=", "a/tests/x.py=", "tests/y.py=", "../../../bin/tool=", "README=")
	for name, c := range map[string]struct {
		patterns []string
		want     []string
	}{
		"a directory":       {[]string{"tests/**"}, []string{"bin/tool", "README", "a/__init__.py", "a/tests/x.py"}},
		"at any depth":      {[]string{"**/tests"}, []string{"bin/tool", "README", "a/__init__.py"}},
		"a program, a file": {[]string{"bin/tool", "READ*"}, []string{"a/__init__.py", "a/tests/x.py", "tests/y.py"}},
		"everything":        {[]string{"**"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, left, err := Exclude([]*tree.Tree{a, a}, wheelsNamed("a", "other"), map[string]recipes.Packages{"a": {Exclude: c.patterns}})
			if err != nil {
				t.Fatal(err)
			}
			var have []string
			for _, p := range installedPaths(got[0]) {
				if !strings.HasSuffix(p, ".pyc") {
					have = append(have, strings.TrimPrefix(p, site))
				}
			}
			if diff := cmp.Diff(c.want, have); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			e, _ := got[0].Lookup(site + "a-1.dist-info/RECORD")
			if data, err := e.ReadAll(); err != nil || strings.Count(string(data), "\n") != len(c.want)+2 {
				t.Errorf("RECORD %s, %v", data, err)
			}
			if got[1] != a || len(left) != len(c.patterns) || left[0].Place != c.patterns[0] {
				t.Errorf("of another: %v; left %v", got[1] != a, left)
			}
		})
	}
}

func TestExcludeUnmatched(t *testing.T) {
	t.Parallel()
	a := wheelOf(t, "a", "a/__init__.py=", "tests/y.py=", "../../../bin/tool=")
	for pattern, want := range map[string]string{
		"tset/**":                `"tset/**" matches no file of a-1-py3-none-any.whl`,
		"a-1.dist-info/METADATA": "matches nothing of a-1-py3-none-any.whl but its .dist-info",
	} {
		_, _, err := Exclude([]*tree.Tree{a}, wheelsNamed("a"), map[string]recipes.Packages{"a": {Exclude: []string{"tests/**", pattern}}})
		var unmatched *UnmatchedError
		if !errors.As(err, &unmatched) || faults.Of(err) != faults.Input || unmatched.Index != 1 || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", pattern, err)
			continue
		}
		if hint := unmatched.Hint(); hint != "the wheel has a/, bin/tool, tests/" {
			t.Errorf("%s: %s", pattern, hint)
		}
	}
}
