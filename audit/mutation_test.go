//go:build mutation

package audit

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

var (
	every = flag.Bool("every", false, "turn every condition of every check round, too")
	only  = flag.String("only", "", "break only what is at a place that this expression matches: check_tags.go:2.")
)

// TestMutations breaks each check, one after the other, and wants a test of this package or
// of the survey to notice: the check finds nothing; with -every, each condition of it is
// turned round. What is not noticed fails the test. What does not compile is no mutant, and
// tests that do not end have not noticed: both are told, and counted for themselves.
//
//	go test -tags mutation -run TestMutations -timeout 3h ./audit -args -every
func TestMutations(t *testing.T) {
	files, err := filepath.Glob("check_*.go")
	if err != nil {
		t.Fatal(err)
	}
	wanted, err := regexp.Compile(*only)
	if err != nil {
		t.Fatal(err)
	}
	if r, out := try(t); r != unnoticed {
		t.Fatalf("without a mutation: %s\n%s", r, out)
	}
	count := map[result]int{}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range mutants(t, file, source) {
			if !wanted.MatchString(m.at) {
				continue
			}
			r, out := try(t, "-overlay", overlay(t, file, m.source))
			count[r]++
			switch r {
			case unnoticed:
				t.Errorf("%s: %s: %s", m.at, r, m.change)
			case uncompiled, endless:
				t.Logf("%s: %s: %s\n%.300s", m.at, r, m.change, out)
			}
		}
	}
	mutants := count[noticed] + count[unnoticed] + count[endless]
	t.Logf("%d mutants: %d noticed, %d not, %d after which the tests did not end; %d more that did not compile",
		mutants, count[noticed], count[unnoticed], count[endless], count[uncompiled])
	if mutants == 0 {
		t.Error("nothing was broken")
	}
}

// result is what became of a mutant.
type result string

const (
	noticed    result = "a test fails"
	unnoticed  result = "no test fails"
	endless    result = "the tests do not end"
	uncompiled result = "it does not compile"
)

// mutationTests are the packages one of whose tests has to notice.
var mutationTests = []string{".", "./survey"}

// mutant is a changed source.
type mutant struct {
	at, change, source string
}

// mutants breaks one file in each way.
func mutants(t *testing.T, file string, source []byte) []mutant {
	t.Helper()
	files := token.NewFileSet()
	parsed, err := parser.ParseFile(files, file, source, 0)
	if err != nil {
		t.Fatal(err)
	}
	var list []mutant
	replace := func(node ast.Node, change, text string) {
		from, to := files.Position(node.Pos()), files.Position(node.End())
		list = append(list, mutant{
			at: fmt.Sprintf("%s:%d", file, from.Line), change: change,
			source: string(source[:from.Offset]) + text + string(source[to.Offset:]),
		})
	}
	ast.Inspect(parsed, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.KeyValueExpr:
			// The check's function, in the call of register.
			if key, ok := n.Key.(*ast.Ident); ok && key.Name == "run" {
				text := string(source[files.Position(n.Value.Pos()).Offset:files.Position(n.Value.End()).Offset])
				replace(n.Value, "the check finds nothing",
					"func(ctx context.Context, x *exam) (outcome, error) { o, err := "+text+"(ctx, x); o.findings = nil; return o, err }")
			}
		case *ast.IfStmt:
			if *every {
				text := string(source[files.Position(n.Cond.Pos()).Offset:files.Position(n.Cond.End()).Offset])
				replace(n.Cond, "not: "+text, "!("+text+")")
			}
		}
		return true
	})
	return list
}

// overlay writes what has the go command take source for a file (go help build).
func overlay(t *testing.T, file, source string) string {
	t.Helper()
	dir := t.TempDir()
	mutated, name := filepath.Join(dir, file), filepath.Join(dir, "overlay.json")
	original, err := filepath.Abs(file)
	if err != nil {
		t.Fatal(err)
	}
	told, err := json.Marshal(map[string]any{"Replace": map[string]string{original: mutated}})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(mutated, []byte(source), 0o644), os.WriteFile(name, told, 0o644)); err != nil {
		t.Fatal(err)
	}
	return name
}

// try compiles the package, runs the tests, and returns what they said at last.
func try(t *testing.T, flags ...string) (result, string) {
	t.Helper()
	if out, ok := goCommand(t, "build", flags, "."); !ok {
		return uncompiled, out
	}
	last := ""
	for _, tests := range mutationTests {
		out, ok := goCommand(t, "test", slices.Concat(flags, []string{"-vet=off", "-failfast", "-timeout", patience.String()}), tests)
		switch {
		case ok:
			last = out
		case strings.Contains(out, "panic: test timed out after"):
			return endless, out
		case strings.Contains(out, "[build failed]"), strings.Contains(out, "[setup failed]"):
			return uncompiled, out
		default:
			return noticed, out
		}
	}
	return unnoticed, last
}

// patience is how long the tests of a package may take: many times what they do.
const patience = 5 * time.Minute

// goCommand reports whether the go command ends well, and what it says.
func goCommand(t *testing.T, verb string, flags []string, pkg string) (string, bool) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", slices.Concat([]string{verb}, flags, []string{pkg})...).CombinedOutput()
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || t.Context().Err() != nil) {
		t.Fatalf("running go %s: %v", verb, err)
	}
	return string(out), err == nil
}
