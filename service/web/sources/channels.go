package sources

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"ampoule/artifact"
	"ampoule/faults"
	"ampoule/registry/channel"
	"ampoule/registry/channel/rules"
	"ampoule/service/web"
)

// Opener opens channels of the registry.
type Opener interface {
	Open(repository, name string) (*channel.Channel, error)
}

// Promoter writes channels for callers, by the key that the service holds. What rules and policy
// forbid is an error of kind Refused.
type Promoter interface {
	Write(ctx context.Context, n channel.Name, caller string, m channel.Move) (*channel.Log, error)
}

// Approver attaches to an artifact that a caller approves of it for a channel.
type Approver interface {
	Approve(ctx context.Context, n channel.Name, caller, digest string) (ref, key string, err error)
}

// Channels are a registry's, which the service may write.
type Channels struct {
	// Open opens the channels as they are now; what it opens is asked for one request.
	Open func(ctx context.Context) (Opener, error)
	// Promoter and Approver are nil where the service has no key for it.
	Promoter Promoter
	Approver Approver
	// Rules are the channel rules in force; nil where there are none.
	Rules func(ctx context.Context) (*rules.Rules, error)
	// Approvals are the people who have approved of a digest for a channel; nil where that cannot be
	// told. Notes say why others do not count.
	Approvals func(ctx context.Context, n channel.Name, digest string) (people, notes []string, err error)
	// Artifacts and Fleet say which channels there are, and who follows them.
	Artifacts *Artifacts
	Fleet     web.Fleet
	Now       func() time.Time
}

// Names lists the channels that there are: of tags that are channels' names, and of rules.
func (c *Channels) Names(ctx context.Context) ([]channel.Name, error) {
	list, err := c.Artifacts.Artifacts(ctx, "")
	if err != nil {
		return nil, err
	}
	ruled, err := c.ruled(ctx)
	if err != nil {
		return nil, err
	}
	var found []channel.Name
	for _, a := range list {
		for _, name := range append(ruled(a.Name), a.Channels...) {
			found = append(found, channel.Name{Repository: a.Name, Channel: name})
		}
	}
	slices.SortFunc(found, func(a, b channel.Name) int {
		return cmp.Or(cmp.Compare(a.Repository, b.Repository), cmp.Compare(a.Channel, b.Channel))
	})
	return slices.Compact(found), nil
}

// ruled gives the channels that rules have for a repository.
func (c *Channels) ruled(ctx context.Context) (func(repository string) []string, error) {
	none := func(string) []string { return nil }
	if c.Rules == nil {
		return none, nil
	}
	all, err := c.Rules(ctx)
	if err != nil || all == nil {
		return none, err
	}
	return func(repository string) []string {
		var list []string
		for _, rule := range all.Channels {
			if _, ok := all.Rule(rule.Name, repository); ok {
				list = append(list, rule.Name)
			}
		}
		return list
	}, nil
}

// Channels lists the channels. One whose log is refused says so.
func (c *Channels) Channels(ctx context.Context) ([]web.Channel, error) {
	found, err := c.Names(ctx)
	if err != nil {
		return nil, err
	}
	open, err := c.Open(ctx)
	if err != nil {
		return nil, err
	}
	list := []web.Channel{}
	for _, n := range found {
		one, log, err := c.read(ctx, open, n)
		if err != nil {
			return nil, err
		}
		if log == nil || len(log.Entries) > 0 {
			list = append(list, one)
		}
	}
	return list, c.count(ctx, list)
}

// read reads a channel's log. Where it is not believed, the channel says why, and the log is nil.
func (c *Channels) read(ctx context.Context, open Opener, n channel.Name) (web.Channel, *channel.Log, error) {
	shown := web.Channel{Repository: n.Repository, Name: n.Channel, Writable: c.Promoter != nil}
	of, err := open.Open(n.Repository, n.Channel)
	if err != nil {
		return shown, nil, err
	}
	log, err := of.Read(ctx)
	var refused *channel.LogError
	if errors.As(err, &refused) {
		shown.Refused, shown.Writable = err.Error(), false
		return shown, nil, nil
	}
	if err != nil {
		return shown, nil, err
	}
	shown.Digest, shown.Since, shown.Frozen, shown.Revoked = log.Digest, log.Since, log.Frozen, log.Revoked[log.Digest]
	for _, e := range slices.Backward(log.Entries) {
		if e.Digest == log.Digest && (e.Action == channel.Promote || e.Action == channel.Rollback || e.Action == channel.Restart) {
			shown.By = e.Who
			break
		}
	}
	if log.Digest != "" {
		shown.Back = log.Back()
	}
	return shown, log, nil
}

// count notes who follows channels.
func (c *Channels) count(ctx context.Context, list []web.Channel) error {
	if c.Fleet == nil {
		return nil
	}
	hosts, err := c.Fleet.Hosts(ctx)
	for i := range list {
		for _, h := range hosts {
			if h.Channel != list[i].Ref() {
				continue
			}
			list[i].Hosts++
			if h.Digest == list[i].Digest {
				list[i].Current++
			}
		}
	}
	return err
}

// Channel reads one channel, with its log and what could come next.
func (c *Channels) Channel(ctx context.Context, repository, name string) (web.Channel, error) {
	open, err := c.Open(ctx)
	if err != nil {
		return web.Channel{}, err
	}
	shown, log, err := c.read(ctx, open, channel.Name{Repository: repository, Channel: name})
	if err != nil || log == nil {
		return shown, err
	}
	rule, ruled, err := c.rule(ctx, repository, name)
	if err != nil {
		return shown, err
	}
	if len(log.Entries) == 0 && !ruled {
		return shown, faults.New(faults.NotFound, "", "channel %s:%s: not found", repository, name)
	}
	for _, e := range slices.Backward(log.Entries) {
		shown.Entries = append(shown.Entries, entry(e))
	}
	if shown.Candidates, err = c.candidates(ctx, open, shown, rule, ruled); err != nil {
		return shown, err
	}
	one := []web.Channel{shown}
	err = c.count(ctx, one)
	return one[0], err
}

func entry(e channel.Signed) web.Entry {
	shown := web.Entry{
		Sequence: e.Sequence, Time: e.At, Action: string(e.Action), Digest: e.Digest, By: e.Who, From: e.From, Reason: e.Reason,
		BreakGlass: e.BreakGlass, PassedOver: e.PassedOver,
	}
	for _, a := range e.Approvals {
		shown.ApprovedBy = append(shown.ApprovedBy, a.Person)
	}
	if e.Rule != nil {
		shown.RuleVersion = e.Rule.Version
	}
	return shown
}

// rule finds what the rules say of a channel.
func (c *Channels) rule(ctx context.Context, repository, name string) (rules.Rule, bool, error) {
	if c.Rules == nil {
		return rules.Rule{}, false, nil
	}
	all, err := c.Rules(ctx)
	if err != nil || all == nil {
		return rules.Rule{}, false, err
	}
	rule, ok := all.Rule(name, repository)
	return rule, ok, nil
}

// candidates are what could be promoted: what the rule's other channel names, or else the newest
// artifacts.
func (c *Channels) candidates(ctx context.Context, open Opener, of web.Channel, rule rules.Rule, ruled bool) ([]web.Candidate, error) {
	if ruled && rule.From != "" {
		from, log, err := c.read(ctx, open, channel.Name{Repository: of.Repository, Channel: rule.From})
		if err != nil || log == nil || from.Digest == "" || from.Digest == of.Digest {
			return nil, err
		}
		one := web.Candidate{Digest: from.Digest, From: rule.From}
		err = c.judge(ctx, &one, of, from, rule)
		return []web.Candidate{one}, err
	}
	list, err := c.Artifacts.Artifacts(ctx, of.Repository)
	if err != nil {
		return nil, err
	}
	const most = 3
	var all []web.Candidate
	for _, a := range list[:min(len(list), most)] {
		if a.Digest != of.Digest {
			one := web.Candidate{Digest: a.Digest}
			if err := c.judge(ctx, &one, of, web.Channel{}, rule); err != nil {
				return nil, err
			}
			all = append(all, one)
		}
	}
	return all, nil
}

// judge says how the rules stand that can be told without writing. The writer judges all of them,
// and the policy.
func (c *Channels) judge(ctx context.Context, one *web.Candidate, of, from web.Channel, rule rules.Rule) error {
	now := c.Now()
	add := func(text string, met bool, why string) {
		one.Conditions = append(one.Conditions, web.Condition{Text: text, Met: met, Why: why})
	}
	if one.From != "" {
		add(one.From+" names it", from.Revoked == "", from.Revoked)
	}
	if rule.Soak != "" {
		soaked := now.Sub(from.Since).Truncate(time.Minute)
		add("for "+rule.Soak, soaked >= rule.SoakTime(), fmt.Sprintf("it does since %s, for %s", from.Since.UTC().Format(time.RFC3339), soaked))
	}
	if want, _ := rule.Approvals.Wanted(); want > 0 {
		one.Approvals = c.Approver != nil
		people, why, err := c.approved(ctx, of, one.Digest)
		if err != nil {
			return err
		}
		// Who promotes is known when it is promoted.
		text := fmt.Sprintf("%d people have approved, other than who promotes", want)
		if want == 1 {
			text = "one person has approved, other than who promotes"
		}
		add(text, people >= want, why)
	}
	if of.Frozen != "" {
		add("the channel is not frozen", false, of.Frozen)
	}
	if why := rule.FrozenAt(now); why != "" {
		add("promotions are not stopped", false, why)
	}
	return nil
}

// approved counts who has approved of a digest, and says who that is.
func (c *Channels) approved(ctx context.Context, of web.Channel, digest string) (int, string, error) {
	if c.Approvals == nil {
		return 0, "the promotion counts them", nil
	}
	people, notes, err := c.Approvals(ctx, channel.Name{Repository: of.Repository, Channel: of.Name}, digest)
	if err != nil {
		return 0, "", err
	}
	why := "so far nobody has"
	if len(people) > 0 {
		why = "so far: " + strings.Join(people, ", ")
	}
	if len(notes) > 0 {
		why += "; what does not count: " + strings.Join(notes, "; ")
	}
	return len(people), why, nil
}

// errReadOnly says that the service may not write channels.
var errReadOnly = faults.New(faults.Undecided, "`ampoule channel` does it, by a key of yours", "this service has no key that writes channels")

// Promote has a channel name a digest.
func (c *Channels) Promote(ctx context.Context, by web.Identity, m web.Move) error {
	if c.Promoter == nil {
		return errReadOnly
	}
	_, err := c.Promoter.Write(ctx, nameOf(m), by.Name, channel.Move{Action: channel.Promote, Digest: m.Digest, From: m.From, Reason: reason(by, m)})
	return err
}

// Rollback has a channel go back.
func (c *Channels) Rollback(ctx context.Context, by web.Identity, m web.Move) error {
	if c.Promoter == nil {
		return errReadOnly
	}
	_, err := c.Promoter.Write(ctx, nameOf(m), by.Name, channel.Move{Action: channel.Rollback, Digest: m.Digest, Reason: reason(by, m)})
	return err
}

func nameOf(m web.Move) channel.Name {
	return channel.Name{Repository: m.Repository, Channel: m.Channel}
}

// reason says in the log who asked: the service signs for all.
func reason(by web.Identity, m web.Move) string {
	if m.Reason == "" {
		return "by " + by.Name
	}
	return m.Reason + " (by " + by.Name + ")"
}

// Approve records that somebody approves.
func (c *Channels) Approve(ctx context.Context, by web.Identity, m web.Move) error {
	if c.Approver == nil || !artifact.IsDigest(m.Digest) {
		return errReadOnly
	}
	_, _, err := c.Approver.Approve(ctx, nameOf(m), by.Name, m.Digest)
	return err
}
