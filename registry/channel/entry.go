// Package channel keeps which digest a channel names, and how it came to that: a log of
// entries, each signed by a promotion key and with the hash of the entry before.
//
// What a registry shows is foreign: a log is verified whole before anything of it counts.
package channel

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
	"unicode"
	"unicode/utf8"

	"ampoule/artifact"
	"ampoule/faults"
	"ampoule/registry/trust/evidence"
	"ampoule/registry/trust/keys"
)

// PredicateType is that of an entry's statement, whose predicate is an [Entry].
const PredicateType = "https://ampoule.dev/channel/v1"

// Action is what an entry does.
type Action string

// The actions.
const (
	// Promote has the channel name the digest.
	Promote Action = "promote"
	// Rollback has it name a digest again that it has named before.
	Rollback Action = "rollback"
	// Revoke says that the digest is not to be used any more, for good.
	Revoke Action = "revoke"
	// Freeze stops promotions, Unfreeze lets them go on. The digest is the channel's own.
	Freeze   Action = "freeze"
	Unfreeze Action = "unfreeze"
	// Refresh says that nothing has changed. The digest is the channel's own.
	Refresh Action = "refresh"
	// Restart vouches for the log as it is, whoever signed it, and has the channel name the
	// digest. What was accepted before is not, any more.
	Restart Action = "restart"
)

// Actions lists all actions.
func Actions() []Action {
	return []Action{Promote, Rollback, Revoke, Freeze, Unfreeze, Refresh, Restart}
}

// names reports whether the channel names the digest after the action.
func (a Action) names() bool { return a == Promote || a == Rollback || a == Restart }

// wantsReason reports whether the action is nothing without its reason.
func (a Action) wantsReason() bool { return a == Revoke || a == Freeze || a == Restart }

// Limits.
const (
	// maxEntry bounds one entry, in bytes. Its parts have bounds of their own, far below.
	maxEntry = 64 << 10
	// maxSequence bounds how many entries a log has.
	maxSequence = 100 * artifact.ChannelSegment
	// maxReason bounds a reason, in bytes.
	maxReason = 1 << 10
	// maxEvidence bounds how many digests of evidence an entry has.
	maxEvidence = 256
)

// Entry is one entry of a channel's log. There is one way to write it as JSON.
type Entry struct {
	// Repository is the artifact's name, without host and prefix; Channel is the channel's.
	Repository string `json:"repository"`
	Channel    string `json:"channel"`
	// Sequence counts from 1.
	Sequence int `json:"sequence"`
	// Previous is the hash of the entry before, as [Signed] has it; empty in the first one.
	Previous string `json:"previous,omitempty"`
	// Time is when it was written, by the writer's clock: RFC 3339, in whole seconds UTC. It is
	// never earlier than that of the entry before.
	Time   string `json:"time"`
	Action Action `json:"action"`
	// Digest is what the action is about.
	Digest string `json:"digest"`
	// From is the channel that named the digest when it was promoted; empty where none was asked.
	From string `json:"from,omitempty"`
	// Who is the name of the key that signs, as the trust root has it.
	Who string `json:"who"`
	// Reason says for people why, in one line.
	Reason string `json:"reason,omitempty"`
	// BreakGlass says that what forbade the promotion was passed over. It has a reason.
	BreakGlass bool `json:"breakGlass,omitempty"`
	// PassedOver says what forbade the promotion, a line each.
	PassedOver []string `json:"passedOver,omitempty"`
	// Rule names the channel rules that were obeyed; nil where there were none.
	Rule *RuleRef `json:"rule,omitempty"`
	// Approvals are those that counted.
	Approvals []Approved `json:"approvals,omitempty"`
	// Evidence are the digests of what was looked at beside the artifact, sorted.
	Evidence []string `json:"evidence,omitempty"`
}

// check says what is wrong with an entry by itself.
func (e Entry) check() error {
	at, err := time.Parse(time.RFC3339, e.Time)
	switch {
	case !artifact.IsRepository(e.Repository):
		return fmt.Errorf("its repository %.80q is none", e.Repository)
	case !artifact.IsChannel(e.Channel):
		return fmt.Errorf("its channel %.80q is none", e.Channel)
	case e.Sequence < 1 || e.Sequence > maxSequence:
		return fmt.Errorf("its number %d is not between 1 and %d", e.Sequence, maxSequence)
	case (e.Sequence == 1) != (e.Previous == ""), e.Previous != "" && !artifact.IsDigest(e.Previous):
		return fmt.Errorf("the hash of the entry before it is %.80q", e.Previous)
	case err != nil || stamp(at) != e.Time:
		return fmt.Errorf("its time %.40q is none", e.Time)
	case !slices.Contains(Actions(), e.Action):
		return fmt.Errorf("its action %.40q is none of %v", e.Action, Actions())
	case !artifact.IsDigest(e.Digest):
		return fmt.Errorf("its digest %.80q is none", e.Digest)
	case e.From != "" && (!artifact.IsChannel(e.From) || e.Action != Promote):
		return fmt.Errorf("it comes from the channel %.80q", e.From)
	case e.Who == "" || !isLine(e.Who):
		return errors.New("it does not say who wrote it")
	}
	return e.checkMore()
}

// checkMore says what is wrong with the reasons of an entry.
func (e Entry) checkMore() error {
	switch {
	case !isLine(e.Reason):
		return fmt.Errorf("its reason is not one line of at most %d bytes", maxReason)
	case e.Reason == "" && (e.Action.wantsReason() || e.BreakGlass):
		return fmt.Errorf("it says no reason, which %s must have", e.Action)
	case e.BreakGlass && e.Action != Promote && e.Action != Restart:
		return fmt.Errorf("%s passes nothing over", e.Action)
	case len(e.Evidence) > maxEvidence || !slices.IsSorted(e.Evidence):
		return fmt.Errorf("it has %d digests of evidence, or they are not sorted", len(e.Evidence))
	}
	for _, digest := range e.Evidence {
		if !artifact.IsDigest(digest) {
			return fmt.Errorf("%.80q is no digest of evidence", digest)
		}
	}
	return e.checkRule()
}

// isHash reports whether a text is a sha256.
func isHash(text string) bool { return artifact.IsDigest(text) }

// isLine reports whether a text is one line, within its bound, that may be shown anywhere.
func isLine(text string) bool {
	return len(text) <= maxReason && utf8.ValidString(text) && !bytes.ContainsFunc([]byte(text), func(r rune) bool { return !unicode.IsPrint(r) })
}

// stamp is a time as entries have it.
func stamp(t time.Time) string { return t.UTC().Truncate(time.Second).Format(time.RFC3339) }

// payload is what is signed.
func (e Entry) payload() ([]byte, error) {
	s, err := evidence.About(e.Repository, e.Digest, PredicateType, e)
	if err != nil {
		return nil, err
	}
	return json.Marshal(s)
}

// sign makes the entry's envelope.
func (e Entry) sign(ctx context.Context, by keys.Signer) (Signed, error) {
	if err := e.check(); err != nil {
		return Signed{}, faults.New(faults.Usage, "", "writing entry: %w", err)
	}
	payload, err := e.payload()
	if err != nil {
		return Signed{}, fmt.Errorf("writing entry: %w", err)
	}
	envelope, err := evidence.SignEnvelope(ctx, by, evidence.PayloadType, payload)
	if err != nil {
		return Signed{}, err
	}
	return Parse(envelope.Encode())
}

// Signed is an entry as it lies in a log. Whether its signature counts, [Check] says.
type Signed struct {
	Entry
	// Hash is the sha256 of its bytes: of its envelope with the signatures.
	Hash string
	// At is its time.
	At time.Time
	// By are the names of promotion keys that have signed it, as many as must have; empty until it
	// was checked, and where too few have, which a restart vouches for.
	By []string

	data     []byte
	envelope evidence.Envelope
}

// Parse reads an entry. One that is not written exactly as Ampoule writes it is refused: two
// readers must not read two entries in it.
func Parse(data []byte) (Signed, error) {
	s, err := parse(data)
	if err != nil {
		return Signed{}, fmt.Errorf("reading entry: %w", err)
	}
	return s, nil
}

func parse(data []byte) (Signed, error) {
	envelope, statement, err := evidence.ParseOf(PredicateType, data, maxEntry)
	if err != nil {
		return Signed{}, err
	}
	var e Entry
	if err := statement.Read(&e); err != nil {
		return Signed{}, err
	}
	if err := e.check(); err != nil {
		return Signed{}, err
	}
	written, err := e.payload()
	if err != nil {
		return Signed{}, err
	}
	if !bytes.Equal(written, envelope.Payload) || !bytes.Equal(envelope.Encode(), data) {
		return Signed{}, errors.New("it is not written as Ampoule writes it, or by a newer version")
	}
	at, err := time.Parse(time.RFC3339, e.Time)
	return Signed{Entry: e, Hash: hashOf(data), At: at, data: data, envelope: envelope}, err
}

func hashOf(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}
