package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"ampoule/builder/lineage"
	"ampoule/builder/outdated"
	"ampoule/cmd/ampoule/display"
	"ampoule/config"
	"ampoule/recipes"
	"ampoule/store"
	"ampoule/wiring"
)

func newOutdated(s *Session) *cobra.Command {
	return &cobra.Command{
		Use:   "outdated",
		Short: "Lists locked releases of which the index has newer ones",
		Long: `Outdated compares every release of the tree and of its dependency groups with the
index: the version that is locked, the newest that the requirements allow, the newest of
all, and which requirement holds it. It chooses nothing and writes nothing: each
release is looked at by itself, as if all others stayed; ampoule lock --upgrade may find
more or less. What only builds take is not listed. With --output json, every release is
listed.

What locked releases require is read from the store, as ampoule why does it. Where it is
not known, a requirement that holds a version may be missing.`,
		Example: `  ampoule outdated
  ampoule outdated --output json`,
		Args:              usage(cobra.NoArgs),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.wired(cmd.Context(), func(ctx context.Context, w *wiring.Parts) error {
				set, err := config.Read(s.Environ, "")
				if err != nil {
					return err
				}
				return Outdated(ctx, s, w.Store, w.Index(set.Inputs))
			})
		},
	}
}

// outdatedResult is the verb's result as JSON.
type outdatedResult struct {
	Pins []outdated.Pin `json:"pins"`
	// Unknown are releases of which it is not known what they require, and so what they hold.
	Unknown []string `json:"unknown"`
}

// Outdated tells of which releases of the session's lock an index has newer ones.
func Outdated(ctx context.Context, s *Session, st *store.Store, index outdated.Index) error {
	in, err := s.readLocked()
	if err != nil {
		return err
	}
	res, err := watched(ctx, s, func(ctx context.Context) (outdatedResult, error) { return findOutdated(ctx, in, st, index) })
	if err != nil {
		return err
	}
	if len(res.Unknown) > 0 {
		s.tell("not known is what these require, and so what they hold (fetch or build, and ask again): %s", strings.Join(res.Unknown, ", "))
	}
	for _, p := range res.Pins {
		if p.Newest == "" {
			s.tell("no index has %s, which is locked", p.Name)
		}
	}
	if s.Output == Text && !slices.ContainsFunc(res.Pins, outdated.Pin.IsOutdated) {
		s.tell("nothing is outdated")
		return nil
	}
	return s.print(display.Clean(outdatedText(res.Pins), true), res)
}

// findOutdated looks at the artifact, and at what each group lays over it.
func findOutdated(ctx context.Context, in inputs, st *store.Store, index outdated.Index) (outdatedResult, error) {
	res := outdatedResult{Pins: []outdated.Pin{}, Unknown: []string{}}
	seen := map[string]bool{}
	for _, group := range append([]string{""}, slices.Sorted(maps.Keys(in.lock.Groups))...) {
		g, err := lineage.Read(ctx, st, in.recipe, in.reqs, in.lock, group)
		if err != nil {
			return res, err
		}
		for _, l := range in.recipe.Limits(recipes.Place{Suite: in.lock.Base.Suite, Python: in.lock.Python.Version}) {
			g.Limit("the override of "+l.Name, l.Spec)
		}
		names := slices.DeleteFunc(g.Names(), func(name string) bool { return group != "" && seen[name] })
		pins, err := outdated.Compare(ctx, index, in.recipe, g, names)
		if err != nil {
			return res, err
		}
		for i := range pins {
			pins[i].Group = group
			if group == "" {
				seen[pins[i].Name] = true
			}
		}
		res.Pins = append(res.Pins, pins...)
		res.Unknown = slices.Compact(slices.Sorted(slices.Values(append(res.Unknown, g.Unknown...))))
	}
	return res, nil
}

// outdatedText is a table of what is outdated.
func outdatedText(pins []outdated.Pin) string {
	var b strings.Builder
	table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "NAME\tLOCKED\tALLOWED\tNEWEST\tHELD BY")
	for _, p := range pins {
		if !p.IsOutdated() {
			continue
		}
		name := p.Name
		if p.Group != "" {
			name += " (group " + p.Group + ")"
		}
		var held []string
		for _, e := range p.Held {
			held = append(held, chainText(lineage.Chain{Edges: []lineage.Edge{e}, Whole: true}))
		}
		by := strings.Join(held, ", ")
		if by == "" && p.Allowed != p.Newest {
			by = "it has no file for this Python that may be taken"
		}
		fmt.Fprintln(table, strings.TrimRight(strings.Join([]string{name, p.Locked, p.Allowed, p.Newest, by}, "\t"), "\t"))
	}
	_ = table.Flush() // a strings.Builder takes all
	return b.String()
}
