package cli

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/builder"
	"ampoule/cmd/ampoule/display"
	"ampoule/recipes"
)

const goodRecipe = `apiVersion: ampoule/v1
name: web
python:
  version: 3.13.5
platforms: [linux/amd64]
base: {debian: bookworm}
requirements: [idna==3.10]
runtime:
  container: {base: {debian: bookworm}}
test:
  imports: [idna]
`

const sumA = "93e583f243454e6e9e4588ca2c2662206ad961659863277afcdb96801647d640"

var sumB = strings.Repeat("0", 64)

// lockOf is a lock that pins idna.
func lockOf(t *testing.T, recipe, version, sum string) *recipes.Lock {
	t.Helper()
	r, err := recipes.ReadRecipe(recipe)
	if err != nil {
		t.Fatal(err)
	}
	reqs, err := recipes.ReadRequirements(r)
	if err != nil {
		t.Fatal(err)
	}
	dist := recipes.Dist{Name: "idna", Version: version, File: "idna-" + version + "-py3-none-any.whl", SHA256: sum}
	return &recipes.Lock{
		APIVersion: recipes.APIVersion, Answers: recipes.MakeAnswers(r, reqs),
		Python: recipes.LockedPython{Version: "3.13.5", File: "Python-3.13.5.tar.xz", SHA256: sumA},
		Debian: map[string]recipes.Suite{"bookworm": {
			{Name: "libc6", Version: "2.36-9", Arch: "amd64", File: "pool/main/g/glibc/libc6_2.36-9_amd64.deb", SHA256: sumA},
		}},
		Base:         recipes.LockedBase{Suite: "bookworm", Packages: []string{"libc6"}},
		Targets:      map[string]recipes.LockedBase{"container": {Suite: "bookworm", Packages: []string{"libc6"}}},
		Requirements: []string{dist.ID()}, Dists: []recipes.Dist{dist},
	}
}

// session has a recipe in a directory of its own.
func session(t *testing.T, recipe string) (s *Session, out, errs *bytes.Buffer) {
	t.Helper()
	out, errs = &bytes.Buffer{}, &bytes.Buffer{}
	s = &Session{
		In: strings.NewReader(""), Out: out, Err: errs, Output: Text, Progress: display.Plain,
		Recipe: filepath.Join(t.TempDir(), "ampoule.yaml"), Store: filepath.Join(t.TempDir(), "store"),
	}
	if err := os.WriteFile(s.Recipe, []byte(recipe), 0o644); err != nil {
		t.Fatal(err)
	}
	return s, out, errs
}

// lockerFunc is a Locker.
type lockerFunc func(builder.Request, builder.LockOptions) (*recipes.Lock, error)

func (f lockerFunc) Lock(_ context.Context, req builder.Request, o builder.LockOptions) (*recipes.Lock, error) {
	return f(req, o)
}

func TestLock(t *testing.T) {
	t.Parallel()
	s, out, errs := session(t, goodRecipe)
	path := lockPath(s.Recipe)
	answer := func(version, sum string) lockerFunc {
		return func(builder.Request, builder.LockOptions) (*recipes.Lock, error) {
			return lockOf(t, s.Recipe, version, sum), nil
		}
	}

	if err := Lock(t.Context(), s, answer("3.10", sumA), builder.Request{}, builder.LockOptions{}); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); got != path+"\n" {
		t.Errorf("result %q, want the lock's path", got)
	}
	if want := "locked CPython 3.13.5, 1 distributions and 1 Debian packages\n"; errs.String() != want {
		t.Errorf("messages %q, want %q", errs, want)
	}
	first, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(lockOf(t, s.Recipe, "3.10", sumA).Encode()), string(first)); diff != "" {
		t.Errorf("lock file (-want +got):\n%s", diff)
	}

	// The same lock leaves the file alone.
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	errs.Reset()
	var seen builder.LockOptions
	var previous *recipes.Lock
	again := lockerFunc(func(req builder.Request, o builder.LockOptions) (*recipes.Lock, error) {
		seen, previous = o, req.Lock
		return answer("3.10", sumA)(req, o)
	})
	if err := Lock(t.Context(), s, again, builder.Request{}, builder.LockOptions{UpgradeNames: []string{"IDNA", "libc6"}}); err != nil {
		t.Fatal(err)
	}
	after, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if !os.SameFile(before, after) {
		t.Error("an equal lock was written again")
	}
	if errs.String() != "nothing changed\n" {
		t.Errorf("messages %q", errs)
	}
	if diff := cmp.Diff([]string{"idna", "libc6"}, seen.UpgradeNames); diff != "" || previous == nil {
		t.Errorf("options %+v (-want +got):\n%s", seen, diff)
	}

	// Another one replaces it, and the difference is told.
	errs.Reset()
	if err := Lock(t.Context(), s, answer("3.11", sumA), builder.Request{}, builder.LockOptions{Upgrade: true}); err != nil {
		t.Fatal(err)
	}
	if errs.String() != "idna 3.10 → 3.11\n" {
		t.Errorf("messages %q", errs)
	}
	if second, err := os.ReadFile(path); err != nil || bytes.Equal(first, second) {
		t.Errorf("the lock file did not change (%v)", err)
	}
}

func TestLockRefusesUnknownNames(t *testing.T) {
	t.Parallel()
	s, _, _ := session(t, goodRecipe)
	never := lockerFunc(func(builder.Request, builder.LockOptions) (*recipes.Lock, error) {
		t.Error("the locker was asked")
		return nil, nil
	})
	err := Lock(t.Context(), s, never, builder.Request{}, builder.LockOptions{UpgradeNames: []string{"idan"}})
	if ExitCode(err) != codeUsage {
		t.Errorf("upgrading what is not locked: %v", err)
	}
}

func TestUpgrades(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		flag, names []string
		want        builder.LockOptions
	}{
		{nil, nil, builder.LockOptions{}},
		{[]string{upgradeAll}, nil, builder.LockOptions{Upgrade: true}},
		{[]string{upgradeAll}, []string{"a", "b"}, builder.LockOptions{UpgradeNames: []string{"a", "b"}}},
		{[]string{"a", "b"}, nil, builder.LockOptions{UpgradeNames: []string{"a", "b"}}},
	} {
		got := upgrades(tt.flag, tt.names)
		if got.Upgrade != tt.want.Upgrade || strings.Join(got.UpgradeNames, " ") != strings.Join(tt.want.UpgradeNames, " ") {
			t.Errorf("upgrades(%q, %q) = %+v, want %+v", tt.flag, tt.names, got, tt.want)
		}
	}
}

func TestDiffLocks(t *testing.T) {
	t.Parallel()
	dist := func(name, version, sum string) recipes.Dist {
		return recipes.Dist{Name: name, Version: version, SHA256: sum}
	}
	previous := &recipes.Lock{
		Python: recipes.LockedPython{Version: "3.13.5", SHA256: sumA},
		Base:   recipes.LockedBase{Image: "r.example/base@sha256:" + sumA},
		Dists:  []recipes.Dist{dist("flask", "3.0.1", sumA), dist("gone", "1", sumA), dist("idna", "3.10", sumA), dist("same", "1", sumA)},
		Debian: map[string]recipes.Suite{"bookworm": {{Name: "libc6", Version: "2.36-9", Arch: "amd64", SHA256: sumA}}},
	}
	lock := &recipes.Lock{
		Python: recipes.LockedPython{Version: "3.13.6", SHA256: sumB},
		Base:   recipes.LockedBase{Image: "r.example/base@sha256:" + sumB},
		Dists:  []recipes.Dist{dist("flask", "3.1.0", sumB), dist("idna", "3.10", sumB), dist("new", "2", sumA), dist("same", "1", sumA)},
		Debian: map[string]recipes.Suite{"bookworm": {{Name: "libc6", Version: "2.36-10", Arch: "amd64", SHA256: sumB}}},
	}
	want := []string{
		"CPython 3.13.5 → 3.13.6 (python)",
		"flask 3.0.1 → 3.1.0",
		"- gone 1",
		"idna 3.10: another file",
		"+ new 2",
		"base r.example/base@sha256:" + sumA + " → r.example/base@sha256:" + sumB + " (image)",
		"libc6 2.36-9 → 2.36-10 (deb bookworm amd64)",
	}
	var got []string
	for _, c := range diffLocks(previous, lock) {
		got = append(got, c.String())
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
	if changes := diffLocks(previous, previous); len(changes) != 0 {
		t.Errorf("a lock differs from itself: %v", changes)
	}
	if changes := diffLocks(nil, lock); changes == nil || len(changes) != 0 {
		t.Errorf("changes against no lock: %v", changes)
	}
}
