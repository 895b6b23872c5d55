package channel

import (
	"context"
	"fmt"
	"slices"

	"ampoule/artifact"
	"ampoule/faults"
	"ampoule/registry"
	"ampoule/registry/trust"
)

// Stock is where the artifacts of a channel are, and says whether they are whole; a
// [*registry.Registry] is one.
type Stock interface {
	Artifacts
	CheckWhole(ctx context.Context, ref string) (registry.Parts, error)
}

// Checked is what was found of one digest that a channel names, or can go back to.
type Checked struct {
	Digest string `json:"digest"`
	// Current says that the channel names it now.
	Current bool           `json:"current"`
	Parts   registry.Parts `json:"parts"`
	// Problems are what keeps the channel from going there.
	Problems []string `json:"problems"`
}

// CheckTargets looks at the digests that a channel has named last, the last one first: whether all of
// each is there, something holds it, and its signatures count. An error says that it could not look.
func (c *Channel) CheckTargets(ctx context.Context, stock Stock, judge Judge, last int) ([]Checked, error) {
	log, err := c.Read(ctx)
	if err != nil {
		return nil, err
	}
	if log.Digest == "" {
		_, err := log.Current()
		return nil, err
	}
	var all []Checked
	for _, digest := range slices.Backward(log.Accepted) {
		if len(all) == last {
			break
		}
		checked, err := c.checkTarget(ctx, stock, judge, digest)
		if err != nil {
			return nil, fmt.Errorf("checking %s in channel %s: %w", digest, c, err)
		}
		checked.Current = digest == log.Digest
		all = append(all, checked)
	}
	return all, nil
}

func (c *Channel) checkTarget(ctx context.Context, stock Stock, judge Judge, digest string) (Checked, error) {
	out := Checked{Digest: digest, Problems: []string{}}
	ref := c.Reference(digest)
	// note takes what is wrong with an artifact for a problem; a registry that fails is none.
	note := func(err error) error {
		if kind := faults.Of(err); kind != faults.Refused && kind != faults.NotFound {
			return err
		}
		out.Problems = append(out.Problems, err.Error())
		return nil
	}
	parts, err := stock.CheckWhole(ctx, ref)
	out.Parts = parts
	if err != nil {
		return out, note(err)
	}
	tag := artifact.ChannelHoldTag(c.name, digest)
	held, err := c.repo.Named(ctx, tag)
	if err != nil {
		return out, err
	}
	if held != digest {
		out.Problems = append(out.Problems, "nothing holds it: the tag "+tag+" is missing")
	}
	d, err := stock.Resolve(ctx, ref)
	if err != nil {
		return out, note(err)
	}
	found, err := stock.Evidence(ctx, d.Ref)
	if err != nil {
		return out, err
	}
	if err := judge.DecideSigned(trust.SubjectOf(d), found).Err(); err != nil {
		return out, note(err)
	}
	return out, nil
}
