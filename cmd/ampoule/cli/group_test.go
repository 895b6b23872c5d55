package cli

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/artifact"
	"ampoule/builder"
	"ampoule/builder/layers"
	"ampoule/builder/progress"
	"ampoule/faults"
	"ampoule/recipes"
	"ampoule/registry"
	"ampoule/tree"
	"ampoule/wiring"
)

// publishGroup publishes a group of one module over the sample's artifact, after changes.
func publishGroup(ctx context.Context, t *testing.T, w *wiring.Parts, digest, key, file string, changes ...func(*artifact.Group)) string {
	t.Helper()
	publisher, err := w.Publisher()
	if err != nil {
		t.Fatal(err)
	}
	laid, err := tree.New([]tree.Entry{tree.FileEntry(file, 0o644, nil)})
	if err != nil {
		t.Fatal(err)
	}
	parts, err := layers.SaveParts(ctx, w.Store, progress.StagePublish, []layers.Part{{Name: "group-test", Tree: laid}}, artifact.Prefix)
	if err != nil {
		t.Fatal(err)
	}
	g := artifact.Group{
		Repository: "web", Digest: digest, Verdict: []byte("{}"), Layers: parts,
		Record: artifact.GroupRecord{
			Schema: artifact.GroupSchema, Name: "test", Artifact: digest, Key: key, Files: map[string]string{file: ""},
			Layers: []artifact.GroupLayer{{File: "group-test.tar.gz", DiffID: parts[0].DiffID}},
		},
	}
	for _, change := range changes {
		change(&g)
	}
	of, err := publisher.PublishGroup(ctx, g)
	if err != nil {
		t.Fatal(err)
	}
	return of
}

// What runs with a group is the artifact and the group's files over it; inspect lists the group.
func TestRunWithGroup(t *testing.T) {
	t.Parallel()
	s, out, _ := session(t, goodRecipe)
	const site = "lib/python3.13/site-packages/"
	err := s.wired(t.Context(), func(ctx context.Context, w *wiring.Parts) error {
		digest := publish(ctx, t, w, sampleTree(t))
		reg, err := w.Registry()
		if err != nil {
			return err
		}
		ref := w.Reference("web", digest)
		run := func(groups ...string) ([]string, error) {
			e := &engine{}
			err := Run(ctx, s, reg, e, ref, RunOptions{Groups: groups})
			return e.files, err
		}
		if _, err := run("test"); faults.Of(err) != faults.NotFound || !strings.Contains(strings.Join(faults.Hints(err), ""), "ampoule build --group test") {
			t.Errorf("a group that is not published: %v", err)
		}
		group := publishGroup(ctx, t, w, digest, "sha256:"+sumB, site+"extra.py")
		alone, err := run()
		if err != nil || slices.Contains(alone, "opt/ampoule/"+site+"extra.py") {
			t.Errorf("without the group: %q, %v", alone, err)
		}
		with, err := run("test")
		if err != nil || !slices.Equal(with, append(alone, "opt/ampoule/"+site+"extra.py")) {
			t.Errorf("with the group: %q, %v", with, err)
		}
		out.Reset()
		if err := Inspect(ctx, s, reg, ref); err != nil {
			return err
		}
		if text := strings.Join(strings.Fields(out.String()), " "); !strings.Contains(text, "referrer "+group+" type "+artifact.GroupType+" group test") {
			t.Errorf("inspect says:\n%s", out)
		}
		newer := publishGroup(ctx, t, w, digest, "sha256:"+sumA, site+"newer.py")
		if _, err := run("test"); faults.Of(err) != faults.Usage || !strings.Contains(err.Error(), newer) {
			t.Errorf("of two groups of one name: %v", err)
		}
		exact, err := run("test@" + newer)
		if err != nil || !slices.Contains(exact, "opt/ampoule/"+site+"newer.py") {
			t.Errorf("by its digest: %q, %v", exact, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

const groupedRecipe = goodRecipe + "dependency-groups: {test: [pytest], lint: [ruff]}\n"

// groupedLock writes the lock of the session's recipe with its two groups.
func groupedLock(t *testing.T, s *Session) *recipes.Lock {
	t.Helper()
	l := lockOf(t, s.Recipe, "3.10", sumA)
	section := func(name string) recipes.LockedGroup {
		d := recipes.Dist{Name: name, Version: "8", File: name + "-8-py3-none-any.whl", SHA256: sumB}
		return recipes.LockedGroup{Answers: []string{name}, Requirements: []string{d.ID()}, Dists: []recipes.Dist{d}}
	}
	l.Groups = map[string]recipes.LockedGroup{"test": section("pytest"), "lint": section("ruff")}
	if err := os.WriteFile(lockPath(s.Recipe), l.Encode(), 0o644); err != nil {
		t.Fatal(err)
	}
	return l
}

// asked is a Builder that gives a group's result for each group that it is asked for.
type asked []string

func (a *asked) Build(_ context.Context, req builder.Request) (builder.Result, error) {
	*a = req.Groups
	res := builder.Result{Name: "web", Digest: "sha256:" + sumA, Key: "sha256:" + sumB, Reused: true}
	for i, name := range req.Groups {
		res.Groups = append(res.Groups, builder.GroupResult{Name: name, Digest: "sha256:" + strings.Repeat(string(rune('1'+i)), 64), Key: "sha256:" + sumA, Reused: i > 0})
	}
	return res, nil
}

// The result of a build is the artifact's reference, with groups beside it or without.
func TestBuildGroups(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ groups, want []string }{
		{nil, nil}, {[]string{"test"}, []string{"test"}}, {[]string{allGroups}, []string{"lint", "test"}},
	} {
		s, out, errs := session(t, groupedRecipe)
		groupedLock(t, s)
		var a asked
		if err := Build(t.Context(), s, &a, builder.Request{Groups: c.groups}, reference); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.want, []string(a)); diff != "" || out.String() != "web@sha256:"+sumA+"\n" {
			t.Errorf("printed %q, asked for (-want +got):\n%s", out, diff)
		}
		for i, name := range c.want {
			if want := "group " + name + ": sha256:" + strings.Repeat(string(rune('1'+i)), 64); !strings.Contains(errs.String(), want) {
				t.Errorf("%q is not told: %s", want, errs)
			}
		}
		out.Reset()
		s.Output = JSON
		if err := Build(t.Context(), s, &a, builder.Request{Groups: c.groups}, reference); err != nil {
			t.Fatal(err)
		}
		var result struct {
			Groups []struct{ Name, Digest string }
		}
		if err := json.Unmarshal(out.Bytes(), &result); err != nil || len(result.Groups) != len(c.want) {
			t.Errorf("%v: %s", err, out)
		}
	}
}

// Beside the recipe and the lock of an artifact, a group of it that they do not make any more
// is not taken.
func TestOldGroupIsNotTaken(t *testing.T) {
	t.Parallel()
	s, _, _ := session(t, groupedRecipe)
	lock := groupedLock(t, s)
	in, err := s.read()
	if err != nil {
		t.Fatal(err)
	}
	key := builder.MakePlan(in.recipe, lock, "linux/amd64", "").Key
	digest := "sha256:" + sumA
	group := func(name, key string) registry.Group {
		return registry.Group{Digest: "sha256:" + sumB, Record: artifact.GroupRecord{Name: name, Key: key}}
	}
	current := group("test", builder.GroupKey(in.recipe, lock, "test", digest))
	old := group("test", "sha256:"+sumB)
	for name, c := range map[string]struct {
		key    string
		wanted string
		want   int
	}{
		"theirs":             {key, "test", 1},
		"by its digest":      {key, "test@sha256:" + sumB, 2},
		"another artifact's": {"sha256:" + sumB, "test", 2},
	} {
		if got := s.current(t.Context(), []registry.Group{current, old}, digest, c.key, []string{c.wanted}); len(got) != c.want || got[0].Record.Key != current.Record.Key {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// Of an artifact with first-party code, the group that is locked now is taken whatever became
// of the code since; where only an old one is there, the code decides whether it is theirs.
func TestOldGroupOfAnApp(t *testing.T) {
	t.Parallel()
	s, _, _ := session(t, groupedRecipe+"app: {source: .}\n")
	s.Environ = os.Environ()
	dir := filepath.Dir(s.Recipe)
	pyproject := "[project]\nname = \"demo\"\nversion = \"1\"\n[build-system]\nrequires = []\nbuild-backend = \"backend\"\n"
	if err := os.WriteFile(filepath.Join(dir, "pyproject.toml"), []byte(pyproject), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"init", "--quiet"}, {"add", "pyproject.toml"}, {"-c", "user.name=a", "-c", "user.email=a@b.invalid", "commit", "--quiet", "-m", "a"}} {
		if out, err := exec.CommandContext(t.Context(), "git", append([]string{"-C", dir}, args...)...).CombinedOutput(); err != nil {
			t.Fatalf("git %q: %v\n%s", args, err, out)
		}
	}
	lock := groupedLock(t, s)
	lock.App = []recipes.LockedApp{{Source: ".", Name: "demo", Version: recipes.VersionStatic, Build: &recipes.BuildSet{}}}
	if err := os.WriteFile(lockPath(s.Recipe), lock.Encode(), 0o600); err != nil {
		t.Fatal(err)
	}
	in, err := s.read()
	if err != nil {
		t.Fatal(err)
	}
	plan, err := builder.PlanBuild(t.Context(), in.request(builder.Request{}), s.Environ)
	if err != nil {
		t.Fatal(err)
	}
	digest, other := "sha256:"+sumA, "sha256:"+sumB
	group := func(key string) registry.Group {
		return registry.Group{Digest: other, Record: artifact.GroupRecord{Name: "test", Key: key}}
	}
	current, old := group(builder.GroupKey(in.recipe, in.lock, "test", digest)), group(other)
	for name, c := range map[string]struct {
		published []registry.Group
		key       string
		want      int
	}{
		"both, theirs":            {[]registry.Group{old, current}, plan.Key, 1},
		"both, of another code":   {[]registry.Group{old, current}, other, 1},
		"an old one, theirs":      {[]registry.Group{old}, plan.Key, 0},
		"an old one, of the past": {[]registry.Group{old}, other, 1},
	} {
		if got := s.current(t.Context(), c.published, digest, c.key, []string{"test"}); len(got) != c.want {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// A release is the artifact and nothing else: no group is installed, and why is told.
func TestInstallOfAGroup(t *testing.T) {
	t.Parallel()
	s, _, _ := session(t, goodRecipe)
	cmd := newInstall(s)
	cmd.SetArgs([]string{"web", "--root", t.TempDir(), "--group", "test"})
	err := cmd.ExecuteContext(t.Context())
	var wrong *UsageError
	if !errors.As(err, &wrong) || !strings.Contains(err.Error(), "ampoule run --group test") {
		t.Errorf("got %v", err)
	}
}

// Pins of groups are told apart, and an upgrade may name them.
func TestGroupsInLockDiff(t *testing.T) {
	t.Parallel()
	s, _, _ := session(t, groupedRecipe)
	before, after := groupedLock(t, s), groupedLock(t, s)
	after.Groups["test"].Dists[0].Version = "9"
	changes := diffLocks(before, after)
	if len(changes) != 1 || changes[0].String() != "pytest 8 → 9 (group test)" {
		t.Errorf("changes %v", changes)
	}
	if names, err := lockedNames(before, []string{"PyTest"}); err != nil || !slices.Equal(names, []string{"pytest"}) {
		t.Errorf("%q, %v", names, err)
	}
}
