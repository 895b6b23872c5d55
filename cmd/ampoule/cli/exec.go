package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"ampoule/faults"
	"ampoule/registry/install"
)

func newExec(s *Session) *cobra.Command {
	var root string
	var o ExecOptions
	cmd := &cobra.Command{
		Use:   "exec --root DIR -- PROGRAM [ARG...]",
		Short: "Starts a program of an installed release",
		Long: `Exec starts a program with the current release below a root, in the place of this
process. PROGRAM is looked for in the release's bin first, then in PATH, which has
that bin at its start; one with a slash is a path. The link "current" is followed
once: the program keeps its release when another one is installed.

The program gets default signal dispositions, an empty signal mask, at least 65536
open files where the hard limit allows it, and none of the variables that decide
what the loader or Python runs: PYTHONPATH, PYTHONHOME, LD_PRELOAD and others. What
is removed is told on stderr. AMPOULE_KEEP_ENV=NAME,NAME keeps variables, too.

The exit code is the program's own: 127 if there is no such program, 126 if it
cannot be run. The release's bin/ampoule-exec does all this: a machine without
ampoule calls it itself, as ROOT/current/bin/ampoule-exec -- PROGRAM.

Where config.toml names a policy, the release must have what it asks for, by the
signatures that ampoule install kept beside it: no registry is asked.`,
		Example: `  ampoule exec --root /opt/web -- gunicorn web:app
  ampoule exec --root /opt/web --keep-env PYTHONPATH -- python3 -m web`,
		Args: usage(func(cmd *cobra.Command, args []string) error {
			switch dash := cmd.ArgsLenAtDash(); {
			case dash > 0 || dash < 0 && len(args) > 0:
				return fmt.Errorf("%q stands before --: want the program behind it", args[0])
			case len(args) == 0:
				return errors.New("want a program behind --")
			}
			return nil
		}),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			if root == "" {
				return &UsageError{Verb: cmd.CommandPath(), Err: errors.New("--root is missing: the directory that holds the releases")}
			}
			o.Program = args
			if err := s.allowCurrent(cmd.Context(), root); err != nil {
				return err
			}
			return Exec(s, root, o, syscall.Exec)
		},
	}
	cmd.Flags().StringVar(&root, "root", "", "the directory that holds the releases")
	cmd.Flags().StringArrayVar(&o.Keep, "keep-env", nil, "keep this variable")
	cmd.Flags().BoolVar(&o.Init, "init", false, "stay as an init: start the program in a process group of its own, forward signals, reap")
	if err := cmd.MarkFlagDirname("root"); err != nil {
		panic("cli: " + err.Error())
	}
	return cmd
}

// ExecOptions say how a program is started.
type ExecOptions struct {
	// Program is its name and its arguments.
	Program []string
	// Keep are names of variables that are not removed.
	Keep []string
	// Init stays as the program's init.
	Init bool
}

// Exec starts a program of the current release below a root by the release's own starter,
// which exec executes in the place of this process: it returns only an error.
func Exec(s *Session, root string, o ExecOptions, exec func(path string, argv, environ []string) error) error {
	release, err := install.Current(root)
	if err != nil {
		return err
	}
	path := filepath.Join(release, "bin", starter)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return faults.New(faults.NotFound, "build the artifact again and install it; until then start its programs by "+filepath.Join(root, "current", "bin"),
			"%s has no bin/%s: an earlier version of Ampoule built it", release, starter)
	}
	argv := []string{path}
	if o.Init {
		argv = append(argv, "--init")
	}
	for _, name := range o.Keep {
		argv = append(argv, "--keep-env="+name)
	}
	if err := exec(path, append(append(argv, "--"), o.Program...), s.Environ); err != nil {
		return faults.New(faults.Machine, "", "running %s: %w", path, err)
	}
	return nil
}
