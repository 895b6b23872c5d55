package cli

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// module is this module's root, seen from here, and moduleName what imports call it.
const (
	module     = "../../.."
	moduleName = "ampoule"
)

// unlisted are the exported errors that the table of exit codes has not, and why.
var unlisted = map[string]string{
	"cmd/ampoule/cli.ChildError":                "it carries a code of its own",
	"packaging.SyntaxError":                     "recipes make faults and errors of their own of it",
	"builder/wheels.FailedError":                "each of its failures is an error of the table",
	"builder/toolchain/debian.MissingToolError": "it is a sandbox.ErrUnavailable",
	"store.SpaceError":                          "it is a store.ErrNoSpace",
}

// TestErrorsHaveCodes wants each exported error type of the module in the table of exit
// codes: what is not there would be told as a fault of Ampoule itself.
func TestErrorsHaveCodes(t *testing.T) {
	t.Parallel()
	listed := listedErrors(t)
	all := exportedErrors(t)
	if len(all) < 50 {
		t.Fatalf("only %d exported errors were found: %q", len(all), all)
	}
	for _, name := range all {
		_, excused := unlisted[name]
		switch {
		case listed[name] && excused:
			t.Errorf("%s is in the table and among those that need not be", name)
		case !listed[name] && !excused:
			t.Errorf("%s is in no row of the table of exit codes", name)
		}
	}
	for name := range unlisted {
		if !slices.Contains(all, name) {
			t.Errorf("%s is excused and does not exist", name)
		}
	}
}

// exportedErrors names the exported types with a method Error() string, as DIR.TYPE.
func exportedErrors(t *testing.T) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(module, func(file string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && file != module && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || isModule(file)):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go"):
			return nil
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		dir, err := filepath.Rel(module, filepath.Dir(file))
		for _, decl := range parsed.Decls {
			if name := errorType(decl); ast.IsExported(name) {
				names = append(names, filepath.ToSlash(dir)+"."+name)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	return names
}

// isModule reports whether a directory is the root of a module.
func isModule(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "go.mod"))
	return err == nil
}

// errorType names the type of which a declaration is the method Error.
func errorType(decl ast.Decl) string {
	f, ok := decl.(*ast.FuncDecl)
	if !ok || f.Recv == nil || f.Name.Name != "Error" || f.Type.Params.NumFields() != 0 || f.Type.Results.NumFields() != 1 {
		return ""
	}
	of := f.Recv.List[0].Type
	if star, ok := of.(*ast.StarExpr); ok {
		of = star.X
	}
	name, _ := of.(*ast.Ident)
	if name == nil {
		return ""
	}
	return name.Name
}

// listedErrors names the types that the table asks for, as DIR.TYPE.
func listedErrors(t *testing.T) map[string]bool {
	t.Helper()
	source, err := os.ReadFile("exit.go")
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := parser.ParseFile(token.NewFileSet(), "exit.go", source, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	dirs := map[string]string{"": "cmd/ampoule/cli"}
	for _, i := range parsed.Imports {
		p, err := strconv.Unquote(i.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		if dir, ours := strings.CutPrefix(p, moduleName+"/"); ours {
			dirs[path.Base(p)] = dir
		}
	}
	listed := map[string]bool{}
	ast.Inspect(parsed, func(n ast.Node) bool {
		if pkg, name := asked(n); name != "" {
			listed[dirs[pkg]+"."+name] = true
		}
		return true
	})
	return listed
}

// asked gives the type that is[*pkg.Type] asks for; of this package, pkg is empty.
func asked(n ast.Node) (pkg, name string) {
	index, ok := n.(*ast.IndexExpr)
	if !ok {
		return "", ""
	}
	if f, ok := index.X.(*ast.Ident); !ok || f.Name != "is" {
		return "", ""
	}
	of := index.Index
	if star, ok := of.(*ast.StarExpr); ok {
		of = star.X
	}
	switch of := of.(type) {
	case *ast.Ident:
		return "", of.Name
	case *ast.SelectorExpr:
		return of.X.(*ast.Ident).Name, of.Sel.Name
	}
	return "", ""
}
