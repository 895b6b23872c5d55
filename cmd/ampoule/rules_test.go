package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// rulesOf is the package that alone has the rules of Python's packaging.
const rulesOf = "packaging"

// secondRules are forms of texts in Go's source by which somebody applies such a rule again.
var secondRules = []struct {
	what string
	form *regexp.Regexp
}{
	{"normalises names (PEP 503): packaging.NormalName", regexp.MustCompile(`\[(?:-_\\?\.|-\\?\._|_\\?-\\?\.|_\\?\.-|\\?\.-_|\\?\._\\?-|\\-_\\?\.|\\-\\?\._)\]\+`)},
	{"takes wheels' names apart: packaging.ParseWheelName", regexp.MustCompile(`-none-any|-\S*\\\.whl`)},
	{"reads versions (PEP 440): packaging.ParseVersion", regexp.MustCompile(`\ba\|b\|(?:c\||rc)|\balpha\|(?:a\||beta)|\bpost\||\|post\b|\|dev\b|\bdev\|`)},
	{"reads version specifiers (PEP 440): packaging.ParseSpecifiers", regexp.MustCompile(`===?\||\|===?|~=\||\|~=|\[[<>=!~]{4,}\]`)},
	{"knows the names of manylinux of before PEP 600: packaging.ParsePlatform", regexp.MustCompile(`^manylinux(?:1|2010|2014)_?$|manylinux1\|`)},
}

// notRules are texts of that form that are no second rule, by the files that they are in, the
// rule's beginning, and why.
var notRules = []struct{ in, rule, why string }{
	{"audit/explain/", "", "looks for names and versions in messages of other programs"},
	{"builder/diagnose/", "", "looks for names and versions in logs of other programs"},
	{"config/config.go", "normalises names", "the name of a variable has other separators than a source's name"},
	{"recipes/rules.go", "reads versions", "the schema of recipes has an expression for CPython's releases, which are fewer than versions"},
	{"recipes/rules.go", "normalises names", "an image's reference has the same separators"},
	{"registry/channel/rules/", "normalises names", "a registry's prefix has the same separators"},
	{"recipes/foreign/poetryversion.go", "reads version specifiers", "Poetry's constraints have operators of their own; packaging reads what they become"},
	{"recipes/project/version.go", "reads version", "version managers and Poetry write other forms, which are said in those of PEP 440 and read there"},
	{"recipes/project/dockerfile.go", "reads versions", "takes the tags of images apart"},
	{"builder/fetch/mirror.go", "reads versions", "takes the names of CPython's releases apart for their directory on a mirror"},
}

// TestRulesOfPackaging: each rule of Python's packaging is in one package.
func TestRulesOfPackaging(t *testing.T) {
	t.Parallel()
	root := filepath.Join("..", "..")
	files := 0
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		name := filepath.ToSlash(strings.TrimPrefix(file, root+string(filepath.Separator)))
		switch {
		case err != nil:
			return err
		case d.IsDir() && (name == rulesOf || strings.HasPrefix(d.Name(), ".") && d.Name() != ".."):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go"):
			return nil
		}
		source, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		files++
		for _, fault := range rulesIn(t, name, string(source)) {
			t.Error(fault)
		}
		return nil
	})
	if err != nil || files < 300 {
		t.Errorf("%d files were looked at: %v", files, err)
	}
}

// rulesIn lists the second rules in a file of Go.
func rulesIn(t *testing.T, name, source string) []string {
	t.Helper()
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, name, source, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	var faults []string
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.BasicLit:
			text, err := strconv.Unquote(n.Value)
			if err != nil || n.Kind != token.STRING {
				return true
			}
			for _, rule := range secondRules {
				if rule.form.MatchString(text) && !excused(name, rule.what) {
					faults = append(faults, fmt.Sprintf("%s: %q %s", set.Position(n.Pos()), text, rule.what))
				}
			}
		case *ast.CallExpr:
			if what := secondCall(n); what != "" && !excused(name, what) {
				faults = append(faults, fmt.Sprintf("%s: %s", set.Position(n.Pos()), what))
			}
		}
		return true
	})
	return faults
}

// excused reports whether a text in a file is no second rule.
func excused(file, rule string) bool {
	for _, no := range notRules {
		if strings.HasPrefix(file, no.in) && strings.HasPrefix(rule, no.rule) {
			return true
		}
	}
	return false
}

// secondCall says which rule a call applies again; empty where it applies none.
func secondCall(call *ast.CallExpr) string {
	switch name := called(call); {
	case (name == "strings.CutSuffix" || name == "strings.TrimSuffix") && len(call.Args) == 2 &&
		(text(call.Args[1]) == ".whl" || text(call.Args[1]) == "packaging.WheelSuffix"):
		return secondRules[1].what
	case name == "strings.ReplaceAll" && dashes(call) && inner(call) == "strings.ToLower",
		name == "strings.ToLower" && inner(call) == "strings.ReplaceAll" && dashes(call.Args[0].(*ast.CallExpr)),
		name == "strings.ToLower" && strings.HasSuffix(inner(call), ".ReplaceAllString") && text(call.Args[0].(*ast.CallExpr).Args[1]) == "-":
		return secondRules[0].what
	}
	return ""
}

// dashes reports whether a call of strings.ReplaceAll puts "-" where "_" is.
func dashes(call *ast.CallExpr) bool {
	return len(call.Args) == 3 && text(call.Args[1]) == "_" && text(call.Args[2]) == "-"
}

// inner is the function that gives a call's first argument.
func inner(call *ast.CallExpr) string {
	if len(call.Args) == 0 {
		return ""
	}
	if of, ok := call.Args[0].(*ast.CallExpr); ok {
		return called(of)
	}
	return ""
}

// called is the name of a function with that of its package, or of its receiver.
func called(call *ast.CallExpr) string { return text(call.Fun) }

// text is a literal's value, or a name with what it is selected from.
func text(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.BasicLit:
		value, err := strconv.Unquote(e.Value)
		if err == nil {
			return value
		}
	case *ast.SelectorExpr:
		if of, ok := e.X.(*ast.Ident); ok {
			return of.Name + "." + e.Sel.Name
		}
	}
	return ""
}

// What was in the project once, and would be a second rule again.
func TestRulesOfPackagingRefuses(t *testing.T) {
	t.Parallel()
	var found []string
	for _, line := range []string{
		"var separators = regexp.MustCompile(`[-_.]+`)",
		`var normal = strings.NewReplacer("_", "-", ".", "-")`,
		`func f(n string) string { return strings.ToLower(separators.ReplaceAllString(n, "-")) }`,
		`func f(n string) string { return strings.ReplaceAll(strings.ToLower(n), "_", "-") }`,
		`func IsPure(file string) bool { return strings.HasSuffix(file, "-none-any.whl") }`,
		`func f(n string) { stem, ok := strings.CutSuffix(n, ".whl"); _, _ = stem, ok }`,
		`func f(n string) []string { return strings.Split(strings.TrimSuffix(n, packaging.WheelSuffix), "-") }`,
		"var deps = regexp.MustCompile(`^/\\.deps/([^/-]+)-[^/]*\\.whl$`)",
		"var version = regexp.MustCompile(`([0-9.]+)((?:a|b|rc)[0-9]+)?(\\.post[0-9]+)?`)",
		"var local = regexp.MustCompile(`(post|rev|r)[-_.]?([0-9]*)`)",
		"var specifier = regexp.MustCompile(`(~=|==|!=|<=|>=|<|>)`)",
		"var specifier = regexp.MustCompile(`[<>=!~]+`)",
		"var legacy = regexp.MustCompile(`^(linux|manylinux1|manylinux2010|manylinux2014)_(\\w+)$`)",
		`var legacyMinors = map[string]int{"manylinux1": 5}`,
	} {
		if len(rulesIn(t, "x.go", "package x\n\n"+line+"\n")) == 0 {
			found = append(found, line)
		}
	}
	// Single characters say too little; reading tells.
	want := []string{`var normal = strings.NewReplacer("_", "-", ".", "-")`}
	if diff := cmp.Diff(want, found); diff != "" {
		t.Errorf("not found (-want +got):\n%s", diff)
	}
	for _, line := range []string{
		"var kinds = regexp.MustCompile(`\\.(whl|zip|tar\\.gz)$`)", `var file = strings.HasSuffix("a", ".whl")`,
		"var sourceName = regexp.MustCompile(`^[a-z0-9]([a-z0-9._-]*[a-z0-9])?$`)", `var dev, post = "dev", "post"`,
	} {
		if got := rulesIn(t, "x.go", "package x\n\n"+line+"\n"); len(got) > 0 {
			t.Errorf("no rule: %v", got)
		}
	}
	for _, no := range notRules {
		if _, err := os.Stat(filepath.Join("..", "..", filepath.FromSlash(no.in))); err != nil || no.why == "" {
			t.Errorf("%+v: %v", no, err)
		}
	}
}
