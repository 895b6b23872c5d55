package fetch

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"ampoule/config"
)

const itoaVersions = `{"name":"itoa","vers":"0.4.8","yanked":false}
{"name":"itoa","vers":"1.0.1","yanked":false,"rust_version":"1.60"}
{"name":"itoa","vers":"1.0.15","yanked":true}
no line of an index
{"name":"itoa","vers":"2.0.0","yanked":false}
`

// sparse serves an index and counts what is asked.
func sparse(t *testing.T, asked *[]string) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*asked = append(*asked, r.URL.Path)
		switch r.URL.Path {
		case "/index/config.json":
			io.WriteString(w, `{"dl": "https://files.example/{crate}"}`)
		case "/index/it/oa/itoa":
			io.WriteString(w, itoaVersions)
		case "/index/br/ok/broken":
			w.WriteHeader(http.StatusForbidden)
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(s.Close)
	return s.URL + "/index"
}

// ofIndex asks an index of crates as cargo does.
func ofIndex(i *CrateIndex, method, path string) (code int, body string) {
	w := httptest.NewRecorder()
	i.ServeHTTP(w, httptest.NewRequest(method, "http://127.0.0.1:3141"+path, nil))
	return w.Code, w.Body.String()
}

// cargo is answered with what the source's index has, but for the versions that pins exclude;
// each crate is asked for once.
func TestCrateIndex(t *testing.T) {
	t.Parallel()
	var asked []string
	f := impatient(openStore(t), map[string]Source{Crates: {Mirrors: []string{"https://files.example/{crate}", sparse(t, &asked)}}})
	index := f.CrateIndex(nil)
	for path, want := range map[string]struct {
		code int
		body string
	}{
		"/crates/config.json":   {200, `{"dl": "http://127.0.0.1:3141/none"}`},
		"/crates/it/oa/itoa":    {200, itoaVersions},
		"/crates/it/oa/ITOA":    {200, itoaVersions},
		"/crates/no/ne/none":    {404, ""},
		"/crates/it/oa/it%20oa": {404, ""},
		"/simple/itoa/":         {404, ""},
	} {
		if code, body := ofIndex(index, http.MethodGet, path); code != want.code || body != want.body {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	if code, _ := ofIndex(index, http.MethodPost, "/crates/config.json"); code != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", code)
	}
	if err := index.Faults(); err != nil {
		t.Errorf("what is not there is a fault: %v", err)
	}
	if code, _ := ofIndex(index, http.MethodGet, "/crates/br/ok/broken"); code != http.StatusBadRequest {
		t.Errorf("a fault of the index: %d", code)
	}
	if err := index.Faults(); err == nil || !strings.Contains(err.Error(), "403") || index.Faults() != nil {
		t.Errorf("the fault is %v", err)
	}
	_, held := ofIndex(f.CrateIndex([]string{"itoa==1.0.1"}), http.MethodGet, "/crates/it/oa/itoa")
	if want := strings.ReplaceAll(strings.ReplaceAll(itoaVersions, "{\"name\":\"itoa\",\"vers\":\"1.0.15\",\"yanked\":true}\n", ""), "no line of an index\n", ""); held != want {
		t.Errorf("held to 1.0.1:\n%s", held)
	}
	versions, err := f.CrateVersions(t.Context(), "Itoa")
	if err != nil || len(versions) != 4 || versions[1].Rust != "1.60" || !versions[2].Yanked {
		t.Errorf("versions %+v, %v", versions, err)
	}
	if times := strings.Count(strings.Join(asked, " "), "itoa"); times != 1 {
		t.Errorf("the index was asked for itoa %d times: %q", times, asked)
	}
}

// A directory has an index as cargo's local registries do; where nothing is an index, that is told.
func TestCrateIndexOfADirectory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f := impatient(openStore(t), map[string]Source{Crates: {Mirrors: []string{dir}}})
	_, err := f.CrateVersions(t.Context(), "itoa")
	var wrong *config.Error
	if !errors.As(err, &wrong) || !strings.Contains(wrong.Help, "sparse index") {
		t.Errorf("without an index: %v", err)
	}
	writeFile(t, filepath.Join(dir, "index", "it", "oa", "itoa"), []byte(itoaVersions))
	if got, err := f.CrateVersions(t.Context(), "itoa"); err != nil || len(got) != 4 {
		t.Errorf("with one: %v, %v", got, err)
	}
	if _, err := f.CrateVersions(t.Context(), "none"); !errors.Is(err, errNotThere) {
		t.Errorf("a crate that is not there: %v", err)
	}
}

// The index of the machine's own registry is asked beside its files.
func TestCrateIndexOfTheMachine(t *testing.T) {
	t.Parallel()
	var asked []string
	c := &scripted{template: "https://files.example/{crate}", crateIndex: sparse(t, &asked)}
	st := openStore(t)
	for range 2 {
		f := asking(st, c)
		if got, err := f.CrateVersions(t.Context(), "itoa"); err != nil || len(got) != 4 {
			t.Errorf("got %v, %v", got, err)
		}
	}
	if c.asked != 1 {
		t.Errorf("cargo was asked %d times", c.asked)
	}
}

func TestMachineCrateIndex(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ config, dir, want string }{
		"builtin":       {"", "index.example-1949cf8c6b5b557f", "https://index.example/"},
		"replaced":      {"[source.crates-io]\nreplace-with = \"ours\"\n[source.ours]\nregistry = \"sparse+https://mirror.example/api/\"\n", "mirror.example-1", "https://mirror.example/api/"},
		"twice":         {"[source.crates-io]\nreplace-with = \"a\"\n[source.a]\nreplace-with = \"b\"\n[source.b]\nregistry = \"sparse+https://b.example/\"\n", "b.example-1", "https://b.example/"},
		"in a circle":   {"[source.crates-io]\nreplace-with = \"a\"\n[source.a]\nreplace-with = \"crates-io\"\n", "x-1", "https://x/"},
		"by git":        {"[source.crates-io]\nreplace-with = \"ours\"\n[source.ours]\nregistry = \"https://git.example/index\"\n", "git.example-1", ""},
		"no TOML":       {"[", "index.example-1", ""},
		"another place": {"", "plain", ""},
	} {
		home := t.TempDir()
		if c.config != "" {
			writeFile(t, filepath.Join(home, ".cargo", "config.toml"), []byte(c.config))
		}
		if got := (machine{env: []string{"HOME=" + home}}).indexOf(c.dir); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestCompatibleCrates(t *testing.T) {
	t.Parallel()
	for pair, want := range map[[2]string]bool{
		{"1.0.0", "1.9.3"}: true, {"1.0.0", "2.0.0"}: false, {"0.4.1", "0.4.9"}: true, {"0.4.1", "0.5.0"}: false, {"0.0.3", "0.0.4"}: false,
		{"0.0.3", "0.0.3+b"}: true, {"1.0.0-rc.1", "1.2.0"}: true, {"1.0", "1.0.0"}: false, {"1.x.0", "1.0.0"}: false, {"0.0.0", "0.0.0"}: true,
	} {
		if got := CompatibleCrates(pair[0], pair[1]); got != want {
			t.Errorf("%q: %t", pair, got)
		}
	}
}

// Lines of an index are foreign: what is left of them with pins is lines that were there.
func FuzzHeldCrates(f *testing.F) {
	f.Add([]byte(itoaVersions), "1.0.1")
	f.Fuzz(func(t *testing.T, text []byte, pin string) {
		kept := held(text, []string{pin})
		if len(kept) > len(text) {
			t.Errorf("%d bytes of %d are left", len(kept), len(text))
		}
	})
}
