package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"ampoule/cmd/ampoule/display"
	"ampoule/registry/install"
)

// hostVerified is what was compared of a release, as JSON.
type hostVerified struct {
	verified
	Drift *install.Drift `json:"drift"`
}

func newHostVerify(s *Session) *cobra.Command {
	var root string
	var all bool
	cmd := &cobra.Command{
		Use:   "verify [DIGEST] --root DIR",
		Short: "Proves that releases are their artifacts', or names what drifted",
		Long: `Verify reads every file of the active release, or of DIGEST, and proves that it is what the
digest says, as ampoule verify does. What differs is named: files that are changed, missing
or of no artifact, and the distributions behind them, such as one that somebody installed with
pip. With --all every release is verified. A difference ends it with code 4. No registry is
asked.

The result is the tree's hash of each release.`,
		Example: `  ampoule host verify --root /opt/web
  ampoule host verify --all --root /opt/web --output json`,
		Args: usage(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if all && len(args) > 0 {
				return &UsageError{Verb: cmd.CommandPath(), Err: errors.New("want a digest, or --all")}
			}
			return HostVerify(cmd.Context(), s, root, strings.Join(args, ""), all)
		},
	}
	cmd.ValidArgsFunction = completeInstalled(&root)
	cmd.Flags().BoolVar(&all, "all", false, "verify every release")
	rootFlag(cmd, &root)
	return cmd
}

// HostVerify verifies a release below a root, the active one if no digest is given, or all.
func HostVerify(ctx context.Context, s *Session, root, digest string, all bool) error {
	digests := []string{digest}
	if all {
		found, err := install.List(ctx, root)
		if err != nil {
			return err
		}
		digests = nil
		for _, r := range found.Releases {
			digests = append(digests, r.Digest)
		}
	}
	var text strings.Builder
	forms := []hostVerified{}
	var faults []error
	for _, d := range digests {
		v, err := install.Verify(ctx, root, install.VerifyOptions{Platform: platform(), Release: d})
		if refused := new(install.VerificationError); err != nil && !errors.As(err, &refused) {
			return err
		}
		for _, w := range v.Warnings {
			s.warn("%s", w)
		}
		forms = append(forms, hostVerified{verifiedOf(v, d, err), v.Drift})
		if err != nil {
			faults = append(faults, err)
			text.WriteString(driftText(v))
			continue
		}
		s.tell("%s is whole: %d files", v.Ref, v.Files)
		fmt.Fprintln(&text, v.TreeHash)
	}
	fault := errors.Join(faults...)
	if text.Len() == 0 && s.Output != JSON {
		return fault
	}
	return errors.Join(fault, s.print(text.String(), forms))
}

// driftText tells for people how a release differs.
func driftText(v install.Verified) string {
	if v.Drift == nil {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s drifted\n", v.Ref)
	for _, d := range v.Drift.Distributions {
		with, version := "", d.Version
		if d.Installer != "" {
			with = " by " + d.Installer
		}
		if d.Was != "" && d.Was != d.Version {
			version = strings.TrimSpace("was " + d.Was + ", is " + d.Version)
			if d.Version == "" {
				version = d.Was
			}
		}
		fmt.Fprintf(&b, "  distribution %s %s: %s%s\n", d.Name, version, d.How, with)
	}
	for _, list := range []struct {
		word  string
		files []string
	}{{"changed", v.Drift.Changed}, {"missing", v.Drift.Missing}, {"extra", v.Drift.Extra}} {
		for i, f := range list.files {
			if i == shownDrift {
				fmt.Fprintf(&b, "  %s  and %d more\n", list.word, len(list.files)-shownDrift)
				break
			}
			fmt.Fprintf(&b, "  %s  %s\n", list.word, f)
		}
	}
	return b.String()
}

// shownDrift is how many files of a kind are shown for people; JSON has all of them.
const shownDrift = 20

// hostCollected is what was removed, as JSON.
type hostCollected struct {
	Removed []hostRelease `json:"removed"`
	Kept    []hostRelease `json:"kept"`
	Content int           `json:"content"`
	Bytes   int64         `json:"bytes"`
	Unseen  int           `json:"unseen"`
	Dry     bool          `json:"dry"`
}

func newHostCollect(s *Session) *cobra.Command {
	var root string
	o := install.CollectOptions{By: s.by("ampoule host")}
	cmd := &cobra.Command{
		Use:   "gc --root DIR",
		Short: "Removes releases that were not used for long",
		Long: `Gc removes releases but for the last ones that were active or installed, and the content that no
release needs. The active release stays, and so does each that a process uses: that has a file
of it mapped or open, runs its program, or stands in it. An ordinary user sees his own
processes alone; how many could not be seen is told.`,
		Example: `  ampoule host gc --root /opt/web
  ampoule host gc --root /opt/web --keep 5 --dry-run`,
		Args:              usage(cobra.NoArgs),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.Keep < 1 {
				return &UsageError{Verb: cmd.CommandPath(), Err: errors.New("--keep must be at least 1: the active release counts")}
			}
			done, err := install.Collect(cmd.Context(), root, o)
			return s.printCollected(done, o.Dry, err)
		},
	}
	cmd.Flags().IntVar(&o.Keep, "keep", 3, "how many releases stay, the active one among them")
	cmd.Flags().BoolVar(&o.Dry, "dry-run", false, "tell what would be removed")
	rootFlag(cmd, &root)
	return cmd
}

func newHostUninstall(s *Session) *cobra.Command {
	var root string
	o := install.UninstallOptions{By: s.by("ampoule host")}
	cmd := &cobra.Command{
		Use:   "uninstall DIGEST... --root DIR",
		Short: "Removes releases, or all that was installed below a root",
		Long: `Uninstall removes releases that are not active and that no process uses. With --all it removes
the active one, too, and everything else that installations made below the root; the root, and
what others put there, stays.`,
		Example: `  ampoule host uninstall sha256:… --root /opt/web
  ampoule host uninstall --all --root /opt/web`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.All == (len(args) > 0) {
				return &UsageError{Verb: cmd.CommandPath(), Err: errors.New("want digests, or --all")}
			}
			o.Digests = args
			done, err := install.Uninstall(cmd.Context(), root, o)
			return s.printCollected(done, false, err)
		},
	}
	cmd.ValidArgsFunction = completeInstalled(&root)
	cmd.Flags().BoolVar(&o.All, "all", false, "remove everything that was installed below the root")
	rootFlag(cmd, &root)
	return cmd
}

// printCollected prints what was removed, also before something failed.
func (s *Session) printCollected(done install.Collected, dry bool, err error) error {
	if err != nil && len(done.Removed) == 0 {
		return err
	}
	s.tellUnseen(done.Unseen)
	for _, r := range done.Kept {
		s.note("%s stays: %s", r.Ref, processText(r.Processes))
	}
	var b strings.Builder
	for _, r := range done.Removed {
		fmt.Fprintln(&b, r.Ref)
	}
	if !dry {
		s.tell("%d releases and %d files of content removed, %s free", len(done.Removed), done.Content, display.Size(done.Bytes))
	}
	form := hostCollected{releaseForms(done.Removed), releaseForms(done.Kept), done.Content, done.Bytes, done.Unseen, dry}
	if b.Len() == 0 && s.Output != JSON {
		return err
	}
	return errors.Join(err, s.print(b.String(), form))
}
