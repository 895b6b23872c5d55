package wheels

import (
	"errors"
	"fmt"
	"strings"

	"ampoule/builder/sandbox"
	"ampoule/faults"
	"ampoule/recipes"
)

// FailedError says which builds failed where all that could be built was.
type FailedError struct {
	// Failures are the builds that failed: each a [*BuildError] or [*NativeError].
	Failures []error
	// Skipped are the dists, as NAME==VERSION, that need one of those.
	Skipped []string
}

func (e *FailedError) Error() string {
	lines := make([]string, len(e.Failures))
	for i, err := range e.Failures {
		lines[i] = err.Error()
	}
	lines = recipes.First(lines)
	if len(e.Skipped) > 0 {
		lines = append(lines, "not built, because they need one of these: "+strings.Join(recipes.First(e.Skipped), ", "))
	}
	return fmt.Sprintf("%d builds failed:\n%s", len(e.Failures), strings.Join(lines, "\n"))
}

// Kind says whose fault it is.
func (*FailedError) Kind() faults.Kind { return faults.Build }

// Unwrap returns the failures.
func (e *FailedError) Unwrap() []error { return e.Failures }

// isFailure reports whether an error is of one dist alone, and not of the machine that
// builds it.
func isFailure(err error) bool {
	var exit *sandbox.ExitError
	var identity *IdentityError
	var native *NativeError
	return errors.As(err, &exit) || errors.As(err, &identity) || errors.As(err, &native)
}
