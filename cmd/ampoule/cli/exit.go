package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"ampoule/audit/preflight"
	"ampoule/audit/survey"
	"ampoule/builder"
	"ampoule/builder/buildlog"
	"ampoule/builder/cpython"
	"ampoule/builder/docker"
	"ampoule/builder/failure"
	"ampoule/builder/fetch"
	"ampoule/builder/locking"
	"ampoule/builder/locking/apt"
	"ampoule/builder/sandbox"
	"ampoule/builder/seal"
	"ampoule/builder/toolchain"
	"ampoule/builder/unpack"
	"ampoule/builder/wheels"
	"ampoule/config"
	"ampoule/recipes"
	"ampoule/recipes/catalogue"
	"ampoule/registry"
	"ampoule/registry/embedded"
	"ampoule/registry/images"
	"ampoule/registry/install"
	"ampoule/registry/layer"
	"ampoule/store"
)

// The exit codes. There is no other place that chooses one.
const (
	codeDone        = 0
	codeFault       = 1
	codeUsage       = 2
	codeInput       = 3
	codeRefused     = 4
	codeNotFound    = 5
	codeMachine     = 6
	codeRemote      = 7
	codeBuild       = 8
	codeUndecided   = 9
	codeInterrupted = 130
)

// codes says which errors end with which code; the first that fits counts. What
// fits none is a fault of Ampoule itself.
var codes = []struct {
	code  int
	means string
	fits  func(error) bool
}{
	{codeDone, "done", func(err error) bool { return err == nil }},
	{codeInterrupted, "interrupted", is[*InterruptedError]},
	{codeFault, "a fault of Ampoule itself", func(error) bool { return false }},
	{codeUsage, "wrong usage", anyOf(is[*UsageError], is[*registry.ReferenceError])},
	{codeInput, "an input file (recipe, lock, requirements, policy) is wrong or stale", anyOf(
		is[recipes.Faults], is[*config.Error], is[*locking.ResolutionError], is[*locking.UnknownPythonError],
		is[*locking.NoSdistError], is[*locking.OwnedError], is[*locking.LyingSdistError], is[*locking.CrateError], is[*locking.SdistError], is[*locking.VersionsError], is[*wheels.CircleError], is[*builder.LostPatchError], is[*recipes.RequirementError], is[*apt.UnknownError], is[*apt.ChangeError], is[*toolchain.NotDebianError],
		wraps(builder.ErrNoLock), is[*survey.NothingError], is[*survey.UnreadableError], is[*survey.NoInterpreterError], is[*UnreadError], wraps(images.ErrNoImage), wraps(images.ErrDamaged))},
	{codeRefused, "refused: gate, audit, policy or verification", anyOf(
		is[*builder.RefusedError], is[*wheels.NativeError], is[*unpack.RefusedError], is[*seal.OverwriteError], is[*registry.KeyTakenError], is[*registry.KeyMismatchError], is[*registry.DamagedError], is[*install.VerificationError], is[*store.MismatchError], is[*store.RecordError], is[*DamagedError], is[*DifferentError], is[*AuditRefusedError], is[*LintError],
		is[*embedded.HeldError], wraps(embedded.ErrDamaged), wraps(registry.ErrDigest), wraps(layer.ErrDiffID))},
	{codeNotFound, "not found", anyOf(
		is[*NotFoundError], is[*UnexplainedError], is[*docker.UnknownImageError], is[*survey.NotFoundError], is[*registry.NotFoundError], wraps(embedded.ErrNoArtifact), is[*fetch.NotFoundError], is[*fetch.NoProjectError],
		is[*locking.LostPinError], is[*apt.SuiteError], is[*failure.GoneError], is[*builder.NoShellError], is[*builder.NoStepError],
		is[*catalogue.UnknownError])},
	{codeMachine, "this machine cannot: Docker missing or too old, disk full, host unfit", anyOf(
		wraps(sandbox.ErrUnavailable), wraps(sandbox.ErrNotSealed), wraps(store.ErrNoSpace), wraps(syscall.ENOSPC),
		wraps(syscall.EDQUOT), wraps(fs.ErrPermission), is[*store.VersionError], is[*store.OwnerError],
		is[*store.ForeignError], is[*store.WritableError], is[*store.UpgradeError], is[*install.HostError], is[*install.UnsafeError], is[*preflight.UnfitError], is[*embedded.BusyError], is[*fetch.DefaultError])},
	{codeRemote, "a remote failed: registry, index, mirror, server", anyOf(
		is[*registry.RemoteError], is[*registry.SilentError], is[*fetch.RemoteError], is[*fetch.StatusError], is[*fetch.HashError],
		is[*locking.IndexError], is[*apt.RunError])},
	{codeBuild, "the build failed: a build step ended with an error", anyOf(
		is[*buildlog.StepError], is[*toolchain.StepError], is[*wheels.BuildError], is[*wheels.IdentityError], is[*wheels.MissingError], is[*cpython.MissingModulesError],
		is[*seal.MissingLibraryError], is[*seal.ConflictError], is[*sandbox.ExitError], is[*sandbox.TimeError], is[*sandbox.ExceededError])},
	{codeUndecided, "undecided: it depends on something that was not given", is[*UndecidedError]},
}

// ExitCode is the code that an error ends the program with.
func ExitCode(err error) int {
	var child *ChildError
	if errors.As(err, &child) {
		return child.Code
	}
	for _, row := range codes {
		if row.fits(err) {
			return row.code
		}
	}
	return codeFault
}

// exitHelp is the table for the help text.
func exitHelp() string {
	var b strings.Builder
	b.WriteString("Exit codes:\n")
	for _, row := range codes {
		if row.code != codeInterrupted {
			fmt.Fprintf(&b, "  %3d  %s\n", row.code, row.means)
		}
	}
	fmt.Fprintf(&b, "  %3d  interrupted", codeInterrupted)
	return b.String()
}

func is[T error](err error) bool {
	var target T
	return errors.As(err, &target)
}

func wraps(target error) func(error) bool {
	return func(err error) bool { return errors.Is(err, target) }
}

func anyOf(checks ...func(error) bool) func(error) bool {
	return func(err error) bool {
		for _, fits := range checks {
			if fits(err) {
				return true
			}
		}
		return false
	}
}

// UsageError says that the program was called wrongly.
type UsageError struct {
	// Verb is the command with its verb; empty for the command itself.
	Verb string
	Err  error
}

func (e *UsageError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *UsageError) Unwrap() error { return e.Err }

// Hint names the help.
func (e *UsageError) Hint() string {
	verb := e.Verb
	if verb == "" {
		verb = "ampoule"
	}
	return "see " + verb + " --help"
}

// NotFoundError says that something that was asked for by name is not there.
type NotFoundError struct {
	What string
	// Advice says how to find what is there.
	Advice string
}

func (e *NotFoundError) Error() string { return e.What + ": not found" }

// Hint says how to find what is there.
func (e *NotFoundError) Hint() string { return e.Advice }

// ChildError is the exit code of a program that was run on behalf of the user. It
// is passed on and nothing is said about it.
type ChildError struct{ Code int }

func (e *ChildError) Error() string {
	return fmt.Sprintf("the program ended with exit code %d", e.Code)
}

// InterruptedError says that a signal ended the work.
type InterruptedError struct {
	Signal os.Signal
	// Err is what the work said when it was ended; nil if it said nothing.
	Err error
}

func (e *InterruptedError) Error() string {
	if e.Err == nil || errors.Is(e.Err, context.Canceled) || is[*InterruptedError](e.Err) {
		return fmt.Sprintf("interrupted (%s)", e.Signal)
	}
	return fmt.Sprintf("interrupted (%s): %v", e.Signal, e.Err)
}

// Unwrap returns what the work said.
func (e *InterruptedError) Unwrap() error { return e.Err }
