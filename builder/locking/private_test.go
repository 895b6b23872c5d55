package locking

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"ampoule/builder/fetch"
	"ampoule/config"
	"ampoule/faults"
)

const canary = "c4n4ry-s3cr3t"

// privateIndex is an index that notes which projects it is asked for.
type privateIndex struct {
	*httptest.Server
	// token is what who asks has to know; empty is nothing.
	token string
	// html has pages as PEP 503 has them, without hashes where unhashed.
	html, unhashed bool
	files          map[string][]byte

	mu    sync.Mutex
	asked []string
}

func newPrivateIndex(t *testing.T, token string, files map[string][]byte) *privateIndex {
	t.Helper()
	i := &privateIndex{token: token, files: files}
	i.Server = httptest.NewServer(i)
	t.Cleanup(i.Close)
	return i
}

func (i *privateIndex) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	i.asked = append(i.asked, r.URL.Path)
	i.mu.Unlock()
	if _, password, _ := r.BasicAuth(); i.token != "" && password != i.token {
		w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	name := path.Base(r.URL.Path)
	if content, ok := i.files[name]; ok {
		w.Write(content)
		return
	}
	page := bytes.Buffer{}
	var told []indexFile
	for _, file := range sortedKeys(i.files) {
		if project, _, _ := strings.Cut(file, "-"); strings.ReplaceAll(project, "_", "-") != name {
			continue
		}
		sum := sha256.Sum256(i.files[file])
		hash := hex.EncodeToString(sum[:])
		told = append(told, indexFile{Filename: file, URL: "../../files/" + file, Hashes: map[string]string{"sha256": hash}})
		anchor := "../../files/" + file
		if !i.unhashed {
			anchor += "#sha256=" + hash
		}
		fmt.Fprintf(&page, "<a href=%q>%s</a><br>\n", anchor, file)
	}
	switch {
	case told == nil:
		w.WriteHeader(http.StatusNotFound)
	case i.html:
		w.Header().Set("Content-Type", "text/html")
		w.Write(page.Bytes())
	default:
		w.Header().Set("Content-Type", "application/vnd.pypi.simple.v1+json")
		json.NewEncoder(w).Encode(map[string]any{"meta": map[string]string{"api-version": "1.0"}, "name": name, "files": told})
	}
}

// askedFor reports whether anything that it was asked for has a word in it.
func (i *privateIndex) askedFor(word string) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.ContainsFunc(i.asked, func(asked string) bool { return strings.Contains(asked, word) })
}

// resolveNames does what uv does: it asks the one index that it is configured with, through
// the sandbox's port, for each name, and takes the last file.
func (w *world) resolveNames(asked, _ string) (answer, stderr string) {
	found := map[string][]indexFile{}
	for spec := range strings.Lines(asked) {
		name, _, _ := strings.Cut(strings.TrimSpace(spec), "==")
		data, err := w.relay.get(w.t, http.DefaultClient, "/simple/"+name+"/")
		if err != nil {
			return "", err.Error()
		}
		var page struct{ Files []indexFile }
		if json.Unmarshal(data, &page) != nil || len(page.Files) == 0 {
			return "", "  × No solution found when resolving dependencies:\n  ╰─▶ Because " + name + " was not found in\n      the package registry and you require " + name + ", …"
		}
		last := page.Files[len(page.Files)-1]
		stem := strings.TrimSuffix(strings.TrimSuffix(last.Filename, "-py3-none-any.whl"), ".tar.gz")
		found[name+"=="+stem[strings.LastIndex(stem, "-")+1:]] = []indexFile{last}
	}
	return w.resolved(found), ""
}

// company is a world with a private index that the public one shadows.
func company(t *testing.T, set config.Credentials) (w *world, private, public *privateIndex) {
	t.Helper()
	w = newWorld(t)
	demo := sdistOf(t, "demo", "1.0", "acme-build")
	private = newPrivateIndex(t, canary, map[string][]byte{
		"acme_build-1.0-py3-none-any.whl": []byte(emptyZip), "acme_web-2.0.tar.gz": sdistOf(t, "acme_web", "2.0", "acme-build"),
	})
	public = newPrivateIndex(t, "", map[string][]byte{
		"demo-1.0.tar.gz": demo, "acme_build-999-py3-none-any.whl": []byte(emptyZip), "acme_web-999-py3-none-any.whl": []byte(emptyZip),
	})
	w.private = map[string]fetch.Source{
		"pypi":    {Mirrors: []string{public.URL + "/simple"}},
		"company": {Mirrors: []string{private.URL + "/simple"}, Names: []string{"Acme_*"}, Credentials: set},
	}
	w.uv = w.resolveNames
	return w, private, public
}

func sdistOf(t *testing.T, name, version string, requires ...string) []byte {
	t.Helper()
	stem := name + "-" + version
	text := fmt.Sprintf("[build-system]\nrequires = [%s]\n", quoted(requires))
	return gzipped(tarOf(t, member{name: stem + "/pyproject.toml", text: text}))
}

// A name that a source owns is asked of that source alone: of what is required, of what
// building it requires, declared and dynamic, in whichever form the index is.
func TestPrivateNames(t *testing.T) {
	t.Parallel()
	for name, html := range map[string]bool{"html": true, "json": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, private, public := company(t, config.Credentials{Username: "me", Password: canary})
			private.html = html
			private.files["acme_late-3.0-py3-none-any.whl"] = []byte(emptyZip)
			w.dynamic["demo-1.0.tar.gz"] = []string{"acme-late"}
			if _, err := w.lockAll(requirements("demo", "acme-web"), Options{}); err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, d := range w.locker.lock.Dists {
				got = append(got, d.ID()+" "+d.Source)
			}
			if want := []string{"acme-build==1.0 company", "acme-late==3.0 company", "acme-web==2.0 company", "demo==1.0 "}; !slices.Equal(got, want) {
				t.Errorf("locked %q, want %q", got, want)
			}
			if public.askedFor("acme") || private.askedFor("demo") || !public.askedFor("demo") {
				t.Errorf("the public index was asked for %q, the private one for %q", public.asked, private.asked)
			}
			w.checkCanary(t)
		})
	}
}

// checkCanary looks for the secret in everything that stays: the store, the log, what was
// run, what sandboxes have, the lock.
func (w *world) checkCanary(t *testing.T) {
	t.Helper()
	encoded := []string{canary, "bWU6" /* base64 of "me:" */}
	look := func(where, text string) {
		t.Helper()
		for _, secret := range encoded {
			if strings.Contains(text, secret) {
				t.Errorf("the secret is in %s", where)
			}
		}
	}
	for _, s := range w.runner.Sandboxes() {
		for _, step := range s.Steps() {
			look("a step", strings.Join(slices.Concat(step.Args, step.Env, step.Secrets), "\n"))
		}
		for _, e := range s.Files().Entries() {
			if data, err := e.ReadAll(); err == nil {
				look(e.Path, string(data))
			}
		}
		if s.Online {
			t.Errorf("sandbox %s has a network", s.Spec.Name)
		}
	}
	look("the lock", string(w.locker.lock.Encode()))
	root := filepath.Dir(w.st.Dir("tmp"))
	for _, dir := range []string{root, filepath.Dir(w.log.Path())} {
		err := filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			data, err := os.ReadFile(file)
			look(file, string(data))
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
}

// What keeps a private index from answering is told with its code and its hint, and the
// public index is not asked instead.
func TestPrivateIndexFails(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		credentials config.Credentials
		change      func(*privateIndex)
		asked       string
		want        []string
		kind        faults.Kind
	}{
		"no credentials": {config.Credentials{}, nil, "acme-web",
			[]string{"credentials of source company are missing: HTTP 401", "[sources.company] credentials = {netrc", "AMPOULE_SOURCE_COMPANY_PASSWORD"}, faults.Remote},
		"wrong token": {config.Credentials{Username: "me", Password: canary + "x"}, nil, "acme-web",
			[]string{"credentials of source company are refused: HTTP 401", "expired"}, faults.Remote},
		"build requirement": {config.Credentials{}, nil, "demo",
			[]string{"resolving the build requirements of demo==1.0", "credentials of source company are missing"}, faults.Remote},
		"no such project": {config.Credentials{Username: "me", Password: canary}, nil, "acme-wbe",
			[]string{"ampoule.yaml:7:5: the source company, which alone may have acme-wbe, has no such project", "check the spelling"}, faults.Input},
		"nowhere": {config.Credentials{Username: "me", Password: canary}, nil, "psycopg3",
			[]string{"ampoule.yaml:7:5: no index has psycopg3", "did you mean psycopg?", "[sources.company]"}, faults.Input},
		"no hash": {config.Credentials{Username: "me", Password: canary}, func(i *privateIndex) { i.html, i.unhashed = true, true }, "acme-web",
			[]string{"the index gives no sha256 for acme_web-2.0.tar.gz", "#sha256="}, faults.Input},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, private, public := company(t, c.credentials)
			if c.change != nil {
				c.change(private)
			}
			_, err := w.lockAll(requirements(c.asked), Options{})
			if err == nil || faults.Of(err) != c.kind {
				t.Fatalf("got %v, kind %d", err, faults.Of(err))
			}
			told := err.Error() + "\n" + strings.Join(faults.Hints(err), "\n")
			for _, want := range c.want {
				if !strings.Contains(told, want) {
					t.Errorf("%q is not in\n%s", want, told)
				}
			}
			if strings.Contains(told, canary) || public.askedFor("acme") {
				t.Errorf("the public index was asked for %q, and the error is\n%s", public.asked, told)
			}
			w.checkCanary(t)
		})
	}
}

// A version that is gone is told with those that there are.
func TestMissingVersion(t *testing.T) {
	t.Parallel()
	w, private, _ := company(t, config.Credentials{Username: "me", Password: canary})
	for _, version := range []string{"1.10", "1.9", "1!0.1", "1.0.dev1", "0.1", "0.2"} {
		private.files["acme_web-"+version+"-py3-none-any.whl"] = []byte(emptyZip)
	}
	w.uv = func(string, string) (string, string) {
		return "", "  × No solution found when resolving dependencies:\n  ╰─▶ Because there is no version of\n      acme-web==7.0 and you require acme-web==7.0, we can conclude …"
	}
	_, err := w.lockAll(requirements("acme-web==7.0"), Options{})
	if err == nil || !strings.Contains(err.Error(), "ampoule.yaml:7:5: the source company has acme-web and no version 7.0 of it") {
		t.Fatalf("got %v", err)
	}
	if hints := strings.Join(faults.Hints(err), "\n"); !strings.Contains(hints, "the newest are 1!0.1, 2.0, 1.10, 1.9, 1.0.dev1") {
		t.Errorf("the hint is %s", hints)
	}
}

// Who locks a name of another source later keeps what building it took.
func TestPrivateLockIsKept(t *testing.T) {
	t.Parallel()
	w, _, _ := company(t, config.Credentials{Username: "me", Password: canary})
	if _, err := w.lockAll(requirements("acme-web"), Options{}); err != nil {
		t.Fatal(err)
	}
	before := w.locker.lock
	if _, err := w.lockAll(requirements("acme-web"), Options{Previous: before}); err != nil {
		t.Fatal(err)
	}
	for _, d := range w.locker.lock.Dists {
		if was, ok := before.Dist(d.ID()); !ok || was.Source != d.Source || was.SHA256 != d.SHA256 {
			t.Errorf("%s became %+v", d.ID(), d)
		}
	}
}
