package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestInitialisers wants no if statement to change something on its way to what it asks: who
// reads over conditions would miss it. To set err, and what comes with it, is Go's own idiom.
func TestInitialisers(t *testing.T) {
	t.Parallel()
	root := filepath.Join("..", "..")
	files := 0
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") && file != root):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go"):
			return nil
		}
		files++
		set := token.NewFileSet()
		parsed, err := parser.ParseFile(set, file, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, at := range sideEffects(parsed) {
			t.Errorf("%s: the condition changes something before it asks: write it in a line of its own", set.Position(at))
		}
		return nil
	})
	if err != nil || files < 100 {
		t.Errorf("looked at %d files, %v", files, err)
	}
}

func TestInitialisersRefuses(t *testing.T) {
	t.Parallel()
	const source = `package x
func f(a, n int, err error) {
	if n++; n > 1 {
	}
	if a = n; a > 1 {
	} else if n += a; n > 1 {
	}
	if a, err = g(); err != nil {
	}
	if b := n; b > 1 {
	}
}
`
	set := token.NewFileSet()
	parsed, err := parser.ParseFile(set, "x.go", source, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, at := range sideEffects(parsed) {
		lines = append(lines, fmt.Sprint(set.Position(at).Line))
	}
	if !slices.Equal(lines, []string{"3", "5", "6"}) {
		t.Errorf("lines %q", lines)
	}
}

// sideEffects lists the if statements of a file that change something before they ask.
func sideEffects(file *ast.File) []token.Pos {
	var found []token.Pos
	ast.Inspect(file, func(n ast.Node) bool {
		if s, ok := n.(*ast.IfStmt); ok && changes(s.Init) {
			found = append(found, s.Init.Pos())
		}
		return true
	})
	return found
}

// changes reports whether a statement changes something that was there before, err apart.
func changes(s ast.Stmt) bool {
	switch s := s.(type) {
	case *ast.IncDecStmt:
		return true
	case *ast.AssignStmt:
		return s.Tok != token.DEFINE && !slices.ContainsFunc(s.Lhs, func(e ast.Expr) bool {
			name, ok := e.(*ast.Ident)
			return ok && name.Name == "err"
		})
	}
	return false
}
