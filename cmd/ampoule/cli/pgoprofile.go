package cli

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"ampoule/builder"
	"ampoule/builder/cpython"
	"ampoule/cmd/ampoule/display"
	"ampoule/recipes"
	"ampoule/recipes/edit"
	"ampoule/wiring"
)

// Trainer makes training profiles.
type Trainer interface {
	Train(ctx context.Context, req builder.Request, o builder.LockOptions) (cpython.Trained, builder.Inputs, error)
	MergeProfiles(ctx context.Context, r *recipes.Recipe, sums []string) (cpython.Trained, builder.Inputs, error)
}

// TrainOptions say what follows when a profile is made.
type TrainOptions struct {
	// Write writes the profile into the recipe.
	Write bool
	// Upgrade has the toolchain's newest packages train.
	Upgrade bool
	// Merge names profiles, as "sha256:" and their hashes, that are merged: nothing is trained.
	Merge []string
}

func newPGOProfile(s *Session) *cobra.Command {
	var o TrainOptions
	var to string
	var bounds stepBounds
	cmd := &cobra.Command{
		Use:   "pgo-profile [--write] [--to DIR|REGISTRY] [--merge PROFILE --merge PROFILE…]",
		Short: "Trains the interpreter once, for repeatable optimised builds",
		Long: `Pgo-profile compiles an interpreter that counts what it does, has it run CPython's own
training task, or the commands that the recipe has under train, and prints the sha256 of
what was counted: a training profile. A recipe that names it under python.profile gets an
interpreter that is optimised by it (--enable-optimizations), with the same bits each
time, and without the training. With --enable-bolt, the interpreter that comes of these
counts runs the same once more, and counts for BOLT.

A profile belongs to one CPython, its configure flags and one version of the compiler. It
is refused where one of them is another one, but for a few flags that change nothing that
is counted, as --with-lto for GCC without BOLT. After an update of the compiler, train anew.
Any number of recipes may share one profile. With --merge nothing is trained: profiles of
one interpreter, say of two services, are added up to one. Their order means nothing.
Profiles of clang, and those with data for BOLT, cannot be merged.

The profile stays in the store, whatever is collected. With --to it is copied to a place
that outlives this machine, as ampoule fetch --to does: name that place in AMPOULE_KEPT.`,
		Example: `  ampoule pgo-profile --write
  ampoule pgo-profile --write --upgrade --to registry.example/team
  ampoule pgo-profile --write --merge sha256:93e5… --merge sha256:0d1c…`,
		Args:              usage(cobra.NoArgs),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			budget, err := bounds.check(cmd)
			if err == nil {
				err = o.check()
			}
			if err != nil {
				return err
			}
			return s.wired(cmd.Context(), func(ctx context.Context, w *wiring.Parts) error {
				b, _, err := s.builder(w)
				if err != nil {
					return err
				}
				keep, err := keepIn(w.Store, to)
				if err != nil {
					return err
				}
				return Train(ctx, s, b, keep, builder.Request{Budget: budget}, o)
			})
		},
	}
	bounds.add(cmd)
	cmd.Flags().BoolVar(&o.Write, "write", false, "write the profile into the recipe")
	cmd.Flags().BoolVar(&o.Upgrade, "upgrade", false, "train with the newest packages of the toolchain, as ampoule lock --upgrade takes them")
	cmd.Flags().StringArrayVar(&o.Merge, "merge", nil, "merge this profile with the others that are named, and train nothing")
	cmd.Flags().StringVar(&to, "to", "", "also copy the profile to this directory or registry")
	return cmd
}

// check refuses options that contradict each other, and what is no profile.
func (o TrainOptions) check() error {
	if len(o.Merge) == 1 {
		return misused("--merge is given once: there is nothing to merge with")
	}
	if len(o.Merge) > 0 && o.Upgrade {
		return misused("--upgrade trains, and --merge does not")
	}
	for i, profile := range o.Merge {
		if !recipes.IsProfile(profile) {
			return misused("--merge %s is no profile: write sha256: and 64 hexadecimal digits", profile)
		}
		if slices.Contains(o.Merge[:i], profile) {
			return misused("--merge %s is given twice", profile)
		}
	}
	return nil
}

func misused(format string, args ...any) error {
	return &UsageError{Verb: "ampoule pgo-profile", Err: fmt.Errorf(format, args...)}
}

// make trains, or merges.
func (o TrainOptions) make(ctx context.Context, t Trainer, req builder.Request) (cpython.Trained, builder.Inputs, error) {
	if len(o.Merge) == 0 {
		return t.Train(ctx, req, builder.LockOptions{Upgrade: o.Upgrade})
	}
	var sums []string
	for _, profile := range o.Merge {
		sums = append(sums, strings.TrimPrefix(profile, "sha256:"))
	}
	return t.MergeProfiles(ctx, req.Recipe, sums)
}

// trainResult is the verb's result as JSON.
type trainResult struct {
	Profile string `json:"profile"`
	// Size is in bytes.
	Size int64  `json:"size"`
	Kept string `json:"kept"`
	// Objects are how many object files there were, Counted of how many GCC has counts; Functions are of
	// how many functions clang has some.
	Objects   int `json:"objects"`
	Counted   int `json:"counted"`
	Functions int `json:"functions,omitempty"`
	// Linked are how many files BOLT arranges, LinkedCounted of how many it has counts.
	Linked        int `json:"linked,omitempty"`
	LinkedCounted int `json:"linked_counted,omitempty"`
}

func trainedResult(trained cpython.Trained) trainResult {
	res := trainResult{
		Profile: "sha256:" + trained.SHA256, Size: trained.Size,
		Objects: len(trained.About.Objects), Counted: trained.About.Counted(), Functions: trained.About.Functions,
	}
	if bolt := trained.About.Bolt; bolt != nil {
		res.Linked, res.LinkedCounted = len(bolt.Binaries), bolt.Counted()
	}
	return res
}

// counts says what a profile counts.
func (r trainResult) counts() string {
	what := fmt.Sprintf("%d of %d object files", r.Counted, r.Objects)
	if r.Functions > 0 {
		what = fmt.Sprintf("%d functions", r.Functions)
	}
	if r.Linked > 0 {
		what += fmt.Sprintf(", and for %d of %d linked files", r.LinkedCounted, r.Linked)
	}
	return what
}

// Train makes a training profile for the session's recipe, or merges some.
func Train(ctx context.Context, s *Session, t Trainer, keep Keep, how builder.Request, o TrainOptions) error {
	in, err := s.read()
	if err != nil {
		return err
	}
	var inputs builder.Inputs
	res, err := watched(ctx, s, func(ctx context.Context) (res trainResult, err error) {
		var trained cpython.Trained
		if trained, inputs, err = o.make(ctx, t, in.request(how)); err != nil {
			return trainResult{}, err
		}
		return trainedResult(trained), nil
	})
	if err != nil {
		return err
	}
	// Told before anything else can fail: what took an hour has no other name.
	s.tell("%s: a profile of %s, with counts for %s", res.Profile, display.Size(res.Size), res.counts())
	if res.Kept, err = watched(ctx, s, func(ctx context.Context) (string, error) { return keep(ctx, inputs) }); err != nil {
		return err
	}
	if o.Write {
		if err := s.writeProfile(in.recipe, res.Profile); err != nil {
			return err
		}
	}
	return s.print(res.Profile, res)
}

// writeProfile writes a profile into the file that has the recipe's, else into that with its
// configure flags: the recipe, or one that it extends.
func (s *Session) writeProfile(r *recipes.Recipe, profile string) error {
	at := r.At("python", "configure")
	if r.Python.Profile != "" {
		at = r.At("python", "profile")
	}
	data, err := os.ReadFile(at.File)
	if err != nil {
		return fmt.Errorf("reading the recipe: %w", err)
	}
	data, change, err := edit.SetProfile(at.File, data, profile)
	if err != nil {
		return err
	}
	if err := replaceFile(at.File, data); err != nil {
		return fmt.Errorf("writing the recipe: %w", err)
	}
	s.tell("%s", editChange{at.File, change})
	return nil
}
