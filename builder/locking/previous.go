package locking

import (
	"context"
	"maps"
	"slices"
	"strings"

	"ampoule/builder/layers"
	"ampoule/recipes"
)

// previousBuild returns what the previous lock has for building an sdist, if everything
// that decides it is as it was and nothing of it may move: then neither the index nor
// the build backend is asked again. set is how it is built now, beside what it declares.
func (p *distLocker) previousBuild(sdist recipes.Dist, set recipes.BuildSet) (recipes.BuildSet, bool) {
	d, ok := p.opts.Previous.Dist(sdist.ID())
	if !ok || d.Build == nil || d.SHA256 != sdist.SHA256 {
		return recipes.BuildSet{}, false
	}
	b := *d.Build
	if len(b.CargoLocks) > 0 && p.opts.moves(sdist.Name) {
		return recipes.BuildSet{}, false // its crates were chosen, and may move
	}
	names := []string{sdist.Name}
	for _, id := range b.Dists {
		name, version, _ := strings.Cut(id, "==")
		required := slices.Contains(p.opts.Previous.Requirements, id)
		if pin, inTree := p.pins[name]; inTree && pin != version && required {
			return recipes.BuildSet{}, false // it was the tree's version, and the tree has moved
		}
		// What the tree requires is chosen by other rules than what is built with alone.
		if p.opts.moves(name) || p.roots[name] && !required {
			return recipes.BuildSet{}, false
		}
		names = append(names, name)
	}
	same := slices.Equal(set.Added, b.Added) && maps.Equal(set.Env, b.Env) && slices.Equal(set.Patches, b.Patches) &&
		slices.Equal(set.Overrides, b.Overrides) && maps.EqualFunc(set.ConfigSettings, b.ConfigSettings, recipes.Setting.Equal) &&
		slices.Equal(about(p.lock.Answers, names), about(p.opts.Previous.Answers, names))
	return b, same && !p.opts.Upgrade
}

// about returns the recipe's answers but those about other distributions than these.
func about(a recipes.Answers, names []string) []string {
	return slices.DeleteFunc(slices.Clone(a.Recipe), func(line string) bool {
		rest, own := strings.CutPrefix(line, "packages.")
		name, _, _ := strings.Cut(rest, ".")
		return own && !slices.Contains(names, name)
	})
}

// keepDists takes dists over from the previous lock, with what building them takes.
func (p *distLocker) keepDists(ctx context.Context, ids []string) error {
	for _, id := range ids {
		d, ok := p.opts.Previous.Dist(id)
		if _, done := p.dists[id]; done || !ok {
			continue
		}
		if d.Build != nil {
			set, err := p.lockBuild(ctx, d)
			if err != nil {
				return err
			}
			d.Build = &set
		}
		p.dists[id] = d
	}
	return nil
}

// askedKind is the store's kind of records that say of which sdists the resolver wanted
// metadata. They hold no metadata: what a backend says is remembered by [wheels.Stage],
// under the whole of what it was asked in.
const askedKind = "metadata-asked"

// askedKey names an sdist where it is built.
func (p *distLocker) askedKey(sdist recipes.Dist) string {
	return layers.Key(askedKind, 1, map[string]any{"sdist": sdist.SHA256, "id": sdist.ID(), "place": p.place()})
}

// metadataOf returns what an sdist's backend says of it in a sealed sandbox, with the
// build requirements that this recipe gives it, or said there before.
func (p *distLocker) metadataOf(ctx context.Context, sdist recipes.Dist) (metadata, error) {
	job, err := p.buildJob(ctx, sdist)
	if err != nil {
		return metadata{}, err
	}
	text, err := p.stage.Metadata(ctx, job)
	if err != nil {
		return metadata{}, err
	}
	m, err := parseMetadata(sdist.Name, sdist.Version, text)
	if err != nil {
		return metadata{}, err
	}
	if m.RequiresDist, err = canonical(sdist, m.RequiresDist, recipes.ParseDependency); err != nil {
		return metadata{}, err
	}
	return m, p.l.Store.Record(askedKind, p.askedKey(sdist), true)
}

// recall gives the resolver the metadata of those of the previous lock's sdists that it
// wanted before, so that it need not ask for each by failing. What cannot be had is left
// out: the resolver asks for it if it still wants it, and then its error is told.
func (p *distLocker) recall(ctx context.Context) error {
	for _, d := range p.opts.Previous.Dists {
		if p.resolver.knows(d.Name, d.Version) {
			continue
		}
		again, err := p.isAskedAgain(ctx, d)
		if err != nil {
			return err
		}
		if !again {
			continue
		}
		m, err := p.metadataOf(ctx, d)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			p.log.Printf("recalling the metadata of %s: %v", d.ID(), err)
		default:
			p.resolver.known = append(p.resolver.known, m)
		}
	}
	return nil
}

// isAskedAgain reports whether the resolver wanted the metadata of a locked sdist before,
// and nothing that decides it has moved since.
func (p *distLocker) isAskedAgain(ctx context.Context, d recipes.Dist) (bool, error) {
	if d.Build == nil {
		return false, nil
	}
	var asked bool
	if _, err := p.l.Store.Lookup(askedKind, p.askedKey(d), &asked); err != nil || !asked {
		return false, err
	}
	set, _, err := p.settings(ctx, d)
	if err != nil {
		return false, err
	}
	_, kept := p.previousBuild(d, set)
	return kept, nil
}
