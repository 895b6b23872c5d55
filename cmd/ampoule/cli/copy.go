package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"ampoule/address"
	"ampoule/builder/progress"
	"ampoule/cmd/ampoule/display"
	"ampoule/registry"
	"ampoule/registry/ocidir"
	"ampoule/tree"
	"ampoule/wiring"
)

func newCopy(s *Session) *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "copy SRC DST | copy --all [PATTERN] HOST[:PORT][/PREFIX]",
		Short: "Copies an artifact with its evidence to another place",
		Long: `Copy takes an artifact with everything that refers to it, directly or not, and with
cosign's signatures, from one registry or OCI layout to another: the verdict, wheelhouse,
bill of materials, debug information, dependency groups, attestations. Nothing changes its
digest.

` + refsHelp + `

DST is NAME, HOST/NAME or the path of a layout directory, which is made if it is missing;
it may end with :TAG, or with @sha256:…, which then must be the artifact's. Registries
without the referrers API keep the list under a tag (OCI distribution-spec, "Referrers tag
schema").

Blobs that are there are not sent again: a copy that was cut off is continued by calling
it once more. The artifact itself comes behind all that refers to it, and its tags last,
so that what can be found is whole. The key's tag goes along, and builds find the artifact
there, unless it names another one already. The result is the reference of the copy.

With --all everything in the store's registry goes to another registry: each artifact with
all its tags, and behind them the logs of channels. PATTERN chooses repositories by their
names, and * in it stands for any text. What cannot be copied is told, and the others are
copied all the same.`,
		Example: `  ampoule copy web@sha256:… registry.example/team/web
  ampoule copy web@sha256:… ./web-layout
  ampoule copy ./web-layout web:staging
  ampoule copy --all registry.example/team
  ampoule copy --all 'shop/*' registry.example/team`,
		Args:              usage(cobra.RangeArgs(1, 2)),
		ValidArgsFunction: s.completeRefs(0, false),
		RunE: func(cmd *cobra.Command, args []string) error {
			if all {
				return s.atOwnRegistry(cmd, func(ctx context.Context, w *wiring.Parts) error { return s.copyAll(ctx, cmd, w, args) })
			}
			if len(args) != 2 {
				return &UsageError{Verb: cmd.CommandPath(), Err: errors.New("want SRC and DST, or --all")}
			}
			return s.wired(cmd.Context(), func(ctx context.Context, w *wiring.Parts) error {
				from, err := s.locate(ctx, w, args[0])
				if err != nil {
					return err
				}
				to, err := s.destination(w, args[1])
				if err != nil {
					return errors.Join(err, from.close())
				}
				return errors.Join(Copy(ctx, s, from, to), from.close(), to.close())
			})
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "copy everything in the store's registry")
	return cmd
}

// destination opens where a copy goes.
func (s *Session) destination(w *wiring.Parts, target string) (located, error) {
	path, suffix, ok := splitLayout(target)
	if !ok {
		reg, err := w.Registry()
		return located{reg, target, func() error { return nil }}, err
	}
	if strings.HasSuffix(path, ".tar") {
		return located{}, &UsageError{Verb: "ampoule copy", Err: fmt.Errorf("%s: one file is written by ampoule export", path)}
	}
	l, err := ocidir.Create(path)
	if err != nil {
		return located{}, err
	}
	reg, err := registry.Layout(l, path)
	return located{reg, layoutName + suffix, l.Close}, err
}

// copied is what a copy did, as JSON.
type copied struct {
	Ref       string   `json:"ref"`
	Digest    string   `json:"digest"`
	Tags      []string `json:"tags"`
	Sent      int      `json:"sent"`
	Present   int      `json:"present"`
	Bytes     int64    `json:"bytes"`
	Manifests int      `json:"manifests"`
	Referrers []string `json:"referrers"`
	Missing   []string `json:"missing"`
	KeyTaken  string   `json:"keyTaken,omitempty"`
}

// Copy copies an artifact.
func Copy(ctx context.Context, s *Session, from, to located) error {
	done, err := s.copy(ctx, from, to)
	if err != nil {
		return err
	}
	s.tellCopied(done)
	return s.print(done.Ref, copiedOf(done))
}

func copiedOf(done registry.Copied) copied {
	return copied{
		done.Ref, done.Digest, append([]string{}, done.Tags...), done.Sent, done.Present, done.Bytes, done.Manifests,
		append([]string{}, done.Referrers...), append([]string{}, done.Missing...), done.KeyTaken,
	}
}

// copy copies an artifact, and gives it further tags there.
func (s *Session) copy(ctx context.Context, from, to located, tags ...string) (registry.Copied, error) {
	return watched(ctx, s, func(ctx context.Context) (registry.Copied, error) {
		task := progress.Start(ctx, progress.StageCopy, address.One(from.ref))
		done, err := registry.Copy(ctx, from.Registry, from.ref, to.Registry, to.ref, tags...)
		task.End(err)
		return done, err
	})
}

// tellCopied says what a person should know of a copy.
func (s *Session) tellCopied(done registry.Copied) {
	s.tell("%d blobs sent (%s), %d were there; %d manifests refer to it", done.Sent, display.Size(done.Bytes), done.Present, len(done.Referrers))
	s.warnCopied("", done)
}

// warnCopied says what is not as one may expect, behind a prefix.
func (s *Session) warnCopied(prefix string, done registry.Copied) {
	for _, t := range done.Missing {
		s.warn("%snothing of type %s refers to it where it comes from: the copy has none either", prefix, t)
	}
	if done.KeyTaken != "" {
		s.warn("%sits key names %s there, and the first one stands: builds with that registry find that one", prefix, done.KeyTaken)
	}
}

func newExport(s *Session) *cobra.Command {
	var to string
	cmd := &cobra.Command{
		Use:   "export REF --to FILE",
		Short: "Writes an artifact with its evidence into one file",
		Long: `Export writes an artifact, with everything that refers to it, into one file: a tar with an
OCI layout in it. It goes to hosts without a registry, where ampoule install FILE verifies
it as it does what comes from one. Equal artifacts with equal evidence give equal files.

` + refsHelp,
		Example: `  ampoule export web@sha256:… -o web.tar
  ampoule install ./web.tar@sha256:… --root /opt/web`,
		Args:              usage(cobra.ExactArgs(1)),
		ValidArgsFunction: s.completeRefs(0, false),
		RunE: func(cmd *cobra.Command, args []string) error {
			if to == "" {
				return &UsageError{Verb: cmd.CommandPath(), Err: errors.New("--to is missing: the file to write")}
			}
			return s.at(cmd.Context(), args[0], func(ctx context.Context, found located) error { return Export(ctx, s, found, to) })
		},
	}
	cmd.Flags().StringVarP(&to, "to", "o", "", "the file to write")
	return cmd
}

// Export writes an artifact into a file. The file has its name only when it is whole.
func Export(ctx context.Context, s *Session, from located, file string) error {
	var done registry.Copied
	err := ocidir.WriteFile(ctx, file, tree.Time, func(l *ocidir.Layout) error {
		reg, err := registry.Layout(l, file)
		if err != nil {
			return err
		}
		done, err = s.copy(ctx, from, located{Registry: reg, ref: layoutName})
		return err
	})
	if err != nil {
		return fmt.Errorf("exporting to %s: %w", file, err)
	}
	s.tellCopied(done)
	return s.print(file, exported{file, done.Digest, append([]string{}, done.Referrers...), append([]string{}, done.Missing...)})
}

// exported is what was written into a file, as JSON.
type exported struct {
	File      string   `json:"file"`
	Digest    string   `json:"digest"`
	Referrers []string `json:"referrers"`
	Missing   []string `json:"missing"`
}
