package channel

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"ampoule/faults"
	"ampoule/registry/trust/keys"
	"ampoule/registry/trust/roots"
)

// skew is how far in the future the time of an entry may be: clocks differ.
const skew = 15 * time.Minute

// Keys says which keys count; a [*roots.Root] does.
type Keys interface {
	// KeysOf gives the keys of a role that count at a time, by name.
	KeysOf(role string, at time.Time) map[string]keys.Public
	// Threshold is how many keys of a role must have signed; 0 if there is no such role.
	Threshold(role string) int
	// Explain says why a signature does not count for a role.
	Explain(role string, at time.Time, signed func(keys.Public) bool) string
}

// Log is the log of a channel that was verified.
type Log struct {
	Repository, Channel string
	// Entries are all of them, the first one first.
	Entries []Signed
	State
	// head is the digest of the manifest that the log was read from; empty where there was none.
	head string
	// copyOf is the channel that the log is a copy of; empty where it is none.
	copyOf string
}

// LogError says that a log is not to be believed.
type LogError struct {
	// Log is REPOSITORY:CHANNEL. Sequence is the number of the entry that is wrong; 0 where it is
	// the log as a whole.
	Log      string
	Sequence int
	Err      error
	// behind says that less is there than was seen before.
	behind bool
	// hint says what to do; empty has [LogError.Hint] say what helps in general.
	hint string
}

func (e *LogError) Error() string {
	if e.Sequence == 0 {
		return fmt.Sprintf("the log of channel %s is refused: %v", e.Log, e.Err)
	}
	return fmt.Sprintf("the log of channel %s is refused: entry %d: %v", e.Log, e.Sequence, e.Err)
}

// Unwrap returns what is wrong.
func (e *LogError) Unwrap() error { return e.Err }

// Kind says whose fault it is.
func (*LogError) Kind() faults.Kind { return faults.Refused }

// Hint says what to do.
func (e *LogError) Hint() string {
	if e.hint != "" {
		return e.hint
	}
	return "find out who wrote it; what hosts run stays as it is, and nothing is taken from the channel until its log is whole again"
}

// name is how people name a channel.
func name(repository, channel string) string { return repository + ":" + channel }

// check verifies the log of a channel as a whole, at a time.
//
// Each entry follows the one before: number, hash and time. Each is signed by enough promotion
// keys that counted when it was written, and the last one by keys that count now: who keeps a
// key that has expired can write nothing. A revoked key never counted. A restart, itself signed
// so, vouches for all before it.
func check(repository, channel string, entries []Signed, known Keys, now time.Time) (*Log, error) {
	l := &Log{Repository: repository, Channel: channel, Entries: entries}
	if err := l.checkChain(now); err != nil {
		return nil, err
	}
	base, err := l.checkSignatures(known, now)
	if err != nil {
		return nil, err
	}
	for i, e := range entries {
		if i < base {
			l.before(e)
			continue
		}
		if err := l.apply(e); err != nil {
			return nil, l.refuse(e.Sequence, err)
		}
	}
	return l, nil
}

func (l *Log) refuse(sequence int, err error) *LogError {
	return &LogError{Log: name(l.Repository, l.Channel), Sequence: sequence, Err: err}
}

// another refuses an entry of another channel. It may be the one that is meant: a prefix of the registry is
// no part of the repository's name, which is signed.
func (l *Log) another(e Signed) error {
	refused := l.refuse(e.Sequence, fmt.Errorf("it belongs to the channel %s", name(e.Repository, e.Channel)))
	if prefix, ok := strings.CutSuffix(l.Repository, "/"+e.Repository); ok && e.Channel == l.Channel {
		refused.hint = fmt.Sprintf("name what is before %s as a part of the registry: --registry HOST/%s, or registry in config.toml, and the channel as %s",
			e.Repository, prefix, name(e.Repository, e.Channel))
	}
	return refused
}

// checkChain wants each entry to follow the one before.
func (l *Log) checkChain(now time.Time) error {
	var before Signed
	for i, e := range l.Entries {
		switch {
		case e.Repository != l.Repository || e.Channel != l.Channel:
			return l.another(e)
		case e.Sequence != i+1:
			return l.refuse(i+1, fmt.Errorf("its number is %d: entries are missing or in another order", e.Sequence))
		case e.Previous != before.Hash:
			return l.refuse(i+1, fmt.Errorf("it follows %s, and the entry before it is %s: something was exchanged", orNothing(e.Previous), orNothing(before.Hash)))
		case e.At.Before(before.At):
			return l.refuse(i+1, fmt.Errorf("its time %s is before that of the entry before it, %s", e.Time, before.Time))
		}
		before = e
	}
	if before.At.After(now.Add(skew)) {
		err := l.refuse(before.Sequence, fmt.Errorf("it says that it was written %s after now (%s)", before.At.Sub(now).Round(time.Minute), stamp(now)))
		err.hint = "set the clock of this machine, or of the one that wrote it"
		return err
	}
	return nil
}

func orNothing(hash string) string {
	if hash == "" {
		return "nothing"
	}
	return hash
}

// checkSignatures notes who signed what, and returns the index of the entry that the log counts
// from: its last restart, or the first.
func (l *Log) checkSignatures(known Keys, now time.Time) (base int, err error) {
	if len(l.Entries) == 0 {
		return 0, nil
	}
	for i := range l.Entries {
		e := &l.Entries[i]
		e.By = signers(*e, known, e.At)
		if !enough(e.By, known) {
			e.By = nil
		}
		if e.Action == Restart && len(e.By) > 0 {
			base = i
		}
	}
	for _, e := range l.Entries[base:] {
		if len(e.By) == 0 {
			return 0, l.unsigned(e, known, e.At)
		}
		if !slices.Contains(e.By, e.Who) {
			return 0, l.refuse(e.Sequence, fmt.Errorf("it says that it is by %s, and is signed by %s", e.Who, strings.Join(e.By, ", ")))
		}
	}
	last := l.Entries[len(l.Entries)-1]
	if !enough(signers(last, known, now), known) {
		return 0, l.unsigned(last, known, now)
	}
	return base, nil
}

// unsigned says why the signatures of an entry do not count.
func (l *Log) unsigned(e Signed, known Keys, at time.Time) error {
	why := errors.New(known.Explain(roots.RolePromote, at, e.envelope.SignedBy))
	by := signers(e, known, at)
	switch want := known.Threshold(roots.RolePromote); {
	case want == 0:
		why = errors.New("the trust root has no keys of the role promote")
	case len(by) > 0:
		why = fmt.Errorf("%d promotion keys must have signed it, and %s has", want, strings.Join(by, ", "))
	}
	err := l.refuse(e.Sequence, why)
	err.hint = "if one of your keys was replaced, revoked or has expired: look at `ampoule channel history --unverified`, and vouch for the log with a key that counts: `ampoule channel restart`"
	return err
}

// signers are names of promotion keys that have signed an entry and count at a time: as many as
// are wanted, the one that the entry names first.
func signers(e Signed, known Keys, at time.Time) []string {
	of := known.KeysOf(roots.RolePromote, at)
	names := slices.Sorted(maps.Keys(of))
	if i := slices.Index(names, e.Who); i > 0 {
		names = slices.Insert(slices.Delete(names, i, i+1), 0, e.Who)
	}
	var by []string
	for _, name := range names {
		if enough(by, known) {
			break
		}
		if e.envelope.SignedBy(of[name]) {
			by = append(by, name)
		}
	}
	return by
}

func enough(by []string, known Keys) bool {
	want := known.Threshold(roots.RolePromote)
	return want > 0 && len(by) >= want
}
