package trials

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"ampoule/bench/internal/recorded"
	"ampoule/packaging"
	"ampoule/recipes"
)

// faked are trials of fake programs, and the file of what these were asked.
func faked(t *testing.T, env ...string) (trials *Trials, calls string) {
	t.Helper()
	dir := t.TempDir()
	calls = filepath.Join(dir, "calls")
	env = append(env, "FAKE_CALLS="+calls)
	now := time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
	return &Trials{
		Ampoule: program(t, "ampoule", env...), Pip: program(t, "pip", env...), Python: program(t, "python", env...), Docker: program(t, "docker", env...),
		Registry: program(t, "docker-registry", env...), Bootstrap: program(t, "mmdebstrap", env...), AptConfig: program(t, "apt-config", env...),
		Store: filepath.Join(dir, "store"), Results: filepath.Join(dir, "measured"), Timeout: time.Minute,
		Now: func() time.Time { now = now.Add(time.Second); return now },
		Say: t.Logf,
	}, calls
}

// verbs reads what a fake was asked: the first word of each call.
func verbs(t *testing.T, calls string) []string {
	t.Helper()
	data, err := os.ReadFile(calls)
	if err != nil {
		t.Fatal(err)
	}
	var words []string
	for line := range strings.Lines(string(data)) {
		words = append(words, strings.Fields(line)[0])
	}
	return words
}

// recordedIn reads a book of results.
func recordedIn[R recorded.Result](t *testing.T, trials *Trials, file string) []R {
	t.Helper()
	book, err := recorded.Open[R](filepath.Join(trials.Results, file))
	if err != nil {
		t.Fatal(err)
	}
	return book.All()
}

// untimed leaves out what a real clock told.
var untimed = []cmp.Option{
	cmpopts.IgnoreFields(recorded.Recipe{}, "LockSeconds", "BuildSeconds"), cmpopts.IgnoreFields(recorded.Package{}, "LockSeconds", "BuildSeconds"),
	cmpopts.IgnoreFields(recorded.Outcome{}, "Cores"), cmpopts.IgnoreFields(recorded.Sizes{}, "Tree"), cmpopts.EquateEmpty(),
}

func TestCatalogue(t *testing.T) {
	t.Parallel()
	trials, calls := faked(t, "FAKE_LOCK=yes")
	if err := trials.Catalogue(t.Context(), []string{"quickstart"}); err != nil {
		t.Fatal(err)
	}
	of, err := recorded.RecipeHash("quickstart")
	if err != nil {
		t.Fatal(err)
	}
	want := recorded.Recipe{
		Name: "quickstart", Outcome: recorded.Outcome{When: "2026-05-04", Passed: true}, Of: of, InterpreterSeconds: 100, Wheels: 3, Digest: "sha256:" + digits,
		Compiled: recorded.Compiled{"flask==1.0": 3, "markupsafe==1.0": 3, "psycopg2==1.0": 3},
		// Three files of 5 bytes, two published wheels of 4.
		Sizes: recorded.Sizes{Layers: 230, Own: 15, OwnBeside: 10, Beside: 8, Unpublished: []string{"psycopg2"}},
	}
	got := recordedIn[recorded.Recipe](t, trials, recorded.RecipesFile)
	if diff := cmp.Diff([]recorded.Recipe{want}, got, untimed...); diff != "" {
		t.Errorf("recorded (-want +got):\n%s", diff)
	}
	if got[0].Tree == 0 {
		t.Error("the tree has no size")
	}
	if slices.Contains(verbs(t, calls), "lock") {
		t.Error("a lock that ships was not used")
	}

	// A second run has nothing to do; one that measures again finds the artifact in
	// the store, and the times of the first stay.
	before := len(verbs(t, calls))
	if err := trials.Catalogue(t.Context(), []string{"quickstart"}); err != nil || len(verbs(t, calls)) != before {
		t.Errorf("a second run: %v, %q", err, verbs(t, calls)[before:])
	}
	trials.Again = true
	if err := trials.Catalogue(t.Context(), []string{"quickstart"}); err != nil || len(verbs(t, calls)) == before {
		t.Errorf("measuring again: %v", err)
	}
	if diff := cmp.Diff(got, recordedIn[recorded.Recipe](t, trials, recorded.RecipesFile)); diff != "" {
		t.Errorf("measured again (-first +second):\n%s", diff)
	}
}

func TestCatalogueLocksAfresh(t *testing.T) {
	t.Parallel()
	gone := filepath.Join(t.TempDir(), "gone")
	if err := os.WriteFile(gone, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for name, env := range map[string][]string{"no lock": nil, "a file is gone": {"FAKE_LOCK=yes", "FAKE_GONE=" + gone}} {
		trials, calls := faked(t, env...)
		if err := trials.Catalogue(t.Context(), []string{"quickstart"}); err != nil {
			t.Fatal(err)
		}
		got := recordedIn[recorded.Recipe](t, trials, recorded.RecipesFile)
		if !slices.Contains(verbs(t, calls), "lock") || !got[0].Relocked || !got[0].Passed {
			t.Errorf("%s: %q, %+v", name, verbs(t, calls), got)
		}
	}
	trials, _ := faked(t)
	var unknown *UnknownError
	if err := trials.Catalogue(t.Context(), []string{"xyzzy"}); !errors.As(err, &unknown) {
		t.Errorf("an unknown name: %v", err)
	}
}

func TestPackages(t *testing.T) {
	t.Parallel()
	trials, calls := faked(t)
	if err := trials.Packages(t.Context(), []string{"psutil", "Mmh3", "wrapt"}); err != nil {
		t.Fatal(err)
	}
	day := "2026-05-04"
	want := []recorded.Package{
		{Name: "mmh3", Version: "1.0", Outcome: recorded.Outcome{When: day, Passed: true}, Locked: true, Built: true, Gated: true,
			InterpreterSeconds: 100, Compiled: recorded.Compiled{"mmh3==1.0": 3}, Overrides: []string{"mmh3: it hashes"}},
		{Name: "psutil", Version: "1.0", Outcome: recorded.Outcome{When: day, Stage: "gate", Error: "the gate refuses it"}, Locked: true, Built: true, InterpreterSeconds: 100,
			Compiled: recorded.Compiled{"psutil==1.0": 3}},
		{Name: "wrapt", Outcome: recorded.Outcome{When: day, Stage: "lock", Error: "no compiler can make wrapt"}},
	}
	if diff := cmp.Diff(want, recordedIn[recorded.Package](t, trials, recorded.PackagesFile), untimed...); diff != "" {
		t.Errorf("recorded (-want +got):\n%s", diff)
	}
	// In the order of the table, whatever the order of asking, and each once.
	if diff := cmp.Diff([]string{"lock", "build", "lock", "lock", "build"}, verbs(t, calls)); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
}

func TestPackageTakesTooLong(t *testing.T) {
	t.Parallel()
	trials, _ := faked(t, "FAKE_SLOW=mmh3")
	trials.Timeout = 300 * time.Millisecond
	if err := trials.Packages(t.Context(), []string{"mmh3"}); err != nil {
		t.Fatal(err)
	}
	got := recordedIn[recorded.Package](t, trials, recorded.PackagesFile)
	if len(got) != 1 || got[0].Passed || got[0].Stage != "lock" || got[0].Error != errTimeout.Error() {
		t.Errorf("recorded %+v", got)
	}

	// Whoever interrupts has measured nothing.
	trials, _ = faked(t, "FAKE_SLOW=mmh3")
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := trials.Packages(ctx, []string{"mmh3"}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("interrupted: %v", err)
	}
	if got := recordedIn[recorded.Package](t, trials, recorded.PackagesFile); len(got) != 0 {
		t.Errorf("an interrupted run recorded %+v", got)
	}
}

func TestScrub(t *testing.T) {
	t.Parallel()
	trials := &Trials{Store: "/srv/ampoule store"}
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for message, want := range map[string]string{
		`fetching "https://user@mirror.example:80/pool/a.deb": code 404`: `fetching "https://…/pool/a.deb": code 404`,
		"Get https://mirror.example: timeout":                            "Get https://… timeout",
		"dial tcp: lookup mirror.example: no such host":                  "dial tcp: lookup …: no such host",
		"log: /srv/ampoule store/logs/1.log":                             "log: …/logs/1.log",
		"reading " + os.TempDir() + "/x/ampoule.yaml: gone":              "reading …/x/ampoule.yaml: gone",
		"opening " + here + "/bin/ampoule":                               "opening …/bin/ampoule",
		"fatal error: /usr/include/x.h: a::b":                            "fatal error: /usr/include/x.h: a::b",
	} {
		if got := trials.scrub(message); got != want {
			t.Errorf("scrub(%q) = %q, want %q", message, got, want)
		}
	}
}

// TestPackageRecipes holds the table: forty distinct names whose recipes are read.
func TestPackageRecipes(t *testing.T) {
	t.Parallel()
	names := map[string]bool{}
	for _, p := range packages {
		names[packaging.NormalName(p.name)] = true
		if len(p.imports) == 0 {
			t.Errorf("%s is not imported", p.name)
		}
		r, err := recipes.ParseRecipe(recipeFile, []byte(packageRecipe(p)))
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Requirements.List) != 1 || r.Runtime.VM == nil || !slices.Equal(r.Test.Imports, p.imports) {
			t.Errorf("%s: recipe %+v", p.name, r)
		}
	}
	if len(names) != 40 {
		t.Errorf("%d packages, not 40", len(names))
	}
}

func TestLoop(t *testing.T) {
	t.Parallel()
	trials, calls := faked(t)
	if err := trials.Loop(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := recordedIn[recorded.Step](t, trials, recorded.LoopFile)
	if len(got) != len(additions) {
		t.Fatalf("recorded %+v", got)
	}
	for _, s := range got {
		// The fake compiles even what is pure.
		if s.CompileSeconds != 3 || s.LimitSeconds < 10 || s.When != "2026-05-04" {
			t.Errorf("recorded %+v", s)
		}
	}
	if diff := cmp.Diff([]string{"init", "lock", "build", "lock", "build", "lock", "build", "lock", "build"}, verbs(t, calls)); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
}

func TestAmend(t *testing.T) {
	t.Parallel()
	for _, a := range additions {
		dir := t.TempDir()
		if err := os.CopyFS(dir, os.DirFS("../../../recipes/catalogue/web")); err != nil {
			t.Fatal(err)
		}
		if err := amend(dir, a); err != nil {
			t.Fatal(err)
		}
		r, err := recipes.ReadRecipe(filepath.Join(dir, recipeFile))
		if err != nil {
			t.Fatal(err)
		}
		reqs, err := recipes.ReadRequirements(r)
		if err != nil {
			t.Fatal(err)
		}
		last := reqs.Requirements[len(reqs.Requirements)-1]
		if last.Name != a.requirement || !slices.Contains(r.Test.Imports, a.imported) ||
			!slices.Equal(r.Packages[a.requirement].Build, a.packages) {
			t.Errorf("%s: %+v", a.kind, r)
		}
		if err := edit(filepath.Join(dir, recipeFile), "\n    - nowhere\n", ""); err == nil || !strings.Contains(err.Error(), "not once") {
			t.Errorf("editing what is not there: %v", err)
		}
	}
}

func TestBench(t *testing.T) {
	t.Parallel()
	kept := filepath.Join(t.TempDir(), "context")
	trials, calls := faked(t, "FAKE_CONTEXT="+kept)
	figures, err := trials.Bench(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	names := []string{}
	for _, f := range figures {
		names = append(names, f.Name)
		if f.Value <= 0 || f.Limit <= 0 || f.Cores == 0 || f.When != "2026-05-04" {
			t.Errorf("figure %+v", f)
		}
	}
	if diff := cmp.Diff([]string{"build", "rebuild", "nothing to do", "peak memory"}, names); diff != "" {
		t.Errorf("figures (-want +got):\n%s", diff)
	}
	if got := recordedIn[recorded.Figure](t, trials, recorded.BenchFile); len(got) != 4 {
		t.Errorf("recorded %+v", got)
	}
	for file, want := range map[string][]string{
		"Dockerfile":       {"FROM ampoule-measure-base:", "COPY Python-3.13.5.tar.xz /src/", "./configure --prefix=/opt/python", "--no-binary :all:"},
		"requirements.txt": {"flask==1.0\n", "msgpack==1.0\n"},
		"machine/pip.conf": {"index-url = https://index.example/simple\n"},
		"machine/apt.conf": {"Acquire::Check-Date \"false\";\nAcquire::http::Proxy"},
		"machine/ca.pem":   {""},
	} {
		data, err := os.ReadFile(filepath.Join(kept, file))
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range want {
			if !strings.Contains(string(data), text) {
				t.Errorf("%s lacks %q:\n%s", file, text, data)
			}
		}
		if strings.Contains(string(data), "find-links") || strings.Contains(string(data), "APT::") {
			t.Errorf("%s has what another machine has no use for:\n%s", file, data)
		}
	}
	data, _ := os.ReadFile(calls)
	for _, want := range []string{"docker build --network host --force-rm --tag ampoule-measure-rival:", "--no-cache", "docker image rm --force ampoule-measure-base:",
		"docker image ls --filter reference=ampoule.invalid/", "docker image rm ampoule.invalid/fakeid:1 ampoule.invalid/fakeid:2\n", "mmdebstrap --variant=apt"} {
		if !strings.Contains(string(data), want) {
			t.Errorf("no call of %q:\n%s", want, data)
		}
	}
}

// TestBenchCleansUp has a docker build that fails: nothing is recorded, and the
// images are taken away.
func TestBenchCleansUp(t *testing.T) {
	t.Parallel()
	trials, calls := faked(t, "FAKE_DOCKER=broken")
	if _, err := trials.Bench(t.Context()); err == nil || !strings.Contains(err.Error(), "no space") {
		t.Errorf("error %v", err)
	}
	if got := recordedIn[recorded.Figure](t, trials, recorded.BenchFile); len(got) != 0 {
		t.Errorf("recorded %+v", got)
	}
	if data, _ := os.ReadFile(calls); !strings.Contains(string(data), "docker image rm --force ampoule-measure-rival:") {
		t.Errorf("the rival's image stays:\n%s", data)
	}
}
