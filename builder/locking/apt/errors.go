package apt

import (
	"fmt"
	"regexp"
	"strings"

	"ampoule/faults"
	"ampoule/recipes"
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

// Kind says whose fault it is.
func (*UnknownError) Kind() faults.Kind { return faults.Input }

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
		strings.Join(recipes.First(e.Want), ", "), e.Suite, strings.Join(recipes.First(e.Changes), ", "))
}

// Kind says whose fault it is.
func (*ChangeError) Kind() faults.Kind { return faults.Input }

// Hint says what to do.
func (e *ChangeError) Hint() string {
	return "lock again with --upgrade, which moves the locked packages"
}

// SuiteError says that no mirror has a suite, or a part of one.
type SuiteError struct {
	Suite string
	// Part is "updates" or "security", which is the end of Suite then; empty otherwise.
	Part string
	// Detail is what apt told.
	Detail string
}

func (e *SuiteError) Error() string {
	return fmt.Sprintf("no mirror has Debian %s: %s", e.Suite, e.Detail)
}

// Kind says whose fault it is.
func (*SuiteError) Kind() faults.Kind { return faults.NotFound }

// Hint says what to check.
func (e *SuiteError) Hint() string {
	switch e.Part {
	case "":
		return "check the suite's name, and whether the mirrors still carry it"
	case "security":
		return "add a mirror of Debian's security archive to those of source debian; a lock without security updates is made only where config.toml says so: [sources.debian] without = [\"security\"]"
	}
	return fmt.Sprintf("name a mirror that has it; a lock without is made only where config.toml says so: [sources.debian] without = [%q]", e.Part)
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

// Kind says whose fault it is.
func (*RunError) Kind() faults.Kind { return faults.Remote }

// Unwrap returns how it ended.
func (e *RunError) Unwrap() error { return e.Err }

// Lasts reports whether the reason is how apt-get is run: see [faults.Passes].
func (e *RunError) Lasts() bool { return e.Hint() != "" }

// Hint says what to do where the reason is how apt-get is run.
func (e *RunError) Hint() string {
	said := strings.Join(e.Messages, "\n") + e.stdout
	switch {
	case strings.Contains(said, "Permission denied"):
		return "apt-get runs as a user of its own where ampoule runs as root: a directory that is a mirror must be readable to everybody"
	case redirected.MatchString(said):
		return "redirects are not followed: name the address itself in the mirrors of source debian"
	}
	return ""
}

// redirected matches what apt's methods say of an answer that leads elsewhere.
var redirected = regexp.MustCompile(`\b30[12378]  `)
