package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/audit"
	"ampoule/audit/survey"
	"ampoule/builder"
	"ampoule/builder/buildlog"
	"ampoule/builder/fetch"
	"ampoule/builder/locking"
	"ampoule/builder/locking/apt"
	"ampoule/builder/sandbox"
	"ampoule/builder/seal"
	"ampoule/builder/unpack"
	"ampoule/builder/wheels"
	"ampoule/config"
	"ampoule/faults"
	"ampoule/recipes"
	"ampoule/registry"
	"ampoule/registry/embedded"
	"ampoule/registry/images"
	"ampoule/registry/install"
	"ampoule/registry/layer"
	"ampoule/store"
)

// The codes that tests expect.
var (
	codeUsage       = faults.Usage.Code()
	codeInput       = faults.Input.Code()
	codeRefused     = faults.Refused.Code()
	codeNotFound    = faults.NotFound.Code()
	codeMachine     = faults.Machine.Code()
	codeBuild       = faults.Build.Code()
	codeUndecided   = faults.Undecided.Code()
	codeInterrupted = faults.Interrupted.Code()
)

func TestExitCode(t *testing.T) {
	t.Parallel()
	excess := &sandbox.ExceededError{Name: "wheel-x", Resource: sandbox.Disk, Limit: 1}
	step := &sandbox.ExitError{Args: []string{"make"}, Code: 2}
	for _, tt := range []struct {
		err  error
		want int
	}{
		{nil, 0},
		{errors.New("anything"), 1},
		{&UsageError{Err: errors.New("x")}, 2},
		{recipes.Faults{{What: "x"}}, 3},
		{&config.Error{}, 3},
		{&locking.ResolutionError{}, 3},
		{&survey.UnreadableError{Why: "x"}, 3},
		{&builder.RefusedError{}, 4},
		{&install.VerificationError{Err: errors.New("x")}, 4},
		// What does not verify is refused, whatever it was that a registry damaged.
		{&install.VerificationError{Err: layer.ErrDiffID}, 4},
		{&registry.RemoteError{Err: registry.ErrDigest}, 4},
		{layer.ErrDiffID, 4},
		{images.ErrDamaged, 3},
		{&install.UnsafeError{Path: "/opt/web", Why: "is a symbolic link"}, 6},
		{&install.InUseError{}, 6},
		{&registry.KeyTakenError{}, 4},
		{&store.RecordError{Err: errors.New("x")}, 4},
		{&DamagedError{}, 4},
		{&registry.KeyMismatchError{}, 4},
		{&registry.DamagedError{Err: layer.ErrDiffID}, 4},
		{registry.ErrDigest, 4},
		{fmt.Errorf("reading image: %w: %w", images.ErrDamaged, layer.ErrDiffID), 3},
		{&embedded.HeldError{}, 4},
		{embedded.ErrDamaged, 4},
		{embedded.ErrNoArtifact, 5},
		{&registry.NotFoundError{}, 5},
		{notFound("x", ""), 5},
		{&fetch.NotFoundError{}, 5},
		{sandbox.ErrUnavailable, 6},
		{store.ErrNoSpace, 6},
		{&os.PathError{Op: "open", Path: "x", Err: syscall.EACCES}, 6},
		{&registry.RemoteError{Err: errors.New("x")}, 7},
		{&fetch.RemoteError{}, 7},
		{step, 8},
		{excess, 8},
		{&buildlog.StepError{Err: excess}, 8},
		{&wheels.BuildError{Err: errors.New("no wheel")}, 8},
		{&buildlog.StepError{Err: errors.New("x")}, 8},
		{outcome(&survey.Report{Outcome: survey.Undecided}), 9},
		// A build step that ended because the disk is full is no fault of the build.
		{&buildlog.StepError{Err: fmt.Errorf("%w: %w", store.ErrNoSpace, syscall.ENOSPC)}, 6},
		{&locking.NoSdistError{}, 3},
		{&wheels.NativeError{}, 4},
		{fmt.Errorf("installing: %w", &unpack.RefusedError{}), 4},
		{&wheels.IdentityError{}, 8},
		{builder.ErrNoLock, 3},
		{&fetch.HashError{}, 7},
		// A server that has no file, which others may have, is no failing remote.
		{&fetch.NotFoundError{Attempts: []fetch.Attempt{{Err: &fetch.StatusError{Code: 404}}}}, 5},
		{&wheels.BuildError{Err: &wheels.IdentityError{}}, 8},
		{&wheels.BuildError{Err: &wheels.MissingError{Err: step}}, 8},
		// Of several builds that failed, each is a failed build; native code is refused.
		{&wheels.FailedError{Failures: []error{&wheels.BuildError{Err: step}, &wheels.BuildError{Err: step}}}, 8},
		{&wheels.FailedError{Failures: []error{&wheels.BuildError{Err: step}, &wheels.NativeError{}}}, 4},
		{&InterruptedError{Signal: os.Interrupt, Err: step}, 130},
		{&ChildError{Code: 42}, 42},
	} {
		for _, err := range []error{tt.err, fmt.Errorf("doing: %w", tt.err), errors.Join(errors.New("other"), tt.err)} {
			if tt.err == nil {
				err = nil
			}
			if got := ExitCode(err); got != tt.want {
				t.Errorf("ExitCode(%T %v) = %d, want %d", tt.err, err, got, tt.want)
			}
		}
	}
}

// hinted is an error with a hint.
type hinted struct {
	hint string
	err  error
}

func (e *hinted) Error() string { return "hinted: " + e.err.Error() }
func (e *hinted) Unwrap() error { return e.err }
func (e *hinted) Hint() string  { return e.hint }

func TestReport(t *testing.T) {
	t.Parallel()
	inner := &hinted{"look there", errors.New("cause\x1b[2J")}
	for name, tt := range map[string]struct {
		err  error
		want string
	}{
		"nothing": {nil, ""},
		"child":   {&ChildError{Code: 3}, ""},
		"plain":   {errors.New("cause"), "error: cause\n"},
		"hints": {
			fmt.Errorf("doing: %w", errors.Join(&hinted{"first", errors.New("a")}, &hinted{"second", inner}, inner)),
			"error: doing: hinted: a\nhinted: hinted: cause\\x1b[2J\nhinted: cause\\x1b[2J\nhint: first\nhint: second\nhint: look there\n",
		},
		"faults": {
			fmt.Errorf("reading: %w", recipes.Faults{
				{File: "a.yaml", Line: 3, Column: 5, What: "unknown key", Hint: "did you mean name?"},
				{File: "a.yaml", Line: 7, What: "wrong"},
			}),
			"error: a.yaml:3:5: unknown key\nhint: did you mean name?\nerror: a.yaml:7: wrong\n",
		},
		"interrupted": {&InterruptedError{Signal: os.Interrupt, Err: fmt.Errorf("x: %w", context.Canceled)}, "error: interrupted (interrupt)\n"},
		"interrupted by its cause": {
			&InterruptedError{Signal: os.Interrupt, Err: fmt.Errorf("x: %w", &InterruptedError{Signal: os.Interrupt})},
			"error: interrupted (interrupt)\n",
		},
		"interrupted with more": {
			&InterruptedError{Signal: syscall.SIGTERM, Err: &hinted{"no", errors.New("still there")}},
			"error: interrupted (terminated): hinted: still there\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			report(&out, tt.err)
			if diff := cmp.Diff(tt.want, out.String()); diff != "" {
				t.Errorf("report (-want +got):\n%s", diff)
			}
		})
	}
}

// Whatever an error repeats, it is told on one screen, with its end.
func TestReportIsShort(t *testing.T) {
	t.Parallel()
	names := make([]string, 300)
	var lines, faults, hints = strings.Builder{}, recipes.Faults{}, []error{}
	var missing []audit.Missing
	for i := range names {
		names[i] = fmt.Sprintf("name-%03d", i)
		fmt.Fprintf(&lines, "line %d\n", i)
		faults = append(faults, recipes.Fault{File: "a.yaml", Line: i + 1, What: "wrong", Hint: names[i]})
		hints = append(hints, &hinted{names[i], errors.New(names[i])})
		missing = append(missing, audit.Missing{Name: names[i], By: names})
	}
	conflict := &apt.ChangeError{Want: names, Suite: "bookworm", Changes: names}
	for name, err := range map[string]error{
		"faults":        faults,
		"hints":         errors.Join(hints...),
		"libraries":     &seal.MissingLibraryError{Missing: missing},
		"packages":      conflict,
		"the resolver":  &locking.ResolutionError{Told: lines.String() + "the end"},
		"failed builds": &wheels.FailedError{Failures: hints, Skipped: names},
		"a circle":      &wheels.CircleError{Path: names},
		"arguments":     &sandbox.ExitError{Args: names, Code: 1},
		"addresses":     &fetch.RemoteError{What: "x", Attempts: slices.Repeat([]fetch.Attempt{{Address: "a", Err: errors.New("b")}}, 300)},
		"one long line": errors.New(strings.Repeat("x", 1<<20)),
		"log":           &buildlog.StepError{What: "x", Err: errors.New("y"), Last: names},
	} {
		var out bytes.Buffer
		report(&out, fmt.Errorf("doing: %w", err))
		if n := strings.Count(out.String(), "\n"); n > 50 || out.Len() > 8000 {
			t.Errorf("%s: %d lines, %d bytes", name, n, out.Len())
		}
		if !strings.Contains(out.String(), "more") && !strings.Contains(out.String(), "…") {
			t.Errorf("%s: nothing says that there is more:\n%s", name, out.String())
		}
		if name == "the resolver" && !strings.Contains(out.String(), "the end") {
			t.Errorf("%s: its end is not told", name)
		}
	}
}

func TestInterrupted(t *testing.T) {
	t.Parallel()
	cut, cancel := context.WithCancelCause(t.Context())
	cancel(&InterruptedError{Signal: os.Interrupt})
	fault := errors.New("x")
	if got := interrupted(t.Context(), fault); !errors.Is(got, fault) || ExitCode(got) != 1 {
		t.Errorf("without a signal: %v", got)
	}
	if got := interrupted(cut, fault); ExitCode(got) != 130 {
		t.Errorf("after a signal: %v", got)
	}
	if got := interrupted(cut, nil); got != nil {
		t.Errorf("done in spite of a signal: %v", got)
	}
	if got := interrupted(cut, &ChildError{Code: 7}); ExitCode(got) != 7 {
		t.Errorf("a program's own code after a signal: %v", got)
	}
}

// TestExitCodesAreHelped checks that the help has every code once.
func TestExitCodesAreHelped(t *testing.T) {
	t.Parallel()
	help := exitHelp()
	for _, row := range exitCodes() {
		if n := strings.Count(help, fmt.Sprintf("\n  %3d  %s", row.code, row.means)); n != 1 {
			t.Errorf("help has code %d %d times", row.code, n)
		}
	}
}
