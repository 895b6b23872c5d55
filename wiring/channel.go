package wiring

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"time"

	"ampoule/artifact"
	"ampoule/faults"
	"ampoule/registry"
	"ampoule/registry/channel"
	"ampoule/registry/channel/rules"
	"ampoule/registry/trust"
	"ampoule/registry/trust/keys"
	"ampoule/registry/trust/roots"
)

// Channels are the channels of a registry, as a policy and what this store has seen judge them.
type Channels struct {
	registry *registry.Registry
	judge    *trust.Judge
	memory   channel.Memory
	// rules are nil where the policy names none; unruled says why they cannot be read.
	rules   *rules.Rules
	unruled error
}

// Channels opens the channels of the place's registry, and of those that channel rules name. The
// promotion keys of the trust root that the policy names count.
func (p *Parts) Channels(ctx context.Context, policy string) (*Channels, error) {
	reg, err := p.Registry()
	if err != nil {
		return nil, err
	}
	judge, err := trust.Open(ctx, p.Store, policy, time.Now)
	if err != nil {
		return nil, err
	}
	c := &Channels{registry: reg, judge: judge, memory: p.Store}
	if file := judge.ChannelsFile(); file != "" {
		c.rules, c.unruled = rules.Open(ctx, p.Store, file, judge.Root())
	}
	return c, nil
}

// Channel finds the channel that NAME:TAG means, and the registry that it is in; nil where that is a tag and
// no more. A channel on a machine without a policy is an error of kind Usage: nobody says whose
// promotions count there.
func (p *Parts) Channel(ctx context.Context, policy, repository, tag string) (*channel.Channel, *registry.Registry, error) {
	if !artifact.IsChannel(tag) {
		return nil, nil, nil
	}
	c, at, err := p.channelOf(ctx, policy, repository, tag)
	if err != nil {
		return nil, nil, err
	}
	is, err := c.Exists(ctx)
	switch {
	case err != nil || !is:
		return nil, nil, err
	case policy == "":
		return nil, nil, faults.New(faults.Usage, "name a policy in config.toml, or what is meant by its digest: NAME@sha256:…", "%s is a channel, and no policy on this machine says whose promotions count", c)
	}
	return c, at, nil
}

// channelOf opens a channel, whether it is one or not. Without a policy no key counts.
func (p *Parts) channelOf(ctx context.Context, policy, repository, name string) (*channel.Channel, *registry.Registry, error) {
	if policy != "" {
		all, err := p.Channels(ctx, policy)
		if err != nil {
			return nil, nil, err
		}
		c, err := all.Open(repository, name)
		if err != nil {
			return nil, nil, err
		}
		reg, err := all.Registry(c.Repository().String())
		return c, reg, err
	}
	reg, err := p.Registry()
	if err != nil {
		return nil, nil, err
	}
	repo, err := reg.Repository(repository)
	if err != nil {
		return nil, nil, err
	}
	c, err := channel.Open(repo, name, nil, p.Store, time.Now)
	return c, reg, err
}

// Open returns a channel of a repository. One without a host is where the channel's rule says, if
// there is one that says it; where the rules cannot be read, nobody knows.
func (c *Channels) Open(repository, name string) (*channel.Channel, error) {
	if c.unruled != nil && !registry.HasHost(repository) {
		return nil, c.unruled
	}
	repo, err := c.repository(repository, name)
	if err != nil {
		return nil, err
	}
	opened, err := channel.Open(repo, name, c.judge.Root(), c.memory, time.Now)
	if err != nil {
		return nil, err
	}
	home, err := c.isHome(repo, name)
	if err != nil {
		return nil, err
	}
	opened.Among(home, func(sibling string) (channel.Repository, error) {
		if rule, ok := c.rule(repo.Name(), sibling); ok && rule.Registry != "" {
			return c.repository(repo.Name(), sibling)
		}
		// What has no registry of its own is beside the store's, or where the host says.
		if registry.HasHost(repository) {
			return repo, nil
		}
		return c.repository(repo.Name(), sibling)
	})
	return opened, nil
}

// rule is the rule of a channel; there may be none.
func (c *Channels) rule(repository, name string) (rules.Rule, bool) {
	if c.rules == nil {
		return rules.Rule{}, false
	}
	return c.rules.Rule(name, repository)
}

// repository is where a channel is.
func (c *Channels) repository(repository, name string) (*registry.Repository, error) {
	if rule, ok := c.rule(repository, name); ok && rule.Registry != "" && !registry.HasHost(repository) {
		reg, err := registry.Open(rule.Registry)
		if err != nil {
			return nil, err
		}
		return reg.Repository(repository)
	}
	return c.registry.Repository(repository)
}

// isHome reports whether a channel belongs to a repository by its rule.
func (c *Channels) isHome(repo *registry.Repository, name string) (bool, error) {
	rule, ok := c.rule(repo.Name(), name)
	if !ok || rule.Registry == "" {
		return false, nil
	}
	home, err := c.repository(repo.Name(), name)
	if err != nil {
		return false, err
	}
	return home.String() == repo.String(), nil
}

// Registry is the registry in which a reference, or a repository, is: one that a rule names knows the
// artifact's name without its prefix.
func (c *Channels) Registry(ref string) (*registry.Registry, error) {
	if c.rules != nil && registry.HasHost(ref) {
		for _, rule := range c.rules.Channels {
			if rule.Registry != "" && strings.HasPrefix(ref, rule.Registry+"/") {
				return registry.Open(rule.Registry)
			}
		}
	}
	return c.registry, nil
}

// stock is the artifacts of all channels.
type stock struct{ *Channels }

var _ channel.Stock = stock{}

// Resolve implements [channel.Artifacts].
func (s stock) Resolve(ctx context.Context, ref string) (registry.Description, error) {
	reg, err := s.Registry(ref)
	if err != nil {
		return registry.Description{}, err
	}
	return reg.Resolve(ctx, ref)
}

// Evidence implements [channel.Artifacts].
func (s stock) Evidence(ctx context.Context, ref string) ([]registry.Evidence, error) {
	reg, err := s.Registry(ref)
	if err != nil {
		return nil, err
	}
	return reg.Evidence(ctx, ref)
}

// CheckWhole implements [channel.Stock].
func (s stock) CheckWhole(ctx context.Context, ref string) (registry.Parts, error) {
	reg, err := s.Registry(ref)
	if err != nil {
		return registry.Parts{}, err
	}
	return reg.CheckWhole(ctx, ref)
}

// Writer returns what adds entries to a channel, by a key. It obeys the rules that the policy
// names: also in which registry the channel is.
func (c *Channels) Writer(_ context.Context, to *channel.Channel, by keys.Signer) (*channel.Writer, error) {
	w, err := channel.NewWriter(to, stock{c}, c.judge, by)
	if err != nil {
		return nil, err
	}
	if c.unruled != nil {
		return nil, c.unruled
	}
	w.Bring(c.copy)
	if c.rules == nil {
		return w, nil
	}
	w.Obey(c.rules, c.policy)
	return w, c.checkHome(to)
}

// checkHome refuses to write a channel elsewhere than its rule says.
func (c *Channels) checkHome(to *channel.Channel) error {
	rule, ok := c.rule(to.Repository().Name(), to.Name())
	if !ok || rule.Registry == "" {
		return nil
	}
	home, err := c.repository(to.Repository().Name(), to.Name())
	if err == nil && home.String() != to.Repository().String() {
		err = faults.New(faults.Refused, "write it there: "+home.Name()+":"+to.Name(), "channel %s is in another registry by its rule: %s", to, home)
	}
	return err
}

// Mirror has a registry, HOST[/PREFIX], have a copy of a channel with the digests that it has named
// last.
func (c *Channels) Mirror(ctx context.Context, of *channel.Channel, to string, last int) (channel.Mirrored, error) {
	reg, err := registry.Open(to)
	if err != nil {
		return channel.Mirrored{}, err
	}
	repo, err := reg.Repository(of.Repository().Name())
	if err != nil {
		return channel.Mirrored{}, err
	}
	if home, err := c.isHome(repo, of.Name()); home || err != nil {
		if err == nil {
			err = faults.New(faults.Refused, "copies go to other registries", "channel %s:%s is written there by its rule", repo, of.Name())
		}
		return channel.Mirrored{}, err
	}
	return of.Mirror(ctx, repo, c.copy, last)
}

// copy brings an artifact with its evidence to another registry, and looks whether all of it is
// there.
func (c *Channels) copy(ctx context.Context, from, to string) error {
	if _, err := registry.Copy(ctx, c.registry, from, c.registry, to); err != nil {
		return err
	}
	if _, err := c.registry.CheckWhole(ctx, to); err != nil {
		return fmt.Errorf("looking at the copy: %w", err)
	}
	return nil
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

// Rules are the channel rules in force; nil where the policy names none.
func (c *Channels) Rules() (*rules.Rules, error) { return c.rules, c.unruled }

// Keys are the keys of the trust root that the policy names, of all roles, by name.
func (c *Channels) Keys() map[string]keys.Public {
	all := map[string]keys.Public{}
	for _, role := range roots.Roles() {
		maps.Copy(all, c.judge.Root().KeysOf(role, time.Now()))
	}
	return all
}

// Approvals are the people who have approved of a digest for a channel. Notes say why others do not
// count.
func (c *Channels) Approvals(ctx context.Context, of *channel.Channel, digest string) (people, notes []string, err error) {
	if c.rules == nil {
		return nil, nil, c.unruled
	}
	ref, err := of.Beside(ctx, c.rules, stock{c}, digest)
	if err != nil {
		return nil, nil, err
	}
	found, err := stock{c}.Evidence(ctx, ref)
	if err != nil {
		return nil, nil, err
	}
	people, notes = of.Approvals(c.rules, digest, found)
	return people, notes, nil
}

// Approve attaches to an artifact that somebody approves of it for a channel, and returns its
// reference. Caller is for whom a service does; empty where a person does.
func (c *Channels) Approve(ctx context.Context, of *channel.Channel, by *Signing, digest, caller string) (string, error) {
	if c.unruled != nil {
		return "", c.unruled
	}
	if c.rules == nil {
		return "", faults.New(faults.Usage, "name the file in the policy: channels: channels.yaml", "the policy names no channel rules, and without them nobody has to approve")
	}
	ref, err := of.Beside(ctx, c.rules, stock{c}, digest)
	if err != nil {
		return "", err
	}
	d, err := stock{c}.Resolve(ctx, ref)
	if err != nil {
		return "", err
	}
	approval, err := of.Approve(ctx, c.rules, by.By, by.Form, d.Digest, caller)
	if err != nil {
		return "", err
	}
	return d.Ref, c.registry.AddEvidence(ctx, d.Ref, approval)
}

// Check looks at the digests that a channel has named last.
func (c *Channels) Check(ctx context.Context, of *channel.Channel, last int) ([]channel.Checked, error) {
	return of.CheckTargets(ctx, stock{c}, c.judge, last)
}
