package recipes

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// groupedRecipe is goodRecipe with two groups.
var groupedRecipe = strings.Replace(goodRecipe, "packages:\n", "dependency-groups:\n  test: requirements-test.txt\n  lint: [ruff>=0.5]\npackages:\n", 1)

// testGroup is a section that takes one dist of its own, built with one that the lock has.
func testGroup() LockedGroup {
	return LockedGroup{
		Answers: []string{"pytest>=8"}, Requirements: []string{"pytest==8.3.4", "iniconfig==2.0.0"},
		Debian: map[string]Suite{"bookworm": {{Name: "graphviz", Version: "2.42", Arch: "amd64", File: "pool/main/g/graphviz_1_amd64.deb", SHA256: hash}}},
		Dists: []Dist{
			{Name: "pytest", Version: "8.3.4", File: "pytest-8.3.4.tar.gz", SHA256: hash, Build: &BuildSet{
				Requires: []string{"setuptools"}, Dynamic: []string{}, Dists: []string{"setuptools==80.1"}, Packages: []string{"graphviz"},
			}},
			{Name: "iniconfig", Version: "2.0.0", File: "iniconfig-2.0.0-py3-none-any.whl", SHA256: hash},
		},
	}
}

const testGroupText = `groups:
  lint: {}
  test:
    answers:
      - "pytest>=8"
    requirements:
      - iniconfig==2.0.0
      - pytest==8.3.4
    debian:
      bookworm:
        - {name: graphviz, version: "2.42", arch: amd64, file: pool/main/g/graphviz_1_amd64.deb, sha256: HASH}
    dists:
      - {name: iniconfig, version: 2.0.0, file: iniconfig-2.0.0-py3-none-any.whl, sha256: HASH}
      - name: pytest
        version: 8.3.4
        file: pytest-8.3.4.tar.gz
        sha256: HASH
        build:
          requires: [setuptools]
          dynamic: []
          dists: [setuptools==80.1]
          packages: [graphviz]
`

// The section of a group stands behind the rest of the lock, whose bytes stay.
func TestGroupsInLock(t *testing.T) {
	t.Parallel()
	l := goodLock()
	l.Groups = map[string]LockedGroup{"test": testGroup(), "lint": {}}
	want := string(goodLock().Encode()) + strings.ReplaceAll(testGroupText, "HASH", hash)
	if diff := cmp.Diff(want, string(l.Encode())); diff != "" {
		t.Fatalf("(-want +got):\n%s", diff)
	}
	read, err := ParseLock("ampoule.lock", l.Encode())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(read.Encode())); diff != "" {
		t.Errorf("read and written (-want +got):\n%s", diff)
	}
	both := read.With("test")
	if d, ok := both.Dist("pytest==8.3.4"); !ok || d.Build == nil || both.Groups != nil || len(both.Requirements) != 4 || len(both.Debian["bookworm"]) != 5 {
		t.Errorf("both are %+v", both)
	}
	if _, ok := read.Dist("pytest==8.3.4"); ok || len(read.Debian["bookworm"]) != 4 {
		t.Error("the artifact's part of the lock has what only the group has")
	}
}

// A group changes no key of an artifact: neither in the recipe nor in the lock.
func TestGroupsLeaveTheKey(t *testing.T) {
	t.Parallel()
	want, err := os.ReadFile(filepath.Join("testdata", "key"))
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(groupedRecipe, "gate:\n", "gate:\n  groups: [{group: test, check: startup, files: [x.pth], why: it measures, until: 2027-03-01}]\n", 1)
	r, err := ParseRecipe("ampoule.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	l := goodLock()
	l.Groups = map[string]LockedGroup{"test": testGroup()}
	if got := Key(r, l, "linux/amd64", "1", ""); got != strings.TrimSpace(string(want)) {
		t.Errorf("with a group the key is %s, not %s", got, want)
	}
}

// A group's key is of the artifact, the group's section and exceptions, and the builder.
func TestGroupKeyChanges(t *testing.T) {
	t.Parallel()
	parse := func(text string) *Recipe {
		r, err := ParseRecipe("ampoule.yaml", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	except := func(group string) *Recipe {
		return parse(strings.Replace(groupedRecipe, "gate:\n", "gate:\n  groups: [{group: "+group+", check: startup, files: [x.pth], why: it measures, until: 2027-03-01}]\n", 1))
	}
	l := goodLock()
	l.Groups = map[string]LockedGroup{"test": testGroup(), "lint": {}}
	r := parse(groupedRecipe)
	first := GroupKey(r, l, "test", digest, "1")
	other := goodLock()
	section := testGroup()
	section.Dists[1].SHA256 = strings.Repeat("3", 64)
	other.Groups = map[string]LockedGroup{"test": section}
	keys := map[string]string{
		"nothing": first, "the artifact": GroupKey(r, l, "test", "sha256:"+strings.Repeat("9", 64), "1"), "the group": GroupKey(r, l, "lint", digest, "1"),
		"the section": GroupKey(r, other, "test", digest, "1"), "an exception": GroupKey(except("test"), l, "test", digest, "1"), "the builder": GroupKey(r, l, "test", digest, "2"),
	}
	seen := map[string]string{}
	for what, key := range keys {
		if same, twice := seen[key]; twice {
			t.Errorf("a change of %s gives the key of a change of %s", what, same)
		}
		seen[key] = what
	}
	if again := GroupKey(except("lint"), l, "test", digest, "1"); again != first {
		t.Error("an exception of another group changes the key")
	}
	changed := *l
	changed.Groups = map[string]LockedGroup{"test": testGroup()}
	if GroupKey(r, &changed, "test", digest, "1") != first {
		t.Error("another group that goes changes the key")
	}
}

func TestReadGroups(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"ampoule.yaml": groupedRecipe, "requirements.txt": "flask>=3\n", "requirements-test.txt": "-r requirements.txt\npytest>=8\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	r, err := ReadRecipe(filepath.Join(dir, "ampoule.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	set, err := ReadRequirements(r)
	if err != nil {
		t.Fatal(err)
	}
	if got := MakeAnswers(r, set); slices.ContainsFunc(slices.Concat(got.Recipe, got.Requirements), func(line string) bool { return strings.Contains(line, "pytest") || strings.Contains(line, "group") }) {
		t.Errorf("the artifact's answers are %q", got)
	}
	want := map[string][]string{"lint": {"ruff>=0.5"}, "test": {"flask>=3", "pytest>=8"}}
	got := map[string][]string{}
	for name, group := range set.Groups {
		got[name] = MakeGroupAnswers(group)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if test := set.Groups["test"]; test.File != "requirements-test.txt" || len(test.Files) != 2 || filepath.Base(test.Requirements[1].File) != "requirements-test.txt" || test.Requirements[1].Line != 2 {
		t.Errorf("the group is %+v", test)
	}
}

func TestWrongGroups(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ old, new, want string }{
		"name":             {"  lint:", "  Lint_All:", `ampoule.yaml:12:3: dependency-groups: "Lint_All" is not the name of a dependency group`},
		"address":          {"[ruff>=0.5]", `["ruff @ https://x.invalid/r.whl"]`, "ampoule.yaml:12:10: ruff is required from a URL"},
		"outside":          {"requirements-test.txt", "../t.txt", `ampoule.yaml:11:9: dependency-groups.test: "../t.txt" is not a requirements file`},
		"an include":       {"[ruff>=0.5]", "[{include: test}]", "dependency-groups.lint[0] is text, not a mapping"},
		"no group":         {"gate:\n", "gate:\n  groups: [{group: tset, check: startup, files: [x], why: w, until: 2027-03-01}]\n", "the dependency group tset, of which gate.groups excepts something, is missing"},
		"groups, as a key": {"dependency-groups:", "groups:", `"groups" is no key of a recipe`},
	} {
		_, err := ParseRecipe("ampoule.yaml", []byte(strings.Replace(groupedRecipe, c.old, c.new, 1)))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestMissingGroupFile(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "ampoule.yaml")
	r, err := ParseRecipe(file, []byte(strings.Replace(groupedRecipe, "requirements: requirements.txt\n", "", 1)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ReadRequirements(r); err == nil || !strings.Contains(err.Error(), file+":10:3: requirements-test.txt does not exist") {
		t.Errorf("got %v", err)
	}
}

// A group that the lock does not answer is told as everything else is, where it is written.
func TestStaleGroups(t *testing.T) {
	t.Parallel()
	reqs, _, base := freshCase(t)
	r, err := ParseRecipe("ampoule.yaml", []byte(groupedRecipe))
	if err != nil {
		t.Fatal(err)
	}
	group := func(text string) map[string]*RequirementSet {
		return map[string]*RequirementSet{"test": requirementsOf(t, text)}
	}
	for name, c := range map[string]struct {
		groups map[string]*RequirementSet
		locked map[string]LockedGroup
		want   string
	}{
		"fresh":    {group("pytest>=8"), map[string]LockedGroup{"test": testGroup()}, ""},
		"changed":  {group("pytest>=9"), map[string]LockedGroup{"test": testGroup()}, "requirements.txt:1:1: the lock answers pytest>=8, not pytest>=9"},
		"added":    {group("pytest>=8\nruff"), map[string]LockedGroup{"test": testGroup()}, "requirements.txt:2:1: the lock does not know ruff"},
		"new":      {group("pytest>=8"), nil, "ampoule.yaml:11:3: the lock does not know the dependency group test"},
		"gone":     {nil, map[string]LockedGroup{"test": testGroup()}, "the lock has the dependency group test, which is written nowhere"},
		"unlisted": {group("pytest>=8 --hash=sha256:" + strings.Repeat("4", 64)), map[string]LockedGroup{"test": {Answers: []string{"pytest>=8 --hash=sha256:" + strings.Repeat("4", 64)}, Requirements: []string{"pytest==8.3.4"}, Dists: testGroup().Dists[:1]}}, "pytest-8.3.4.tar.gz is none of the files whose hashes the requirements give for pytest"},
	} {
		set, l := *reqs, *base
		set.Groups, l.Groups = c.groups, c.locked
		err := CheckFresh(r, &set, &l)
		var faults Faults
		if (err == nil) != (c.want == "") || err != nil && (!strings.Contains(err.Error(), c.want) || !errors.As(err, &faults) || faults[0].Hint != hintStale) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWrongGroupSections(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*LockedGroup)
		want   string
	}{
		"right":          {func(*LockedGroup) {}, ""},
		"a missing dist": {func(g *LockedGroup) { g.Dists = g.Dists[:1] }, "the lock has no dist iniconfig==2.0.0"},
		"an unused dist": {func(g *LockedGroup) { g.Requirements = g.Requirements[:1] }, "nothing uses the dist iniconfig==2.0.0"},
		"a name twice":   {func(g *LockedGroup) { g.Requirements = append(g.Requirements, "flask==3.1.0") }, "flask==3.1.0 and flask==3.1.0 cannot be installed together"},
		"a dist twice":   {func(g *LockedGroup) { g.Dists = append(g.Dists, goodLock().Dists[1]) }, "flask==3.1.0 stands twice in the lock"},
		"no package":     {func(g *LockedGroup) { g.Debian = nil }, "the lock has no package graphviz of bookworm"},
		"a package twice": {func(g *LockedGroup) {
			g.Debian["bookworm"] = append(g.Debian["bookworm"], goodLock().Debian["bookworm"][2])
		}, "bookworm has gcc twice"},
	} {
		l := goodLock()
		g := testGroup()
		c.change(&g)
		l.Groups = map[string]LockedGroup{"test": g}
		_, err := ParseLock("ampoule.lock", l.Encode())
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
