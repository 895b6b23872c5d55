package install

import (
	"context"
	"fmt"
	"strings"
	"time"

	"ampoule/faults"
)

// Release is one release below a root.
type Release struct {
	// Digest and Ref name the artifact.
	Digest string
	Ref    string
	// Platform is OS/ARCH.
	Platform string
	// Path is the directory that holds the tree.
	Path string
	// Tree is the tree's hash, as the release's record says: [Verify] computes it.
	Tree string
	// Files is the number of entries in the tree.
	Files int
	// Active says that "current" leads to it; Previous, that [Rollback] without a digest would.
	Active, Previous bool
	// Installed and Activated are when it was installed and last made the current one, by the
	// journal; zero where that does not say.
	Installed, Activated time.Time
	// Processes are those that are seen to use it.
	Processes []Process
	// Broken says why its record cannot be read; empty where it can.
	Broken string
}

// Process is one that uses a release: it has a file of it mapped, or stands in it.
type Process struct {
	PID int
	// Name is the kernel's (comm).
	Name string
}

func (p Process) String() string { return fmt.Sprintf("%s (%d)", p.Name, p.PID) }

// Listing is what is below a root.
type Listing struct {
	// Releases are the newest first: by when they were last made the current one, or installed.
	Releases []Release
	// Unseen is the number of processes that this user may not look into: they may use any
	// release. It is -1 where this user does not even see which processes there are.
	Unseen int
	// Warnings tell what others could do to the root.
	Warnings []string
}

// SwitchOptions says how to make another release the current one.
type SwitchOptions struct {
	// By says who asks for it, for the journal; empty says nothing.
	By string
	// Allow decides by what was kept when the release was installed; its error refuses. Nil
	// allows everything.
	Allow func(ctx context.Context, kept Grounds) error
	// Before is called with the release before it becomes the current one; its
	// error keeps the current one. Nil is nothing.
	Before func(ctx context.Context, c Candidate) error
	// After is called with the release once it is the current one, unless it was before. Nil is nothing.
	After func(ctx context.Context, c Candidate)
	// Care says how the release is looked at before.
	Care Care
}

// Care is how closely a release is looked at before it becomes the current one.
type Care int

const (
	// Glance compares each file's kind, size, mode and time. It reads no file.
	Glance Care = iota
	// Whole reads every byte, as [Verify] does.
	Whole
	// Skim compares the directories alone of a release that was the current one before. Their times tell
	// whether a name has come, gone or been replaced since it was installed, as pip and editors do it;
	// what is written into a file in its place they do not. Where something differs, and for a release that
	// never was the current one or that an earlier version installed, it is a [Glance].
	Skim
)

// Switched says from where to where a root was switched.
type Switched struct {
	// From is the digest that was current before; empty where there was none.
	From string
	// To is the current release.
	To Release
	// Same says that To was current already: nothing was done.
	Same bool
	// Warnings tell what others could do to the root.
	Warnings []string
}

// CollectOptions says what stays when releases are removed.
type CollectOptions struct {
	// Keep is how many releases stay, counted from the one that was used last; the active one
	// counts, and stays in any case. It is at least 1.
	Keep int
	// Dry removes nothing, and tells what would be.
	Dry bool
	// By is as in [SwitchOptions].
	By string
}

// UninstallOptions says what is removed.
type UninstallOptions struct {
	// Digests are releases, none of which is the active one.
	Digests []string
	// All removes the active release, too, and everything else that installations made below
	// the root. Digests is then empty.
	All bool
	// By is as in [SwitchOptions].
	By string
}

// Collected is what was removed, and what was not.
type Collected struct {
	Removed []Release
	// Kept are those that were to be removed and are not, because a process uses them.
	Kept []Release
	// Content is the number of files that no release needs and that are removed from the root's
	// content; Bytes is what became free, as far as nothing else holds it.
	Content int
	Bytes   int64
	// Unseen is as in [Listing].
	Unseen int
}

// Event is one line of the journal: what was done below a root, when, and by whom.
type Event struct {
	Time time.Time `json:"time"`
	// Op is install, activate, rollback, remove, collect or interrupted. An activate or rollback
	// is written before the switch; an interrupted one is followed by "interrupted".
	Op string `json:"op"`
	// Digest is the release's.
	Digest string `json:"digest,omitempty"`
	// From is the digest that was current before; Back the one that [Rollback] goes to from
	// here. Both are of switches alone.
	From string `json:"from,omitempty"`
	Back string `json:"back,omitempty"`
	// User is the name or number of the user; By is what [SwitchOptions] and its likes say.
	User string `json:"user"`
	PID  int    `json:"pid"`
	By   string `json:"by,omitempty"`
	// Note says more, for people.
	Note string `json:"note,omitempty"`
}

// The operations of [Event].
const (
	OpInstall     = "install"
	OpActivate    = "activate"
	OpRollback    = "rollback"
	OpRemove      = "remove"
	OpCollect     = "collect"
	OpInterrupted = "interrupted"
)

// Drift is how a release differs from its artifact. Paths are relative to the release, sorted.
type Drift struct {
	// Changed are there as something else; Missing are not there; Extra are of no artifact.
	Changed []string `json:"changed"`
	Missing []string `json:"missing"`
	Extra   []string `json:"extra"`
	// Distributions are those that somebody installed, changed or removed by hand.
	Distributions []DriftedDistribution `json:"distributions"`
}

// DriftedDistribution is one Python distribution that is not as the artifact has it.
type DriftedDistribution struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	// Was is the version of the artifact; empty where it has none.
	Was string `json:"was,omitempty"`
	// Installer is what installed it, as its INSTALLER file says; empty where nothing says so.
	Installer string `json:"installer,omitempty"`
	// How is installed, replaced, changed or removed.
	How string `json:"how"`
}

// InUseError says that a release is not removed, because it is the active one or processes use
// it.
type InUseError struct {
	Release   Release
	Processes []Process
}

func (e *InUseError) Error() string {
	if len(e.Processes) == 0 {
		return fmt.Sprintf("removing %s: it is the active release", e.Release.Path)
	}
	names := make([]string, 0, shownFiles)
	for _, p := range e.Processes[:min(len(e.Processes), shownFiles)] {
		names = append(names, p.String())
	}
	text := fmt.Sprintf("removing %s: it is used by %s", e.Release.Path, strings.Join(names, ", "))
	if more := len(e.Processes) - shownFiles; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// Kind says whose fault it is.
func (*InUseError) Kind() faults.Kind { return faults.Machine }

// Hint says what to do.
func (e *InUseError) Hint() string {
	if len(e.Processes) == 0 {
		return "make another release the active one first, or uninstall everything with --all"
	}
	return "restart or end these processes first"
}
