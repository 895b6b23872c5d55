package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"ampoule/agent/reports"
	"ampoule/faults"
	"ampoule/registry/channel"
)

// FailedError says that a release has failed on this host.
type FailedError struct {
	// Digest is the release, Why what failed, and Back what runs now; empty where nothing does.
	Digest, Back string
	Why          error
}

func (e *FailedError) Error() string {
	runs := e.Back + " runs"
	switch e.Back {
	case "":
		runs = "nothing runs"
	case e.Digest:
		runs = "runs still, since there is nothing to go back to"
	}
	return fmt.Sprintf("%s has failed on this host, and %s: %v", e.Digest, runs, e.Why)
}

// Unwrap returns what failed.
func (e *FailedError) Unwrap() error { return e.Why }

// Kind says whose fault it is.
func (*FailedError) Kind() faults.Kind { return faults.Refused }

// Hint says what happens next.
func (*FailedError) Hint() string {
	return "it is not tried again here until the channel moves: promote another digest, or roll the channel back"
}

// HeldError says why a host does not simply follow its channel, until somebody writes that.
type HeldError struct{ Why, Help string }

func (e *HeldError) Error() string { return e.Why }

// Kind says whose fault it is.
func (*HeldError) Kind() faults.Kind { return faults.Refused }

// Hint says what to do.
func (e *HeldError) Hint() string { return e.Help }

// isStanding reports whether an error says how things stand, which trying again soon does not
// change.
func isStanding(err error) bool {
	var failed *FailedError
	var held *HeldError
	return errors.As(err, &failed) || errors.As(err, &held)
}

// stateOf is how a host follows its channel whose last step ended with an error.
func (j *Journal) stateOf(err error) reports.State {
	var failed *FailedError
	switch {
	case j.Held != "" || j.Unrestarted || j.Phase == Returning:
		return reports.Alarmed
	case errors.As(err, &failed):
		return reports.FellBack
	case err != nil:
		return reports.Blind
	case j.Phase != Idle:
		return reports.Deploys
	case !j.Later.IsZero():
		return reports.Waits
	default:
		return reports.Follows
	}
}

// follow does what the channel asks for now.
func (a *Agent) follow(ctx context.Context) error {
	head, err := a.Channel.Head(ctx)
	if err != nil {
		return a.blind(err)
	}
	current, err := a.Host.Current(ctx)
	if err != nil {
		return err
	}
	if !a.mustRead(head, current) {
		if why := staleSince(a.journal.Entry, a.Settings.MaxStale, a.Now()); why != "" {
			return a.tooOld(why)
		}
		return a.standing(ctx)
	}
	l, err := a.Channel.Read(ctx)
	if err != nil {
		return a.blind(err)
	}
	err = a.obey(ctx, l, head, current)
	if errors.Is(err, errMoved) {
		return a.follow(ctx)
	}
	return err
}

// blind says that the channel cannot be seen; what runs goes on. The last entry may become too
// old meanwhile.
func (a *Agent) blind(err error) error {
	if why := staleSince(a.journal.Entry, a.Settings.MaxStale, a.Now()); why != "" {
		return fmt.Errorf("channel %s is too old: %s; %w", a.Settings.Follows(), why, err)
	}
	return err
}

// mustRead reports whether the log has to be read: it is another one, or nothing says which one it
// is, it was not read for long or by this process, something in it is due, or this host is not as
// it wants.
func (a *Agent) mustRead(head, current string) bool {
	j, now := a.journal, a.Now()
	since := now.Sub(j.ReadAt)
	due := !j.Later.IsZero() && !now.Before(j.Later)
	unlike := j.Wanted.Digest != "" && j.Wanted.Digest != current && a.quarantined(j.Wanted) == nil
	return !a.read || head == "" || head != j.Head || current != j.Active || since < 0 || since >= again || due || unlike
}

// tooOld says that nothing is activated by a log.
func (a *Agent) tooOld(why string) error {
	return &HeldError{
		fmt.Sprintf("channel %s is too old: nothing is activated, and what runs goes on: %s", a.Settings.Follows(), why),
		"`ampoule channel refresh` says that nothing has changed; or set the clock of this machine, or find out who shows an old log",
	}
}

// obey does what a log that was verified asks for.
func (a *Agent) obey(ctx context.Context, l *channel.Log, head, current string) error {
	j, now := a.journal, a.Now()
	w := wishOf(l, a.Settings.Delay, current, now)
	j.Head, j.ReadAt, j.Active, j.Wanted, j.Later = head, now.UTC(), current, w.Target, w.later
	if n := len(l.Entries); n > 0 {
		j.Entry = l.Entries[n-1].At
	}
	maps.DeleteFunc(j.Quarantined, func(digest string, q Quarantine) bool {
		return digest == w.Digest && w.Sequence > q.Sequence
	})
	j.Held = a.revoked(l, current)
	if err := a.save(); err != nil {
		return err
	}
	a.read = true
	if why := stale(l, a.Settings.MaxStale, now); why != "" {
		return a.tooOld(why)
	}
	if w.Digest != "" && w.Digest != current && a.quarantined(w.Target) == nil {
		if j.Held != "" {
			a.tell("%s", j.Held)
		}
		if err := a.deploy(ctx, w.Target, a.backFrom(l, w.Target, current)); err != nil {
			return err
		}
		j.Held = a.revoked(l, j.Active)
	}
	return a.standing(ctx)
}

// revoked says what a log says of revoked digests that concerns this host: it runs one, or the
// channel names one. Empty is nothing.
func (a *Agent) revoked(l *channel.Log, current string) string {
	if why, revoked := l.Revoked[current]; revoked && current != "" {
		return fmt.Sprintf("%s runs here, and is revoked in channel %s: %s", current, a.Settings.Follows(), why)
	}
	if why, revoked := l.Revoked[l.Digest]; revoked {
		return fmt.Sprintf("channel %s names %s, which is revoked: %s; %s runs here", a.Settings.Follows(), l.Digest, why, orNothing(current))
	}
	return ""
}

// backFrom is what is gone back to if a target fails: what has proven itself last, else what is
// current; never what is revoked or has failed here. Empty is nothing.
func (a *Agent) backFrom(l *channel.Log, t Target, current string) string {
	for _, digest := range []string{a.journal.Good, current} {
		_, revoked := l.Revoked[digest]
		_, failed := a.journal.Quarantined[digest]
		if digest != "" && digest != t.Digest && !revoked && !failed {
			return digest
		}
	}
	return ""
}

// quarantined is why a target is not tried; nil where it may be.
func (a *Agent) quarantined(t Target) *Quarantine {
	q, there := a.journal.Quarantined[t.Digest]
	if !there || q.Sequence < t.Sequence {
		return nil
	}
	return &q
}

// standing says what is wrong with what runs although nothing is to be done, and starts programs
// again that did not start before.
func (a *Agent) standing(ctx context.Context) error {
	j := a.journal
	if j.Unrestarted {
		if err := a.restart(ctx, j.Active); err != nil {
			return fmt.Errorf("programs may not run %s: %w", j.Active, err)
		}
		j.Unrestarted = false
		a.say(j.Active, "programs run it again")
		if err := a.save(); err != nil {
			return err
		}
	}
	if j.Held != "" {
		return &HeldError{j.Held, "`ampoule channel rollback`, or promote another digest"}
	}
	if q := a.quarantined(j.Wanted); q != nil {
		return &FailedError{j.Wanted.Digest, j.Active, errors.New(q.Why)}
	}
	return nil
}

func orNothing(digest string) string {
	if digest == "" {
		return "nothing"
	}
	return digest
}
