package cli

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"ampoule/artifact"
	"ampoule/cmd/ampoule/display"
	"ampoule/registry"
	"ampoule/registry/embedded"
	"ampoule/wiring"
)

// Shelf is a registry whose content can be looked after.
type Shelf interface {
	Artifacts(ctx context.Context) ([]embedded.Artifact, error)
	Remove(ctx context.Context, t embedded.Target) error
	Hold(ctx context.Context, t embedded.Target) error
	Unhold(ctx context.Context, t embedded.Target) error
}

func newRegistryList(s *Session) *cobra.Command {
	return &cobra.Command{
		Use:   "ls",
		Short: "Lists what is published in the store's registry",
		Long: `Ls lists the artifacts of the store's registry: the reference, the day of the last use
(publishing, a build that found it, a pull), and how much it takes with what refers to it.
Artifacts may share content. What is held says so, and what is not whole; tags that
are no key's follow.`,
		Example:           "  ampoule registry ls\n  ampoule registry ls --output json",
		Args:              usage(cobra.NoArgs),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.atOwnRegistry(cmd, func(ctx context.Context, w *wiring.Parts) error { return RegistryList(ctx, s, w.Own) })
		},
	}
}

// RegistryList prints what a registry has.
func RegistryList(ctx context.Context, s *Session, shelf Shelf) error {
	all, err := shelf.Artifacts(ctx)
	if err != nil {
		return err
	}
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	for _, a := range all {
		if a.Digest == "" {
			s.tell("the list of repository %s is damaged: ampoule store verify --repair makes it anew", a.Name)
			continue
		}
		var marks []string
		if a.Held {
			marks = append(marks, "held")
		}
		if !a.Whole {
			marks = append(marks, "damaged")
		}
		for _, tag := range a.Tags {
			if !artifact.IsKeyTag(tag) && !artifact.IsHoldTag(tag) {
				marks = append(marks, tag)
			}
		}
		fmt.Fprintf(w, "%s@%s\t%s\t%s\t%s\n", a.Name, a.Digest, a.Used.Format(time.DateOnly), display.Size(a.Bytes), strings.Join(marks, " "))
	}
	_ = w.Flush() // it writes to memory
	if len(all) == 0 && s.Output == Text {
		s.tell("nothing is published in the store's registry")
		return nil
	}
	return s.print(display.Clean(b.String(), true), all)
}

func newRegistryRemove(s *Session) *cobra.Command {
	return s.targetVerb(&cobra.Command{
		Use:   "rm REF...",
		Short: "Removes artifacts, or tags, from the store's registry",
		Long: `Rm removes artifacts by their digest, with all their tags and what refers to them, or
single tags. An artifact that is held is refused. The content goes with a collection
(ampoule store gc) an hour later at the earliest: whoever pulls it now gets it whole.
An artifact that is removed is built again by its recipe, with the same digest where
the recipe is repeatable. The result is what was removed.`,
		Example: `  ampoule registry rm web@sha256:…
  ampoule registry rm web:old`,
	}, Shelf.Remove)
}

func newRegistryHold(s *Session) *cobra.Command {
	return s.targetVerb(&cobra.Command{
		Use:   "hold REF...",
		Short: "Has artifacts stay, whatever their age",
		Long: `Hold marks artifacts by a tag: no collection removes them, whatever bound of age it is
given, and ampoule registry rm refuses to. Any tag that is no key's holds an
artifact against collections, too.`,
		Example: "  ampoule registry hold web@sha256:…",
	}, Shelf.Hold)
}

func newRegistryUnhold(s *Session) *cobra.Command {
	return s.targetVerb(&cobra.Command{
		Use:     "unhold REF...",
		Short:   "Lets artifacts go that were held",
		Long:    "Unhold takes away what ampoule registry hold gave.",
		Example: "  ampoule registry unhold web@sha256:…",
	}, Shelf.Unhold)
}

// targetVerb completes a verb that does something with each artifact that it is given.
func (s *Session) targetVerb(cmd *cobra.Command, do func(Shelf, context.Context, embedded.Target) error) *cobra.Command {
	cmd.Args = usage(cobra.MinimumNArgs(1))
	cmd.ValidArgsFunction = s.completeRefs(-1, false)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return s.atOwnRegistry(cmd, func(ctx context.Context, w *wiring.Parts) error {
			reg, err := w.Registry()
			if err != nil {
				return err
			}
			return RegistryTargets(ctx, s, reg, w.Own, args, do)
		})
	}
	return cmd
}

// RegistryTargets does something with each artifact that a reference names, and prints those.
// All references are read before anything is done.
func RegistryTargets(ctx context.Context, s *Session, reg *registry.Registry, shelf Shelf, refs []string, do func(Shelf, context.Context, embedded.Target) error) error {
	targets := make([]embedded.Target, len(refs))
	for i, ref := range refs {
		name, tag, digest, err := reg.Split(ref)
		if err != nil {
			return err
		}
		targets[i] = embedded.Target{Name: name, Tag: tag, Digest: digest}
	}
	for _, t := range targets {
		if err := do(shelf, ctx, t); err != nil {
			return err
		}
	}
	return s.print(strings.Join(refs, "\n"), refs)
}
