package wiring

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"ampoule/artifact"
	"ampoule/builder/progress"
	"ampoule/config"
	"ampoule/registry"
	"ampoule/registry/trust"
	"ampoule/registry/trust/evidence"
	"ampoule/registry/trust/keys"
)

// OpenSigner opens the key, or names the program, that signs. Programs are run in an
// environment, as os.Environ has it. Ask asks a person for a passphrase that is set nowhere.
func OpenSigner(ctx context.Context, set config.Sign, environ []string, ask func(file string) ([]byte, error)) (keys.Signer, error) {
	if err := set.Check(func(key string) string { return "sign." + key }); err != nil {
		return nil, err
	}
	if len(set.Command) > 0 {
		public, err := keys.ReadPublic(set.Public)
		return keys.Command{Program: set.Command, Key: public, Environ: environ}, err
	}
	text, err := keys.ReadFile(set.Key)
	if err != nil {
		return nil, fmt.Errorf("reading key: %w", err)
	}
	if err := keys.CheckFile(text); err != nil {
		return nil, fmt.Errorf("%s: %w", set.Key, err)
	}
	passphrase, err := Passphrase(ctx, set, environ, ask)
	if err != nil {
		return nil, err
	}
	key, err := keys.Open(text, passphrase)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", set.Key, err)
	}
	return key, nil
}

// Passphrase is the passphrase of a key.
func Passphrase(ctx context.Context, set config.Sign, environ []string, ask func(file string) ([]byte, error)) ([]byte, error) {
	switch {
	case set.PassphraseFile != "":
		text, err := keys.ReadFile(set.PassphraseFile)
		if err != nil {
			return nil, fmt.Errorf("reading the passphrase: %w", err)
		}
		return keys.PassphraseOf(text), nil
	case len(set.PassphraseCommand) > 0:
		text, err := keys.Run(ctx, set.PassphraseCommand, environ, nil)
		if err != nil {
			return nil, fmt.Errorf("asking for the passphrase: %w", err)
		}
		return keys.PassphraseOf(text), nil
	default:
		return ask(set.Key)
	}
}

// Signing is how artifacts are signed that are published.
type Signing struct {
	By   keys.Signer
	Form evidence.Form
	// Builder names this builder; empty is made of the key.
	Builder string
}

// SigningOf is how artifacts are signed by a key, as the configuration has it.
func SigningOf(by keys.Signer, set config.Sign) *Signing {
	return &Signing{By: by, Form: evidence.Form(cmp.Or(set.Form, config.FormLegacy)), Builder: set.Builder}
}

// SignWith has what is published from now on signed.
func (p *Parts) SignWith(s *Signing) { p.signing = s }

// Publisher publishes to the place's registry, and signs as [Parts.SignWith] has it.
func (p *Parts) Publisher() (Publisher, error) {
	reg, err := p.Registry()
	return p.publisher(reg, Order{}), err
}

func (p *Parts) publisher(reg *registry.Registry, o Order) Publisher {
	published := Publisher{Registry: reg, Store: p.Store, Signing: p.signing, Claim: o.Claim}
	if o.Unsigned {
		published.Signing = nil
	}
	return published
}

// built is what was just built, and is signed: an artifact or a dependency group.
type built struct {
	// name is told to people.
	name       string
	provenance artifact.Provenance
	verdict    []byte
	sbom       func(digest string) ([]byte, error)
}

// evidence makes what is signed of what was just built; nil where nothing is.
func (s *Signing) evidence(b built) func(ctx context.Context, repository, digest string) ([]registry.Evidence, error) {
	if s == nil {
		return nil
	}
	return func(ctx context.Context, repository, digest string) ([]registry.Evidence, error) {
		claims, err := s.claims(b, digest)
		if err != nil {
			return nil, err
		}
		made, err := evidence.Sign(ctx, s.By, s.Form, repository, digest, time.Now(), claims...)
		if err != nil {
			return nil, fmt.Errorf("signing %s@%s: %w", repository, digest, err)
		}
		progress.Send(ctx, progress.Event{
			Kind: progress.Told, Stage: progress.StagePublish, Task: b.name, Message: "signed by key " + s.By.Public().ID(),
		})
		return made, nil
	}
}

// Signed reports whether the key has signed what has a digest, in the form that is wanted, by what was found
// beside it.
func (s *Signing) Signed(found []registry.Evidence, digest string) bool {
	return slices.ContainsFunc(found, func(raw registry.Evidence) bool {
		item, err := evidence.Parse(raw)
		if raw.Err != nil || err != nil || (raw.Kind == registry.Bundle) != (s.Form == evidence.Bundles) {
			return false
		}
		return item.PredicateType == evidence.SignatureType && item.Subject(digest) && item.Signed(s.By.Public())
	})
}

// claims are what a build key says of what was built beside that it has signed it.
func (s *Signing) claims(b built, digest string) ([]evidence.Claim, error) {
	p := b.provenance
	p.RunDetails.Builder.ID = cmp.Or(s.Builder, "urn:ampoule:key:"+s.By.Public().ID())
	provenance, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("writing provenance: %w", err)
	}
	claims := []evidence.Claim{{Type: evidence.ProvenanceType, Predicate: provenance}, {Type: evidence.VerdictType, Predicate: b.verdict}}
	if b.sbom == nil {
		return claims, nil
	}
	bill, err := b.sbom(digest)
	return append(claims, evidence.Claim{Type: evidence.SBOMType, Predicate: bill}), err
}

// Judge opens the policy that decides what may run here; nil where none is set.
func (p *Parts) Judge(ctx context.Context, policy string) (*trust.Judge, error) {
	if policy == "" {
		return nil, nil // a nil judge allows everything
	}
	return trust.Open(ctx, p.Store, policy, time.Now)
}
