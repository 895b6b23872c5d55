package registry_test

import (
	"testing"
	"time"

	"ampoule/faults"
	"ampoule/registry"
)

// A repository has a host and a name, and neither tag nor digest.
func TestRepositoryReferences(t *testing.T) {
	t.Parallel()
	for _, ref := range []string{"registry.example/team/cache", "127.0.0.1:5000/cache", "localhost/cache"} {
		if r, err := registry.OpenRepository(ref, time.Second); err != nil || r.String() != ref {
			t.Errorf("%s: %v, %v", ref, r, err)
		}
	}
	for _, ref := range []string{"", "cache", "team/cache", "registry.example", "registry.example/", "https://registry.example/cache", "registry.example/cache:tag", "registry.example/cache@sha256:00", "registry.example/Cache", "a b.example/cache"} {
		if _, err := registry.OpenRepository(ref, time.Second); faults.Of(err) != faults.Usage {
			t.Errorf("%q: %v", ref, err)
		}
	}
}
