package cli

import (
	"context"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"ampoule/audit"
	"ampoule/builder"
	"ampoule/builder/progress"
)

// builderFunc is a Builder.
type builderFunc func(context.Context) (builder.Result, error)

func (f builderFunc) Build(ctx context.Context, _ builder.Request) (builder.Result, error) {
	return f(ctx)
}

func reference(name, digest string) string { return name + "@" + digest }

func TestBuild(t *testing.T) {
	t.Parallel()
	s, out, errs := session(t, goodRecipe)
	if err := os.WriteFile(lockPath(s.Recipe), lockOf(t, s.Recipe, "3.10", sumA).Encode(), 0o644); err != nil {
		t.Fatal(err)
	}
	built := builderFunc(func(ctx context.Context) (builder.Result, error) {
		progress.Start(ctx, progress.StageSeal, "web").End(nil)
		return builder.Result{
			Name: "web", Digest: "sha256:" + sumA, Key: "sha256:" + sumB,
			Verdict: &audit.Verdict{Passed: true, Targets: []audit.VerdictTarget{{Name: "container"}}, Checks: []audit.CheckResult{{Name: "rpath", Examined: 7}}},
		}, nil
	})
	if err := Build(t.Context(), s, built, builder.Request{}, reference); err != nil {
		t.Fatal(err)
	}
	if want := "web@sha256:" + sumA + "\n"; out.String() != want {
		t.Errorf("result %q, want %q", out, want)
	}
	for _, want := range []string{"done  seal web", "gate: passed, 1 checks, 7 examined, in container"} {
		if !strings.Contains(errs.String(), want) {
			t.Errorf("messages %q lack %q", errs, want)
		}
	}

	out.Reset()
	s.Output = JSON
	if err := Build(t.Context(), s, built, builder.Request{}, reference); err != nil {
		t.Fatal(err)
	}
	var result struct {
		Ref, Digest string
		Reused      bool
		Verdict     audit.Verdict
	}
	if err := json.Unmarshal(out.Bytes(), &result); err != nil || result.Ref != "web@sha256:"+sumA || !result.Verdict.Passed {
		t.Errorf("result %s: %v", out, err)
	}
}

func TestBuildShowsARefusal(t *testing.T) {
	t.Parallel()
	s, out, errs := session(t, goodRecipe)
	if err := os.WriteFile(lockPath(s.Recipe), lockOf(t, s.Recipe, "3.10", sumA).Encode(), 0o644); err != nil {
		t.Fatal(err)
	}
	verdict := audit.Verdict{Findings: []audit.Finding{{
		Check: "libpython-needed", Severity: audit.Refuse, File: "lib/x.so", Cause: "it needs libpython", Remedy: "build it again",
	}}}
	err := Build(t.Context(), s, builderFunc(func(context.Context) (builder.Result, error) {
		return builder.Result{Name: "web", Verdict: &verdict}, &builder.RefusedError{Verdict: verdict}
	}), builder.Request{}, reference)
	if ExitCode(err) != codeRefused {
		t.Errorf("error %v", err)
	}
	if out.Len() != 0 {
		t.Errorf("result %q of a refused build", out)
	}
	for _, want := range []string{"libpython-needed", "lib/x.so", "it needs libpython"} {
		if !strings.Contains(errs.String(), want) {
			t.Errorf("messages %q lack %q", errs, want)
		}
	}
}

func TestBuildWithoutLock(t *testing.T) {
	t.Parallel()
	s, _, _ := session(t, goodRecipe)
	err := Build(t.Context(), s, builderFunc(func(context.Context) (builder.Result, error) {
		t.Error("the builder was asked")
		return builder.Result{}, nil
	}), builder.Request{}, reference)
	if ExitCode(err) != codeInput {
		t.Errorf("error %v", err)
	}
}

// TestStaleLock checks that the program itself refuses a lock that does not answer
// the recipe any more, and says which line made it stale.
func TestStaleLock(t *testing.T) {
	t.Parallel()
	s, _, _ := session(t, goodRecipe)
	if err := os.WriteFile(lockPath(s.Recipe), lockOf(t, s.Recipe, "3.10", sumA).Encode(), 0o644); err != nil {
		t.Fatal(err)
	}
	changed := strings.Replace(goodRecipe, "idna==3.10", "idna==3.11", 1)
	if err := os.WriteFile(s.Recipe, []byte(changed), 0o644); err != nil {
		t.Fatal(err)
	}
	code, out, errs := run(t, "build", "-f", s.Recipe)
	if code != codeInput || out != "" {
		t.Errorf("code %d, stdout %q", code, out)
	}
	for _, want := range []string{"error: " + s.Recipe + ":7:", "idna", "hint: "} {
		if !strings.Contains(errs, want) {
			t.Errorf("stderr %q lacks %q", errs, want)
		}
	}
}
