package debian

import (
	"fmt"
	"os/exec"

	"ampoule/builder/sandbox"
	"ampoule/faults"
)

// MissingToolError says that this machine lacks a program that Ampoule runs
// outside sandboxes. It is a [sandbox.ErrUnavailable].
type MissingToolError struct {
	// Tool is the program's name, Package the Debian package that has it.
	Tool, Package string
}

func (e *MissingToolError) Error() string {
	return fmt.Sprintf("this machine has no %s", e.Tool)
}

// Kind says whose fault it is.
func (*MissingToolError) Kind() faults.Kind { return faults.Machine }

// Hint says what to do.
func (e *MissingToolError) Hint() string {
	return fmt.Sprintf("install the Debian package %s", e.Package)
}

// Is makes the error a [sandbox.ErrUnavailable].
func (e *MissingToolError) Is(target error) bool { return target == sandbox.ErrUnavailable }

// Tool finds a program of this machine, or returns a [*MissingToolError].
func Tool(name, pkg string) (string, error) {
	file, err := exec.LookPath(name)
	if err != nil {
		return "", &MissingToolError{Tool: name, Package: pkg}
	}
	return file, nil
}
