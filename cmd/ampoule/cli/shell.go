package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"ampoule/builder"
	"ampoule/builder/failure"
	"ampoule/builder/progress"
	"ampoule/builder/sandbox"
	"ampoule/cmd/ampoule/display"
	"ampoule/recipes"
	"ampoule/wiring"
)

// Sheller opens a shell in a build step's sandbox.
type Sheller interface {
	Shell(ctx context.Context, req builder.Request, opts builder.ShellOptions) error
}

func newShell(s *Session) *cobra.Command {
	var wheel string
	cmd := &cobra.Command{
		Use:   "shell [-- COMMAND...]",
		Short: "Opens the sandbox of a build step that failed",
		Long: `Shell opens the recipe's step that failed last as it was left: the same image, the
same files, the same user and environment, and no network. With --wheel it opens
that wheel's last failure; a wheel that did not fail is opened as it would be
built, right before its build. Nothing that is done there enters any build.

With a terminal it is a shell to type into, in the directory of the step, and how
that shell ends does not count. A command behind --, or a script on stdin, that
ends with an error ends with exit code 8.`,
		Example: `  ampoule shell
  ampoule shell --wheel psycopg2
  ampoule shell --wheel psycopg2 -- find / -name 'libpq*'`,
		Args: usage(func(cmd *cobra.Command, args []string) error {
			if dash := cmd.ArgsLenAtDash(); dash < 0 && len(args) > 0 || dash > 0 {
				return fmt.Errorf("%q stands before --: want a command behind it, and a wheel as --wheel NAME", args[0])
			}
			return nil
		}),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("wheel") && wheel == "" {
				return &UsageError{Verb: cmd.CommandPath(), Err: errors.New("--wheel is empty")}
			}
			return s.wired(cmd.Context(), func(ctx context.Context, w *wiring.Parts) error {
				b, _, err := s.builder(w)
				if err != nil {
					return err
				}
				return Shell(ctx, s, b, wheel, args)
			})
		},
	}
	s.addCacheFlags(cmd)
	cmd.Flags().StringVar(&wheel, "wheel", "", "the wheel whose build to open, as NAME or NAME==VERSION (default: what failed last)")
	return cmd
}

// Shell opens a wheel's build, or what failed last, with the session's streams: for a
// command, or, if there is none, for a shell.
func Shell(ctx context.Context, s *Session, b Sheller, wheel string, command []string) error {
	in, err := s.read()
	if err != nil {
		return err
	}
	ctx, stop := untilHangup(ctx)
	defer stop()
	d := display.New(s.Err, s.Progress)
	defer d.Close()
	leave := s.follow(d)
	defer leave()
	t := s.shellTerminal()
	defer t.restore()
	// The second signal ends the program at once: its terminal is given back before.
	defer context.AfterFunc(ctx, t.restore)()
	opts := builder.ShellOptions{
		Wheel: wheel, Command: command, Stdin: s.In, Stdout: s.Out, Stderr: s.Err,
		Terminal: t.sandbox, Term: s.workplace().Term,
		Opened: func(state failure.State) error {
			leave()
			d.Close()
			s.answered = true
			s.greet(state, command)
			return t.attach(ctx)
		},
	}
	err = b.Shell(progress.With(ctx, s.events()), in.request(builder.Request{}), opts)
	return interrupted(ctx, s.shellError(err))
}

// shellError tells in this package's words why nothing could be opened.
func (s *Session) shellError(err error) error {
	if errors.Is(err, builder.ErrNoLock) {
		return recipes.Faults{{File: lockPath(s.Recipe), What: "there is no lock", Hint: "make it with `ampoule lock`"}}
	}
	return err
}

// greet tells what was opened. A command is told of it in one line.
func (s *Session) greet(state failure.State, command []string) {
	when := "ready for its build"
	if !state.Time.IsZero() {
		when = "which failed on " + state.Time.Local().Format("2006-01-02 at 15:04")
	}
	s.tell("opened: %s, %s", state.Title, when)
	if state.Lost != "" {
		s.tell("the files that it left are not there: %s", state.Lost)
	}
	if len(command) > 0 {
		return
	}
	s.tell("its directory is %s; its command, to run it again:\n\n  %s\n", state.Dir, commandLine(state.Args))
	if state.Log != "" {
		s.tell("its log is %s", state.Log)
	}
	s.tell("there is no network, and nothing that is done here enters any build; exit leaves")
}

// commandLine writes a command as a shell reads it.
func commandLine(args []string) string {
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789%+,-./:=@_"
	words := make([]string, len(args))
	for i, arg := range args {
		words[i] = arg
		if arg == "" || strings.Trim(arg, plain) != "" {
			words[i] = "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
		}
	}
	return strings.Join(words, " ")
}

// untilHangup returns a context that also ends when the program's terminal goes away,
// so that no sandbox stays behind.
func untilHangup(parent context.Context) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(parent)
	if signal.Ignored(syscall.SIGHUP) {
		return ctx, func() { cancel(nil) }
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGHUP)
	stopped, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		select {
		case sig := <-signals:
			cancel(&InterruptedError{Signal: sig})
		case <-stopped:
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(stopped)
		<-ended
		cancel(nil)
	}
}

// shellTerminal is the session's terminal, as a shell uses it.
type shellTerminal struct {
	// sandbox is what the shell gets; nil without a terminal.
	sandbox *sandbox.Terminal
	in, out *os.File
	sizes   chan sandbox.Size

	mu sync.Mutex
	// undo gives the terminal back; nil while nobody has it.
	undo func()
}

// shellTerminal finds the session's terminal, if both of its streams are one.
func (s *Session) shellTerminal() *shellTerminal {
	t := &shellTerminal{in: terminalOf(s.In), out: terminalOf(s.Out)}
	if t.in != nil && t.out != nil {
		t.sizes = make(chan sandbox.Size)
		t.sandbox = &sandbox.Terminal{Sizes: t.sizes}
	}
	return t
}

// attach hands every key that is typed to the shell, until restore.
func (t *shellTerminal) attach(ctx context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.sandbox == nil || ctx.Err() != nil {
		return context.Cause(ctx)
	}
	state, err := term.MakeRaw(int(t.in.Fd()))
	if err != nil {
		return fmt.Errorf("preparing the terminal: %w", err)
	}
	stop := tellSizes(t.out, t.sizes)
	t.undo = func() {
		stop()
		if ctx.Err() != nil {
			// What is told now is told on a line of its own.
			fmt.Fprint(t.out, "\r\n")
		}
		// Nothing else can be done about a terminal that is gone.
		_ = term.Restore(int(t.in.Fd()), state)
	}
	return nil
}

// restore gives the terminal back, unless that was done.
func (t *shellTerminal) restore() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.undo != nil {
		t.undo()
		t.undo = nil
	}
}
