package builder

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"ampoule/artifact"
	"ampoule/audit"
	"ampoule/builder/gate"
	"ampoule/builder/layers"
	"ampoule/builder/once"
	"ampoule/builder/overlay"
	"ampoule/builder/progress"
	"ampoule/builder/seal"
	"ampoule/faults"
	"ampoule/recipes"
	"ampoule/tree"
)

// GroupKey is what the build of a dependency group is addressed by, for an artifact of a digest.
func GroupKey(r *recipes.Recipe, l *recipes.Lock, group, digest string) string {
	return recipes.GroupKey(r, l, group, digest, versionOf(r))
}

// groupBuild is a dependency group on its way over a published artifact.
type groupBuild struct {
	*build
	// digest is the artifact's, alone the lock without the group.
	digest string
	alone  *recipes.Lock
	key    string
}

// buildGroup makes sure that a group is published for the artifact of a digest.
func (b *Builder) buildGroup(ctx context.Context, req Request, digest, group string) (GroupResult, error) {
	recipe := *req.Recipe
	// The recipe's tests are the artifact's own: a group could hide what that lacks.
	recipe.Test = recipes.Test{}
	recipe.Gate.Except = slices.Concat(recipe.Gate.Except, recipe.Gate.For(group))
	g := &groupBuild{digest: digest, alone: req.Lock.Alone(), key: GroupKey(req.Recipe, req.Lock, group, digest)}
	req.Recipe, req.Lock = &recipe, req.Lock.With(group)
	g.build = &build{b: b, req: req, plan: req.plan(), group: group}
	find := func(ctx context.Context) (GroupResult, bool, error) {
		found, ok, err := b.d.Publisher.FindGroup(ctx, recipe.Name, digest, g.key)
		return GroupResult{Name: group, Key: g.key, Digest: found, Reused: ok}, ok, err
	}
	task := progress.Later(ctx, progress.StageBuild, recipe.Name+" with group "+group)
	lock := "group-" + strings.ReplaceAll(g.key, ":", "-")
	result, reused, err := once.Get(ctx, b.d.Store, task, lock, find, g.make)
	task.Finish(reused, err)
	return result, err
}

// make builds a group that is not published yet. A verdict is part of the result although
// the gate refuses.
func (g *groupBuild) make(ctx context.Context) (result GroupResult, err error) {
	release, err := g.b.d.Store.Use(ctx)
	if err != nil {
		return GroupResult{}, err
	}
	defer release()
	ctx, endCaching := g.b.caching(ctx)
	defer endCaching()
	result = GroupResult{Name: g.group, Key: g.key}
	if result.Logs, err = g.b.logs(g.req.Recipe.Name + "-" + g.group); err != nil {
		return GroupResult{}, err
	}
	outcome, logs := g.b.begin(g.req.Recipe.Name, g.group), result.Logs
	defer func() {
		outcome.Digest = result.Digest
		g.b.end(ctx, logs, outcome, err)
	}()
	if err := g.b.keepPatches(ctx, g.req); err != nil {
		return GroupResult{}, err
	}
	if err := g.takeCode(ctx); err != nil {
		return GroupResult{}, err
	}
	g.logs, g.begun = result.Logs, outcome.Begun
	result.Verdict, result.Digest, err = g.run(ctx)
	return result, err
}

// run seals the artifact alone, as it is published, then with the group, and publishes the
// difference once the gate has judged both together.
func (g *groupBuild) run(ctx context.Context) (_ *audit.Verdict, _ string, err error) {
	if err := g.b.d.Fetch.Fetch(ctx, g.b.fetchFirst(g.plan.Inputs)...); err != nil {
		return nil, "", err
	}
	closeLog, err := g.begin(ctx)
	if err != nil {
		return nil, "", err
	}
	defer func() { err = errors.Join(err, closeLog()) }()
	if err := g.b.checkExcludes(ctx, g.req.Recipe, g.req.Lock, g.req.platform()); err != nil {
		return nil, "", err
	}
	made, err := g.buildWheels(ctx)
	var refused *RefusedError
	if errors.As(err, &refused) {
		return &refused.Verdict, "", err
	}
	if err != nil {
		return nil, "", err
	}
	open := layers.Open(g.b.d.Store)
	defer func() { err = errors.Join(err, open.Close()) }()
	base, err := g.sealAlone(ctx, open, made)
	if err != nil {
		return nil, "", err
	}
	g.artifacts = g.isOwn
	g.laid = func(installed []*tree.Tree, made []seal.Wheel) error { return g.checkLaid(base, installed, made) }
	both, err := g.seal(ctx, open, made)
	if err != nil {
		return nil, "", err
	}
	beyond, clashes := overlay.Beyond(base, both.Tree)
	if len(clashes) > 0 {
		return nil, "", &overlay.RefusedError{Name: g.group, Clashes: clashes}
	}
	verdict, err := g.gate(ctx, both, nil)
	if err != nil {
		return verdict, "", err
	}
	bill, err := g.bill(ctx, open, both, beyond)
	if err != nil {
		return verdict, "", err
	}
	digest, err := g.publishGroup(ctx, beyond, made, verdict, bill)
	return verdict, digest, err
}

// sealAlone seals the artifact's own wheels again, and wants the tree that is published.
func (g *groupBuild) sealAlone(ctx context.Context, open *layers.Opened, made []seal.Wheel) (*tree.Tree, error) {
	alone := *g.build
	alone.req.Lock = g.alone
	sealed, err := alone.seal(ctx, open, g.of(made, true))
	if err != nil {
		return nil, err
	}
	published, err := g.b.d.Publisher.Tree(ctx, g.req.Recipe.Name, g.digest, g.req.platform())
	if err != nil {
		return nil, err
	}
	if sealed.Tree.Hash() != published {
		return nil, otherTree(g.group, g.digest, sealed.Tree.Hash(), published)
	}
	return sealed.Tree, nil
}

// otherTree says that the artifact, built here, is not the one that is published: nothing
// that was judged over the one says anything of the other.
func otherTree(group, digest, here, published string) error {
	return faults.New(faults.Refused, "build the group with the store that the artifact was built in: an interpreter whose optimisation was trained is another one in each build",
		"laying dependency group %s over %s: its tree is %s, and this store makes %s of recipe and lock", group, digest, published, here)
}

// isOwn reports whether a wheel is the artifact's own, and not the group's. That of first-party
// code is.
func (g *groupBuild) isOwn(w seal.Wheel) bool {
	_, firstParty := g.versions[w.Name]
	return firstParty || slices.Contains(g.alone.Requirements, w.Name+"=="+w.Version)
}

// of are the wheels that are the artifact's own, or those that are not, in their order.
func (g *groupBuild) of(made []seal.Wheel, own bool) []seal.Wheel {
	return slices.DeleteFunc(slices.Clone(made), func(w seal.Wheel) bool { return g.isOwn(w) != own })
}

// checkLaid refuses what the group's wheels would do to the artifact's tree.
func (g *groupBuild) checkLaid(base *tree.Tree, installed []*tree.Tree, made []seal.Wheel) error {
	var laid []overlay.Laid
	for i, w := range made {
		if !g.isOwn(w) {
			laid = append(laid, overlay.Laid{Name: w.Name, Tree: installed[i]})
		}
	}
	clashes, err := overlay.Check(base, gate.SitePackages(base, path.Base(g.env.Python)), laid)
	if err == nil && len(clashes) > 0 {
		err = &overlay.RefusedError{Name: g.group, Clashes: clashes}
	}
	return err
}

// bill prepares the group's bill of materials: what is laid over the artifact, and what that was
// built with.
func (g *groupBuild) bill(ctx context.Context, open *layers.Opened, both *seal.Sealed, beyond *tree.Tree) (func(digest string) ([]byte, error), error) {
	in, err := g.materials(ctx, open, both, g.req.Lock)
	if err != nil {
		return nil, err
	}
	in.Group, in.Over, in.Key, in.Tree = g.group, g.digest, g.key, beyond
	in.Build = ingredients(g.ownLock())
	return writing(in), nil
}

// ownLock is the lock with nothing but what the group takes: what it installs, and what that is
// built with. Where nothing is built, no toolchain is in it.
func (g *groupBuild) ownLock() *recipes.Lock {
	own := *g.req.Lock
	own.App, own.Toolchain, own.Requirements, own.Dists = nil, nil, nil, nil
	for _, id := range g.req.Lock.Requirements {
		if !slices.Contains(g.alone.Requirements, id) {
			own.Requirements = append(own.Requirements, id)
		}
	}
	reached := slices.Clone(own.Requirements)
	for i := 0; i < len(reached); i++ {
		d, _ := g.req.Lock.Dist(reached[i])
		own.Dists = append(own.Dists, d)
		if d.Build == nil {
			continue
		}
		own.Toolchain = g.req.Lock.Toolchain
		for _, id := range d.Build.Dists {
			if !slices.Contains(reached, id) {
				reached = append(reached, id)
			}
		}
	}
	return &own
}

// provenance says how the group was built, and over which artifact.
func (g *groupBuild) provenance() (artifact.Provenance, error) {
	p, err := g.build.provenance()
	over := artifact.Resource{
		Name: g.req.Recipe.Name, URI: imageURL(g.req.Recipe.Name, g.digest), Digest: sha256Of(strings.TrimPrefix(g.digest, "sha256:")),
	}
	p.BuildDefinition.ExternalParameters.Group, p.BuildDefinition.ExternalParameters.Artifact = g.group, &over
	p.BuildDefinition.InternalParameters.Key = g.key
	p.BuildDefinition.ResolvedDependencies = append(p.BuildDefinition.ResolvedDependencies, over)
	return p, err
}

// publishGroup hands what is laid over the artifact to the registry.
func (g *groupBuild) publishGroup(ctx context.Context, beyond *tree.Tree, made []seal.Wheel, verdict *audit.Verdict, bill func(digest string) ([]byte, error)) (_ string, err error) {
	task := progress.Start(ctx, progress.StagePublish, g.req.Recipe.Name+" with group "+g.group)
	defer func() { task.End(err) }()
	told, err := json.MarshalIndent(verdict, "", "  ")
	if err != nil {
		return "", fmt.Errorf("writing the verdict: %w", err)
	}
	record := g.record(beyond, made)
	var parts []artifact.Layer
	if beyond.Len() > 0 {
		name := "group-" + g.group
		if parts, err = layers.SaveParts(ctx, g.b.d.Store, progress.StagePublish, []layers.Part{{Name: name, Tree: beyond}}, Prefix); err != nil {
			return "", err
		}
		record.Layers = append(record.Layers, artifact.GroupLayer{File: name + ".tar.gz", DiffID: parts[0].DiffID})
	}
	provenance, err := g.provenance()
	if err != nil {
		return "", err
	}
	return g.b.d.Publisher.PublishGroup(ctx, artifact.Group{
		Repository: g.req.Recipe.Name, Digest: g.digest, Record: record, Layers: parts, Verdict: told, SBOM: bill, Provenance: provenance,
	})
}

// record is what the group says of itself, but for its layers.
func (g *groupBuild) record(beyond *tree.Tree, made []seal.Wheel) artifact.GroupRecord {
	r := artifact.GroupRecord{
		Schema: artifact.GroupSchema, Name: g.group, Artifact: g.digest, Key: g.key, Platform: g.req.platform(), Prefix: "/" + Prefix,
		Layers: []artifact.GroupLayer{}, Distributions: []artifact.GroupDistribution{}, Files: map[string]string{},
	}
	for _, w := range g.of(made, false) {
		r.Distributions = append(r.Distributions, artifact.GroupDistribution{Name: w.Name, Version: w.Version, Wheel: w.File})
	}
	for _, e := range beyond.Entries() {
		if e.Kind == tree.File {
			r.Files[e.Path] = "sha256:" + e.SHA256
		}
		if e.Kind == tree.Symlink {
			r.Files[e.Path] = "link:" + e.Link
		}
	}
	return r
}
