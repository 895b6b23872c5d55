// Package channels is what a service does with channels: it reads them by a policy, and writes them by
// keys of its own, for whoever calls it.
package channels

import (
	"context"
	"errors"

	"ampoule/registry/channel"
	"ampoule/registry/channel/rules"
	"ampoule/wiring"
)

// Desk reads and writes the channels of a registry. The policy, the trust root and the rules are read
// anew for each call: what root keys have signed counts from then on.
type Desk struct {
	Parts *wiring.Parts
	// Policy is the policy's file.
	Policy string
	// Promotes and Approves sign for the service; nil where it has no such key.
	Promotes, Approves *wiring.Signing
	// Wanting is told of a promotion that approvals are missing to; optional.
	Wanting func(ctx context.Context, n channel.Name, e *channel.ApprovalsError)
	// Wrote is told after an entry was written; optional.
	Wrote func()
}

// Channels opens the channels as they are now.
func (d *Desk) Channels(ctx context.Context) (*wiring.Channels, error) {
	return d.Parts.Channels(ctx, d.Policy)
}

// open opens one channel.
func (d *Desk) open(ctx context.Context, n channel.Name) (*wiring.Channels, *channel.Channel, error) {
	all, err := d.Channels(ctx)
	if err != nil {
		return nil, nil, err
	}
	c, err := all.Open(n.Repository, n.Channel)
	return all, c, err
}

// Write adds an entry to a channel for a caller. What rules and policy forbid is an error of kind
// Refused.
func (d *Desk) Write(ctx context.Context, n channel.Name, caller string, m channel.Move) (*channel.Log, error) {
	all, c, err := d.open(ctx, n)
	if err != nil {
		return nil, err
	}
	w, err := all.Writer(ctx, c, d.Promotes.By)
	if err != nil {
		return nil, err
	}
	w.For(caller)
	log, err := w.Do(ctx, m)
	var wanting *channel.ApprovalsError
	if errors.As(err, &wanting) && d.Wanting != nil {
		d.Wanting(ctx, n, wanting)
	}
	if err == nil && d.Wrote != nil {
		d.Wrote()
	}
	return log, err
}

// Approve attaches to an artifact that a caller approves of it for a channel. It returns the
// artifact's reference, and the ID of the key that has signed.
func (d *Desk) Approve(ctx context.Context, n channel.Name, caller, digest string) (ref, key string, err error) {
	all, c, err := d.open(ctx, n)
	if err != nil {
		return "", "", err
	}
	ref, err = all.Approve(ctx, c, d.Approves, digest, caller)
	return ref, d.Approves.By.Public().ID(), err
}

// Approvals are the people who have approved of a digest for a channel. Notes say why others do not
// count.
func (d *Desk) Approvals(ctx context.Context, n channel.Name, digest string) (people, notes []string, err error) {
	all, c, err := d.open(ctx, n)
	if err != nil {
		return nil, nil, err
	}
	return all.Approvals(ctx, c, digest)
}

// Check looks at the digests that a channel has named last.
func (d *Desk) Check(ctx context.Context, n channel.Name, last int) ([]channel.Checked, error) {
	all, c, err := d.open(ctx, n)
	if err != nil {
		return nil, err
	}
	return all.Check(ctx, c, last)
}

// Rules are the channel rules in force; nil where the policy names none.
func (d *Desk) Rules(ctx context.Context) (*rules.Rules, error) {
	all, err := d.Channels(ctx)
	if err != nil {
		return nil, err
	}
	return all.Rules()
}
