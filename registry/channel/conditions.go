package channel

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"ampoule/faults"
	"ampoule/registry"
	"ampoule/registry/channel/rules"
	"ampoule/registry/trust/policy"
)

// RuleRef names channel rules.
type RuleRef struct {
	Version int `json:"version"`
	// Hash is that of the rules without their signatures.
	Hash string `json:"hash"`
}

// Policies opens the policy of a file. It must name the trust root of the channel.
type Policies func(ctx context.Context, file string) (Judge, error)

// Obey has promotions and restarts obey channel rules.
func (w *Writer) Obey(r *rules.Rules, open Policies) { w.rules, w.open = r, open }

// rule finds what the rules say of the channel, and notes in an entry which rules they are. A
// channel that no rule is for is an error of kind Refused.
func (w *Writer) rule(e *Entry) (rules.Rule, error) {
	if w.rules == nil {
		return rules.Rule{}, nil
	}
	rule, ok := w.rules.Rule(w.channel.name, w.channel.repo.Name())
	if !ok {
		return rule, faults.New(faults.Refused, "write a rule for it", "channel %s: no rule of %s is for it", w.channel, w.rules.Path)
	}
	e.Rule = &RuleRef{w.rules.Number(), w.rules.Hash()}
	return rule, nil
}

// proposal is an entry that is to have a channel name a digest.
type proposal struct {
	*Writer
	rule    rules.Rule
	entry   *Entry
	subject policy.Subject
	found   []registry.Evidence
	now     time.Time
}

// obey asks what the rules want. What an entry that breaks the glass passes over is noted in it;
// else it is an error of kind Refused that has all of it.
func (p *proposal) obey(ctx context.Context) error {
	var broken []error
	for _, ask := range []func(context.Context) error{p.origin, p.season, p.approved, p.policy} {
		err := ask(ctx)
		if kind := faults.Of(err); err != nil && kind != faults.Refused && kind != faults.NotFound {
			return err
		}
		if err != nil {
			broken = append(broken, err)
		}
	}
	if len(broken) == 0 {
		return nil
	}
	if !p.entry.BreakGlass {
		return fmt.Errorf("the rules of channel %s: %w", p.channel, errors.Join(broken...))
	}
	for _, err := range broken {
		p.entry.PassedOver = append(p.entry.PassedOver, line(err.Error()))
	}
	return nil
}

// line is a text as one line that an entry may have.
func line(text string) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, text)
	if len(text) > maxReason {
		text = strings.ToValidUTF8(text[:maxReason-3], "") + "..."
	}
	return text
}

// origin asks whether the other channel names the digest, for long enough.
func (p *proposal) origin(ctx context.Context) error {
	if p.rule.From == "" {
		return nil
	}
	from, err := p.channel.sibling(p.rule.From)
	if err != nil {
		return err
	}
	log, err := from.Read(ctx)
	if err != nil {
		return err
	}
	digest, err := log.Current()
	switch soaked := p.now.Sub(log.Since); {
	case err != nil:
		return err
	case digest != p.entry.Digest:
		return faults.New(faults.Refused, "promote it there first", "channel %s names %s, not %s", from, digest, p.entry.Digest)
	case soaked < p.rule.SoakTime():
		return faults.New(faults.Refused, "wait, or pass it over: --break-glass --reason TEXT",
			"channel %s names it since %s, for %s, and must for %s", from, stamp(log.Since), max(0, soaked).Round(time.Second), p.rule.Soak)
	}
	if p.entry.Action == Promote {
		p.entry.From = p.rule.From
	}
	return nil
}

// season asks whether promotions are stopped for a time.
func (p *proposal) season(context.Context) error {
	if why := p.rule.FrozenAt(p.now); why != "" {
		return faults.New(faults.Refused, "wait, or pass it over: --break-glass --reason TEXT", "nothing is promoted now: %s", why)
	}
	return nil
}

// approved asks whether enough people have approved.
func (p *proposal) approved(context.Context) error {
	want, _ := p.rule.Approvals.Wanted()
	if want == 0 {
		return nil
	}
	requester, err := p.rules.Speaker(p.who, p.caller)
	if err != nil {
		return err
	}
	c := &count{channel: p.channel, rules: p.rules, requester: requester, digest: p.entry.Digest, now: p.now}
	c.approvals(p.found)
	p.entry.Approvals = c.found
	return c.missing(want)
}

// policy asks what the rule wants of the artifact.
func (p *proposal) policy(ctx context.Context) error {
	if p.rule.Policy == nil {
		return nil
	}
	file, err := p.rules.PolicyFile(*p.rule.Policy)
	if err != nil {
		return err
	}
	judge, err := p.open(ctx, file)
	if err != nil {
		return err
	}
	return judge.DecideBy(p.subject, p.found).Err()
}

// checkRule says what is wrong with what an entry says of rules.
func (e Entry) checkRule() error {
	const most = 16
	switch {
	case e.Rule != nil && (e.Rule.Version < 1 || !isHash(e.Rule.Hash) || e.Action != Promote && e.Action != Restart):
		return fmt.Errorf("it obeys the rules %d %.80q", e.Rule.Version, e.Rule.Hash)
	case len(e.Approvals) > most || len(e.Approvals) > 0 && e.Rule == nil:
		return fmt.Errorf("it has %d approvals", len(e.Approvals))
	case len(e.PassedOver) > most || len(e.PassedOver) > 0 && !e.BreakGlass:
		return fmt.Errorf("it passes %d things over", len(e.PassedOver))
	case slices.ContainsFunc(e.PassedOver, func(text string) bool { return text == "" || !isLine(text) }):
		return errors.New("what it passes over is not one line each")
	}
	for _, a := range e.Approvals {
		if a.Person == "" || a.Key == "" || !isLine(a.Person) || !isLine(a.Key) || !isHash(a.Hash) {
			return errors.New("an approval of it says neither who nor what")
		}
	}
	return nil
}

// ruled notes which rules an entry obeyed. Once a channel has obeyed rules it obeys them, or
// newer ones, for good.
func (s *State) ruled(e Signed) error {
	switch {
	case e.Action != Promote && e.Action != Restart || s.Rule == nil:
	case e.Rule == nil:
		return fmt.Errorf("it obeys no channel rules, and an entry before it obeyed version %d", s.Rule.Version)
	case e.Rule.Version < s.Rule.Version:
		return fmt.Errorf("it obeys version %d of the channel rules, and an entry before it version %d", e.Rule.Version, s.Rule.Version)
	case e.Rule.Version == s.Rule.Version && e.Rule.Hash != s.Rule.Hash:
		return fmt.Errorf("it obeys another version %d of the channel rules than an entry before it", e.Rule.Version)
	}
	if e.Rule != nil {
		s.Rule = e.Rule
	}
	return nil
}
