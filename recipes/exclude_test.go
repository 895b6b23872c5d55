package recipes

import (
	"errors"
	"strings"
	"testing"
)

func TestMatchExclude(t *testing.T) {
	t.Parallel()
	for pattern, paths := range map[string]struct{ yes, no string }{
		"tests/**":    {"tests/a.py tests/b/c.py", "tests a/tests/x.py tests.py"},
		"tests":       {"tests tests/a.py", "a/tests tests.py"},
		"**/tests":    {"tests/x a/tests/x a/b/tests", "a/mytests/x"},
		"**/tests/**": {"tests/x a/tests/x", "a/tests"},
		"a/**/x.py":   {"a/x.py a/b/x.py a/b/c/x.py", "b/x.py a/y.py"},
		"*.py":        {"x.py", "a/x.py"},
		"**/*.py":     {"x.py a/x.py", "x.pyi"},
		"bin/*":       {"bin/tool", "bin"},
		"a/[":         {"", "a/["},
	} {
		for _, p := range strings.Fields(paths.yes) {
			if !MatchExclude(pattern, p) {
				t.Errorf("%s does not match %s", pattern, p)
			}
		}
		for _, p := range strings.Fields(paths.no) {
			if MatchExclude(pattern, p) {
				t.Errorf("%s matches %s", pattern, p)
			}
		}
	}
}

func TestExcludePattern(t *testing.T) {
	t.Parallel()
	for pattern, hint := range map[string]string{
		"/tests": "below site-packages", "../bin/x": "bin/tool", "tests/": "write tests", "a**": "whole directories", "[": "", ".": "",
		"lib/python3.13/site-packages/tests/": "without the directory: tests",
	} {
		_, err := ParseRecipe("a.yaml", []byte(strings.Replace(goodRecipe, "[libpq-dev]}", "[libpq-dev], exclude: ['"+pattern+"']}", 1)))
		faults, ok := errors.AsType[Faults](err)
		if !ok || len(faults) != 1 || !strings.Contains(faults[0].What, "a pattern of files of a wheel") || !strings.Contains(faults[0].Hint, hint) {
			t.Errorf("%q: %v, %v", pattern, err, faults)
		}
	}
}

// A pattern of a distribution that is not installed would do nothing.
func TestUselessExclude(t *testing.T) {
	t.Parallel()
	with := func(name string) *Recipe {
		r, err := ParseRecipe("a.yaml", []byte(strings.Replace(goodRecipe, "packages:\n", "packages:\n  "+name+": {exclude: [tests, docs]}\n", 1)))
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	installed := &Lock{Requirements: []string{"flask==3.1"}, Groups: map[string]LockedGroup{"test": {Requirements: []string{"pytest==8"}}}, App: []LockedApp{{Name: "own"}}}
	for _, name := range []string{"flask", "pytest", "own"} {
		if got := UselessExcludes(with(name), installed); len(got) > 0 {
			t.Errorf("%s: %v", name, got)
		}
	}
	got := UselessExcludes(with("setuptools"), installed)
	if len(got) != 1 || got[0].Line == 0 || !strings.Contains(got[0].What, "which is not installed") {
		t.Errorf("got %v", got)
	}
}

// The order of patterns means nothing, and a recipe without any keeps its key.
func TestKeyOfExclude(t *testing.T) {
	t.Parallel()
	key := func(exclude string) string {
		r, err := ParseRecipe("a.yaml", []byte(strings.Replace(goodRecipe, "[libpq-dev]}", "[libpq-dev]"+exclude+"}", 1)))
		if err != nil {
			t.Fatal(err)
		}
		return Key(r, goodLock(), "linux/amd64", "1", "")
	}
	if key(", exclude: [a, b]") != key(", exclude: [b, a]") {
		t.Error("another order has another key")
	}
	if key(", exclude: [a]") == key("") || key(", exclude: []") != key("") {
		t.Error("exclude is not in the key, or where nothing is written")
	}
}
