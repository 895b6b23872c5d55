package cli

import (
	"context"
	"slices"
	"strings"

	"ampoule/artifact"
	"ampoule/audit"
	"ampoule/builder"
	"ampoule/registry"
)

// allGroups stands for all dependency groups of the recipe. It is the name of none.
const allGroups = "*"

// groupResult is what became of a dependency group, as JSON.
type groupResult struct {
	Name    string         `json:"name"`
	Digest  string         `json:"digest,omitempty"`
	Key     string         `json:"key"`
	Reused  bool           `json:"reused"`
	Verdict *audit.Verdict `json:"verdict,omitempty"`
	Logs    string         `json:"logs,omitempty"`
}

// groupResults are results in their form as JSON.
func groupResults(results []builder.GroupResult) []groupResult {
	var all []groupResult
	for _, g := range results {
		all = append(all, groupResult(g))
	}
	return all
}

// tellGroups says what became of each dependency group.
func (s *Session) tellGroups(results []builder.GroupResult) []groupResult {
	for _, g := range results {
		if g.Verdict != nil {
			s.tellVerdict(*g.Verdict)
		}
		switch {
		case g.Reused && s.signs:
			s.tell("group %s: %s, published already and not signed: `ampoule sign REF --group %s` signs it", g.Name, g.Digest, g.Name)
		case g.Reused:
			s.tell("group %s: %s, published already", g.Name, g.Digest)
		case g.Digest != "":
			s.tell("group %s: %s", g.Name, g.Digest)
		}
	}
	return groupResults(results)
}

// Grouped lists what is published for artifacts.
type Grouped interface {
	Groups(ctx context.Context, ref string) ([]registry.Group, error)
}

// groupsOf returns dependency groups of an artifact that are wanted by name, or all.
func (s *Session) groupsOf(ctx context.Context, p Grouped, d registry.Description, wanted []string) ([]registry.Group, error) {
	if slices.Equal(wanted, []string{allGroups}) {
		return p.Groups(ctx, d.Ref)
	}
	var image registry.ImageInfo
	if len(d.Images) > 0 {
		image = d.Images[0] // all of them have the artifact's key
	}
	return s.laidOver(ctx, p, d, image, wanted)
}

// laidOver returns the dependency groups that are wanted over an artifact, the lowest first.
func (s *Session) laidOver(ctx context.Context, p Grouped, d registry.Description, image registry.ImageInfo, wanted []string) ([]registry.Group, error) {
	if len(wanted) == 0 {
		return nil, nil
	}
	published, err := p.Groups(ctx, d.Ref)
	if err != nil {
		return nil, err
	}
	return registry.ChooseGroups(s.current(ctx, published, d.Digest, image.Config.Labels[artifact.LabelKey], wanted), wanted)
}

// current leaves out the groups that the session's recipe and lock do not make any more, where
// the artifact is theirs: an old group is not to be taken for the one that is locked now. One
// that is wanted by its digest stays.
func (s *Session) current(ctx context.Context, published []registry.Group, digest, key string, wanted []string) []registry.Group {
	in, err := s.read()
	if err != nil || in.lock == nil {
		return published
	}
	isCurrent := func(g registry.Group) bool {
		return g.Record.Key == builder.GroupKey(in.recipe, in.lock, g.Record.Name, digest)
	}
	var made []string // the groups that recipe and lock make, for this artifact, and no other
	for _, g := range published {
		if isCurrent(g) {
			made = append(made, g.Record.Name)
		}
	}
	theirs := s.makes(ctx, in, key)
	return slices.DeleteFunc(slices.Clone(published), func(g registry.Group) bool {
		byName := slices.Contains(wanted, g.Record.Name)
		return byName && !isCurrent(g) && (theirs || in.recipe.App != nil && slices.Contains(made, g.Record.Name))
	})
}

// makes reports whether recipe and lock, with first-party code as it is, make the artifact of
// a key. Of code that cannot be read nothing is known.
func (s *Session) makes(ctx context.Context, in inputs, key string) bool {
	if in.recipe.App == nil {
		return builder.MakePlan(in.recipe, in.lock, in.recipe.Platforms[0], "").Key == key
	}
	plan, err := builder.PlanBuild(ctx, in.request(builder.Request{}), s.Environ)
	return err == nil && plan.Key == key
}

// groupOf names the dependency group that a referrer is or belongs to.
func groupOf(annotations map[string]string) string {
	return strings.TrimSpace(annotations[artifact.AnnotationGroup])
}
