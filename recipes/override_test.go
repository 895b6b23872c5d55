package recipes

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"ampoule/packaging"
)

// Overrides of distributions that there are only in these tests.
var testOverrides = map[string]string{
	"test-native.yaml": `apiVersion: ampoule/v1
name: test-native
revision: 7
rules:
  - why: everywhere
    build: [libb-dev, liba-dev]
    requires: ["setuptools<70", numpy]
    env: {A: one, B: one}
    config-settings: {setup-args: [-Da=1], builddir: one}
    patches: [test-native-1.patch]
  - why: versions 2
    versions: ">=2,<3"
    requires: ["Setuptools<75"]
    env: {B: two}
  - why: bookworm
    suites: [bookworm]
    build: [libc-dev, liba-dev]
  - why: new Pythons
    pythons: ">=3.13"
    config-settings: {builddir: two}
    patches: [test-native-2.patch]
  - why: an old Debian
    suites: [bullseye]
    limit: "<3"
`,
	"test-tool.yaml": `apiVersion: ampoule/v1
name: test-tool
revision: 1
rules: [{why: a program, suites: [bookworm, trixie], binary: tool}, {why: pure, suites: [bullseye], binary: pure}]
`,
}

func TestMain(m *testing.M) {
	for file, text := range testOverrides {
		o, err := ParseOverride(file, []byte(text))
		if err != nil {
			panic(err)
		}
		ShippedOverrides()[o.Name] = o
	}
	os.Exit(m.Run())
}

// shipped reads the files of recipes/overrides.
func shipped(t *testing.T) (overrides []*Override, patches []string) {
	t.Helper()
	entries, err := fs.ReadDir(overrideFiles, "overrides")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		switch path.Ext(e.Name()) {
		case ".yaml":
			file := "overrides/" + e.Name()
			data, err := overrideFiles.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			o, err := ParseOverride(file, data)
			if err != nil {
				t.Errorf("%v", err)
				continue
			}
			overrides = append(overrides, o)
		case ".patch", ".diff":
			patches = append(patches, e.Name())
		default:
			t.Errorf("overrides/%s is neither an override nor a patch", e.Name())
		}
	}
	return overrides, patches
}

func TestShippedOverrides(t *testing.T) {
	t.Parallel()
	overrides, patches := shipped(t)
	if len(overrides) < 30 {
		t.Errorf("only %d overrides", len(overrides))
	}
	used := map[string]bool{}
	for _, o := range overrides {
		known := ShippedOverrides()[o.Name]
		if diff := cmp.Diff(o, known); diff != "" {
			t.Errorf("%s (-file +shipped):\n%s", o.Name, diff)
		}
		for _, rule := range o.Rules {
			for _, patch := range rule.Patches {
				used[patch] = true
				if data, err := ShippedPatch("overrides/" + patch); err != nil || !strings.Contains(string(data), "\n+++ ") {
					t.Errorf("%s: patch %s: %v", o.Name, patch, err)
				}
			}
		}
		checkContradictions(t, o)
	}
	for _, patch := range patches {
		if !used[patch] {
			t.Errorf("no override uses %s", patch)
		}
	}
	if len(ShippedOverrides()) != len(overrides)+len(testOverrides) {
		t.Errorf("%d overrides ship, there are %d files", len(ShippedOverrides()), len(overrides))
	}
}

var versionText = regexp.MustCompile(`[0-9][0-9a-z.]*`)

// around lists versions at and between the bounds of specifiers.
func around(specifiers []string) []string {
	versions := []string{"0.0.1", "1.0", "999"}
	for _, s := range specifiers {
		for _, v := range versionText.FindAllString(s, -1) {
			v = strings.Trim(v, ".")
			versions = append(versions, v, v+".0.1")
		}
	}
	return versions
}

// checkContradictions wants the rules of an override that hold together to set no
// value twice, differently, and each rule to hold somewhere.
func checkContradictions(t *testing.T, o *Override) {
	t.Helper()
	var specifiers []string
	for _, rule := range o.Rules {
		specifiers = append(specifiers, rule.Versions)
	}
	held := map[int]bool{}
	for _, place := range allPlaces() {
		for _, version := range around(specifiers) {
			said := map[string]string{}
			say := func(what, value string) {
				if other, ok := said[what]; ok && other != value {
					t.Errorf("%s %s on %+v: %s is %s and %s", o.Name, version, place, what, other, value)
				}
				said[what] = value
			}
			for i, rule := range o.Rules {
				if !place.holds(rule) || !meets(version, rule.Versions) {
					continue
				}
				held[i] = true
				for name, value := range rule.Env {
					say("env "+name, value)
				}
				for name, value := range rule.ConfigSettings {
					say("setting "+name, value.String())
				}
				for _, text := range rule.Requires {
					say("requirement "+packaging.RequiredName(text), text)
				}
				for _, patch := range rule.Patches {
					say("patch "+patch, o.Rules[i].Why)
				}
				if rule.Limit != "" {
					say("limit", rule.Limit)
				}
				if rule.Binary != "" {
					say("binary", rule.Binary)
				}
			}
		}
	}
	for i := range o.Rules {
		if !held[i] {
			t.Errorf("%s: rules[%d] holds nowhere", o.Name, i)
		}
	}
}

func allPlaces() []Place {
	var places []Place
	for _, suite := range suiteNames() {
		for _, python := range []string{"3.11.9", "3.12.8", "3.13.5", "3.14.0"} {
			places = append(places, Place{Suite: suite, Python: python})
		}
	}
	return places
}

func TestParseOverrideFaults(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ rule, want string }{
		"other file":     {"{why: x, build: [gcc]}", "b.yaml:2:7: b.yaml holds the override of a"},
		"nothing":        {"{why: x, suites: [bookworm]}", "a.yaml:4:9: rules[0] says nothing but why"},
		"limit at some":  {`{why: x, limit: "<2", versions: ">1"}`, "a.yaml:4:9: rules[0] has versions, which decide nothing"},
		"tool at some":   {`{why: x, binary: tool, versions: ">1"}`, "a.yaml:4:9: rules[0] has versions, which decide nothing"},
		"limit and more": {`{why: x, limit: "<2", build: [gcc]}`, "a.yaml:4:9: rules[0] says several things"},
		"both":           {`{why: x, limit: "<2", binary: tool}`, "a.yaml:4:9: rules[0] says several things"},
		"no why":         {`{build: [gcc]}`, "a.yaml:4:9: rules[0].why is missing"},
		"unknown":        {`{why: x, biuld: [gcc]}`, `"biuld" is no key of rules[0]`},
		"suite":          {`{why: x, build: [gcc], suites: [sarge]}`, `"sarge" is not a Debian suite`},
		"versions":       {`{why: x, build: [gcc], versions: "1.0"}`, `"1.0" is not version specifiers`},
		"binary":         {`{why: x, binary: any}`, `"any" is not a kind of wheel`},
		"patch":          {`{why: x, patches: [../a.patch]}`, `"../a.patch" is not a file`},
	} {
		file := "a.yaml"
		if name == "other file" {
			file = "b.yaml"
		}
		_, err := ParseOverride(file, []byte("apiVersion: ampoule/v1\nname: a\nrevision: 1\nrules: ["+c.rule+"]\n"))
		if _, ok := errors.AsType[Faults](err); !ok || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	if _, err := ShippedPatch("overrides/none.patch"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a patch that does not ship: %v", err)
	}
}

// recipeWith is a good recipe with other packages, and more below them.
func recipeWith(t *testing.T, packages string) *Recipe {
	t.Helper()
	r, err := ParseRecipe("ampoule.yaml", []byte(strings.Replace(goodRecipe, "  psycopg2: {build: [libpq-dev]}\n", packages, 1)))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestBuilding(t *testing.T) {
	t.Parallel()
	const other = "  psycopg2: {build: [libpq-dev]}\n"
	everywhere := Settings{
		Build: []string{"liba-dev", "libb-dev"}, Requires: []string{"numpy", "setuptools<70"}, Env: map[string]string{"A": "one", "B": "one"},
		ConfigSettings: map[string]Setting{"setup-args": {List: []string{"-Da=1"}}, "builddir": {Text: "one"}}, Patches: []string{"overrides/test-native-1.patch"},
	}
	with := func(change func(*Settings)) Settings {
		s := everywhere
		s.Env, s.ConfigSettings = maps.Clone(s.Env), maps.Clone(s.ConfigSettings)
		change(&s)
		return s
	}
	for name, c := range map[string]struct {
		packages, version string
		at                Place
		want              Settings
		applied           string
	}{
		"no condition holds": {other, "1.0", Place{"trixie", "3.12.8"}, everywhere, "everywhere"},
		"versions": {other, "2.5", Place{"trixie", "3.12.8"}, with(func(s *Settings) {
			s.Requires, s.Env["B"] = []string{"Setuptools<75", "numpy"}, "two"
		}), "everywhere, versions 2"},
		"beyond versions": {other, "3.0", Place{"trixie", "3.12.8"}, everywhere, "everywhere"},
		"pre-release":     {other, "2.5rc1", Place{"trixie", "3.12.8"}, with(func(s *Settings) { s.Requires, s.Env["B"] = []string{"Setuptools<75", "numpy"}, "two" }), "everywhere, versions 2"},
		"suite": {other, "1.0", Place{"bookworm", "3.12.8"}, with(func(s *Settings) {
			s.Build = []string{"liba-dev", "libb-dev", "libc-dev"}
		}), "everywhere, bookworm"},
		"Python": {other, "1.0", Place{"trixie", "3.13.5"}, with(func(s *Settings) {
			s.ConfigSettings["builddir"] = Setting{Text: "two"}
			s.Patches = []string{"overrides/test-native-1.patch", "overrides/test-native-2.patch"}
		}), "everywhere, new Pythons"},
		// What limits say is told by Limits.
		"limit": {other, "1.0", Place{"bullseye", "3.12.8"}, everywhere, "everywhere"},
		"recipe over it": {"  test-native: {build: [libd-dev, liba-dev], requires: [setuptools>=80, wheel], env: {B: mine, C: mine}, config-settings: {builddir: [x, y], setup-args: [-Db=2]}, patches: [a.patch]}\n",
			"1.0", Place{"trixie", "3.12.8"}, Settings{
				Build: []string{"liba-dev", "libb-dev", "libd-dev"}, Requires: []string{"numpy", "setuptools>=80", "wheel"}, Env: map[string]string{"A": "one", "B": "mine", "C": "mine"},
				ConfigSettings: map[string]Setting{"setup-args": {List: []string{"-Da=1", "-Db=2"}}, "builddir": {List: []string{"x", "y"}}},
				Patches:        []string{"overrides/test-native-1.patch", "a.patch"},
			}, "everywhere"},
		"left out": {"  test-native: {overrides: none, env: {C: mine}}\n", "2.5", Place{"bookworm", "3.13.5"}, Settings{Env: map[string]string{"C": "mine"}}, ""},
	} {
		got, applied := recipeWith(t, c.packages).Building("test-native", c.version, c.at)
		if diff := cmp.Diff(c.want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		var whys []string
		for _, a := range applied {
			whys = append(whys, a.Why)
			if a.Name != "test-native" || a.Revision != "7" {
				t.Errorf("%s: applied %+v", name, a)
			}
		}
		if strings.Join(whys, ", ") != c.applied {
			t.Errorf("%s: applied %q, want %q", name, whys, c.applied)
		}
	}
	if got := ShippedOverrides()["test-native"].Rules; got[0].Patches[0] != "test-native-1.patch" || got[0].Env["B"] != "one" || got[0].Requires[0] != "setuptools<70" {
		t.Errorf("the override itself was changed: %+v", got)
	}
	got, applied := parseGood(t).Building("unheard-of", "1.0", Place{"trixie", "3.13.5"})
	if !got.empty() || len(applied) > 0 {
		t.Errorf("what nobody knows: %+v, %v", got, applied)
	}
}

func TestBuildWheel(t *testing.T) {
	t.Parallel()
	none := recipeWith(t, "  test-tool: {overrides: none}\n")
	at := Place{"bookworm", "3.13.5"}
	for name, c := range map[string]struct {
		recipe *Recipe
		name   string
		at     Place
		want   string
	}{
		"tool":           {parseGood(t), "test-tool", at, BuildTool},
		"elsewhere":      {parseGood(t), "test-tool", Place{"bullseye", "3.13.5"}, PureWheel},
		"left out":       {none, "test-tool", at, ""},
		"not a tool":     {parseGood(t), "test-native", at, ""},
		"not known":      {parseGood(t), "unheard-of", at, ""},
		"one that ships": {parseGood(t), "ninja", at, BuildTool},
	} {
		if got := c.recipe.BuildWheel(c.name, c.at); got != c.want {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	limits := func(r *Recipe, suite string) []Limit {
		all := r.Limits(Place{suite, "3.13.5"})
		if !slices.IsSortedFunc(all, func(a, b Limit) int { return strings.Compare(a.Name, b.Name) }) {
			t.Errorf("limits are not sorted: %v", all)
		}
		return slices.DeleteFunc(all, func(l Limit) bool { return l.Name != "test-native" })
	}
	want := []Limit{{Applied{"test-native", "7", "an old Debian"}, "test-native<3"}}
	if diff := cmp.Diff(want, limits(parseGood(t), "bullseye")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := limits(parseGood(t), "bookworm"); len(got) > 0 {
		t.Errorf("elsewhere: %v", got)
	}
	if got := limits(recipeWith(t, "  test-native: {overrides: none}\n"), "bullseye"); len(got) > 0 {
		t.Errorf("left out: %v", got)
	}
	// What is taken as it is published need not be built there.
	accepts, err := ParseRecipe("ampoule.yaml", []byte(strings.Replace(goodRecipe, "pure:", strings.Replace(accepting, "onnxruntime", "test-native", 1), 1)))
	if err != nil {
		t.Fatal(err)
	}
	if got := limits(accepts, "bullseye"); len(got) > 0 {
		t.Errorf("accepted: %v", got)
	}
	for _, place := range allPlaces() {
		for _, l := range parseGood(t).Limits(place) {
			if r, err := parseRequirement(l.Spec); err != nil || r.Name != l.Name || r.Spec != l.Spec {
				t.Errorf("%+v: %q is no constraint of %s", place, l.Spec, l.Name)
			}
		}
	}
}

// What overrides add to build requirements agrees with what releases declare themselves:
// a version has to be there that both admit.
func TestAddedFitsDeclared(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("testdata/declared.txt")
	if err != nil {
		t.Fatal(err)
	}
	version := regexp.MustCompile(`[0-9]+(\.[0-9]+)*`)
	compared := 0
	for line := range strings.Lines(string(data)) {
		fields := strings.Fields(line)
		if strings.HasPrefix(line, "#") || len(fields) != 3 {
			continue
		}
		declared, wrong := parseRequirement(fields[2])
		if wrong != nil {
			t.Fatalf("%s: %s", line, wrong.what)
		}
		for _, added := range parseGood(t).Added(fields[0], fields[1], Place{"bookworm", "3.13.5"}) {
			if packaging.NormalName(packaging.RequiredName(added.Spec)) != declared.Name {
				continue
			}
			compared++
			rangeOf := func(spec string) string { return strings.TrimPrefix(spec, packaging.RequiredName(spec)) }
			candidates := append(version.FindAllString(rangeOf(added.Spec)+" "+rangeOf(declared.Spec), -1), "0.29.37")
			if !slices.ContainsFunc(candidates, func(v string) bool { return meets(v, rangeOf(added.Spec)) && meets(v, rangeOf(declared.Spec)) }) {
				t.Errorf("%s %s declares %s, and its override adds %s: %s", fields[0], fields[1], declared.Spec, added.Spec, added.Why)
			}
		}
	}
	if compared < 9 {
		t.Errorf("%d additions were compared", compared)
	}
}

const accepting = `binary:
  accept:
    - {match: [onnxruntime, "nvidia-*"], why: no sdist, until: 2027-03-01}
    - match: ["nvidia-cu??"]
      why: another
      until: 2026-01-31
pure:`

func TestAccepted(t *testing.T) {
	t.Parallel()
	r, err := ParseRecipe("ampoule.yaml", []byte(strings.Replace(goodRecipe, "pure:", accepting, 1)))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"onnxruntime": "no sdist", "onnxruntime-gpu": "", "nvidia-cublas": "no sdist", "nvidia-cu12": "no sdist", "nvidia": "", "my-nvidia-x": "", "": "",
	} {
		a, ok := r.Accepted(name)
		if ok != (want != "") || a.Why != want {
			t.Errorf("%s: %+v, %t", name, a, ok)
		}
	}
	if _, ok := parseGood(t).Accepted("onnxruntime"); ok {
		t.Error("a recipe that accepts nothing accepts it")
	}
}

func TestCheckAcceptances(t *testing.T) {
	t.Parallel()
	r, err := ParseRecipe("ampoule.yaml", []byte(strings.Replace(goodRecipe, "pure:", accepting, 1)))
	if err != nil {
		t.Fatal(err)
	}
	first := "ampoule.yaml:14:64: the acceptance of onnxruntime, nvidia-* ended with 2027-03-01"
	second := "ampoule.yaml:17:14: the acceptance of nvidia-cu?? ended with 2026-01-31"
	for today, want := range map[string]string{
		"2026-01-31": "", "2026-02-01": second, "2027-03-01": second, "2027-03-02": first + "\n" + second,
	} {
		err := r.CheckAcceptances(today)
		faults, _ := errors.AsType[Faults](err)
		if got := faults.Error(); got != want || (err == nil) != (want == "") {
			t.Errorf("%s: %v, want %s", today, err, want)
		}
		if err != nil && faults.Hint() == "" {
			t.Errorf("%s: no hint", today)
		}
	}
}

func TestSpecifiers(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", " ", ",", "1.0", "=1.0", "*", ">1||<2", ">=1 <2", ">=x", "~=1", ">=1.*", "<2;python_version>'3'"} {
		if areSpecifiers(text) {
			t.Errorf("%q is taken for specifiers", text)
		}
	}
	for _, c := range []struct {
		version, specifiers string
		want                bool
	}{
		{"1.0", "", true}, {"junk", "", true}, {"junk", ">=0", false},
		{"1.9", ">=1.9", true}, {"1.8.9", ">=1.9", false}, {"1.10", ">=1.9", true}, {"2.0", ">=1.9,<2", false}, {"1.99", " >= 1.9 , < 2 ", true},
		{"3.2.2.1", "==3.2.2.*", true}, {"3.2.3", "==3.2.2.*", false}, {"3.2", "!=3.2.*", false}, {"1.4.5", "~=1.4.2", true}, {"1.5", "~=1.4.2", false},
		{"2.0rc1", ">=1.9", true}, {"2.0rc1", ">=2", false}, {"2.0rc1", "<2", false}, {"2.0rc1", "<2,", false}, {"1!1.0", ">=1!0", true}, {"1!1.0", "<2", false}, {"1.0", "===1.0", true},
		{"3.13.5", ">=3.13", true}, {"3.14.0rc2", ">=3.13", true},
	} {
		if c.specifiers != "" && !areSpecifiers(c.specifiers) {
			t.Errorf("%q is not taken for specifiers", c.specifiers)
		}
		if got := meets(c.version, c.specifiers); got != c.want {
			t.Errorf("%s meets %q: %t", c.version, c.specifiers, got)
		}
	}
}
