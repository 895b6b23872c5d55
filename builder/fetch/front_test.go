package fetch

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"ampoule/config"
	"ampoule/faults"
)

// askFront asks a front for a path.
func askFront(t *testing.T, f *Front, path string, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
	if len(header) == 2 {
		r.Header.Set(header[0], header[1])
	}
	w := httptest.NewRecorder()
	f.ServeHTTP(w, r)
	return w
}

// frontPage is a page as the front tells it.
func frontPage(t *testing.T, f *Front, name string) []frontFile {
	t.Helper()
	w := askFront(t, f, "/simple/"+name+"/")
	var page struct{ Files []frontFile }
	if err := json.Unmarshal(w.Body.Bytes(), &page); err != nil || w.Code != http.StatusOK {
		t.Fatalf("%s: code %d, %v: %s", name, w.Code, err, w.Body)
	}
	return page.Files
}

// What the front answers has neither addresses nor secrets of the index behind it, and all
// that a resolver needs.
func TestFront(t *testing.T) {
	t.Parallel()
	content := noise(84, 5000)
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+secret {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		switch r.URL.Path {
		case "/simple/acme-core/":
			w.Header().Set("Content-Type", "text/html")
			w.Write([]byte(`<a href="../../x/acme_core-1.0%2Ba-py3-none-any.whl#sha256=` + sumA + `" data-core-metadata="sha256=` + sumB + `" data-requires-python="&gt;=3.8">x</a>
<a href="/x/acme_core-1.0.tar.gz" data-yanked>x</a>`))
		case "/x/acme_core-1.0+a-py3-none-any.whl":
			whole(content)(w, r)
		case "/x/acme_core-1.0+a-py3-none-any.whl.metadata":
			w.Write([]byte("Name: acme-core\n"))
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	})
	f := asked(t, s, config.Credentials{Password: secret}).Front()
	files := frontPage(t, f, "Acme_Core")
	if len(files) != 2 {
		t.Fatalf("got %+v", files)
	}
	wheel, sdist := files[0], files[1]
	if wheel.Filename != "acme_core-1.0+a-py3-none-any.whl" || wheel.Hashes["sha256"] != sumA || !wheel.Metadata || wheel.RequiresPython != ">=3.8" || wheel.Yanked {
		t.Errorf("the wheel is %+v", wheel)
	}
	if len(sdist.Hashes) != 0 || !sdist.Yanked || sdist.Metadata {
		t.Errorf("the sdist is %+v", sdist)
	}
	at := strings.TrimPrefix(wheel.URL, "../..")
	if got := askFront(t, f, at); got.Code != http.StatusOK || got.Body.String() != string(content) {
		t.Errorf("the file: code %d, %d bytes", got.Code, got.Body.Len())
	}
	part := askFront(t, f, at, "Range", "bytes=10-19")
	if part.Code != http.StatusPartialContent || part.Body.String() != string(content[10:20]) || part.Header().Get("Content-Range") == "" {
		t.Errorf("a part: code %d, %q, %v", part.Code, part.Body, part.Header())
	}
	if got := askFront(t, f, at+".metadata"); got.Body.String() != "Name: acme-core\n" {
		t.Errorf("the metadata: code %d, %q", got.Code, got.Body)
	}
	for _, nowhere := range []string{"/simple/acme-none/", "/simple/../x/", "/simple/a%20b/", "/files/0/acme.whl", "/", strings.TrimPrefix(sdist.URL, "../..")} {
		if got := askFront(t, f, nowhere); got.Code != http.StatusNotFound {
			t.Errorf("%s: code %d", nowhere, got.Code)
		}
	}
	if err := f.Faults(); err != nil {
		t.Errorf("faults: %v", err)
	}
	if told := askFront(t, f, "/simple/acme-core/").Body.String(); strings.Contains(told, secret) || strings.Contains(told, s.URL) {
		t.Errorf("the front tells %s", told)
	}
}

// An index that fails is asked as often as any, and the resolver once: the fault is told by
// the front, and not taken for a project without files.
func TestFrontOfAFailingIndex(t *testing.T) {
	t.Parallel()
	garbage := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Write(noise(85, 200))
	}
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		tries  int
		says   string
	}{
		"away":      {status(http.StatusBadGateway), defaultLimits().tries, "HTTP 502 Bad Gateway (tried 6 times)"},
		"busy":      {status(http.StatusTooManyRequests), defaultLimits().tries, "HTTP 429 Too Many Requests (tried 6 times)"},
		"forbidden": {status(http.StatusForbidden), 1, "HTTP 403 Forbidden"},
		"garbage":   {garbage, 1, "its content type is"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, c.answer)
			f := asked(t, s, config.Credentials{}).Front()
			for range 2 {
				if got := askFront(t, f, "/simple/acme-core/"); got.Code != http.StatusBadRequest {
					t.Errorf("code %d", got.Code)
				}
				if len(s.seen()) != c.tries {
					t.Errorf("the index was asked %d times", len(s.seen()))
				}
				s.requests = nil
			}
			err := f.Faults()
			if err == nil || !strings.Contains(err.Error(), c.says) || faults.Of(err) != faults.Remote || strings.Count(err.Error(), "fetching") != 1 {
				t.Errorf("got %v", err)
			}
			if again := f.Faults(); again != nil {
				t.Errorf("again: %v", again)
			}
		})
	}
}

// Names that a source owns are of no other source, whoever has them too.
func TestFrontOwnership(t *testing.T) {
	t.Parallel()
	page := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.Write([]byte(`<a href="/x-1.tar.gz">x</a>`))
	}
	company, public := serve(t, page), serve(t, page)
	f := impatient(openStore(t), map[string]Source{
		PyPI:      {Mirrors: []string{public.URL + "/simple"}},
		"company": {Mirrors: []string{company.URL + "/simple"}, Names: []string{"acme-*"}},
	})
	front := f.Front()
	frontPage(t, front, "acme.core")
	frontPage(t, front, "flask")
	for s, want := range map[*server]string{company: "/simple/acme-core/", public: "/simple/flask/"} {
		if seen := s.seen(); len(seen) != 1 || seen[0].URL.Path != want {
			t.Errorf("a server was asked for %v, want %s", seen, want)
		}
	}
}

func TestPrivate(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		sources map[string]Source
		environ []string
		want    bool
	}{
		"public":      {map[string]Source{PyPI: {Mirrors: []string{"https://a.invalid/simple", "/srv/wheels"}}, "x": {Mirrors: []string{"/x"}}}, nil, false},
		"names":       {map[string]Source{PyPI: {Mirrors: []string{"https://a.invalid/simple"}}, "x": {Names: []string{"y"}}}, nil, true},
		"address":     {map[string]Source{PyPI: {Mirrors: []string{"https://u:p@a.invalid/simple"}}}, nil, true},
		"credentials": {map[string]Source{PyPI: {Mirrors: []string{"https://a.invalid/simple"}, Credentials: config.Credentials{Password: secret}}}, nil, true},
		"no netrc":    {map[string]Source{PyPI: {Mirrors: []string{"https://a.invalid/simple"}}}, []string{"HOME=/nowhere"}, false},
	} {
		f := impatient(openStore(t), c.sources)
		f.config.Environ = c.environ
		if got, err := f.Sources().Private(t.Context()); got != c.want || err != nil {
			t.Errorf("%s: %t, %v", name, got, err)
		}
	}
}
