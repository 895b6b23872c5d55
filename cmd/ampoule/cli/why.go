package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"ampoule/builder/lineage"
	"ampoule/cmd/ampoule/display"
	"ampoule/packaging"
	"ampoule/recipes"
	"ampoule/store"
	"ampoule/wiring"
)

func newWhy(s *Session) *cobra.Command {
	return &cobra.Command{
		Use:   "why NAME",
		Short: "Says what brings a distribution, or a Debian package, into the lock",
		Long: `Why lists the requirements that bring a distribution into the tree, from the line that
a person wrote, and the builds that take it. It reads the lock, and what the files in
the store say of themselves; no index is asked. Of releases whose files are not there, or
do not say what they require before they are built, it is told that this is not known.

Of a Debian package it lists the parts of the lock that take it: base, toolchain, targets,
libraries that are loaded by name, and builds.`,
		Example: `  ampoule why click
  ampoule why libpq-dev
  ampoule why setuptools --output json`,
		Args:              usage(cobra.ExactArgs(1)),
		ValidArgsFunction: s.completeLocked,
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.wired(cmd.Context(), func(ctx context.Context, w *wiring.Parts) error {
				return Why(ctx, s, w.Store, args[0])
			})
		},
	}
}

// whyResult is the verb's result as JSON.
type whyResult struct {
	Name string `json:"name"`
	// Asked is the name as it was given: that of a Debian package has one spelling.
	Asked string     `json:"-"`
	Found []whyFound `json:"found"`
	// Unknown are the releases in the tree of which it is not known what they require; none
	// where only builds take the name, of which the lock knows all.
	Unknown []string `json:"unknown"`
	// Packages are the Debian packages of that name.
	Packages []lineage.Package `json:"packages,omitempty"`
}

// whyFound is one version in the lock.
type whyFound struct {
	Version string `json:"version"`
	// Group is the dependency group that has it; empty is the artifact.
	Group string `json:"group,omitempty"`
	// Installed is set if it is in the tree, and not only taken by builds.
	Installed bool            `json:"installed"`
	Chains    []lineage.Chain `json:"chains"`
	Builds    []lineage.Build `json:"builds"`
}

// Why tells what brings a distribution, or a Debian package, into the session's lock.
func Why(ctx context.Context, s *Session, st *store.Store, name string) error {
	in, err := s.readLocked()
	if err != nil {
		return err
	}
	res := whyResult{Name: packaging.NormalName(name), Asked: name, Found: []whyFound{}, Unknown: []string{}}
	for _, group := range append([]string{""}, slices.Sorted(maps.Keys(in.lock.Groups))...) {
		g, err := lineage.Read(ctx, st, in.recipe, in.reqs, in.lock, group)
		if err != nil {
			return err
		}
		found := whyIn(g, in.lock, group, res.Name)
		res.Found = append(res.Found, found...)
		if slices.ContainsFunc(found, func(f whyFound) bool { return f.Installed }) {
			res.Unknown = slices.Compact(slices.Sorted(slices.Values(append(res.Unknown, g.Unknown...))))
		}
	}
	res.Packages = lineage.Packages(in.recipe, in.lock, name)
	if len(res.Found)+len(res.Packages) == 0 {
		return notLocked(in.lock, res.Name)
	}
	return s.print(display.Clean(whyText(res), true), res)
}

// whyIn finds a name in the section of the lock that belongs to a group, or to the artifact.
func whyIn(g *lineage.Graph, l *recipes.Lock, group, name string) []whyFound {
	section, all := l.Dists, l
	if group != "" {
		section, all = l.Groups[group].Dists, l.With(group)
	}
	installed, _ := g.Installed(name)
	var found []whyFound
	for _, d := range section {
		if d.Name != name {
			continue
		}
		f := whyFound{Version: d.Version, Group: group, Chains: []lineage.Chain{}, Builds: append([]lineage.Build{}, lineage.Builds(all, d.ID())...)}
		if d.ID() == installed.ID() {
			f.Installed, f.Chains = true, append(f.Chains, g.Chains(name)...)
		}
		found = append(found, f)
	}
	return found
}

// notLocked says that a lock does not have a name, neither of a distribution nor of a package.
func notLocked(l *recipes.Lock, name string) error {
	var names []string
	for _, part := range sections(l) {
		for _, d := range part.Dists {
			names = append(names, d.Name)
		}
		for _, debs := range part.Debian {
			for _, deb := range debs {
				names = append(names, deb.Name)
			}
		}
	}
	hint := ""
	if near := recipes.Nearest(name, names); near != "" {
		hint = fmt.Sprintf("did you mean %q?", near)
	}
	return notFound("a distribution or Debian package "+name+" in the lock", hint)
}

// whyText is the result as people read it.
func whyText(res whyResult) string {
	var b strings.Builder
	for _, f := range res.Found {
		id, where := res.Name+"=="+f.Version, "is in the tree"
		if f.Group != "" {
			where = "is in the dependency group " + f.Group
		}
		switch {
		case f.Installed:
			fmt.Fprintf(&b, "%s %s\n", id, where)
		case f.Group != "":
			fmt.Fprintf(&b, "%s is taken by builds of the dependency group %s\n", id, f.Group)
		default:
			fmt.Fprintf(&b, "%s is taken by builds\n", id)
		}
		for _, c := range f.Chains {
			fmt.Fprintf(&b, "  %s\n", chainText(c))
		}
		if f.Installed && len(f.Chains) == 0 {
			b.WriteString("  what requires it is not known\n")
		}
		for _, build := range f.Builds {
			by := strings.Join(build.Requires, ", ")
			if by == "" {
				by = "another build requirement brings it"
			}
			fmt.Fprintf(&b, "  build of %s: %s\n", build.Of, by)
		}
	}
	for _, p := range res.Packages {
		fmt.Fprintf(&b, "%s is a Debian package of %s that is taken by\n", strings.TrimSpace(res.Asked+" "+p.Version), p.Suite)
		for _, t := range p.Takers {
			fmt.Fprintf(&b, "  %s\n", takerText(t))
		}
	}
	if len(res.Unknown) > 0 {
		fmt.Fprintf(&b, "not known is what these require (fetch or build, and ask again): %s\n", strings.Join(res.Unknown, ", "))
	}
	return b.String()
}

// takerText is a part of the lock in one line.
func takerText(t lineage.Taker) string {
	if t.At == nil {
		return t.Part
	}
	return fmt.Sprintf("%s: %s", t.Part, t.At)
}

// chainText is a chain in one line.
func chainText(c lineage.Chain) string {
	var parts []string
	for _, e := range c.Edges {
		switch {
		case e.At != nil && e.From != "":
			parts = append(parts, fmt.Sprintf("%s: %s: %s", e.At, e.From, e.Requires))
		case e.At != nil:
			parts = append(parts, fmt.Sprintf("%s: %s", e.At, e.Requires))
		default:
			parts = append(parts, e.From+": "+e.Requires)
		}
	}
	text := strings.Join(parts, " → ")
	if !c.Whole {
		text = "(not known) → " + text
	}
	return text
}
