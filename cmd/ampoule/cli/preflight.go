package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
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
	r, err := s.checkHere(ctx, root, nil)
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
		Before: func(ctx context.Context, release string) (err error) {
			if report, err = s.checkHere(ctx, release, install.Hashes(release)); err == nil {
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

// checkHere looks at a tree on this machine. The hashes of its files, by their paths below it, are
// those that were verified a moment before; nil where none were.
func (s *Session) checkHere(ctx context.Context, root string, hashes map[string]string) (*preflight.Report, error) {
	abs, err := filepath.Abs(root)
	if err != nil {
		return nil, fmt.Errorf("looking at %s: %w", root, err)
	}
	known := make(map[string]string, len(hashes))
	for p, sum := range hashes {
		known[strings.TrimPrefix(abs, "/")+"/"+p] = sum
	}
	return preflight.Check(ctx, preflight.Machine{Files: survey.Machine("/"), Env: s.Environ, CPU: cpuLevel(), Hashes: known}, abs)
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
