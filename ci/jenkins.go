package ci

import "context"

// jenkins is Jenkins, whose log has no commands. A pipeline reads the file of variables
// (readProperties).
type jenkins struct {
	shell
	file string
}

func newJenkins(p Place) System { return jenkins{file: exportFile(p.get("WORKSPACE"))} }

// Name implements [System].
func (jenkins) Name() string { return "jenkins" }

// Disarm implements [System]: Jenkins takes what stands behind this for an object of its own, which the page of
// the log hides (hudson.console.ConsoleNote).
func (jenkins) Disarm() []Replacement {
	return []Replacement{{From: "\x1b[8mha:", To: `\x1b[8mha:`}}
}

// Export implements [System].
func (j jenkins) Export(_ context.Context, values []Value) error {
	return writeVariables(j.file, values)
}
