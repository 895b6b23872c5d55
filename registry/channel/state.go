package channel

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"ampoule/faults"
)

// State is what the entries of a log come to.
type State struct {
	// Digest is what the channel names; empty before the first promotion. Since is when it began
	// to.
	Digest string
	Since  time.Time
	// Accepted are the digests that the channel has named and may go back to, each once, the one
	// named last at the end.
	Accepted []string
	// Revoked says of each digest that is not to be used any more why.
	Revoked map[string]string
	// Frozen says why promotions are stopped; empty where they are not.
	Frozen string
	// Rule names the channel rules that were obeyed last; nil where none were.
	Rule *RuleRef
}

// RevokedError says that a digest is not to be used any more.
type RevokedError struct {
	// Of is REPOSITORY:CHANNEL, Reason why it was revoked. Back is the digest that the channel
	// can go back to; empty where there is none.
	Of, Digest, Reason, Back string
}

func (e *RevokedError) Error() string {
	return fmt.Sprintf("%s is revoked in channel %s: %s", e.Digest, e.Of, e.Reason)
}

// Kind says whose fault it is.
func (*RevokedError) Kind() faults.Kind { return faults.Refused }

// Hint says what to do.
func (e *RevokedError) Hint() string {
	if e.Back == "" {
		return "promote another digest: the channel has accepted none that it can go back to"
	}
	return "go back: `ampoule channel rollback " + e.Of + "`, to " + e.Back
}

// Current is the digest that the channel names and that may be used. It is an error of kind
// NotFound where the channel is empty, and a [*RevokedError] where it names a revoked digest.
func (l *Log) Current() (string, error) {
	of := name(l.Repository, l.Channel)
	if l.Digest == "" {
		return "", faults.New(faults.NotFound, "`ampoule channel promote` begins it", "channel %s: nothing was promoted yet", of)
	}
	if reason, revoked := l.Revoked[l.Digest]; revoked {
		return "", &RevokedError{of, l.Digest, reason, l.Back()}
	}
	return l.Digest, nil
}

// StaleError says that a channel's last entry is older than somebody wants: it may be that nobody
// has written it, or that a registry shows an old log.
type StaleError struct {
	// Of is REPOSITORY:CHANNEL, Written the time of the last entry, as it has it.
	Of, Written string
	// Age is how old it is, Most how old it may be.
	Age, Most time.Duration
}

func (e *StaleError) Error() string {
	return fmt.Sprintf("channel %s: its last entry was written at %s, %s ago, and may be %s old", e.Of, e.Written, e.Age.Round(time.Second), e.Most)
}

// Kind says whose fault it is.
func (*StaleError) Kind() faults.Kind { return faults.Refused }

// Hint says what to do.
func (*StaleError) Hint() string {
	return "`ampoule channel refresh` says that nothing has changed; or somebody shows an old log"
}

// CheckFresh wants the last entry of a log to be no older than that; 0 is any age. An older one
// is a [*StaleError].
func (l *Log) CheckFresh(now time.Time, most time.Duration) error {
	if most == 0 || len(l.Entries) == 0 {
		return nil
	}
	last := l.Entries[len(l.Entries)-1]
	if age := now.Sub(last.At); age > most {
		return &StaleError{name(l.Repository, l.Channel), last.Time, age, most}
	}
	return nil
}

// before takes from an entry before a restart what stays: what it revoked and which rules it
// obeyed, if its signature counts.
func (s *State) before(e Signed) {
	if len(e.By) == 0 {
		return
	}
	if e.Rule != nil {
		s.Rule = e.Rule
	}
	if _, twice := s.Revoked[e.Digest]; e.Action == Revoke && !twice {
		_ = s.revoke(e) // it fails for what is revoked already
	}
}

// Back is the digest that the channel named last before the current one, and can go back to;
// empty where there is none.
func (s State) Back() string {
	for _, digest := range slices.Backward(s.Accepted) {
		if digest != s.Digest {
			return digest
		}
	}
	return ""
}

// apply does what an entry says.
func (s *State) apply(e Signed) error {
	if e.Action == Revoke {
		return s.revoke(e)
	}
	if err := s.ruled(e); err != nil {
		return err
	}
	if reason, revoked := s.Revoked[e.Digest]; revoked && e.Action.names() {
		return fmt.Errorf("%s names %s, which is revoked: %s", e.Action, e.Digest, reason)
	}
	if !e.Action.names() && e.Digest != s.Digest {
		return fmt.Errorf("%s is about %s, and the channel names %s", e.Action, e.Digest, orNothing(s.Digest))
	}
	switch e.Action {
	case Promote:
		return s.promote(e)
	case Rollback:
		if e.Digest == s.Digest || !slices.Contains(s.Accepted, e.Digest) {
			return fmt.Errorf("rollback goes to %s, which is none of the digests that the channel has named before", e.Digest)
		}
		s.name(e)
	case Restart:
		s.Accepted, s.Frozen = nil, ""
		s.name(e)
	case Freeze:
		if s.Frozen != "" {
			return fmt.Errorf("the channel is frozen already: %s", s.Frozen)
		}
		s.Frozen = e.Reason
	case Unfreeze:
		if s.Frozen == "" {
			return errors.New("the channel is not frozen")
		}
		s.Frozen = ""
	case Refresh, Revoke:
		// The one changes nothing, the other is done.
	}
	return nil
}

func (s *State) promote(e Signed) error {
	if s.Frozen != "" && !e.BreakGlass {
		return fmt.Errorf("the channel is frozen: %s", s.Frozen)
	}
	if e.Digest == s.Digest {
		return fmt.Errorf("the channel names %s already", e.Digest)
	}
	s.name(e)
	return nil
}

func (s *State) revoke(e Signed) error {
	if reason, twice := s.Revoked[e.Digest]; twice {
		return fmt.Errorf("%s is revoked already: %s", e.Digest, reason)
	}
	if s.Revoked == nil {
		s.Revoked = map[string]string{}
	}
	s.Revoked[e.Digest] = e.Reason
	s.Accepted = slices.DeleteFunc(s.Accepted, func(d string) bool { return d == e.Digest })
	return nil
}

// name has the channel name the digest of an entry.
func (s *State) name(e Signed) {
	s.Digest, s.Since = e.Digest, e.At
	s.Accepted = append(slices.DeleteFunc(s.Accepted, func(d string) bool { return d == e.Digest }), e.Digest)
}
