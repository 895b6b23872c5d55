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
	Grouped
}

func newSign(s *Session) *cobra.Command {
	var set config.Sign
	var groups []string
	var all bool
	cmd := &cobra.Command{
		Use:   "sign REF",
		Short: "Signs a published artifact",
		Long: `Sign attaches a signature to an artifact that is published, which its digest names. The
form is the one that cosign verifies by key: a tag sha256-HEX.sig, or with --form bundle a
sigstore bundle as an OCI referrer. What ampoule build signs says more: how the artifact was
built, and what the gate said of it.

With --group a dependency group that was published for the artifact is signed, too;
--groups signs all of them. Each has a digest and signatures of its own.

What the key has signed already is not signed again. The result is the reference.`,
		Example: `  ampoule sign web@sha256:… --key promote-1.key
  ampoule sign web@sha256:… --group test
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
				if all {
					groups = []string{allGroups}
				}
				return Sign(ctx, s, reg, by, args[0], groups)
			})
		},
	}
	signFlags(cmd, &set)
	cmd.Flags().StringSliceVar(&groups, "group", nil, "sign this dependency group too: NAME, or NAME@sha256:… where several were published")
	cmd.Flags().BoolVar(&all, "groups", false, "sign all dependency groups that were published for the artifact")
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
	Present bool          `json:"present"`
	Groups  []signedGroup `json:"groups,omitempty"`
}

// signedGroup is a dependency group that was signed.
type signedGroup struct {
	Name    string `json:"name"`
	Ref     string `json:"ref"`
	Present bool   `json:"present"`
}

// Sign signs an artifact, and dependency groups of it, unless the key has.
func Sign(ctx context.Context, s *Session, reg Evidence, by *wiring.Signing, ref string, groups []string) error {
	d, err := reg.Resolve(ctx, ref)
	if err != nil {
		return err
	}
	chosen, err := s.groupsOf(ctx, reg, d, groups)
	if err != nil {
		return err
	}
	result := signedResult{Ref: d.Ref, Key: by.By.Public().ID()}
	if result.Present, err = s.signOne(ctx, reg, by, d.Ref, ""); err != nil {
		return err
	}
	for _, g := range chosen {
		present, err := s.signOne(ctx, reg, by, g.Ref, "group "+g.Record.Name+": ")
		if err != nil {
			return err
		}
		result.Groups = append(result.Groups, signedGroup{g.Record.Name, g.Ref, present})
	}
	return s.print(result.Ref, result)
}

// signOne signs what has a digest, and tells it behind a prefix. It reports whether the key had
// signed it.
func (s *Session) signOne(ctx context.Context, reg Evidence, by *wiring.Signing, ref, prefix string) (present bool, err error) {
	key := by.By.Public().ID()
	repository, digest, _ := strings.Cut(ref, "@")
	found, err := reg.Evidence(ctx, ref)
	if err != nil {
		return false, err
	}
	if by.Signed(found, digest) {
		s.tell("%skey %s has signed it already", prefix, key)
		return true, nil
	}
	made, err := evidence.Sign(ctx, by.By, by.Form, repository, digest, time.Now())
	if err != nil {
		return false, fmt.Errorf("signing %s: %w", ref, err)
	}
	if err := reg.AddEvidence(ctx, ref, made...); err != nil {
		return false, err
	}
	s.tell("%ssigned by key %s", prefix, key)
	return false, nil
}

// repositoryOf is where an artifact is, without its digest.
func repositoryOf(d registry.Description) string {
	repository, _, _ := strings.Cut(d.Ref, "@")
	return repository
}
