package fetch

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestLoadConfig(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "ampoule", "config.toml")
	writeFile(t, file, []byte(`# mirrors
[sources.pypi]
mirrors = ["https://a.example/simple", "/srv/wheels"]

[sources.debian]
mirrors = ["http://b.example/debian", "http://b.example/updates"]
security = ["http://b.example/updates"]
without = ["updates"]

[sources.acme-internal]
mirrors = ["https://u:p@c.example/simple"]
names = ["acme-*"]

[sources.vendored]
kind = "cargo"
mirrors = ["sparse+https://g.example/index/"]
`))
	want := map[string]Source{
		PyPI:            {Mirrors: []string{"/d"}},
		Debian:          {Mirrors: []string{"http://b.example/debian", "http://b.example/updates"}, Security: []string{"http://b.example/updates"}, Without: []string{"updates"}},
		"acme-internal": {Mirrors: []string{"https://d.example", "/e"}, Names: []string{"acme-*"}},
		"new-one":       {Mirrors: []string{"https://f.example"}},
	}
	want["vendored"] = Source{Kind: Registry, Mirrors: []string{"sparse+https://g.example/index/"}}
	want[Crates] = Source{Mirrors: []string{"https://h.example/{crate}-{version}.crate"}}
	env := []string{
		"AMPOULE_SOURCE_CRATES=https://h.example/{crate}-{version}.crate",
		"AMPOULE_SOURCE_PYPI=/d", "AMPOULE_SOURCE_ACME_INTERNAL= https://d.example  /e ",
		"AMPOULE_SOURCE_NEW_ONE=https://f.example", "AMPOULE_SOURCE_CPYTHON= ",
	}
	for name, c := range map[string]struct {
		env  []string
		file string
	}{
		"named":           {env, file},
		"XDG_CONFIG_HOME": {append([]string{"XDG_CONFIG_HOME=" + dir}, env...), ""},
	} {
		config, err := LoadConfig(c.env, c.file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, config.Sources); diff != "" {
			t.Error(name, diff)
		}
	}
	if config, err := LoadConfig([]string{"HOME=" + dir}, ""); err != nil || len(config.Sources) != 0 {
		t.Errorf("without a file: %v, %v", config, err)
	}
	if _, err := LoadConfig(nil, filepath.Join(dir, "absent.toml")); err == nil {
		t.Error("a named file that is missing is no fault")
	}
}

func TestLoadConfigRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ text, where, msg string }{
		"syntax":         {"[sources.pypi]\nmirrors = [\n", ":2:", ""},
		"unknown key":    {"[sources.pypi]\nmirrors = []\nurl = \"x\"\n", ":3:1", "sources.pypi.url"},
		"unknown table":  {"[source.pypi]\n", ":1:", "source"},
		"type":           {"[sources.pypi]\nmirrors = \"https://a.example\"\n", ":2:", ""},
		"relative":       {"[sources.pypi]\nmirrors = [\"mirror\"]\n", "", "neither"},
		"kind":           {"[sources.acme]\nkind = \"ftp\"\nmirrors = [\"/a\"]\n", "", "unknown kind"},
		"known kind":     {"[sources.debian]\nkind = \"index\"\n", "", "its kind is debian"},
		"no mirrors":     {"[sources.acme]\nnames = [\"a\"]\n", "", "no mirrors"},
		"pattern":        {"[sources.acme]\nmirrors = [\"/a\"]\nnames = [\"[\"]\n", "", "pattern"},
		"names":          {"[sources.debian]\nmirrors = [\"/a\"]\nnames = [\"x\"]\n", "", "own names"},
		"security":       {"[sources.debian]\nmirrors = [\"/a\"]\nsecurity = [\"/b\"]\n", "", "not among"},
		"without":        {"[sources.debian]\nwithout = [\"main\"]\n", "", "without \"main\""},
		"others without": {"[sources.pypi]\nwithout = [\"security\"]\n", "", "only a source of kind debian"},
		"sparse":         {"[sources.acme]\nmirrors = [\"sparse+https://a.example/\"]\n", "", "sparse"},
		"sparse ftp":     {"[sources.crates]\nmirrors = [\"sparse+ftp://a.example/\"]\n", "", "neither"},
		"crates' names":  {"[sources.crates]\nmirrors = [\"/a\"]\nnames = [\"x\"]\n", "", "own names"},
		"name":           {"[sources.\"A b\"]\nmirrors = [\"/a\"]\n", "", "its name"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "config.toml")
			writeFile(t, file, []byte(c.text))
			_, err := LoadConfig(nil, file)
			var fault *ConfigError
			if !errors.As(err, &fault) {
				t.Fatalf("got %v", err)
			}
			if !strings.HasPrefix(fault.Where, file+c.where) || !strings.Contains(err.Error(), c.msg) {
				t.Errorf("got %v", err)
			}
		})
	}
	_, err := LoadConfig([]string{"AMPOULE_SOURCE_A=x", "AMPOULE_SOURCE_B=y"}, "")
	if err == nil || !strings.Contains(err.Error(), "AMPOULE_SOURCE_A") || !strings.Contains(err.Error(), "AMPOULE_SOURCE_B") {
		t.Errorf("not all faults are told: %v", err)
	}
}
