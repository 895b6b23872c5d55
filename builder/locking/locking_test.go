package locking

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/builder/buildenv"
	"ampoule/builder/cpython"
	"ampoule/builder/fetch"
	"ampoule/faults"
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
	config := fetch.Config{Sources: map[string]fetch.Source{"cpython": {Mirrors: []string{t.TempDir()}}, "debian": {Mirrors: []string{t.TempDir()}}}}
	l := &Locker{Resources: buildenv.Resources{Store: st, Fetch: fetch.New(st, config)}}
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
		if got := cpython.Flags(lock.Python); !slices.Contains(got, "--enable-shared") {
			t.Errorf("%s: flags %q", name, got)
		}
	}
	var (
		wrong   recipes.Faults
		missing *fetch.NotFoundError
	)
	for name, c := range map[string]struct {
		python   string
		previous string
		is       func(error) bool
	}{
		"unknown": {"{version: 3.99.1}", "3.99.0", func(err error) bool {
			return faults.Of(err) == faults.Input && strings.HasPrefix(strings.Join(faults.Hints(err), ""), "known nearest to it: 3.11.16, 3.12.14, 3.13.15, 3.14.7; for this one, write the sha256")
		}},
		"hash known, flags not": {"{version: 3.12.7}", "", func(err error) bool {
			return errors.As(err, &missing) && strings.Contains(err.Error(), "24887b92e2afd4a2ac602419ad4b596372f67ac9b077190f459aba390faf5550")
		}},
		"unknown flag":   {"{version: 3.99.1, sha256: " + sum + ", configure: [--with-magic]}", "", func(err error) bool { return errors.As(err, &wrong) && wrong[0].Line == 3 }},
		"nowhere":        {"{version: 3.99.1, sha256: \"" + other + "\"}", "", func(err error) bool { return errors.As(err, &missing) }},
		"not the source": {"{version: 3.99.1, sha256: " + bare + "}", "", func(err error) bool { return err != nil && strings.Contains(err.Error(), "no configure script") }},
	} {
		err := l.lockPython(t.Context(), recipe(t, c.python), &recipes.Lock{}, Options{Previous: &recipes.Lock{Python: recipes.LockedPython{Version: c.previous, SHA256: sum}}})
		if !c.is(err) {
			t.Errorf("%s: %v", name, err)
		}
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

// Pins of Debian packages stay as long as what they answer, and stand on, is the same.
func TestKept(t *testing.T) {
	t.Parallel()
	deb := func(name string) recipes.Deb { return recipes.Deb{Name: name, Version: "1", SHA256: "aa"} }
	lines := []string{"base.debian: bookworm", "packages.psycopg2.build: libpq-dev", "python.version: 3.13.5", "toolchain.packages: make"}
	made := func() *recipes.Lock {
		return &recipes.Lock{
			Debian:    map[string]recipes.Suite{"bookworm": {deb("libc6"), deb("gcc"), deb("make"), deb("libpq-dev"), deb("libpq5")}},
			Answers:   recipes.Answers{Recipe: slices.Clone(lines)},
			Base:      recipes.LockedBase{Suite: "bookworm", Packages: []string{"libc6"}},
			Toolchain: []string{"gcc", "make"},
			Dists:     []recipes.Dist{{Name: "psycopg2", Version: "2", Build: &recipes.BuildSet{Packages: []string{"libpq-dev", "libpq5"}}}},
		}
	}
	const all = "gcc make, whole"
	for name, c := range map[string]struct {
		opts   Options
		was    func(*recipes.Lock)
		tools  string
		extras string
	}{
		"same":           {Options{}, nil, all, "libpq-dev libpq5, whole"},
		"other packages": {Options{}, func(l *recipes.Lock) { l.Answers.Recipe[3] += "x" }, "gcc make", "libpq-dev libpq5, whole"},
		"other extras":   {Options{}, func(l *recipes.Lock) { l.Answers.Recipe[1] += "x" }, all, "libpq-dev libpq5"},
		"other override": {Options{}, func(l *recipes.Lock) { l.Dists[0].Build.Overrides = []recipes.Applied{{Name: "psycopg2"}} }, all, "libpq-dev libpq5"},
		"was in Rust":    {Options{}, func(l *recipes.Lock) { l.Dists[0].Build.Crates = []recipes.Crate{{Name: "libc"}} }, all, "libpq-dev libpq5"},
		"other Python":   {Options{}, func(l *recipes.Lock) { l.Answers.Recipe[2] += "0" }, "gcc make", "libpq-dev libpq5"},
		"other suite":    {Options{}, func(l *recipes.Lock) { l.Base.Suite = "bullseye" }, "", ""},
		"other image":    {Options{}, func(l *recipes.Lock) { l.Base.Image = "x@sha256:1" }, "", ""},
		"base had more":  {Options{}, func(l *recipes.Lock) { l.Base.Packages = []string{"libc6", "libpq5"} }, "", ""},
		"base was older": {Options{}, func(l *recipes.Lock) { l.Debian["bookworm"][0].Version = "0" }, "", ""},
		"toolchain had less": {Options{}, func(l *recipes.Lock) {
			l.Toolchain, l.Dists[0].Build.Packages = []string{"gcc"}, []string{"libpq-dev", "libpq5", "make"}
		}, "gcc, whole", "libpq-dev libpq5"},
		"upgrade":           {Options{Upgrade: true}, nil, "", ""},
		"upgrade of one":    {Options{UpgradeNames: []string{"make"}}, nil, "gcc", "libpq-dev libpq5, whole"},
		"upgrade elsewhere": {Options{UpgradeNames: []string{"flask"}}, nil, all, "libpq-dev libpq5, whole"},
		"not in the lock":   {Options{}, func(l *recipes.Lock) { l.Toolchain = append(l.Toolchain, "g++") }, "", "libpq-dev libpq5"},
		"nothing before":    {Options{}, func(l *recipes.Lock) { *l = recipes.Lock{} }, "", ""},
	} {
		previous := made()
		if c.was != nil {
			c.was(previous)
		}
		c.opts.Previous = previous
		d := &debianLocker{recipe: &recipes.Recipe{}, lock: made(), opts: c.opts, debs: map[string]map[string]recipes.Deb{"bookworm": {"libc6": deb("libc6")}}}
		tools := d.previousPins("bookworm", previous.Toolchain, toolchainPart)
		extras := d.previousExtras("psycopg2", recipes.BuildSet{})
		if pinned(tools) != c.tools || pinned(extras) != c.extras {
			t.Errorf("%s: %q and %q, want %q and %q", name, pinned(tools), pinned(extras), c.tools, c.extras)
		}
		if base := d.previousPins("bookworm", previous.Base.Packages, ""); base.whole != (len(previous.Base.Packages) > 0 && !c.opts.Upgrade) {
			t.Errorf("%s: the base is %+v", name, base)
		}
	}
}

func pinned(p pins) string {
	text := strings.Join(names(p.debs), " ")
	if p.whole {
		text += ", whole"
	}
	return text
}

// An unknown CPython is told before anything is asked of a mirror.
func TestUnknownPythonFirst(t *testing.T) {
	t.Parallel()
	st := openStore(t)
	l := &Locker{Resources: buildenv.Resources{Store: st, Logs: t.TempDir(), Fetch: fetch.New(st, fetch.Config{})}}
	_, err := l.Lock(t.Context(), recipe(t, "{version: 3.12.99}"), &recipes.RequirementSet{}, Options{})
	wrong, ok := errors.AsType[recipes.Faults](err)
	if !ok || len(wrong) != 1 || wrong[0].Line != 3 || wrong[0].Column != 19 || !strings.Contains(wrong[0].What, "CPython 3.12.99 is not known") ||
		!strings.Contains(strings.Join(faults.Hints(err), ""), "known nearest to it: 3.12.14;") {
		t.Errorf("got %v", err)
	}
}

func TestUnknownGlibc(t *testing.T) {
	t.Parallel()
	r := recipe(t, "{version: 3.13.5}")
	r.Runtime.VM.Glibc = "2.37"
	if err := (&debianLocker{recipe: r, lock: &recipes.Lock{}}).targets(t.Context()); err == nil || !strings.Contains(err.Error(), "no suite has glibc 2.37") {
		t.Errorf("got %v", err)
	}
}
