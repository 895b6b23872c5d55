package recipes

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"ampoule/faults"
)

// Position is a place in a file. Line and Column count from 1, columns in
// characters; zero means that the place is not known more closely.
type Position struct {
	File   string `json:"file"`
	Line   int    `json:"line,omitempty"`
	Column int    `json:"column,omitempty"`
}

// String gives file:line:column, without the parts that are not known.
func (p Position) String() string {
	switch {
	case p.Line == 0:
		return p.File
	case p.Column == 0:
		return fmt.Sprintf("%s:%d", p.File, p.Line)
	default:
		return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
	}
}

// fault makes a fault at the place.
func (p Position) fault(what, hint string) Fault {
	return Fault{File: p.File, Line: p.Line, Column: p.Column, What: what, Hint: hint}
}

// Fault is one thing that is wrong in a file that a person wrote or keeps. It
// becomes an error as part of [Faults].
type Fault struct {
	File         string
	Line, Column int
	// What says what is wrong, in one line.
	What string
	// Hint says what to do about it; empty where What says it all.
	Hint string
}

// Position is where the fault is.
func (f Fault) Position() Position {
	return Position{File: f.File, Line: f.Line, Column: f.Column}
}

// String gives the place and what is wrong there, without the hint.
func (f Fault) String() string {
	where := f.Position().String()
	if where == "" {
		return f.What
	}
	return where + ": " + f.What
}

// Faults is everything that is wrong, in the order of the files' lines. As an
// error it is never empty.
type Faults []Fault //nolint:errname // a list of faults, which is an error too

// Error gives a line for each fault: file:line:column: what.
func (f Faults) Error() string {
	lines := make([]string, len(f))
	for i, fault := range f {
		lines[i] = fault.String()
	}
	return strings.Join(First(lines), "\n")
}

// Kind says whose fault it is.
func (Faults) Kind() faults.Kind { return faults.Input }

// most is how many things of a kind an error names.
const most = 10

// First leaves of a list what an error's text has room for, and says how many more there
// are. What uses an error sees the whole list in its fields.
func First(list []string) []string {
	if len(list) <= most+1 {
		return list
	}
	return append(slices.Clone(list[:most]), fmt.Sprintf("and %d more", len(list)-most))
}

// Hint gives each hint of the faults once, a line for each.
func (f Faults) Hint() string {
	var hints []string
	for _, fault := range f {
		if fault.Hint != "" && !slices.Contains(hints, fault.Hint) {
			hints = append(hints, fault.Hint)
		}
	}
	return strings.Join(hints, "\n")
}

// without leaves out what stands at the place of an other fault.
func (f Faults) without(others Faults) Faults {
	return slices.DeleteFunc(f, func(fault Fault) bool {
		return slices.ContainsFunc(others, func(other Fault) bool { return other.Position() == fault.Position() })
	})
}

// Err is the faults as an error, sorted by place; nil when there is none.
func (f Faults) Err() error {
	if len(f) == 0 {
		return nil
	}
	slices.SortStableFunc(f, func(a, b Fault) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return f
}
