package embedded

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"ampoule/artifact"
)

// A list whose bytes are gone, or that names a new manifest that is not there, is put back from before the change that
// was under way, without what was removed since then.
func TestListIsPutBack(t *testing.T) {
	t.Parallel()
	for name, harm := range map[string]func(list string, last made, s *shelf) error{
		"no bytes": func(list string, _ made, _ *shelf) error { return os.Truncate(list, 0) },
		"no manifest": func(_ string, last made, s *shelf) error {
			return os.Truncate(s.path(last.index), 0)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShelf(t)
			list := filepath.Join(s.dir, rootName, "web", indexName)
			kept, gone := s.publish("a", noise(1000)), s.publish("b", noise(2000))
			raw, err := os.ReadFile(s.path(kept.index))
			if err != nil {
				t.Fatal(err)
			}
			if status := s.send(http.MethodPut, "/v2/web/manifests/v1", artifact.IndexType, raw); status != http.StatusCreated {
				t.Fatal(status)
			}
			before, err := os.ReadFile(list)
			if err != nil {
				t.Fatal(err)
			}
			last := s.publish("c", noise(3000))
			err = errors.Join(s.Close(), os.WriteFile(filepath.Join(s.dir, rootName, "web", previousName), before, 0o644), os.Remove(s.path(gone.index)), harm(list, last, s))
			if err != nil {
				t.Fatal(err)
			}
			next := &shelf{Open(s.dir), t, s.dir}
			t.Cleanup(func() { _ = next.Close() })
			for ref, want := range map[string]int{
				"v1": http.StatusOK, kept.tag: http.StatusOK, kept.index.Digest: http.StatusOK, gone.tag: http.StatusNotFound, last.tag: http.StatusNotFound,
			} {
				if status := next.send(http.MethodGet, "/v2/web/manifests/"+ref, "", nil); status != want {
					t.Errorf("%s is answered with %d, want %d", ref, status, want)
				}
			}
		})
	}
}

// What is damaged when no change is under way is told, and not taken for one.
func TestOnlyChangesArePutBack(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	m := s.publish("a", noise(1000))
	if _, err := os.Stat(filepath.Join(s.dir, rootName, "web", previousName)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the list from before is left: %v", err)
	}
	if err := errors.Join(s.Close(), os.Remove(s.path(m.index))); err != nil {
		t.Fatal(err)
	}
	next := &shelf{Open(s.dir), t, s.dir}
	t.Cleanup(func() { _ = next.Close() })
	report, err := next.Verify(t.Context(), false)
	if err != nil || len(report.Faults) == 0 || !report.Faults[0].Lost {
		t.Errorf("%+v, %v", report.Faults, err)
	}
}
