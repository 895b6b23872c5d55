package cli

import (
	"bytes"
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"ampoule/contents"
)

func newSBOM(s *Session) *cobra.Command {
	var to string
	cmd := &cobra.Command{
		Use:   "sbom REF",
		Short: "Prints what an artifact is made of, as CycloneDX",
		Long: `Sbom prints the bill of materials that is published beside an artifact, as one CycloneDX
1.6 document in JSON: the interpreter, each distribution with what its own documents say
that it contains (PEP 770), each Debian package that files are carried from, with its
source package, the packages of the image's base, the recipe's own code, and what
everything was built with. It refers to the artifact, and is no part of its digest.

Scanners read it from a file: ampoule sbom REF --to web.cdx.json.

` + refsHelp,
		Example: `  ampoule sbom web@sha256:…
  ampoule sbom web@sha256:… --to web.cdx.json`,
		Args:              usage(cobra.ExactArgs(1)),
		ValidArgsFunction: s.completeRefs(0, false),
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.at(cmd.Context(), args[0], func(ctx context.Context, found located) error {
				return SBOM(ctx, s, found, found.ref, to)
			})
		},
	}
	cmd.Flags().StringVarP(&to, "to", "o", "", "the file to write; without it the document goes to stdout")
	return cmd
}

// SBOM prints an artifact's bill of materials, or writes it into a file.
func SBOM(ctx context.Context, s *Session, src contents.Source, ref, to string) error {
	data, err := contents.Bill(ctx, src, ref)
	if err != nil {
		return err
	}
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
