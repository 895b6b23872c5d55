package locking

import (
	"context"
	"maps"
	"slices"
	"strings"

	"ampoule/builder/layers"
	"ampoule/recipes"
)

// keptBuild returns what the previous lock has for building an sdist, if everything
// that decides it is as it was and nothing of it may move: then neither the index nor
// the build backend is asked again. set is how it is built now, beside what it declares.
func (p *distLocker) keptBuild(sdist recipes.Dist, set recipes.BuildSet) (recipes.BuildSet, bool) {
	d, ok := p.opts.Previous.Dist(sdist.ID())
	if !ok || d.Build == nil || d.SHA256 != sdist.SHA256 {
		return recipes.BuildSet{}, false
	}
	b := *d.Build
	names := []string{sdist.Name}
	for _, id := range b.Dists {
		name, _, _ := strings.Cut(id, "==")
		// What the tree requires is chosen by other rules than what is built with alone.
		if p.opts.moves(name) || p.roots[name] && !slices.Contains(p.opts.Previous.Requirements, id) {
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

// metadataKind is the store's kind of records of what backends said of releases.
const metadataKind = "sdist-metadata"

// metadataKey names everything that decides an sdist's metadata, but the versions of
// what it is built with.
func (p *distLocker) metadataKey(sdist recipes.Dist, set recipes.BuildSet) string {
	lines := set.Lines()
	return layers.Key("metadata", 1, map[string]any{
		"sdist": sdist.SHA256, "place": p.place(), "settings": lines.Settings, "env": lines.Env, "patches": lines.Patches,
	})
}

// metadataOf returns what an sdist's backend says of it: as it said before, or computed
// in a sealed sandbox.
func (p *distLocker) metadataOf(ctx context.Context, sdist recipes.Dist) (metadata, error) {
	set, _, err := p.settings(ctx, sdist)
	if err != nil {
		return metadata{}, err
	}
	key := p.metadataKey(sdist, set)
	var m metadata
	if known, err := p.l.Store.Lookup(metadataKind, key, &m); err != nil || known {
		return m, err
	}
	job, err := p.buildJob(ctx, sdist)
	if err != nil {
		return metadata{}, err
	}
	text, err := p.stage.Metadata(ctx, job)
	if err != nil {
		return metadata{}, err
	}
	if m, err = parseMetadata(sdist.Name, sdist.Version, text); err != nil {
		return metadata{}, err
	}
	if m.RequiresDist, err = canonical(sdist, m.RequiresDist, recipes.ParseDependency); err != nil {
		return metadata{}, err
	}
	return m, p.l.Store.Record(metadataKind, key, m)
}

// recall gives the resolver what backends said before of the previous lock's sdists, so
// that it need not ask for each by failing.
func (p *distLocker) recall(ctx context.Context) error {
	for _, d := range p.opts.Previous.Dists {
		if d.Build == nil {
			continue
		}
		set, _, err := p.settings(ctx, d)
		if err != nil {
			return err
		}
		var m metadata
		known, err := p.l.Store.Lookup(metadataKind, p.metadataKey(d, set), &m)
		if err != nil {
			return err
		}
		if known {
			p.resolver.known = append(p.resolver.known, m)
		}
	}
	return nil
}
