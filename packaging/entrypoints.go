package packaging

import (
	"iter"
	"regexp"
	"strings"
)

// EntryPoint is a line of entry_points.txt, NAME = VALUE (PyPA, "Entry points specification").
type EntryPoint struct {
	Group string
	// Name and Value are as they stand, without the white space around them.
	Name, Value string
	// Line is the whole line. HasValue is false where it has no "=".
	Line     string
	HasValue bool
}

// IsScript reports whether an installer makes a program of the entry point.
func (e EntryPoint) IsScript() bool {
	return e.Group == "console_scripts" || e.Group == "gui_scripts"
}

// EntryPoints gives the entry points of an entry_points.txt, in their order. What stands
// before the first group has an empty one. Empty lines and comments are left out.
func EntryPoints(data []byte) iter.Seq[EntryPoint] {
	return func(yield func(EntryPoint) bool) {
		group := ""
		for line := range strings.Lines(strings.ReplaceAll(string(data), "\r", "\n")) {
			line = strings.TrimSpace(line)
			if line == "" || line[0] == '#' || line[0] == ';' {
				continue
			}
			if line[0] == '[' && line[len(line)-1] == ']' {
				group = strings.Trim(line, "[]")
				continue
			}
			name, value, ok := strings.Cut(line, "=")
			if !yield(EntryPoint{Group: group, Name: strings.TrimSpace(name), Value: strings.TrimSpace(value), Line: line, HasValue: ok}) {
				return
			}
		}
	}
}

// object matches what the entry point of a script leads to: MODULE:ATTRIBUTE, and extras,
// which say nothing to a script. Both are identifiers with dots.
var object = regexp.MustCompile(`^([\p{L}\p{N}\p{M}_]+(?:\.[\p{L}\p{N}\p{M}_]+)*)\s*:\s*([\p{L}\p{N}\p{M}_]+(?:\.[\p{L}\p{N}\p{M}_]+)*)\s*(?:\[[^\[\]]*\])?$`)

// Object is what the entry point leads to: an attribute, which may have dots, of a module. It
// is false where the value names none.
func (e EntryPoint) Object() (module, attribute string, ok bool) {
	m := object.FindStringSubmatch(e.Value)
	if m == nil || !e.HasValue {
		return "", "", false
	}
	return m[1], m[2], true
}
