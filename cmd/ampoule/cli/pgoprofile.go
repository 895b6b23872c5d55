package cli

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"ampoule/builder"
	"ampoule/builder/cpython"
	"ampoule/cmd/ampoule/display"
	"ampoule/recipes/edit"
	"ampoule/wiring"
)

// Trainer makes training profiles.
type Trainer interface {
	Train(ctx context.Context, req builder.Request, o builder.LockOptions) (cpython.Trained, builder.Inputs, error)
}

// TrainOptions say what follows when a profile is made.
type TrainOptions struct {
	// Write writes the profile into the recipe.
	Write bool
	// Upgrade has the toolchain's newest packages train.
	Upgrade bool
}

func newPGOProfile(s *Session) *cobra.Command {
	var o TrainOptions
	var to string
	var bounds stepBounds
	cmd := &cobra.Command{
		Use:   "pgo-profile [--write] [--to DIR|REGISTRY]",
		Short: "Trains the interpreter once, for repeatable optimised builds",
		Long: `Pgo-profile compiles an interpreter that counts what it does, has it run CPython's own
training task, and prints the sha256 of what was counted: a training profile. A recipe
that names it under python.profile gets an interpreter that is optimised by it
(--enable-optimizations), with the same bits each time, and without the training.

A profile belongs to one CPython, its configure flags and one version of the compiler. It
is refused where one of them is another one; after an update of the compiler, train anew.
Any number of recipes may share one profile.

The profile stays in the store, whatever is collected. With --to it is copied to a place
that outlives this machine, as ampoule fetch --to does: name that place in AMPOULE_KEPT.`,
		Example: `  ampoule pgo-profile --write
  ampoule pgo-profile --write --upgrade --to registry.example/team`,
		Args:              usage(cobra.NoArgs),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			budget, err := bounds.check(cmd)
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
	cmd.Flags().StringVar(&to, "to", "", "also copy the profile to this directory or registry")
	return cmd
}

// trainResult is the verb's result as JSON.
type trainResult struct {
	Profile string `json:"profile"`
	// Size is in bytes.
	Size int64  `json:"size"`
	Kept string `json:"kept"`
	// Objects are how many object files there were, Counted of how many there are counts.
	Objects int `json:"objects"`
	Counted int `json:"counted"`
}

// Train makes a training profile for the session's recipe.
func Train(ctx context.Context, s *Session, t Trainer, keep Keep, how builder.Request, o TrainOptions) error {
	in, err := s.read()
	if err != nil {
		return err
	}
	res, err := watched(ctx, s, func(ctx context.Context) (trainResult, error) {
		trained, inputs, err := t.Train(ctx, in.request(how), builder.LockOptions{Upgrade: o.Upgrade})
		if err != nil {
			return trainResult{}, err
		}
		place, err := keep(ctx, inputs)
		return trainResult{
			Profile: "sha256:" + trained.SHA256, Size: trained.Size, Kept: place,
			Objects: len(trained.About.Objects), Counted: trained.About.Counted(),
		}, err
	})
	if err != nil {
		return err
	}
	s.tell("a profile of %s: counts for %d of %d object files", display.Size(res.Size), res.Counted, res.Objects)
	if o.Write {
		if err := s.writeProfile(res.Profile); err != nil {
			return err
		}
	}
	return s.print(res.Profile, res)
}

// writeProfile writes a profile into the session's recipe.
func (s *Session) writeProfile(profile string) error {
	recipe, err := os.ReadFile(s.Recipe)
	if err != nil {
		return fmt.Errorf("reading the recipe: %w", err)
	}
	recipe, change, err := edit.SetProfile(s.Recipe, recipe, profile)
	if err != nil {
		return err
	}
	if err := replaceFile(s.Recipe, recipe); err != nil {
		return fmt.Errorf("writing the recipe: %w", err)
	}
	s.tell("%s", editChange{s.Recipe, change})
	return nil
}
