package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"time"

	"ampoule/agent/program"
	"ampoule/agent/reports"
	"ampoule/faults"
	"ampoule/system"
)

const (
	// dirName is the agent's directory below the root.
	dirName = "agent"
	// journalName and lockName are its files.
	journalName = "journal.json"
	lockName    = "lock"
	// programName leads to the program that runs; it is there as long as one does.
	programName = "program.json"
	// journalVersion is the form of the journal that this program writes.
	journalVersion = 1
	// maxEvents is how many events a journal keeps.
	maxEvents = 200
	// maxJournal bounds a journal, in bytes.
	maxJournal = 4 << 20
)

// Phase is how far a deployment has come. It is on disk before what it says is begun, so that
// whoever finds it after a crash knows what may have happened.
type Phase string

// The phases, in their order.
const (
	// Idle is no deployment.
	Idle Phase = ""
	// Installing fetches and unpacks the release. The current one runs.
	Installing Phase = "installing"
	// Testing tries it where it lies. The current one runs.
	Testing Phase = "testing"
	// Activating switches to it.
	Activating Phase = "activating"
	// Restarting has programs use it.
	Restarting Phase = "restarting"
	// Watching looks whether they are well.
	Watching Phase = "watching"
	// Returning goes back to the good release.
	Returning Phase = "returning"
)

// Journal is what an agent knows across its own end. Every change of it is one atomic write.
type Journal struct {
	Version int `json:"version"`
	// Channel is what is followed.
	Channel string `json:"channel"`
	// Head is the digest of the log that was read last, and ReadAt when that was. Entry is the
	// time of its last entry; Wanted what it had this host run.
	Head   string    `json:"head,omitempty"`
	ReadAt time.Time `json:"readAt,omitzero"`
	Entry  time.Time `json:"entry,omitzero"`
	Wanted Target    `json:"wanted,omitzero"`
	// Later is when a promotion becomes this host's, and nothing was written since.
	Later time.Time `json:"later,omitzero"`
	// Good is the digest that has proven itself here last, and that is gone back to.
	Good string `json:"good,omitempty"`
	// Active is the digest that runs, as far as is known, and Since when it was activated.
	Active string    `json:"active,omitempty"`
	Since  time.Time `json:"since,omitzero"`
	// Phase and Deployment are what is under way.
	Phase      Phase       `json:"phase,omitempty"`
	Deployment *Deployment `json:"deployment,omitempty"`
	// Quarantined are digests that have failed here, and why.
	Quarantined map[string]Quarantine `json:"quarantined,omitempty"`
	// Unrestarted says that programs may not run the current release: a restart has failed.
	Unrestarted bool `json:"unrestarted,omitempty"`
	// Held says which revoked digest concerns this host; empty where none does.
	Held string `json:"held,omitempty"`
	// State is how the host follows its channel, and Alarm what a person has to look at; empty
	// where that is nothing.
	State reports.State `json:"state,omitempty"`
	Alarm string        `json:"alarm,omitempty"`
	// Failures counts polls that have failed one after the other.
	Failures int `json:"failures,omitempty"`
	// Reports counts the reports that were written, and ReportedAt is when the last one was.
	Reports    int       `json:"reports,omitempty"`
	ReportedAt time.Time `json:"reportedAt,omitzero"`
	// Events are what has happened, the last at the end.
	Events []Event `json:"events,omitempty"`
}

// Target is a digest that a channel has a host run.
type Target struct {
	Digest string `json:"digest,omitempty"`
	// Sequence is the number of the entry that named it.
	Sequence int `json:"sequence,omitempty"`
}

// Deployment is one that is under way.
type Deployment struct {
	Target
	// Back is the digest that is gone back to; empty where there is none.
	Back  string    `json:"back,omitempty"`
	Began time.Time `json:"began"`
	// Watched is how long it was watched, by a clock that nobody sets. Failed is how many looks
	// have failed one after the other.
	Watched time.Duration `json:"watched,omitempty"`
	Failed  int           `json:"failed,omitempty"`
	// Why is why it is gone back from.
	Why string `json:"why,omitempty"`
}

// Quarantine says why a digest is not tried again.
type Quarantine struct {
	// Sequence is the number of the entry that named it: a later one that does lets it be tried
	// again.
	Sequence int       `json:"sequence"`
	Why      string    `json:"why"`
	Time     time.Time `json:"time"`
}

// Event is something that has happened.
type Event struct {
	Time   time.Time `json:"time"`
	What   string    `json:"what"`
	Digest string    `json:"digest,omitempty"`
}

// note adds an event.
func (j *Journal) note(at time.Time, digest, what string) {
	j.Events = append(j.Events, Event{at.UTC().Truncate(time.Second), what, digest})
	if over := len(j.Events) - maxEvents; over > 0 {
		j.Events = j.Events[over:]
	}
}

// BusyError says that another agent follows a channel on a root.
type BusyError struct{ Root string }

func (e *BusyError) Error() string {
	return "another agent works on " + e.Root
}

// Kind says whose fault it is.
func (*BusyError) Kind() faults.Kind { return faults.Machine }

// Hint says what to do.
func (e *BusyError) Hint() string {
	return "one agent follows one channel for a root: end the other one, or choose another root; `fuser " + filepath.Join(e.Root, dirName, lockName) + "` finds it"
}

// desk is an agent's directory, opened. Who holds its lock writes.
type desk struct {
	root string
	dir  *os.Root
	lock *os.File
}

// openDesk makes the directory below a root and takes its lock. That somebody has it is a
// [*BusyError].
func openDesk(root string) (*desk, error) {
	if err := os.MkdirAll(root, 0o755); err != nil {
		return nil, fmt.Errorf("making root: %w", err)
	}
	d := &desk{root: root}
	if err := d.open(); err != nil {
		return nil, errors.Join(err, d.close())
	}
	return d, nil
}

func (d *desk) open() error {
	at, err := os.OpenRoot(d.root)
	if err != nil {
		return fmt.Errorf("opening root: %w", err)
	}
	defer func() { _ = at.Close() }() // it was only opened to go on from
	if err := at.Mkdir(dirName, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("making %s: %w", filepath.Join(d.root, dirName), err)
	}
	if d.dir, err = at.OpenRoot(dirName); err != nil {
		return fmt.Errorf("opening %s: %w", filepath.Join(d.root, dirName), err)
	}
	if d.lock, err = d.dir.OpenFile(lockName, os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return fmt.Errorf("opening lock: %w", err)
	}
	err = system.TryLockFile(d.lock, system.Exclusive)
	if errors.Is(err, system.ErrHeld) {
		return &BusyError{d.root}
	}
	return err
}

func (d *desk) close() error {
	var err error
	if d.lock != nil {
		err = system.CloseLocked(d.lock)
	}
	if d.dir != nil {
		err = errors.Join(err, d.dir.Close())
	}
	return err
}

// ReadJournal reads the journal of the agent of a root, without its lock. One that is not there is
// an error of kind NotFound.
func ReadJournal(root string) (*Journal, error) {
	at, err := os.OpenRoot(filepath.Join(root, dirName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, noJournal(root)
	}
	if err != nil {
		return nil, fmt.Errorf("opening root: %w", err)
	}
	d := &desk{root: root, dir: at}
	defer func() { _ = d.close() }() // it was only read
	j, err := d.read()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, noJournal(root)
	}
	return j, err
}

func noJournal(root string) error {
	return faults.New(faults.NotFound, "`ampoule agent run` or `ampoule agent once` begins it", "no agent has worked on %s yet", root)
}

// read reads the journal; one that is not there is an [fs.ErrNotExist].
func (d *desk) read() (*Journal, error) {
	name := filepath.Join(d.root, dirName, journalName)
	info, err := d.dir.Stat(journalName)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxJournal {
		return nil, damaged(name, fmt.Errorf("it has more than %d bytes", maxJournal))
	}
	text, err := d.dir.ReadFile(journalName)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	j := &Journal{}
	if err := json.Unmarshal(text, j); err != nil {
		return nil, damaged(name, err)
	}
	if j.Version != journalVersion {
		return nil, damaged(name, fmt.Errorf("its version is %d, and this Ampoule knows %d", j.Version, journalVersion))
	}
	if j.Phase != Idle && j.Deployment == nil {
		return nil, damaged(name, fmt.Errorf("it is %s, and does not say what", j.Phase))
	}
	return j, nil
}

func damaged(name string, err error) error {
	return faults.New(faults.Machine, "look at `ampoule host list`, and move the file away: the agent then takes the current release for a good one", "reading %s: %w", name, err)
}

// write replaces the journal in one step that a loss of power does not undo.
func (d *desk) write(j *Journal) error {
	j.Version = journalVersion
	text, err := json.MarshalIndent(j, "", " ")
	if err != nil {
		return fmt.Errorf("writing journal: %w", err)
	}
	if err := d.replace(journalName, append(text, '\n')); err != nil {
		return fmt.Errorf("writing %s: %w", filepath.Join(d.root, dirName, journalName), err)
	}
	return nil
}

// noteProgram keeps the trace of the program that runs; nil is none. It is for the next process alone,
// and no program outlives a loss of power: nothing is synced.
func (d *desk) noteProgram(t *program.Trace) error {
	if t == nil {
		return ignoreMissing(d.dir.Remove(programName))
	}
	text, err := json.Marshal(t)
	if err != nil {
		return err
	}
	temporary := "." + programName + ".new"
	if err := d.dir.WriteFile(temporary, text, 0o600); err != nil {
		return err
	}
	return d.dir.Rename(temporary, programName)
}

// endProgram ends the program that a process before this one was killed over. It reports whether there
// was one.
func (d *desk) endProgram() (bool, error) {
	info, err := d.dir.Lstat(programName)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil || !info.Mode().IsRegular() || info.Size() > maxTrace {
		return false, errors.Join(err, d.noteProgram(nil))
	}
	text, err := d.dir.ReadFile(programName)
	var t program.Trace
	if err != nil || json.Unmarshal(text, &t) != nil {
		return false, errors.Join(err, d.noteProgram(nil)) // it leads nowhere
	}
	return program.End(t), d.noteProgram(nil)
}

// maxTrace bounds a trace, in bytes.
const maxTrace = 4 << 10

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// replace puts a file in the place of another one. There is one temporary name: who writes has
// the lock.
func (d *desk) replace(name string, data []byte) error {
	temporary := path.Join(".", "."+name+".new")
	f, err := d.dir.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, d.dir.Remove(temporary))
	}
	if err := d.dir.Rename(temporary, name); err != nil {
		return err
	}
	at, err := d.dir.Open(".")
	if err != nil {
		return err
	}
	return errors.Join(at.Sync(), at.Close())
}
