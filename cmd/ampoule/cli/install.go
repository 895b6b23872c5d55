package cli

import (
	"context"
	"errors"
	"runtime"

	"github.com/spf13/cobra"

	"ampoule/address"
	"ampoule/audit/preflight"
	"ampoule/builder/progress"
	"ampoule/registry/install"
)

func newInstall(s *Session) *cobra.Command {
	var root string
	cmd := &cobra.Command{
		Use:   "install REF --root DIR",
		Short: "Puts an artifact's tree onto this machine",
		Long: `Install fetches the layers of an artifact's tree from the registry, verifies every
file, and then makes the tree the current one below a root in one step:
DIR/current/bin/python3 runs without Docker. Whatever ends it early, the current
tree stays as it was. The result is the path of the release.`,
		Example: `  ampoule install web@sha256:… --root /opt/web
  /opt/web/current/bin/python3 --version`,
		Args:              usage(cobra.ExactArgs(1)),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			if root == "" {
				return &UsageError{Verb: cmd.CommandPath(), Err: errors.New("--root is missing: the directory to install below")}
			}
			return s.wired(cmd.Context(), func(ctx context.Context, w *wiring) error {
				reg, err := w.registry()
				if err != nil {
					return err
				}
				return Install(ctx, s, reg, args[0], root)
			})
		},
	}
	cmd.Flags().StringVar(&root, "root", "", "the directory that holds the releases")
	if err := cmd.MarkFlagDirname("root"); err != nil {
		panic("cli: " + err.Error())
	}
	return cmd
}

// installed is what is on this machine, as JSON.
type installed struct {
	Ref      string `json:"ref"`
	Digest   string `json:"digest"`
	Release  string `json:"release"`
	Tree     string `json:"tree"`
	Files    int    `json:"files"`
	Present  bool   `json:"present"`
	Repaired bool   `json:"repaired"`
}

// Install puts an artifact's tree below a root.
func Install(ctx context.Context, s *Session, src install.Source, ref, root string) error {
	in, err := watched(ctx, s, func(ctx context.Context) (install.Installed, error) {
		task := progress.Start(ctx, "install", address.One(ref))
		in, err := install.Install(ctx, src, ref, install.Options{
			Root: root, Platform: "linux/" + runtime.GOARCH,
			Before: func(ctx context.Context, release string) error { return s.before(ctx, release) },
		})
		task.End(err)
		return in, err
	})
	if err != nil {
		return err
	}
	switch {
	case in.Repaired:
		s.tell("the release was there, damaged: it is replaced")
	case in.Present:
		s.tell("the release was there and is whole")
	}
	return s.printInstalled(in.Release, in)
}

// before looks whether a release will run here before it becomes the current one.
func (s *Session) before(ctx context.Context, release string) error {
	r, err := checkHere(ctx, release)
	if err != nil {
		return err
	}
	for _, i := range r.Items {
		if i.State == preflight.Warning {
			s.tell("%s: %s. %s %s", i.Name, i.Found, i.Cause, i.Remedy)
		}
	}
	return r.Err()
}

func (s *Session) printInstalled(text string, in install.Installed) error {
	return s.print(text, installed{in.Ref, in.Digest, in.Release, in.TreeHash, in.Files, in.Present, in.Repaired})
}

func newVerify(s *Session) *cobra.Command {
	return &cobra.Command{
		Use:   "verify DIR",
		Short: "Compares an installed tree with what was installed",
		Long: `Verify reads every file of the current release below a root and compares the
tree's hash with the one that was installed. A difference is told with the files
that it is in. The result is the tree's hash.`,
		Example:           "  ampoule verify /opt/web",
		Args:              usage(cobra.ExactArgs(1)),
		ValidArgsFunction: cobra.FixedCompletions(nil, cobra.ShellCompDirectiveFilterDirs),
		RunE:              func(_ *cobra.Command, args []string) error { return Verify(s, args[0]) },
	}
}

// Verify checks the current release below a root.
func Verify(s *Session, root string) error {
	in, err := install.Verify(root)
	if err != nil {
		return err
	}
	s.tell("%s is whole: %d files", in.Ref, in.Files)
	return s.printInstalled(in.TreeHash, in)
}
