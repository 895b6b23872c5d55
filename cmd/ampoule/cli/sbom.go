package cli

import (
	"bytes"
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"ampoule/contents"
)

func newSBOM(s *Session) *cobra.Command {
	var to, group string
	cmd := &cobra.Command{
		Use:   "sbom REF",
		Short: "Prints what an artifact is made of, as CycloneDX",
		Long: `Sbom prints the bill of materials that is published beside an artifact, as one CycloneDX
1.6 document in JSON: the interpreter, each distribution with what its own documents say
that it contains (PEP 770), each Debian package that files are carried from, with its
source package, the packages of the image's base, the recipe's own code, and what
everything was built with. It refers to the artifact, and is no part of its digest.

Scanners read it from a file: ampoule sbom REF --to web.cdx.json. With --group it is that of
a dependency group, which says what the group lays over the artifact.

` + refsHelp,
		Example: `  ampoule sbom web@sha256:…
  ampoule sbom web@sha256:… --to web.cdx.json
  ampoule sbom web@sha256:… --group test`,
		Args:              usage(cobra.ExactArgs(1)),
		ValidArgsFunction: s.completeRefs(0, false),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := s.serviceOf(cmd, args...)
			if err != nil {
				return err
			}
			if c != nil {
				if err := hereAlone(cmd, c, "group"); err != nil {
					return err
				}
				return RemoteSBOM(cmd.Context(), s, c, args[0], to)
			}
			return s.at(cmd.Context(), args[0], func(ctx context.Context, found located) error {
				return SBOM(ctx, s, found, found.ref, group, to)
			})
		},
	}
	cmd.Flags().StringVarP(&to, "to", "o", "", "the file to write; without it the document goes to stdout")
	cmd.Flags().StringVar(&group, "group", "", "print that of this dependency group: NAME, or NAME@sha256:… where several were published")
	return cmd
}

// billed is where bills of materials are published, of artifacts and of dependency groups.
type billed interface {
	contents.Source
	Grouped
}

// bill is an artifact's bill of materials, or that of a dependency group of it.
func (s *Session) bill(ctx context.Context, src billed, ref, group string) ([]byte, error) {
	if group == "" {
		return contents.Bill(ctx, src, ref)
	}
	d, err := src.Resolve(ctx, ref)
	if err != nil {
		return nil, err
	}
	chosen, err := s.groupsOf(ctx, src, d, []string{group})
	if err != nil {
		return nil, err
	}
	return contents.GroupBill(ctx, src, chosen[0])
}

// SBOM prints a bill of materials, or writes it into a file.
func SBOM(ctx context.Context, s *Session, src billed, ref, group, to string) error {
	data, err := s.bill(ctx, src, ref, group)
	if err != nil {
		return err
	}
	return s.writeBill(data, to)
}

// writeBill prints a bill of materials, or writes it into a file.
func (s *Session) writeBill(data []byte, to string) error {
	if to == "" {
		s.answered = true
		if _, err := s.Out.Write(data); err != nil {
			return fmt.Errorf("writing the result: %w", err)
		}
		return nil
	}
	if err := replaceBy(to, bytes.NewReader(data)); err != nil {
		return fmt.Errorf("writing %s: %w", to, err)
	}
	return s.print(to, []string{to})
}
