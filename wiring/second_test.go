package wiring

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/config"
	"ampoule/registry"
	"ampoule/registry/trust/evidence"
	"ampoule/registry/trust/keys"
	"ampoule/store"
)

// types are the types of what a key has signed of an artifact.
func types(t *testing.T, p *Parts, digest string, key keys.Public) (found []string, all []registry.Evidence) {
	t.Helper()
	reg, err := p.Registry()
	if err != nil {
		t.Fatal(err)
	}
	if all, err = reg.Evidence(t.Context(), "web@"+digest); err != nil {
		t.Fatal(err)
	}
	for _, raw := range all {
		item, err := evidence.Parse(raw)
		if err != nil || !item.Subject(digest) || !item.Signed(key) {
			t.Fatalf("%+v: %v", raw, err)
		}
		found = append(found, item.PredicateType)
	}
	return found, all
}

// What is built for somebody who is not trusted is not signed. A second build for somebody who is has it
// signed as what this place builds itself, where the bits are the same; and once.
func TestSecondBuildSigns(t *testing.T) {
	t.Parallel()
	p := opened(t, config.Place{})
	defer closed(t, p)
	by, err := keys.Generate()
	if err != nil {
		t.Fatal(err)
	}
	p.SignWith(SigningOf(by, config.Sign{}))
	reg, err := p.Registry()
	if err != nil {
		t.Fatal(err)
	}
	key := "sha256:" + strings.Repeat("1", 64)
	digest, err := publishBy(t.Context(), p.publisher(reg, Order{Unsigned: true}), key)
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := types(t, p, digest, by.Public()); len(got) > 0 {
		t.Fatalf("signed for somebody who is not trusted: %q", got)
	}
	second := func(key string) *Second {
		s, err := p.Second()
		if err != nil {
			t.Fatal(err)
		}
		st, err := store.Open(filepath.Join(t.TempDir(), "second"))
		if err != nil {
			t.Fatal(err)
		}
		published, end, err := s.Open(st)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := publishBy(t.Context(), published.(Publisher), key); err != nil {
			t.Fatal(err)
		}
		for _, closer := range []interface{ Close() error }{end, st} {
			if err := closer.Close(); err != nil {
				t.Error(err)
			}
		}
		return s
	}
	other := second("sha256:" + strings.Repeat("2", 64))
	if err := other.Sign(t.Context(), "web"); err != nil {
		t.Fatal(err)
	}
	if got, _ := types(t, p, digest, by.Public()); len(got) > 0 {
		t.Fatalf("signed by a build with other bits: %q", got)
	}
	if err := second(key).Sign(t.Context(), "web"); err != nil {
		t.Fatal(err)
	}
	got, first := types(t, p, digest, by.Public())
	want := []string{evidence.SignatureType, evidence.ProvenanceType, evidence.VerdictType}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("signed (-want +got):\n%s", diff)
	}
	if err := second(key).Sign(t.Context(), "web"); err != nil {
		t.Fatal(err)
	}
	if _, again := types(t, p, digest, by.Public()); len(again) != len(first) {
		t.Errorf("signed again: %d, then %d", len(first), len(again))
	}
}
