package embedded

import (
	"bytes"
	"crypto/sha512"
	"encoding/hex"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"ampoule/artifact"
)

// TestDeleting takes away what nothing needs, and leaves the rest.
func TestDeleting(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	m := s.publish("a", noise(1000))
	del := func(path string, want int) {
		t.Helper()
		if status := s.send(http.MethodDelete, "/v2/web/"+path, "", nil); status != want {
			t.Errorf("deleting %s is answered with %d, want %d", path, status, want)
		}
	}
	ref := Target{Name: "web", Digest: m.index.Digest}
	if err := s.Hold(t.Context(), ref); err != nil {
		t.Fatal(err)
	}
	del("manifests/"+m.index.Digest, http.StatusConflict)
	del("manifests/"+artifact.HoldTag(m.index.Digest), http.StatusConflict)
	if err := s.Unhold(t.Context(), ref); err != nil {
		t.Fatal(err)
	}
	// An index needs its image, a manifest its blobs, that of a referrer, too.
	for _, path := range []string{"manifests/" + m.image.Digest, "blobs/" + m.layer.Digest, "blobs/" + m.verdict.Digest, "blobs/" + m.index.Digest, "blobs/" + m.referrer.Digest} {
		del(path, http.StatusConflict)
	}
	s.check(false, nil, nil)
	del("manifests/none", http.StatusNotFound)
	del("blobs/"+hashOf([]byte("none")), http.StatusNotFound)
	del("manifests/"+m.tag, http.StatusAccepted)
	del("manifests/"+m.index.Digest, http.StatusAccepted)
	del("manifests/"+m.image.Digest, http.StatusAccepted)
	del("blobs/"+m.layer.Digest, http.StatusAccepted)
	if s.there(m.layer) || !s.there(m.verdict) {
		t.Error("another blob went")
	}
	del("manifests/"+m.referrer.Digest, http.StatusAccepted)
	del("blobs/"+m.verdict.Digest, http.StatusAccepted)
	s.check(false, nil, nil)

	g := s.current.(*holder).guard
	g.upkeep.Lock()
	del("manifests/none", http.StatusServiceUnavailable)
	g.upkeep.Unlock()
}

// TestOtherHashes sends what lists and tools would take for damaged.
func TestOtherHashes(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	s.publish("a", noise(100))
	sum := sha512.Sum512([]byte("{}"))
	long := "sha512:" + hex.EncodeToString(sum[:]) // of what is sent
	for path, method := range map[string]string{
		"blobs/uploads/?digest=" + long: http.MethodPost, "blobs/uploads/?digest-algorithm=sha512": http.MethodPost, "blobs/uploads/x?digest=" + long: http.MethodPut, "manifests/" + long: http.MethodPut,
	} {
		if status := s.send(method, "/v2/web/"+path, artifact.ManifestType, []byte("{}")); status != http.StatusBadRequest {
			t.Errorf("%s %s is answered with %d", method, path, status)
		}
	}
	s.check(false, nil, nil)
}

// TestFullList pushes to a repository whose list would not be read any more.
func TestFullList(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	m := s.publish("a", noise(100))
	file := filepath.Join(s.dir, rootName, "web", indexName)
	raw, err := os.ReadFile(file)
	if err == nil {
		err = os.WriteFile(file, append(raw, bytes.Repeat([]byte(" "), maxIndex-maxEntry)...), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	if status := s.send(http.MethodPut, "/v2/web/manifests/more", artifact.ManifestType, []byte(`{"schemaVersion":2}`)); status != http.StatusInsufficientStorage {
		t.Errorf("pushing is answered with %d", status)
	}
	if status := s.send(http.MethodDelete, "/v2/web/manifests/"+m.tag, "", nil); status != http.StatusAccepted {
		t.Errorf("deleting is answered with %d", status)
	}
}

// TestEvidenceStays collects signatures, bills of materials and lists of referrers by tag: with
// their artifact, or never where it is kept elsewhere.
func TestEvidenceStays(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	m := s.publish("1", noise(100))
	apartFrom := hashOf([]byte("apart"))
	var with, apart []descriptor
	for _, subject := range []string{m.index.Digest, m.image.Digest, apartFrom} {
		name := "sha256-" + subject[len("sha256:"):]
		for _, tag := range []string{name, name + ".sig", name + ".att", name + ".sbom"} {
			payload := s.blob("application/json", []byte(tag))
			d := s.manifest(manifest{MediaType: artifact.ManifestType, Config: &payload, Layers: []descriptor{payload}}, tag)
			if subject == apartFrom {
				apart = append(apart, payload, d)
			} else {
				with = append(with, payload, d)
			}
		}
	}
	s.age(100 * 24 * time.Hour)
	for _, unused := range []time.Duration{0, 24 * time.Hour} {
		if _, err := s.Collect(t.Context(), Keep{Unused: unused}); err != nil {
			t.Fatal(err)
		}
		for _, d := range with {
			if s.there(d) != (unused == 0) {
				t.Errorf("with %v for the unused, what is beside the artifact is there: %v", unused, s.there(d))
			}
		}
		for _, d := range apart {
			if !s.there(d) {
				t.Errorf("with %v for the unused, a signature of another repository's artifact is gone", unused)
			}
		}
		s.check(false, nil, nil)
	}
}

// TestRestingUploads collects what nobody goes on to send.
func TestRestingUploads(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	s.publish("a", noise(10))
	if status := s.send(http.MethodPost, "/v2/web/blobs/uploads/", "", nil); status != http.StatusAccepted {
		t.Fatal(status)
	}
	uploads := func() int {
		files, err := filepath.Glob(filepath.Join(s.dir, rootName, "web", uploadsName, "*"))
		if err != nil {
			t.Fatal(err)
		}
		return len(files)
	}
	for by, want := range map[time.Duration]int{time.Hour: 1} {
		s.age(by)
		if _, err := s.Collect(t.Context(), Keep{}); err != nil || uploads() != want {
			t.Errorf("after %v there are %d uploads, %v", by, uploads(), err)
		}
	}
	s.age(2 * uploadAge)
	if _, err := s.Collect(t.Context(), Keep{}); err != nil || uploads() != 0 {
		t.Errorf("after two days there are %d uploads, %v", uploads(), err)
	}
	if _, err := os.Stat(s.path(s.publish("b", noise(10)).index)); err != nil {
		t.Error(err)
	}
}
