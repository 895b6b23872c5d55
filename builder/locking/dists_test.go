package locking

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/builder/progress/progresstest"
	"ampoule/faults"
	"ampoule/packaging"
	"ampoule/recipes"
)

func requirements(specs ...string) *recipes.RequirementSet {
	set := &recipes.RequirementSet{}
	for i, spec := range specs {
		name := packaging.NormalName(packaging.RequiredName(spec))
		set.Requirements = append(set.Requirements, recipes.Requirement{Name: name, Spec: spec, Position: recipes.Position{File: "ampoule.yaml", Line: 7 + i, Column: 5}})
	}
	return set
}

// lockAll locks and returns the dists with their build sets, as text.
func (w *world) lockAll(reqs *recipes.RequirementSet, opts Options) ([]string, error) {
	w.t.Helper()
	p := w.start(reqs, opts)
	if err := p.lockDists(w.t.Context()); err != nil {
		return nil, err
	}
	all := []string{"requirements " + strings.Join(p.lock.Requirements, " ")}
	for _, d := range p.lock.Dists {
		line := d.File
		if d.Build != nil {
			line += fmt.Sprintf(" static %q dynamic %q with %q", d.Build.Requires, d.Build.Dynamic, d.Build.Dists)
		}
		all = append(all, line)
	}
	return all, nil
}

func TestLockDists(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	setuptools := w.file("setuptools", "setuptools-80.1-py3-none-any.whl", emptyZip)
	wheel := w.file("wheel", "wheel-0.45-py3-none-any.whl", emptyZip)
	cffi := w.sdist("cffi", "1.17", "setuptools")
	docopt := w.sdist("docopt", "0.6.2", "setuptools>=40")
	demo := w.sdist("demo", "1.0", "setuptools>=40")
	native := w.file("demo", "demo-1.0-cp313-cp313-linux_x86_64.whl", "native")
	w.dynamic[demo.Filename] = []string{"cffi", "wheel", "cffi"}
	w.depends[docopt.Filename] = []string{"wheel"}
	w.uv = func(asked, config string) (string, string) {
		releases := map[string][]indexFile{}
		if strings.Contains(asked, "demo") {
			// uv wants to build docopt, until it is told its metadata.
			if !strings.Contains(config, "'docopt'") && !strings.Contains(config, `"docopt"`) {
				return "", refusal
			}
			if !strings.Contains(config, "'wheel'") && !strings.Contains(config, `"wheel"`) {
				t.Errorf("uv is told %s", config)
			}
			releases["demo==1.0"], releases["docopt==0.6.2"] = []indexFile{demo, native}, []indexFile{docopt}
		}
		for name, files := range map[string][]indexFile{"setuptools==80.1": {setuptools}, "cffi==1.17": {cffi}, "wheel==0.45": {wheel}} {
			if base, _, _ := strings.Cut(name, "=="); strings.Contains(asked, base) {
				releases[name] = files
			}
		}
		return w.resolved(releases), ""
	}
	got, err := w.lockAll(requirements("demo==1.0", "docopt==0.6.2"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"requirements demo==1.0 docopt==0.6.2",
		`cffi-1.17.tar.gz static ["setuptools"] dynamic [] with ["setuptools==80.1"]`,
		`demo-1.0.tar.gz static ["setuptools>=40"] dynamic ["cffi" "wheel"] with ["cffi==1.17" "setuptools==80.1" "wheel==0.45"]`,
		`docopt-0.6.2.tar.gz static ["setuptools>=40"] dynamic [] with ["setuptools==80.1"]`,
		"setuptools-80.1-py3-none-any.whl", "wheel-0.45-py3-none-any.whl",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, s := range w.runner.Sandboxes() {
		for _, step := range s.Steps() {
			if s.Online && step.Args[0] != uvPath && step.Args[0] != "cat" {
				t.Errorf("%q ran beside the network", step.Args)
			}
		}
	}
}

// What is built needs the version that the tree has, where it may; where it may not, that
// is told once.
func TestBuildsTakeTheTreesPins(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		requires, want, told string
	}{
		"in range":     {"cffi>=1.12", "cffi==2.0", ""},
		"out of range": {"cffi>=2.1", "cffi==2.1", "demo==1.0 is built with cffi 2.1, and the tree has 2.0: its build requires cffi>=2.1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			wheels := map[string]indexFile{}
			for _, v := range []string{"2.0", "2.1"} {
				wheels[v] = w.file("cffi", "cffi-"+v+"-py3-none-any.whl", emptyZip)
			}
			demo := w.sdist("demo", "1.0", c.requires)
			w.uv = func(asked, config string) (string, string) {
				version := "2.1"
				if strings.Contains(asked, "cffi==2.0") || !strings.Contains(asked, "=2.1") && strings.Contains(config, "name = \"cffi\"\nversion = \"2.0\"") {
					version = "2.0"
				}
				releases := map[string][]indexFile{"cffi==" + version: {wheels[version]}}
				if strings.Contains(asked, "demo") {
					// uv wants the metadata of demo, so that it is built before the tree is known.
					if !strings.Contains(config, "'demo'") && !strings.Contains(config, `"demo"`) {
						return "", strings.ReplaceAll(strings.ReplaceAll(refusal, "docopt", "demo"), "0.6.2", "1.0")
					}
					releases["demo==1.0"] = []indexFile{demo}
				}
				return w.resolved(releases), ""
			}
			reqs := requirements("demo==1.0", "cffi==2.0")
			if _, err := w.lockAll(reqs, Options{}); err != nil {
				t.Fatal(err)
			}
			check := func(want string) {
				r := progresstest.New()
				w.locker.tell(r.Context(t.Context()))
				d, _ := w.locker.lock.Dist("demo==1.0")
				if got := strings.Join(messages(r), "\n"); d.Build == nil || !slices.Equal(d.Build.Dists, []string{c.want}) || got != want {
					t.Errorf("demo is %+v, told %q", d.Build, got)
				}
			}
			check(c.told)
			if _, err := w.lockAll(reqs, Options{Previous: w.locker.lock}); err != nil {
				t.Fatal(err)
			}
			check("")
			// The tree moves, and what was built with its version with it.
			if _, err := w.lockAll(requirements("demo==1.0", "cffi==2.1"), Options{Previous: w.locker.lock}); err != nil {
				t.Fatal(err)
			}
			c.want = "cffi==2.1"
			check("")
		})
	}
}

// A lock that builds with another version than its tree has goes on to, until the tree moves.
func TestPreferBuild(t *testing.T) {
	t.Parallel()
	previous := &recipes.Lock{Requirements: []string{"cffi==2.0", "numpy==2.3"}}
	for name, c := range map[string]struct {
		pins map[string]string
		opts Options
		want map[string]string
	}{
		"as before":      {map[string]string{"cffi": "2.0", "numpy": "2.3"}, Options{}, map[string]string{"cffi": "2.1", "numpy": "2.3", "wheel": "1"}},
		"the tree moves": {map[string]string{"cffi": "2.0.1", "numpy": "2.4"}, Options{}, map[string]string{"cffi": "2.0.1", "numpy": "2.4", "wheel": "1"}},
		"upgrade":        {map[string]string{"cffi": "2.0"}, Options{UpgradeNames: []string{"cffi"}}, map[string]string{"cffi": "2.0", "numpy": "2.3", "wheel": "1"}},
	} {
		c.opts.Previous = previous
		p := &distLocker{opts: c.opts, pins: c.pins}
		if diff := cmp.Diff(c.want, p.preferBuild([]string{"cffi==2.1", "numpy==2.3", "wheel==1"})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// All releases that cannot be locked are told, if that is asked for; a fault of the machine
// ends locking in any case.
func TestLockKeepsGoing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	releases := map[string][]indexFile{"good==1": {w.sdist("good", "1")}}
	for _, name := range []string{"bad-one", "bad-two"} {
		releases[name+"==1"] = []indexFile{w.sdist(name, "1", "needs-"+name)}
	}
	away := false
	w.uv = func(asked, _ string) (string, string) {
		switch {
		case !strings.Contains(asked, "needs"):
			return w.resolved(releases), ""
		case away:
			return "", "error: Request failed after 3 retries\n"
		}
		return "", "No solution found: there is no " + asked
	}
	reqs := requirements("good==1", "bad-one==1", "bad-two==1")
	_, err := w.lockAll(reqs, Options{KeepGoing: true})
	var all *UnlockableError
	if !errors.As(err, &all) || len(all.Errs) != 2 || faults.Of(err) != faults.Input || all.Hint() == "" ||
		!strings.Contains(err.Error(), "locking bad-one==1") || !strings.Contains(err.Error(), "locking bad-two==1") {
		t.Errorf("got %v", err)
	}
	if _, err := w.lockAll(reqs, Options{}); err == nil || errors.As(err, &all) || strings.Contains(err.Error(), "bad-two") {
		t.Errorf("not asked for: %v", err)
	}
	away = true
	if _, err := w.lockAll(reqs, Options{KeepGoing: true}); faults.Of(err) != faults.Remote {
		t.Errorf("without an index: %v", err)
	}
}

func TestLockDistsCircle(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b := w.sdist("a", "1", "b"), w.sdist("b", "1", "a")
	w.uv = func(asked, _ string) (string, string) {
		if asked == "b\n" {
			return w.resolved(map[string][]indexFile{"b==1": {b}}), ""
		}
		return w.resolved(map[string][]indexFile{"a==1": {a}}), ""
	}
	if _, err := w.lockAll(requirements("a"), Options{}); err == nil || !strings.Contains(err.Error(), "build requirements go in a circle: a==1 → b==1 → a==1") {
		t.Errorf("got %v", err)
	}
}

func TestLockDistsNoSolution(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.sdist("a", "1", "hatchling>99")
	w.uv = func(asked, _ string) (string, string) {
		if asked == "a\n" {
			return w.resolved(map[string][]indexFile{"a==1": {a}}), ""
		}
		return "", "Because there is no hatchling>99\n"
	}
	_, err := w.lockAll(requirements("a"), Options{})
	var none *ResolutionError
	if !errors.As(err, &none) || !strings.Contains(err.Error(), "the build requirements of a==1") || none.Hint() == "" {
		t.Errorf("got %v", err)
	}
	w.uv = func(string, string) (string, string) { return "", "Because you require Demo==1 and demo==2\n" }
	if _, err := w.lockAll(requirements("other==1", "demo==1"), Options{}); err == nil || !strings.HasSuffix(err.Error(), "\nampoule.yaml:8:5: demo==1") {
		t.Errorf("got %v", err)
	}
}

// Metadata that uv does not take must end, not go round and round.
func TestLockDistsEnds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.sdist("docopt", "0.6.2")
	w.uv = func(asked, _ string) (string, string) {
		return "", refusal
	}
	if _, err := w.lockAll(requirements("docopt"), Options{}); err == nil || !strings.Contains(err.Error(), "does not take the metadata of docopt==0.6.2") {
		t.Errorf("got %v", err)
	}
}

func TestFindSdist(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	sums := map[string]string{}
	for _, file := range []string{
		"my.pkg-1.0-py3-none-any.whl", "my_pkg-1.0rc1.tar.gz", "my-pkg-extra-1.0.tar.gz", "My.Pkg-1.0.0.zip",
		"my_pkg-2.0-rc1.tar.gz", "my_pkg-3.tar.bz2", "my_pkg-2013b.tar.gz",
	} {
		sums[file] = w.file("my-pkg", file, file).Hashes["sha256"]
	}
	w.index["my-pkg"] = append(w.index["my-pkg"], indexFile{Filename: "my_pkg-4.0.tar.gz", URL: "x"})
	p := w.start(nil, Options{})
	for version, want := range map[string]string{
		"1.0": "My.Pkg-1.0.0.zip", "1.0rc1": "my_pkg-1.0rc1.tar.gz", "2.0rc1": "my_pkg-2.0-rc1.tar.gz", "2013b0": "my_pkg-2013b.tar.gz",
		"3": "", "4.0": "", "1.1": "",
	} {
		got, err := p.findSdist(t.Context(), "My.Pkg", version)
		var none *NoSdistError
		switch {
		case want == "" && !errors.As(err, &none):
			t.Errorf("%s: %+v, %v", version, got, err)
		case want != "" && (err != nil || got != recipes.Dist{Name: "my-pkg", Version: version, File: want, SHA256: sums[want]}):
			t.Errorf("%s: %+v, %v", version, got, err)
		}
	}
	if _, err := p.findSdist(t.Context(), "nobody", "1"); err == nil {
		t.Error("a project that the index does not have is no error")
	}
}

func TestCheckHashes(t *testing.T) {
	t.Parallel()
	releases := func() []release {
		return []release{
			{name: "a", version: "1", sdist: &recipes.Dist{Name: "a", Version: "1", File: "a-1.tar.gz", SHA256: "aa"}},
			{name: "b", version: "2", pure: []recipes.Dist{{Name: "b", Version: "2", File: "b-2-py3-none-any.whl", SHA256: "bb"}}},
		}
	}
	at := func(file string, line int) recipes.Position {
		return recipes.Position{File: file, Line: line, Column: 1}
	}
	for name, c := range map[string]struct {
		reqs recipes.RequirementSet
		want recipes.Faults
	}{
		"no hashes": {recipes.RequirementSet{Requirements: []recipes.Requirement{{Name: "a"}}}, nil},
		"among them": {recipes.RequirementSet{RequireHashes: true, Requirements: []recipes.Requirement{
			{Name: "a", Hashes: []string{"sha256:00", "sha256:aa"}}, {Name: "b", Hashes: []string{"sha256:bb"}}}}, nil},
		"in a constraint": {recipes.RequirementSet{RequireHashes: true, Requirements: []recipes.Requirement{
			{Name: "a"}, {Name: "a", Constraint: true, Hashes: []string{"sha256:aa"}}, {Name: "b", Hashes: []string{"sha256:bb"}}}}, nil},
		"in the first of two lines": {recipes.RequirementSet{RequireHashes: true, Requirements: []recipes.Requirement{
			{Name: "a", Hashes: []string{"sha256:aa"}}, {Name: "a", Hashes: []string{"sha256:00"}}, {Name: "b", Hashes: []string{"sha256:bb"}}}}, nil},
		"another": {recipes.RequirementSet{RequireHashes: true, Requirements: []recipes.Requirement{
			{Name: "a", Hashes: []string{"sha256:00"}, Position: at("base.txt", 3)}, {Name: "b", Hashes: []string{"sha256:bb"}}}},
			recipes.Faults{{File: "base.txt", Line: 3, Column: 1, What: "the hash of a-1.tar.gz, which this build takes for a==1, is not among the hashes given", Hint: "add --hash=sha256:aa"}}},
		"of another algorithm": {recipes.RequirementSet{RequireHashes: true, Requirements: []recipes.Requirement{
			{Name: "a", Hashes: []string{"sha512:aa"}, Position: at("base.txt", 3)}, {Name: "b", Hashes: []string{"sha256:bb"}}}},
			recipes.Faults{{File: "base.txt", Line: 3, Column: 1, What: "the hash of a-1.tar.gz, which this build takes for a==1, is not among the hashes given", Hint: "add --hash=sha256:aa"}}},
		"no line": {recipes.RequirementSet{RequireHashes: true, File: "base.txt", Requirements: []recipes.Requirement{{Name: "a", Hashes: []string{"sha256:aa"}}}},
			recipes.Faults{{File: "base.txt", What: "b==2 is needed and has no line with hashes, although the others have", Hint: "add b==2 --hash=sha256:bb"}}},
	} {
		p := &distLocker{recipe: &recipes.Recipe{}, reqs: &c.reqs}
		err := p.checkHashes(releases())
		var got recipes.Faults
		if err != nil && !errors.As(err, &got) {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	p := &distLocker{recipe: &recipes.Recipe{}, reqs: &recipes.RequirementSet{}}
	if err := p.checkHashes([]release{{name: "a"}}); err == nil {
		t.Error("a release without files is no error")
	}
}

func TestCheckPins(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	kept := w.file("a", "a-1.tar.gz", "one")
	newer := w.file("a", "a-2.tar.gz", "two")
	yanked := w.file("b", "b-1.tar.gz", "b")
	yanked.Yanked = true
	w.index["b"] = []indexFile{yanked, w.file("b", "b-2.tar.gz", "bb")}
	w.file("c", "c-2.tar.gz", "c")
	previous := &recipes.Lock{}
	for name, sum := range map[string]string{"a": kept.Hashes["sha256"], "b": yanked.Hashes["sha256"], "c": strings.Repeat("0", 64)} {
		previous.Dists = append(previous.Dists, recipes.Dist{Name: name, Version: "1", File: name + "-1.tar.gz", SHA256: sum})
	}
	p := w.start(nil, Options{Previous: previous})
	of := func(name, version, sum string) []release {
		return []release{{name: name, version: version, sdist: &recipes.Dist{Name: name, Version: version, File: name + "-" + version + ".tar.gz", SHA256: sum}}}
	}
	for name, c := range map[string]struct {
		prefer   map[string]string
		releases []release
		lost     string
	}{
		"kept":             {map[string]string{"a": "1"}, of("a", "1", kept.Hashes["sha256"]), ""},
		"moved for others": {map[string]string{"a": "1"}, of("a", "2", newer.Hashes["sha256"]), ""},
		"not pinned":       {nil, of("c", "2", "11"), ""},
		"pinned elsewhere": {map[string]string{"d": "1"}, of("d", "2", "11"), ""},
		"gone":             {map[string]string{"c": "1"}, of("c", "2", "11"), "c"},
		"yanked":           {map[string]string{"b": "1"}, of("b", "2", "11"), "b"},
		"replaced":         {map[string]string{"c": "1"}, of("c", "1", "11"), "c"},
	} {
		err := p.checkPins(t.Context(), c.prefer, c.releases)
		if c.lost == "" && err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if c.lost != "" && (faults.Of(err) != faults.NotFound || !strings.HasPrefix(err.Error(), c.lost+" 1, which the lock pins") || !slices.Equal(faults.Hints(err), []string{"ampoule lock --upgrade=" + c.lost})) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPrefer(t *testing.T) {
	t.Parallel()
	ids := []string{"a==1", "b==2"}
	for name, c := range map[string]struct {
		opts Options
		want map[string]string
	}{
		"all stay":  {Options{}, map[string]string{"a": "1", "b": "2"}},
		"one moves": {Options{UpgradeNames: []string{"a"}}, map[string]string{"b": "2"}},
		"all move":  {Options{Upgrade: true}, map[string]string{}},
	} {
		p := &distLocker{opts: c.opts}
		if diff := cmp.Diff(c.want, p.prefer(ids)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestNamesIn(t *testing.T) {
	t.Parallel()
	names := namesIn("Because Zope.Interface==5.0 and all of: my_pkg[extra]>=1, there is no six-.\n╰─▶ “tail”")
	for name, want := range map[string]bool{"zope-interface": true, "my-pkg": true, "six": true, "tail": true, "zope": false, "interface": false, "pkg": false, "my": false, "": false} {
		if names[name] != want {
			t.Errorf("%q is named: %t", name, names[name])
		}
	}
}

// What an sdist states goes to where the network is: only requirements by name do.
func TestCanonical(t *testing.T) {
	t.Parallel()
	d := recipes.Dist{Name: "a", Version: "1"}
	got, err := canonical(d, []string{"Setuptools >= 77", "numpy==2.* ; python_version<'3.13'", "wheel"}, recipes.ParseRequirement)
	if diff := cmp.Diff([]string{"setuptools>=77", `numpy==2.*; python_version < "3.13"`, "wheel"}, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	// Old spellings, which setuptools took once (bcrypt 3.1.7): they are written anew.
	old := []string{"cffi>=1.1; python_implementation != 'PyPy'", "six; os.name == 'posix' and sys.platform == 'linux'", "a; platform.machine == 'x86_64'"}
	current := []string{`cffi>=1.1; platform_python_implementation != "PyPy"`, `six; os_name == "posix" and sys_platform == "linux"`, `a; platform_machine == "x86_64"`}
	for _, parse := range []func(string) (recipes.Requirement, error){recipes.ParseRequirement, recipes.ParseDependency} {
		got, err := canonical(d, old, parse)
		if diff := cmp.Diff(current, got); err != nil || diff != "" {
			t.Errorf("old markers: %v (-want +got):\n%s", err, diff)
		}
	}
	// What only an extra wants is a matter of metadata: a build has no extras.
	extra := []string{"numpy>1.0.0; extra == 'numpy'"}
	if got, err := canonical(d, extra, recipes.ParseDependency); err != nil || !slices.Equal(got, []string{`numpy>1.0.0; extra == "numpy"`}) {
		t.Errorf("an extra's dependency: %q, %v", got, err)
	}
	if got, err := canonical(d, extra, recipes.ParseRequirement); err == nil {
		t.Errorf("a build requirement of an extra: %q", got)
	}
	for _, foreign := range []string{
		"foo @ http://index.invalid/x?${UV_DEFAULT_INDEX}", "-r http://index.invalid/x", "--index-url=http://index.invalid", "-r /etc/passwd",
		"./local", "file:///etc/passwd", "a\n-r b", "a ${HOME}", "git+https://index.invalid/x", "",
	} {
		if got, err := canonical(d, []string{foreign}, recipes.ParseDependency); err == nil || !strings.Contains(err.Error(), "a==1") {
			t.Errorf("%q: %q, %v", foreign, got, err)
		}
	}
}
