package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"ampoule/artifact"
)

// contractual says of a text whether it belongs to the artifact's contract. Code that
// needs one takes it from package artifact: who writes and who reads cannot differ.
func contractual(text string) bool {
	switch strings.TrimPrefix(text, "/") {
	case artifact.Prefix, artifact.IndexType, artifact.ManifestType, artifact.LayerType, artifact.EmptyType, artifact.WheelType,
		artifact.AnnotationTitle, artifact.AnnotationRefName, artifact.RecordFile, artifact.DebugFile(""), "key-", "hold-":
		return true
	}
	return strings.HasPrefix(text, artifact.Namespace) || strings.Contains(text, "vnd.ampoule.")
}

// literals lists where code has texts of the contract. Tests may: they say what must stay.
func literals(name, source string) ([]string, error) {
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, name, source, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	var found []string
	ast.Inspect(file, func(n ast.Node) bool {
		lit, ok := n.(*ast.BasicLit)
		if !ok || lit.Kind != token.STRING {
			return true
		}
		if text, err := strconv.Unquote(lit.Value); err == nil && contractual(text) {
			found = append(found, files.Position(lit.Pos()).String()+": "+lit.Value)
		}
		return true
	})
	return found, nil
}

// TestContractStandsOnce fails when a label, a media type or another name of the
// artifact's contract is written anywhere but in package artifact.
func TestContractStandsOnce(t *testing.T) {
	t.Parallel()
	root := filepath.Join("..", "..")
	read := 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch name := d.Name(); {
		case err != nil:
			return err
		case d.IsDir() && (name == "testdata" || name == "third_party" || name != ".." && strings.HasPrefix(name, ".") || path == filepath.Join(root, "artifact")):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go"):
			return nil
		}
		source, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		read++
		found, err := literals(path, string(source))
		for _, place := range found {
			t.Errorf("%s is the artifact's contract: take it from package artifact", place)
		}
		return err
	})
	if err != nil || read < 100 {
		t.Errorf("%d files were read: %v", read, err)
	}
}

func TestContractIsSeen(t *testing.T) {
	t.Parallel()
	for _, text := range append(artifact.LabelNames(), "dev.ampoule.later", artifact.VerdictType, artifact.WheelhouseType, artifact.DebugType,
		artifact.InputsType, "application/vnd.ampoule.later", artifact.IndexType, artifact.LayerType, artifact.AnnotationLayer,
		artifact.AnnotationKind, artifact.AnnotationTitle, "opt/ampoule", "/opt/ampoule", "key-", "hold-", artifact.RecordFile) {
		for _, literal := range []string{strconv.Quote(text), "`" + text + "`"} {
			found, err := literals("x.go", "package x\n\nvar x = y("+literal+")\n")
			if err != nil || len(found) != 1 {
				t.Errorf("%s: %q, %v", literal, found, err)
			}
		}
	}
	if found, err := literals("x.go", "package x\n\n// It has \"dev.ampoule.key\".\nconst x = \"the key-value store\"\n"); err != nil || found != nil {
		t.Errorf("other code: %q, %v", found, err)
	}
}
