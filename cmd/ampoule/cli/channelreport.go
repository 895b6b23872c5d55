package cli

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"ampoule/cmd/ampoule/display"
	"ampoule/registry/channel"
)

// ChannelSchema names the form of a [ChannelReport].
const ChannelSchema = "ampoule.channel/v1"

// ChannelReport is a channel as JSON.
type ChannelReport struct {
	Schema string `json:"schema"`
	// Channel is NAME:CHANNEL.
	Channel string `json:"channel"`
	// Verified says that the log was verified. Without it all but the entries is empty.
	Verified bool `json:"verified"`
	// Ref and Digest are what the channel names, Since when it began to, in RFC 3339; all empty
	// before the first promotion.
	Ref    string `json:"ref,omitempty"`
	Digest string `json:"digest,omitempty"`
	Since  string `json:"since,omitempty"`
	// Accepted are the digests that it may go back to, the one named last at the end; Revoked
	// says of each digest that must not be used why.
	Accepted []string          `json:"accepted"`
	Revoked  map[string]string `json:"revoked"`
	// Frozen says why promotions are stopped; empty where they are not.
	Frozen string `json:"frozen,omitempty"`
	// Entries are entries of the log, the last one first: all of them in a history, else the
	// last one.
	Entries []ChannelEntry `json:"entries"`
}

// ChannelEntry is an entry of a channel's log as JSON.
type ChannelEntry struct {
	Sequence int `json:"sequence"`
	// Hash names the entry, Previous the one before.
	Hash     string `json:"hash"`
	Previous string `json:"previous,omitempty"`
	Time     string `json:"time"`
	Action   string `json:"action"`
	Digest   string `json:"digest"`
	From     string `json:"from,omitempty"`
	Who      string `json:"who"`
	// SignedBy are promotion keys that have signed it; empty where none that counts has.
	SignedBy   []string `json:"signedBy"`
	Reason     string   `json:"reason,omitempty"`
	BreakGlass bool     `json:"breakGlass,omitempty"`
	// PassedOver says what break-glass passed over.
	PassedOver []string `json:"passedOver,omitempty"`
	// Rules is the version of the channel rules that were obeyed; 0 where there were none.
	Rules int `json:"rules,omitempty"`
	// ApprovedBy are the people whose approvals counted.
	ApprovedBy []string `json:"approvedBy,omitempty"`
	// Evidence are the sha256 of what was looked at beside the artifact.
	Evidence []string `json:"evidence,omitempty"`
}

// reportOf is a channel with some entries of its log.
func reportOf(c *channel.Channel, log *channel.Log, entries []channel.Signed) ChannelReport {
	report := ChannelReport{
		Schema: ChannelSchema, Channel: c.String(), Verified: true, Digest: log.Digest,
		Accepted: append([]string{}, log.Accepted...), Revoked: map[string]string{}, Frozen: log.Frozen, Entries: entriesOf(entries),
	}
	for digest, why := range log.Revoked {
		report.Revoked[digest] = why
	}
	if log.Digest != "" {
		report.Ref = c.Reference(log.Digest)
		report.Since = log.Since.Format("2006-01-02T15:04:05Z07:00")
	}
	return report
}

// entriesOf are entries as JSON, the last one first.
func entriesOf(entries []channel.Signed) []ChannelEntry {
	all := make([]ChannelEntry, 0, len(entries))
	for _, e := range slices.Backward(entries) {
		entry := ChannelEntry{
			Sequence: e.Sequence, Hash: e.Hash, Previous: e.Previous, Time: e.Time, Action: string(e.Action), Digest: e.Digest, From: e.From, Who: e.Who,
			SignedBy: append([]string{}, e.By...), Reason: e.Reason, BreakGlass: e.BreakGlass, PassedOver: e.PassedOver, Evidence: e.Evidence,
		}
		if e.Rule != nil {
			entry.Rules = e.Rule.Version
		}
		for _, a := range e.Approvals {
			entry.ApprovedBy = append(entry.ApprovedBy, a.Person)
		}
		all = append(all, entry)
	}
	return all
}

// text lists the entries for people.
func (r ChannelReport) text() string {
	var b strings.Builder
	if r.Verified {
		fmt.Fprintf(&b, "%s names %s\n", r.Channel, cmp.Or(r.Digest, "nothing"))
		if why, revoked := r.Revoked[r.Digest]; revoked {
			fmt.Fprintf(&b, "  it is revoked: %s\n", why)
		}
		if r.Frozen != "" {
			fmt.Fprintf(&b, "  frozen: %s\n", r.Frozen)
		}
	}
	for _, e := range r.Entries {
		fmt.Fprintf(&b, "  %d  %s  %s %s  by %s", e.Sequence, e.Time, e.Action, e.Digest, e.Who)
		if e.From != "" {
			fmt.Fprintf(&b, ", from %s", e.From)
		}
		if len(e.ApprovedBy) > 0 {
			fmt.Fprintf(&b, ", approved by %s", strings.Join(e.ApprovedBy, ", "))
		}
		if e.BreakGlass {
			b.WriteString(", BREAK-GLASS")
		}
		if e.Reason != "" {
			fmt.Fprintf(&b, ": %s", e.Reason)
		}
		b.WriteString("\n")
		for _, what := range e.PassedOver {
			fmt.Fprintf(&b, "     passed over: %s\n", what)
		}
	}
	return display.Clean(b.String(), true)
}

// printWritten prints what a channel names after an entry was added. Wrong says why that must not be
// used; nil where it may.
func (s *Session) printWritten(report ChannelReport, wrong error) error {
	e := report.Entries[0]
	s.tell("channel %s: entry %d, %s %s by %s", report.Channel, e.Sequence, e.Action, e.Digest, e.Who)
	if wrong != nil && report.Digest != "" {
		s.warn("%v", wrong)
	}
	if report.Ref == "" {
		return s.print(report.Channel, report)
	}
	return s.print(report.Ref, report)
}
