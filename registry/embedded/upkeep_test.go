package embedded

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"ampoule/artifact"
)

// shelf is a registry with what a test published in it.
type shelf struct {
	*Registry
	t   *testing.T
	dir string
}

func newShelf(t *testing.T) *shelf {
	t.Helper()
	dir := t.TempDir()
	r := Open(dir)
	t.Cleanup(func() { _ = r.Close() })
	return &shelf{r, t, dir}
}

func (s *shelf) send(method, path, mediaType string, body []byte) int {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method, "http://"+ownHost+path, bytes.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Content-Type", mediaType)
	resp, err := s.RoundTrip(req)
	if err != nil {
		s.t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	return resp.StatusCode
}

// blob sends content.
func (s *shelf) blob(mediaType string, content []byte) descriptor {
	s.t.Helper()
	d := descriptor{MediaType: mediaType, Digest: hashOf(content), Size: int64(len(content))}
	if status := s.send(http.MethodPost, "/v2/web/blobs/uploads/?digest="+d.Digest, "application/octet-stream", content); status != http.StatusCreated {
		s.t.Fatalf("sending a blob: %d", status)
	}
	return d
}

// manifest sends a manifest, by its digest or under a tag.
func (s *shelf) manifest(m manifest, tag string) descriptor {
	s.t.Helper()
	m.SchemaVersion = 2
	raw, err := json.Marshal(m)
	if err != nil {
		s.t.Fatal(err)
	}
	d := descriptor{MediaType: m.MediaType, Digest: hashOf(raw), Size: int64(len(raw))}
	ref := d.Digest
	if tag != "" {
		ref = tag
	}
	if status := s.send(http.MethodPut, "/v2/web/manifests/"+ref, m.MediaType, raw); status != http.StatusCreated {
		s.t.Fatalf("sending %s: %d", ref, status)
	}
	return d
}

// made is a published artifact.
type made struct {
	layer, config, image, index, verdict, referrer descriptor
	tag                                            string
	content                                        []byte
}

func (m made) all() []descriptor {
	return []descriptor{m.layer, m.config, m.image, m.index, m.verdict, m.referrer}
}

// publish publishes an artifact under the key of 64 times a digit, as the builder does it:
// the referrer before its subject, which has the key's tag, last.
func (s *shelf) publish(digit string, layer []byte) made {
	s.t.Helper()
	sum := strings.Repeat(digit, 64)
	m := made{tag: "key-" + sum, content: layer}
	m.layer = s.blob("application/vnd.oci.image.layer.v1.tar+gzip", layer)
	m.config = s.blob("application/vnd.oci.image.config.v1+json", []byte(`{"config":{"Labels":{"dev.ampoule.key":"sha256:`+sum+`"}}}`))
	m.image = s.manifest(manifest{MediaType: artifact.ManifestType, Config: &m.config, Layers: []descriptor{m.layer}}, "")
	index := manifest{MediaType: artifact.IndexType, Manifests: []descriptor{m.image}}
	index.SchemaVersion = 2
	raw, err := json.Marshal(index)
	if err != nil {
		s.t.Fatal(err)
	}
	subject := descriptor{MediaType: artifact.IndexType, Digest: hashOf(raw), Size: int64(len(raw))}
	m.verdict = s.blob("application/json", []byte(`{"passed":"`+sum+`"}`))
	m.referrer = s.manifest(manifest{MediaType: artifact.ManifestType, ArtifactType: "test/verdict", Config: &m.verdict, Layers: []descriptor{m.verdict}, Subject: &subject}, "")
	m.index = s.manifest(index, m.tag)
	return m
}

// path is the file of content.
func (s *shelf) path(d descriptor) string {
	return filepath.Join(s.dir, rootName, "web", blobsName, hashName, strings.TrimPrefix(d.Digest, "sha256:"))
}

// there reports whether content has a file.
func (s *shelf) there(d descriptor) bool {
	_, err := os.Stat(s.path(d))
	return err == nil
}

// age makes everything as old as that, and forgets what was asked for.
func (s *shelf) age(by time.Duration) {
	s.t.Helper()
	then := time.Now().Add(-by)
	for _, dir := range []string{rootName, usedName} {
		err := filepath.WalkDir(filepath.Join(s.dir, dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || d.Name() == indexName {
				return err
			}
			return os.Chtimes(path, then, then)
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			s.t.Fatal(err)
		}
	}
	g := s.current.(*holder).guard
	g.askedMu.Lock()
	defer g.askedMu.Unlock()
	clear(g.asked)
}

// noise are bytes that compress to nothing smaller.
func noise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return b
}

// damage changes a byte of a file.
func damage(t *testing.T, path string) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err == nil {
		raw[len(raw)/2] ^= 1
		err = os.WriteFile(path, raw, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// spare is content elsewhere.
type spare map[string]string

func (s spare) Open(sum string) (*os.File, error) { return os.Open(s[sum]) }

func TestVerify(t *testing.T) {
	t.Parallel()
	sum := strings.Repeat("a", 64)
	for name, c := range map[string]struct {
		harm func(*shelf, made)
		// want are parts of what the faults say, done of what repairing says, in their order.
		want, done []string
		// lost says that something stays missing after the repair.
		lost bool
	}{
		"nothing":         {harm: func(*shelf, made) {}},
		"damaged layer":   {func(s *shelf, m made) { damage(s.t, s.path(m.layer)) }, []string{"its bytes are not those"}, []string{"removed"}, true},
		"lost layer":      {func(s *shelf, m made) { _ = os.Remove(s.path(m.layer)) }, []string{"it is gone, needed by web@"}, []string{""}, true},
		"lost config":     {func(s *shelf, m made) { _ = os.Remove(s.path(m.config)) }, []string{"it is gone, needed by web@"}, []string{""}, true},
		"damaged image":   {func(s *shelf, m made) { damage(s.t, s.path(m.image)) }, []string{"its bytes are not those"}, []string{"removed"}, true},
		"damaged index":   {func(s *shelf, m made) { damage(s.t, s.path(m.index)) }, []string{"its bytes are not those"}, []string{"removed; taken out of the list"}, false},
		"lost index":      {func(s *shelf, m made) { _ = os.Remove(s.path(m.index)) }, []string{"it is gone"}, []string{"taken out of the list"}, false},
		"lost verdict":    {func(s *shelf, m made) { _ = os.Remove(s.path(m.verdict)) }, []string{"it is gone, needed by web@"}, []string{"what needs it is taken out"}, false},
		"lost referrer":   {func(s *shelf, m made) { _ = os.Remove(s.path(m.referrer)) }, []string{"it is gone, needed by web@"}, []string{"what needs it is taken out"}, false},
		"damaged verdict": {func(s *shelf, m made) { damage(s.t, s.path(m.verdict)) }, []string{"its bytes are not those"}, []string{"removed; what needs it is taken out"}, false},
		"other's content": {func(s *shelf, m made) {
			raw, _ := os.ReadFile(s.path(m.config))
			_ = os.WriteFile(s.path(m.layer), raw, 0o644)
		}, []string{"its bytes are not those"}, []string{"removed"}, true},
		"restored": {func(s *shelf, m made) {
			file := filepath.Join(s.t.TempDir(), "spare")
			raw, _ := os.ReadFile(s.path(m.layer))
			if err := os.WriteFile(file, raw, 0o644); err != nil {
				s.t.Fatal(err)
			}
			s.current.(*holder).guard.spare = spare{strings.TrimPrefix(m.layer.Digest, "sha256:"): file}
			damage(s.t, s.path(m.layer))
		}, []string{"its bytes are not those"}, []string{"restored from the store's content"}, false},
		"damaged spare": {func(s *shelf, m made) {
			s.current.(*holder).guard.spare = spare{strings.TrimPrefix(m.layer.Digest, "sha256:"): s.path(m.config)}
			damage(s.t, s.path(m.layer))
		}, []string{"its bytes are not those"}, []string{"removed"}, true},
		"list is no JSON": {func(s *shelf, m made) {
			_ = os.WriteFile(filepath.Join(s.dir, rootName, "web", indexName), []byte("{"), 0o644)
		}, []string{"index.json cannot be read"}, []string{"made anew of 3 manifests"}, false},
		"list is gone": {func(s *shelf, m made) { _ = os.Remove(filepath.Join(s.dir, rootName, "web", indexName)) },
			[]string{"it is gone"}, []string{"made anew of 3 manifests"}, false},
		"strays": {func(s *shelf, m made) {
			for _, name := range []string{"x", rootName + "/y", rootName + "/web/z", rootName + "/web/blobs/w", rootName + "/web/blobs/sha256/v"} {
				if err := os.WriteFile(filepath.Join(s.dir, name), nil, 0o644); err != nil {
					s.t.Fatal(err)
				}
			}
		}, slices.Repeat([]string{"it belongs to nothing"}, 5), slices.Repeat([]string{"removed"}, 5), false},
		"lying key": {func(s *shelf, m made) {
			raw, _ := os.ReadFile(s.path(m.index))
			if status := s.send(http.MethodPut, "/v2/web/manifests/key-"+strings.Repeat("b", 64), artifact.IndexType, raw); status != http.StatusCreated {
				s.t.Fatal(status)
			}
		}, []string{"key-" + strings.Repeat("b", 64) + ": it names sha256:"}, []string{"the tag is removed"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShelf(t)
			m := s.publish("a", noise(100_000))
			time.Sleep(2 * tick)
			s.check(false, nil, nil) // what it finds whole is remembered
			c.harm(s, m)
			s.check(false, c.want, make([]string, len(c.want)))
			s.check(true, c.want, c.done)
			report, err := s.Verify(t.Context(), false)
			if err != nil || len(report.Faults) > 0 != c.lost {
				t.Errorf("after the repair: %v, %v", report.Faults, err)
			}
			again := s.publish("a", m.content)
			if again.index.Digest != m.index.Digest {
				t.Errorf("published again it is %v, not %v", again.index, m.index)
			}
			s.check(false, nil, nil)
			if raw, err := os.ReadFile(filepath.Join(s.dir, rootName, "web", indexName)); err != nil || strings.Count(string(raw), sum) != 1 {
				t.Errorf("the list has the key not once: %s, %v", raw, err)
			}
		})
	}
}

// check verifies, and compares what it tells.
func (s *shelf) check(repair bool, want, done []string) {
	s.t.Helper()
	report, err := s.Verify(s.t.Context(), repair)
	if err != nil {
		s.t.Fatal(err)
	}
	if len(report.Faults) != len(want) {
		s.t.Fatalf("with repair %v the faults are %v, want %v", repair, report.Faults, want)
	}
	for i, f := range report.Faults {
		if !strings.Contains(f.String(), want[i]) || !strings.Contains(f.Done, done[i]) || (f.Done == "") != (done[i] == "") {
			s.t.Errorf("with repair %v fault %q, done %q, want %q and %q", repair, f, f.Done, want[i], done[i])
		}
	}
}

// TestComparedOnce checks that a large blob is read again only when its file has changed,
// in this process and in the next one.
func TestComparedOnce(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	m := s.publish("a", noise(100_000))
	time.Sleep(2 * tick)
	head := func(s *shelf) int { return s.send(http.MethodHead, "/v2/web/blobs/"+m.layer.Digest, "", nil) }
	known := func(s *shelf) int { return len(s.current.(*holder).guard.sound.known) }
	if status := head(s); status != http.StatusOK || known(s) != 1 {
		t.Fatalf("the head is %d, remembered are %d files", status, known(s))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	next := &shelf{Open(s.dir), t, s.dir}
	t.Cleanup(func() { _ = next.Close() })
	if status := next.send(http.MethodGet, "/v2/", "", nil); status != http.StatusOK || known(next) != 1 {
		t.Errorf("the next process answers %d and remembers %d files", status, known(next))
	}
	info, err := os.Stat(s.path(m.layer))
	if err != nil {
		t.Fatal(err)
	}
	damage(t, s.path(m.layer))
	if err := os.Chtimes(s.path(m.layer), info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
	if status := head(next); status != http.StatusNotFound || known(next) != 0 {
		t.Errorf("of a damaged layer the head is %d, remembered are %d files", status, known(next))
	}
}

// TestDamagedBlobIsNoBlob asks for a damaged blob in every way in which clients do before
// they send one, and sends it.
func TestDamagedBlobIsNoBlob(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	m := s.publish("a", noise(100_000))
	upload := func(repo, query string, body []byte) int {
		return s.send(http.MethodPost, "/v2/"+repo+"/blobs/uploads/?"+query, "application/octet-stream", body)
	}
	whole := func() bool {
		raw, err := os.ReadFile(s.path(m.layer))
		return err == nil && hashOf(raw) == m.layer.Digest
	}
	damage(t, s.path(m.layer))
	if status := s.send(http.MethodHead, "/v2/web/blobs/"+m.layer.Digest, "", nil); status != http.StatusNotFound {
		t.Errorf("its head is answered with %d", status)
	}
	if status := upload("other", "from=web&mount="+m.layer.Digest, nil); status != http.StatusAccepted {
		t.Errorf("mounting it elsewhere is answered with %d", status)
	}
	if status := upload("web", "digest="+m.layer.Digest, m.content); status != http.StatusCreated || !whole() {
		t.Errorf("sending it in one request is answered with %d, it is whole: %v", status, whole())
	}
	if status := upload("other", "from=web&mount="+m.layer.Digest, nil); status != http.StatusCreated {
		t.Errorf("mounting it elsewhere when it is whole is answered with %d", status)
	}
	damage(t, s.path(m.layer))
	if status := upload("web", "from=other&mount="+m.layer.Digest, nil); status != http.StatusCreated || !whole() {
		t.Errorf("mounting it over the damaged one is answered with %d, it is whole: %v", status, whole())
	}
	damage(t, s.path(m.image))
	raw, err := json.Marshal(manifest{SchemaVersion: 2, MediaType: artifact.ManifestType, Config: &m.config, Layers: []descriptor{m.layer}})
	if err != nil {
		t.Fatal(err)
	}
	for _, method := range []string{http.MethodHead, http.MethodGet} {
		if status := s.send(method, "/v2/web/manifests/"+m.image.Digest, "", nil); status != http.StatusNotFound {
			t.Errorf("%s of a damaged manifest is answered with %d", method, status)
		}
	}
	if status := s.send(http.MethodPut, "/v2/web/manifests/"+m.image.Digest, artifact.ManifestType, raw); status != http.StatusCreated {
		t.Errorf("sending the manifest is answered with %d", status)
	}
	s.check(false, nil, nil)
}

// TestLostListOfReferrers adds to a list of referrers that is lost: what it had is still in it.
func TestLostListOfReferrers(t *testing.T) {
	t.Parallel()
	for name, harm := range map[string]func(string){
		"gone":    func(path string) { _ = os.Remove(path) },
		"damaged": func(path string) { damage(t, path) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShelf(t)
			m := s.publish("a", noise(1000))
			repo, _ := s.current.(*holder).guard.repository("web")
			list, ok := repo.referrers(m.index.Digest)
			if !ok {
				t.Fatal("there is no list")
			}
			harm(s.path(list))
			s.manifest(manifest{MediaType: artifact.ManifestType, ArtifactType: "test/second", Config: &m.verdict, Layers: []descriptor{m.verdict}, Subject: &m.index}, "")
			list, _ = repo.referrers(m.index.Digest)
			doc, _, err := repo.document(list.Digest)
			if err != nil || len(doc.Manifests) != 2 {
				t.Errorf("the list has %v, %v", doc.Manifests, err)
			}
			s.check(false, nil, nil)
		})
	}
}

func TestCollect(t *testing.T) {
	t.Parallel()
	const long, day = 1000 * time.Hour, 24 * time.Hour
	s := newShelf(t)
	shared := noise(1000)
	aged, held, tagged, used := s.publish("a", noise(2000)), s.publish("b", noise(3000)), s.publish("c", shared), s.publish("d", shared)
	loose := s.blob("application/octet-stream", noise(4000))
	if err := s.Hold(t.Context(), Target{Name: "web", Digest: held.index.Digest}); err != nil {
		t.Fatal(err)
	}
	raw, _ := os.ReadFile(s.path(tagged.index))
	s.send(http.MethodPut, "/v2/web/manifests/v1", artifact.IndexType, raw)
	if out, err := s.Collect(t.Context(), Keep{Unused: 1}); err != nil || out.Removed > 0 {
		t.Errorf("what has just come is removed: %+v, %v", out, err)
	}
	s.age(long)
	// What is under way: the parts of a publication before its index.
	coming := s.blob("application/octet-stream", noise(5000))
	if status := s.send(http.MethodHead, "/v2/web/blobs/"+loose.Digest, "", nil); status != http.StatusOK {
		t.Fatal(status)
	}
	out, err := s.Collect(t.Context(), Keep{})
	if err != nil || len(out.Artifacts) != 0 || !s.there(coming) || !s.there(loose) {
		t.Errorf("without a bound: %+v, %v; loose stays %v", out, err, s.there(loose))
	}
	s.age(long)
	if status := s.send(http.MethodHead, "/v2/web/manifests/"+used.tag, "", nil); status != http.StatusOK {
		t.Fatal(status)
	}
	dry, err := s.Collect(t.Context(), Keep{Unused: day, Dry: true})
	if err != nil || !s.there(aged.layer) || !s.there(loose) {
		t.Errorf("without removing anything it removed: %v", err)
	}
	out, err = s.Collect(t.Context(), Keep{Unused: day})
	if err != nil || cmp.Diff(dry, out) != "" {
		t.Errorf("what was told before differs from what was done: %v, %s", err, cmp.Diff(dry, out))
	}
	if diff := cmp.Diff([]string{"web@" + aged.index.Digest}, out.Artifacts); diff != "" {
		t.Errorf("removed artifacts (-want +got):\n%s", diff)
	}
	for _, d := range append(aged.all(), loose, coming) {
		if s.there(d) {
			t.Errorf("%v is left", d)
		}
	}
	for _, m := range []made{held, tagged, used} {
		for _, d := range m.all() {
			if !s.there(d) {
				t.Errorf("of %s %v is gone", m.tag, d)
			}
		}
	}
	if status := s.send(http.MethodGet, "/v2/web/manifests/"+aged.index.Digest, "", nil); status != http.StatusNotFound {
		t.Errorf("the removed artifact is answered with %d", status)
	}
	s.check(false, nil, nil)
	if again := s.publish("a", aged.content); again.index.Digest != aged.index.Digest {
		t.Error("published again it differs")
	}
	s.check(false, nil, nil)
}

// TestCollectLeavesDamagedRepositories checks that nothing goes where it is not known what
// belongs together.
func TestCollectLeavesDamagedRepositories(t *testing.T) {
	t.Parallel()
	for name, harm := range map[string]func(*shelf, made){
		"list": func(s *shelf, _ made) {
			_ = os.WriteFile(filepath.Join(s.dir, rootName, "web", indexName), []byte("{"), 0o644)
		},
		"image": func(s *shelf, m made) { damage(s.t, s.path(m.image)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShelf(t)
			m := s.publish("a", noise(1000))
			harm(s, m)
			s.age(1000 * time.Hour)
			out, err := s.Collect(t.Context(), Keep{})
			if list, err := s.Artifacts(t.Context()); err != nil || len(list) != 1 || list[0].Whole {
				t.Errorf("listed: %+v, %v", list, err)
			}
			if err != nil || out.Removed != 0 || !slices.Equal(out.Skipped, []string{"web"}) || !s.there(m.layer) {
				t.Errorf("collected: %+v, %v", out, err)
			}
		})
	}
}

func TestRemoveAndHold(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	m := s.publish("a", noise(1000))
	other := &shelf{Open(s.dir), t, s.dir} // another process, as far as the registry knows
	t.Cleanup(func() { _ = other.Close() })
	ctx, target := t.Context(), Target{Name: "web", Digest: m.index.Digest}
	if err := other.Hold(ctx, target); err != nil {
		t.Fatal(err)
	}
	list, err := other.Artifacts(ctx)
	if err != nil || len(list) != 1 || !list[0].Held || !list[0].Whole || list[0].Key != "sha256:"+strings.Repeat("a", 64) || len(list[0].Tags) != 2 {
		t.Errorf("listed: %+v, %v", list, err)
	}
	var held *HeldError
	if err := other.Remove(ctx, target); !errors.As(err, &held) {
		t.Errorf("removing what is held: %v", err)
	}
	if err := other.Remove(ctx, Target{Name: "web", Tag: "hold-" + strings.TrimPrefix(m.index.Digest, "sha256:")}); !errors.As(err, &held) {
		t.Errorf("removing the tag that holds it: %v", err)
	}
	if err := other.Unhold(ctx, target); err != nil {
		t.Fatal(err)
	}
	if err := other.Unhold(ctx, target); !errors.Is(err, ErrNoArtifact) {
		t.Errorf("letting go what is not held: %v", err)
	}
	damage(t, s.path(m.index))
	if err := other.Hold(ctx, target); !errors.Is(err, ErrDamaged) {
		t.Errorf("holding what is damaged: %v", err)
	}
	damage(t, s.path(m.index)) // it flips the bit back
	s.age(1000 * time.Hour)
	if err := other.Remove(ctx, target); err != nil {
		t.Fatal(err)
	}
	if err := other.Remove(ctx, target); !errors.Is(err, ErrNoArtifact) {
		t.Errorf("removing what is not there: %v", err)
	}
	if status := other.send(http.MethodGet, "/v2/web/manifests/"+m.tag, "", nil); status != http.StatusNotFound {
		t.Errorf("the removed artifact's tag is answered with %d", status)
	}
	// Whoever pulls it goes on.
	if out, err := other.Collect(ctx, Keep{}); err != nil || !s.there(m.layer) {
		t.Errorf("the content went at once: %+v, %v", out, err)
	}
	s.age(1000 * time.Hour)
	if out, err := other.Collect(ctx, Keep{}); err != nil || s.there(m.layer) || out.Left != 0 {
		t.Errorf("the content stays: %+v, %v", out, err)
	}
}

// TestCollectLetsOthersWrite collects many repositories, each of which takes long: whoever wants to
// write does not wait for the last of them.
func TestCollectLetsOthersWrite(t *testing.T) {
	t.Parallel()
	const repositories = 20
	s := newShelf(t)
	answers(t, s.Registry)
	g := s.current.(*holder).guard
	// A manifest that is a pipe is read when this test opens its other end.
	var pipes []string
	for i := range repositories {
		repo, _ := g.repository(fmt.Sprintf("r%02d", i))
		d := descriptor{MediaType: artifact.ManifestType, Digest: hashOf(fmt.Append(nil, i)), Size: 1, Annotations: map[string]string{artifact.AnnotationRefName: "v1"}}
		list, err := json.Marshal(manifest{SchemaVersion: 2, MediaType: artifact.IndexType, Manifests: []descriptor{d}})
		if err == nil {
			err = os.MkdirAll(filepath.Dir(repo.blob(d.Digest)), 0o755)
		}
		if err := errors.Join(err, os.WriteFile(filepath.Join(repo.dir, indexName), list, 0o644), unix.Mkfifo(repo.blob(d.Digest), 0o600)); err != nil {
			t.Fatal(err)
		}
		pipes = append(pipes, repo.blob(d.Digest))
	}
	collected := make(chan error, 1)
	go func() {
		_, err := s.Collect(t.Context(), Keep{})
		collected <- err
	}()
	wrote := make(chan struct{})
	for i, pipe := range pipes {
		end, err := os.OpenFile(pipe, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			go func() {
				g.writing.Lock()
				close(wrote)
				g.writing.Unlock()
			}()
		}
		time.Sleep(10 * time.Millisecond)
		if i == repositories-1 {
			select {
			case <-wrote:
			default:
				t.Error("nobody could write before the last repository was collected")
			}
		}
		if err := errors.Join(os.Remove(pipe), end.Close()); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-collected; err != nil {
		t.Fatal(err)
	}
}

// TestCollectWhilePublishing collects again and again while others publish what takes
// content along that nothing refers to any more.
func TestCollectWhilePublishing(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	content := noise(1000)
	first := s.publish("0", content)
	if err := s.Remove(t.Context(), Target{Name: "web", Digest: first.index.Digest}); err != nil {
		t.Fatal(err)
	}
	s.age(1000 * time.Hour)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		var err error
		for ctx.Err() == nil && err == nil {
			_, err = s.Collect(context.WithoutCancel(ctx), Keep{Unused: time.Hour})
		}
		ended <- err
	}()
	for i := range 9 {
		s.publish(fmt.Sprint(i+1), content)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	s.check(false, nil, nil)
	if list, err := s.Artifacts(t.Context()); err != nil || len(list) != 9 {
		t.Errorf("%d artifacts are left, %v", len(list), err)
	}
}

// Several uploads begin a repository, and none of them is forgotten.
func TestUploadsBeginRepository(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	send := func(method, path string, body []byte) (int, string) {
		req, err := http.NewRequestWithContext(t.Context(), method, "http://"+ownHost+path, bytes.NewReader(body))
		if err != nil {
			return 0, ""
		}
		req.Header.Set("Content-Type", "application/octet-stream")
		resp, err := s.RoundTrip(req)
		if err != nil {
			return 0, ""
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		return resp.StatusCode, resp.Header.Get("Location")
	}
	for round := range 30 {
		repo := fmt.Sprintf("web%d", round)
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() {
				content := fmt.Appendf(nil, "%d", i)
				started, to := send(http.MethodPost, "/v2/"+repo+"/blobs/uploads/", nil)
				at, err := url.Parse(to)
				if err != nil || started != http.StatusAccepted {
					t.Errorf("starting: %d, %q, %v", started, to, err)
					return
				}
				query := at.Query()
				query.Set("digest", hashOf(content))
				if ended, _ := send(http.MethodPut, at.Path+"?"+query.Encode(), content); ended != http.StatusCreated {
					t.Errorf("%s: an upload that was begun ended with %d", repo, ended)
				}
			})
		}
		all.Wait()
	}
	left, err := filepath.Glob(filepath.Join(s.dir, rootName, "*", uploadsName, "*"))
	if err != nil || len(left) > 0 {
		t.Errorf("%d uploads are left, %v", len(left), err)
	}
}

// A list tells of each artifact when it came and which dependency groups refer to it.
func TestArtifactsAreDescribed(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	m := s.publish("a", noise(1000))
	subject := m.index
	for _, group := range []string{"test", "lint", "test"} {
		file := s.blob("application/json", []byte(group+fmt.Sprint(len(group))))
		s.manifest(manifest{
			MediaType: artifact.ManifestType, ArtifactType: "test/group", Config: &file, Layers: []descriptor{file}, Subject: &subject,
			Annotations: map[string]string{artifact.AnnotationGroup: group},
		}, "")
	}
	list, err := s.Artifacts(t.Context())
	if err != nil || len(list) != 1 {
		t.Fatalf("%+v, %v", list, err)
	}
	if a := list[0]; !slices.Equal(a.Groups, []string{"lint", "test"}) || time.Since(a.Published) > time.Hour || a.Key == "" {
		t.Errorf("%+v", a)
	}
}

// TestPartsAreNoArtifacts sends the image of an artifact again, as some clients do: it is listed,
// and no artifact of its own.
func TestPartsAreNoArtifacts(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	m := s.publish("a", noise(100))
	raw, err := os.ReadFile(filepath.Join(s.dir, rootName, "web", blobsName, hashName, strings.TrimPrefix(m.image.Digest, "sha256:")))
	if err != nil {
		t.Fatal(err)
	}
	if status := s.send(http.MethodPut, "/v2/web/manifests/"+m.image.Digest, m.image.MediaType, raw); status != http.StatusCreated {
		t.Fatalf("sending it again: %d", status)
	}
	listed := func() (digests []string) {
		all, err := s.Artifacts(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range all {
			digests = append(digests, a.Digest)
		}
		return digests
	}
	if diff := cmp.Diff([]string{m.index.Digest}, listed()); diff != "" {
		t.Errorf("artifacts (-want +got):\n%s", diff)
	}
	// A tag with signatures goes on to a manifest with one more.
	for _, text := range []string{"1", "2"} {
		payload := s.blob(signedTypes[0], []byte(text))
		s.manifest(manifest{MediaType: artifact.ManifestType, Config: &m.config, Layers: []descriptor{payload}}, strings.Replace(m.index.Digest, ":", "-", 1)+".sig")
	}
	if diff := cmp.Diff([]string{m.index.Digest}, listed()); diff != "" {
		t.Errorf("artifacts of which one was signed twice (-want +got):\n%s", diff)
	}
	if status := s.send(http.MethodPut, "/v2/web/manifests/one-image", m.image.MediaType, raw); status != http.StatusCreated {
		t.Fatalf("sending it under a tag: %d", status)
	}
	if got := listed(); len(got) != 2 || !slices.Contains(got, m.image.Digest) {
		t.Errorf("with a tag of its own, artifacts are %v", got)
	}
}
