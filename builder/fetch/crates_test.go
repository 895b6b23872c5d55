package fetch

import (
	"context"
	"errors"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
)

func crateItem(name, version string, content []byte) Item {
	item := deb(content)
	item.Source, item.Name, item.Version, item.File = Crates, name, version, name+"-"+version+".crate"
	return item
}

// registryServer serves a config.json with this dl, in which HOST is the server, and
// the content at one path.
func registryServer(t *testing.T, dl, path string, content []byte) *server {
	t.Helper()
	var s *server
	s = serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/index/config.json":
			w.Write([]byte(`{"dl": "` + strings.ReplaceAll(dl, "HOST", s.URL) + `", "api": null}`))
		case path:
			whole(content)(w, r)
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	})
	return s
}

func fromCrates(t *testing.T, mirrors ...string) *Fetcher {
	t.Helper()
	return impatient(openStore(t), map[string]Source{Crates: {Mirrors: mirrors}})
}

func TestRegistry(t *testing.T) {
	t.Parallel()
	content := noise(50, 5000)
	sum := deb(content).SHA256
	for name, c := range map[string]struct{ crate, version, dl, path string }{
		"no marker":   {"libc", "0.2.1", "HOST/api", "/api/libc/0.2.1/download"},
		"file":        {"libc", "0.2.1", "HOST/f/{crate}/{crate}-{version}.crate", "/f/libc/libc-0.2.1.crate"},
		"prefix":      {"Inflector", "0.11.4", "HOST/{prefix}/{crate}", "/In/fl/Inflector"},
		"lowerprefix": {"Inflector", "0.11.4", "HOST/{lowerprefix}/{crate}", "/in/fl/Inflector"},
		"one letter":  {"C", "1.0.0", "HOST/{prefix}/{crate}", "/1/C"},
		"two letters": {"cc", "1.0.0", "HOST/{prefix}/{crate}", "/2/cc"},
		"three":       {"Syn", "1.0.0", "HOST/{lowerprefix}/{crate}", "/3/s/Syn"},
		"checksum":    {"libc", "0.2.1", "HOST/{sha256-checksum}", "/" + sum},
		"query":       {"libc", "0.2.1", "HOST/q?c={crate}", "/q"},
		"build":       {"openssl-src", "300.5.0+3.5.0", "HOST/api", "/api/openssl-src/300.5.0+3.5.0/download"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			item := crateItem(c.crate, c.version, content)
			for _, prefix := range []string{"", "sparse+"} {
				s := registryServer(t, c.dl, c.path, content)
				f := fromCrates(t, prefix+s.URL+"/index/")
				if err := f.Fetch(t.Context(), item); err != nil {
					t.Fatal(err)
				}
				checkStored(t, f, item, content)
			}
			if strings.Contains(c.dl, "{") {
				s := registryServer(t, "", c.path, content)
				f := fromCrates(t, strings.ReplaceAll(c.dl, "HOST", s.URL))
				if err := f.Fetch(t.Context(), item); err != nil {
					t.Fatal(err)
				}
				checkStored(t, f, item, content)
			}
		})
	}
}

// A registry's config.json is asked for once, and a mirror without the crate is
// followed by one that has it.
func TestRegistryOnce(t *testing.T) {
	t.Parallel()
	one, two := noise(51, 500), noise(52, 500)
	s := registryServer(t, "HOST/api", "/api/one/1.0.0/download", one)
	dir := t.TempDir()
	item := crateItem("two", "2.0.0", two)
	writeFile(t, filepath.Join(dir, item.File), two)
	f := fromCrates(t, s.URL+"/index", dir)
	if err := f.Fetch(t.Context(), crateItem("one", "1.0.0", one), item); err != nil {
		t.Fatal(err)
	}
	checkStored(t, f, item, two)
	asked := 0
	for _, r := range s.seen() {
		if r.URL.Path == "/index/config.json" {
			asked++
		}
	}
	if asked != 1 {
		t.Errorf("config.json was asked for %d times", asked)
	}
	err := fromCrates(t, s.URL+"/index", t.TempDir()).Fetch(t.Context(), item)
	checkFault(t, err, &NotFoundError{})
	if missing := (*NotFoundError)(nil); !errors.As(err, &missing) || !strings.Contains(missing.Hint(), "Cargo.lock") {
		t.Errorf("got %v", err)
	}
}

func TestRegistryRefuses(t *testing.T) {
	t.Parallel()
	item := crateItem("libc", "0.2.1", noise(53, 500))
	for name, c := range map[string]struct{ config, want string }{
		"no JSON":  {"{", "reading the registry's config.json"},
		"no dl":    {"{}", "no http or https URL"},
		"file":     {`{"dl": "file:///etc/passwd"}`, "no http or https URL"},
		"relative": {`{"dl": "/crates"}`, "no http or https URL"},
		"token":    {`{"dl": "https://a.example", "auth-required": true}`, "token"},
		"long":     {strings.Repeat(" ", 2<<20) + `{"dl": "https://a.example"}`, "more than"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte(c.config)) })
			err := fromCrates(t, s.URL).Fetch(t.Context(), item)
			checkFault(t, err, &RemoteError{})
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v", err)
			}
		})
	}
	// A place that is no index does not say that it lacks the crate.
	err := fromCrates(t, serve(t, status(http.StatusNotFound)).URL).Fetch(t.Context(), item)
	checkFault(t, err, &RemoteError{})
}

func TestRegistryLimit(t *testing.T) {
	t.Parallel()
	content := noise(54, 5000)
	s := registryServer(t, "HOST/api", "/api/libc/0.2.1/download", content)
	f := fromCrates(t, s.URL+"/index")
	f.limits.crate = int64(len(content)) - 1
	err := f.Fetch(t.Context(), crateItem("libc", "0.2.1", content))
	if wrong := (*HashError)(nil); !errors.As(err, &wrong) || wrong.Limit != f.limits.crate {
		t.Errorf("got %v", err)
	}
}

// The index's credentials go to its own host and to no other.
func TestRegistrySecrets(t *testing.T) {
	t.Parallel()
	content := noise(55, 500)
	item := crateItem("libc", "0.2.1", content)
	other := serve(t, whole(content))
	for name, dl := range map[string]string{"own": "HOST/dl", "other": other.URL} {
		s := registryServer(t, dl, "/dl/libc/0.2.1/download", content)
		f := fromCrates(t, strings.Replace(s.URL, "//", "//user:s3cr3t@", 1)+"/index")
		if err := f.Fetch(t.Context(), item); err != nil {
			t.Fatal(name, err)
		}
		for _, r := range s.seen() {
			if _, password, _ := r.BasicAuth(); password != "s3cr3t" {
				t.Errorf("%s: %s without credentials", name, r.URL)
			}
		}
	}
	for _, r := range other.seen() {
		if r.Header.Get("Authorization") != "" {
			t.Error("another host got the credentials")
		}
	}
}

func TestRegistryDefault(t *testing.T) {
	t.Parallel()
	content := noise(56, 500)
	item := crateItem("libc", "0.2.1", content)
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/dl/libc/0.2.1/download" {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		w.Write(content)
	})
	st, c := openStore(t), &scripted{template: s.URL + "/dl" + plainDownload}
	if err := asking(st, c).Fetch(t.Context(), item); err != nil {
		t.Fatal(err)
	}
	// The answer is remembered as it was given.
	c.err = errors.New("cargo is gone")
	f := asking(st, c)
	mirrors, err := f.mirrors(t.Context(), Crates)
	if err != nil || len(mirrors) != 1 || mirrors[0].template() != c.template || c.asked != 1 {
		t.Errorf("got %v, %v, asked %d times", mirrors, err, c.asked)
	}
	var missing *DefaultError
	err = asking(openStore(t), c).Fetch(t.Context(), item)
	if !errors.As(err, &missing) || !strings.Contains(missing.Hint(), "AMPOULE_SOURCE_CRATES") || !strings.Contains(missing.Hint(), "cargo") {
		t.Errorf("without cargo: %v", err)
	}
}

// fakeCargo reads a registry as cargo does: into its CARGO_HOME.
const fakeCargo = `case "$*" in
--version) echo "cargo 1.85.0 (abc 2025-01-01)"; exit;;
esac
[ "$CARGO_REGISTRIES_CRATES_IO_PROTOCOL" = sparse ] || exit 9
case "$1" in
--config) dl=$(cat "$2"); shift 2;;
*) dl=https://builtin.example/api;;
esac
[ "$1 $2" = "generate-lockfile --manifest-path" ] && grep -q libc "$3" || exit 8
mkdir -p "$CARGO_HOME/registry/index/a-1"
echo "{\"dl\": \"$dl\"}" > "$CARGO_HOME/registry/index/a-1/config.json"
`

func TestMachineRegistry(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ script, config, want, fault string }{
		"builtin":     {fakeCargo, "", "https://builtin.example/api/{crate}/{version}/download", ""},
		"configured":  {fakeCargo, "https://set.example/{crate}", "https://set.example/{crate}", ""},
		"no crate":    {fakeCargo + "exit 101", "", "https://builtin.example/api/{crate}/{version}/download", ""},
		"no registry": {`case "$1" in --version) echo cargo 1.85.0;; *) echo "error: no network" >&2; exit 101;; esac`, "", "", "no network"},
		"too old":     {`echo cargo 1.65.0`, "", "", "it is cargo 1.65"},
		"no version":  {`echo ship`, "", "", "no version"},
		"no URL":      {fakeCargo, "file:///x", "", "no http or https URL"},
		"none":        {"", "", "", "not found"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			scripts := map[string]string{}
			if c.script != "" {
				scripts["cargo"] = c.script
			}
			env := programs(t, scripts)
			home := t.TempDir()
			env = append(env, "HOME="+home)
			env[0] += ":/usr/bin:/bin"
			if c.script == "" {
				env[0] = "PATH=/nowhere"
			}
			if c.config != "" {
				writeFile(t, filepath.Join(home, ".cargo", "config.toml"), []byte(c.config))
			}
			got, _, err := machine{env: env, cargos: []string{"cargo"}}.registry(t.Context())
			if got != c.want || c.fault == "" && err != nil || c.fault != "" && (err == nil || !strings.Contains(err.Error(), c.fault)) {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

func TestCargoConfig(t *testing.T) {
	t.Parallel()
	home, other := t.TempDir(), t.TempDir()
	writeFile(t, filepath.Join(home, ".cargo", "config.toml"), nil)
	writeFile(t, filepath.Join(other, "config.toml"), nil)
	writeFile(t, filepath.Join(other, "config"), nil)
	for want, env := range map[string][]string{
		filepath.Join(home, ".cargo", "config.toml"): {"HOME=" + home},
		filepath.Join(other, "config"):               {"HOME=" + home, "CARGO_HOME=" + other},
		"":                                           {"HOME=" + other},
	} {
		if got := (machine{env: env}).cargoConfig(); got != want {
			t.Errorf("%v gives %q, want %q", env, got, want)
		}
	}
}

func FuzzRegistry(f *testing.F) {
	f.Add([]byte(`{"dl": "https://a.example/{crate}/{version}"}`), "libc", "0.2.1+x")
	f.Add([]byte(`{"dl": "https://a.example", "auth-required": false}`), "C", "1.0.0")
	f.Fuzz(func(t *testing.T, text []byte, name, version string) {
		template, err := parseRegistry(text)
		if err != nil {
			return
		}
		if !hasMarker(template) {
			t.Errorf("template %q has no marker", template)
		}
		m, err := parseMirror(template)
		if err != nil {
			t.Fatalf("template %q is no mirror: %v", template, err)
		}
		item := Item{Source: Crates, Name: name, Version: version}
		fetcher := &Fetcher{}
		if got, err := fetcher.inRegistry(context.Background(), m, item); err == nil && got[0].url.Host == "" {
			t.Errorf("%q gives %v", template, got)
		}
	})
}
