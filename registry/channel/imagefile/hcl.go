package imagefile

import (
	"bytes"
	"regexp"
	"strings"
)

// findHCL finds the images of a job: image = "…", wherever it stands. Comments, other strings and
// heredocs are passed over (HCL syntax specification, "Lexical Elements").
func findHCL(path string, text []byte) ([]place, error) {
	s := &hclScanner{path: path, text: text}
	if err := s.scan(); err != nil {
		return nil, err
	}
	return s.found, nil
}

var (
	hclName    = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]*`)
	hclHeredoc = regexp.MustCompile(`^<<-?([A-Za-z_][A-Za-z0-9_-]*)\r?\n`)
)

// hclScanner reads a text from its begin to its end.
type hclScanner struct {
	path  string
	text  []byte
	at    int
	found []place
	// before are the last two things that were read, blanks and comments left out.
	before [2]string
}

func (s *hclScanner) rest() []byte { return s.text[s.at:] }

// place is one from here on.
func (s *hclScanner) place(from int) place {
	line := bytes.Count(s.text[:from], []byte("\n"))
	begin := bytes.LastIndexByte(s.text[:from], '\n') + 1
	return place{line: line + 1, column: from - begin + 1, from: from}
}

func (s *hclScanner) scan() error {
	for s.at < len(s.text) {
		rest := s.rest()
		name := hclName.Find(rest)
		heredoc := hclHeredoc.FindSubmatch(rest)
		switch {
		case rest[0] == '#' || bytes.HasPrefix(rest, []byte("//")):
			s.skipTo("\n")
		case bytes.HasPrefix(rest, []byte("/*")):
			begin := s.at
			if !s.skipTo("*/") {
				return fault(s.path, s.place(begin), "", "a comment has no end")
			}
		case heredoc != nil:
			if err := s.heredoc(string(heredoc[1])); err != nil {
				return err
			}
		case rest[0] == '"':
			if err := s.quoted(); err != nil {
				return err
			}
		case name != nil:
			s.note(string(name))
			s.at += len(name)
		case strings.ContainsRune(" \t\r\n", rune(rest[0])):
			s.at++
		default:
			s.note(string(rest[:1]))
			s.at++
		}
	}
	return nil
}

func (s *hclScanner) note(what string) { s.before = [2]string{s.before[1], what} }

// skipTo goes behind a text, or to the end.
func (s *hclScanner) skipTo(end string) bool {
	i := bytes.Index(s.rest(), []byte(end))
	if i < 0 {
		s.at = len(s.text)
		return false
	}
	s.at += i + len(end)
	return true
}

// heredoc goes behind a text that ends with a line of its own.
func (s *hclScanner) heredoc(end string) error {
	begin := s.at
	for s.skipTo("\n") {
		line, _, _ := bytes.Cut(s.rest(), []byte("\n"))
		if string(bytes.TrimSpace(line)) == end {
			s.at += len(line)
			s.note("<<")
			return nil
		}
	}
	return fault(s.path, s.place(begin), "", "the text <<%s has no end", end)
}

// quoted reads a string. It may have templates, ${…}, with strings in them.
func (s *hclScanner) quoted() error {
	begin := s.at
	if !s.skipQuoted() {
		return fault(s.path, s.place(begin), "", "a string has no end on its line")
	}
	if s.before == [2]string{imageKey, "="} {
		p := s.place(begin + 1)
		p.to = s.at - 1
		p.text = string(s.text[p.from:p.to])
		s.found = append(s.found, p)
	}
	s.note(`"`)
	return nil
}

// skipQuoted goes behind a string that begins here, and reports whether it ends.
func (s *hclScanner) skipQuoted() bool {
	s.at++
	for s.at < len(s.text) {
		rest := s.rest()
		switch {
		case rest[0] == '\\':
			s.at += 2
		case rest[0] == '"':
			s.at++
			return true
		case rest[0] == '\n':
			return false
		case bytes.HasPrefix(rest, []byte("$${")), bytes.HasPrefix(rest, []byte("%%{")):
			s.at += 3
		case bytes.HasPrefix(rest, []byte("${")), bytes.HasPrefix(rest, []byte("%{")):
			s.at += 2
			if !s.skipTemplate() {
				return false
			}
		default:
			s.at++
		}
	}
	return false
}

// skipTemplate goes behind the brace that ends a template.
func (s *hclScanner) skipTemplate() bool {
	for depth := 1; s.at < len(s.text); {
		switch s.text[s.at] {
		case '"':
			if !s.skipQuoted() {
				return false
			}
			continue
		case '{':
			depth++
		case '}':
			depth--
		case '\n':
			return false
		}
		s.at++
		if depth == 0 {
			return true
		}
	}
	return false
}
