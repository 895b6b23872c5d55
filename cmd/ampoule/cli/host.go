package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"ampoule/registry/install"
)

// by says for a root's journal what changes it, and who became the user by sudo.
func (s *Session) by(verb string) string {
	for _, variable := range s.Environ {
		if caller, ok := strings.CutPrefix(variable, "SUDO_USER="); ok && caller != "" {
			return verb + ", by " + caller + " with sudo"
		}
	}
	return verb
}

func newHost(s *Session) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "host",
		Short: "Looks after what is installed on this machine",
		Long: `Host installs releases below a root, switches between them, and removes them. Each file's
content is there once, for all releases. DIR/current leads to the active release; it is
switched in one step, and whatever ends a verb early leaves the old or the new release, whole.

A release is named by its digest: sha256:…, or NAME@sha256:….`,
		Args: usage(noVerb),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newHostInstall(s), newHostActivate(s), newHostRollback(s), newHostList(s), newHostHistory(s), newHostVerify(s), newHostCollect(s), newHostUninstall(s))
	return cmd
}

// rootFlag adds --root, which must be given.
func rootFlag(cmd *cobra.Command, root *string) {
	cmd.Flags().StringVar(root, "root", "", "the directory that holds the releases")
	if err := cmd.MarkFlagDirname("root"); err != nil {
		panic("cli: " + err.Error())
	}
	run := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if *root == "" {
			return &UsageError{Verb: cmd.CommandPath(), Err: errors.New("--root is missing: the directory that holds the releases")}
		}
		return run(cmd, args)
	}
}

func newHostInstall(s *Session) *cobra.Command {
	var root string
	var activate bool
	cmd := &cobra.Command{
		Use:   "install REF|FILE --root DIR",
		Short: "Puts a release onto this machine, without switching to it",
		Long: `Install fetches what this machine lacks of an artifact's tree, verifies it and puts it below
the root. Layers whose files are all there are not fetched. The active release stays the one
that it is: ampoule host activate switches, and --activate does so at once, as ampoule install
does. The result is the path of the release.

` + refsHelp,
		Example: `  ampoule host install web@sha256:… --root /opt/web
  ampoule host install ./web.tar@sha256:… --root /opt/web --activate`,
		Args:              usage(cobra.ExactArgs(1)),
		ValidArgsFunction: s.completeRefs(0, false),
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.installs(cmd.Context(), args[0], root, s.by("ampoule host"), activate)
		},
	}
	cmd.Flags().BoolVar(&activate, "activate", false, "make it the active release, too")
	rootFlag(cmd, &root)
	return cmd
}

// hostRelease is one release, as JSON.
type hostRelease struct {
	Digest    string        `json:"digest"`
	Ref       string        `json:"ref"`
	Release   string        `json:"release"`
	Tree      string        `json:"tree"`
	Files     int           `json:"files"`
	Active    bool          `json:"active"`
	Previous  bool          `json:"previous"`
	Installed *time.Time    `json:"installed,omitempty"`
	Activated *time.Time    `json:"activated,omitempty"`
	Processes []hostProcess `json:"processes"`
	Broken    string        `json:"broken,omitempty"`
}

type hostProcess struct {
	PID  int    `json:"pid"`
	Name string `json:"name"`
}

func releaseForm(r install.Release) hostRelease {
	form := hostRelease{
		Digest: r.Digest, Ref: r.Ref, Release: r.Path, Tree: r.Tree, Files: r.Files, Active: r.Active, Previous: r.Previous,
		Processes: []hostProcess{}, Broken: r.Broken, Installed: sometime(r.Installed), Activated: sometime(r.Activated),
	}
	for _, p := range r.Processes {
		form.Processes = append(form.Processes, hostProcess(p))
	}
	return form
}

func sometime(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

func releaseForms(all []install.Release) []hostRelease {
	forms := []hostRelease{}
	for _, r := range all {
		forms = append(forms, releaseForm(r))
	}
	return forms
}

// hostSwitched is a switch, as JSON.
type hostSwitched struct {
	From     string      `json:"from"`
	To       hostRelease `json:"to"`
	Same     bool        `json:"same"`
	Warnings []string    `json:"warnings"`
}

func newHostActivate(s *Session) *cobra.Command {
	var root string
	var glance bool
	cmd := &cobra.Command{
		Use:   "activate DIGEST --root DIR",
		Short: "Makes an installed release the active one",
		Long: `Activate switches DIR/current to a release that is installed, in one step. Every file of it is
read and compared before, and the machine's policy is asked by what was kept when the release
was installed. With --glance kinds, modes, times and sizes are compared instead of bytes.

Programs that run keep the release that they were started from. The result is the path of the
release.`,
		Example: "  ampoule host activate sha256:… --root /opt/web",
		Args:    usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.switches(cmd.Context(), root, func(ctx context.Context, o install.SwitchOptions) (install.Switched, error) {
				o.Care, o.Before = care(!glance, install.Glance), s.before
				return install.Activate(ctx, root, args[0], o)
			})
		},
	}
	cmd.ValidArgsFunction = completeInstalled(&root)
	cmd.Flags().BoolVar(&glance, "glance", false, "do not read the files")
	rootFlag(cmd, &root)
	return cmd
}

func newHostRollback(s *Session) *cobra.Command {
	var root string
	var whole bool
	cmd := &cobra.Command{
		Use:   "rollback [DIGEST] --root DIR",
		Short: "Goes back to the release that was active before",
		Long: `Rollback switches DIR/current back to the release that was active before the active one, or to
DIGEST. Called again, it goes back further. It waits for no installation, asks no registry, and
needs room for one link. The times of the release's directories are compared before the switch:
they tell of files that came, went or were replaced. If one differs, kinds, modes, times and sizes
of all files are compared; with --whole every byte is. The machine's policy is asked by what was
kept.

The result is the path of the release.`,
		Example: "  ampoule host rollback --root /opt/web",
		Args:    usage(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.switches(cmd.Context(), root, func(ctx context.Context, o install.SwitchOptions) (install.Switched, error) {
				o.Care, o.After = care(whole, install.Skim), s.after
				return install.Rollback(ctx, root, strings.Join(args, ""), o)
			})
		},
	}
	cmd.ValidArgsFunction = completeInstalled(&root)
	cmd.Flags().BoolVar(&whole, "whole", false, "read every file before")
	rootFlag(cmd, &root)
	return cmd
}

// care is how closely a release is looked at.
func care(whole bool, less install.Care) install.Care {
	if whole {
		return install.Whole
	}
	return less
}

// switches does a switch that the machine's policy allows, and prints it.
func (s *Session) switches(ctx context.Context, root string, do func(context.Context, install.SwitchOptions) (install.Switched, error)) error {
	allow, err := s.allowKept()
	if err != nil {
		return err
	}
	o := install.SwitchOptions{By: s.by("ampoule host")}
	if allow != nil {
		o.Allow = func(ctx context.Context, kept install.Grounds) error { return allow(ctx, root, kept) }
	}
	done, err := do(ctx, o)
	if err != nil {
		return err
	}
	for _, w := range done.Warnings {
		s.warn("%s", w)
	}
	if done.Same {
		s.tell("%s is the active release already", done.To.Ref)
	} else {
		s.tell("%s is active", done.To.Ref)
	}
	return s.print(done.To.Path, hostSwitched{done.From, releaseForm(done.To), done.Same, append([]string{}, done.Warnings...)})
}

// completeInstalled completes digests of releases.
func completeInstalled(root *string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, _ []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if *root == "" {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		found, err := install.List(cmd.Context(), *root)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var digests []cobra.Completion
		for _, r := range found.Releases {
			digests = append(digests, cobra.CompletionWithDesc(r.Digest, r.Ref))
		}
		return digests, cobra.ShellCompDirectiveNoFileComp
	}
}

// hostListing is what is below a root, as JSON.
type hostListing struct {
	Releases []hostRelease `json:"releases"`
	Unseen   int           `json:"unseen"`
	Warnings []string      `json:"warnings"`
}

func newHostList(s *Session) *cobra.Command {
	var root string
	cmd := &cobra.Command{
		Use:   "list --root DIR",
		Short: "Lists the releases below a root",
		Long: `List shows the releases below a root: the active one first, then those that were used last.
A star marks the active one, a minus the one that rollback goes back to. Behind it stands
which processes use it. Processes of other users can be looked into by root alone: how many
could not be seen is told.`,
		Example:           "  ampoule host list --root /opt/web",
		Args:              usage(cobra.NoArgs),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(cmd *cobra.Command, _ []string) error { return HostList(cmd.Context(), s, root, time.Now()) },
	}
	rootFlag(cmd, &root)
	return cmd
}

// HostList prints the releases below a root, as they are at a time.
func HostList(ctx context.Context, s *Session, root string, now time.Time) error {
	found, err := install.List(ctx, root)
	if err != nil {
		return err
	}
	for _, w := range found.Warnings {
		s.warn("%s", w)
	}
	s.tellUnseen(found.Unseen)
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	for _, r := range found.Releases {
		mark := " "
		switch {
		case r.Active:
			mark = "*"
		case r.Previous:
			mark = "-"
		}
		ref, state := r.Ref, processText(r.Processes)
		if r.Broken != "" {
			ref, state = r.Digest, r.Broken
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", mark, ref, ageOf(r, now), state)
	}
	_ = w.Flush() // it writes to memory
	return s.print(trimmed(b.String()), hostListing{releaseForms(found.Releases), found.Unseen, append([]string{}, found.Warnings...)})
}

// trimmed is a table without the spaces at the ends of its lines.
func trimmed(table string) string {
	lines := strings.Split(table, "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.Join(lines, "\n")
}

func ageOf(r install.Release, now time.Time) string {
	if !r.Activated.IsZero() {
		return "activated " + ago(now.Sub(r.Activated))
	}
	return "installed " + ago(now.Sub(r.Installed))
}

func processText(all []install.Process) string {
	names := make([]string, 0, len(all))
	for _, p := range all {
		names = append(names, p.String())
	}
	if len(names) == 0 {
		return ""
	}
	return "used by " + strings.Join(names, ", ")
}

// tellUnseen tells of processes that may use any release.
func (s *Session) tellUnseen(unseen int) {
	switch {
	case unseen < 0:
		s.note("this user does not see which processes of others there are: they may use any release")
	case unseen > 0:
		s.note("this user may not look into %d processes of others: they may use any release", unseen)
	}
}

func newHostHistory(s *Session) *cobra.Command {
	var root string
	cmd := &cobra.Command{
		Use:   "history --root DIR",
		Short: "Shows what was done below a root, when and by whom",
		Long: `History shows the journal of a root, the last event last. The journal is bounded: its older half
goes when it has a mebibyte.`,
		Example:           "  ampoule host history --root /opt/web",
		Args:              usage(cobra.NoArgs),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(*cobra.Command, []string) error {
			events, err := install.History(root)
			if err != nil {
				return err
			}
			var b strings.Builder
			w := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
			for _, e := range events {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", e.Time.UTC().Format(time.RFC3339), e.Op, e.Digest, e.User, strings.TrimSpace(e.By+" "+e.Note))
			}
			_ = w.Flush() // it writes to memory
			return s.print(b.String(), append([]install.Event{}, events...))
		},
	}
	rootFlag(cmd, &root)
	return cmd
}
