package registry_test

import (
	"errors"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"ampoule/artifact"
	"ampoule/faults"
	"ampoule/registry"
	"ampoule/registry/embedded"
)

func repositoryOf(t *testing.T, r *registry.Registry) *registry.Repository {
	t.Helper()
	repo, err := r.Repository("web")
	if err != nil {
		t.Fatal(err)
	}
	return repo
}

// put writes a file under a tag, under a condition.
func put(t *testing.T, r *registry.Repository, tag, expected, text string) (string, error) {
	t.Helper()
	return r.PutIf(t.Context(), tag, expected, "application/x", nil, []artifact.File{artifact.BytesFile("x", "text/plain", []byte(text))})
}

// A tag of the store's registry moves under a condition, and says what it names.
func TestConditionalTags(t *testing.T) {
	t.Parallel()
	repo := repositoryOf(t, store(t, t.TempDir()))
	if named, err := repo.Named(t.Context(), "x"); named != "" || err != nil {
		t.Errorf("a tag that is not there names %q: %v", named, err)
	}
	one, err := put(t, repo, "x", "", "1")
	if err != nil {
		t.Fatal(err)
	}
	var moved *registry.MovedError
	if _, err := put(t, repo, "x", "", "2"); !errors.As(err, &moved) || faults.Of(err) != faults.Refused || !strings.Contains(err.Error(), "web:x") {
		t.Errorf("%v", err)
	}
	two, err := put(t, repo, "x", one, "2")
	if err != nil || two == one {
		t.Fatalf("%s, %v", two, err)
	}
	if err := repo.PointIf(t.Context(), "x", one, one); !errors.As(err, &moved) {
		t.Errorf("%v", err)
	}
	if err := repo.PointIf(t.Context(), "x", two, one); err != nil {
		t.Error(err)
	}
	if named, err := repo.Named(t.Context(), "x"); named != one || err != nil {
		t.Errorf("it names %s, not %s: %v", named, one, err)
	}
	if err := repo.PointIf(t.Context(), "y", "", key("1")); faults.Of(err) != faults.NotFound {
		t.Errorf("a digest that is not there: %v", err)
	}
}

// Registries that honour no condition are not written at all.
func TestUnconditional(t *testing.T) {
	t.Parallel()
	for name, r := range map[string]*registry.Registry{"a registry": remote(t), "a layout": layoutAt(t, filepath.Join(t.TempDir(), "l"))} {
		repo := repositoryOf(t, r)
		var none *registry.UnconditionalError
		_, err := put(t, repo, "x", "", "1")
		if !errors.As(err, &none) || none.Hint() == "" || faults.Of(err) != faults.Refused {
			t.Errorf("%s: %v", name, err)
		}
		if named, err := repo.Named(t.Context(), "x"); named != "" || err != nil {
			t.Errorf("%s: it is written: %q, %v", name, named, err)
		}
	}
}

// older is a process that serves the store's registry and knows no conditions.
type older struct{ http.RoundTripper }

// RoundTrip implements [http.RoundTripper].
func (o older) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := o.RoundTripper.RoundTrip(req)
	if err == nil {
		resp.Header.Del(artifact.ConditionsHeader)
	}
	return resp, err
}

// twice sends each write of a manifest twice, as it happens where the first answer is lost.
type twice struct{ http.RoundTripper }

// RoundTrip implements [http.RoundTripper].
func (s twice) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Method == http.MethodPut && strings.Contains(req.URL.Path, "/manifests/") {
		again := req.Clone(req.Context())
		body, err := req.GetBody()
		if err != nil {
			return nil, err
		}
		again.Body = body
		if resp, err := s.RoundTripper.RoundTrip(again); err == nil {
			_ = resp.Body.Close()
		}
	}
	return s.RoundTripper.RoundTrip(req)
}

// A process of an older version is told from one that honours conditions, and a write that was
// done before its answer was lost is no lost one.
func TestConditionsThroughOthers(t *testing.T) {
	t.Parallel()
	own := embedded.Open(t.TempDir())
	t.Cleanup(func() { _ = own.Close() })
	old, err := registry.Local(older{own})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := put(t, repositoryOf(t, old), "x", "", "1"); faults.Of(err) != faults.Machine || !strings.Contains(err.Error(), "older Ampoule") {
		t.Errorf("%v", err)
	}
	lossy, err := registry.Local(twice{own})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := put(t, repositoryOf(t, lossy), "x", "", "1"); err != nil {
		t.Error(err)
	}
}
