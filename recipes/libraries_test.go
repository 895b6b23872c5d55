package recipes

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRuntimeLibraries(t *testing.T) {
	t.Parallel()
	magic := Dist{Name: "python-magic", Version: "0.4.27"}
	for name, c := range map[string]struct {
		recipe    Recipe
		installed []Dist
		suite     string
		want      []string
		applied   int
	}{
		"none":                         {Recipe{}, []Dist{{Name: "flask", Version: "3"}}, "bookworm", nil, 0},
		"written":                      {Recipe{Runtime: Runtime{Libraries: []string{"libpq5", "libmagic1"}}}, nil, "bookworm", []string{"libmagic1", "libpq5"}, 0},
		"known":                        {Recipe{}, []Dist{magic}, "bookworm", []string{"libmagic1"}, 1},
		"known under another name":     {Recipe{}, []Dist{magic}, "trixie", []string{"libmagic1t64"}, 1},
		"written and known":            {Recipe{Runtime: Runtime{Libraries: []string{"libmagic1"}}}, []Dist{magic}, "bookworm", []string{"libmagic1"}, 1},
		"overrides: none":              {Recipe{Packages: map[string]Packages{"python-magic": {Overrides: "none"}}}, []Dist{magic}, "bookworm", nil, 0},
		"one that is built, and loads": {Recipe{}, []Dist{{Name: "pygobject", Version: "3.50.1"}}, "bookworm", []string{"gir1.2-glib-2.0"}, 1},
	} {
		got, applied := c.recipe.RuntimeLibraries(c.installed, Place{Suite: c.suite, Python: "3.13.5"})
		if diff := cmp.Diff(c.want, got); diff != "" || len(applied) != c.applied {
			t.Errorf("%s: applied %+v (-want +got):\n%s", name, applied, diff)
		}
		for _, a := range applied {
			if a.Why == "" || a.Revision == "" {
				t.Errorf("%s: %+v says too little", name, a)
			}
		}
	}
	// How it is built is another question: the lock of a build has no such rule.
	if s, applied := (&Recipe{}).Building("python-magic", "0.4.27", Place{Suite: "bookworm", Python: "3.13.5"}); !s.empty() || len(applied) > 0 {
		t.Errorf("building it takes %+v, %+v", s, applied)
	}
}

func TestLockedLibraries(t *testing.T) {
	t.Parallel()
	plain := string(goodLock().Encode())
	l := goodLock()
	l.Libraries = &LockedLibraries{Names: []string{"libmagic1", "libc6"}, Packages: []string{"libmagic1"}, Overrides: []Applied{{"python-magic", "1", "it loads"}}}
	l.Debian["bookworm"] = append(l.Debian["bookworm"], Deb{Name: "libmagic1", Version: "1", Arch: "amd64", File: "pool/main/x/x_1_amd64.deb", SHA256: hash})
	text := string(l.Encode())
	const want = "libraries:\n  names:\n    - libc6\n    - libmagic1\n  packages:\n    - libmagic1\n  overrides:\n    - {name: python-magic, revision: \"1\", why: \"it loads\"}\n"
	if !strings.Contains(text, want) || strings.Contains(plain, "libraries:") {
		t.Errorf("encoded:\n%s", text)
	}
	got, err := ParseLock("ampoule.lock", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if again := string(got.Encode()); again != text {
		t.Errorf("read and encoded (-first +second):\n%s", cmp.Diff(text, again))
	}
	for what, broken := range map[string]string{
		"the lock has no package libmagic2 of bookworm": strings.Replace(text, "  packages:\n    - libmagic1\n", "  packages:\n    - libmagic2\n", 1),
		"libraries.names is missing":                    strings.Replace(text, "  names:\n    - libc6\n    - libmagic1\n", "", 1),
	} {
		if _, err := ParseLock("ampoule.lock", []byte(broken)); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("got %v, want %q", err, what)
		}
	}
	// Without libraries a key is what it was before there was such a thing.
	r := &Recipe{}
	if Key(r, l, "linux/amd64", "1", "") == Key(r, goodLock(), "linux/amd64", "1", "") {
		t.Error("the libraries are not in the key")
	}
}

func TestLibrariesFaults(t *testing.T) {
	t.Parallel()
	r, err := ParseRecipe("ampoule.yaml", []byte(strings.Replace(goodRecipe, "runtime:\n", "runtime:\n  libraries: [libmagic1]\n", 1)))
	if err != nil || !cmp.Equal(r.Runtime.Libraries, []string{"libmagic1"}) {
		t.Errorf("%+v, %v", r, err)
	}
	for text, hint := range map[string]string{
		"libmagic.so.1": "Debian package that has the library", "libmagic1=1": "the lock pins",
	} {
		_, err := ParseRecipe("ampoule.yaml", []byte(strings.Replace(goodRecipe, "runtime:\n", "runtime:\n  libraries: ["+text+"]\n", 1)))
		var faults Faults
		ok := errors.As(err, &faults)
		if text == "libmagic.so.1" && err == nil {
			t.Errorf("%s is taken", text)
		}
		if !ok || len(faults) != 1 || !strings.Contains(faults[0].Hint, hint) {
			t.Errorf("%s: %v", text, err)
		}
	}
	if _, err := ParseOverride("x.yaml", []byte("apiVersion: ampoule/v1\nname: x\nrevision: 1\nrules: [{why: x, runtime: [liba], limit: <2}]\n")); err == nil || !strings.Contains(err.Error(), "several things") {
		t.Errorf("a rule that says two things: %v", err)
	}
}
