package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"ampoule/ci"
	"ampoule/config"
	"ampoule/registry/trust/evidence"
	"ampoule/wiring"
)

func newCIAttest(s *Session, system *string) *cobra.Command {
	var set config.Sign
	var record string
	cmd := &cobra.Command{
		Use:   "attest --record FILE",
		Short: "Signs that the tests of a record have passed",
		Long: `Attest signs a statement about the artifact that ampoule ci run has run: which commands
have passed, with which dependency groups, and the hash of the record. It has the form of
in-toto's test result, and is attached to the artifact's digest. A record of tests that did
not pass is refused: nothing bad is ever signed. The result is the reference.`,
		Example: `  ampoule ci run --group test --record tested.json -- python3 -m pytest
  ampoule ci attest --record tested.json --key test-1.key`,
		Args:              usage(cobra.NoArgs),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if record == "" {
				return &UsageError{Verb: cmd.CommandPath(), Err: errors.New("--record is missing: the file that ampoule ci run --record wrote")}
			}
			return s.inCI(cmd.Context(), *system, nil, func(ci.System, *ci.Log) error {
				tested, err := ci.ReadRecord(record)
				if err != nil {
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
					return CIAttest(ctx, s, reg, by, tested)
				})
			})
		},
	}
	cmd.Flags().StringVar(&record, "record", "", "the record of the tests, as ampoule ci run --record wrote it")
	signFlags(cmd, &set)
	return cmd
}

// CIAttest signs that the tests of a record have passed. The record's reference must lead to
// the digest that it says was tested.
func CIAttest(ctx context.Context, s *Session, reg Evidence, by *wiring.Signing, record ci.Record) error {
	result, err := record.TestResult()
	if err != nil {
		return err
	}
	d, err := reg.Resolve(ctx, record.Ref)
	if err != nil {
		return err
	}
	if d.Digest != record.Digest {
		return &ci.OtherDigestError{Ref: record.Ref, Tested: record.Digest, Found: d.Digest}
	}
	predicate, err := json.Marshal(result)
	if err != nil {
		return fmt.Errorf("writing test result: %w", err)
	}
	made, err := evidence.Attest(ctx, by.By, by.Form, repositoryOf(d), d.Digest, evidence.Claim{Type: evidence.TestType, Predicate: predicate})
	if err != nil {
		return fmt.Errorf("signing test result of %s: %w", d.Ref, err)
	}
	if err := reg.AddEvidence(ctx, d.Ref, made); err != nil {
		return err
	}
	key := by.By.Public().ID()
	s.tell("signed by key %s: %d commands passed", key, len(result.PassedTests))
	return s.print(d.Ref, signedResult{Ref: d.Ref, Key: key})
}
