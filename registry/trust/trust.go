// Package trust decides whether artifacts of a registry may run here: it brings a policy, a
// trust root and the evidence beside an artifact together.
package trust

import (
	"context"
	"fmt"
	"io"
	"time"

	"ampoule/artifact"
	"ampoule/registry"
	"ampoule/registry/trust/policy"
	"ampoule/registry/trust/roots"
)

// Evidence gives what is signed of artifacts; a registry is one.
type Evidence interface {
	Evidence(ctx context.Context, ref string) ([]registry.Evidence, error)
}

// Judge decides by one policy. A nil Judge allows everything.
type Judge struct {
	policy *policy.Policy
	root   *roots.Root
	now    func() time.Time
}

// Open reads a policy and its trust root. The memory keeps which version of the root was seen.
func Open(ctx context.Context, memory roots.Memory, file string, now func() time.Time) (*Judge, error) {
	p, err := policy.Read(file)
	if err != nil {
		return nil, err
	}
	root, err := roots.Open(ctx, memory, p.TrustFile(), p.Trust.Name, now())
	if err != nil {
		return nil, err
	}
	return &Judge{p, root, now}, nil
}

// Decide decides about an artifact.
func (j *Judge) Decide(ctx context.Context, src Evidence, d registry.Description) (policy.Decision, error) {
	found, err := src.Evidence(ctx, d.Ref)
	if err != nil {
		return policy.Decision{}, err
	}
	return j.policy.Decide(j.root, SubjectOf(d), found, j.now()), nil
}

// DecideBy decides by evidence that was kept.
func (j *Judge) DecideBy(subject policy.Subject, found []registry.Evidence) policy.Decision {
	return j.policy.Decide(j.root, subject, found, j.now())
}

// DecideSigned decides about an artifact by its signatures alone; see [policy.Policy.DecideSigned].
func (j *Judge) DecideSigned(subject policy.Subject, found []registry.Evidence) policy.Decision {
	return j.policy.DecideSigned(j.root, subject, found, j.now())
}

// ChannelsFile is the path of the rules that the policy names for channels; it may be empty.
func (j *Judge) ChannelsFile() string { return j.policy.ChannelsFile() }

// Root is the trust root that the policy names.
func (j *Judge) Root() *roots.Root { return j.root }

// SubjectOf is what a policy decides about.
func SubjectOf(d registry.Description) policy.Subject {
	s := policy.Subject{Name: d.Name, Digest: d.Digest}
	for _, image := range d.Images {
		if labels, err := artifact.ParseLabels(image.Config.Labels); err == nil && labels.Tree != "" {
			s.Tree = labels.Tree
			break
		}
	}
	return s
}

// GroupSubject is what a policy decides about a dependency group of an artifact.
func GroupSubject(d registry.Description, g registry.Group) policy.Subject {
	return policy.Subject{Name: d.Name, Digest: g.Digest, Group: g.Record.Name, Over: d.Digest}
}

// DecideGroup decides about a dependency group of an artifact.
func (j *Judge) DecideGroup(ctx context.Context, src Evidence, d registry.Description, g registry.Group) (policy.Decision, error) {
	found, err := src.Evidence(ctx, g.Ref)
	if err != nil {
		return policy.Decision{}, err
	}
	return j.DecideBy(GroupSubject(d, g), found), nil
}

// Source is where artifacts come from that are installed and run.
type Source interface {
	Evidence
	Resolve(ctx context.Context, ref string) (registry.Description, error)
	OpenLayer(ctx context.Context, l registry.LayerInfo) (io.ReadCloser, error)
	Groups(ctx context.Context, ref string) ([]registry.Group, error)
}

// Guarded gives of a source only what a judge allows.
type Guarded struct {
	Source
	Judge *Judge
}

// Resolve describes an artifact that may run. Another one is a [*policy.RefusedError].
func (g Guarded) Resolve(ctx context.Context, ref string) (registry.Description, error) {
	d, err := g.Source.Resolve(ctx, ref)
	if err != nil || g.Judge == nil {
		return d, err
	}
	decision, err := g.Judge.Decide(ctx, g.Source, d)
	if err != nil {
		return registry.Description{}, fmt.Errorf("asking the policy: %w", err)
	}
	return d, decision.Err()
}

// Groups lists dependency groups. Those that may not be laid over anything have no layers, and
// say why: a [*policy.RefusedError].
func (g Guarded) Groups(ctx context.Context, ref string) ([]registry.Group, error) {
	groups, err := g.Source.Groups(ctx, ref)
	if err != nil || g.Judge == nil || len(groups) == 0 {
		return groups, err
	}
	d, err := g.Source.Resolve(ctx, ref)
	if err != nil {
		return nil, err
	}
	for i := range groups {
		decision, err := g.Judge.DecideGroup(ctx, g.Source, d, groups[i])
		if err != nil {
			return nil, fmt.Errorf("asking the policy: %w", err)
		}
		if refused := decision.Err(); refused != nil {
			groups[i].Refused, groups[i].Layers = refused, nil
		}
	}
	return groups, nil
}
