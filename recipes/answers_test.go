package recipes

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// freshCase is a recipe, a requirements file and a lock that answers them.
func freshCase(t *testing.T) (*RequirementSet, *Recipe, *Lock) {
	t.Helper()
	r := parseGood(t)
	reqs := requirementsOf(t, "flask>=3\npsycopg2; os_name == 'posix'\n-c werkzeug<4\n")
	l := goodLock()
	l.Answers = MakeAnswers(r, reqs)
	l, err := ParseLock("ampoule.lock", l.Encode())
	if err != nil {
		t.Fatal(err)
	}
	return reqs, r, l
}

// requirementsOf reads lines of a requirements file; "-c " makes a constraint.
func requirementsOf(t *testing.T, text string) *RequirementSet {
	t.Helper()
	set := &RequirementSet{}
	for _, line := range logicalLines(text) {
		rest, constraint := strings.CutPrefix(line.text, "-c ")
		spec, hashes, wrong := splitHashes(rest)
		if wrong != nil {
			t.Fatal(wrong.what)
		}
		q, wrong := parseRequirement(spec)
		if wrong != nil {
			t.Fatal(wrong.what)
		}
		q.Hashes, q.Constraint, q.Position = hashes, constraint, Position{"requirements.txt", line.number, line.column}
		set.Requirements = append(set.Requirements, q)
		set.RequireHashes = set.RequireHashes || len(hashes) > 0
	}
	return set
}

func TestMakeAnswers(t *testing.T) {
	t.Parallel()
	reqs, r, _ := freshCase(t)
	want := Answers{
		Recipe: []string{
			"base.debian: bookworm", "packages.psycopg2.build: libpq-dev", "pure: sqlalchemy", "python.version: 3.13.5",
			"runtime.container.base.debian: bookworm", "runtime.vm.glibc: 2.36", "toolchain.packages: gdb",
		},
		Requirements: []string{"-c werkzeug<4", "flask>=3", `psycopg2; os_name == "posix"`},
	}
	if diff := cmp.Diff(want, MakeAnswers(r, reqs)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestCheckFresh(t *testing.T) {
	t.Parallel()
	h1, h2 := " --hash=sha256:"+hash, " --hash=sha256:"+strings.Repeat("1", 64)
	const reqs = "flask>=3\npsycopg2; os_name == 'posix'\n-c werkzeug<4\n"
	cases := map[string]struct {
		old, new string
		reqs     string
		want     []string
	}{
		"nothing":            {"", "", reqs, nil},
		"formatting":         {"base: {debian: bookworm}\nt", "base:\n  # why\n  debian: \"bookworm\"\nt", "psycopg2 ;os_name=='posix'\n# c\n-c Werkzeug < 4\n\nFlask >=3\n", nil},
		"what locks nothing": {"[--enable-optimizations, --with-lto]", "[]", reqs, nil},
		"name and tests":     {"imports: [flask, psycopg2]", "imports: []", reqs, nil},
		"version":            {"3.13.5", "3.13.15", reqs, []string{"ampoule.yaml:4:12: the lock answers python.version: 3.13.5, not python.version: 3.13.15"}},
		"hash":               {"  optional", "  sha256: " + hash + "\n  optional", reqs, []string{"ampoule.yaml:6:11: the lock does not know python.sha256: " + hash}},
		"base":               {"base: {debian: bookworm}\nt", "base: {debian: trixie}\nt", reqs, []string{"ampoule.yaml:7:16: the lock answers base.debian: bookworm, not base.debian: trixie"}},
		"package added":      {"[gdb]", "[gdb, cmake]", reqs, []string{"ampoule.yaml:8:29: the lock does not know toolchain.packages: cmake"}},
		"package removed":    {"[gdb]", "[]", reqs, []string{`ampoule.lock:11:7: the lock answers toolchain.packages: gdb, which is written nowhere`}},
		"extra package":      {"psycopg2: {build: [libpq-dev]}", "psycopg2: {build: [libpq-dev]}\n  lxml: {build: [libxml2-dev]}", reqs, []string{"ampoule.yaml:12:18: the lock does not know packages.lxml.build: libxml2-dev"}},
		"pure":               {"[sqlalchemy]", "[sqlalchemy, flask]", reqs, []string{"ampoule.yaml:12:20: the lock does not know pure: flask"}},
		"target removed":     {"  container: {base: {debian: bookworm}}\n", "", reqs, []string{"ampoule.lock:9:7: the lock answers runtime.container.base.debian: bookworm, which is written nowhere"}},
		"requirement added":  {"", "", reqs + "click", []string{"requirements.txt:4:1: the lock does not know click"}},
		"requirement changed": {"", "", strings.Replace(reqs, "flask>=3", "\nflask>=3.1", 1), []string{
			"requirements.txt:2:1: the lock answers flask>=3, not flask>=3.1"}},
		"requirement removed": {"", "", "flask>=3\n-c werkzeug<4", []string{`ampoule.lock:15:7: the lock answers psycopg2; os_name == "posix", which is written nowhere`}},
		"constraint to requirement": {"", "", strings.Replace(reqs, "-c werkzeug", "werkzeug", 1), []string{
			"ampoule.lock:13:7: the lock answers -c werkzeug<4", "requirements.txt:3:1: the lock does not know werkzeug<4"}},
		"hashes added": {"", "", strings.Replace(reqs, "flask>=3", "flask>=3"+h1+h2, 1), []string{
			"requirements.txt:1:1: the lock answers flask>=3, not flask>=3 with sha256:0123456789ab… sha256:111111111111…"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, _, l := freshCase(t)
			r, err := ParseRecipe("ampoule.yaml", []byte(strings.Replace(goodRecipe, c.old, c.new, 1)))
			if err != nil {
				t.Fatal(err)
			}
			err = CheckFresh(r, requirementsOf(t, c.reqs), l)
			faults, _ := errors.AsType[Faults](err)
			if len(faults) != len(c.want) || (err == nil) != (len(c.want) == 0) {
				t.Fatalf("got %v, want %v", err, c.want)
			}
			for i, want := range c.want {
				if got := faults[i].String(); !strings.HasPrefix(got, want) || faults[i].Hint != "run `ampoule lock`" {
					t.Errorf("got %s (%s), want %s", got, faults[i].Hint, want)
				}
			}
		})
	}
}

// TestLockAgainstItsAnswers changes what is locked behind the answers' back.
func TestLockAgainstItsAnswers(t *testing.T) {
	t.Parallel()
	reqs, r, l := freshCase(t)
	l.Python.Version = "3.13.4"
	if err := CheckFresh(r, reqs, l); err == nil || !strings.Contains(err.Error(), "ampoule.lock:") || !strings.Contains(err.Error(), "the lock has CPython 3.13.4") {
		t.Errorf("got %v", err)
	}
	_, r, l = freshCase(t)
	reqs = requirementsOf(t, "flask --hash=sha256:"+strings.Repeat("1", 64)+"\npsycopg2 --hash=sha256:"+strings.Repeat("2", 64))
	l.Answers = MakeAnswers(r, reqs)
	err := CheckFresh(r, reqs, l)
	if err == nil || !strings.Contains(err.Error(), "psycopg2-2.9.10.tar.gz is none of the files") || strings.Contains(err.Error(), "flask-3") {
		t.Errorf("got %v", err)
	}
}

const settledPackages = `psycopg2:
    build: [libpq-dev]
    requires: ["setuptools<81"]
    env: {LIBPQ_DIR: /usr}
    config-settings: {setup-args: [-Dx=y], builddir: b}
    patches: [patches/a.patch]
  lxml: {overrides: none}
binary:
  accept: [{match: [onnxruntime], why: no sdist, until: 2027-03-01}]
`

// settled reads a good recipe with every setting of packages, one text replaced.
func settled(t *testing.T, old, new string) *Recipe {
	t.Helper()
	text := strings.Replace(goodRecipe, "psycopg2: {build: [libpq-dev]}\n", settledPackages, 1)
	if !strings.Contains(text, old) {
		t.Fatalf("the recipe has no %q", old)
	}
	r, err := ParseRecipe("ampoule.yaml", []byte(strings.Replace(text, old, new, 1)))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// patchedBy are requirements with the content of patches/a.patch.
func patchedBy(content string) *RequirementSet {
	return &RequirementSet{Patches: map[string][]byte{"patches/a.patch": []byte(content), "patches/b.patch": []byte(content)}}
}

// TestSettingsAreAnswered holds that each setting of packages is of the lock, and that
// a change of one makes it stale at its own line.
func TestSettingsAreAnswered(t *testing.T) {
	t.Parallel()
	const p, x = "packages.psycopg2.", "sha256:2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
	answers := MakeAnswers(settled(t, "", ""), patchedBy("x"))
	var got []string
	for _, line := range answers.Recipe {
		if strings.HasPrefix(line, "packages.") || strings.HasPrefix(line, "binary.") {
			got = append(got, line)
		}
	}
	if diff := cmp.Diff([]string{
		"binary.accept.0.match: onnxruntime", "packages.lxml.overrides: none", p + "build: libpq-dev", p + "config-settings.builddir: b",
		p + `config-settings.setup-args: ["-Dx=y"]`, p + `env.LIBPQ_DIR: "/usr"`, p + "patches: patches/a.patch " + x, p + "requires: setuptools<81",
	}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	l := goodLock()
	l.Answers = answers
	l, err := ParseLock("ampoule.lock", l.Encode())
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		old, new, patch string
		want            []string
	}{
		"nothing":              {"", "", "x", nil},
		"why and how long":     {"why: no sdist, until: 2027-03-01", "why: another, until: 2028-03-01", "x", nil},
		"build":                {"[libpq-dev]", "[libpq5]", "x", []string{"ampoule.yaml:12:13: the lock answers " + p + "build: libpq-dev, not " + p + "build: libpq5"}},
		"requires":             {`["setuptools<81"]`, `["setuptools<81", wheel]`, "x", []string{"ampoule.yaml:13:33: the lock does not know " + p + "requires: wheel"}},
		"environment":          {"/usr}", "/opt}", "x", []string{`ampoule.yaml:14:11: the lock answers ` + p + `env.LIBPQ_DIR: "/usr", not ` + p + `env.LIBPQ_DIR: "/opt"`}},
		"environment, more":    {"/usr}", "/usr, B: c}", "x", []string{"ampoule.yaml:14:28: the lock does not know " + p + `env.B: "c"`}},
		"setting":              {"builddir: b", "builddir: c", "x", []string{"ampoule.yaml:15:44: the lock answers " + p + "config-settings.builddir: b, not " + p + "config-settings.builddir: c"}},
		"setting made a list":  {"builddir: b", "builddir: [b]", "x", []string{"ampoule.yaml:15:44: the lock answers " + p + "config-settings.builddir: b, not " + p + "config-settings.builddir: [b]"}},
		"setting's list":       {"[-Dx=y]", "[-Dx=z]", "x", []string{"ampoule.yaml:15:23: the lock answers " + p + "config-settings.setup-args:"}},
		"patch":                {"a.patch", "b.patch", "x", []string{"ampoule.yaml:16:5: the lock answers " + p + "patches: patches/a.patch " + x}},
		"content of a patch":   {"", "", "y", []string{"ampoule.yaml:16:5: the lock answers " + p + "patches: patches/a.patch " + x + ", not " + p + "patches: patches/a.patch sha256:"}},
		"overrides":            {"  lxml: {overrides: none}\n", "", "x", []string{"ampoule.lock:7:7: the lock answers packages.lxml.overrides: none, which is written nowhere"}},
		"acceptance":           {"[onnxruntime]", `[onnxruntime, "nvidia-*"]`, "x", []string{"ampoule.yaml:19:34: the lock does not know binary.accept.0.match: nvidia-*"}},
		"setting taken away":   {", builddir: b", "", "x", []string{"ampoule.lock:9:7: the lock answers " + p + "config-settings.builddir: b, which is written nowhere"}},
		"other spelling alone": {"[libpq-dev]", `["libpq-dev"]`, "x", nil},
	} {
		err := CheckFresh(settled(t, c.old, c.new), patchedBy(c.patch), l)
		faults, _ := errors.AsType[Faults](err)
		if len(faults) != len(c.want) || (err == nil) != (len(c.want) == 0) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
			continue
		}
		for i, want := range c.want {
			if !strings.HasPrefix(faults[i].String(), want) || faults[i].Hint != hintStale {
				t.Errorf("%s: %s, want %s", name, faults[i], want)
			}
		}
	}
}
