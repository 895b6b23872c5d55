package fetch

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"ampoule/config"
)

var (
	sumA = strings.Repeat("a", 64)
	sumB = strings.Repeat("b", 64)
)

const jsonType = "application/vnd.pypi.simple.v1+json"

func parse(t *testing.T, contentType, text string) ([]IndexFile, error) {
	t.Helper()
	base, err := url.Parse("https://index.example/simple/foo/")
	if err != nil {
		t.Fatal(err)
	}
	return parsePage(contentType, []byte(text), base)
}

func TestParsePage(t *testing.T) {
	t.Parallel()
	want := []IndexFile{
		{File: "foo-1.0.tar.gz", SHA256: sumA, RequiresPython: ">=3.8,<4"},
		{File: "foo-1.0-py3-none-any.whl", SHA256: sumB, Yanked: true},
		{File: "foo-0.9+x.zip"},
	}
	locations := []string{
		"https://files.example/a/foo-1.0.tar.gz",
		"https://index.example/files/foo-1.0-py3-none-any.whl",
		"https://index.example/simple/foo/foo-0.9+x.zip",
	}
	for name, c := range map[string]struct{ contentType, text string }{
		"html": {"text/html; charset=utf-8", `<!DOCTYPE html><html><head><meta name="pypi:repository-version" content="1.3"><title>Links</title>
<script>document.write("<a href='x.whl'>")</script></head><body><!-- <a href="no.whl">no</a> --><h1>foo</h1><a href="../">up</a>
<a href="https://files.example/a/foo-1.0.tar.gz#sha256=` + strings.ToUpper(sumA) + `" data-requires-python="&gt;=3.8,&lt;4" >foo-1.0.tar.gz</a><br>
<A HREF='../../files/foo-1.0-py3-none-any.whl#sha256=` + sumB + `&amp;x=y' data-yanked>foo-1.0-py3-none-any.whl</A><p>
<a href=foo-0.9%2Bx.zip#md5=00>foo-0.9+x.zip</a>`},
		"html 1": {"application/vnd.pypi.simple.v1+html", `<base href="/files/"><a href="https://files.example/a/foo-1.0.tar.gz#sha256=` + sumA + `" data-requires-python=">=3.8,<4">x</a>
<a data-yanked="broken" href="foo-1.0-py3-none-any.whl#sha256=` + sumB + `">x</a><a href="/simple/foo/foo-0.9+x.zip">x</a>`},
		"json": {jsonType, `{"meta":{"api-version":"1.1","x":1},"name":"foo","versions":["1.0"],"files":[
{"filename":"foo-1.0.tar.gz","url":"https://files.example/a/foo-1.0.tar.gz","hashes":{"sha256":"` + sumA + `","md5":"0"},"requires-python":">=3.8,<4","yanked":false,"size":null},
{"filename":"foo-1.0-py3-none-any.whl","url":"../../files/foo-1.0-py3-none-any.whl","hashes":{"sha256":"` + sumB + `"},"requires-python":null,"yanked":"broken","core-metadata":true},
{"filename":"foo-0.9+x.zip","url":"foo-0.9+x.zip","hashes":{}}]}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := parse(t, c.contentType, c.text)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(IndexFile{})); diff != "" {
				t.Fatal(diff)
			}
			for i, file := range got {
				u := *file.url
				u.Fragment = ""
				if at, _ := url.PathUnescape(u.String()); at != locations[i] {
					t.Errorf("%s is at %s, want %s", file.File, at, locations[i])
				}
			}
		})
	}
}

func TestParsePageRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ contentType, text string }{
		"version":       {jsonType, `{"meta":{"api-version":"2.0"},"files":[]}`},
		"no version":    {jsonType, `{"files":[]}`},
		"cut":           {jsonType, `{"meta":{"api-version":"1.0"},"files":[`},
		"hash":          {jsonType, `{"meta":{"api-version":"1.0"},"files":[{"filename":"a.whl","url":"a.whl","hashes":{"sha256":"xyz"}}]}`},
		"file name":     {jsonType, `{"meta":{"api-version":"1.0"},"files":[{"filename":"../a.whl","url":"a.whl","hashes":{}}]}`},
		"scheme":        {jsonType, `{"meta":{"api-version":"1.0"},"files":[{"filename":"a.whl","url":"file:///etc/a.whl","hashes":{}}]}`},
		"html version":  {"text/html", `<meta name="pypi:repository-version" content="2.0">`},
		"html hash":     {"text/html", `<a href="a.whl#sha256=12">a.whl</a>`},
		"html scheme":   {"text/html", `<a href="file:///etc/a.whl">a.whl</a>`},
		"html size":     {"text/html", `<a href="` + strings.Repeat("x", 2<<20) + `.whl">`},
		"content type":  {"application/json", `{"meta":{"api-version":"1.0"},"files":[]}`},
		"no type":       {"", `<a href="a.whl">a.whl</a>`},
		"not even json": {jsonType, `<html>`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if files, err := parse(t, c.contentType, c.text); err == nil {
				t.Errorf("it is taken: %v", files)
			}
		})
	}
}

// index serves projects as PEP 503 pages, and files. It asks for credentials.
func index(t *testing.T, projects map[string][]Item, files map[string][]byte) *server {
	t.Helper()
	return serve(t, func(w http.ResponseWriter, r *http.Request) {
		if u, p, _ := r.BasicAuth(); u != "u" || p != "p" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if content, ok := files[r.URL.Path]; ok {
			w.Write(content)
			return
		}
		items, ok := projects[r.URL.Path]
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		w.Header().Set("Content-Type", "text/html")
		for _, item := range items {
			// The name is not what counts.
			fmt.Fprintf(w, `<a href="http://%s/files/%s#sha256=%s">renamed</a>`, r.Host, item.File, item.SHA256)
		}
	})
}

func wheel(name string, content []byte) Item {
	item := deb(content)
	item.Source, item.Name, item.Version, item.File = PyPI, name, "1.0", name+"-1.0-py3-none-any.whl"
	return item
}

func withLogin(u string) string { return strings.Replace(u, "//", "//u:p@", 1) + "/simple/" }

func TestIndex(t *testing.T) {
	t.Parallel()
	content := noise(30, 5000)
	item := wheel("Foo.Bar", content)
	renamed := item
	renamed.File = "other-name-1.0-py3-none-any.whl"
	decoy := item
	decoy.SHA256 = sumA
	s := index(t, map[string][]Item{"/simple/foo-bar/": {decoy, renamed}}, map[string][]byte{"/files/" + renamed.File: content})
	f := impatient(openStore(t), map[string]Source{PyPI: {Mirrors: []string{withLogin(s.URL)}}})
	if err := f.Fetch(t.Context(), item); err != nil {
		t.Fatal(err)
	}
	checkStored(t, f, item, content)
	files, err := f.Project(t.Context(), PyPI, "foo_bar")
	if err != nil || len(files) != 2 {
		t.Errorf("project: %v, %v", files, err)
	}
	if n := len(s.seen()); n != 2 {
		t.Errorf("%d requests: the page is asked for again", n)
	}
	gone := item
	gone.SHA256 = sumB
	checkFault(t, f.Fetch(t.Context(), gone), &NotFoundError{})
	checkFault(t, f.Fetch(t.Context(), wheel("absent", []byte("x"))), &NotFoundError{})
	var none *NoProjectError
	if _, err := f.Project(t.Context(), PyPI, "absent"); !errors.As(err, &none) || none.Name != "absent" || none.Hint() == "" {
		t.Errorf("got %v", err)
	}
}

// An index that tells no sha256 may still have the file; the bytes decide.
func TestIndexWithoutHashes(t *testing.T) {
	t.Parallel()
	content := noise(31, 5000)
	item := wheel("foo", content)
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/foo/" {
			w.Header().Set("Content-Type", "text/html")
			fmt.Fprintf(w, `<a href="%s">x</a>`, item.File)
			return
		}
		w.Write(content)
	})
	f := impatient(openStore(t), map[string]Source{PyPI: {Mirrors: []string{s.URL}}})
	if err := f.Fetch(t.Context(), item); err != nil {
		t.Fatal(err)
	}
	checkStored(t, f, item, content)
}

// A name that a source owns comes from nowhere else.
func TestOwnedNames(t *testing.T) {
	t.Parallel()
	ours, theirs := noise(32, 100), noise(33, 100)
	item, forged := wheel("acme-tool", ours), wheel("acme-tool", theirs)
	private := index(t, map[string][]Item{"/simple/acme-tool/": {item}}, map[string][]byte{"/files/" + item.File: ours})
	public := index(t, map[string][]Item{"/simple/acme-tool/": {forged}}, map[string][]byte{"/files/" + item.File: theirs})
	f := impatient(openStore(t), map[string]Source{
		PyPI:   {Mirrors: []string{withLogin(public.URL)}},
		"acme": {Mirrors: []string{withLogin(private.URL)}, Names: []string{"acme-*"}},
	})
	if err := f.Fetch(t.Context(), item); err != nil {
		t.Fatal(err)
	}
	checkFault(t, f.Fetch(t.Context(), forged), &NotFoundError{})
	files, err := f.Project(t.Context(), PyPI, "Acme_Tool")
	if err != nil || len(files) != 1 || files[0].SHA256 != item.SHA256 {
		t.Errorf("project: %v, %v", files, err)
	}
	if n := len(public.seen()); n != 0 {
		t.Errorf("the public index was asked %d times", n)
	}
}

func TestProjectFaults(t *testing.T) {
	t.Parallel()
	broken, absent := serve(t, status(500)), serve(t, status(404))
	var (
		remote *RemoteError
		none   *NoProjectError
		wrong  *config.Error
	)
	project := func(source string, mirrors ...string) error {
		f := impatient(openStore(t), map[string]Source{PyPI: {Mirrors: mirrors}})
		_, err := f.Project(t.Context(), source, "foo")
		return err
	}
	if err := project(PyPI, absent.URL, broken.URL); !errors.As(err, &remote) || errors.As(err, &none) {
		t.Errorf("absent and broken: %v", err)
	}
	if err := project(PyPI, absent.URL); !errors.As(err, &none) {
		t.Errorf("absent: %v", err)
	}
	if err := project(PyPI, t.TempDir()); !errors.As(err, &wrong) {
		t.Errorf("a directory: %v", err)
	}
	if err := project(Debian, absent.URL); !errors.As(err, &wrong) {
		t.Errorf("Debian: %v", err)
	}
	big := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.Write(make([]byte, 2000))
	})
	f := impatient(openStore(t), map[string]Source{PyPI: {Mirrors: []string{big.URL}}})
	f.limits.page = 1000
	if _, err := f.Project(t.Context(), PyPI, "foo"); !errors.As(err, &remote) {
		t.Errorf("a large page: %v", err)
	}
}

func FuzzParsePage(f *testing.F) {
	f.Add(true, []byte(`{"meta":{"api-version":"1.0"},"files":[{"filename":"a.whl","url":"a.whl","hashes":{"sha256":"`+sumA+`"},"yanked":"x"}]}`))
	f.Add(false, []byte(`<base href="//x/"><a href="a.whl#sha256=`+sumA+`" data-requires-python="&gt;3">a</a><a data-yanked href=b.zip>`))
	f.Add(false, []byte(`<meta name="pypi:repository-version" content="1.0"><a href="%zz.whl">`))
	base := &url.URL{Scheme: "https", Host: "index.example", Path: "/simple/foo/"}
	f.Fuzz(func(t *testing.T, isJSON bool, text []byte) {
		contentType := "text/html"
		if isJSON {
			contentType = jsonType
		}
		files, err := parsePage(contentType, text, base)
		if err != nil {
			return
		}
		for _, file := range files {
			if file.url == nil || file.url.Host == "" || file.url.Scheme != "http" && file.url.Scheme != "https" {
				t.Errorf("%q is at %v", file.File, file.url)
			}
			if file.File == "" || file.File == ".." || strings.ContainsAny(file.File, "/\\\x00") {
				t.Errorf("file name %q", file.File)
			}
			if file.SHA256 != "" && len(file.SHA256) != 64 {
				t.Errorf("sha256 %q", file.SHA256)
			}
			if file.Size < 0 {
				t.Errorf("size %d", file.Size)
			}
		}
	})
}

func FuzzContentRange(f *testing.F) {
	for _, text := range []string{"bytes 0-4/5", "bytes 3-4/*", "bytes */5", "bytes -1-4/5", "bytes 1-/", "items 0-1/2"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		start, total, ok := contentRange(http.Header{"Content-Range": {text}})
		if ok && (start < -1 || total < -1) {
			t.Errorf("%q is %d of %d", text, start, total)
		}
	})
}
