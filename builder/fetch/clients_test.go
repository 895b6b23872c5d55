package fetch

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ampoule/store"
)

// scripted answers what it is told to, and counts.
type scripted struct {
	indexURL string
	template string
	// crateIndex is the root of the index beside template.
	crateIndex string
	apt        answer
	err        error
	asked      int
}

func (s *scripted) index(context.Context) (string, error) {
	s.asked++
	return s.indexURL, s.err
}

func (s *scripted) archives(context.Context) (answer, error) {
	s.asked++
	return s.apt, s.err
}

func (s *scripted) registry(context.Context) (template, index string, err error) {
	s.asked++
	return s.template, s.crateIndex, s.err
}

func asking(st *store.Store, c clients, env ...string) *Fetcher {
	f := New(st, Config{Environ: env})
	f.clients = c
	return f
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	st := openStore(t)
	c := &scripted{indexURL: "https://one.example/simple", apt: answer{
		Mirrors: []string{"http://a.example/debian/"}, Security: []string{"http://b.example/updates/"},
	}}
	for range 2 {
		f := asking(st, c)
		for range 2 {
			if got, err := f.Sources().Index(t.Context()); got != c.indexURL || err != nil {
				t.Errorf("index %s, %v", got, err)
			}
			want := []Mirror{{URL: "http://a.example/debian/"}, {URL: "http://b.example/updates/", Security: true}}
			got, err := f.Sources().Debian(t.Context())
			if diff := cmp.Diff(want, got); diff != "" || err != nil {
				t.Error(diff, err)
			}
		}
	}
	if c.asked != 2 {
		t.Errorf("clients were asked %d times", c.asked)
	}
	age(t, st, c.indexURL)
	c.indexURL = "https://two.example/simple"
	if got, err := asking(st, c).Sources().Index(t.Context()); got != c.indexURL || err != nil {
		t.Errorf("an old answer stands: %s, %v", got, err)
	}
	age(t, st, c.indexURL)
	c.err = errors.New("pip is gone")
	if got, err := asking(st, c).Sources().Index(t.Context()); got != c.indexURL || err != nil {
		t.Errorf("without pip the old answer is not used: %s, %v", got, err)
	}
	var missing *DefaultError
	if _, err := asking(openStore(t), c).Sources().Index(t.Context()); !errors.As(err, &missing) || !strings.Contains(missing.Hint(), "AMPOULE_SOURCE_PYPI") {
		t.Errorf("without anything: %v", err)
	}
}

// age makes the remembered index older than its life.
func age(t *testing.T, st *store.Store, url string) {
	t.Helper()
	old := defaultRecord{Answer: answer{Mirrors: []string{url}}, When: time.Now().Add(-2 * defaultLife)}
	if err := st.Record(defaultKind, PyPI, old); err != nil {
		t.Fatal(err)
	}
}

func TestDefaultsWithSecrets(t *testing.T) {
	t.Parallel()
	st := openStore(t)
	c := &scripted{indexURL: "https://u:s3cr3t@one.example/simple"}
	if got, err := asking(st, c).Sources().Index(t.Context()); got != c.indexURL || err != nil {
		t.Errorf("index %s, %v", got, err)
	}
	var kept defaultRecord
	if ok, err := st.Lookup(defaultKind, PyPI, &kept); ok || err != nil {
		t.Errorf("the store keeps a secret: %v, %v", kept, err)
	}
	c = &scripted{err: errors.New("asking https://u:s3cr3t@one.example/: no")}
	if _, err := asking(st, c).Sources().Index(t.Context()); err == nil || strings.Contains(err.Error(), "s3cr3t") {
		t.Errorf("the error tells a secret: %v", err)
	}
}

func TestIndexVariables(t *testing.T) {
	t.Parallel()
	c := &scripted{err: errors.New("asked in vain")}
	for want, env := range map[string][]string{
		"https://a.example/simple":   {"PIP_INDEX_URL=https://a.example/simple", "UV_DEFAULT_INDEX=https://b.example"},
		"https://b.example/?a=b":     {"PIP_INDEX_URL=", "UV_DEFAULT_INDEX=https://b.example/?a=b", "UV_INDEX_URL=https://c.example"},
		"https://c.example":          {"UV_INDEX_URL=https://c.example"},
		"https://d.example/simple/d": {"UV_DEFAULT_INDEX=corp=https://d.example/simple/d"},
	} {
		if got, err := asking(openStore(t), c, env...).Sources().Index(t.Context()); got != want || err != nil {
			t.Errorf("%v gives %s, %v", env, got, err)
		}
	}
}

func TestParseApt(t *testing.T) {
	t.Parallel()
	want := answer{
		Mirrors:  []string{"http://a.example/debian/"},
		Security: []string{"http://a.example/debian-security/"},
	}
	targets := `http://a.example/debian/|bookworm|Debian
http://a.example/debian/|bookworm|Debian
http://a.example/debian/|bookworm-updates|Debian
https://tool.example/linux/debian/|bookworm|Tool
http://a.example/debian-security/|bookworm-security|Debian
`
	if diff := cmp.Diff(want, parseTargets(targets)); diff != "" {
		t.Error(diff)
	}
	uris := `'http://a.example/debian/dists/bookworm/InRelease' a.example_debian_dists_bookworm_InRelease 0 
'http://a.example/debian/dists/bookworm-updates/InRelease' x 0 
'https://tool.example/linux/dists/bookworm/InRelease' x 0 
'http://a.example/debian-security/dists/bookworm-security/InRelease' x 0 
`
	if diff := cmp.Diff(want, parseURIs(uris)); diff != "" {
		t.Error(diff)
	}
	old := answer{Security: []string{"http://s.example/debian-security/"}}
	if diff := cmp.Diff(old, parseTargets("http://s.example/debian-security/|buster/updates|Debian")); diff != "" {
		t.Error(diff)
	}
}

func TestExpand(t *testing.T) {
	t.Parallel()
	list := filepath.Join(t.TempDir(), "mirrors.list")
	writeFile(t, list, []byte("http://a.example/debian\tpriority:1\n\nhttps://b.example/debian\n# no\n"))
	roots := []string{"http://x.example/debian/", "mirror+file:" + list + "/", "cdrom:[x]/", "file:/srv/debian/", "copy:/srv/copy"}
	got, err := expand(roots)
	want := []string{"http://x.example/debian/", "http://a.example/debian", "https://b.example/debian", "file:/srv/debian/", "file:/srv/copy"}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
	if _, err := expand([]string{"cdrom:[x]/", "tor+http://x.example/"}); err == nil {
		t.Error("ways that only apt knows are taken")
	}
}

// programs makes a directory of shell scripts and the environment that finds only them.
func programs(t *testing.T, scripts map[string]string) []string {
	t.Helper()
	dir := t.TempDir()
	for name, script := range scripts {
		path := filepath.Join(dir, name)
		writeFile(t, path, []byte("#!/bin/sh\n"+script+"\n"))
		if err := os.Chmod(path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return []string{"PATH=" + dir}
}

const (
	builtinPython = `case "$*" in *simple_url*) echo https://builtin.example/simple;; *) echo "ERROR: No such key" >&2; exit 1;; esac`
	setPython     = `case "$*" in *simple_url*) echo https://builtin.example/simple;; *"config get global.index-url") echo https://set.example/simple;; esac`
	noPip         = `echo "No module named pip" >&2; exit 1`
)

func TestMachineIndex(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		scripts map[string]string
		want    string
	}{
		"builtin":        {map[string]string{"python3": builtinPython}, "https://builtin.example/simple"},
		"configured":     {map[string]string{"python3": setPython}, "https://set.example/simple"},
		"pip's own":      {map[string]string{"python3": noPip, "python9": setPython}, "https://set.example/simple"},
		"not one's fork": {map[string]string{"python3": noPip}, ""},
		"none":           {nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := programs(t, c.scripts)
			dir := strings.TrimPrefix(env[0], "PATH=")
			writeFile(t, filepath.Join(dir, "pip3"), []byte("#!"+dir+"/python9\nimport pip\n"))
			os.Chmod(filepath.Join(dir, "pip3"), 0o755)
			m := machine{env: env, pythons: []string{"python3"}}
			got, err := m.index(t.Context())
			if got != c.want || (err == nil) == (c.want == "") {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

func TestMachineArchives(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ script, want string }{
		"targets":      {`echo "http://a.example/debian/|bookworm|Debian"`, "http://a.example/debian/"},
		"never synced": {`case "$*" in *print-uris*) echo "'http://b.example/debian/dists/bookworm/InRelease' x 0";; esac`, "http://b.example/debian/"},
		"nothing":      {`true`, ""},
		"broken":       {`echo E: broken >&2; exit 100`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := machine{env: programs(t, map[string]string{"apt-get": c.script})}
			got, err := m.archives(t.Context())
			if (err == nil) == (c.want == "") || err == nil && got.Mirrors[0] != c.want {
				t.Errorf("got %v, %v", got, err)
			}
		})
	}
	if _, err := (machine{env: []string{"PATH=/nowhere"}}).archives(t.Context()); err == nil {
		t.Error("a machine without apt answers")
	}
}

func FuzzApt(f *testing.F) {
	f.Add("http://a.example/debian/|bookworm|Debian\n'http://a.example/debian/dists/x/InRelease' a 0")
	f.Fuzz(func(t *testing.T, text string) {
		for _, a := range []answer{parseTargets(text), parseURIs(text)} {
			for _, uri := range append(a.Mirrors, a.Security...) {
				if strings.ContainsAny(uri, "|\n") {
					t.Errorf("mirror %q", uri)
				}
			}
		}
	})
}
