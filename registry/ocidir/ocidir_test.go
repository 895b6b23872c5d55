package ocidir

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"ampoule/artifact"
)

func digestOf(data []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(data)) }

// ask sends a request to a layout.
func ask(t *testing.T, l *Layout, method, path, body string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://x/v2/web/"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := l.RoundTrip(req)
	if err != nil {
		return nil, err.Error()
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(data)
}

func created(t *testing.T, dir string) *Layout {
	t.Helper()
	l, err := Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// manifestOf is a manifest of one empty blob, perhaps about a subject.
func manifestOf(name, artifactType, subject string) string {
	m := map[string]any{
		"schemaVersion": 2, "mediaType": artifact.ManifestType, "annotations": map[string]string{"name": name},
		"config": map[string]any{"mediaType": artifact.EmptyType, "digest": digestOf([]byte("{}")), "size": 2}, "layers": []any{},
	}
	if artifactType != "" {
		m["artifactType"] = artifactType
	}
	if subject != "" {
		m["subject"] = map[string]any{"mediaType": artifact.ManifestType, "digest": subject, "size": 1}
	}
	data, _ := json.Marshal(m)
	return string(data)
}

func referrersOf(t *testing.T, l *Layout, subject string) []string {
	t.Helper()
	_, body := ask(t, l, http.MethodGet, "referrers/"+subject, "")
	var index v1.IndexManifest
	if err := json.Unmarshal([]byte(body), &index); err != nil {
		t.Fatal(err, body)
	}
	var list []string
	for _, d := range index.Manifests {
		list = append(list, d.ArtifactType+" "+d.Digest.String())
	}
	slices.Sort(list)
	return list
}

// What is written is found again, by another reader, and from a tar of it.
func TestWriteAndRead(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "layout")
	l := created(t, dir)
	blob := "content"
	resp, _ := ask(t, l, http.MethodPost, "blobs/uploads/", "")
	upload := strings.TrimPrefix(resp.Header.Get("Location"), "/v2/web/")
	ask(t, l, http.MethodPatch, upload, blob)
	if resp, body := ask(t, l, http.MethodPut, upload+"?digest="+digestOf([]byte(blob)), ""); resp.StatusCode != http.StatusCreated {
		t.Fatal(resp.Status, body)
	}
	image := manifestOf("image", "", "")
	index := `{"schemaVersion":2,"mediaType":"` + artifact.IndexType + `","manifests":[{"mediaType":"` + artifact.ManifestType + `","digest":"` + digestOf([]byte(image)) + `","size":1}]}`
	verdict := manifestOf("verdict", "application/x.verdict", digestOf([]byte(index)))
	for _, m := range [][2]string{{digestOf([]byte(image)), image}, {digestOf([]byte(verdict)), verdict}, {digestOf([]byte(index)), index}, {"v1", index}, {"v1", index}} {
		resp, body := ask(t, l, http.MethodPut, "manifests/"+m[0], m[1])
		if resp == nil || resp.StatusCode != http.StatusCreated {
			t.Fatal(m[0], body)
		}
		if m[1] == verdict && resp.Header.Get("Oci-Subject") != digestOf([]byte(index)) {
			t.Error("the subject is not told")
		}
	}
	var file bytes.Buffer
	if err := WriteTar(t.Context(), &file, dir, time.Unix(0, 0)); err != nil {
		t.Fatal(err)
	}
	packed := filepath.Join(t.TempDir(), "layout.tar")
	if err := os.WriteFile(packed, file.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, at := range []string{dir, packed} {
		r, err := Open(at)
		if err != nil {
			t.Fatal(err)
		}
		roots, err := r.Roots(t.Context())
		if diff := cmp.Diff([]Root{{digestOf([]byte(index)), []string{"v1"}}}, roots); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", at, err, diff)
		}
		if _, got := ask(t, r, http.MethodGet, "blobs/"+digestOf([]byte(blob)), ""); got != blob {
			t.Errorf("%s: the blob is %q", at, got)
		}
		if resp, got := ask(t, r, http.MethodGet, "manifests/v1", ""); got != index || resp.Header.Get("Content-Type") != artifact.IndexType {
			t.Errorf("%s: the tag leads to %q", at, got)
		}
		if diff := cmp.Diff([]string{"application/x.verdict " + digestOf([]byte(verdict))}, referrersOf(t, r, digestOf([]byte(index)))); diff != "" {
			t.Errorf("%s: referrers (-want +got):\n%s", at, diff)
		}
		if resp, _ := ask(t, r, http.MethodPut, "manifests/v2", index); resp.StatusCode != http.StatusMethodNotAllowed {
			t.Errorf("%s: it can be written: %s", at, resp.Status)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
}

// What is not what its digest says is not kept.
func TestWrongUploads(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "layout")
	l := created(t, dir)
	resp, _ := ask(t, l, http.MethodPost, "blobs/uploads/", "")
	upload := strings.TrimPrefix(resp.Header.Get("Location"), "/v2/web/")
	ask(t, l, http.MethodPatch, upload, "other")
	for what, request := range map[string][2]string{
		"blob": {upload + "?digest=" + digestOf([]byte("content")), ""}, "manifest": {"manifests/" + digestOf([]byte("{}")), `{"x":1}`},
		"no manifest": {"manifests/v1", "x"}, "unknown upload": {"blobs/uploads/77?digest=" + digestOf(nil), ""},
	} {
		if resp, _ := ask(t, l, http.MethodPut, request[0], request[1]); resp == nil || resp.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %v", what, resp)
		}
	}
	left, err := filepath.Glob(filepath.Join(dir, "blobs", "*", "*"))
	hidden, _ := filepath.Glob(filepath.Join(dir, "blobs", ".upload-*"))
	if err != nil || len(left)+len(hidden) > 0 {
		t.Errorf("left: %q, %q, %v", left, hidden, err)
	}
}

// Lists of referrers that others keep are read, too.
func TestForeignReferrers(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "layout")
	l := created(t, dir)
	subject := digestOf([]byte("subject"))
	one, two := manifestOf("one", "application/x.one", subject), manifestOf("two", "application/x.two", subject)
	list := func(m, artifactType string) string {
		return `{"schemaVersion":2,"mediaType":"` + artifact.IndexType + `","manifests":[{"mediaType":"` + artifact.ManifestType + `","artifactType":"` + artifactType + `","digest":"` + digestOf([]byte(m)) + `","size":1}]}`
	}
	tagged, olareg := list(one, "application/x.one"), list(two, "application/x.two")
	index := v1.IndexManifest{SchemaVersion: 2}
	for _, entry := range []struct {
		data        string
		annotations map[string]string
	}{
		{tagged, map[string]string{artifact.AnnotationRefName: schemaTag(subject)}}, {olareg, map[string]string{olaregSubject: subject}},
	} {
		hash, _ := v1.NewHash(digestOf([]byte(entry.data)))
		index.Manifests = append(index.Manifests, v1.Descriptor{MediaType: artifact.IndexType, Digest: hash, Size: int64(len(entry.data)), Annotations: entry.annotations})
	}
	text, _ := json.Marshal(index)
	for name, data := range map[string]string{
		indexFile: string(text), blobName(digestOf([]byte(tagged))): tagged, blobName(digestOf([]byte(olareg))): olareg,
		blobName(digestOf([]byte(one))): one, blobName(digestOf([]byte(two))): two,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{"application/x.one " + digestOf([]byte(one)), "application/x.two " + digestOf([]byte(two))}
	if diff := cmp.Diff(want, referrersOf(t, l, subject)); diff != "" {
		t.Errorf("referrers (-want +got):\n%s", diff)
	}
	if roots, err := l.Roots(t.Context()); err != nil || len(roots) > 0 {
		t.Errorf("lists of referrers are roots: %v, %v", roots, err)
	}
}

// layoutTar makes a tar of members.
func layoutTar(t *testing.T, members ...tar.Header) []byte {
	t.Helper()
	return tarOf(t, [2]string{layoutFile, layoutMark}, [2]string{indexFile, `{"schemaVersion":2,"manifests":[]}`}, members...)
}

// tarOf makes a tar of two files and further members.
func tarOf(t *testing.T, first, second [2]string, members ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	put := func(h tar.Header, data string) {
		h.Mode = 0o644
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		if h.Typeflag == tar.TypeReg {
			h.Size = int64(len(data))
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := io.WriteString(w, data); err != nil {
				t.Fatal(err)
			}
		}
	}
	put(tar.Header{Name: first[0]}, first[1])
	put(tar.Header{Name: second[0]}, second[1])
	for _, h := range members {
		put(h, "x")
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// A file is refused as a whole when anything in it is not what a layout has.
func TestRefusedFiles(t *testing.T) {
	t.Parallel()
	good := layoutTar(t, tar.Header{Name: "blobs/sha256/x"}, tar.Header{Name: "./blobs/sha256/y"})
	huge := tar.Header{Name: "huge", Typeflag: tar.TypeReg, Size: maxMember + 1, Mode: 0o644}
	var bomb bytes.Buffer
	if err := tar.NewWriter(&bomb).WriteHeader(&huge); err != nil {
		t.Fatal(err)
	}
	replaced := func(from, to string) []byte { return bytes.Replace(slices.Clone(good), []byte(from), []byte(to), 1) }
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"good":            {good, ""},
		"empty":           {nil, "no tar"},
		"compressed":      {[]byte("\x1f\x8b\x08rest of it"), "no tar"},
		"cut off":         {good[:1024+512+8], "ends within"},
		"cut in a header": {good[:1024+256], "cut off"},
		"leads out":       {layoutTar(t, tar.Header{Name: "../x"}), "leads out"},
		"absolute":        {layoutTar(t, tar.Header{Name: "/etc/x"}), "leads out"},
		"not clean":       {layoutTar(t, tar.Header{Name: "blobs/../../x"}), "leads out"},
		"link":            {layoutTar(t, tar.Header{Name: "blobs/sha256/l", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"}), "neither a file"},
		"hard link":       {layoutTar(t, tar.Header{Name: "blobs/sha256/l", Typeflag: tar.TypeLink, Linkname: indexFile}), "neither a file"},
		"device":          {layoutTar(t, tar.Header{Name: "dev", Typeflag: tar.TypeChar}), "neither a file"},
		"twice":           {layoutTar(t, tar.Header{Name: "a"}, tar.Header{Name: "a"}), "twice"},
		"twice, spelled":  {layoutTar(t, tar.Header{Name: "a"}, tar.Header{Name: "./a"}), "twice"},
		"second index":    {layoutTar(t, tar.Header{Name: indexFile}), "twice"},
		"bomb":            {bomb.Bytes(), "more than"},
		"no index":        {tarOf(t, [2]string{layoutFile, layoutMark}, [2]string{"other.json", "{}"}), "it has no file index.json"},
		"no marker":       {tarOf(t, [2]string{indexFile, "{}"}, [2]string{"other", ""}), "it has no file oci-layout"},
		"version":         {replaced(`"1.0.0"`, `"2.0.0"`), "not 1.0.0"},
		"index no JSON":   {replaced(`{"schemaVersion"`, `x"schemaVersion"`), "reading index.json"},
	} {
		file := filepath.Join(t.TempDir(), "x.tar")
		if err := os.WriteFile(file, c.data, 0o644); err != nil {
			t.Fatal(err)
		}
		l, err := Open(file)
		if name == "good" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			} else {
				_ = l.Close()
			}
			continue
		}
		if !errors.Is(err, ErrLayout) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	if _, err := Open(filepath.Join(t.TempDir(), "none")); err == nil || errors.Is(err, fs.ErrNotExist) && errors.Is(err, ErrLayout) {
		t.Errorf("nothing: %v", err)
	}
}

// A directory that is something else is not written to, and no link leads out of a layout.
func TestRefusedDirectories(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "mine"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Create(dir); err == nil || !strings.Contains(err.Error(), "mine is there") {
		t.Errorf("a directory of mine: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, layoutFile)); err == nil {
		t.Error("it became a layout")
	}
	linked := filepath.Join(t.TempDir(), "layout")
	l := created(t, linked)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("{}"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(secret, filepath.Join(linked, blobName(digestOf([]byte("{}"))))); err != nil {
		t.Fatal(err)
	}
	if resp, body := ask(t, l, http.MethodGet, "blobs/"+digestOf([]byte("{}")), ""); resp != nil && resp.StatusCode == http.StatusOK {
		t.Errorf("a link led to %q", body)
	}
}

// A manifest with other bytes than its digest says is an error, and not one that is missing.
func TestWrongManifest(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "layout")
	l := created(t, dir)
	m := manifestOf("m", "", "")
	ask(t, l, http.MethodPut, "manifests/v1", m)
	if err := os.WriteFile(filepath.Join(dir, blobName(digestOf([]byte(m)))), []byte(manifestOf("n", "", "")), 0o644); err != nil {
		t.Fatal(err)
	}
	if resp, told := ask(t, l, http.MethodGet, "manifests/v1", ""); resp != nil || !strings.Contains(told, ErrLayout.Error()) {
		t.Errorf("%v, %s", resp, told)
	}
	if _, err := l.Roots(t.Context()); !errors.Is(err, ErrLayout) {
		t.Errorf("roots: %v", err)
	}
}

// FuzzOpenTar wants any file to be a layout or an error.
func FuzzOpenTar(f *testing.F) {
	f.Add([]byte(nil))
	f.Add([]byte("no tar"))
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for name, data := range map[string]string{layoutFile: layoutMark, indexFile: `{"schemaVersion":2,"manifests":[]}`} {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(data))}); err != nil {
			f.Fatal(err)
		}
		_, _ = io.WriteString(w, data)
	}
	if err := w.Close(); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		file := filepath.Join(t.TempDir(), "x.tar")
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		l, err := Open(file)
		if err != nil {
			return
		}
		if _, err := l.Roots(t.Context()); err == nil {
			_, _ = l.referrers(digestOf(nil))
		}
		_ = l.Close()
	})
}
