package wheels

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	"ampoule/builder/buildlog"
	"ampoule/builder/diagnose"
	"ampoule/builder/failure"
	"ampoule/builder/sandbox"
	"ampoule/faults"
	"ampoule/packaging"
	"ampoule/recipes"
)

// hookStep is the command that asks the build backend, as the driver tells it.
type hookStep struct {
	Args []string
	Dir  string
	Env  map[string]string
}

// state describes a job whose sandbox stands, for whoever opens it again.
func (s *Stage) state(ctx context.Context, sb sandbox.Sandbox, mode string, job Job) failure.State {
	step := s.step(mode, job, nil)
	state := failure.State{
		Recipe: s.Recipe, Step: job.Sdist.Name, Title: mode + " of " + job.Sdist.ID(), Key: job.Key(), Image: job.Image,
		Args: step.Args, Env: step.Env, Dir: step.Dir, Dirs: []string{sandbox.WorkDir, "/tmp"},
	}
	told, err := sandbox.Output(ctx, sb, sandbox.Step{Args: []string{"cat", sandbox.WorkDir + "/step.json"}, Env: sandbox.Env()}, maxResult)
	var hook hookStep
	// Without it the driver itself failed, and its own command is the one. It comes out
	// of a sandbox that ran foreign code.
	if err != nil || json.Unmarshal(told, &hook) != nil || !hook.sound() {
		return state
	}
	state.Args, state.Dir, state.Env = hook.Args, hook.Dir, nil
	for _, name := range slices.Sorted(maps.Keys(hook.Env)) {
		state.Env = append(state.Env, name+"="+hook.Env[name])
	}
	return state
}

// sound reports whether a sandbox could run the step at all.
func (h hookStep) sound() bool {
	for name := range h.Env {
		if name == "" || strings.Contains(name, "=") {
			return false
		}
	}
	return len(h.Args) > 0 && h.Args[0] != "" && path.IsAbs(h.Dir) && path.Clean(h.Dir) == h.Dir
}

// keepFailure keeps what a step left that ended with an error of its own. That it
// cannot be kept is only logged: the step's error is what matters.
func (s *Stage) keepFailure(ctx context.Context, sb sandbox.Sandbox, mode string, job Job, log *buildlog.Log, err error) {
	var exit *sandbox.ExitError
	if !errors.As(err, &exit) || s.Recipe == "" {
		return
	}
	state := s.state(ctx, sb, mode, job)
	state.Log = log.Path()
	if err := failure.Keep(ctx, s.Store, sb, state); err != nil {
		log.Printf("%v", err)
	}
}

// Prepare opens a sandbox in which everything is ready for a job's build, and nothing
// was built, with the command that would.
func (s *Stage) Prepare(ctx context.Context, job Job, log io.Writer) (failure.State, sandbox.Sandbox, error) {
	sb, err := s.open(ctx, "shell", job)
	if err != nil {
		return failure.State{}, nil, err
	}
	if err := sb.Exec(ctx, s.step("prepare", job, log)); err != nil {
		return failure.State{}, nil, errors.Join(fmt.Errorf("preparing the build of %s: %w", job.Sdist.ID(), err), sb.Close())
	}
	return s.state(ctx, sb, "wheel", job), sb, nil
}

// MissingError says what a failed build wanted and did not have.
type MissingError struct {
	// Dist is the sdist.
	Dist   recipes.Dist
	Causes []diagnose.Cause
	Err    error
}

func (e *MissingError) Error() string {
	lines := []string{e.Err.Error()}
	for _, c := range e.Causes {
		lines = append(lines, "cause: "+c.What)
	}
	return strings.Join(lines, "\n")
}

// Kind says whose fault it is.
func (*MissingError) Kind() faults.Kind { return faults.Build }

// Unwrap returns how the build ended.
func (e *MissingError) Unwrap() error { return e.Err }

// Hint says which lines of the recipe would help.
func (e *MissingError) Hint() string {
	var hints []string
	if entry := diagnose.Entry(e.Causes); entry != "" {
		hints = append(hints, fmt.Sprintf("add to the recipe, and lock again: packages: {%s: %s}", e.Dist.Name, entry))
	}
	for _, c := range e.Causes {
		if len(c.Build) > 1 {
			hints = append(hints, fmt.Sprintf("%s: instead of %s, %s may have it", c.What, c.Build[0], strings.Join(c.Build[1:], " or ")))
		}
		if c.Advice != "" {
			hints = append(hints, c.Advice)
		}
	}
	return strings.Join(hints, "\n")
}

// explain adds to a failed step's error what its log says was missing.
func (s *Stage) explain(job Job, log *buildlog.Log, err error) error {
	var exit *sandbox.ExitError
	if !errors.As(err, &exit) {
		return err
	}
	f, openErr := os.Open(log.Path())
	if openErr != nil {
		return err
	}
	defer f.Close()
	// Advice that cannot be had takes nothing away from the error.
	causes, _ := diagnose.Read(f, s.Suite)
	for i, c := range causes {
		// A module of the project's own is missing for another reason.
		causes[i].Requires = slices.DeleteFunc(c.Requires, func(name string) bool { return packaging.NormalName(name) == job.Sdist.Name })
	}
	if len(causes) == 0 {
		return err
	}
	return &MissingError{Dist: job.Sdist, Causes: causes, Err: err}
}
