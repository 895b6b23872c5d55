package locking

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/builder/fetch"
	"ampoule/recipes"
)

const configureText = "#! /bin/sh\nac_user_opts='\nenable_option_checking\nenable_shared\nwith_lto\n'\n"

func recipe(t *testing.T, python string) *recipes.Recipe {
	t.Helper()
	r, err := recipes.ParseRecipe("ampoule.yaml", []byte("apiVersion: ampoule/v1\nname: web\npython: "+python+
		"\nbase: {debian: bookworm}\nruntime: {vm: {glibc: \"2.36\"}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestLockPython(t *testing.T) {
	t.Parallel()
	st := openStore(t)
	sum := put(t, st, xzipped(t, tarOf(t, member{name: "Python-3.99.1/configure", text: configureText})))
	bare := put(t, st, xzipped(t, tarOf(t, member{name: "Python-3.99.1/README"})))
	known, ok := recipes.KnownPython("3.13.5")
	if !ok {
		t.Fatal("3.13.5 is not known")
	}
	other := strings.Repeat("1", 64)
	l := &Locker{Store: st, Fetch: fetch.New(st, fetch.Config{Sources: map[string]fetch.Source{"cpython": {Mirrors: []string{t.TempDir()}}, "debian": {Mirrors: []string{t.TempDir()}}}})}
	flags := []string{"--enable-shared", "--with-lto"}
	for name, c := range map[string]struct {
		python   string
		previous recipes.LockedPython
		want     recipes.LockedPython
	}{
		"known":              {"{version: 3.13.5}", recipes.LockedPython{}, recipes.LockedPython{Version: "3.13.5", File: known.File, SHA256: known.SHA256}},
		"known, written too": {"{version: 3.13.5, sha256: " + known.SHA256 + "}", recipes.LockedPython{}, recipes.LockedPython{Version: "3.13.5", File: known.File, SHA256: known.SHA256}},
		"known, other hash":  {"{version: 3.13.5, sha256: \"" + other + "\"}", recipes.LockedPython{}, recipes.LockedPython{Version: "3.13.5", File: "Python-3.13.5.tar.xz", SHA256: other}},
		"written":            {"{version: 3.99.1, sha256: " + sum + "}", recipes.LockedPython{}, recipes.LockedPython{Version: "3.99.1", File: "Python-3.99.1.tar.xz", SHA256: sum, Flags: flags}},
		"of the lock": {"{version: 3.99.1}", recipes.LockedPython{Version: "3.99.1", File: "Python-3.99.1.tar.xz", SHA256: sum},
			recipes.LockedPython{Version: "3.99.1", File: "Python-3.99.1.tar.xz", SHA256: sum, Flags: flags}},
	} {
		lock := &recipes.Lock{}
		err := l.lockPython(t.Context(), recipe(t, c.python), lock, Options{Previous: &recipes.Lock{Python: c.previous}})
		if diff := cmp.Diff(c.want, lock.Python); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", name, err, diff)
		}
		if got := Flags(lock.Python); !slices.Contains(got, "--enable-shared") {
			t.Errorf("%s: flags %q", name, got)
		}
	}
	var (
		unknown *UnknownPythonError
		faults  recipes.Faults
		missing *fetch.NotFoundError
	)
	for name, c := range map[string]struct {
		python   string
		previous string
		is       func(error) bool
	}{
		"unknown": {"{version: 3.99.1}", "3.99.0", func(err error) bool {
			return errors.As(err, &unknown) && strings.Contains(unknown.Hint(), "python.sha256")
		}},
		"unknown flag":   {"{version: 3.99.1, sha256: " + sum + ", configure: [--with-magic]}", "", func(err error) bool { return errors.As(err, &faults) && faults[0].Line == 3 }},
		"nowhere":        {"{version: 3.99.1, sha256: \"" + other + "\"}", "", func(err error) bool { return errors.As(err, &missing) }},
		"not the source": {"{version: 3.99.1, sha256: " + bare + "}", "", func(err error) bool { return err != nil && strings.Contains(err.Error(), "no configure script") }},
	} {
		err := l.lockPython(t.Context(), recipe(t, c.python), &recipes.Lock{}, Options{Previous: &recipes.Lock{Python: recipes.LockedPython{Version: c.previous, SHA256: sum}}})
		if !c.is(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPythonPath(t *testing.T) {
	t.Parallel()
	if got := PythonPath("opt/ampoule", "3.13.5"); got != testPython {
		t.Errorf("got %s", got)
	}
	want := fetch.Item{Source: "cpython", Name: "cpython", Version: "3.13.5", File: "Python-3.13.5.tgz", SHA256: "0"}
	if got := PythonItem(recipes.LockedPython{Version: "3.13.5", File: "Python-3.13.5.tgz", SHA256: "0"}); got != want {
		t.Errorf("got %+v", got)
	}
}

func TestPrune(t *testing.T) {
	t.Parallel()
	p := &distLocker{lock: &recipes.Lock{Requirements: []string{"a==1"}}, dists: map[string]recipes.Dist{
		"a==1": {Name: "a", Version: "1", Build: &recipes.BuildSet{Dists: []string{"b==1"}}},
		"b==1": {Name: "b", Version: "1", Build: &recipes.BuildSet{Dists: []string{"c==1"}}},
		"c==1": {Name: "c", Version: "1"},
		"c==2": {Name: "c", Version: "2"},
		"d==1": {Name: "d", Version: "1", Build: &recipes.BuildSet{Dists: []string{"c==2"}}},
	}}
	for _, id := range sortedKeys(p.dists) {
		p.lock.Dists = append(p.lock.Dists, p.dists[id])
	}
	p.prune()
	var left []string
	for _, d := range p.lock.Dists {
		left = append(left, d.ID())
	}
	if diff := cmp.Diff([]string{"a==1", "b==1", "c==1"}, left); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Pins of Debian packages stay as long as what they answer is the same.
func TestKept(t *testing.T) {
	t.Parallel()
	debs := recipes.Suite{{Name: "gcc", Version: "12", SHA256: "aa"}, {Name: "make", Version: "4", SHA256: "bb"}}
	locked := []string{"gcc", "make"}
	lines := []string{"base.debian: bookworm", "python.version: 3.13.5", "toolchain.packages: make"}
	previous := func(change func(*recipes.Lock)) *recipes.Lock {
		l := &recipes.Lock{
			Debian: map[string]recipes.Suite{"bookworm": debs}, Answers: recipes.Answers{Recipe: slices.Clone(lines)},
			Base: recipes.LockedBase{Suite: "bookworm"},
		}
		if change != nil {
			change(l)
		}
		return l
	}
	const part = "toolchain.packages"
	for name, c := range map[string]struct {
		opts  Options
		names []string
		part  string
		debs  int
		whole bool
	}{
		"same":              {Options{Previous: previous(nil)}, locked, part, 2, true},
		"a base":            {Options{Previous: previous(nil)}, locked, "", 2, true},
		"other packages":    {Options{Previous: previous(func(l *recipes.Lock) { l.Answers.Recipe[2] += "x" })}, locked, part, 2, false},
		"other Python":      {Options{Previous: previous(func(l *recipes.Lock) { l.Answers.Recipe[1] += "0" })}, locked, part, 2, false},
		"other suite":       {Options{Previous: previous(func(l *recipes.Lock) { l.Base.Suite = "bullseye" })}, locked, part, 2, false},
		"other base":        {Options{Previous: previous(func(l *recipes.Lock) { l.Base.Image = "x@sha256:1" })}, locked, part, 2, false},
		"upgrade":           {Options{Previous: previous(nil), Upgrade: true}, locked, part, 0, false},
		"upgrade of one":    {Options{Previous: previous(nil), UpgradeNames: []string{"make"}}, locked, part, 0, false},
		"upgrade elsewhere": {Options{Previous: previous(nil), UpgradeNames: []string{"flask"}}, locked, part, 2, true},
		"nothing before":    {Options{Previous: &recipes.Lock{}}, nil, part, 0, false},
		"not in the lock":   {Options{Previous: previous(nil)}, []string{"g++"}, part, 0, false},
	} {
		d := &debianLocker{lock: &recipes.Lock{Answers: recipes.Answers{Recipe: lines}, Base: recipes.LockedBase{Suite: "bookworm"}}, opts: c.opts}
		got := d.kept("bookworm", c.names, c.part)
		if len(got.debs) != c.debs || got.whole != c.whole {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestUnknownGlibc(t *testing.T) {
	t.Parallel()
	r := recipe(t, "{version: 3.13.5}")
	r.Runtime.VM.Glibc = "2.37"
	d := &debianLocker{recipe: r, lock: &recipes.Lock{}}
	var faults recipes.Faults
	if err := d.targets(t.Context()); !errors.As(err, &faults) || faults[0].Line != 5 || !strings.Contains(faults.Hint(), "2.31, 2.36, 2.41") {
		t.Errorf("got %v", err)
	}
}
