//go:build docker

package registry_test

import (
	"errors"
	"testing"

	"ampoule/artifact"
	"ampoule/registry"
)

// Debian's docker-registry moves tags and asks for nothing: no channel is written there.
func TestProbeOfDebiansRegistry(t *testing.T) {
	t.Parallel()
	r, err := registry.Open(foreign(t) + "/team")
	if err != nil {
		t.Fatal(err)
	}
	repo := repositoryOf(t, r)
	for range 2 {
		if way, err := repo.Probe(t.Context(), artifact.ChannelProbeTag("prod")); way != registry.Unguarded || err != nil {
			t.Errorf("%s, %v", way, err)
		}
	}
	var none *registry.UnconditionalError
	if _, err := put(t, repo, "channel-prod", "", "1"); !errors.As(err, &none) {
		t.Errorf("%v", err)
	}
}
