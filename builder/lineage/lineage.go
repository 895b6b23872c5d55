// Package lineage says why a distribution is locked: what requires it in the tree, and which
// builds take it; and which parts of the lock take a Debian package. Nothing is resolved, and no
// index is asked: the lock says what is there, the metadata of files in the store what these
// require. What the store does not have is unknown, and named.
package lineage

import (
	"context"
	"slices"
	"strings"

	"ampoule/packaging"
	"ampoule/recipes"
	"ampoule/store"
)

// Edge is one requirement of a distribution.
type Edge struct {
	// From is what requires it, as NAME==VERSION, or the name of first-party code; empty where
	// the recipe itself does.
	From string `json:"from,omitempty"`
	// At is where a person wrote it; nil of what metadata says.
	At *recipes.Position `json:"at,omitempty"`
	// Requires is the requirement, To the distribution's name.
	Requires string `json:"requires"`
	To       string `json:"to"`

	requirement packaging.Requirement
}

// Chain leads from what a person wrote to a distribution: each edge's From is the To of the one
// before it.
type Chain struct {
	Edges []Edge `json:"edges"`
	// Whole is false if it is not known what brings the first edge's From.
	Whole bool `json:"whole"`
}

// Build is a build that takes a distribution.
type Build struct {
	// Of is what is built.
	Of string `json:"of"`
	// Requires are the build's own requirements of it; none where another build requirement
	// brings it.
	Requires []string `json:"requires"`
}

// Graph is which of the distributions of a tree requires which.
type Graph struct {
	// Unknown are those of which it is not known what they require, as NAME==VERSION, sorted.
	Unknown []string

	lock      *recipes.Lock
	installed map[string]recipes.Dist
	roots     []Edge
	// limits are constraints, which require nothing.
	limits []Edge
	says   map[string][]packaging.Requirement
	env    packaging.Environment
	// edges are all that count, those of people first.
	edges []Edge
}

// Read reads the graph of the artifact, or of the artifact with a group over it.
func Read(ctx context.Context, st *store.Store, r *recipes.Recipe, reqs *recipes.RequirementSet, l *recipes.Lock, group string) (*Graph, error) {
	sets := []*recipes.RequirementSet{reqs}
	if group != "" {
		l = l.With(group)
		sets = append(sets, reqs.Groups[group])
	}
	g := &Graph{
		lock: l, installed: map[string]recipes.Dist{}, says: map[string][]packaging.Requirement{},
		env: packaging.LinuxEnvironment(r.Python.Version, "x86_64"),
	}
	for _, id := range l.Requirements {
		if d, ok := l.Dist(id); ok {
			g.installed[d.Name] = d
		}
	}
	for _, set := range sets {
		if set != nil {
			g.root(set)
		}
	}
	files, err := newReader(st)
	if err != nil {
		return nil, err
	}
	for _, name := range g.names() {
		d := g.installed[name]
		found, known, err := files.requires(ctx, d)
		if err != nil {
			return nil, err
		}
		if !known {
			g.Unknown = append(g.Unknown, d.ID())
		}
		g.says[name] = found
	}
	g.connect()
	return g, nil
}

// names are the names of what is installed, sorted.
func (g *Graph) names() []string {
	var names []string
	for name := range g.installed {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// root takes what people wrote.
func (g *Graph) root(set *recipes.RequirementSet) {
	for _, q := range set.Requirements {
		parsed, err := packaging.ParseRequirement(q.Spec)
		switch {
		case err != nil:
		case q.Constraint && !parsed.Applies(g.env, nil):
		case q.Constraint:
			at := q.Position
			g.limits = append(g.limits, edge("", &at, parsed))
		default:
			at := q.Position
			g.roots = append(g.roots, edge("", &at, parsed))
		}
	}
	for i, app := range g.lock.App {
		// What is written down is among the requirements.
		if i < len(set.Projects) && !set.Projects[i].Static {
			for _, text := range app.Requires {
				if parsed, err := packaging.ParseRequirement(text); err == nil {
					g.roots = append(g.roots, edge(app.Name, &set.Projects[i].At, parsed))
				}
			}
		}
	}
}

func edge(from string, at *recipes.Position, q packaging.Requirement) Edge {
	return Edge{From: from, At: at, Requires: q.String(), To: q.Name, requirement: q}
}

// connect finds the edges that count here. Extras that are asked for bring further ones, which
// may ask for more.
func (g *Graph) connect() {
	extras := map[string][]string{}
	for again := true; again; {
		again, g.edges = false, nil
		take := func(e Edge, of []string) {
			if _, there := g.installed[e.To]; !there || !e.requirement.Applies(g.env, of) {
				return
			}
			g.edges = append(g.edges, e)
			for _, extra := range e.requirement.Extras {
				if !slices.Contains(extras[e.To], extra) {
					extras[e.To], again = append(extras[e.To], extra), true
				}
			}
		}
		for _, e := range g.roots {
			take(e, nil)
		}
		for _, name := range g.names() {
			for _, q := range g.says[name] {
				take(edge(g.installed[name].ID(), nil, q), extras[name])
			}
		}
	}
}

// Installed is the distribution of a normalised name in the tree.
func (g *Graph) Installed(name string) (recipes.Dist, bool) {
	d, ok := g.installed[name]
	return d, ok
}

// Names are the names of what is in the tree, sorted.
func (g *Graph) Names() []string { return g.names() }

// Chains are what brings a distribution into the tree: the shortest chain through each that
// requires it, the shortest first. What it brings itself is not among them.
func (g *Graph) Chains(name string) []Chain {
	first := g.reach()
	var chains []Chain
	for _, e := range g.edges {
		if e.To != name {
			continue
		}
		if chain, ok := chainTo(e, first); ok {
			chains = append(chains, chain)
		}
	}
	slices.SortStableFunc(chains, func(a, b Chain) int { return len(a.Edges) - len(b.Edges) })
	return chains
}

// chainTo is the shortest chain that ends with an edge. ok is false if it goes in a circle.
func chainTo(last Edge, first map[string]Edge) (_ Chain, ok bool) {
	chain := Chain{[]Edge{last}, true}
	for chain.Edges[0].At == nil {
		from, _, _ := strings.Cut(chain.Edges[0].From, "==")
		if from == last.To {
			return Chain{}, false
		}
		before, reached := first[from]
		if !reached {
			chain.Whole = false
			break
		}
		chain.Edges = slices.Insert(chain.Edges, 0, before)
	}
	return chain, true
}

// reach finds by which edge each distribution is reached first, going breadth first from what
// people wrote.
func (g *Graph) reach() map[string]Edge {
	first := map[string]Edge{}
	var next []string
	visit := func(e Edge) {
		if _, reached := first[e.To]; !reached {
			first[e.To], next = e, append(next, e.To)
		}
	}
	for _, e := range g.edges {
		if e.At != nil {
			visit(e)
		}
	}
	for len(next) > 0 {
		from := g.installed[next[0]].ID()
		next = next[1:]
		for _, e := range g.edges {
			if e.From == from && e.At == nil {
				visit(e)
			}
		}
	}
	return first
}

// Refusing are the requirements and constraints of a distribution, as far as they are known, that
// do not admit a version of it.
func (g *Graph) Refusing(name, version string) []Edge {
	var found []Edge
	for _, e := range slices.Concat(g.edges, g.limits) {
		if e.To == name && !e.requirement.Admits(version) {
			found = append(found, e)
		}
	}
	return found
}

// Limit lets what is written somewhere else than in requirements limit versions, too.
func (g *Graph) Limit(from, spec string) {
	if q, err := packaging.ParseRequirement(spec); err == nil {
		g.limits = append(g.limits, edge(from, nil, q))
	}
}

// Builds are the builds of a lock that take a dist, which its ID names.
func Builds(l *recipes.Lock, id string) []Build {
	var found []Build
	name, _, _ := strings.Cut(id, "==")
	take := func(of string, set *recipes.BuildSet) {
		if set == nil || !slices.Contains(set.Dists, id) {
			return
		}
		b := Build{Of: of, Requires: []string{}}
		for _, text := range slices.Concat(set.Requires, set.Added, set.Dynamic) {
			if packaging.NormalName(packaging.RequiredName(text)) == name && !slices.Contains(b.Requires, text) {
				b.Requires = append(b.Requires, text)
			}
		}
		found = append(found, b)
	}
	for _, d := range l.Dists {
		take(d.ID(), d.Build)
	}
	for _, app := range l.App {
		take(app.Name, app.Build)
	}
	return found
}
