package install

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"ampoule/system"
)

const (
	// journalName is the journal, below the root: one event a line, in JSON.
	journalName = "journal"
	// newJournal is a journal that is not complete yet, below releases.
	newJournal = ".journal"
	// maxJournal is the size from which the older half of the journal is dropped, in bytes.
	maxJournal = 1 << 20
)

// History returns the journal of a root, the oldest event first; no events where no journal is.
// Lines that are no events are left out: the power may have gone while one was written.
func History(root string) ([]Event, error) {
	s, err := lookAt(root)
	if err != nil {
		return nil, hostError(reading, root, err)
	}
	events, err := s.history()
	return events, hostError(reading, root, errors.Join(err, s.closeDirs()))
}

// history reads the journal.
func (s *site) history() ([]Event, error) {
	raw, err := s.readJournal()
	if err != nil {
		return nil, err
	}
	return parseJournal(raw), nil
}

// parseJournal reads events.
func parseJournal(raw []byte) []Event {
	var events []Event
	for line := range bytes.Lines(raw) {
		var e Event
		if json.Unmarshal(line, &e) == nil && e.Op != "" {
			events = append(events, e)
		}
	}
	return events
}

// readJournal returns the bytes of the journal; nothing where it is not there.
func (s *site) readJournal() ([]byte, error) {
	info, err := s.dir.Lstat(journalName)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || !s.trusts(info) || info.Size() > 2*maxJournal {
		return nil, &UnsafeError{
			Path: filepath.Join(s.root, journalName), Why: fmt.Sprintf("is not a journal that an installation made: %s of user %d, %d bytes", info.Mode(), ownerOf(info), info.Size()),
			Advice: "move it away",
		}
	}
	return readSame(s.dir, journalName, info)
}

// note appends an event to the journal, and syncs it.
func (s *site) note(ctx context.Context, e Event) error {
	if s.switching == nil {
		if err := s.takeSwitch(ctx); err != nil {
			return err
		}
		defer func() { _ = s.releaseSwitch() }()
	}
	raw, err := s.readJournal()
	if err != nil {
		return fmt.Errorf("writing the journal: %w", err)
	}
	return s.appendTo(raw, s.interrupted(parseJournal(raw)), e)
}

// appendTo appends events to the journal, which holds what was read before.
func (s *site) appendTo(raw []byte, events ...Event) error {
	var b bytes.Buffer
	if len(raw) > 0 && raw[len(raw)-1] != '\n' {
		b.WriteByte('\n')
	}
	for _, e := range events {
		if e.Op == "" {
			continue
		}
		e.Time, e.User, e.PID = time.Now().UTC().Truncate(time.Millisecond), whoami(), os.Getpid()
		line, err := json.Marshal(e)
		if err != nil {
			return err
		}
		b.Write(append(line, '\n'))
	}
	var err error
	if len(raw)+b.Len() > maxJournal {
		err = s.replaceJournal(append(raw, b.Bytes()...))
	} else {
		err = s.extendJournal(b.Bytes(), len(raw) == 0)
	}
	if err != nil {
		return fmt.Errorf("writing the journal: %w", err)
	}
	return nil
}

func (s *site) extendJournal(more []byte, first bool) error {
	f, err := s.dir.OpenFile(journalName, os.O_WRONLY|os.O_APPEND|os.O_CREATE|system.NoFollow, 0o644)
	if err != nil {
		return err
	}
	if first {
		err = f.Chmod(0o644)
	}
	_, written := f.Write(more)
	err = errors.Join(err, written, f.Sync(), f.Close())
	if err == nil && first {
		err = syncDir(s.dir)
	}
	return err
}

// replaceJournal writes the journal anew, without its older half.
func (s *site) replaceJournal(raw []byte) error {
	raw = raw[len(raw)-maxJournal/2:]
	_, raw, _ = bytes.Cut(raw, []byte("\n"))
	temporary := filepath.Join(releasesName, newJournal)
	if err := ignoreMissing(s.dir.Remove(temporary)); err != nil {
		return err
	}
	f, err := s.dir.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(raw)
	if err := errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close()); err != nil {
		return errors.Join(err, s.dir.Remove(temporary))
	}
	return errors.Join(s.dir.Rename(temporary, journalName), syncDir(s.dir))
}

// interrupted is the event that says that the last switch of the journal did not happen; none if
// it did.
func (s *site) interrupted(events []Event) Event {
	current, err := s.current()
	last := lastSwitch(events)
	if ignoreMissing(err) != nil || last.Op == "" || releaseName(last.Digest) == current {
		return Event{}
	}
	return Event{Op: OpInterrupted, Digest: last.Digest, From: digestOfRelease(current), Note: "the " + last.Op + " did not happen"}
}

// lastSwitch is the last event of a journal that is a switch; none if that was interrupted.
func lastSwitch(events []Event) Event {
	for _, e := range slices.Backward(events) {
		switch e.Op {
		case OpInterrupted:
			return Event{}
		case OpActivate, OpRollback:
			return e
		}
	}
	return Event{}
}

// noteSwitch writes down a switch that is about to happen. Going back is allowed on a full disk:
// what cannot be written then is lost.
func (s *site) noteSwitch(from, to, op, by string) error {
	raw, err := s.readJournal()
	if err != nil {
		return err
	}
	events := parseJournal(raw)
	e := Event{Op: op, Digest: digestOfRelease(to), From: digestOfRelease(from), By: by}
	if way := switched(wayTo(events, e.From), e); len(way) > 1 {
		e.Back = way[len(way)-2]
	}
	err = s.appendTo(raw, s.interrupted(events), e)
	if op == OpRollback && isFull(err) {
		return nil
	}
	return err
}

// wayTo lists the digests that led to the current one, which is the last: each was current before
// the next one. Going back takes the last ones away again.
func wayTo(events []Event, current string) []string {
	var way, before []string
	for _, e := range events {
		switch e.Op {
		case OpActivate, OpRollback:
			before = arrived(way, e.From)
			way = switched(before, e)
		case OpInterrupted:
			way = before
		}
	}
	if len(way) > 0 && way[len(way)-1] != current {
		way = before // it was interrupted, and nothing says so yet
	}
	return arrived(way, current)
}

// arrived is a way that ends with a digest: the journal does not tell of all that was.
func arrived(way []string, digest string) []string {
	if digest == "" || len(way) > 0 && way[len(way)-1] == digest {
		return way
	}
	return append(slices.Clip(way), digest)
}

// switched is the way after a switch.
func switched(way []string, e Event) []string {
	if i := slices.Index(way, e.Digest); e.Op == OpRollback && i >= 0 {
		for i = len(way) - 1; way[i] != e.Digest; {
			i--
		}
		return way[:i+1]
	}
	return append(slices.Clip(way), e.Digest)
}

func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// lastUsed tells when each release was last made the current one, and when it was installed.
func lastUsed(events []Event) (activated, installed map[string]time.Time) {
	activated, installed = map[string]time.Time{}, map[string]time.Time{}
	for _, e := range events {
		switch e.Op {
		case OpActivate, OpRollback:
			activated[e.Digest] = e.Time
		case OpInstall:
			installed[e.Digest] = e.Time
		}
	}
	return activated, installed
}

// wasCurrent reports whether the journal has a release as one that was current.
func wasCurrent(events []Event, digest string) bool {
	return slices.ContainsFunc(events, func(e Event) bool {
		return (e.Op == OpActivate || e.Op == OpRollback) && (e.Digest == digest || e.From == digest)
	})
}

// digestOfRelease is the digest that a release is named by.
func digestOfRelease(release string) string { return strings.Replace(release, "-", ":", 1) }

// whoami names the user.
func whoami() string {
	name := strconv.Itoa(os.Geteuid())
	if u, err := user.LookupId(name); err == nil {
		return u.Username
	}
	return name
}
