package cli

import (
	"context"
	"testing"

	"ampoule/wiring"
)

// Artifacts of teams are found by name and digest in the store's own registry, beside one with
// the team's name.
func TestTeams(t *testing.T) {
	t.Parallel()
	s, _, _ := session(t, goodRecipe)
	err := s.wired(t.Context(), func(ctx context.Context, w *wiring.Parts) error {
		reg, err := w.Registry()
		if err != nil {
			return err
		}
		for _, name := range []string{"team", "team/web", "team/api"} {
			digest := publishAs(ctx, t, w, sampleTree(t), name)
			found, err := reg.Resolve(ctx, w.Reference(name, digest))
			if err != nil {
				return err
			}
			if found.Digest != digest {
				t.Errorf("%s has the digest %s, want %s", name, found.Digest, digest)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
