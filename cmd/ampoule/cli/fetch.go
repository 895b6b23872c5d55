package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"ampoule/artifact"
	"ampoule/builder"
	"ampoule/builder/fetch"
	"ampoule/cmd/ampoule/display"
	"ampoule/config"
	"ampoule/recipes"
	"ampoule/registry"
	"ampoule/store"
	"ampoule/wiring"
)

// InputFetcher brings all inputs of a build into the store.
type InputFetcher interface {
	FetchInputs(ctx context.Context, req builder.Request) (builder.Inputs, error)
}

// Keep puts inputs of the store where they last, and returns where that is.
type Keep func(ctx context.Context, in builder.Inputs) (place string, err error)

func newFetch(s *Session) *cobra.Command {
	var to string
	cmd := &cobra.Command{
		Use:   "fetch [--to DIR|REGISTRY]",
		Short: "Fetches everything that a build takes, to keep it",
		Long: `Fetch brings every input that the lock names into the store, where it stays whatever
is collected: from then on the build needs Docker and nothing else. Mirrors drop what
has been superseded; what is kept can still be built.

With --to the inputs are copied to a place that outlives this machine, too: a directory,
or a registry as HOST[:PORT][/PREFIX], whose repository "inputs" gets them. Name such
places in AMPOULE_KEPT, or as kept in config.toml: every build asks them before any
mirror. Files are named by their sha256 there, and a list for each build says what they
are.

The result is where the inputs are.`,
		Example: `  ampoule fetch
  ampoule fetch --to /srv/inputs
  ampoule fetch --to registry.example/team
  AMPOULE_KEPT=/srv/inputs ampoule build`,
		Args:              usage(cobra.NoArgs),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.wired(cmd.Context(), func(ctx context.Context, w *wiring.Parts) error {
				if to != "" && !config.IsRegistry(to) {
					// Builds may be told of it before there is anything in it.
					if err := os.MkdirAll(to, 0o755); err != nil {
						return fmt.Errorf("keeping inputs: %w", err)
					}
				}
				b, _, err := s.builder(w)
				if err != nil {
					return err
				}
				keep, err := keepIn(w.Store, to)
				if err != nil {
					return err
				}
				return Fetch(ctx, s, b, keep)
			})
		},
	}
	cmd.Flags().StringVar(&to, "to", "", "also copy the inputs to this directory or registry")
	return cmd
}

// fetchResult is the verb's result as JSON.
type fetchResult struct {
	Kept string `json:"kept"`
	builder.Inputs
}

// Fetch fetches the inputs of the session's recipe and keeps them.
func Fetch(ctx context.Context, s *Session, f InputFetcher, keep Keep) error {
	in, err := s.readLocked()
	if err != nil {
		return err
	}
	res, err := watched(ctx, s, func(ctx context.Context) (fetchResult, error) {
		got, err := f.FetchInputs(ctx, in.request(builder.Request{}))
		if err != nil {
			return fetchResult{}, err
		}
		place, err := keep(ctx, got)
		return fetchResult{place, got}, err
	})
	if err != nil {
		return err
	}
	var total int64
	for _, f := range res.Files {
		total += f.Size
	}
	s.tell("%d inputs, %s", len(res.Files), display.Size(total))
	return s.print(res.Kept, res)
}

// keepIn is how inputs of a store are kept in a place; none is the store.
func keepIn(st *store.Store, place string) (Keep, error) {
	switch {
	case place == "":
		return func(context.Context, builder.Inputs) (string, error) { return st.Root(), nil }, nil
	case config.IsRegistry(place):
		inputs, err := wiring.OpenInputs(place)
		if err != nil {
			return nil, err
		}
		return func(ctx context.Context, in builder.Inputs) (string, error) {
			return keepInRegistry(ctx, st, inputs, in)
		}, nil
	}
	dir, err := filepath.Abs(place)
	return func(ctx context.Context, in builder.Inputs) (string, error) {
		return dir, keepInDirectory(ctx, st, dir, in)
	}, err
}

func keepInRegistry(ctx context.Context, st *store.Store, inputs *registry.Inputs, in builder.Inputs) (string, error) {
	files := make([]artifact.File, len(in.Files))
	for i, f := range in.Files {
		files[i] = artifact.File{
			Name: f.File, MediaType: artifact.InputType, Digest: "sha256:" + f.SHA256, Size: f.Size,
			Open: func(context.Context) (io.ReadCloser, error) { return st.Open(f.SHA256) },
		}
	}
	return inputs.Keep(ctx, in.Key, files)
}

// keepInDirectory copies the inputs, and last their list: NAME-KEY.json.
func keepInDirectory(ctx context.Context, st *store.Store, dir string, in builder.Inputs) error {
	for _, f := range in.Files {
		if _, err := fetch.Directory(dir).Keep(ctx, st, f.SHA256); err != nil {
			return err
		}
	}
	list, err := json.MarshalIndent(in, "", "  ")
	if err != nil {
		return fmt.Errorf("listing inputs: %w", err)
	}
	if err := fetch.Directory(dir).Settle(); err != nil {
		return err
	}
	return replaceFile(filepath.Join(dir, recipes.NameInFile(in.Name)+"-"+strings.TrimPrefix(in.Key, "sha256:")[:12]+".json"), append(list, '\n'))
}
