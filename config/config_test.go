package config

import (
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// write writes a configuration file in a directory of its own.
func write(t *testing.T, text string) (file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "ampoule", "config.toml")
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(text), 0o644)); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestRead(t *testing.T) {
	t.Parallel()
	file := write(t, `# mirrors
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
`)
	want := Sources{
		PyPI:            {Mirrors: []string{"/d"}},
		Debian:          {Mirrors: []string{"http://b.example/debian", "http://b.example/updates"}, Security: []string{"http://b.example/updates"}, Without: []string{"updates"}},
		"acme-internal": {Mirrors: []string{"https://d.example", "/e"}, Names: []string{"acme-*"}},
		"new-one":       {Mirrors: []string{"https://f.example"}},
		"vendored":      {Kind: Registry, Mirrors: []string{"sparse+https://g.example/index/"}},
		Crates:          {Mirrors: []string{"https://h.example/{crate}-{version}.crate"}},
	}
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
		"XDG_CONFIG_HOME": {append([]string{"XDG_CONFIG_HOME=" + filepath.Dir(filepath.Dir(file))}, env...), ""},
	} {
		got, err := Read(c.env, c.file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got.Inputs.Sources); diff != "" {
			t.Error(name, diff)
		}
		if got.Bounds != (Bounds{Keep: DefaultKeep}) || cmp.Diff(c.env, got.Inputs.Environ) != "" {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if got, err := Read([]string{"HOME=" + t.TempDir()}, ""); err != nil || len(got.Inputs.Sources) != 0 {
		t.Errorf("without a file: %v, %v", got, err)
	}
	if _, err := Read(nil, filepath.Join(t.TempDir(), "absent.toml")); err == nil {
		t.Error("a named file that is missing is no fault")
	}
}

// Every fault of a file has its line and column.
func TestReadRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ text, where, msg string }{
		"syntax":         {"[sources.pypi]\nmirrors = [\n", ":2:", ""},
		"unknown key":    {"[sources.pypi]\nmirrors = []\nurl = \"x\"\n", ":3:1", "sources.pypi.url"},
		"unknown table":  {"[source.pypi]\n", ":1:", "source"},
		"type":           {"[sources.pypi]\nmirrors = \"https://a.example\"\n", ":2:", ""},
		"relative":       {"[sources.pypi]\nmirrors = [\"/a\",\n  \"mirror\"]\n", ":3:3", "neither"},
		"kind":           {"[sources.acme]\nkind = \"ftp\"\nmirrors = [\"/a\"]\n", ":2:1", "unknown kind"},
		"known kind":     {"[sources.debian]\nkind = \"index\"\n", ":2:1", "its kind is debian"},
		"no mirrors":     {"\n[sources.acme]\nnames = [\"a\"]\n", ":2:10", "no mirrors"},
		"pattern":        {"[sources.acme]\nmirrors = [\"/a\"]\nnames = [\"a\", \"[\"]\n", ":3:15", "pattern"},
		"names":          {"[sources.debian]\nmirrors = [\"/a\"]\nnames = [\"x\"]\n", ":3:1", "own names"},
		"security":       {"[sources.debian]\nmirrors = [\"/a\"]\nsecurity = [\"/b\"]\n", ":3:13", "not among"},
		"without":        {"[sources.debian]\nwithout = [\"main\"]\n", ":2:1", "without \"main\""},
		"others without": {"[sources.pypi]\nwithout = [\"security\"]\n", ":2:1", "only a source of kind debian"},
		"sparse":         {"[sources.acme]\nmirrors = [\"sparse+https://a.example/\"]\n", ":2:1", "sparse"},
		"sparse ftp":     {"[sources.crates]\nmirrors = [\"sparse+ftp://a.example/\"]\n", ":2:12", "neither"},
		"crates' names":  {"[sources.crates]\nmirrors = [\"/a\"]\nnames = [\"x\"]\n", ":3:1", "own names"},
		"name":           {"[sources.\"A b\"]\nmirrors = [\"/a\"]\n", ":1:10", "its name"},
		"inline":         {"sources = { pypi = { mirrors = [\"x\"] } }\n", ":1:33", "neither"},
		"kept":           {"kept = [\n  \"/a\",\n  \"b\",\n]\n", ":3:3", "kept: \"b\" is neither"},
		"limit":          {"[store]\nlimit = \"big\"\n", ":2:1", "store.limit: \"big\" is no size"},
		"no limit":       {"[store]\nlimit = \"0\"\n", ":2:1", "store.limit: \"0\" is no size"},
		"keep":           {"[store]\nkeep = \"ever\"\n", ":2:1", "store.keep: \"ever\" is no duration"},
		"published":      {"store.published = \"0d\"\n", ":1:7", "store.published: \"0d\" is no time"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := write(t, c.text)
			_, err := Read(nil, file)
			var fault *Error
			if !errors.As(err, &fault) {
				t.Fatalf("got %v", err)
			}
			if !strings.HasPrefix(fault.Where, file+c.where) || !strings.Contains(err.Error(), c.msg) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestReadTellsAllFaults(t *testing.T) {
	t.Parallel()
	file := write(t, "kept = [\"k\"]\nsources.b.mirrors = [\"x\"]\nsources.pypi.names = [\"[\"]\n[store]\nkeep = \"x\"\nlimit = \"y\"\n")
	_, err := Read([]string{"AMPOULE_SOURCE_A=x", "AMPOULE_SOURCE_PYPI=y"}, file)
	if err == nil {
		t.Fatal("no fault")
	}
	for _, want := range []string{
		"AMPOULE_SOURCE_A: source a: ", "AMPOULE_SOURCE_PYPI: source pypi: mirror", file + ":3:23: source pypi: name pattern",
		file + ":1:9: kept: ", file + ":2:22: source b: mirror", file + ":5:1: store.keep: ", file + ":6:1: store.limit: ",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not told:\n%v", want, err)
		}
	}
}

func TestBounds(t *testing.T) {
	t.Parallel()
	got, err := Read(nil, write(t, "[store]\nlimit = \"50GiB\"\nkeep = \"0h\"\npublished = \"180d\"\n"))
	if want := (Bounds{Set: true, Limit: 50 << 30, Published: 180 * 24 * time.Hour}); err != nil || got.Bounds != want {
		t.Errorf("%+v, %v", got.Bounds, err)
	}
	got, err = Read(nil, write(t, "[store]\nlimit = \"1KiB\"\n"))
	if want := (Bounds{Set: true, Limit: 1 << 10, Keep: DefaultKeep}); err != nil || got.Bounds != want {
		t.Errorf("%+v, %v", got.Bounds, err)
	}
}

func TestKept(t *testing.T) {
	t.Parallel()
	file := write(t, "kept = ['/srv/inputs', 'registry.example/team', 'localhost/x', 'host:5000']\n")
	got, err := Read(nil, file)
	if err != nil || len(got.Inputs.Kept) != 4 {
		t.Errorf("%q, %v", got.Inputs.Kept, err)
	}
	got, err = Read([]string{"AMPOULE_KEPT=/a registry.example"}, file)
	if err != nil || strings.Join(got.Inputs.Kept, " ") != "/a registry.example" {
		t.Errorf("%q, %v", got.Inputs.Kept, err)
	}
	for _, place := range []string{"./inputs", "inputs", "inputs/x.y"} {
		var fault *Error
		if _, err := Read([]string{"AMPOULE_KEPT=" + place}, ""); !errors.As(err, &fault) || fault.Where != keptVariable {
			t.Errorf("%s: %v", place, err)
		}
	}
}

func TestIsRegistry(t *testing.T) {
	t.Parallel()
	for place, want := range map[string]bool{
		"registry.example": true, "registry.example/team": true, "localhost": true, "localhost/x": true, "host:5000/x": true,
		"/srv/inputs": false, "./inputs.d": false, "inputs": false, "inputs/a.b": false, "..": false,
	} {
		if got := IsRegistry(place); got != want {
			t.Errorf("%s: registry %t", place, got)
		}
	}
}

func TestSecretsStayOut(t *testing.T) {
	t.Parallel()
	const user, password = "tokenuser", "s3cr3t"
	for _, text := range []string{
		"ftp://" + user + ":" + password + "@host/", "http://" + user + ":" + password + "@host:port%/",
		"https://" + user + ":a/" + password + "@host/", "https://" + user + ":a b" + password + "@host/", "https://" + user + ":@" + password + "@host%/",
		"https://" + user + ":%" + password + "@host/", user + ":" + password + "@host/x", "https://" + user + ":" + password + "%40host%/",
	} {
		for _, variable := range []string{"AMPOULE_SOURCE_DEBIAN", "AMPOULE_SOURCE_PYPI", "AMPOULE_KEPT"} {
			_, err := Read([]string{variable + "=" + text}, "")
			if err == nil && variable != "AMPOULE_KEPT" || err != nil && strings.Contains(err.Error(), password) {
				t.Errorf("%s=%s: the error tells a secret, or is none: %v", variable, text, err)
			}
		}
	}
}

func TestPlace(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		env  []string
		want string
	}{
		"said":         {[]string{"AMPOULE_STORE=/a/b", "XDG_DATA_HOME=/data", "HOME=/home/someone"}, "/a/b"},
		"data":         {[]string{"XDG_DATA_HOME=/data", "HOME=/home/someone"}, "/data/ampoule"},
		"home":         {[]string{"HOME=/home/someone"}, "/home/someone/.local/share/ampoule"},
		"not absolute": {[]string{"XDG_DATA_HOME=data", "HOME=/home/someone"}, "/home/someone/.local/share/ampoule"},
		"empty":        {[]string{"AMPOULE_STORE=", "HOME=/home/someone"}, "/home/someone/.local/share/ampoule"},
		"the last one": {[]string{"AMPOULE_STORE=/a", "AMPOULE_STORE=/b"}, "/b"},
		"none":         {nil, ""},
	} {
		if got := PlaceOf(c.env).Store; got != c.want {
			t.Errorf("%s: got %s, want %s", name, got, c.want)
		}
	}
	got := PlaceOf([]string{"DOCKER_HOST=tcp://engine:2375", "SSL_CERT_FILE=/ca.pem", "HTTPS_PROXY=http://p:1", "no_proxy=x", "MY_HTTP_PROXY=z", "TOKEN=1"})
	if got.Engine != "tcp://engine:2375" || got.Network.CertFile != "/ca.pem" {
		t.Errorf("place %+v", got)
	}
	if diff := cmp.Diff([]string{"no_proxy=x", "HTTPS_PROXY=http://p:1"}, got.Network.Proxies); diff != "" {
		t.Error(diff)
	}
}

func TestProxy(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		env      []string
		to, want string
	}{
		"none":            {nil, "https://a.example/", ""},
		"https":           {[]string{"HTTPS_PROXY=http://u:p@s:1", "HTTP_PROXY=http://h:1"}, "https://a.example/", "http://u:p@s:1"},
		"http":            {[]string{"https_proxy=http://s:1", "http_proxy=http://h:1"}, "http://a.example/", "http://h:1"},
		"the upper first": {[]string{"https_proxy=http://l:1", "HTTPS_PROXY=http://u:1"}, "https://a.example/", "http://u:1"},
		"not for it":      {[]string{"https_proxy=http://s:1", "no_proxy=.example"}, "https://a.example/", ""},
		"not for itself":  {[]string{"http_proxy=http://s:1"}, "http://127.0.0.1/", ""},
		"a request's":     {[]string{"HTTP_PROXY=http://evil:1", "REQUEST_METHOD=GET"}, "http://a.example/", "!"},
	} {
		to, err := url.Parse(c.to)
		if err != nil {
			t.Fatal(err)
		}
		got, err := PlaceOf(c.env).Network.Proxy(to)
		text := ""
		if got != nil {
			text = got.String()
		}
		if err != nil {
			text = "!"
		}
		if text != c.want {
			t.Errorf("%s: %q, %v, want %q", name, text, err, c.want)
		}
	}
}
