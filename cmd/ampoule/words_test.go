package main

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

// words are words that once had several meanings, and the rooms whose declarations may have
// them in their names (see docs/decisions/0064-words.md). "x/..." is x with all below it.
var words = map[string][]string{
	"elsewhere": {},
	"seal":      {"builder", "builder/seal", "builder/progress"},
	"kept":      {"builder", "builder/fetch", "builder/failure", "cmd/...", "config", "registry", "store", "wiring"},
}

// TestWords wants each of the words to mean one thing: to name things of its own rooms alone.
func TestWords(t *testing.T) {
	t.Parallel()
	root := filepath.Join("..", "..")
	files := 0
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, file)
		switch {
		case err != nil:
			return err
		case d.IsDir() && (name == "bench" || d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") && name != "."):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go"):
			return nil
		}
		files++
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, fault := range misnamed(filepath.ToSlash(filepath.Dir(name)), parsed) {
			t.Errorf("%s declares %s: see docs/decisions/0064-words.md", name, fault)
		}
		return nil
	})
	if err != nil || files < 100 {
		t.Errorf("looked at %d files, %v", files, err)
	}
}

func TestWordsRefuses(t *testing.T) {
	t.Parallel()
	const source = `package x
type seal struct{}
var keptByUv, unsealed int
func Elsewhere() {}
func (seal) elsewhere() {}
const skept = 1
`
	parsed, err := parser.ParseFile(token.NewFileSet(), "x.go", source, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := misnamed("audit/survey", parsed), []string{"seal", "keptByUv", "Elsewhere", "elsewhere"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := misnamed("builder/seal", parsed); slices.Contains(got, "seal") {
		t.Errorf("in its own room: %q", got)
	}
}

// misnamed lists what a file of a room declares under a word that is not the room's.
func misnamed(room string, file *ast.File) []string {
	var found []string
	for _, name := range declared(file) {
		for word, rooms := range words {
			if slices.Contains(partsOf(name), word) && !slices.ContainsFunc(rooms, func(r string) bool { return matches(r, room) }) {
				found = append(found, name)
			}
		}
	}
	return found
}

// declared lists the names that a file declares at its top, methods too.
func declared(file *ast.File) []string {
	var names []string
	for _, decl := range file.Decls {
		switch d := decl.(type) {
		case *ast.FuncDecl:
			names = append(names, d.Name.Name)
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch s := spec.(type) {
				case *ast.TypeSpec:
					names = append(names, s.Name.Name)
				case *ast.ValueSpec:
					for _, name := range s.Names {
						names = append(names, name.Name)
					}
				}
			}
		}
	}
	return names
}

// partsOf takes a name in mixed capitals apart, into words in small letters.
func partsOf(name string) []string {
	var parts []string
	begin := 0
	for i, r := range name {
		if i > 0 && r >= 'A' && r <= 'Z' {
			parts, begin = append(parts, strings.ToLower(name[begin:i])), i
		}
	}
	return append(parts, strings.ToLower(name[begin:]))
}
