package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ampoule/config"
	"ampoule/registry"
	"ampoule/registry/trust/evidence"
	"ampoule/wiring"
)

// Evidence reads and attaches what is signed of artifacts.
type Evidence interface {
	Resolve(ctx context.Context, ref string) (registry.Description, error)
	Evidence(ctx context.Context, ref string) ([]registry.Evidence, error)
	AddEvidence(ctx context.Context, ref string, items ...registry.Evidence) error
}

func newSign(s *Session) *cobra.Command {
	var set config.Sign
	cmd := &cobra.Command{
		Use:   "sign REF",
		Short: "Signs a published artifact",
		Long: `Sign attaches a signature to an artifact that is published, which its digest names. The
form is the one that cosign verifies by key: a tag sha256-HEX.sig, or with --form bundle a
sigstore bundle as an OCI referrer. What ampoule build signs says more: how the artifact was
built, and what the gate said of it.

What the key has signed already is not signed again. The result is the reference.`,
		Example: `  ampoule sign web@sha256:… --key promote-1.key
  ampoule sign registry.example/team/web@sha256:… --form bundle`,
		Args:              usage(cobra.ExactArgs(1)),
		ValidArgsFunction: s.completeRefs(0, false),
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := registry.PinnedDigest(args[0]); err != nil {
				return err
			}
			by, err := s.mustSigner(cmd.Context(), set)
			if err != nil {
				return err
			}
			return s.wired(cmd.Context(), func(ctx context.Context, w *wiring.Parts) error {
				reg, err := w.Registry()
				if err != nil {
					return err
				}
				return Sign(ctx, s, reg, by, args[0])
			})
		},
	}
	signFlags(cmd, &set)
	return cmd
}

// signFlags are the flags of verbs that sign.
func signFlags(cmd *cobra.Command, set *config.Sign) {
	cmd.Flags().StringVar(&set.Key, "key", "", "the encrypted private key (default: what config.toml names)")
	passphraseFlag(cmd, set)
	cmd.Flags().StringVar(&set.Form, "form", "", "the form of the signature: legacy or bundle (default: legacy)")
}

// signKeyFlags are the flags of verbs that build.
func signKeyFlags(cmd *cobra.Command, set *config.Sign) {
	cmd.Flags().StringVar(&set.Key, "sign-key", "", "sign what is built with this encrypted private key (default: what config.toml names, or none)")
	passphraseFlag(cmd, set)
}

// signBuilds has what is published from now on signed, if flags or the configuration name a
// key. The key is opened before anything is built.
func (s *Session) signBuilds(ctx context.Context, w *wiring.Parts, flags config.Sign) error {
	by, err := s.signer(ctx, flags)
	w.SignWith(by)
	s.signs = by != nil
	return err
}

// tellReused says that nothing was built, and therefore nothing signed.
func (s *Session) tellReused() {
	s.tell("this key is published already: nothing was built")
	if s.signs {
		s.tell("nothing was signed either, since nobody has seen it being built: `ampoule sign` signs what is published")
	}
}

// signedResult is what was signed, as JSON.
type signedResult struct {
	Ref string `json:"ref"`
	Key string `json:"key"`
	// Present says that the key had signed it already.
	Present bool `json:"present"`
}

// Sign signs an artifact, unless the key has.
func Sign(ctx context.Context, s *Session, reg Evidence, by *wiring.Signing, ref string) error {
	d, err := reg.Resolve(ctx, ref)
	if err != nil {
		return err
	}
	result := signedResult{Ref: d.Ref, Key: by.By.Public().ID()}
	if result.Present, err = isSigned(ctx, reg, by, d); err != nil {
		return err
	}
	if result.Present {
		s.tell("key %s has signed it already", result.Key)
		return s.print(result.Ref, result)
	}
	made, err := evidence.Sign(ctx, by.By, by.Form, repositoryOf(d), d.Digest, time.Now())
	if err != nil {
		return fmt.Errorf("signing %s: %w", d.Ref, err)
	}
	if err := reg.AddEvidence(ctx, d.Ref, made...); err != nil {
		return err
	}
	s.tell("signed by key %s", result.Key)
	return s.print(result.Ref, result)
}

// repositoryOf is where an artifact is, without its digest.
func repositoryOf(d registry.Description) string {
	repository, _, _ := strings.Cut(d.Ref, "@")
	return repository
}

// isSigned reports whether a key has signed an artifact in the form that is wanted.
func isSigned(ctx context.Context, reg Evidence, by *wiring.Signing, d registry.Description) (bool, error) {
	found, err := reg.Evidence(ctx, d.Ref)
	if err != nil {
		return false, err
	}
	for _, raw := range found {
		item, err := evidence.Parse(raw)
		if raw.Err != nil || err != nil || (raw.Kind == registry.Bundle) != (by.Form == evidence.Bundles) {
			continue
		}
		if item.PredicateType == evidence.SignatureType && item.Subject(d.Digest) && item.Signed(by.By.Public()) {
			return true, nil
		}
	}
	return false, nil
}
