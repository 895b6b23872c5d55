package channel

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"ampoule/faults"
	"ampoule/registry"
	"ampoule/registry/channel/rules"
	"ampoule/registry/trust"
	"ampoule/registry/trust/keys"
	"ampoule/registry/trust/policy"
	"ampoule/registry/trust/roots"
)

// Artifacts is where the artifacts of a channel are; a [*registry.Registry] is one.
type Artifacts interface {
	trust.Evidence
	Resolve(ctx context.Context, ref string) (registry.Description, error)
}

// Judge decides whether an artifact may be used; a [*trust.Judge] does.
type Judge interface {
	// DecideBy decides by all that a policy asks for, DecideSigned by the signatures alone.
	DecideBy(subject policy.Subject, found []registry.Evidence) policy.Decision
	DecideSigned(subject policy.Subject, found []registry.Evidence) policy.Decision
}

// Writer adds entries to the log of a channel, by one promotion key.
type Writer struct {
	channel   *Channel
	artifacts Artifacts
	judge     Judge
	by        keys.Signer
	// who is the key's name in the trust root, caller for whom a service writes.
	who, caller string
	// rules are nil where none are obeyed; open opens the policies that they name.
	rules *rules.Rules
	open  Policies
	// bring copies artifacts from one registry to another.
	bring Copier
}

// Copier copies an artifact with its evidence from one reference to another, and looks whether all
// of it is there.
type Copier func(ctx context.Context, from, to string) error

// For says for which of its callers a service writes: rules tell people apart by it.
func (w *Writer) For(caller string) { w.caller = caller }

// Bring has the writer copy what comes from a channel in another registry.
func (w *Writer) Bring(by Copier) { w.bring = by }

// NewWriter returns a writer. A key that is no promotion key now is an error of kind Refused.
func NewWriter(c *Channel, artifacts Artifacts, judge Judge, by keys.Signer) (*Writer, error) {
	if who := c.keyName(roots.RolePromote, by); who != "" {
		return &Writer{channel: c, artifacts: artifacts, judge: judge, by: by, who: who}, nil
	}
	known := c.keys.KeysOf(roots.RolePromote, c.now())
	return nil, faults.New(faults.Refused, "sign with a key of the role promote, or add this one: `ampoule trust add-key NAME=FILE --role promote`",
		"key %s is no promotion key of the trust root, or has expired; those that count are: %s", by.Public().ID(), orNone(slices.Sorted(maps.Keys(known))))
}

func orNone(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// Promotion says what is promoted, and how.
type Promotion struct {
	// Digest is the artifact's. Empty takes what From names.
	Digest string
	// From is a channel of the same repository, in whatever registry, that must name the digest now;
	// may be empty.
	From string
	// Reason is for people; may be empty. BreakGlass passes over that the channel is frozen, and
	// what its rules want; then the reason is needed.
	Reason     string
	BreakGlass bool
}

// Promote has the channel name an artifact that the policy allows.
func (w *Writer) Promote(ctx context.Context, p Promotion) (*Log, error) {
	log, err := w.channel.Read(ctx)
	if err != nil {
		return nil, err
	}
	e := Entry{Action: Promote, Digest: p.Digest, From: p.From, Reason: p.Reason, BreakGlass: p.BreakGlass}
	if p.From != "" {
		if e.Digest, err = w.namedBy(ctx, p.From, p.Digest); err != nil {
			return nil, err
		}
	}
	if log.Frozen != "" && p.BreakGlass {
		e.PassedOver = []string{line("the channel is frozen: " + log.Frozen)}
	}
	return w.propose(ctx, log, e)
}

// propose adds an entry that has the channel name a digest, if the policy and the rules allow it.
func (w *Writer) propose(ctx context.Context, log *Log, e Entry) (*Log, error) {
	rule, err := w.rule(&e)
	if err != nil {
		return nil, err
	}
	at, err := w.channel.whereIs(ctx, w.artifacts, cmp.Or(e.From, rule.From), e)
	if err != nil {
		return nil, fmt.Errorf("promoting to %s: %w", w.channel, err)
	}
	subject, found, err := w.look(ctx, at, &e, w.judge.DecideBy)
	if err == nil {
		err = (&proposal{w, rule, &e, subject, found, w.channel.now()}).obey(ctx)
	}
	if err == nil && at != w.channel {
		err = w.fetchFrom(ctx, at, log, e)
	}
	if err != nil {
		return nil, fmt.Errorf("promoting to %s: %w", w.channel, err)
	}
	return w.append(ctx, log, e)
}

// whereIs is the channel beside whose log the artifact of an entry is: the one that it comes from,
// where that is in another registry and has the artifact, else the channel itself.
func (c *Channel) whereIs(ctx context.Context, artifacts Artifacts, from string, e Entry) (*Channel, error) {
	if from == "" || e.Action != Promote {
		return c, nil
	}
	other, err := c.sibling(from)
	if err != nil || other.repo.String() == c.repo.String() {
		return c, err
	}
	_, err = artifacts.Resolve(ctx, other.Reference(e.Digest))
	var missing *registry.NotFoundError
	if errors.As(err, &missing) {
		return c, nil
	}
	return other, err
}

// fetchFrom copies the artifact of an entry from where another channel is. What would be refused
// afterwards is not copied. The entry is written when all of the artifact is there.
func (w *Writer) fetchFrom(ctx context.Context, other *Channel, log *Log, e Entry) error {
	if w.bring == nil {
		return faults.New(faults.Usage, "copy it: `ampoule copy`", "%s is in another registry", other.Reference(e.Digest))
	}
	e.Who = w.who
	if _, err := w.channel.extend(ctx, log, e, w.by); err != nil {
		return err
	}
	if _, err := w.channel.mayWrite(ctx, log); err != nil {
		return err
	}
	return w.bring(ctx, other.Reference(e.Digest), w.channel.Reference(e.Digest))
}

// namedBy is the digest that another channel names, which must be the one that is wanted, if
// any is.
func (w *Writer) namedBy(ctx context.Context, channel, wanted string) (string, error) {
	from, err := w.channel.sibling(channel)
	if err != nil {
		return "", err
	}
	log, err := from.Read(ctx)
	if err != nil {
		return "", err
	}
	digest, err := log.Current()
	if err == nil && wanted != "" && wanted != digest {
		err = faults.New(faults.Refused, "promote it there first, or leave the digest out", "channel %s names %s, not %s", from, digest, wanted)
	}
	return digest, err
}

// Rollback has the channel name a digest again that it has named before; an empty one is the
// one that it named last before the current one. Its signatures and its revocation count, and
// nothing else: going back is never late.
func (w *Writer) Rollback(ctx context.Context, digest, reason string) (*Log, error) {
	log, err := w.channel.Read(ctx)
	if err != nil {
		return nil, err
	}
	if digest == "" {
		digest = log.Back()
		if digest == "" {
			return nil, faults.New(faults.NotFound, "", "channel %s has named no other digest that it could go back to", w.channel)
		}
	}
	e := Entry{Action: Rollback, Digest: digest, Reason: reason}
	if _, _, err := w.look(ctx, w.channel, &e, w.judge.DecideSigned); err != nil {
		return nil, fmt.Errorf("going back in %s: %w", w.channel, err)
	}
	return w.append(ctx, log, e)
}

// Restart vouches for the log as it is, and has the channel name a digest that the policy
// allows. It is what helps when a key of the log does not count any more. The log's form and
// what was seen of it must still hold. The channel's rules are obeyed as by a promotion, unless
// breakGlass passes them over.
func (w *Writer) Restart(ctx context.Context, digest, reason string, breakGlass bool) (*Log, error) {
	log, err := w.channel.readAnyway(ctx)
	if err != nil {
		return nil, err
	}
	if len(log.Entries) == 0 {
		_, err := log.Current()
		return nil, err
	}
	return w.propose(ctx, log, Entry{Action: Restart, Digest: digest, Reason: reason, BreakGlass: breakGlass})
}

// Revoke says that a digest is not to be used any more.
func (w *Writer) Revoke(ctx context.Context, digest, reason string) (*Log, error) {
	log, err := w.channel.Read(ctx)
	if err != nil {
		return nil, err
	}
	return w.append(ctx, log, Entry{Action: Revoke, Digest: digest, Reason: reason})
}

// Freeze stops promotions.
func (w *Writer) Freeze(ctx context.Context, reason string) (*Log, error) {
	return w.inPlace(ctx, Freeze, reason)
}

// Unfreeze lets promotions go on.
func (w *Writer) Unfreeze(ctx context.Context, reason string) (*Log, error) {
	return w.inPlace(ctx, Unfreeze, reason)
}

// Refresh says that nothing has changed since the last entry.
func (w *Writer) Refresh(ctx context.Context) (*Log, error) { return w.inPlace(ctx, Refresh, "") }

// inPlace adds an entry about what the channel names.
func (w *Writer) inPlace(ctx context.Context, a Action, reason string) (*Log, error) {
	log, err := w.channel.Read(ctx)
	if err != nil {
		return nil, err
	}
	if log.Digest == "" {
		_, err := log.Current()
		return nil, err
	}
	return w.append(ctx, log, Entry{Action: a, Digest: log.Digest, Reason: reason})
}

func (w *Writer) append(ctx context.Context, log *Log, e Entry) (*Log, error) {
	e.Who = w.who
	return w.channel.Append(ctx, log, e, w.by)
}

// look has the artifact of an entry judged, as it lies beside a channel, and notes the digests of the evidence that was looked
// at. It returns what was judged, and by what.
func (w *Writer) look(ctx context.Context, at *Channel, e *Entry, decide func(policy.Subject, []registry.Evidence) policy.Decision) (policy.Subject, []registry.Evidence, error) {
	d, err := w.artifacts.Resolve(ctx, at.Reference(e.Digest))
	if err != nil {
		return policy.Subject{}, nil, err
	}
	found, err := w.artifacts.Evidence(ctx, d.Ref)
	if err != nil {
		return policy.Subject{}, nil, err
	}
	for _, item := range found {
		if item.Err == nil {
			e.Evidence = append(e.Evidence, hashOf(item.Data))
		}
	}
	slices.Sort(e.Evidence)
	e.Evidence = slices.Compact(e.Evidence)
	subject := trust.SubjectOf(d)
	return subject, found, decide(subject, found).Err()
}
