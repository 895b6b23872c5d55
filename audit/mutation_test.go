//go:build mutation

package audit

import (
	"context"
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
// turned round. What is not noticed fails the test.
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
	for _, tests := range mutationTests {
		if out, err := goTest(t, tests); err != nil {
			t.Fatalf("without a mutation %s fails: %v\n%s", tests, err, out)
		}
	}
	total, alive := 0, 0
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
			total++
			if noticed(t, file, m.source) {
				continue
			}
			alive++
			t.Errorf("%s: nobody notices: %s", m.at, m.change)
		}
	}
	t.Logf("%d mutants, %d alive", total, alive)
}

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

// noticed runs the tests with a file in place of another, and tells whether one fails. A
// mutant that does not compile is none.
func noticed(t *testing.T, file, source string) bool {
	t.Helper()
	dir := t.TempDir()
	mutated, overlay := filepath.Join(dir, file), filepath.Join(dir, "overlay.json")
	original, err := filepath.Abs(file)
	if err != nil {
		t.Fatal(err)
	}
	told, err := json.Marshal(map[string]any{"Replace": map[string]string{original: mutated}})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(mutated, []byte(source), 0o644), os.WriteFile(overlay, told, 0o644)); err != nil {
		t.Fatal(err)
	}
	for _, tests := range mutationTests {
		out, err := goTest(t, "-overlay", overlay, "-failfast", tests)
		var exit *exec.ExitError
		switch {
		case strings.Contains(out, "[build failed]"), strings.Contains(out, "[setup failed]"):
			t.Logf("%s does not compile: %.300s", file, out)
			return true
		case errors.As(err, &exit):
			return true
		case err != nil:
			t.Fatal(err)
		}
	}
	return false
}

func goTest(t *testing.T, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, "go", append([]string{"test"}, args...)...).CombinedOutput()
	return string(out), err
}
