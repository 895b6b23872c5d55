package wiring

import (
	"context"
	"time"

	"ampoule/registry"
	"ampoule/registry/channel"
	"ampoule/registry/trust"
	"ampoule/registry/trust/keys"
)

// Channels are the channels of a registry, as a policy and what this store has seen judge them.
type Channels struct {
	registry *registry.Registry
	judge    *trust.Judge
	memory   channel.Memory
}

// Channels opens the channels of the place's registry. The promotion keys of the trust root that
// the policy names count.
func (p *Parts) Channels(ctx context.Context, policy string) (*Channels, error) {
	reg, err := p.Registry()
	if err != nil {
		return nil, err
	}
	judge, err := trust.Open(ctx, p.Store, policy, time.Now)
	if err != nil {
		return nil, err
	}
	return &Channels{reg, judge, p.Store}, nil
}

// Open returns a channel of a repository.
func (c *Channels) Open(repository, name string) (*channel.Channel, error) {
	repo, err := c.registry.Repository(repository)
	if err != nil {
		return nil, err
	}
	return channel.Open(repo, name, c.judge.Root(), c.memory, time.Now)
}

// Writer returns what adds entries to a channel, by a key.
func (c *Channels) Writer(to *channel.Channel, by keys.Signer) (*channel.Writer, error) {
	return channel.NewWriter(to, c.registry, c.judge, by)
}

// Check looks at the digests that a channel has named last.
func (c *Channels) Check(ctx context.Context, of *channel.Channel, last int) ([]channel.Checked, error) {
	return of.CheckTargets(ctx, c.registry, c.judge, last)
}
