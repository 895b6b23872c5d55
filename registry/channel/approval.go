package channel

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"ampoule/faults"
	"ampoule/registry"
	"ampoule/registry/channel/rules"
	"ampoule/registry/trust/evidence"
	"ampoule/registry/trust/keys"
	"ampoule/registry/trust/roots"
)

// ApprovalType is that of an approval's statement about a digest, whose predicate is an
// [Approval].
const ApprovalType = "https://ampoule.dev/approval/v1"

// Approval is what somebody says who approves that a channel names a digest.
type Approval struct {
	// Repository and Channel are where the digest may go.
	Repository string `json:"repository"`
	Channel    string `json:"channel"`
	// Rules is the hash of the channel rules that were in force. Others need another approval.
	Rules string `json:"rules"`
	// Caller is whom a service signs for, by the name that it knows; empty where a person signs.
	Caller string `json:"caller,omitempty"`
	// Time is when it was given, Expires when it ends: RFC 3339, in whole seconds UTC.
	Time    string `json:"time"`
	Expires string `json:"expires"`
}

// Approved is an approval that counted.
type Approved struct {
	// Person is who gave it, Key the name of the key, Hash the sha256 of the statement as it lies
	// beside the artifact.
	Person string `json:"person"`
	Key    string `json:"key"`
	Hash   string `json:"hash"`
}

// Approve makes the statement that somebody approves of a digest, for as long as the rule lets
// approvals count. Caller is for whom a service signs; empty where a person does. A key that is no
// approver's, one that counts for nobody, or a channel that wants no approvals, is an error of kind
// Refused.
func (c *Channel) Approve(ctx context.Context, r *rules.Rules, by keys.Signer, form evidence.Form, digest, caller string) (registry.Evidence, error) {
	key := c.keyName(roots.RoleApprove, by)
	if key == "" {
		return registry.Evidence{}, faults.New(faults.Refused, "sign with a key of the role approve, or add this one: `ampoule trust add-key NAME=FILE --role approve`",
			"key %s is no approver's key of the trust root, or has expired", by.Public().ID())
	}
	if _, err := r.Speaker(key, caller); err != nil {
		return registry.Evidence{}, err
	}
	rule, ok := r.Rule(c.name, c.repo.Name())
	count, most := rule.Approvals.Wanted()
	if !ok || count == 0 {
		return registry.Evidence{}, faults.New(faults.Refused, "", "channel %s wants no approvals: %s", c, r.Path)
	}
	now := c.now()
	predicate, err := json.Marshal(Approval{c.repo.Name(), c.name, r.Hash(), caller, stamp(now), stamp(now.Add(most))})
	if err != nil {
		return registry.Evidence{}, fmt.Errorf("writing approval: %w", err)
	}
	return evidence.Attest(ctx, by, form, c.repo.String(), digest, evidence.Claim{Type: ApprovalType, Predicate: predicate})
}

// Beside is the reference of an artifact where approvals of it belong: where it is before it is
// promoted, in the registry of the channel that it comes from.
func (c *Channel) Beside(ctx context.Context, r *rules.Rules, artifacts Artifacts, digest string) (string, error) {
	rule, _ := r.Rule(c.name, c.repo.Name())
	at, err := c.whereIs(ctx, artifacts, rule.From, Entry{Action: Promote, Digest: digest})
	if err != nil {
		return "", err
	}
	return at.Reference(digest), nil
}

// keyName is the name of a key in the trust root, if it counts for a role now.
func (c *Channel) keyName(role string, by keys.Signer) string {
	known := c.keys.KeysOf(role, c.now())
	for _, name := range slices.Sorted(maps.Keys(known)) {
		if known[name].ID() == by.Public().ID() {
			return name
		}
	}
	return ""
}

// count is the approvals of a digest that are being counted.
type count struct {
	channel *Channel
	rules   *rules.Rules
	// requester is the person who promotes.
	requester string
	digest    string
	now       time.Time
	found     []Approved
	// notes say why others do not count.
	notes []string
}

// approvals counts what stands beside an artifact. A person counts once, and who promotes does
// not.
func (c *count) approvals(all []registry.Evidence) {
	known := c.channel.keys.KeysOf(roots.RoleApprove, c.now)
	for _, raw := range all {
		if raw.Err != nil {
			continue
		}
		item, err := evidence.Parse(raw)
		if err != nil || item.PredicateType != ApprovalType || !item.Subject(c.digest) {
			continue
		}
		for _, name := range slices.Sorted(maps.Keys(known)) {
			if item.Signed(known[name]) {
				c.one(item, name, hashOf(raw.Data))
			}
		}
		if !slices.ContainsFunc(slices.Collect(maps.Values(known)), item.Signed) {
			c.notes = append(c.notes, c.channel.keys.Explain(roots.RoleApprove, c.now, item.Signed))
		}
	}
}

// one counts an approval of a key, if it does.
func (c *count) one(item evidence.Item, key, hash string) {
	person, why := c.read(item, key)
	switch {
	case why != "":
	case person == c.requester:
		why = person + " promotes"
	case slices.ContainsFunc(c.found, func(a Approved) bool { return a.Person == person }):
		return
	default:
		c.found = append(c.found, Approved{person, key, hash})
		return
	}
	c.notes = append(c.notes, "that of key "+key+": "+why)
}

// read is the person who has given an approval, or says why it does not count.
func (c *count) read(item evidence.Item, key string) (person, why string) {
	var a Approval
	if err := item.Statement.Read(&a); err != nil {
		return "", err.Error()
	}
	if why := c.wrong(a); why != "" {
		return "", why
	}
	person, err := c.rules.Speaker(key, a.Caller)
	if err != nil {
		return "", err.Error()
	}
	return person, ""
}

// wrong says why what an approval says does not count; empty where it does.
func (c *count) wrong(a Approval) string {
	given, errGiven := time.Parse(time.RFC3339, a.Time)
	expires, errExpires := time.Parse(time.RFC3339, a.Expires)
	switch {
	case a.Repository != c.channel.repo.Name() || a.Channel != c.channel.name:
		return "it is for the channel " + name(a.Repository, a.Channel)
	case a.Rules != c.rules.Hash():
		return "the rules were changed since it was given"
	case errGiven != nil || errExpires != nil || given.After(c.now.Add(skew)):
		return "its times are wrong"
	case !c.now.Before(expires):
		return "it has expired"
	}
	rule, _ := c.rules.Rule(c.channel.name, c.channel.repo.Name())
	if _, most := rule.Approvals.Wanted(); c.now.Sub(given) > most {
		return "it is too old"
	}
	return ""
}

// missing says what is missing to a number of approvals.
func (c *count) missing(want int) error {
	if len(c.found) >= want {
		return nil
	}
	e := &ApprovalsError{Of: c.channel.String(), Digest: c.digest, Rules: c.rules.Hash(), Want: want, Notes: c.notes}
	for _, a := range c.found {
		e.By = append(e.By, a.Person)
	}
	return e
}

// ApprovalsError says that approvals are missing to a promotion.
type ApprovalsError struct {
	// Of is REPOSITORY:CHANNEL, Digest what is to be promoted, Rules the hash of the rules.
	Of, Digest, Rules string
	// Want is how many people must have approved; By are those who have.
	Want int
	By   []string
	// Notes say why other approvals do not count.
	Notes []string
}

func (e *ApprovalsError) Error() string {
	text := fmt.Sprintf("channel %s wants %d approvals of people other than who promotes, and has those of: %s", e.Of, e.Want, orNone(e.By))
	if len(e.Notes) > 0 {
		text += "; what does not count: " + strings.Join(e.Notes, "; ")
	}
	return text
}

// Kind says whose fault it is.
func (*ApprovalsError) Kind() faults.Kind { return faults.Refused }

// Hint says what to do.
func (*ApprovalsError) Hint() string {
	return "`ampoule channel approve` approves a digest for a channel"
}

// Approvals counts who has approved of a digest for the channel, by what lies beside the artifact.
// Nobody is left out for promoting it. Notes say why others do not count.
func (c *Channel) Approvals(r *rules.Rules, digest string, all []registry.Evidence) (people, notes []string) {
	counted := &count{channel: c, rules: r, digest: digest, now: c.now()}
	counted.approvals(all)
	for _, a := range counted.found {
		people = append(people, a.Person)
	}
	return people, counted.notes
}
