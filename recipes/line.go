package recipes

import "strings"

// Line is a logical line of a requirements file: physical lines that a backslash joins are one.
type Line struct {
	// Text is without comments and line ends.
	Text string
	// First and Last are the physical lines that it takes, counted from 1.
	First, Last int
}

// Lines gives the logical lines of a requirements file that are neither empty nor comments.
func Lines(text string) []Line {
	var lines []Line
	for _, l := range logicalLines(text) {
		lines = append(lines, Line{l.text, l.number, l.last})
	}
	return lines
}

// Requirement reads the requirement of a line, without its hashes. ok is false of an option,
// and of what is no requirement by name.
func (l Line) Requirement() (_ Requirement, ok bool) {
	if strings.HasPrefix(l.Text, "-") {
		return Requirement{}, false
	}
	spec, _, wrong := splitHashes(l.Text)
	if wrong != nil {
		return Requirement{}, false
	}
	r, wrong := parseRequirement(spec)
	return r, wrong == nil
}

// Include is the file whose requirements a line includes, relative to the file that the line
// stands in. ok is false of every other line, also of one that includes constraints.
func (l Line) Include() (file string, ok bool) {
	if !strings.HasPrefix(l.Text, "-") {
		return "", false
	}
	name, value := cutOption(l.Text)
	return value, (name == "-r" || name == "--requirement") && value != ""
}
