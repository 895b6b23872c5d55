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
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Every kind of record that the program keeps has a row in the table of what is
// remembered, and every row has its kind.
func TestMemoryIsTold(t *testing.T) {
	t.Parallel()
	root := filepath.Join("..", "..")
	sources, err := parseSources(root)
	if err != nil {
		t.Fatal(err)
	}
	kinds, err := sources.kinds()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, "docs", "memory.md"))
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("^`([a-z/]+)` (Test[A-Za-z]+)$")
	var rows []string
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z-]+)` \\|.*\\| ([^|]*) \\|$").FindAllStringSubmatch(string(text), -1) {
		rows = append(rows, row[1])
		if m := named.FindStringSubmatch(row[2]); m == nil || !hasTest(t, filepath.Join(root, filepath.FromSlash(m[1])), m[2]) {
			t.Errorf("%s: there is no test %q", row[1], row[2])
		}
	}
	slices.Sort(rows)
	if diff := cmp.Diff(kinds, rows); diff != "" {
		t.Errorf("docs/memory.md (-kinds of records in the code +rows):\n%s", diff)
	}
	if len(kinds) < 15 {
		t.Errorf("only %q", kinds)
	}
}

// Kinds are found through constants of other packages and functions that pass them on; one
// that cannot be told is an error.
func TestKindsAreFound(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	write := func(dir, text string) {
		t.Helper()
		dir = filepath.Join(root, dir)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "x.go"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	find := func() ([]string, error) {
		t.Helper()
		sources, err := parseSources(root)
		if err != nil {
			t.Fatal(err)
		}
		return sources.kinds()
	}
	write("a", `package a
const Exported = "one"
func Remember(s store, what int, kind, key string) error { return s.Record(kind, key, what) }
func ask(s store, mode string) error { return Remember(s, 1, mode, "k") }
func all(s store) { ask(s, "two"); s.RecordDurably("three", "k", 1) }`)
	write("b", `package b
const kind = "four"
func f(s store) { func() { s.Lookup(kind, "k", nil) }(); s.Record(a.Exported, "k", 1); a.Remember(s, 1, "five", "k") }`)
	got, err := find()
	if diff := cmp.Diff([]string{"five", "four", "one", "three", "two"}, got); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
	write("c", `package c
func g(s store) { s.Record(made(), "k", 1) }`)
	if _, err := find(); err == nil || !strings.Contains(err.Error(), "x.go:2") {
		t.Errorf("a kind that is made gives %v", err)
	}
}

// sources are the program's packages, by directory.
type sources struct {
	files  *token.FileSet
	dirs   map[string][]*ast.File
	consts map[string]map[string]string
}

// parseSources parses all that is no test below a directory.
func parseSources(root string) (*sources, error) {
	s := &sources{token.NewFileSet(), map[string][]*ast.File{}, map[string]map[string]string{}}
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(s.files, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		dir := filepath.Dir(path)
		s.dirs[dir] = append(s.dirs[dir], file)
		s.noteConsts(file)
		return nil
	})
	return s, err
}

// noteConsts notes a file's constants that are texts, by the package's name.
func (s *sources) noteConsts(file *ast.File) {
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || len(spec.Values) != len(spec.Names) {
			return true
		}
		for i, name := range spec.Names {
			if text, ok := literal(spec.Values[i]); ok {
				if s.consts[file.Name.Name] == nil {
					s.consts[file.Name.Name] = map[string]string{}
				}
				s.consts[file.Name.Name][name.Name] = text
			}
		}
		return true
	})
}

// taker is a function that takes the kind of a record.
type taker struct {
	name string
	// arg is the kind's place among the arguments, args their number; 0 is any.
	arg, args int
	// dir has a function that only its own package calls.
	dir string
}

// kinds lists the kinds that are given to the store's methods, sorted.
func (s *sources) kinds() ([]string, error) {
	takers := []taker{{"Record", 0, 3, ""}, {"RecordDurably", 0, 3, ""}, {"Lookup", 0, 3, ""}}
	var kinds []string
	for i := 0; i < len(takers); i++ {
		found, passed, err := s.given(takers[i])
		if err != nil {
			return nil, err
		}
		kinds = append(kinds, found...)
		for _, p := range passed {
			if !slices.Contains(takers, p) {
				takers = append(takers, p)
			}
		}
	}
	slices.Sort(kinds)
	return slices.Compact(kinds), nil
}

// given finds the kinds that callers give to a function, and the functions that pass on
// what they are given.
func (s *sources) given(to taker) (kinds []string, passed []taker, err error) {
	for dir, files := range s.dirs {
		if to.dir != "" && to.dir != dir {
			continue
		}
		for _, file := range files {
			for _, decl := range file.Decls {
				inside, ok := decl.(*ast.FuncDecl)
				if !ok {
					continue
				}
				for _, arg := range arguments(inside, to) {
					kind, pass, found := s.tell(file, inside, dir, arg)
					switch {
					case !found:
						return nil, nil, fmt.Errorf("%s: which kind of record this is cannot be told", s.files.Position(arg.Pos()))
					case pass != nil:
						passed = append(passed, *pass)
					default:
						kinds = append(kinds, kind)
					}
				}
			}
		}
	}
	return kinds, passed, nil
}

// arguments are what a function's calls give to a taker.
func arguments(inside *ast.FuncDecl, to taker) []ast.Expr {
	var all []ast.Expr
	ast.Inspect(inside, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok || calleeOf(call) != to.name || to.args > 0 && len(call.Args) != to.args || len(call.Args) <= to.arg {
			return true
		}
		all = append(all, call.Args[to.arg])
		return true
	})
	return all
}

func calleeOf(call *ast.CallExpr) string {
	switch f := call.Fun.(type) {
	case *ast.Ident:
		return f.Name
	case *ast.SelectorExpr:
		return f.Sel.Name
	}
	return ""
}

// tell says which kind an argument is, or which function passes it on.
func (s *sources) tell(file *ast.File, inside *ast.FuncDecl, dir string, arg ast.Expr) (kind string, pass *taker, found bool) {
	if text, ok := literal(arg); ok {
		return text, nil, true
	}
	switch arg := arg.(type) {
	case *ast.SelectorExpr:
		if from, ok := arg.X.(*ast.Ident); ok {
			kind, found = s.consts[from.Name][arg.Sel.Name]
		}
	case *ast.Ident:
		at := 0
		for _, field := range inside.Type.Params.List {
			for _, name := range field.Names {
				if name.Name == arg.Name {
					pass := &taker{name: inside.Name.Name, arg: at}
					if !inside.Name.IsExported() {
						pass.dir = dir
					}
					return "", pass, true
				}
				at++
			}
		}
		kind, found = s.consts[file.Name.Name][arg.Name]
	}
	return kind, nil, found
}

// literal is the text of a string literal.
func literal(e ast.Expr) (string, bool) {
	lit, ok := e.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return "", false
	}
	text, err := strconv.Unquote(lit.Value)
	return text, err == nil
}
