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
		case g.Reused:
			s.tell("group %s: %s, published already", g.Name, g.Digest)
		case g.Digest != "":
			s.tell("group %s: %s", g.Name, g.Digest)
		}
	}
	return groupResults(results)
}

// laidOver returns the dependency groups that are wanted over an artifact, the lowest first.
func (s *Session) laidOver(ctx context.Context, p Puller, d registry.Description, image registry.ImageInfo, wanted []string) ([]registry.Group, error) {
	if len(wanted) == 0 {
		return nil, nil
	}
	published, err := p.Groups(ctx, d.Ref)
	if err != nil {
		return nil, err
	}
	return registry.ChooseGroups(s.current(published, d.Digest, image.Config.Labels[artifact.LabelKey], wanted), wanted)
}

// current leaves out the groups that the session's recipe and lock do not make any more, where
// the artifact is theirs: an old group is not to be taken for the one that is locked now. One
// that is wanted by its digest stays. Whether an artifact with first-party code is theirs is not
// known without the code: there, all are left.
func (s *Session) current(published []registry.Group, digest, key string, wanted []string) []registry.Group {
	in, err := s.read()
	if err != nil || in.lock == nil || in.recipe.App != nil || builder.MakePlan(in.recipe, in.lock, in.recipe.Platforms[0], "").Key != key {
		return published
	}
	return slices.DeleteFunc(published, func(g registry.Group) bool {
		byName := slices.Contains(wanted, g.Record.Name)
		return byName && g.Record.Key != builder.GroupKey(in.recipe, in.lock, g.Record.Name, digest)
	})
}

// groupOf names the dependency group that a referrer is or belongs to.
func groupOf(annotations map[string]string) string {
	return strings.TrimSpace(annotations[artifact.AnnotationGroup])
}
