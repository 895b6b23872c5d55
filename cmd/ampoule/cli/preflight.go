package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/cpu"

	"ampoule/audit/preflight"
	"ampoule/audit/survey"
	"ampoule/registry/install"
	"ampoule/wiring"
)

func newPreflight(s *Session) *cobra.Command {
	return &cobra.Command{
		Use:   "preflight ROOT|REF",
		Short: "Says whether a tree will run on this machine",
		Long: `Preflight looks at what only the machine has: glibc and its version, other libraries
that the tree expects of it, the level of the processor, certificates, time zones,
descriptions of terminals; and for what would mislead the interpreter: variables
such as LD_LIBRARY_PATH and PYTHONHOME, and OpenSSL's configuration.

ROOT is an installed release, or any interpreter's prefix. A REF is fetched from the
registry into a temporary directory first. Nothing of it is run. It ends with code 6
when the tree, or a module of it, will not run here, and with code 3 when there is no
interpreter in ROOT that could. "ampoule install" looks at the same before it switches.`,
		Example: `  ampoule preflight /opt/web/current
  ampoule preflight registry.example/team/web@sha256:…`,
		Args:              usage(cobra.ExactArgs(1)),
		ValidArgsFunction: cobra.FixedCompletions(nil, cobra.ShellCompDirectiveFilterDirs),
		RunE: func(cmd *cobra.Command, args []string) error {
			if info, err := os.Stat(args[0]); err == nil && info.IsDir() {
				return Preflight(cmd.Context(), s, args[0])
			}
			if !strings.Contains(args[0], "@") {
				return notFound("directory "+args[0], "")
			}
			return s.wired(cmd.Context(), func(ctx context.Context, w *wiring.Parts) error {
				reg, err := w.Registry()
				if err != nil {
					return err
				}
				return preflightRef(ctx, s, reg, args[0])
			})
		},
	}
}

// Preflight writes whether a tree will run on this machine.
func Preflight(ctx context.Context, s *Session, root string) error {
	m, abs, err := s.machine(root)
	if err != nil {
		return err
	}
	r, err := preflight.Check(ctx, m, abs)
	if err != nil {
		return err
	}
	if err := s.printPreflight(r); err != nil {
		return err
	}
	return r.Err()
}

func (s *Session) printPreflight(r *preflight.Report) error {
	if s.Output == JSON {
		return s.print("", r)
	}
	return r.WriteText(s.Out)
}

// errLooked ends an installation that is for looking alone.
var errLooked = errors.New("looked at")

// preflightRef fetches an artifact's tree, looks at it, and removes it.
func preflightRef(ctx context.Context, s *Session, src install.Source, ref string) (err error) {
	dir, err := os.MkdirTemp("", "ampoule-preflight-")
	if err != nil {
		return fmt.Errorf("looking at %s: %w", ref, err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	var report *preflight.Report
	_, err = install.Install(ctx, src, ref, install.Options{
		Root: dir, Platform: "linux/" + runtime.GOARCH,
		Before: func(ctx context.Context, c install.Candidate) (err error) {
			if report, _, err = s.lookAt(ctx, c); err == nil {
				err = errLooked
			}
			return err
		},
	})
	if !errors.Is(err, errLooked) {
		return err
	}
	report.Tree = ref
	if err := s.printPreflight(report); err != nil {
		return err
	}
	return report.Err()
}

// machine is this one, and the absolute path of a tree on it.
func (s *Session) machine(root string) (m preflight.Machine, abs string, err error) {
	if abs, err = filepath.Abs(root); err != nil {
		return m, "", fmt.Errorf("looking at %s: %w", root, err)
	}
	return preflight.Machine{Files: survey.Machine("/"), Env: s.Environ, CPU: cpuLevel()}, abs, nil
}

// looked is what is remembered of a look at this machine, beside the release that it was for.
type looked struct {
	// Machine is [preflight.Machine.Fingerprint]'s, Asking [preflight.Asking]'s; the latter is empty where it is
	// not known.
	Machine string           `json:"machine"`
	Asking  string           `json:"asking"`
	Natives []preflight.Item `json:"natives"`
}

// lookAt looks whether a release will run on this machine. What its native code asks is remembered as long as
// the machine is the same: known says that it was.
func (s *Session) lookAt(ctx context.Context, c install.Candidate) (r *preflight.Report, known bool, err error) {
	m, abs, err := s.machine(c.Path)
	if err != nil {
		return nil, false, err
	}
	now := looked{Machine: m.Fingerprint(thisVersion().String())}
	var was looked
	if json.Unmarshal(c.Note(), &was) == nil && was.Machine == now.Machine {
		return preflight.Complete(m, abs, was.Natives), true, nil
	}
	if c.Natives != nil {
		now.Asking = preflight.Asking(c.Tree(), c.Natives)
	}
	now.Natives, known = now.ofOthers(c)
	if !known {
		m.Known = knownOf(c, abs)
		if now.Natives, err = preflight.CheckNatives(ctx, m, abs); err != nil {
			return nil, false, err
		}
	}
	note, err := json.Marshal(now)
	if err == nil {
		err = c.WriteNote(note)
	}
	if err != nil {
		s.note("what this machine has for %s is not remembered: %v", c.Path, err)
	}
	return preflight.Complete(m, abs, now.Natives), known, nil
}

// ofOthers is what was found on the same machine of a release that asks the same of it, if nothing was
// wrong.
func (now looked) ofOthers(c install.Candidate) ([]preflight.Item, bool) {
	if now.Asking == "" {
		return nil, false
	}
	for _, note := range c.NotesOfOthers() {
		var was looked
		if json.Unmarshal(note, &was) == nil && was.Machine == now.Machine && was.Asking == now.Asking && !slices.ContainsFunc(was.Natives, isWrong) {
			return was.Natives, true
		}
	}
	return nil, false
}

func isWrong(i preflight.Item) bool { return i.State != preflight.Good }

// knownOf is what is known of a release's files, by their paths on this machine.
func knownOf(c install.Candidate, abs string) survey.Known {
	t := c.Tree()
	if t == nil {
		return survey.Known{}
	}
	below := func(p string) (string, bool) { return strings.CutPrefix(p, strings.TrimPrefix(abs, "/")+"/") }
	known := survey.Known{Hash: func(p string) string {
		rel, ok := below(p)
		if !ok {
			return ""
		}
		e, _ := t.Lookup(rel)
		return e.SHA256
	}}
	if c.Natives != nil {
		pure := preflight.Pure(t, c.Natives)
		known.Skip = func(p string) bool {
			rel, ok := below(p)
			return ok && pure[rel]
		}
	}
	return known
}

// cpuLevel is the x86-64 level of this machine's processor (x86-64 psABI, "Micro-Architecture
// Levels"), as far as the features that are asked for tell; empty on other machines.
func cpuLevel() string {
	x := cpu.X86
	levels := []struct {
		name string
		has  bool
	}{
		{"x86-64-v2", x.HasCX16 && x.HasPOPCNT && x.HasSSE3 && x.HasSSSE3 && x.HasSSE41 && x.HasSSE42},
		{"x86-64-v3", x.HasAVX && x.HasAVX2 && x.HasBMI1 && x.HasBMI2 && x.HasFMA && x.HasOSXSAVE},
		{"x86-64-v4", x.HasAVX512F && x.HasAVX512BW && x.HasAVX512CD && x.HasAVX512DQ && x.HasAVX512VL},
	}
	if runtime.GOARCH != "amd64" {
		return ""
	}
	level := "x86-64"
	for _, l := range levels {
		if !l.has {
			break
		}
		level = l.name
	}
	return level
}
