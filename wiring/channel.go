package wiring

import (
	"context"
	"time"

	"ampoule/faults"
	"ampoule/registry"
	"ampoule/registry/channel"
	"ampoule/registry/channel/rules"
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

// Writer returns what adds entries to a channel, by a key. It obeys the rules that the policy
// names.
func (c *Channels) Writer(ctx context.Context, to *channel.Channel, by keys.Signer) (*channel.Writer, error) {
	w, err := channel.NewWriter(to, c.registry, c.judge, by)
	if err != nil {
		return nil, err
	}
	r, err := c.rules(ctx)
	if r != nil {
		w.Obey(r, c.policy)
	}
	return w, err
}

// rules opens the rules that the policy names; nil where it names none.
func (c *Channels) rules(ctx context.Context) (*rules.Rules, error) {
	file := c.judge.ChannelsFile()
	if file == "" {
		return nil, nil // nothing is asked beyond the policy
	}
	return rules.Open(ctx, c.memory, file, c.judge.Root())
}

// policy opens a policy that rules name.
func (c *Channels) policy(ctx context.Context, file string) (channel.Judge, error) {
	judge, err := trust.Open(ctx, c.memory, file, time.Now)
	if err != nil {
		return nil, err
	}
	if got, want := judge.Root().Name, c.judge.Root().Name; got != want {
		return nil, faults.New(faults.Refused, "", "policy %s names trust root %s, and the channel's is %s", file, got, want)
	}
	return judge, nil
}

// Approve attaches to an artifact that somebody approves of it for a channel, and returns its
// reference.
func (c *Channels) Approve(ctx context.Context, of *channel.Channel, by *Signing, digest string) (string, error) {
	r, err := c.rules(ctx)
	if err != nil {
		return "", err
	}
	if r == nil {
		return "", faults.New(faults.Usage, "name the file in the policy: channels: channels.yaml", "the policy names no channel rules, and without them nobody has to approve")
	}
	d, err := c.registry.Resolve(ctx, of.Reference(digest))
	if err != nil {
		return "", err
	}
	approval, err := of.Approve(ctx, r, by.By, by.Form, d.Digest)
	if err != nil {
		return "", err
	}
	return d.Ref, c.registry.AddEvidence(ctx, d.Ref, approval)
}

// Check looks at the digests that a channel has named last.
func (c *Channels) Check(ctx context.Context, of *channel.Channel, last int) ([]channel.Checked, error) {
	return of.CheckTargets(ctx, c.registry, c.judge, last)
}
