package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"ampoule/builder"
	"ampoule/builder/failure"
	"ampoule/builder/progress"
	"ampoule/builder/sandbox"
	"ampoule/cmd/ampoule/display"
	"ampoule/faults"
	"ampoule/recipes"
)

// shellerFunc is a Sheller.
type shellerFunc func(ctx context.Context, lock *recipes.Lock, opts builder.ShellOptions) error

func (f shellerFunc) Shell(ctx context.Context, req builder.Request, opts builder.ShellOptions) error {
	return f(ctx, req.Lock, opts)
}

func failed() failure.State {
	return failure.State{
		Title: "wheel psycopg2==2.9.10", Args: []string{"/bin/sh", "-c", "cc 'x y.c'", ""}, Dir: "/ampoule-build", Log: "/logs/x.log",
		Time: time.Date(2026, 11, 21, 6, 40, 0, 0, time.Local),
	}
}

func TestShellTellsWhatIsOpened(t *testing.T) {
	t.Parallel()
	lost := failed()
	lost.Lost = "sandbox was removed\x1b[2J"
	fresh := failed()
	fresh.Time, fresh.Log = time.Time{}, ""
	const first = "    0.0  start shell wheel\nopened: wheel psycopg2==2.9.10, which failed on 2026-11-21 at 06:40\n"
	const leave = "there is no network, and nothing that is done here enters any build; exit leaves\n"
	const command = "its directory is /ampoule-build; its command, to run it again:\n\n  /bin/sh -c 'cc '\\''x y.c'\\''' ''\n\n"
	for name, test := range map[string]struct {
		state   failure.State
		command []string
		want    string
	}{
		"failed":  {failed(), nil, first + command + "its log is /logs/x.log\n" + leave},
		"lost":    {lost, []string{"ls"}, first + "the files that it left are not there: sandbox was removed\\x1b[2J\n"},
		"command": {failed(), []string{"ls"}, first},
		"fresh":   {fresh, nil, "    0.0  start shell wheel\nopened: wheel psycopg2==2.9.10, ready for its build\n" + command + leave},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, out, errs := session(t, goodRecipe)
			s.In = strings.NewReader("typed")
			err := Shell(t.Context(), s, shellerFunc(func(ctx context.Context, _ *recipes.Lock, opts builder.ShellOptions) error {
				task := progress.Start(ctx, progress.StageShell, "wheel")
				if opts.Wheel != "psycopg2" || len(opts.Command) != len(test.command) || opts.Terminal != nil {
					t.Errorf("options %+v", opts)
				}
				if err := opts.Opened(test.state); err != nil {
					return err
				}
				// What comes now would get into what the shell shows.
				task.End(nil)
				_, err := io.Copy(opts.Stdout, opts.Stdin)
				return err
			}), "psycopg2", test.command)
			if err != nil || out.String() != "typed" {
				t.Errorf("stdout %q, %v", out, err)
			}
			if diff := cmp.Diff(test.want, errs.String()); diff != "" {
				t.Errorf("messages (-want +got):\n%s", diff)
			}
		})
	}
}

func TestShellErrors(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		err  error
		code int
		want string
	}{
		"command fails":  {&sandbox.ExitError{Args: []string{"make"}, Code: 2}, codeBuild, "error: running make: exit code 2\n"},
		"nothing failed": {faults.New(faults.NotFound, "do so", "a failed step of web: not found"), codeNotFound, "error: a failed step of web: not found\nhint: do so\n"},
		"no lock":        {fmt.Errorf("x: %w", builder.ErrNoLock), codeInput, "there is no lock\nhint: make it with `ampoule lock`\n"},
		"no engine":      {sandbox.ErrUnavailable, codeMachine, ""},
	} {
		s, _, _ := session(t, goodRecipe)
		err := Shell(t.Context(), s, shellerFunc(func(context.Context, *recipes.Lock, builder.ShellOptions) error { return test.err }), "", nil)
		var told bytes.Buffer
		report(&told, err)
		if ExitCode(err) != test.code || !strings.Contains(told.String(), test.want) {
			t.Errorf("%s: code %d, %q", name, ExitCode(err), told.String())
		}
	}
}

// openTerminal opens a terminal of its own: what is typed into it, and what programs
// that stand at it have.
func openTerminal(t *testing.T) (keyboard, stand *os.File) {
	t.Helper()
	keyboard, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { keyboard.Close() })
	fd := int(keyboard.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	stand, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stand.Close() })
	return keyboard, stand
}

// isRaw reports whether a terminal hands every key on as it is.
func isRaw(t *testing.T, f *os.File) bool {
	t.Helper()
	state, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return state.Lflag&(unix.ICANON|unix.ISIG|unix.ECHO) == 0
}

func resize(t *testing.T, f *os.File, rows, columns uint16) {
	t.Helper()
	if err := unix.IoctlSetWinsize(int(f.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: columns}); err != nil {
		t.Fatal(err)
	}
}

// sizeSoon takes the terminal's next size.
func sizeSoon(t *testing.T, sizes <-chan sandbox.Size) sandbox.Size {
	t.Helper()
	select {
	case size := <-sizes:
		return size
	case <-time.After(10 * time.Second):
		t.Fatal("no size is told")
		return sandbox.Size{}
	}
}

// TestShellOnTerminal is not parallel: signals reach the whole program.
func TestShellOnTerminal(t *testing.T) {
	// Whoever runs the tests may have hangups ignored (nohup).
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	keyboard, stand := openTerminal(t)
	resize(t, keyboard, 33, 101)
	go func() { _, _ = io.Copy(io.Discard, keyboard) }()
	s, _, errs := session(t, goodRecipe)
	s.In, s.Out, s.Progress, s.Environ = stand, stand, display.Plain, []string{"TERM=vt220"}
	open := func(work func(context.Context, builder.ShellOptions) error) error {
		return Shell(t.Context(), s, shellerFunc(func(ctx context.Context, _ *recipes.Lock, opts builder.ShellOptions) error {
			if isRaw(t, stand) {
				t.Error("the terminal is raw before anything is open")
			}
			if err := opts.Opened(failed()); err != nil {
				return err
			}
			if !isRaw(t, stand) {
				t.Error("the terminal is not raw while a shell is open")
			}
			return work(ctx, opts)
		}), "", nil)
	}

	err := open(func(_ context.Context, opts builder.ShellOptions) error {
		if opts.Terminal == nil || opts.Term != "vt220" {
			t.Fatalf("options %+v", opts)
		}
		if got := sizeSoon(t, opts.Terminal.Sizes); got != (sandbox.Size{Rows: 33, Columns: 101}) {
			t.Errorf("size %v", got)
		}
		resize(t, keyboard, 20, 60)
		if err := syscall.Kill(os.Getpid(), syscall.SIGWINCH); err != nil {
			t.Fatal(err)
		}
		if got := sizeSoon(t, opts.Terminal.Sizes); got != (sandbox.Size{Rows: 20, Columns: 60}) {
			t.Errorf("size after a change %v", got)
		}
		return nil
	})
	if err != nil || isRaw(t, stand) {
		t.Errorf("after the shell: raw %v, %v", isRaw(t, stand), err)
	}

	broken := errors.New("the engine went away")
	err = open(func(context.Context, builder.ShellOptions) error { return broken })
	if !errors.Is(err, broken) || isRaw(t, stand) {
		t.Errorf("after an error: raw %v, %v", isRaw(t, stand), err)
	}

	err = open(func(ctx context.Context, _ builder.ShellOptions) error {
		if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(10 * time.Second):
			t.Fatal("a hangup ends nothing")
		}
		// The terminal is given back before the sandbox is removed, which may take long.
		for end := time.Now().Add(10 * time.Second); isRaw(t, stand) && time.Now().Before(end); {
			time.Sleep(time.Millisecond)
		}
		if isRaw(t, stand) {
			t.Error("the terminal is raw after a signal")
		}
		return context.Cause(ctx)
	})
	if ExitCode(err) != codeInterrupted {
		t.Errorf("after a hangup: %v", err)
	}

	func() {
		defer func() {
			if recover() == nil || isRaw(t, stand) {
				t.Errorf("after a panic: raw %v", isRaw(t, stand))
			}
		}()
		_ = open(func(context.Context, builder.ShellOptions) error { panic("a fault") })
	}()
	if strings.Count(errs.String(), "opened: ") != 4 {
		t.Errorf("messages %q", errs)
	}
}
