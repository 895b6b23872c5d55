package ci

import (
	"io"
	"strings"
)

// Replacement is a text that is written in another way.
type Replacement struct {
	From, To string
	// AtLineStart replaces it at the beginning of a line alone.
	AtLineStart bool
}

// filter replaces texts in a stream, also those that come in several pieces. Where several
// begin at one place, the longest is replaced. What may be the beginning of one is held back
// until more comes, or until flush.
type filter struct {
	w     io.Writer
	rules []Replacement
	// first are the bytes that a rule's text begins with.
	first [256]bool
	held  []byte
	// inLine says that the last byte that was taken was no line break.
	inLine bool
}

func newFilter(w io.Writer, rules []Replacement) *filter {
	f := &filter{w: w, rules: rules}
	for _, r := range rules {
		f.first[r.From[0]] = true
	}
	return f
}

// Write implements [io.Writer].
func (f *filter) Write(p []byte) (int, error) {
	if err := f.take(p, false); err != nil {
		return 0, err
	}
	return len(p), nil
}

// flush writes what was held back.
func (f *filter) flush() error { return f.take(nil, true) }

// take filters more bytes; all is true if nothing can follow them.
func (f *filter) take(more []byte, all bool) error {
	data := append(f.held, more...)
	var out strings.Builder
	at := 0
	for at < len(data) {
		rule, pending := f.match(string(data[at:min(len(data), at+f.longest())]))
		if pending && !all {
			break
		}
		if rule != nil {
			out.WriteString(rule.To)
			at += len(rule.From)
			f.inLine = !endsLine(rule.From[len(rule.From)-1])
			continue
		}
		out.WriteByte(data[at])
		f.inLine = !endsLine(data[at])
		at++
	}
	f.held = append([]byte(nil), data[at:]...)
	if out.Len() == 0 {
		return nil
	}
	_, err := io.WriteString(f.w, out.String())
	return err
}

// match finds the longest rule for the beginning of a text. Pending says that a longer one
// may be there, if more comes.
func (f *filter) match(text string) (found *Replacement, pending bool) {
	if !f.first[text[0]] {
		return nil, false
	}
	for i := range f.rules {
		rule := &f.rules[i]
		switch {
		case rule.AtLineStart && f.inLine:
		case strings.HasPrefix(text, rule.From):
			if found == nil || len(rule.From) > len(found.From) {
				found = rule
			}
		case strings.HasPrefix(rule.From, text):
			pending = true
		}
	}
	return found, pending
}

// longest is the length of the longest text that a rule replaces, at least 1.
func (f *filter) longest() int {
	n := 1
	for _, r := range f.rules {
		n = max(n, len(r.From))
	}
	return n
}

// endsLine reports whether a byte ends a line for whoever reads a log.
func endsLine(b byte) bool { return b == '\n' || b == '\r' }
