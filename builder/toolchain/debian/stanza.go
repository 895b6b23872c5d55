// Package debian reads Debian's own formats: stanzas of control data, and binary
// packages. All of it is foreign bytes and is read with limits.
package debian

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Field is one field of a stanza.
type Field struct {
	Name string
	// Value holds the lines after the colon as they stand, without the first one's
	// leading space; later lines keep theirs.
	Value string
}

// Stanza is one paragraph of control data, its fields in their order (Debian
// Policy, section 5.1).
type Stanza []Field

// Get returns a field's value, trimmed; empty when the stanza has no such field.
// Names are compared without case, as Debian Policy says.
func (s Stanza) Get(name string) string {
	for _, f := range s {
		if strings.EqualFold(f.Name, name) {
			return strings.TrimSpace(f.Value)
		}
	}
	return ""
}

// With returns the stanza with a field set: in its place where it has one, else at the end.
func (s Stanza) With(name, value string) Stanza {
	out := make(Stanza, 0, len(s)+1)
	found := false
	for _, f := range s {
		if strings.EqualFold(f.Name, name) {
			if found {
				continue
			}
			found, f.Value = true, value
		}
		out = append(out, f)
	}
	if !found {
		out = append(out, Field{Name: name, Value: value})
	}
	return out
}

// Without returns the stanza without some fields.
func (s Stanza) Without(names ...string) Stanza {
	out := make(Stanza, 0, len(s))
	for _, f := range s {
		drop := false
		for _, name := range names {
			drop = drop || strings.EqualFold(f.Name, name)
		}
		if !drop {
			out = append(out, f)
		}
	}
	return out
}

// String spells the stanza as control data, with the empty line that ends it.
func (s Stanza) String() string {
	var b strings.Builder
	for _, f := range s {
		b.WriteString(f.Name)
		b.WriteByte(':')
		if f.Value != "" && f.Value[0] != '\n' {
			b.WriteByte(' ')
		}
		b.WriteString(f.Value)
		b.WriteByte('\n')
	}
	b.WriteByte('\n')
	return b.String()
}

// The bounds of control data. The largest Packages list of Debian has some
// 70,000 stanzas; its longest fields are file lists of a few hundred KiB.
const (
	maxLine    = 1 << 20
	maxStanza  = 4 << 20
	maxStanzas = 500_000
)

// ErrLimit is wrapped by errors about input beyond the bounds of this package.
var ErrLimit = errors.New("exceeds the limit")

// Stanzas reads control data and hands each stanza to yield, until yield returns
// an error, which it returns as it is. Comments are no part of what it reads; a
// line that is neither a field nor a continuation is an error with its number.
func Stanzas(r io.Reader, yield func(Stanza) error) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 64<<10), maxLine)
	var stanza Stanza
	size, stanzas := 0, 0
	flush := func() error {
		if len(stanza) == 0 {
			return nil
		}
		stanzas++
		if stanzas > maxStanzas {
			return fmt.Errorf("reading control data: more than %d stanzas: %w", maxStanzas, ErrLimit)
		}
		done := stanza
		stanza, size = nil, 0
		return yield(done)
	}
	number := 0
	for lines.Scan() {
		number++
		line := lines.Text()
		if strings.TrimSpace(line) == "" {
			if err := flush(); err != nil {
				return err
			}
			continue
		}
		size += len(line)
		if size > maxStanza {
			return fmt.Errorf("reading control data: line %d: stanza of more than %d bytes: %w", number, maxStanza, ErrLimit)
		}
		var err error
		if stanza, err = appendLine(stanza, line); err != nil {
			return fmt.Errorf("reading control data: line %d: %w", number, err)
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("reading control data: line %d: %w", number+1, err)
	}
	return flush()
}

// appendLine adds one line that is not empty to a stanza.
func appendLine(s Stanza, line string) (Stanza, error) {
	if line[0] == ' ' || line[0] == '\t' {
		if len(s) == 0 {
			return nil, errors.New("continuation of no field")
		}
		s[len(s)-1].Value += "\n" + line
		return s, nil
	}
	name, value, ok := strings.Cut(line, ":")
	if !ok || name == "" || strings.ContainsAny(name, " \t") {
		return nil, fmt.Errorf("%.60q is not a field", line)
	}
	return append(s, Field{Name: name, Value: strings.TrimSpace(value)}), nil
}
