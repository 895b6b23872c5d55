package audit

import (
	"path"
	"regexp"
	"strings"
)

// optional names a source file of a module's distribution that imports it in a try statement,
// if every import of it there is in one: the distribution does without the module where it
// cannot be loaded. What other distributions import is not looked at.
func (x *exam) optional(module *object) string {
	own, ok := strings.CutPrefix(module.entry.Owner, OwnerWheel)
	if !x.found || !ok || !module.isExtension() {
		return ""
	}
	if file, ok := x.optionals[module.entry.Path]; ok {
		return file
	}
	name, _, _ := strings.Cut(path.Base(module.entry.Path), ".")
	guarded := ""
	if identifier.MatchString(name) {
		guarded = x.guardedImport(own, name)
	}
	if x.optionals == nil {
		x.optionals = map[string]string{}
	}
	x.optionals[module.entry.Path] = guarded
	return guarded
}

// guardedImport names a source of a distribution that imports what has a name in a try
// statement; empty where none does, or one that is no test imports it without.
func (x *exam) guardedImport(dist, name string) string {
	imports := regexp.MustCompile(`^[ \t]*(?:from[ \t]+[\w.]+[ \t]+import\b.*\b` + name + `\b|from[ \t]+[\w.]*\b` + name + `[ \t]+import\b|import[ \t].*\b` + name + `\b)`)
	found := ""
	for e, text := range x.sourcesOf(ownedBy(dist)) {
		if !strings.Contains(text, name) {
			continue
		}
		lines := strings.Split(text, "\n")
		for i, line := range lines {
			if !imports.MatchString(line) {
				continue
			}
			switch {
			case isGuarded(lines, i):
				found = e.Path
			case !isTest(e.Path):
				return ""
			}
		}
	}
	return found
}

// isTest reports whether a source is a test, by the names that pytest and unittest look for.
// A distribution works without what its tests alone cannot do without.
func isTest(file string) bool {
	dir, base := path.Split(file)
	for part := range strings.SplitSeq(dir, "/") {
		if part == "test" || part == "tests" {
			return true
		}
	}
	return strings.HasPrefix(base, "test_") || strings.HasSuffix(base, "_test.py") || base == "conftest.py"
}

// isGuarded reports whether a line of Python is in the first part of a try statement, within its
// function.
func isGuarded(lines []string, at int) bool {
	depth := indent(lines[at])
	for i := at - 1; i >= 0 && depth > 0; i-- {
		text := strings.TrimSpace(lines[i])
		if text == "" || strings.HasPrefix(text, "#") || indent(lines[i]) >= depth {
			continue
		}
		depth = indent(lines[i])
		switch {
		case strings.HasPrefix(text, "try:"):
			return goesOn(lines, at, depth)
		case strings.HasPrefix(text, "def "), strings.HasPrefix(text, "async def "), strings.HasPrefix(text, "class "):
			return false
		}
	}
	return false
}

// catches matches an except clause that catches what import raises where a module cannot be
// loaded.
var catches = regexp.MustCompile(`^except(\s*:|\b.*\b(ImportError|Exception|BaseException)\b)`)

// goesOn reports whether a try statement of some depth, in whose first part a line is, goes on
// behind an import that fails: it catches that, and raises nothing in its place.
func goesOn(lines []string, at, depth int) bool {
	caught := false
	for inClause := false; at < len(lines); at++ {
		text := strings.TrimSpace(lines[at])
		switch at := indent(lines[at]); {
		case text == "" || strings.HasPrefix(text, "#") || at > depth && !inClause:
			continue
		case at > depth:
			if strings.HasPrefix(text, "raise") || strings.Contains(text, "exit(") {
				return false
			}
			continue
		case at < depth:
			return caught
		}
		if caught && !strings.HasPrefix(text, "except") {
			return true
		}
		inClause = catches.MatchString(text)
		if !inClause && !strings.HasPrefix(text, "except") {
			return caught
		}
		caught = caught || inClause
		if inClause && strings.Contains(text[strings.LastIndex(text, ":")+1:], "raise") {
			return false
		}
	}
	return caught
}

func indent(line string) int { return len(line) - len(strings.TrimLeft(line, " \t")) }

// excuse makes a warning of what keeps a module from being loaded that its distribution does
// without.
func (x *exam) excuse(f *Finding, module *object) {
	if f.Severity == Warn {
		return
	}
	if file := x.optional(module); file != "" {
		f.Severity, f.Needs = Warn, ""
		f.Cause += " The distribution's " + path.Base(file) + " imports the module in a try statement: it does without."
	}
}
