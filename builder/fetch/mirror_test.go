package fetch

import (
	"crypto/tls"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDirectory(t *testing.T) {
	t.Parallel()
	content := noise(20, 5000)
	item := deb(content)
	for name, file := range map[string]string{
		"by path":    item.File,
		"by name":    filepath.Base(item.File),
		"by package": item.Name + "/" + filepath.Base(item.File),
		"by sha256":  item.SHA256,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			writeFile(t, filepath.Join(dir, file), content)
			// A file of the name with other bytes, in another mirror, is no matter.
			wrong := t.TempDir()
			writeFile(t, filepath.Join(wrong, filepath.Base(item.File)), noise(21, 5000))
			for _, mirror := range []string{dir, "file://" + dir} {
				f := fromDebian(t, wrong, mirror)
				if err := f.Fetch(t.Context(), item); err != nil {
					t.Fatal(err)
				}
				checkStored(t, f, item, content)
			}
			err := fromDebian(t, wrong).Fetch(t.Context(), item)
			if wrongHash := (*HashError)(nil); !errors.As(err, &wrongHash) {
				t.Errorf("wrong bytes give %v", err)
			}
			checkFault(t, fromDebian(t, t.TempDir(), filepath.Join(dir, "no", "such")).Fetch(t.Context(), item), &NotFoundError{})
		})
	}
}

func writeFile(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	// A process that another test starts meanwhile would hold the file open for
	// writing, and then nothing can run it (ETXTBSY).
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
}

// The archive that Debian calls by its own name is upstream's file.
func TestCPython(t *testing.T) {
	t.Parallel()
	content := noise(22, 5000)
	item := deb(content)
	item.Source, item.Name = CPython, "cpython"
	for name, c := range map[string]struct{ version, form, served string }{
		"Debian's":               {"3.13.5", ".tar.xz", "/debian/pool/main/p/python3.13/python3.13_3.13.5.orig.tar.xz"},
		"Debian's security":      {"3.13.5", ".tar.xz", "/debian-security/pool/main/p/python3.13/python3.13_3.13.5.orig.tar.xz"},
		"Debian's pre-release":   {"3.14.0rc2", ".tar.xz", "/debian/pool/main/p/python3.14/python3.14_3.14.0~rc2.orig.tar.xz"},
		"Debian's by gzip":       {"3.11.2", ".tgz", "/debian/pool/main/p/python3.11/python3.11_3.11.2.orig.tar.gz"},
		"upstream's":             {"3.13.5", ".tar.xz", "/python/3.13.5/Python-3.13.5.tar.xz"},
		"upstream's pre-release": {"3.14.0rc2", ".tar.xz", "/python/3.14.0/Python-3.14.0rc2.tar.xz"},
		"flat":                   {"3.13.5", ".tar.xz", "/python/Python-3.13.5.tar.xz"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			item := item
			item.Version, item.File = c.version, "Python-"+c.version+c.form
			s := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != c.served {
					w.WriteHeader(http.StatusNotFound)
					return
				}
				w.Write(content)
			})
			f := impatient(openStore(t), map[string]Source{
				Debian:  {Mirrors: []string{s.URL + "/debian/", s.URL + "/debian-security"}},
				CPython: {Mirrors: []string{s.URL + "/python/"}},
			})
			if err := f.Fetch(t.Context(), item); err != nil {
				t.Fatal(err)
			}
			checkStored(t, f, item, content)
		})
	}
}

// Without apt what is configured for cpython serves; with neither the error tells both.
func TestCPythonWithoutDebian(t *testing.T) {
	t.Parallel()
	content := noise(23, 5000)
	item := deb(content)
	item.Source, item.Name, item.Version, item.File = CPython, "cpython", "3.13.5", "Python-3.13.5.tar.xz"
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, item.File), content)
	f := impatient(openStore(t), map[string]Source{CPython: {Mirrors: []string{dir}}})
	if err := f.Fetch(t.Context(), item); err != nil {
		t.Fatal(err)
	}
	checkStored(t, f, item, content)
	err := impatient(openStore(t), nil).Fetch(t.Context(), item)
	if missing := (*DefaultError)(nil); !errors.As(err, &missing) || missing.Source != Debian {
		t.Errorf("got %v", err)
	}
}

func TestSecrets(t *testing.T) {
	t.Parallel()
	const user, password = "tokenuser", "s3cr3t"
	content := noise(24, 1000)
	item := deb(content)
	refuse := func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://"+user+":"+password+"@127.0.0.1:1/x?signature="+password, http.StatusFound)
	}
	login := func(w http.ResponseWriter, r *http.Request) {
		if u, p, _ := r.BasicAuth(); u != user || p != password {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.Write(content)
	}
	with := func(s *server) string {
		return strings.Replace(s.URL, "//", "//"+user+":"+password+"@", 1) + "/?key=" + password
	}
	f := fromDebian(t, with(serve(t, login)))
	if err := f.Fetch(t.Context(), item); err != nil {
		t.Fatal(err)
	}
	f = fromDebian(t, with(serve(t, refuse)), with(serve(t, status(500))), with(serve(t, status(404))))
	err := f.Fetch(t.Context(), item)
	if err == nil || strings.Contains(err.Error(), password) || strings.Contains(err.Error(), user) {
		t.Errorf("the error tells a secret: %v", err)
	}
	if !strings.Contains(err.Error(), "http://127.0.0.1") {
		t.Errorf("the error names no mirror: %v", err)
	}
}

func TestDowngrade(t *testing.T) {
	t.Parallel()
	plain := serve(t, whole(nil))
	secure := httptest.NewTLSServer(http.RedirectHandler(plain.URL, http.StatusFound))
	t.Cleanup(secure.Close)
	f := fromDebian(t, secure.URL)
	f.client.Transport = secure.Client().Transport
	if err := f.Fetch(t.Context(), deb(nil)); !errors.Is(err, errDowngrade) {
		t.Errorf("got %v", err)
	}
	// An unknown authority is no fault that waiting mends.
	f = fromDebian(t, secure.URL)
	var certificate *tls.CertificateVerificationError
	if err := f.Fetch(t.Context(), deb(nil)); !errors.As(err, &certificate) || strings.Contains(err.Error(), "tried") {
		t.Errorf("got %v", err)
	}
}

func TestParseMirror(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"https://mirror.example/debian/":    "https://mirror.example/debian/",
		"http://user:x@mirror.example:8080": "http://user:x@mirror.example:8080",
		"/srv/mirror/":                      "file:///srv/mirror",
		"file:///srv/mirror":                "file:///srv/mirror",
		"file:/srv/mirror":                  "file:///srv/mirror",
		"file://host/srv":                   "",
		"ftp://mirror.example":              "",
		"mirror.example/debian":             "",
		"./mirror":                          "",
		"~/mirror":                          "",
		"https:///debian":                   "",
		"":                                  "",
	} {
		m, err := parseMirror(text)
		if (err == nil) == (want == "") || err == nil && m.String() != want {
			t.Errorf("%q is %v, %v; want %q", text, m, err, want)
		}
	}
}

func TestSourcesConfigured(t *testing.T) {
	t.Parallel()
	f := impatient(openStore(t), map[string]Source{
		Debian: {
			Mirrors:  []string{"http://a.example/debian", "http://a.example/debian-security/", "/srv/updates", "/srv/debian"},
			Security: []string{"/srv/updates"},
		},
		PyPI:   {Mirrors: []string{"/srv/wheels", "https://u:p@b.example/simple"}},
		"acme": {Mirrors: []string{"https://c.example/simple"}, Names: []string{"acme-*", "Foo.Bar"}},
		"also": {Mirrors: []string{"https://d.example/simple"}, Names: []string{"acme-x*"}},
	})
	got, err := f.Sources().Debian(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []Mirror{
		{URL: "http://a.example/debian"},
		{URL: "http://a.example/debian-security/", Security: true},
		{URL: "file:///srv/updates", Security: true},
		{URL: "file:///srv/debian"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if index, err := f.Sources().Index(t.Context()); index != "https://u:p@b.example/simple" || err != nil {
		t.Errorf("index %s, %v", index, err)
	}
	for name, want := range map[string]string{"ACME_one": "acme", "foo-bar": "acme", "flask": PyPI, "acme": PyPI, "acme-x1": ""} {
		got, err := f.Sources().Owner(name)
		if got != want || (err == nil) == (want == "") {
			t.Errorf("%s belongs to %q, %v; want %q", name, got, err, want)
		}
	}
	f = impatient(openStore(t), map[string]Source{PyPI: {Mirrors: []string{"/srv/wheels"}}})
	if _, err := f.Sources().Index(t.Context()); err == nil {
		t.Error("a directory is an index")
	}
}
