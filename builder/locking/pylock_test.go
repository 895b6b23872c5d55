package locking

import (
	"errors"
	"path"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pelletier/go-toml/v2"

	"ampoule/faults"
	"ampoule/recipes"
)

const pylockText = `lock-version = "1.0"
created-by = "uv"
requires-python = ">=3.13.5"

[[packages]]
name = "docopt"
version = "0.6.2"
index = "https://index.invalid/simple"
sdist = { url = "https://files.invalid/55/docopt-0.6.2.tar.gz", upload-time = 2014-06-16T11:18:57Z, size = 25901, hashes = { sha256 = "aa" } }

[[packages]]
name = "MarkupSafe"
version = "3.0.2"
sdist = { name = "markupsafe-3.0.2.tar.gz", url = "https://files.invalid/b2", hashes = { sha256 = "bb" } }
wheels = [
    { url = "https://files.invalid/MarkupSafe-3.0.2-cp313-cp313-manylinux_2_17_x86_64.whl#x", hashes = { md5 = "0", sha256 = "cc" } },
    { url = "https://files.invalid/MarkupSafe-3.0.2-py3-none-any.whl", hashes = { sha256 = "dd" } },
]

[[packages]]
name = "local"
version = "1.0+abc"
wheels = [{ url = "https://files.invalid/local-1.0%2Babc-py3-none-any.whl", hashes = { sha256 = "ee" } }]
`

func TestParsePylock(t *testing.T) {
	t.Parallel()
	got, err := parsePylock([]byte(pylockText))
	if err != nil {
		t.Fatal(err)
	}
	markupsafe := func(file, sum string) recipes.Dist {
		return recipes.Dist{Name: "markupsafe", Version: "3.0.2", File: file, SHA256: sum}
	}
	sdist := markupsafe("markupsafe-3.0.2.tar.gz", "bb")
	want := []release{
		{name: "docopt", version: "0.6.2", sdist: &recipes.Dist{Name: "docopt", Version: "0.6.2", File: "docopt-0.6.2.tar.gz", SHA256: "aa"}},
		{
			name: "markupsafe", version: "3.0.2", sdist: &sdist,
			pure:   []recipes.Dist{markupsafe("MarkupSafe-3.0.2-py3-none-any.whl", "dd")},
			native: []recipes.Dist{markupsafe("MarkupSafe-3.0.2-cp313-cp313-manylinux_2_17_x86_64.whl", "cc")},
		},
		{name: "local", version: "1.0+abc", pure: []recipes.Dist{{Name: "local", Version: "1.0+abc", File: "local-1.0+abc-py3-none-any.whl", SHA256: "ee"}}},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(release{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestParsePylockRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ text, want string }{
		"no TOML":        {"[[packages", "reading the resolution"},
		"no version":     {"[[packages]]\nname = \"a\"\nvcs = {url = \"x\"}\n", "a has no version"},
		"no sha256":      {"[[packages]]\nname = \"a\"\nversion = \"1\"\nsdist = {name = \"a-1.tar.gz\", hashes = {md5 = \"0\"}}\n", "no sha256 for a-1.tar.gz"},
		"no wheel's":     {"[[packages]]\nname = \"a\"\nversion = \"1\"\nwheels = [{name = \"a-1-py3-none-any.whl\"}]\n", "no sha256 for a-1-py3-none-any.whl"},
		"no file":        {"[[packages]]\nname = \"a\"\nversion = \"1\"\nsdist = {hashes = {sha256 = \"0\"}}\n", "not the name of a file"},
		"path":           {"[[packages]]\nname = \"a\"\nversion = \"1\"\nsdist = {name = \"../a-1.tar.gz\", hashes = {sha256 = \"0\"}}\n", "not the name of a file"},
		"folder":         {"[[packages]]\nname = \"a\"\nversion = \"1\"\nsdist = {name = \"x/a-1.tar.gz\", hashes = {sha256 = \"0\"}}\n", "not the name of a file"},
		"wheel's path":   {"[[packages]]\nname = \"a\"\nversion = \"1\"\nwheels = [{name = \"/a-1-py3-none-any.whl\", hashes = {sha256 = \"0\"}}]\n", "not the name of a file"},
		"end of address": {"[[packages]]\nname = \"a\"\nversion = \"1\"\nsdist = {url = \"https://files.invalid/..\", hashes = {sha256 = \"0\"}}\n", "not the name of a file"},
	} {
		if _, err := parsePylock([]byte(c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func TestChoose(t *testing.T) {
	t.Parallel()
	sdist := recipes.Dist{Name: "a", File: "a-1.tar.gz"}
	pure := []recipes.Dist{{File: "a-1-py3-none-any.whl"}, {File: "a-1-py2.py3-none-any.whl"}}
	native := []recipes.Dist{{File: "a-1-cp313-cp313-linux_x86_64.whl"}}
	program := []recipes.Dist{{File: "a-1-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl"}, {File: "a-1-py3-none-manylinux_2_28_x86_64.whl"}}
	several := []recipes.Dist{
		{File: "a-1-cp39-abi3-manylinux_2_34_x86_64.whl"}, {File: "a-1-cp313-cp313-manylinux_2_17_x86_64.manylinux2014_x86_64.whl"},
		{File: "a-1-cp313-cp313-manylinux_2_28_x86_64.whl"}, {File: "a-1-py3-none-manylinux_2_36_x86_64.whl"},
	}
	for name, c := range map[string]struct {
		release release
		choice  choice
		want    string
	}{
		"pure alone":              {release{sdist: &sdist, pure: pure}, choice{}, "a-1-py2.py3-none-any.whl"},
		"pure without sdist":      {release{pure: pure}, choice{}, "a-1-py2.py3-none-any.whl"},
		"native":                  {release{sdist: &sdist, native: native}, choice{}, "a-1.tar.gz"},
		"both":                    {release{sdist: &sdist, pure: pure, native: native}, choice{}, "a-1.tar.gz"},
		"both, said to be pure":   {release{sdist: &sdist, pure: pure, native: native}, choice{pure: true}, "a-1-py2.py3-none-any.whl"},
		"both, another is pure":   {release{sdist: &sdist, pure: pure, native: native}, choice{}, "a-1.tar.gz"},
		"no wheel":                {release{sdist: &sdist}, choice{}, "a-1.tar.gz"},
		"native, said to be pure": {release{sdist: &sdist, native: native}, choice{pure: true}, "a-1.tar.gz"},
		"native without sdist":    {release{native: native}, choice{}, ""},
		"both without sdist":      {release{pure: pure, native: native}, choice{}, ""},
		"nothing":                 {release{}, choice{}, ""},
		"program":                 {release{sdist: &sdist, native: program}, choice{tool: true}, "a-1-py3-none-manylinux_2_28_x86_64.whl"},
		"program for the tree":    {release{sdist: &sdist, native: program}, choice{}, "a-1.tar.gz"},
		"tool that Python loads":  {release{sdist: &sdist, native: native}, choice{tool: true}, "a-1.tar.gz"},
		"accepted":                {release{native: several}, choice{accepted: true}, "a-1-cp313-cp313-manylinux_2_28_x86_64.whl"},
		"accepted, stable ABI":    {release{native: []recipes.Dist{several[0], several[3]}}, choice{accepted: true}, "a-1-cp39-abi3-manylinux_2_34_x86_64.whl"},
		"accepted, name of before PEP 600": {release{native: []recipes.Dist{
			{File: "a-1-cp313-cp313-manylinux_2_5_x86_64.manylinux1_x86_64.whl"}, {File: "a-1-cp313-cp313-manylinux2014_x86_64.whl"},
		}}, choice{accepted: true}, "a-1-cp313-cp313-manylinux2014_x86_64.whl"},
		"accepted, sdist alone": {release{sdist: &sdist}, choice{accepted: true}, "a-1.tar.gz"},
	} {
		c.release.name, c.release.version = "a", "1"
		got, err := c.release.choose(c.choice)
		var none *NoSdistError
		if c.want == "" && (!errors.As(err, &none) || none.Name != "a" || none.Hint() == "") || c.want != "" && (err != nil || got.File != c.want) {
			t.Errorf("%s: %s, %v, want %q", name, got.File, err, c.want)
		}
	}
}

func TestUVConfig(t *testing.T) {
	t.Parallel()
	known := []metadata{
		{Name: "docopt", Version: "0.6.2", RequiresDist: []string{}, ProvidesExtra: []string{}},
		{Name: "x", Version: "1", RequiresDist: []string{`a>=1; extra == "b"`}, RequiresPython: ">=3.8", ProvidesExtra: []string{"b"}},
	}
	var doc map[string]any
	if err := toml.Unmarshal(uvConfig("https://u:p@index.example/simple", known), &doc); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"index": []any{map[string]any{"url": "https://u:p@index.example/simple", "default": true}}, "dependency-metadata": []any{
		map[string]any{"name": "docopt", "version": "0.6.2", "requires-dist": []any{}, "provides-extra": []any{}},
		map[string]any{"name": "x", "version": "1", "requires-dist": []any{`a>=1; extra == "b"`}, "requires-python": ">=3.8", "provides-extra": []any{"b"}},
	}}
	if diff := cmp.Diff(want, doc); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if err := toml.Unmarshal(uvConfig("https://index.example/simple", nil), &doc); err != nil {
		t.Errorf("nothing known: %v", err)
	}
}

func TestPreferences(t *testing.T) {
	t.Parallel()
	var doc struct {
		LockVersion string              `toml:"lock-version"`
		CreatedBy   string              `toml:"created-by"`
		Packages    []map[string]string `toml:"packages"`
	}
	if err := toml.Unmarshal(preferences(map[string]string{"b": "1!2.0+x.1", "a": "1"}), &doc); err != nil {
		t.Fatal(err)
	}
	want := []map[string]string{{"name": "a", "version": "1"}, {"name": "b", "version": "1!2.0+x.1"}}
	if diff := cmp.Diff(want, doc.Packages); diff != "" || doc.LockVersion != "1.0" || doc.CreatedBy == "" {
		t.Errorf("%+v (-want +got):\n%s", doc, diff)
	}
}

func TestParseMetadata(t *testing.T) {
	t.Parallel()
	text := `Metadata-Version: 2.1
Name: Demo
Version: 1.0
requires-dist: cffi (>=1.0)
Requires-Dist: zope.interface>=5;
  python_version < "3.14"
Requires-Python: >=3.8
Provides-Extra: test
Requires-Dist: pytest ; extra == 'test'
Description: one
        Requires-Dist: not-this
       |Requires-Dist: nor-this

Requires-Dist: body
`
	want := metadata{
		Name: "demo", Version: "1.0", RequiresPython: ">=3.8", ProvidesExtra: []string{"test"},
		RequiresDist: []string{"cffi (>=1.0)", `zope.interface>=5; python_version < "3.14"`, "pytest ; extra == 'test'"},
	}
	for _, ending := range []string{"\n", "\r\n"} {
		got, err := parseMetadata("demo", "1.0", strings.ReplaceAll(text, "\n", ending))
		if err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("lines that end with %q (-want +got):\n%s", ending, diff)
		}
	}
	if got, err := parseMetadata("demo", "1.0", "Name: demo\n\n  Requires-Dist: body\n"); err != nil || len(got.RequiresDist) != 0 || got.RequiresDist == nil {
		t.Errorf("got %+v, %v", got, err)
	}
	for lie, want := range map[string]string{"Name: other\n": "it is of other", "Name: demo\nVersion: 1.1\n": "its version is 1.1"} {
		_, err := parseMetadata("demo", "1.0", lie)
		if faults.Of(err) != faults.Input || !strings.HasSuffix(err.Error(), "whose metadata says that "+want) || len(faults.Hints(err)) != 1 {
			t.Errorf("%q: %v", lie, err)
		}
	}
}

func FuzzParsePylock(f *testing.F) {
	f.Add([]byte(pylockText))
	f.Fuzz(func(t *testing.T, data []byte) {
		releases, err := parsePylock(data)
		if err != nil {
			return
		}
		for _, r := range releases {
			d, err := r.choose(choice{})
			if err == nil && (d.File == "" || d.File != path.Base(d.File) || d.SHA256 == "" || d.Version == "") {
				t.Errorf("chose %+v", d)
			}
		}
	})
}

func FuzzParseMetadata(f *testing.F) {
	f.Add("Name: a\nRequires-Dist: b\n  ; extra\n\nbody")
	f.Fuzz(func(t *testing.T, text string) {
		m, err := parseMetadata("a", "1", text)
		if err != nil {
			return
		}
		for _, r := range m.RequiresDist {
			if strings.Contains(r, "\n") {
				t.Errorf("a requirement goes over lines: %q", r)
			}
		}
		// Whatever a backend says, it is data in uv's configuration.
		var doc struct {
			Known []metadata `toml:"dependency-metadata"`
		}
		if strings.ToValidUTF8(text, "") != text {
			return
		}
		if err := toml.Unmarshal(uvConfig("https://index.example/simple", []metadata{m}), &doc); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]metadata{m}, doc.Known); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

// A recipe that accepts all published wheels has them of every distribution that has
// some, also where builds need it, and compiles what has none.
func TestAcceptedAll(t *testing.T) {
	t.Parallel()
	p := &distLocker{
		recipe: &recipes.Recipe{Binary: recipes.Binary{Accept: []recipes.Acceptance{{Match: []string{"*"}, Why: "adopted", Until: "2999-01-01"}}}},
		lock:   &recipes.Lock{}, reqs: &recipes.RequirementSet{}, roots: map[string]bool{"a": true},
	}
	native := recipes.Dist{Name: "a", Version: "1", File: "a-1-cp313-cp313-manylinux_2_28_x86_64.whl"}
	sdist := recipes.Dist{Name: "a", Version: "1", File: "a-1.tar.gz"}
	for _, building := range []bool{false, true} {
		if got, err := p.choose(release{name: "zope-interface", version: "1", sdist: &sdist, native: []recipes.Dist{native}}, building); err != nil || got.File != native.File {
			t.Errorf("building %v: %v, %v", building, got, err)
		}
		if got, err := p.choose(release{name: "a", version: "1", sdist: &sdist}, building); err != nil || got.File != sdist.File {
			t.Errorf("building %v, without a wheel: %v, %v", building, got, err)
		}
	}
}
