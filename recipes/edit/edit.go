// Package edit changes requirements where people wrote them: in a requirements file, or in a
// list of a recipe. Bytes come in and bytes go out; what is not changed keeps its bytes, with
// its comments and its order. What was edited is read again, and an edit that says another
// thing than it should is refused.
package edit

import (
	"bytes"
	"fmt"
	"strings"

	"ampoule/recipes"
)

// Change is one requirement that was changed.
type Change struct {
	// Line is where it stands now, or stood, counted from 1.
	Line int `json:"line"`
	// Before and After are how it was and is written. Before is empty of one that was added,
	// After of one that was removed. They are equal if there was nothing to do.
	Before string `json:"before,omitempty"`
	After  string `json:"after,omitempty"`
}

// Wanted is a requirement to be written.
type Wanted struct {
	recipes.Requirement
	// Text is how it is written.
	Text string
}

// Want reads a requirement to be written (PEP 508). The error is of kind Input.
func Want(text string) (Wanted, error) {
	text = strings.TrimSpace(text)
	r, err := recipes.ParseRequirement(text)
	return Wanted{r, text}, err
}

// replaces reports whether it takes the place of another requirement: that of the same
// distribution under the same condition.
func (w Wanted) replaces(other recipes.Requirement) bool {
	return w.Name == other.Name && marker(w.Spec) == marker(other.Spec)
}

// marker is the condition of a requirement in canonical text.
func marker(spec string) string {
	_, condition, _ := strings.Cut(spec, ";")
	return strings.TrimSpace(condition)
}

// source is a text that is edited, with the places of its lines.
type source struct {
	file string
	data []byte
	// begins are the offsets of the lines.
	begins []int
}

func newSource(file string, data []byte) *source {
	s := &source{file: file, data: data, begins: []int{0}}
	for i, c := range data {
		if c == '\n' {
			s.begins = append(s.begins, i+1)
		}
	}
	return s
}

// begin is the offset of a line, counted from 1; of one that there is not, the end.
func (s *source) begin(line int) int {
	if line > len(s.begins) {
		return len(s.data)
	}
	return s.begins[line-1]
}

// end is the offset where a line's text ends, without what ends the line.
func (s *source) end(line int) int {
	text := s.data[s.begin(line):s.begin(line+1)]
	return s.begin(line) + len(bytes.TrimRight(text, "\r\n"))
}

// lineOf is the line that an offset is in.
func (s *source) lineOf(offset int) int { return bytes.Count(s.data[:offset], []byte("\n")) + 1 }

// newline is what ends the lines of the text.
func (s *source) newline() string {
	if bytes.Contains(s.data, []byte("\r\n")) {
		return "\r\n"
	}
	return "\n"
}

// splice gives the text with something else between two offsets.
func (s *source) splice(from, to int, text string) []byte {
	return bytes.Join([][]byte{s.data[:from], s.data[to:]}, []byte(text))
}

// lastText is the last line that has some text; 0 if none has.
func (s *source) lastText() int {
	text := bytes.TrimRight(s.data, " \t\r\n\f")
	if len(text) == 0 {
		return 0
	}
	return s.lineOf(len(text))
}

// appended gives the text with further lines behind the last one that has some text.
func (s *source) appended(lines ...string) (_ []byte, line int) {
	newline := s.newline()
	text := strings.Join(lines, newline)
	last := s.lastText()
	if last == 0 {
		return append([]byte(text+newline), s.data...), 1
	}
	at := s.end(last)
	if at == len(s.data) {
		text += newline
	}
	return s.splice(at, at, newline+text), last + 1
}

// byHand refuses to edit a form, and says what to write.
func (s *source) byHand(line int, format string, args ...any) error {
	return recipes.Faults{{
		File: s.file, Line: line, Column: 1, What: "this cannot be edited in the form that it is written in",
		Hint: fmt.Sprintf(format, args...),
	}}
}
