// Package agent has a host follow a channel: it looks at the channel's log, installs what that
// names, tries it, activates it, has the host's programs use it, watches them, and goes back by
// itself when anything of that fails.
//
// It is a state machine, whose state is a journal on disk: what is begun is written down before,
// so that a process that was killed at any moment is followed by one that ends what it began, or
// goes back. Nothing is activated unless the whole log was verified just before.
package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"time"

	"ampoule/agent/program"
	"ampoule/registry/channel"
)

// Channel is what is followed.
type Channel interface {
	// Reference is that of an artifact in the channel's repository.
	Reference(digest string) string
	// Head asks what the log's tag names, in one small request. An equal answer is an equal log; an
	// empty one says nothing.
	Head(ctx context.Context) (string, error)
	// Read reads and verifies the whole log.
	Read(ctx context.Context) (*channel.Log, error)
}

// Host is a root with releases.
type Host interface {
	// Current is the digest of the current release; empty where there is none.
	Current(ctx context.Context) (string, error)
	// Install puts a release below the root, if the policy allows that, and leaves the current one
	// as it is.
	Install(ctx context.Context, ref string) (Release, error)
	// Activate makes a release that is there the current one, in one step.
	Activate(ctx context.Context, digest string) error
	// Collect removes old releases but for a number of them. The active one, and what is still in
	// use, stays.
	Collect(ctx context.Context, keep int) error
}

// Release is a release that was installed.
type Release struct {
	Digest string
	// Dir is its directory.
	Dir string
	// Tests are those of the recipe, as a build key has signed them.
	Tests Tests
}

// Reporter takes what a host says of itself.
type Reporter interface {
	// Report writes a report of the journal. One that has nothing to say yet is no error.
	Report(ctx context.Context, j *Journal, now time.Time) error
}

// Agent follows a channel for a root. Its fields are set before it is used.
type Agent struct {
	Settings Settings
	Channel  Channel
	Host     Host
	// Reporter may be nil.
	Reporter Reporter
	// Environ is the environment of programs, as os.Environ has it.
	Environ []string
	// Tell is told what happens, for people.
	Tell func(text string)
	// Now is the clock.
	Now func() time.Time

	desk    *desk
	journal *Journal
	// read is whether this process has read the log.
	read bool
	// told is what was told last.
	told string
	// sleep waits between two polls, and between two looks; nil waits by the clock. run runs a
	// program; nil is [program.Run]. Tests set them.
	sleep func(ctx context.Context, d time.Duration) error
	run   func(ctx context.Context, c program.Command) error
}

// again is how long a log that was read counts as read: keys expire, and trust roots change.
const again = time.Hour

// maxBackoff is the longest time between two polls that fail, unless polls are rarer anyway.
const maxBackoff = 15 * time.Minute

// longest is for how long a registry that asks for it is left alone.
const longest = time.Hour

// Once looks at the channel once, does what that asks for, and goes on with what a process
// before it began. It returns when the host has proven itself or has gone back.
//
// That another agent works on the root is a [*BusyError]. That a release has failed here is a
// [*FailedError], and that the channel is too old or names what is revoked a [*HeldError].
func (a *Agent) Once(ctx context.Context) (err error) {
	if err := a.open(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.close()) }()
	return a.step(ctx)
}

// Run follows the channel until the context ends, and returns its cause. That another agent works
// on the root, or that the journal is damaged, ends it at once.
func (a *Agent) Run(ctx context.Context) (err error) {
	if err := a.open(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.close()) }()
	a.tell("following channel %s for %s, every %s", a.Settings.Follows(), a.Settings.Root, a.Settings.Poll)
	for {
		err := a.step(ctx)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		a.tellError(err)
		if err := a.wait(ctx, a.pause(err)); err != nil {
			return err
		}
	}
}

// open takes the root, and reads what is known of it.
func (a *Agent) open(ctx context.Context) error {
	d, err := openDesk(a.Settings.Root)
	if err != nil {
		return err
	}
	a.desk = d
	if a.journal, err = a.begin(ctx); err != nil {
		return errors.Join(err, d.close())
	}
	if b, ok := a.Reporter.(background); ok {
		b.Begin(ctx)
	}
	return nil
}

// close gives the root back, when reports had their moment.
func (a *Agent) close() error {
	if b, ok := a.Reporter.(background); ok {
		b.End()
	}
	return a.desk.close()
}

// begin reads the journal, or begins it: then the current release is taken for a good one. Who
// follows another channel forgets what the one before has said.
func (a *Agent) begin(ctx context.Context) (*Journal, error) {
	j, err := a.desk.read()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		j = &Journal{Channel: a.Settings.Follows()}
		if j.Good, err = a.Host.Current(ctx); err != nil {
			return nil, err
		}
		j.Active = j.Good
	case err != nil:
		return nil, err
	case j.Channel != a.Settings.Follows():
		j.note(a.Now(), "", fmt.Sprintf("follows %s in the place of %s", a.Settings.Follows(), j.Channel))
		j.Channel, j.Head, j.Entry, j.Wanted, j.Quarantined, j.Later = a.Settings.Follows(), "", time.Time{}, Target{}, nil, time.Time{}
	}
	return j, nil
}

// save puts the journal on disk.
func (a *Agent) save() error { return a.desk.write(a.journal) }

// step goes on with what was begun, and then does what the channel asks for.
func (a *Agent) step(ctx context.Context) error {
	err := a.resume(ctx)
	if err == nil {
		err = a.follow(ctx)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return a.end(ctx, err)
}

// end writes down and reports how a step has ended.
func (a *Agent) end(ctx context.Context, err error) error {
	j := a.journal
	before, failures, state := j.Alarm, j.Failures, j.State
	j.Alarm, j.State = "", j.stateOf(err)
	if err != nil {
		j.Alarm = err.Error()
	}
	if err == nil || isStanding(err) {
		j.Failures = 0
	} else {
		j.Failures++
	}
	if j.State != state && err != nil {
		j.note(a.Now(), "", j.Alarm)
	}
	if j.Alarm != before || j.Failures != failures || j.State != state {
		err = errors.Join(err, a.save())
	}
	late := a.Now().Sub(j.ReportedAt) >= a.Settings.Report.Every || j.ReportedAt.After(a.Now())
	if j.State != state || late {
		err = errors.Join(err, a.report(ctx))
	}
	return err
}

// report reports the journal as it is.
func (a *Agent) report(ctx context.Context) error {
	if a.Reporter == nil {
		return nil
	}
	a.journal.Reports++
	if err := a.Reporter.Report(ctx, a.journal, a.Now()); err != nil {
		a.journal.Reports--
		return fmt.Errorf("reporting: %w", err)
	}
	a.journal.ReportedAt = a.Now().UTC()
	return a.save()
}

// pause is how long to wait for the next step: the polls' own time, twice as long after each
// failure, up to a bound; not longer than until a promotion becomes this host's. A tenth more or
// less keeps many hosts from asking at once.
func (a *Agent) pause(err error) time.Duration {
	d := a.Settings.Poll
	if err != nil {
		for range min(a.journal.Failures, 16) {
			d = min(2*d, max(maxBackoff, a.Settings.Poll))
		}
	}
	d += time.Duration((rand.Float64() - 0.5) * 0.2 * float64(d)) //nolint:gosec // no secret
	var later interface{ After() time.Duration }
	if errors.As(err, &later) {
		d = max(d, min(later.After(), longest))
	}
	if due := a.journal.Later; err == nil && !due.IsZero() {
		d = min(d, max(due.Sub(a.Now()), time.Second))
	}
	return d
}

// wait waits, and returns the context's cause if that ends before.
func (a *Agent) wait(ctx context.Context, d time.Duration) error {
	if a.sleep != nil {
		return a.sleep(ctx, d)
	}
	return sleep(ctx, d)
}

// sleep waits by the clock, and returns the context's cause if that ends before.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// runProgram runs a program of the configuration, or of a smoke test.
func (a *Agent) runProgram(ctx context.Context, c program.Command) error {
	if a.run != nil {
		return a.run(ctx, c)
	}
	return program.Run(ctx, c)
}

func (a *Agent) tell(format string, args ...any) {
	if a.Tell != nil {
		a.Tell(fmt.Sprintf(format, args...))
	}
}

// tellError tells an error that was not told just before.
func (a *Agent) tellError(err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text != a.told && text != "" {
		a.tell("%s", text)
	}
	if text == "" && a.told != "" {
		a.tell("channel %s: all is well again", a.Settings.Follows())
	}
	a.told = text
}

// say tells what has happened, and writes it down with the next change of the journal.
func (a *Agent) say(digest, format string, args ...any) {
	what := fmt.Sprintf(format, args...)
	a.journal.note(a.Now(), digest, what)
	if digest != "" {
		what = digest + ": " + what
	}
	a.tell("%s", what)
}

// command is a program of the configuration, with what it may want to know.
func (a *Agent) command(args []string, timeout time.Duration, digest string) program.Command {
	return program.Command{
		Args: args, Timeout: timeout,
		Environ: append(append([]string{}, a.Environ...), "AMPOULE_ROOT="+a.Settings.Root, "AMPOULE_DIGEST="+digest),
	}
}
