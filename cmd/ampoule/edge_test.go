package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// edge names what reads or changes a whole process: what does so belongs where a program
// begins, and everything below is handed values.
var edge = map[string][]string{
	"os":                              {"Getenv", "LookupEnv", "Environ", "ExpandEnv", "Setenv", "Unsetenv", "Clearenv", "UserHomeDir", "UserConfigDir", "UserCacheDir", "Chdir"},
	"syscall":                         {"Getenv", "Environ", "Setenv", "Unsetenv", "Clearenv", "Umask", "Setrlimit", "Chdir"},
	"golang.org/x/sys/unix":           {"Getenv", "Environ", "Setenv", "Unsetenv", "Clearenv", "Umask", "Setrlimit", "Chdir"},
	"runtime/debug":                   {"SetMemoryLimit", "SetGCPercent", "SetMaxStack", "SetMaxThreads", "SetPanicOnFault", "SetTraceback"},
	"net/http":                        {"ProxyFromEnvironment"},
	"golang.org/x/net/http/httpproxy": {"FromEnvironment"},
	"github.com/docker/docker/client": {"FromEnv", "WithHostFromEnv", "WithTLSClientConfigFromEnv", "WithVersionFromEnv"},
}

// atEdge are the files that may, what they may, and why.
var atEdge = map[string]struct {
	uses []string
	why  string
}{
	"cmd/ampoule/main.go":        {[]string{"os.Environ", "debug.SetMemoryLimit"}, "here the program begins"},
	"cmd/ampoule/begin/begin.go": {[]string{"debug.SetGCPercent"}, "it is before main, which comes after what other packages make"},
	// Docker's client reads its certificates and its version of the API as the docker command does.
	"builder/docker/docker.go":                  {[]string{"client.FromEnv"}, "these variables are Docker's"},
	"internal/basetime/basetime.go":             {[]string{"os.Getenv"}, "only tests import it, and they are repeated by a variable"},
	"builder/sandbox/sandboxtest/image.go":      {[]string{"os.Environ"}, "what tests compile is compiled in their environment"},
	"internal/postgres/postgres.go":             {[]string{"os.Environ"}, "only tests and measurements import it, and the server finds its programs there"},
	"builder/sandbox/sandboxtest/probe/main.go": {[]string{"os.Environ", "os.Getenv", "os.Setenv", "os.Clearenv", "os.Chdir", "syscall.Umask"}, "it is a program that says what it was started with"},
}

// otherPrograms are directories of other programs.
var otherPrograms = []string{"bench"}

func TestEdge(t *testing.T) {
	t.Parallel()
	root := filepath.Join("..", "..")
	files := 0
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if d.IsDir() {
			if slices.Contains(otherPrograms, rel) || d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") && rel != "." {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(rel, ".go") || strings.HasSuffix(rel, "_test.go") {
			return nil
		}
		files++
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, use := range uses(file) {
			if !slices.Contains(atEdge[rel].uses, use) {
				t.Errorf("%s uses %s: what belongs to the process is read in cmd/ampoule/main.go, and handed on as values", rel, use)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 100 {
		t.Errorf("only %d files were read", files)
	}
}

// uses lists what a file uses of the edge, each once.
func uses(file *ast.File) []string {
	imported := map[string]string{}
	for _, spec := range file.Imports {
		name, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue
		}
		local := path.Base(name)
		if spec.Name != nil {
			local = spec.Name.Name
		}
		imported[local] = name
	}
	found := []string{}
	ast.Inspect(file, func(n ast.Node) bool {
		selector, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if x, ok := selector.X.(*ast.Ident); ok && slices.Contains(edge[imported[x.Name]], selector.Sel.Name) {
			found = append(found, fmt.Sprintf("%s.%s", path.Base(imported[x.Name]), selector.Sel.Name))
		}
		return true
	})
	// A dot import would hide all names.
	if hidden, ok := imported["."]; ok && edge[hidden] != nil {
		found = append(found, hidden+".*")
	}
	slices.Sort(found)
	return slices.Compact(found)
}

func TestEdgeRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		text string
		want []string
	}{
		"getenv":       {`import "os"; var x = os.Getenv("A")`, []string{"os.Getenv"}},
		"another name": {`import system "os"; func f() { system.LookupEnv("A"); g(system.Environ) }`, []string{"os.Environ", "os.LookupEnv"}},
		"memory":       {`import "runtime/debug"; func f() { debug.SetMemoryLimit(1) }`, []string{"debug.SetMemoryLimit"}},
		"hidden":       {`import . "os"`, []string{"os.*"}},
		"proxies":      {`import "net/http"; var x = http.Transport{Proxy: http.ProxyFromEnvironment}`, []string{"http.ProxyFromEnvironment"}},
		"values":       {`import "os"; var x = os.Args; type e struct{}; func (e) Getenv() {}; func f(o e) { o.Getenv() }`, []string{}},
	} {
		file, err := parser.ParseFile(token.NewFileSet(), "x.go", "package x; "+c.text, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.want, uses(file)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
