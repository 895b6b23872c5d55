package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"ampoule/address"
	"ampoule/artifact"
	"ampoule/builder/progress"
	"ampoule/cmd/ampoule/display"
	"ampoule/registry"
)

// attachments are what refers to an artifact, by the name that save knows.
var attachments = map[string]string{"verdict": artifact.VerdictType, "wheelhouse": artifact.WheelhouseType, "debug": artifact.DebugType, "source": artifact.SourceType, "sbom": artifact.SBOMType}

// Attachments gives the files that refer to an artifact.
type Attachments interface {
	Referrers(ctx context.Context, ref, artifactType string) ([]registry.ReferrerInfo, error)
	OpenFile(ctx context.Context, f registry.FileInfo) (io.ReadCloser, error)
}

func newSave(s *Session) *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "save REF verdict|wheelhouse|debug|source|sbom --to DIR",
		Short: "Saves what is published beside an artifact",
		Long: `Save fetches what refers to an artifact without being part of its tree, verifies it,
and writes the files into a directory:

  verdict     the gate's verdict, as JSON
  wheelhouse  every wheel that was installed into the tree
  debug       the debug information that was stripped from the tree, compressed tars
              laid out like the image: unpack them in gdb's debug-file-directory
  source      which commit the recipe's own code was of, as JSON, and what differed
  sbom        what it is made of, as CycloneDX JSON: ampoule sbom prints it`,
		Example: `  ampoule save web@sha256:… verdict --to .
  ampoule save web@sha256:… debug --to /tmp/debug`,
		Args: usage(cobra.ExactArgs(2)),
		ValidArgsFunction: func(cmd *cobra.Command, args []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
			if len(args) != 1 {
				return s.completeRefs(0, false)(cmd, args, word)
			}
			return []cobra.Completion{"verdict", "wheelhouse", "debug", "source", "sbom"}, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, ok := attachments[args[1]]; !ok {
				return &UsageError{Verb: cmd.CommandPath(), Err: fmt.Errorf("%q is not published beside artifacts: want verdict, wheelhouse, debug, source or sbom", args[1])}
			}
			if dir == "" {
				return &UsageError{Verb: cmd.CommandPath(), Err: errors.New("--to is missing: the directory to write into")}
			}
			return s.at(cmd.Context(), args[0], func(ctx context.Context, found located) error {
				return Save(ctx, s, found, found.ref, args[1], dir)
			})
		},
	}
	cmd.Flags().StringVar(&dir, "to", "", "the directory to write into; it is made if it is missing")
	if err := cmd.MarkFlagDirname("to"); err != nil {
		panic("cli: " + err.Error())
	}
	return cmd
}

// Save writes one kind of what refers to an artifact into a directory.
func Save(ctx context.Context, s *Session, src Attachments, ref, kind, dir string) error {
	saved, err := watched(ctx, s, func(ctx context.Context) (_ []string, err error) {
		task := progress.Start(ctx, progress.StageSave, kind+" of "+address.One(ref))
		defer func() { task.End(err) }()
		found, err := src.Referrers(ctx, ref, attachments[kind])
		if err != nil {
			return nil, err
		}
		if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // what is saved is as public as the artifact
			return nil, fmt.Errorf("saving into %s: %w", dir, err)
		}
		var saved []string
		for _, referrer := range found {
			for _, f := range referrer.Files {
				name, err := saveFile(ctx, src, f, dir)
				if err != nil {
					return saved, err
				}
				saved = append(saved, name)
			}
		}
		if len(saved) == 0 {
			return nil, notFound(kind+" of "+ref, "")
		}
		return saved, nil
	})
	if err != nil {
		return err
	}
	return s.print(strings.Join(saved, "\n"), saved)
}

// saveFile writes one file, under its own name only when it is whole.
func saveFile(ctx context.Context, src Attachments, f registry.FileInfo, dir string) (_ string, err error) {
	if f.Name == "" || filepath.Base(f.Name) != f.Name || f.Name == "." || f.Name == ".." || display.Clean(f.Name, false) != f.Name {
		return "", fmt.Errorf("saving into %s: the registry names a file %q", dir, f.Name)
	}
	name := filepath.Join(dir, f.Name)
	r, err := src.OpenFile(ctx, f)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	if err := replaceBy(name, r); err != nil {
		return "", fmt.Errorf("saving %s: %w", name, err)
	}
	return name, nil
}
