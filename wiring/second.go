package wiring

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"

	"ampoule/builder"
	"ampoule/faults"
	"ampoule/registry"
	"ampoule/registry/embedded"
	"ampoule/store"
)

// OwnRegistry is what a second build publishes to: the registry of its own store.
func OwnRegistry(st *store.Store) (builder.Publisher, io.Closer, error) {
	return (&Second{}).Open(st)
}

// Second is a second build of what somebody else has published, and nobody here has signed. If it gives the
// same bits, what this place signs of its own builds is true of them: see [Second.Sign].
type Second struct {
	registry *registry.Registry
	// signing is nil where nothing is signed.
	signing *Signing

	mu sync.Mutex
	// made is what was built, by digest.
	made map[string]built
}

// Second begins one.
func (p *Parts) Second() (*Second, error) {
	reg, err := p.Registry()
	return &Second{registry: reg, signing: p.signing}, err
}

// Open makes what the second build publishes to: the registry of its own store.
func (s *Second) Open(st *store.Store) (builder.Publisher, io.Closer, error) {
	own := embedded.Open(st.Dir(store.Registry))
	reg, err := registry.Local(own)
	if err != nil {
		return nil, nil, err
	}
	p := Publisher{Registry: reg, Store: st}
	if s.signing != nil {
		p.witness = s.keep
	}
	return p, own, nil
}

// keep remembers what was built, whose store will be gone.
func (s *Second) keep(b built, digest string) error {
	if b.sbom != nil {
		bill, err := b.sbom(digest)
		if err != nil {
			return err
		}
		b.sbom = func(string) ([]byte, error) { return bill, nil }
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.made == nil {
		s.made = map[string]built{}
	}
	s.made[digest] = b
	return nil
}

// Sign signs, of what is published under a name, all that the second build has given too, with how that
// was built. What the key has signed already is left as it is.
func (s *Second) Sign(ctx context.Context, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for digest, b := range s.made {
		if err := s.sign(ctx, name+"@"+digest, b); err != nil {
			return err
		}
	}
	return nil
}

func (s *Second) sign(ctx context.Context, ref string, b built) error {
	d, err := s.registry.Resolve(ctx, ref)
	if faults.Of(err) == faults.NotFound {
		return nil // a second build gave other bits, of which others tell
	}
	if err != nil {
		return err
	}
	found, err := s.registry.Evidence(ctx, d.Ref)
	if err != nil || s.signing.Signed(found, d.Digest) {
		return err
	}
	repository, _, _ := strings.Cut(d.Ref, "@")
	made, err := s.signing.evidence(b)(ctx, repository, d.Digest)
	if err != nil {
		return err
	}
	if err := s.registry.AddEvidence(ctx, d.Ref, made...); err != nil {
		return fmt.Errorf("signing %s: %w", d.Ref, err)
	}
	return nil
}
