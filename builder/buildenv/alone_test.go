package buildenv

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// opening is what opens a part of a build environment.
var opening = []string{"toolchain.New", "toolchain.Locked", "cpython.Stage", "wheels.NewHouse"}

// A build environment is opened in this package alone: what locks and what builds cannot
// come to differ in how they do it.
func TestOpenedHereAlone(t *testing.T) {
	t.Parallel()
	here := 0
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for node := range ast.Preorder(file) {
			selector, ok := node.(*ast.SelectorExpr)
			if !ok {
				continue
			}
			from, ok := selector.X.(*ast.Ident)
			if !ok || !slices.Contains(opening, from.Name+"."+selector.Sel.Name) {
				continue
			}
			if filepath.Dir(path) != filepath.Join("..", "buildenv") {
				t.Errorf("%s uses %s.%s", path, from.Name, selector.Sel.Name)
				continue
			}
			here++
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if here < len(opening) {
		t.Errorf("this package itself uses %d of %q", here, opening)
	}
}
