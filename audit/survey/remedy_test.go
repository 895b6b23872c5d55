package survey

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"ampoule/audit"
)

// What to do depends on where a wheel is, not on what it is called, and on what is wrong
// with it: what an index gave, it gives again.
func TestRemedy(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ path, check, want, command string }{
		{"/home/u/.cache/pip/http-v2/a/b/c/d/e/abcde.body", "record", "Take it out of pip's cache of downloads", ""},
		{"/home/u/.cache/pip/http-v2/a/b/c/d/e/abcde.body", "symbols", "It is a published wheel", ""},
		{"/home/u/.cache/pip/wheels/aa/bb/cc/dd/spam-1.0-py3-none-any.whl", "symbols", "Take it out of pip's cache, which", "pip cache remove spam"},
		{"/home/u/.cache/uv/sdists-v9/pypi/spam/spam-1.0-py3-none-any.whl", "symbols", "Take it out of uv's cache", "uv cache clean spam"},
		{"/home/u/.cache/uv/wheels-v1/pypi/spam/spam-1.0-py3-none-any.whl", "symbols", "It is a published wheel", ""},
		{"/home/u/.cache/uv/wheels-v1/pypi/spam/spam-1.0-py3-none-any.whl", "record", "Take it out of uv's cache", "uv cache clean spam"},
		{"/home/u/.cache/pip/wheels/aa/bb/cc/dd/$(x)-1.0-py3-none-any.whl", "symbols", "Take it out of pip's cache, which", "pip cache remove NAME"},
		{"/srv/poison.zip", "symbols", "Do not install it.", ""},
		{"/srv/renamed.whl", "record", "Do not install it.", ""},
	} {
		u := Unit{Kind: KindWheel, Path: c.path}
		got, command := inOne(&u, u.remedies([]audit.Finding{{Check: c.check, Severity: audit.Refuse}}))
		if !strings.HasPrefix(got, c.want) || command != c.command {
			t.Errorf("%s of %s: %q, %q; want %q, %q", c.check, c.path, got, command, c.want, c.command)
		}
	}
}

// What is installed is not to be installed again where that brings the same file. Of several
// faults each has its own remedy.
func TestRemediesOfEnvironments(t *testing.T) {
	t.Parallel()
	finding := func(check, field string) audit.Finding {
		return audit.Finding{Check: check, Severity: audit.Refuse, File: "/v/spam.so", Distribution: "spam 1.0", Field: field}
	}
	lacking := finding("metadata", "Requires-Dist")
	lacking.Severity, lacking.File, lacking.Value = audit.Warn, "/v/spam-1.0.dist-info/METADATA", "nvidia-cublas-cu12==12.1.3.1"
	hostile := lacking
	hostile.Value = "x'; rm -rf /; '"
	changed := finding("record", "sha256")
	changed.Severity = audit.Warn
	nobodys := finding("closure", "DT_NEEDED")
	nobodys.Distribution = ""
	odd := finding("record", "sha256")
	odd.Distribution = "$(x) 1"
	for what, c := range map[string]struct {
		findings []audit.Finding
		compiled bool
		path     string
		want     []string
	}{
		"a missing library": {findings: []audit.Finding{finding("closure", "DT_NEEDED")}, want: []string{"The same release brings the same file"}},
		"a missing symbol":  {findings: []audit.Finding{finding("symbols", "undefined")}, want: []string{"The same release brings the same file"}},
		"a missing version": {findings: []audit.Finding{finding("versions", "DT_VERNEED")}, want: []string{"The same release brings the same file"}},
		"libpython":         {findings: []audit.Finding{finding("libpython-needed", "DT_NEEDED")}, want: []string{"The same release brings the same file"}},
		"native code in a wheel for any platform":       {findings: []audit.Finding{finding("tags", "ELF")}, want: []string{"The same release brings the same file"}},
		"libpython, compiled somewhere":                 {findings: []audit.Finding{finding("libpython-needed", "DT_NEEDED")}, compiled: true, want: []string{"It was compiled for another", "$ pip install --force-reinstall --no-deps --no-cache-dir --no-binary spam spam==1.0"}},
		"a missing library of a changed file":           {findings: []audit.Finding{finding("closure", "DT_NEEDED"), changed}, want: []string{"Install it again: its files", "$ pip install --force-reinstall --no-deps spam==1.0"}},
		"a missing library, and a missing requirement":  {findings: []audit.Finding{finding("closure", "DT_NEEDED"), lacking}, compiled: true, want: []string{"Install what it requires", "$ pip install 'nvidia-cublas-cu12==12.1.3.1'"}},
		"a missing library, and a requirement of shell": {findings: []audit.Finding{finding("closure", "DT_NEEDED"), hostile}, want: []string{"The same release brings the same file"}},
		"another Python's":                              {findings: []audit.Finding{finding("tags", "suffix")}, want: []string{"Install it again with the pip of this interpreter", "$ pip install --force-reinstall --no-deps --no-cache-dir spam==1.0"}},
		"another machine's":                             {findings: []audit.Finding{finding("isa", "e_machine")}, want: []string{"Install it again with the pip of this interpreter", "$ pip install --force-reinstall --no-deps --no-cache-dir spam==1.0"}},
		"a newer processor's":                           {findings: []audit.Finding{finding("isa", "x86 ISA needed")}, want: []string{"The same release brings the same file"}},
		"startup code":                                  {findings: []audit.Finding{finding("startup", "shadow")}, want: []string{"Remove the distribution", "$ pip uninstall spam"}},
		"nobody's":                                      {findings: []audit.Finding{nobodys}, want: []string{"No distribution answers for it"}},
		"the system's":                                  {findings: []audit.Finding{nobodys}, path: "/usr/lib/python3/dist-packages", want: []string{"A package of the system brought it", "$ dpkg -S /v/spam.so"}},
		"a name of shell":                               {findings: []audit.Finding{odd}, want: []string{"Install it again: its files"}},
		"of several kinds": {findings: []audit.Finding{finding("symbols", "undefined"), finding("closure", "DT_NEEDED"), finding("tags", "suffix"), lacking}, want: []string{
			"For symbols, closure: Install what it requires", "$ pip install 'nvidia-cublas-cu12==12.1.3.1'",
			"For tags: Install it again with the pip", "$ pip install --force-reinstall --no-deps --no-cache-dir spam==1.0"}},
		"what is only warned about": {findings: []audit.Finding{lacking, changed}},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			u := Unit{Kind: KindSite, Path: "/v", Findings: c.findings}
			if c.path != "" {
				u.Path = c.path
			}
			if c.compiled {
				u.compiled = []string{"spam 1.0"}
			}
			list := u.remedies(c.findings)
			var got []string
			for _, r := range list {
				got = append(got, r.sentence(len(list) > 1))
				if command := r.command(&u); command != "" {
					got = append(got, "$ "+command)
				}
			}
			if !slices.EqualFunc(got, c.want, strings.HasPrefix) {
				t.Errorf("%q\nwant %q", got, c.want)
			}
		})
	}
	if len(texts) != int(rebuild)+1 {
		t.Errorf("%d cures have a text, of %d", len(texts), rebuild+1)
	}
	for _, text := range texts {
		if word := recipeWords.FindString(text); word != "" {
			t.Errorf("the remedy has the word %q, which only a recipe has: %s", word, text)
		}
	}
}

// recipeWords are what nobody has who found something.
var recipeWords = regexp.MustCompile(`(?i)\b(recipe|lock|locked|host list|exception|gate|target|toolchain|the tree)\b`)

// sameBytes matches what would install the same release from wherever it came.
var sameBytes = regexp.MustCompile(`force-reinstall.*spam==`)

// A module of an environment that lacks a library, however it came there, and what its
// remedies are from end to end.
func TestRemediesAreLooked(t *testing.T) {
	t.Parallel()
	libpython := dist(module(t, "libpython3.13.so.1.0"), tag)
	published := dist(module(t, "libgone.so.1"), "cp313-cp313-manylinux_2_17_x86_64")
	lacking := distOf("spam", "cp313-cp313-manylinux_2_17_x86_64", "Requires-Dist: gone>=1\n", map[string]string{"spam" + suffix: string(module(t, "libgone.so.1"))})
	stripped := dist(module(t, "libgone.so.1"), "cp313-cp313-manylinux_2_17_x86_64")
	stripped["spam"+suffix] += "x"
	uvs := together(stripped, map[string]string{"spam-1.0.dist-info/INSTALLER": "uv"})
	const python = "/" + venv + "/bin/python3.13"
	for what, c := range map[string]struct {
		files map[string]string
		// command is what the unit's begins with; empty for none.
		text, command string
	}{
		"published":                {published, "The same release brings the same file", ""},
		"compiled somewhere":       {libpython, "It was compiled for another", python + " -m pip install --force-reinstall --no-deps --no-cache-dir --no-binary spam spam==1.0"},
		"changed":                  {stripped, "Install it again: its files", python + " -m pip install --force-reinstall --no-deps spam==1.0"},
		"without what it requires": {lacking, "Install what it requires", python + " -m pip install 'gone>=1'"},
		"installed by uv":          {uvs, "Install it again: its files", "uv cache clean spam && uv pip install --python " + python + " --force-reinstall --no-deps spam==1.0"},
		"by uv, beside a pip":      {together(uvs, map[string]string{"pip-24.0.dist-info/INSTALLER": "pip\n"}), "Install it again: its files", python + " -m pip install --force-reinstall --no-deps spam==1.0"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			environment := map[string]string{venv + "/pyvenv.cfg": "home = /usr/bin\n", venv + "/bin/python3.13": "-> /usr/bin/python3.13"}
			r, err := Look(t.Context(), Target{Files: machine(t, together(environment, under(site, c.files))), Path: "/" + venv})
			if err != nil {
				t.Fatal(err)
			}
			u := r.Units[0]
			if !strings.HasPrefix(u.Remedy, c.text) || u.Command != c.command {
				t.Errorf("%q, %q; want %q, %q; refused: %q", u.Remedy, u.Command, c.text, c.command, refused(r))
			}
			if c.command == "" && sameBytes.MatchString(u.Remedy+u.Command) {
				t.Errorf("the same bytes: %s", u.Command)
			}
		})
	}
}
