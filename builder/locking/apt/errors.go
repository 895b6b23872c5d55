package apt

import (
	"fmt"
	"strings"
)

// UnknownError says that a suite has no package of a name.
type UnknownError struct {
	Name, Suite string
	// Nearest is a name that the suite has; may be empty.
	Nearest string
}

func (e *UnknownError) Error() string {
	return fmt.Sprintf("Debian %s has no package %s", e.Suite, e.Name)
}

// Hint names the nearest package.
func (e *UnknownError) Hint() string {
	if e.Nearest == "" {
		return "the name may differ in this suite"
	}
	return fmt.Sprintf("did you mean %s?", e.Nearest)
}

// ChangeError says that what is wanted cannot be had beside what is installed.
type ChangeError struct {
	Suite string
	Want  []string
	// Changes are the installed packages that would have to change or to go, each as
	// "NAME OLD → NEW" or "NAME OLD → none".
	Changes []string
}

func (e *ChangeError) Error() string {
	return fmt.Sprintf("adding %s of Debian %s to the locked packages: some of them would have to change: %s",
		strings.Join(e.Want, ", "), e.Suite, strings.Join(e.Changes, ", "))
}

// Hint says what to do.
func (e *ChangeError) Hint() string {
	return "lock again with --upgrade, which moves the locked packages"
}

// SuiteError says that no mirror has a suite.
type SuiteError struct {
	Suite string
	// Detail is what apt told.
	Detail string
}

func (e *SuiteError) Error() string {
	return fmt.Sprintf("no mirror has Debian %s: %s", e.Suite, e.Detail)
}

// Hint says what to check.
func (e *SuiteError) Hint() string {
	return "check the suite's name, and whether the mirrors still carry it"
}

// RunError says that apt-get ended with an error.
type RunError struct {
	// Messages are apt's own errors and warnings, a line each.
	Messages []string
	Err      error
	// stdout is where apt's methods tell what a mirror answered.
	stdout string
}

func (e *RunError) Error() string {
	if len(e.Messages) == 0 {
		return "running apt-get: " + e.Err.Error()
	}
	return "running apt-get: " + strings.Join(e.Messages, "; ")
}

func (e *RunError) Unwrap() error { return e.Err }
