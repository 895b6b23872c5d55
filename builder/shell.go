package builder

import (
	"context"
	"errors"
	"io"
	"math"
	"slices"
	"strings"

	"ampoule/builder/buildlog"
	"ampoule/builder/failure"
	"ampoule/builder/progress"
	"ampoule/builder/sandbox"
	"ampoule/builder/wheels"
	"ampoule/faults"
	"ampoule/packaging"
	"ampoule/recipes"
)

// ShellOptions say what a shell is opened in, and what it is connected to.
type ShellOptions struct {
	// Wheel names the distribution whose build is opened, as NAME or NAME==VERSION.
	// Empty is the recipe's step that failed last.
	Wheel string
	// Command is run in place of a shell.
	Command []string
	// Stdin, Stdout and Stderr are as [sandbox.Step] has them.
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// Terminal gives the shell a terminal. Without one it reads its commands from
	// Stdin as a script.
	Terminal *sandbox.Terminal
	// Term is the kind of the terminal, the variable TERM there.
	Term string
	// Opened is told what was opened, once: after the last event of progress, before
	// anything is read from Stdin or written. A state without a Time did not fail. May
	// be nil.
	Opened func(failure.State) error
}

// interactive reports whether a person types into the shell.
func (o ShellOptions) interactive() bool { return o.Terminal != nil && len(o.Command) == 0 }

// ErrNoLock says that a lock is needed for what was asked, and there is none.
var ErrNoLock = faults.New(faults.Input, "", "there is no lock")

// noStep says that there is nothing to open a shell in, and what can be opened.
func noStep(what, advice string) error {
	return faults.New(faults.NotFound, advice, "%s: not found", what)
}

// Shell opens a step that failed as it was left: the same image, files, user and
// environment, and no network. A wheel of which no failure is kept is opened right
// before its build, for which there must be a lock, else the error is [ErrNoLock].
// Nothing that is done there enters any build.
//
// What an interactive shell ends with says nothing about the step, and is no error. A
// command or a script that ends with another code than 0 is a [*sandbox.ExitError].
// Where there is nothing to open the error is of kind NotFound.
func (b *Builder) Shell(ctx context.Context, req Request, opts ShellOptions) error {
	return b.shell(progress.Of(ctx, req.Recipe.Name), req.Recipe, opts, func(ctx context.Context) (failure.State, sandbox.Sandbox, error) {
		if err := req.check(); err != nil {
			return failure.State{}, nil, err
		}
		req, err := withWorkspace(ctx, req, b.d.Environ)
		if err != nil {
			return failure.State{}, nil, err
		}
		d, err := wheelNamed(req.Lock, opts.Wheel)
		if err != nil {
			return failure.State{}, nil, err
		}
		// A shell ends when its user ends it.
		req.Budget.StepTime = math.MaxInt64
		return b.prepared(ctx, req, d)
	})
}

// prepare starts a sandbox that is as a wheel is built in.
type prepare func(context.Context) (failure.State, sandbox.Sandbox, error)

// prepared starts the sandbox that an sdist's wheel is built in, with everything in
// its place and its build not begun. The state has the command that builds it.
func (b *Builder) prepared(ctx context.Context, req Request, d recipes.Dist) (_ failure.State, _ sandbox.Sandbox, err error) {
	if err := b.keepPatches(ctx, req); err != nil {
		return failure.State{}, nil, err
	}
	logs, err := b.logs("shell-" + req.Recipe.Name)
	if err != nil {
		return failure.State{}, nil, err
	}
	outcome := b.begin(req.Recipe.Name, "")
	outcome.Did = "prepared"
	defer func() { b.end(ctx, logs, outcome, err) }()
	run := &build{b: b, req: req, logs: logs}
	if err := run.takeCode(ctx); err != nil {
		return failure.State{}, nil, err
	}
	if d.Own {
		d, _ = run.dist(d.ID())
	}
	closeLog, err := run.begin(ctx)
	if err != nil {
		return failure.State{}, nil, err
	}
	defer func() { err = errors.Join(err, closeLog()) }()
	if err := b.d.Fetch.Fetch(ctx, wheels.Items(d)...); err != nil {
		return failure.State{}, nil, err
	}
	job, err := run.env.House.Job(ctx, run.dist, d, d.Build.Dists)
	if err != nil {
		return failure.State{}, nil, err
	}
	log, err := buildlog.Open(logs, "prepare-"+d.Name)
	if err != nil {
		return failure.State{}, nil, err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	return run.env.Stage.Prepare(ctx, job, log)
}

func (b *Builder) shell(ctx context.Context, r *recipes.Recipe, opts ShellOptions, p prepare) (err error) {
	release, err := b.d.Store.Use(ctx)
	if err != nil {
		return err
	}
	making, endCaching := b.caching(ctx)
	state, sb, err := b.openStep(making, r, opts.Wheel, p)
	endCaching()
	// The engine has what the sandbox stands on; a shell may be open for days.
	release()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sb.Close()) }()
	args := opts.Command
	if len(args) == 0 {
		if args, err = findShell(ctx, sb, opts.interactive()); err != nil {
			return err
		}
	}
	if opts.Opened != nil {
		if err := opts.Opened(state); err != nil {
			return err
		}
	}
	err = sb.Exec(ctx, sandbox.Step{
		Args: args, Env: withTerm(state.Env, opts), Dir: state.Dir,
		Stdin: opts.Stdin, Stdout: opts.Stdout, Stderr: opts.Stderr, Terminal: opts.Terminal,
		// A person waits for it.
		AtOnce: true,
	})
	var exit *sandbox.ExitError
	if opts.interactive() && errors.As(err, &exit) {
		return nil
	}
	return err
}

// openStep opens what a step left, or what it would begin with.
func (b *Builder) openStep(ctx context.Context, r *recipes.Recipe, wheel string, p prepare) (_ failure.State, _ sandbox.Sandbox, err error) {
	state, found, err := lastFailure(b, r.Name, wheel)
	switch {
	case err != nil:
		return failure.State{}, nil, err
	case !found && wheel == "":
		return failure.State{}, nil, noStep("a failed step of "+r.Name, "`ampoule shell --wheel NAME` opens the sandbox that NAME is built in")
	case !found:
		return p(ctx)
	}
	task := progress.Start(ctx, progress.StageShell, state.Title)
	defer func() { task.End(err) }()
	s, err := b.d.Sandboxes(ctx)
	if err != nil {
		return failure.State{}, nil, err
	}
	sb, err := state.Open(ctx, b.d.Store, s.Runner, s.Images)
	return state, sb, err
}

// lastFailure finds a recipe's last failure, or that of a wheel.
func lastFailure(b *Builder, recipe, wheel string) (failure.State, bool, error) {
	name, version := wheelName(wheel)
	state, found, err := failure.Last(b.d.Store, recipe, name)
	// A failure of another version is not what was asked for.
	found = found && (version == "" || strings.HasSuffix(state.Title, name+"=="+version))
	return state, found, err
}

// wheelName splits NAME or NAME==VERSION.
func wheelName(wheel string) (name, version string) {
	name, version, _ = strings.Cut(wheel, "==")
	return packaging.NormalName(name), version
}

// wheelNamed finds what a wheel is built of: first-party code by its name, or an sdist.
func wheelNamed(l *recipes.Lock, wheel string) (recipes.Dist, error) {
	for _, a := range l.App {
		if a.Name == packaging.NormalName(wheel) {
			return a.Dist(""), nil
		}
	}
	return sdistNamed(l, wheel)
}

// sdistNamed finds an sdist of a lock by NAME or NAME==VERSION.
func sdistNamed(l *recipes.Lock, wheel string) (recipes.Dist, error) {
	name, version := wheelName(wheel)
	var found []recipes.Dist
	var all, same []string
	for _, d := range l.Dists {
		if d.Name == name && d.Build == nil {
			return recipes.Dist{}, noStep("a build of "+d.ID(), "the lock has it as a wheel, "+d.File+", which nothing is compiled for")
		}
		if d.Build == nil {
			continue
		}
		all = append(all, d.Name)
		if d.Name == name && (version == "" || d.Version == version) {
			found = append(found, d)
			same = append(same, d.ID())
		}
	}
	slices.Sort(all)
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return recipes.Dist{}, noStep("one sdist of "+name, "the lock has "+strings.Join(same, ", ")+": name one of them")
	case len(all) == 0:
		return recipes.Dist{}, noStep("an sdist of "+wheel, "the lock has none: nothing is compiled but the interpreter")
	default:
		return recipes.Dist{}, noStep("an sdist of "+wheel, "the lock has sdists of "+strings.Join(slices.Compact(all), ", "))
	}
}

// noShell says that an image has no shell that runs: err is what the last one said.
func noShell(err error) error {
	return faults.New(faults.NotFound, "name a program that the image has: `ampoule shell -- COMMAND`", "finding a shell: %w", err)
}

// findShell finds the shell that a sandbox has. No file of settings is read, which
// could change the environment that the step had.
func findShell(ctx context.Context, sb sandbox.Sandbox, interactive bool) ([]string, error) {
	var last error
	for _, args := range [][]string{{"/bin/bash", "--norc"}, {"/bin/sh"}} {
		last = sb.Exec(ctx, sandbox.Step{Args: append(slices.Clone(args), "-c", ":"), AtOnce: true})
		var exit *sandbox.ExitError
		switch {
		case last == nil && interactive:
			return append(args, "-i"), nil
		case last == nil:
			return args, nil
		case !errors.As(last, &exit):
			return nil, last
		}
	}
	return nil, noShell(last)
}

// withTerm is a step's environment, for a terminal.
func withTerm(env []string, opts ShellOptions) []string {
	if opts.Terminal == nil || opts.Term == "" {
		return env
	}
	without := slices.DeleteFunc(slices.Clone(env), func(v string) bool { return strings.HasPrefix(v, "TERM=") })
	return append(without, "TERM="+opts.Term)
}
