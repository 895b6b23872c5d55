package embedded

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"ampoule/artifact"
)

// A list whose bytes are gone is put back from before its last change when the registry is opened, without what
// was removed since then.
func TestListIsPutBack(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	kept, gone := s.publish("a", noise(1000)), s.publish("b", noise(2000))
	raw, err := os.ReadFile(s.path(kept.index))
	if err != nil {
		t.Fatal(err)
	}
	for _, tag := range []string{"v1", "v2"} {
		if status := s.send(http.MethodPut, "/v2/web/manifests/"+tag, artifact.IndexType, raw); status != http.StatusCreated {
			t.Fatal(status)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(s.dir, rootName, "web", indexName), 0); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(s.path(gone.index)); err != nil {
		t.Fatal(err)
	}
	next := &shelf{Open(s.dir), t, s.dir}
	t.Cleanup(func() { _ = next.Close() })
	for ref, want := range map[string]int{
		"v1": http.StatusOK, kept.tag: http.StatusOK, kept.index.Digest: http.StatusOK,
		gone.tag: http.StatusNotFound, "v2": http.StatusNotFound, // that was its last change
	} {
		if status := next.send(http.MethodGet, "/v2/web/manifests/"+ref, "", nil); status != want {
			t.Errorf("%s is answered with %d, want %d", ref, status, want)
		}
	}
	if status := next.send(http.MethodGet, "/v2/web/tags/list", "", nil); status != http.StatusOK {
		t.Errorf("the tags are answered with %d", status)
	}
}

// What is there from before is another file than the list.
func TestListFromBeforeIsAnotherFile(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	s.publish("a", noise(1000))
	list, err := os.Stat(filepath.Join(s.dir, rootName, "web", indexName))
	if err != nil {
		t.Fatal(err)
	}
	before, err := os.Stat(filepath.Join(s.dir, rootName, "web", beforeName))
	if err != nil {
		t.Fatal(err)
	}
	if os.SameFile(list, before) || before.Size() >= list.Size() {
		t.Errorf("the list has %d bytes, the one from before %d", list.Size(), before.Size())
	}
}
