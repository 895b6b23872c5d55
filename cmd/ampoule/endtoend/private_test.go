//go:build docker

package endtoend

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"ampoule/builder/unpack/unpacktest"
	"ampoule/recipes"
)

// tokenCanary is a secret that nothing may keep.
const tokenCanary = "c4n4ry-0f-pr1v4t3-1nd3x"

// privateBackend is a build backend that a private wheel has.
const privateBackend = `
import os

def get_requires_for_build_wheel(config_settings=None):
    return ["acme-late"]

def prepare_metadata_for_build_wheel(directory, config_settings=None):
    import acme_late
    name = "demo-1.0.dist-info"
    os.mkdir(os.path.join(directory, name))
    with open(os.path.join(directory, name, "METADATA"), "w") as f:
        f.write("Metadata-Version: 2.1\nName: demo\nVersion: 1.0\nRequires-Dist: acme-core\n")
    with open(os.path.join(directory, name, "WHEEL"), "w") as f:
        f.write("Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    return name

def build_wheel(directory, config_settings=None, metadata_directory=None):
    raise SystemExit("nothing is built here")
`

// index serves files as plain pages (PEP 503), to who has a token if there is one.
type index struct {
	*httptest.Server
	token string
	files map[string][]byte
	mu    sync.Mutex
	asked []string
}

func serveFiles(t *testing.T, token string, files map[string][]byte) *index {
	t.Helper()
	i := &index{token: token, files: files}
	i.Server = httptest.NewServer(i)
	t.Cleanup(i.Close)
	return i
}

func (i *index) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	i.asked = append(i.asked, r.URL.Path)
	i.mu.Unlock()
	if i.token != "" && r.Header.Get("Authorization") != "Bearer "+i.token {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	name := path.Base(r.URL.Path)
	if content, ok := i.files[name]; ok {
		http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(content))
		return
	}
	var page strings.Builder
	for file, content := range i.files {
		if project, _, _ := strings.Cut(file, "-"); strings.ReplaceAll(project, "_", "-") == name {
			sum := sha256.Sum256(content)
			fmt.Fprintf(&page, "<a href=\"../../files/%s#sha256=%s\">%s</a><br>\n", file, hex.EncodeToString(sum[:]), file)
		}
	}
	if page.Len() == 0 {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "text/html")
	w.Write([]byte(page.String()))
}

func (i *index) askedFor(word string) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.ContainsFunc(i.asked, func(asked string) bool { return strings.Contains(asked, word) })
}

// demoSdist is an sdist without static metadata whose backend is a private distribution.
func demoSdist(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for _, file := range [][2]string{
		{"demo-1.0/PKG-INFO", "Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n"},
		{"demo-1.0/pyproject.toml", "[build-system]\nrequires = ['acme-build']\nbuild-backend = 'acme_build'\n"},
	} {
		if err := w.WriteHeader(&tar.Header{Name: file[0], Mode: 0o644, Size: int64(len(file[1])), Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(file[1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// ampouleIn runs the program with more variables, and returns how it ended.
func ampouleIn(t *testing.T, environ []string, args ...string) (errs string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), buildTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, append([]string{"--store", filepath.Join(cache, "store"), "--progress", "plain"}, args...)...)
	cmd.Env = append(os.Environ(), environ...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), cmd.ProcessState.ExitCode()
}

// The real resolver, without a network, locks names of a private index that the public one
// shadows with higher versions: what is required, what that requires, and what building
// takes, declared and dynamic.
func TestPrivateIndex(t *testing.T) {
	beside(t)
	nonce := unpacktest.Text("nonce.py", fmt.Sprint(time.Now().UnixNano()))
	wheel := func(file string, members ...unpacktest.Member) []byte {
		return unpacktest.Wheel(t, file, append(members, nonce)...)
	}
	private := serveFiles(t, tokenCanary, map[string][]byte{
		"acme_web-1.0-py3-none-any.whl": wheel("acme_web-1.0-py3-none-any.whl", unpacktest.Text("acme_web.py", ""),
			unpacktest.Text("INFO/METADATA", "Metadata-Version: 2.1\nName: acme-web\nVersion: 1.0\nRequires-Dist: demo\n")),
		"acme_core-1.0-py3-none-any.whl":  wheel("acme_core-1.0-py3-none-any.whl"),
		"acme_build-1.0-py3-none-any.whl": wheel("acme_build-1.0-py3-none-any.whl", unpacktest.Text("acme_build.py", privateBackend)),
		"acme_late-1.0-py3-none-any.whl":  wheel("acme_late-1.0-py3-none-any.whl", unpacktest.Text("acme_late.py", "")),
	})
	public := serveFiles(t, "", map[string][]byte{"demo-1.0.tar.gz": demoSdist(t)})
	for _, name := range []string{"acme_web", "acme_core", "acme_build", "acme_late"} {
		public.files[name+"-999-py3-none-any.whl"] = wheel(name + "-999-py3-none-any.whl")
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "ampoule.yaml")
	if err := os.WriteFile(file, fmt.Appendf(nil, faultRecipe, "private", "acme-web"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "config", "ampoule"), 0o755); err != nil {
		t.Fatal(err)
	}
	settings := fmt.Sprintf("[sources.company]\nmirrors = [%q]\nnames = [\"acme-*\"]\n", private.URL+"/simple")
	if err := os.WriteFile(filepath.Join(dir, "config", "ampoule", "config.toml"), []byte(settings), 0o644); err != nil {
		t.Fatal(err)
	}
	environ := []string{"XDG_CONFIG_HOME=" + filepath.Join(dir, "config"), "AMPOULE_SOURCE_PYPI=" + public.URL + "/simple"}
	begun := time.Now()
	told, code := ampouleIn(t, environ, "-f", file, "lock")
	if code != 7 || !strings.Contains(told, "credentials of source company are missing: HTTP 401") || !strings.Contains(told, "hint: ") {
		t.Fatalf("without credentials: code %d\n%s", code, last(told, 4000))
	}
	environ = append(environ, "AMPOULE_SOURCE_COMPANY_PASSWORD="+tokenCanary)
	told, code = ampouleIn(t, environ, "-f", file, "lock")
	if code != 0 {
		t.Fatalf("code %d\n%s", code, last(told, 4000))
	}
	lock, err := recipes.ReadLock(filepath.Join(dir, "ampoule.lock"))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, d := range lock.Dists {
		got = append(got, d.ID()+" "+d.Source)
	}
	want := []string{"acme-build==1.0 company", "acme-core==1.0 company", "acme-late==1.0 company", "acme-web==1.0 company", "demo==1.0 "}
	if !slices.Equal(got, want) {
		t.Errorf("locked %q, want %q", got, want)
	}
	if public.askedFor("acme") || private.askedFor("demo") {
		t.Errorf("the public index was asked for %q, the private one for %q", public.asked, private.asked)
	}
	for spec, says := range map[string]string{
		"acme-wbe":      "ampoule.yaml:9:16: the source company, which alone may have acme-wbe, has no such project",
		"demmo":         "ampoule.yaml:9:16: no index has demmo",
		"acme-web==7.0": "ampoule.yaml:9:16: the source company has acme-web and no version 7.0 of it",
	} {
		if err := os.WriteFile(file, fmt.Appendf(nil, faultRecipe, "private", spec), 0o644); err != nil {
			t.Fatal(err)
		}
		told, code := ampouleIn(t, environ, "-f", file, "lock")
		if code != 3 || !strings.Contains(told, says) || !strings.Contains(told, "hint: ") || strings.Contains(told, tokenCanary) {
			t.Errorf("%s: code %d\n%s", spec, code, last(told, 4000))
		}
	}
	checkSecret(t, dir, begun)
	checkSecret(t, filepath.Join(cache, "store", "logs"), begun)
	checkSecret(t, filepath.Join(cache, "store", "records"), begun)
	if strings.Contains(told, tokenCanary) {
		t.Errorf("it is told:\n%s", told)
	}
}

// checkSecret looks for the secret in all files of a directory that were written lately.
func checkSecret(t *testing.T, dir string, since time.Time) {
	t.Helper()
	err := filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) || err == nil && info.ModTime().Before(since) {
			return nil
		}
		data, err := os.ReadFile(file)
		if strings.Contains(string(data), tokenCanary) {
			t.Errorf("the secret is in %s", file)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
