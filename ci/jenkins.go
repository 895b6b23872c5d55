package ci

import "context"

// jenkins is Jenkins, whose log has no commands. A pipeline reads the file of variables
// (readProperties).
type jenkins struct{ file string }

func newJenkins(p Place) System { return jenkins{exportFile(p.get("WORKSPACE"))} }

func (jenkins) Name() string               { return "jenkins" }
func (jenkins) Begin(p Part) string        { return "== " + oneLine(p.Title) }
func (jenkins) End(Part) string            { return "" }
func (jenkins) Annotate(Annotation) string { return "" }
func (jenkins) Stop(string) string         { return "" }
func (jenkins) Resume(string) string       { return "" }

// Disarm: Jenkins takes what stands behind this for an object of its own, which the page of
// the log hides (hudson.console.ConsoleNote).
func (jenkins) Disarm() []Replacement {
	return []Replacement{{From: "\x1b[8mha:", To: `\x1b[8mha:`}}
}

func (j jenkins) Export(_ context.Context, values []Value) error {
	return writeVariables(j.file, values)
}

func (jenkins) Summarize(context.Context, string) error { return nil }
