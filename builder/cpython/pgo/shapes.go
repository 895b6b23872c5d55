package pgo

import (
	"bytes"
	"regexp"
	"strings"
)

// refusal is the end of a line by which GCC or clang refuses counts of a function with another shape.
var refusal = regexp.MustCompile(`error: .*\[-Werror[=,](coverage-mismatch|-Wprofile-instr-out-of-date)\]\s*$`)

// mostTold bounds what is looked at of one line, in bytes.
const mostTold = 4 << 10

// Shapes looks through what compilers print for a function whose shape is not that of the training.
type Shapes struct {
	line    []byte
	refused string
}

// Write implements [io.Writer].
func (s *Shapes) Write(p []byte) (int, error) {
	for rest := p; s.refused == "" && len(rest) > 0; {
		line, after, ended := bytes.Cut(rest, []byte("\n"))
		s.line = append(s.line, line[:min(len(line), mostTold-len(s.line))]...)
		if ended {
			if refusal.Match(s.line) {
				s.refused = strings.TrimSpace(string(s.line))
			}
			s.line = s.line[:0]
		}
		rest = after
	}
	return len(p), nil
}

// Err is a [*MisfitError] that has the compiler's first such line; nil if it printed none.
func (s *Shapes) Err() error {
	if s.refused == "" {
		return nil
	}
	return misfit("a function has another shape than in training: %s", s.refused)
}
