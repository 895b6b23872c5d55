package cli

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// moduleName is what imports call this module.
const moduleName = "ampoule"

// kindless are the errors that say no kind, and why.
var kindless = map[string]string{
	"cmd/ampoule/cli.ChildError": "it carries an exit code of its own",

	// Others make errors of their own of them, or go on.
	"service/problem.Problem":   "its method Err gives an error of that kind",
	"packaging.SyntaxError":     "recipes make faults and errors of their own of it",
	"audit/survey.bytesError":   "it is why something was not read, in a report",
	"audit/survey.filesError":   "it is why something was not read, in a report",
	"audit/survey.pathsError":   "it is why something was not read, in a report",
	"audit/survey.specialError": "it is why something was not read, in a report",
	"audit.ErrTooMuch":          "it is why something was not judged, in a report",
	"audit/elf.ErrFormat":       "it is a finding",
	"audit/elf.ErrUnsupported":  "it is a finding",
	"audit/wheel.ErrArchive":    "it is a finding, or why a wheel is refused",
	"packaging.ErrFileName":     "it is a finding, or why a name is no wheel's",
	"packaging.ErrMetadata":     "it is a finding, or why a wheel is refused",
	"packaging.ErrRecord":       "it is a finding, or why a wheel is refused",
	"packaging.ErrTag":          "it is a finding, or why a wheel is refused",
	"builder/locking.refused":   "it makes locking compute metadata",
	"registry/install.refusal":  "it is why an artifact does not verify",
	"registry/images.noneError": "it is why there is an images.ErrNoImage",
	"store.ErrNotFound":         "what is not in the store is made or fetched",
	"store.ErrCollecting":       "whoever meets another collection leaves it the work",
	"wiring.ErrClosed":          "whoever closes the parts does not use them any more",

	// Nobody foresees them: they are faults of Ampoule itself.
	"audit.ErrSubject":                  "builds judge what they made",
	"audit.ErrMeasure":                  "builds measure the interpreter that they made",
	"audit.ErrNoInterpreter":            "a sealed tree has one; an audit looks for it before",
	"builder/sandbox.ErrClosed":         "whoever removes a sandbox does not use it any more",
	"registry/embedded.ErrClosed":       "whoever closes the registry does not use it any more",
	"builder/toolchain/debian.ErrLimit": "the bounds are far above what Debian has",
	"tree.ErrLimit":                     "the bounds are far above what builds make",
}

// TestErrorsHaveKinds wants each error of the program to say its kind where it is
// declared: what does not would be told as a fault of Ampoule itself.
func TestErrorsHaveKinds(t *testing.T) {
	t.Parallel()
	var all []string
	missing := map[string]string{}
	for dir, files := range programFiles(t) {
		d := declaredErrors(t, files)
		for _, name := range d.types {
			all = append(all, dir+"."+name)
		}
		for name, why := range d.withoutKind() {
			missing[dir+"."+name] = why
		}
	}
	if len(all) < 40 {
		t.Fatalf("only %d types of errors were found: %q", len(all), all)
	}
	for name, why := range missing {
		if _, excused := kindless[name]; !excused {
			t.Errorf("%s %s", name, why)
		}
	}
	for name := range kindless {
		if missing[name] == "" {
			t.Errorf("%s is excused and needs no excuse", name)
		}
	}
}

func TestErrorsWithoutKindsAreFound(t *testing.T) {
	t.Parallel()
	const kind = "func (*%) Kind() faults.Kind { return faults.Input }\n"
	const text = "func (*%) Error() string { return \"\" }\n"
	const unwrap = "func (*%) Unwrap() error { return nil }\n"
	for name, test := range map[string]struct {
		source string
		want   []string
	}{
		"a type that has one":           {"type XError struct{}\n" + strings.ReplaceAll(text+kind, "%", "XError"), nil},
		"a type that has none":          {"type XError struct{}\n" + strings.ReplaceAll(text, "%", "XError"), []string{"XError"}},
		"one of a value":                {"type XError struct{}\nfunc (e XError) Error() string { return \"\" }\n", []string{"XError"}},
		"a generic one":                 {"type XError[T any] struct{}\nfunc (e *XError[T]) Error() string { return \"\" }\n", []string{"XError"}},
		"one that only wraps":           {"type XError struct{}\n" + strings.ReplaceAll(text+unwrap, "%", "XError"), []string{"XError"}},
		"one that embeds an error":      {"type XError struct{ error }\n", []string{"XError"}},
		"a kind of another form":        {"type XError struct{}\n" + strings.ReplaceAll(text, "%", "XError") + "func (*XError) Kind() string { return \"\" }\n", []string{"XError"}},
		"an unexported one with a kind": {"type xError struct{}\n" + strings.ReplaceAll(text+kind, "%", "xError"), nil},
		"an unexported one that wraps":  {"type xError struct{}\n" + strings.ReplaceAll(text+unwrap, "%", "xError"), nil},
		"an unexported one":             {"type xError struct{}\n" + strings.ReplaceAll(text, "%", "xError"), []string{"xError"}},
		"a value that has one":          {"var ErrX = faults.New(faults.Input, \"\", \"x\")\n", nil},
		"a value that has none":         {"var ErrX = errors.New(\"x\")\n", []string{"ErrX"}},
		"a value that wraps":            {"var (\n\tErrX = fmt.Errorf(\"x: %w\", ErrY)\n)\n", []string{"ErrX"}},
		"an unexported value":           {"var errX = errors.New(\"x\")\n", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file, err := parser.ParseFile(token.NewFileSet(), "x.go", "package x\n"+test.source, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			found := slices.Sorted(maps.Keys(declaredErrors(t, []*ast.File{file}).withoutKind()))
			if diff := cmp.Diff(test.want, found); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// programFiles parses this module's packages that the program is made of, tests apart, by
// their directories.
func programFiles(t *testing.T) map[string][]*ast.File {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "-json=ImportPath,Dir,GoFiles", moduleName+"/cmd/ampoule").Output()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string][]*ast.File{}
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct {
			ImportPath, Dir string
			GoFiles         []string
		}
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return found
		} else if err != nil {
			t.Fatal(err)
		}
		dir, ours := strings.CutPrefix(p.ImportPath, moduleName+"/")
		if !ours {
			continue
		}
		for _, name := range p.GoFiles {
			file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			found[dir] = append(found[dir], file)
		}
	}
}

// declared is what a package declares of errors.
type declared struct {
	// types are those with a method Error() string, or that embed an error.
	types []string
	// kinds and wraps are the types with a method Kind() faults.Kind, and with Unwrap.
	kinds, wraps map[string]bool
	// plain are the exported values that package errors or fmt made.
	plain []string
}

// withoutKind names the errors that cannot say their kind. An unexported type may wrap
// the error that says it.
func (d declared) withoutKind() map[string]string {
	missing := map[string]string{}
	for _, name := range d.types {
		switch {
		case d.kinds[name], !ast.IsExported(name) && d.wraps[name]:
		case ast.IsExported(name):
			missing[name] = "has no method Kind() faults.Kind"
		default:
			missing[name] = "has no method Kind() faults.Kind and wraps nothing that could have one"
		}
	}
	for _, name := range d.plain {
		missing[name] = "is a value without a kind: faults.New makes one with it"
	}
	return missing
}

func declaredErrors(t *testing.T, files []*ast.File) declared {
	t.Helper()
	d := declared{kinds: map[string]bool{}, wraps: map[string]bool{}}
	for _, file := range files {
		for _, decl := range file.Decls {
			switch decl := decl.(type) {
			case *ast.FuncDecl:
				d.method(file.Name.Name, decl)
			case *ast.GenDecl:
				for _, spec := range decl.Specs {
					d.spec(spec)
				}
			}
		}
	}
	return d
}

// method notes a method that makes its type an error, or says something of one.
func (d *declared) method(pkg string, f *ast.FuncDecl) {
	if f.Recv == nil || f.Type.Params.NumFields() != 0 || f.Type.Results.NumFields() != 1 {
		return
	}
	name, result := receiver(f.Recv.List[0].Type), f.Type.Results.List[0].Type
	switch f.Name.Name {
	case "Error":
		d.types = append(d.types, name)
	case "Unwrap":
		d.wraps[name] = true
	case "Kind":
		local, _ := result.(*ast.Ident)
		of, _ := result.(*ast.SelectorExpr)
		d.kinds[name] = pkg == "faults" && local != nil && local.Name == "Kind" || of != nil && isName(of, "faults", "Kind")
	}
}

// spec notes a type that embeds an error, and values that are errors without a kind.
func (d *declared) spec(spec ast.Spec) {
	switch spec := spec.(type) {
	case *ast.TypeSpec:
		of, _ := spec.Type.(*ast.StructType)
		if of == nil {
			return
		}
		for _, field := range of.Fields.List {
			if embedded, ok := field.Type.(*ast.Ident); ok && len(field.Names) == 0 && embedded.Name == "error" {
				d.types = append(d.types, spec.Name.Name)
			}
		}
	case *ast.ValueSpec:
		for i, value := range spec.Values {
			call, _ := value.(*ast.CallExpr)
			if call == nil || !spec.Names[i].IsExported() {
				continue
			}
			if f, ok := call.Fun.(*ast.SelectorExpr); ok && (isName(f, "errors", "New") || isName(f, "fmt", "Errorf")) {
				d.plain = append(d.plain, spec.Names[i].Name)
			}
		}
	}
}

// receiver names the type of a method's receiver.
func receiver(of ast.Expr) string {
	switch of := of.(type) {
	case *ast.StarExpr:
		return receiver(of.X)
	case *ast.IndexExpr:
		return receiver(of.X)
	case *ast.Ident:
		return of.Name
	}
	return ""
}

// isName reports whether an expression is PKG.NAME.
func isName(of *ast.SelectorExpr, pkg, name string) bool {
	x, ok := of.X.(*ast.Ident)
	return ok && x.Name == pkg && of.Sel.Name == name
}
