package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/builder"
	"ampoule/builder/progress"
	"ampoule/faults"
	"ampoule/recipes"
)

// requestFunc is a Builder that looks at the request.
type requestFunc func(context.Context, builder.Request) (builder.Result, error)

func (f requestFunc) Build(ctx context.Context, req builder.Request) (builder.Result, error) {
	return f(ctx, req)
}

// someServices writes locked recipes of these names that extend one file, and returns the
// directory.
func someServices(t *testing.T, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	write := func(file, text string) {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(dir, "python.yaml"), strings.Replace(goodRecipe, "name: web\n", "", 1))
	for _, name := range names {
		recipe := filepath.Join(dir, name, "ampoule.yaml")
		write(recipe, "extends: ../python.yaml\nname: "+name+"\n")
		write(lockPath(recipe), string(lockOf(t, recipe, "3.10", sumA).Encode()))
	}
	return dir
}

func TestBuildAll(t *testing.T) {
	t.Parallel()
	s, out, errs := session(t, goodRecipe)
	dir := someServices(t, "api", "jobs", "web")
	var mu sync.Mutex
	var built []string
	jobs := map[string]int{}
	b := requestFunc(func(ctx context.Context, req builder.Request) (builder.Result, error) {
		progress.Start(ctx, progress.StageSeal, "tree").End(nil)
		mu.Lock()
		defer mu.Unlock()
		built = append(built, req.Recipe.Name)
		jobs[req.Recipe.Name] = req.Budget.Jobs
		return builder.Result{Name: req.Recipe.Name, Digest: "sha256:" + sumA, Key: "sha256:" + sumB}, nil
	})
	how := builder.Request{Budget: builder.Budget{Jobs: 2}}
	if err := BuildAll(t.Context(), s, b, how, []string{dir}, reference); err != nil {
		t.Fatal(err)
	}
	want := ""
	for _, name := range []string{"api", "jobs", "web"} {
		want += name + "@sha256:" + sumA + "\n"
		if !strings.Contains(errs.String(), "done  seal "+name+": tree") {
			t.Errorf("progress %q lacks %s", errs, name)
		}
	}
	if out.String() != want {
		t.Errorf("result %q, want %q", out, want)
	}
	if built[0] != "api" || jobs["api"] != 2 || jobs["web"] > 2 || jobs["web"] < 1 {
		t.Errorf("built %v with %v processors", built, jobs)
	}

	out.Reset()
	s.Output = JSON
	if err := BuildAll(t.Context(), s, b, how, []string{dir}, reference); err != nil {
		t.Fatal(err)
	}
	var results []struct {
		Recipe string
		Result struct{ Ref string }
	}
	if err := json.Unmarshal(out.Bytes(), &results); err != nil || len(results) != 3 || results[2].Result.Ref != "web@sha256:"+sumA || results[2].Recipe != filepath.Join(dir, "web", "ampoule.yaml") {
		t.Errorf("result %s: %v", out, err)
	}
}

// A failure leaves out what has not begun, or nothing with --keep-going. The exit code is the
// one that wins among those of all services.
func TestBuildAllFails(t *testing.T) {
	t.Parallel()
	b := requestFunc(func(_ context.Context, req builder.Request) (builder.Result, error) {
		switch req.Recipe.Name {
		case "api":
			return builder.Result{}, faults.New(faults.Build, "look at the log", "it does not compile")
		case "jobs":
			return builder.Result{}, faults.New(faults.Refused, "", "the gate refused it")
		}
		return builder.Result{Name: req.Recipe.Name, Digest: "sha256:" + sumA}, nil
	})
	for _, keep := range []bool{false, true} {
		t.Run(fmt.Sprint(keep), func(t *testing.T) {
			t.Parallel()
			s, out, errs := session(t, goodRecipe)
			dir := someServices(t, "api", "jobs", "web")
			err := BuildAll(t.Context(), s, b, builder.Request{KeepGoing: keep}, []string{dir}, reference)
			report(s.Err, err)
			told := strings.ReplaceAll(errs.String(), dir+string(filepath.Separator), "")
			want, code := []string{"error: api/ampoule.yaml failed:\nerror: it does not compile\nhint: look at the log\n"}, faults.Build.Code()
			result := ""
			if keep {
				want, code = append(want, "error: jobs/ampoule.yaml failed:\nerror: the gate refused it\n"), faults.Refused.Code()
				result = "web@sha256:" + sumA + "\n"
			} else {
				want = append(want, "error: not begun after that: ", "jobs/ampoule.yaml, ", "hint: --keep-going")
			}
			for _, text := range want {
				if !strings.Contains(told, text) {
					t.Errorf("it tells %q, without %q", told, text)
				}
			}
			if got := ExitCode(err); got != code {
				t.Errorf("exit code %d, want %d", got, code)
			}
			if out.String() != result {
				t.Errorf("result %q, want %q", out, result)
			}
		})
	}
}

// What is wrong with the files of any service is told before anything is built.
func TestBuildAllFaults(t *testing.T) {
	t.Parallel()
	never := requestFunc(func(context.Context, builder.Request) (builder.Result, error) {
		t.Error("something was built")
		return builder.Result{}, nil
	})
	cases := map[string]struct {
		change func(dir string) error
		want   string
	}{
		"no lock": {func(dir string) error { return os.Remove(filepath.Join(dir, "web", "ampoule.lock")) }, "web/ampoule.lock: there is no lock"},
		"bad recipe": {func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "web", "ampoule.yaml"), []byte("a: [\n"), 0o644)
		}, "web/ampoule.yaml:1:4: this is not YAML"},
		"two of one": {func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "web", "ampoule.yaml"), []byte("extends: ../python.yaml\nname: api\n"), 0o644)
		}, "web/ampoule.yaml:2:7: "},
		"no services": {func(dir string) error { return os.RemoveAll(dir + "/web") }, "there is no ampoule.yaml with a name"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, _, errs := session(t, goodRecipe)
			names := []string{"api", "web"}
			if name == "no services" {
				names = names[1:]
			}
			dir := someServices(t, names...)
			if err := c.change(dir); err != nil {
				t.Fatal(err)
			}
			err := BuildAll(t.Context(), s, never, builder.Request{}, []string{dir}, reference)
			report(s.Err, err)
			if told := strings.ReplaceAll(errs.String(), dir+string(filepath.Separator), ""); !strings.Contains(told, c.want) || ExitCode(err) != faults.Input.Code() {
				t.Errorf("exit code %d, told %q, want %q", ExitCode(err), told, c.want)
			}
		})
	}
}

// A call that ends leaves services out, which is no success.
func TestBuildAllEnds(t *testing.T) {
	t.Parallel()
	s, _, _ := session(t, goodRecipe)
	ctx, cancel := context.WithCancel(t.Context())
	b := requestFunc(func(context.Context, builder.Request) (builder.Result, error) {
		cancel()
		return builder.Result{Name: "api", Digest: "sha256:" + sumA}, nil
	})
	if err := BuildAll(ctx, s, b, builder.Request{}, []string{someServices(t, "api", "web")}, reference); err == nil {
		t.Error("no error")
	}
}

func TestLockAll(t *testing.T) {
	t.Parallel()
	s, out, _ := session(t, goodRecipe)
	dir := someServices(t, "api", "web")
	if err := os.Remove(filepath.Join(dir, "web", "ampoule.lock")); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	upgraded := map[string][]string{}
	l := lockerFunc(func(req builder.Request, o builder.LockOptions) (*recipes.Lock, error) {
		mu.Lock()
		defer mu.Unlock()
		upgraded[req.Recipe.Name] = o.UpgradeNames
		return lockOf(t, req.Recipe.File(), "3.11", sumB), nil
	})
	if err := LockAll(t.Context(), s, l, builder.Request{}, builder.LockOptions{UpgradeNames: []string{"Idna"}}, []string{dir}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string][]string{"api": {"idna"}, "web": nil}, upgraded); diff != "" {
		t.Error(diff)
	}
	want := ""
	for _, name := range []string{"api", "web"} {
		file := filepath.Join(dir, name, "ampoule.lock")
		want += file + "\n"
		if lock, err := recipes.ReadLock(file); err != nil || lock.Dists[0].Version != "3.11" {
			t.Errorf("%s: %v, %v", file, lock, err)
		}
	}
	if out.String() != want {
		t.Errorf("result %q, want %q", out, want)
	}
	err := LockAll(t.Context(), s, l, builder.Request{}, builder.LockOptions{UpgradeNames: []string{"nothing"}}, []string{dir})
	if ExitCode(err) != faults.Usage.Code() {
		t.Errorf("a name that no lock has: %v", err)
	}
}
