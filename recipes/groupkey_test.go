package recipes

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// aboutGroups are entries of a recipe that are about distributions which groups alone have.
const aboutGroups = "  pytest: {env: {X: y}}\n"

// keyCase is the good lock with a group, and the key of a recipe that has these packages, names
// of pure and acceptances.
func keyCase(t *testing.T, packages, pure, accept string, groups map[string]LockedGroup) string {
	t.Helper()
	text := strings.Replace(groupedRecipe, "pure: [sqlalchemy]\n", packages+"pure: [sqlalchemy"+pure+"]\nbinary:\n  accept:"+accept+"\n", 1)
	text = strings.Replace(text, "accept:\n", "accept: []\n", 1)
	r, err := ParseRecipe("ampoule.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	l := goodLock()
	l.Answers = MakeAnswers(r, &RequirementSet{})
	l.Groups = groups
	return Key(r, l, "linux/amd64", "1", "")
}

// What the recipe says of distributions that only a group has is no part of the artifact's key;
// what it says of the artifact's is.
func TestGroupsOwnEntriesLeaveTheKey(t *testing.T) {
	t.Parallel()
	const group, own = `{match: [pytest, "ini*"], why: w, until: 2999-01-01}`, `{match: [flask], why: w, until: 2999-01-01}`
	list := func(items ...string) string { return " [" + strings.Join(items, ", ") + "]" }
	groups := map[string]LockedGroup{"test": testGroup()}
	for name, c := range map[string]struct {
		packages, pure, accept string
		groups                 map[string]LockedGroup
		base                   string
		same                   bool
	}{
		"packages":                   {aboutGroups, "", list(own), groups, list(own), true},
		"packages, without groups":   {aboutGroups, "", list(own), nil, list(own), false},
		"packages of the artifact":   {"  flask: {env: {X: y}}\n", "", list(own), groups, list(own), false},
		"packages of a build":        {"  setuptools: {env: {X: y}}\n", "", list(own), groups, list(own), false},
		"pure":                       {"", ", pytest", list(own), groups, list(own), true},
		"pure of the artifact":       {"", ", flask", list(own), groups, list(own), false},
		"accepted":                   {"", "", list(own, group), groups, list(own), true},
		"accepted, before the own":   {"", "", list(group, own), groups, list(own), true},
		"accepted beside the own":    {"", "", list(`{match: [flask, pytest], why: w, until: 2999-01-01}`), groups, list(own), true},
		"accepted, without groups":   {"", "", list(own, group), nil, list(own), false},
		"everything accepted":        {"", "", list(own, `{match: ["*"], why: w, until: 2999-01-01}`), groups, list(own), false},
		"accepted, and nothing else": {"", "", list(group), groups, list(), true},
	} {
		base, got := keyCase(t, "", "", c.base, c.groups), keyCase(t, c.packages, c.pure, c.accept, c.groups)
		if (base == got) != c.same {
			t.Errorf("%s: the key is the same: %t", name, base == got)
		}
	}
}

// A group's key has the acceptances that only it needs, and is what it was without.
func TestGroupKeyHasItsAcceptances(t *testing.T) {
	t.Parallel()
	key := func(accept string) string {
		r, err := ParseRecipe("ampoule.yaml", []byte(groupedRecipe+"binary:\n  accept: ["+accept+"]\n"))
		if err != nil {
			t.Fatal(err)
		}
		l := goodLock()
		l.Groups = map[string]LockedGroup{"test": testGroup(), "lint": {}}
		return GroupKey(r, l, "test", digest, "1") + " " + GroupKey(r, l, "lint", digest, "1")
	}
	none, own, group, later := key(""), key(`{match: [flask], why: w, until: 2999-01-01}`), key(`{match: [pytest], why: w, until: 2999-01-01}`), key(`{match: [pytest], why: w, until: 2999-01-02}`)
	if none != own {
		t.Error("an acceptance of the artifact changes a group's key")
	}
	if strings.Fields(none)[0] == strings.Fields(group)[0] || strings.Fields(group)[0] == strings.Fields(later)[0] {
		t.Error("an acceptance of the group changes nothing of its key")
	}
	if strings.Fields(none)[1] != strings.Fields(group)[1] {
		t.Error("an acceptance of another group changes a key")
	}
}

// A group's libraries stand in its section, and lie beside the artifact's.
func TestGroupLibraries(t *testing.T) {
	t.Parallel()
	l := goodLock()
	section := testGroup()
	section.Libraries = &LockedLibraries{Names: []string{"graphviz"}, Packages: []string{"graphviz"}, Overrides: []Applied{{Name: "pytest", Revision: "1", Why: "it draws"}}}
	l.Groups = map[string]LockedGroup{"test": section}
	read, err := ParseLock("ampoule.lock", l.Encode())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(section.Libraries, read.With("test").Libraries); diff != "" || read.Libraries != nil {
		t.Errorf("(-want +got):\n%s", diff)
	}
	read.Libraries = &LockedLibraries{Names: []string{"libpq5"}, Packages: []string{"libpq5"}}
	if both := read.With("test").Libraries; !slices.Equal(both.Names, []string{"graphviz", "libpq5"}) || !slices.Equal(both.Packages, both.Names) || len(both.Overrides) != 1 {
		t.Errorf("both are %+v", both)
	}
}

const groupsToml = `[project]
name = "Demo"

[project.optional-dependencies]
async = ["trio"]
all = ["demo[async]", "click>=8"]

[dependency-groups]
Test = ["pytest>=8", {include-group = "cover"}]
cover = ["coverage"]
loop = [{include-group = "Loop"}]
two = ["a"]
Two = ["b"]
odd = [{path = "x"}]
address = ["x @ https://x.invalid/x.whl"]
`

// Groups include groups, in the recipe and in the table of a pyproject.toml.
func TestIncludedGroups(t *testing.T) {
	t.Parallel()
	dir := writeFiles(t, map[string]string{"pyproject.toml": groupsToml})
	for name, c := range map[string]struct {
		groups string
		want   []string
		fault  string
	}{
		"in the recipe":      {"{test: [{include-group: base}, pytest], base: [six]}", []string{"pytest", "six"}, ""},
		"itself":             {"{test: [{include-group: test}]}", nil, "ampoule.yaml:6:44: test includes itself: test → test"},
		"in a circle":        {"{test: [{include-group: base}], base: [{include-group: test}]}", nil, "includes itself: test → base → test"},
		"one that is not":    {"{test: [{include-group: bsae}], base: [six]}", nil, `there is no dependency group bsae to include`},
		"no name":            {"{test: [{include-group: [base]}], base: [six]}", nil, "dependency-groups.test is text, not a list"},
		"another key":        {"{test: [{include: base}], base: [six]}", nil, "dependency-groups.test[0] is text, not a mapping"},
		"of a table":         {"{test: pyproject.toml}", []string{"coverage", "pytest>=8"}, ""},
		"by its name there":  {"{mine: {file: pyproject.toml, groups: [test]}}", []string{"coverage", "pytest>=8"}, ""},
		"an extra":           {"{test: {file: pyproject.toml, extras: [all]}}", []string{"click>=8", "trio"}, ""},
		"both":               {"{test: {file: pyproject.toml, groups: [cover], extras: [async]}}", []string{"coverage", "trio"}, ""},
		"included":           {"{test: [{include-group: cover}], cover: pyproject.toml}", []string{"coverage"}, ""},
		"no group":           {"{lint: pyproject.toml}", nil, "pyproject.toml has no dependency group lint"},
		"no extra":           {"{test: {file: pyproject.toml, extras: [asink]}}", nil, "pyproject.toml has no extra asink"},
		"a circle there":     {"{loop: pyproject.toml}", nil, "pyproject.toml:11:26: dependency group loop includes itself"},
		"two of one name":    {"{two: pyproject.toml}", nil, "two is the name of two dependency groups: Two, two"},
		"another item":       {"{odd: pyproject.toml}", nil, "dependency group odd has an item that is neither"},
		"an address":         {"{address: pyproject.toml}", nil, "pyproject.toml:15:12: x is required from a URL"},
		"not there":          {"{test: sub/pyproject.toml}", nil, "sub/pyproject.toml does not exist"},
		"no file for itself": {"{}\nrequirements: pyproject.toml", nil, `requirements: "pyproject.toml" is not a requirements file`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text := "apiVersion: ampoule/v1\nname: web\npython: {version: 3.13.5}\nbase: {debian: bookworm}\nruntime: {vm: {glibc: \"2.36\"}}\ndependency-groups: " + c.groups + "\n"
			r, err := ParseRecipe(filepath.Join(dir, "ampoule.yaml"), []byte(text))
			var set *RequirementSet
			if err == nil {
				set, err = ReadRequirements(r)
			}
			if c.fault != "" {
				if err == nil || !strings.Contains(err.Error(), c.fault) {
					t.Errorf("got %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			name := slices.Sorted(maps.Keys(set.Groups))[len(set.Groups)-1]
			if diff := cmp.Diff(c.want, MakeGroupAnswers(set.Groups[name])); diff != "" {
				t.Errorf("group %s (-want +got):\n%s", name, diff)
			}
		})
	}
}

// The table is foreign: whatever stands there is read or refused.
func FuzzGroupsFile(f *testing.F) {
	f.Add(groupsToml)
	f.Fuzz(func(t *testing.T, text string) {
		dir := writeFiles(t, map[string]string{"pyproject.toml": text})
		r, err := ParseRecipe(filepath.Join(dir, "ampoule.yaml"), []byte("apiVersion: ampoule/v1\nname: web\npython: {version: 3.13.5}\nbase: {debian: bookworm}\nruntime: {vm: {glibc: \"2.36\"}}\ndependency-groups: {test: pyproject.toml}\n"))
		if err != nil {
			t.Fatal(err)
		}
		if set, err := ReadRequirements(r); err == nil && set.Groups["test"] == nil {
			t.Error("a group that is neither read nor refused")
		}
	})
}
