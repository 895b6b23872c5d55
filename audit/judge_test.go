package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ampoule/tree"
)

func TestJudgeRefusesUnusableSubjects(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		change func(*Subject)
		want   error
	}{
		"no tree":            {func(s *Subject) { s.Tree = nil }, ErrSubject},
		"no time":            {func(s *Subject) { s.Now = time.Time{} }, ErrSubject},
		"no target":          {func(s *Subject) { s.Targets = nil }, ErrSubject},
		"target twice":       {func(s *Subject) { s.Targets[1].Name = "container" }, ErrSubject},
		"target without fs":  {func(s *Subject) { s.Targets[0].Root = nil }, ErrSubject},
		"floor is no number": {func(s *Subject) { s.Targets[0].Glibc = "new" }, ErrSubject},
		"relative prefix":    {func(s *Subject) { s.Prefix = "opt" }, ErrSubject},
		"empty text":         {func(s *Subject) { s.Forbidden = []Forbidden{{}} }, ErrSubject},
		"unknown check":      {func(s *Subject) { s.Exceptions = []Exception{{Check: "libpython"}} }, ErrSubject},
		"bad pattern":        {func(s *Subject) { s.Exceptions = []Exception{{Check: "rpath", Files: []string{"["}}} }, ErrSubject},
		"bad date":           {func(s *Subject) { s.Exceptions = []Exception{{Check: "rpath", Until: "soon"}} }, ErrSubject},
		"no interpreter":     {func(s *Subject) { s.Tree = newTree(t) }, ErrNoInterpreter},
		"other interpreter":  {func(s *Subject) { s.Interpreter = "bin/python3.12" }, ErrNoInterpreter},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := subject(t)
			tt.change(&s)
			if _, err := Judge(t.Context(), s); !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}

// openCheck is undecided about a file.
func openCheck(file string) check {
	return check{name: "closure", run: func(context.Context, *exam) (outcome, error) {
		return outcome{examined: 1, findings: []Finding{{Severity: Undecided, File: file, Cause: "It may be.", Remedy: "Give it.", Needs: "the machine: --against"}}}, nil
	}}
}

// A gate has everything: what is undecided even so is refused there, unless an exception
// lets it pass. Where files are found it stays undecided, but for the interpreter's own.
func TestUndecided(t *testing.T) {
	t.Parallel()
	x := &exam{Subject: Subject{Tree: newTree(t, tree.Entry{Path: "bin/python3.13", Kind: tree.Dir, Owner: OwnerInterpreter})}}
	x.dists = func() []dist { return nil }
	verdict := func(exceptions ...Exception) Verdict {
		result, findings, err := x.judge(t.Context(), openCheck("lib/a.so"))
		if err != nil {
			t.Fatal(err)
		}
		v := Verdict{Checks: []CheckResult{result}, Findings: findings}
		(&exam{Subject: Subject{Exceptions: exceptions, Now: today}}).except(&v)
		v.count()
		return v
	}
	v := verdict()
	if c := v.Checks[0]; v.Passed || c.Refused != 1 || c.Undecided != 0 || v.Findings[0].Severity != Refuse {
		t.Errorf("the gate: passed %t, %+v, %+v", v.Passed, c, v.Findings)
	}
	var text bytes.Buffer
	if err := v.WriteText(&text); err != nil || !strings.Contains(text.String(), "\nrefuse closure: lib/a.so\n  It may be.\n  Give it.\n  it depends on the machine: --against\n") {
		t.Errorf("the verdict's text: %v\n%s", err, &text)
	}
	if v := verdict(Exception{Check: "closure", Files: []string{"lib/*"}, Why: "known"}); !v.Passed || v.Checks[0].Excepted != 1 {
		t.Errorf("with an exception: passed %t, %+v", v.Passed, v.Checks)
	}
	for file, want := range map[string]Severity{"lib/a.so": Undecided, "bin/python3.13": Warn} {
		result, findings, _, err := x.inspect(t.Context(), openCheck(file))
		if err != nil || findings[0].Severity != want || (result.Undecided == 1) != (want == Undecided) || (findings[0].Needs != "") != (want == Undecided) {
			t.Errorf("%s where it is found: %v, %+v, %+v", file, err, result, findings)
		}
	}
}

func TestEachCheckHasOneFile(t *testing.T) {
	t.Parallel()
	names := map[string]string{"libpython-needed": "libpython", "recipe-tests": "tests", "second-runtime": "runtime"}
	for _, c := range Checks() {
		file := c.Name
		if names[file] != "" {
			file = names[file]
		}
		source, err := os.ReadFile("check_" + file + ".go")
		if err != nil || !strings.Contains(string(source), `"`+c.Name+`"`) || c.Reason == "" {
			t.Errorf("check %s: %v", c.Name, err)
		}
	}
	if got := len(Checks()); got != 26 {
		t.Errorf("%d checks", got)
	}
}

func TestVerdictIsDeterministic(t *testing.T) {
	t.Parallel()
	s := subject(t,
		fromFile(t, dynload+"a"+suffix, extension(t, "a", dummy(t, "libgone.so"), "-Wl,-rpath,/build/lib")),
		tree.FileEntry("lib/x\x1b[2J.so", 0o644, []byte("\x7fELF")))
	s.Exceptions = []Exception{{Check: "rpath", Files: []string{dynload + "*"}, Why: "old"}}
	first := judge(t, s)
	slices.Reverse(s.Targets)
	slices.Reverse(s.Loads)
	var texts [2]bytes.Buffer
	var data [2][]byte
	for i, v := range []Verdict{first, judge(t, s)} {
		var err error
		if data[i], err = json.MarshalIndent(v, "", " "); err != nil {
			t.Fatal(err)
		}
		if err := v.WriteText(&texts[i]); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(string(data[0]), string(data[1])); diff != "" {
		t.Errorf("JSON differs:\n%s", diff)
	}
	if diff := cmp.Diff(texts[0].String(), texts[1].String()); diff != "" {
		t.Errorf("text differs:\n%s", diff)
	}
	if strings.ContainsRune(texts[0].String(), 0x1b) {
		t.Error("an escape character reached the text")
	}
	const want = `
excepted rpath: lib/python3.13/lib-dynload/a.cpython-313-x86_64-linux-gnu.so
  DT_RUNPATH: /build/lib
  The directory is outside the tree: it exists where the file was built, or by chance.
  Link with an RPATH of $ORIGIN and what lies below the tree's root, or with none.
  excepted: old

refused: sha256:`
	if !strings.Contains(texts[0].String(), want) {
		t.Errorf("text:\n%s", &texts[0])
	}
}

// A check tells so many findings and no more, and how many it leaves out; none hides that
// something is refused.
func TestManyFindings(t *testing.T) {
	t.Parallel()
	var o outcome
	for range maxFindings + 5 {
		o.add(Finding{Severity: Warn, Field: "x"})
	}
	o.add(Finding{Severity: Refuse, Field: "y"})
	all := o.all()
	if len(all) != maxFindings+2 {
		t.Fatalf("%d findings", len(all))
	}
	if f := all[maxFindings]; f.Severity != Refuse || f.Field != "y" {
		t.Errorf("what is refused behind many warnings: %+v", f)
	}
	if f := all[maxFindings+1]; f.Severity != Warn || f.Value != "5 more" {
		t.Errorf("what is left out: %+v", f)
	}
}

// What needs others more often than anything does is not judged.
func TestSpending(t *testing.T) {
	t.Parallel()
	s := newSpending(t.Context())
	for s.dependency() {
	}
	if s.dependencies != maxDependencies+1 || !errors.Is(s.fault, ErrTooMuch) {
		t.Errorf("after %d: %v", s.dependencies, s.fault)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("stop")
	cancel(stop)
	if s = newSpending(ctx); s.dependency() || !errors.Is(s.fault, stop) || !errors.Is(s.object(&object{}), stop) {
		t.Errorf("when it was interrupted: %v", s.fault)
	}
}
