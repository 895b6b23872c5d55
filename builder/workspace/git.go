package workspace

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"ampoule/faults"
)

// git asks the program of that name.
type git struct{ environ []string }

// notRepository is what git says where there is no repository. It is asked in English.
const notRepository = "not a git repository"

// safely are the options with which git runs nothing that a repository names, writes nothing
// and asks no other machine.
var safely = []string{
	"--no-pager", "--literal-pathspecs", "--no-optional-locks", "--no-replace-objects",
	"-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-c", "core.untrackedCache=false", "-c", "protocol.allow=never",
}

// env is the environment of git: without what would lead it to another repository than that
// of its directory, as hooks of git have it.
func (g git) env() []string {
	kept := slices.DeleteFunc(slices.Clone(g.environ), func(variable string) bool {
		name, _, _ := strings.Cut(variable, "=")
		own := strings.HasPrefix(name, "GIT_CONFIG_") && name != "GIT_CONFIG_PARAMETERS" || name == "GIT_CEILING_DIRECTORIES"
		return strings.HasPrefix(name, "GIT_") && !own
	})
	return append(kept, "LC_ALL=C", "GIT_OPTIONAL_LOCKS=0", "GIT_TERMINAL_PROMPT=0", "GIT_NO_LAZY_FETCH=1")
}

// gitError says what git did not do.
type gitError struct {
	verb, told string
	err        error
}

func (e *gitError) Error() string {
	if e.told == "" {
		return fmt.Sprintf("git %s: %v", e.verb, e.err)
	}
	return fmt.Sprintf("git %s: %s", e.verb, e.told)
}

// Unwrap returns the cause.
func (e *gitError) Unwrap() error { return e.err }

// Kind says whose fault it is.
func (*gitError) Kind() faults.Kind { return faults.Input }

// run returns what git prints in a directory.
func (g git) run(ctx context.Context, dir string, args ...string) (string, error) {
	program, err := g.look()
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, program, slices.Concat(safely, args)...)
	cmd.Dir, cmd.Env, cmd.WaitDelay = dir, g.env(), time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		return "", &gitError{args[0], strings.TrimSpace(stderr.String()), err}
	}
	return stdout.String(), nil
}

// look finds the program as a shell in the environment does.
func (g git) look() (string, error) {
	for _, variable := range slices.Backward(g.environ) {
		dirs, ok := strings.CutPrefix(variable, "PATH=")
		if !ok {
			continue
		}
		for _, dir := range filepath.SplitList(dirs) {
			if !filepath.IsAbs(dir) {
				continue
			}
			if found, err := exec.LookPath(filepath.Join(dir, "git")); err == nil {
				return found, nil
			}
		}
		break
	}
	return "", errNoGit
}

var errNoGit = faults.New(faults.Machine, "install git, or name the files with app.files", "this machine has no git, which says which files are the application's")

// top finds the top of the working tree that a directory is in; empty where it is in none.
func (g git) top(ctx context.Context, dir string) (string, error) {
	out, err := g.run(ctx, dir, "rev-parse", "--show-toplevel")
	var failed *gitError
	if errors.As(err, &failed) && strings.Contains(failed.told, notRepository) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(strings.TrimSuffix(out, "\n"))
}

// head returns the commit that is checked out; empty where there is none yet.
func (g git) head(ctx context.Context, dir string) (string, error) {
	out, err := g.run(ctx, dir, "rev-parse", "--quiet", "--verify", "HEAD^{commit}")
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 1 {
		return "", nil
	}
	return strings.TrimSpace(out), err
}

// blob is a file as git names it.
type blob struct {
	// mode is 100644, 100755, 120000 for a link or 160000 for a submodule.
	mode string
	// id is the hash of its content, with a header: SHA-1, or SHA-256 in a repository of
	// that format (gitrepository-layout(5), gitformat-pack(5)).
	id string
}

const (
	modeExecutable = "100755"
	modeFile       = "100644"
	modeLink       = "120000"
	modeSubmodule  = "160000"
)

// staged lists what the index has below a directory, by path relative to it, and apart from
// that what a merge has left undecided.
func (g git) staged(ctx context.Context, dir string) (blobs map[string]blob, unmerged []string, err error) {
	blobs = map[string]blob{}
	err = g.records(ctx, dir, func(about []string, name string) {
		if about[2] != "0" {
			unmerged = append(unmerged, name)
			return
		}
		blobs[name] = blob{about[0], about[1]}
	}, "ls-files", "--stage", "-z")
	return blobs, slices.Compact(unmerged), err
}

// untracked lists what git neither tracks nor ignores below a directory. One without any
// tracked file is listed itself, with a slash behind it.
func (g git) untracked(ctx context.Context, dir string) ([]string, error) {
	out, err := g.run(ctx, dir, "ls-files", "--others", "--exclude-standard", "--directory", "--no-empty-directory", "-z")
	if err != nil || out == "" {
		return nil, err
	}
	return strings.Split(strings.TrimSuffix(out, "\x00"), "\x00"), nil
}

// committed lists what a commit has below a directory, by path relative to it.
func (g git) committed(ctx context.Context, dir, commit string) (map[string]blob, error) {
	if commit == "" {
		return map[string]blob{}, nil
	}
	blobs := map[string]blob{}
	err := g.records(ctx, dir, func(about []string, name string) {
		blobs[name] = blob{about[0], about[2]}
	}, "ls-tree", "-r", "-z", commit)
	return blobs, err
}

// records hands on what git lists: three words about each path, and the path.
func (g git) records(ctx context.Context, dir string, use func(about []string, name string), args ...string) error {
	out, err := g.run(ctx, dir, args...)
	if err != nil || out == "" {
		return err
	}
	for record := range strings.SplitSeq(strings.TrimSuffix(out, "\x00"), "\x00") {
		about, name, _ := strings.Cut(record, "\t")
		words := strings.Fields(about)
		if len(words) != 3 || name == "" {
			return fmt.Errorf("git %s: %q is no line of a list", args[0], record)
		}
		use(words, name)
	}
	return nil
}
