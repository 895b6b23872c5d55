package main

import (
	"bytes"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
	"text/tabwriter"
)

// figures are the size of a repository. Tests and testdata count as files only.
type figures struct {
	// Files is how many files there are, Packages how many directories with Go code that is
	// no test, and Lines the lines of that code, with comments and empty ones.
	Files, Packages, Lines int
	// Largest is the package with the most lines, with that number.
	Largest string
	// Functions counts functions and methods; the others are lengths of them in lines, from
	// func to the closing brace: the one in the middle, the one that 90% are not above, and
	// the longest, which Longest names.
	Functions, Median, P90, Max int
	Longest                     string
	// Errors counts the exported types with a method Error() string.
	Errors int
}

// A meter reads files and counts.
type meter struct {
	files     int
	lines     map[string]int
	functions []function
	errors    map[string]bool
}

// A function has a name, with the file it is in, and a length in lines.
type function struct {
	name   string
	length int
}

func newMeter() *meter { return &meter{lines: map[string]int{}, errors: map[string]bool{}} }

// add counts a file.
func (m *meter) add(name string, text []byte) error {
	m.files++
	if strings.HasPrefix(name, "third_party/") {
		return nil // others wrote it
	}
	if path.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go") || slices.Contains(strings.Split(name, "/"), "testdata") {
		return nil
	}
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, name, text, parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	dir := path.Dir(name)
	m.lines[dir] += bytes.Count(text, []byte("\n"))
	for _, decl := range file.Decls {
		f, ok := decl.(*ast.FuncDecl)
		if !ok {
			continue
		}
		length := set.Position(f.End()).Line - set.Position(f.Pos()).Line + 1
		m.functions = append(m.functions, function{name: name + " " + f.Name.Name, length: length})
		if of := errorType(f); ast.IsExported(of) {
			m.errors[dir+"."+of] = true
		}
	}
	return nil
}

// errorType names the type of which a function is the method Error() string.
func errorType(f *ast.FuncDecl) string {
	if f.Recv == nil || f.Name.Name != "Error" || f.Type.Params.NumFields() != 0 || f.Type.Results.NumFields() != 1 {
		return ""
	}
	of := f.Recv.List[0].Type
	if star, ok := of.(*ast.StarExpr); ok {
		of = star.X
	}
	if name, ok := of.(*ast.Ident); ok {
		return name.Name
	}
	return ""
}

// figures sums up.
func (m *meter) figures() (figures, error) {
	if len(m.functions) == 0 {
		return figures{}, errors.New("there are no functions")
	}
	f := figures{Files: m.files, Packages: len(m.lines), Functions: len(m.functions), Errors: len(m.errors)}
	most := 0
	for _, dir := range slices.Sorted(maps.Keys(m.lines)) {
		n := m.lines[dir]
		f.Lines += n
		if n > most {
			most, f.Largest = n, fmt.Sprintf("%s %d", dir, n)
		}
	}
	slices.SortStableFunc(m.functions, func(a, b function) int { return a.length - b.length })
	at := func(part float64) function { return m.functions[int(part*float64(len(m.functions)-1))] }
	f.Median, f.P90, f.Max, f.Longest = at(0.5).length, at(0.9).length, at(1).length, at(1).name
	return f, nil
}

// show prints figures as a table, one column for each name.
func show(out io.Writer, names []string, all []figures) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row := func(what string, of func(figures) any) {
		fmt.Fprint(w, what)
		for _, f := range all {
			fmt.Fprintf(w, "\t%v", of(f))
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintf(w, "\t%s\n", strings.Join(names, "\t"))
	row("lines of Go, no tests", func(f figures) any { return f.Lines })
	row("packages", func(f figures) any { return f.Packages })
	row("largest package", func(f figures) any { return f.Largest })
	row("functions", func(f figures) any { return f.Functions })
	row("their lines: median", func(f figures) any { return f.Median })
	row("90%", func(f figures) any { return f.P90 })
	row("longest", func(f figures) any { return fmt.Sprintf("%d (%s)", f.Max, f.Longest) })
	row("exported error types", func(f figures) any { return f.Errors })
	row("files", func(f figures) any { return f.Files })
	return w.Flush()
}
