package survey

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// lacking lists what a report says of libraries and requirements that are not there: severity, check
// and value.
func lacking(r *Report) []string {
	lines := []string{}
	for _, u := range r.Units {
		for _, f := range u.Findings {
			if f.Check == "closure" || f.Check == "metadata" {
				lines = append(lines, string(f.Severity)+" "+f.Check+" "+f.Value)
			}
		}
	}
	slices.Sort(lines)
	return lines
}

// What is in another directory of the same interpreter, or in a wheel beside, counts as there.
func TestJudgedTogether(t *testing.T) {
	t.Parallel()
	library := string(compile(t, "int own;", "-shared", "-fPIC", "-Wl,-soname,libown.so.1"))
	linked := filepath.Join(t.TempDir(), "libown.so.1")
	if err := os.WriteFile(linked, []byte(library), 0o644); err != nil {
		t.Fatal(err)
	}
	mod := map[string]string{"spam" + suffix: string(compile(t, moduleSource, "-shared", "-fPIC", linked))}
	needs := distOf("spam", tag, "Requires-Dist: torch>=1\n", mod)
	brings := distOf("torch", tag, "", map[string]string{"torch/libown.so.1": library})
	deeper := distOf("spam", tag, "Requires-Dist: torchaudio\n", mod)
	between := distOf("torchaudio", "py3-none-any", "Requires-Dist: torch\n", map[string]string{"torchaudio.py": ""})
	old := map[string]string{"torch-0.1.dist-info/METADATA": "Name: torch\nVersion: 0.1\n"}
	venvWith := func(system string) map[string]string {
		return map[string]string{venv + "/pyvenv.cfg": "home = /usr/bin\ninclude-system-site-packages = " + system + "\n", venv + "/bin/python3.13": "-> /usr/bin/python3.13"}
	}
	const (
		systems = "usr/lib/python3.13/site-packages"
		debians = "usr/lib/python3/dist-packages"
		locals  = "usr/local/lib/python3.13/dist-packages"
	)
	name := func(project string) string { return "d/" + project + "-1.0-" + tag + ".whl" }
	lost := []string{"refuse closure libown.so.1", "warn metadata torch>=1"}
	there := []string{"warn closure libown.so.1"}
	open := []string{"undecided closure libown.so.1"}
	for what, c := range map[string]struct {
		files map[string]string
		path  string
		want  []string
	}{
		"an environment with the system's":       {together(venvWith("true"), under(site, needs), under(systems, brings)), "/" + venv, there},
		"an environment of its own":              {together(venvWith("false"), under(site, needs), under(systems, brings)), "/" + venv, lost},
		"another version":                        {together(venvWith("true"), under(site, needs), under(systems, old)), "/" + venv, lost},
		"Debian's directory of its own":          {together(under(locals, needs), under(debians, brings)), "/usr/local", there},
		"what Debian has no RECORD of":           {together(under(locals, needs), map[string]string{debians + "/torch-2.0.egg-info/PKG-INFO": "Name: torch\n"}), "/usr/local", lost[:1]},
		"purelib and platlib":                    {together(under("opt/lib64/python3.13/site-packages", needs), under("opt/lib/python3.13/site-packages", brings), map[string]string{"opt/bin/python3.13": string(interpreterELF(t)), "opt/lib/python3.13/os.py": ""}), "/opt/lib64", there},
		"the user's own":                         {together(under("home/u/.local/lib/python3.13/site-packages", needs), under(systems, brings)), "/home/u/.local", there},
		"a directory that a path leads to":       {together(venvWith("false"), under(site, needs), under("srv/more", brings), map[string]string{site + "/more.pth": "/srv/more\n"}), "/" + venv, there},
		"wheels of one directory":                {map[string]string{name("spam"): pack(t, needs), name("torch"): pack(t, brings)}, "/d", there},
		"wheels, through a third":                {map[string]string{name("spam"): pack(t, deeper), name("torch"): pack(t, brings), "d/torchaudio-1.0-py3-none-any.whl": pack(t, between)}, "/d", open},
		"wheels that do not require one another": {map[string]string{name("spam"): pack(t, dist([]byte(mod["spam"+suffix]), tag)), name("torch"): pack(t, brings)}, "/d", lost[:1]},
		"a wheel alone":                          {map[string]string{name("spam"): pack(t, needs)}, "/d", open},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			against := ""
			if strings.HasPrefix(c.path, "/d") {
				against = "/usr"
			}
			r, err := Look(t.Context(), Target{Files: machine(t, c.files), Path: c.path, Against: against})
			if err != nil {
				t.Fatal(err)
			}
			if got := lacking(r); !slices.Equal(got, c.want) {
				t.Errorf("told %q, want %q", got, c.want)
			}
		})
	}
	targets := together(under("d/a", needs), under("d/b", brings))
	r, err := Look(t.Context(), Target{Files: machine(t, targets), Path: "/d", Against: "/usr"})
	if err != nil {
		t.Fatal(err)
	}
	if got := lacking(r); !slices.Equal(got, there) {
		t.Errorf("directories of pip install --target: %q", got)
	}
}
