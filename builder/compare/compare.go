// Package compare finds where two builds of the same differ, and says what the likely
// cause is.
package compare

import (
	"bytes"
	"cmp"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"ampoule/tree"
)

// Difference is one place in which two builds differ.
type Difference struct {
	// File is its path. What is in an archive follows behind "!".
	File string `json:"file"`
	// Place is where in the file: a section of an ELF file with an offset in it, a line, a
	// field.
	Place string `json:"place"`
	// First and Second are what the builds have there, printable and short.
	First  string `json:"first"`
	Second string `json:"second"`
	// Cause is what is likely behind it; empty when nothing is known.
	Cause string `json:"cause,omitempty"`
}

// Mark is a text that belongs to one of two builds' environments.
type Mark struct {
	// Text is in one of them and not in the other. Empty is none.
	Text string
	// Forms are what the first has, and what the second has. They may be nil.
	Forms [2]*regexp.Regexp
	// Means says what is told by it.
	Means string
}

// tells reports whether the mark explains that two texts differ.
func (m Mark) tells(a, b string) bool {
	if m.Text != "" && strings.Contains(a, m.Text) != strings.Contains(b, m.Text) {
		return true
	}
	return m.Forms[0] != nil && m.Forms[1] != nil && m.Forms[0].MatchString(a) && m.Forms[1].MatchString(b)
}

// Most is the largest number of differences that are told.
const Most = 200

// maxContent bounds the files that are looked into, in bytes, and maxDepth the archives
// that lie in archives.
const (
	maxContent = 256 << 20
	maxDepth   = 3
)

// comparison gathers differences.
type comparison struct {
	marks []Mark
	found []Difference
	// left is how many were not told.
	left int
}

func (c *comparison) add(d Difference) {
	if len(c.found) == Most {
		c.left++
		return
	}
	c.found = append(c.found, d)
}

func (c *comparison) all() []Difference {
	if c.left > 0 {
		c.found = append(c.found, Difference{File: "…", Place: fmt.Sprintf("%d more differences", c.left)})
	}
	return c.found
}

// Trees compares two trees. Paths in differences begin with prefix.
func Trees(prefix string, first, second *tree.Tree, marks ...Mark) ([]Difference, error) {
	c := &comparison{marks: marks}
	a, b := first.Entries(), second.Entries()
	for len(a) > 0 || len(b) > 0 {
		order := 0
		switch {
		case len(a) == 0:
			order = 1
		case len(b) == 0:
			order = -1
		default:
			order = cmp.Compare(a[0].Path, b[0].Path)
		}
		switch {
		case order < 0:
			c.add(Difference{File: path.Join(prefix, a[0].Path), Place: "the file", First: "there", Second: "missing"})
			a = a[1:]
		case order > 0:
			c.add(Difference{File: path.Join(prefix, b[0].Path), Place: "the file", First: "missing", Second: "there"})
			b = b[1:]
		default:
			if err := c.entries(path.Join(prefix, a[0].Path), a[0], b[0]); err != nil {
				return nil, err
			}
			a, b = a[1:], b[1:]
		}
	}
	return c.all(), nil
}

func (c *comparison) entries(name string, a, b tree.Entry) error {
	for _, f := range []struct {
		place         string
		first, second any
	}{{"kind", a.Kind, b.Kind}, {"mode", a.Mode, b.Mode}, {"link", a.Link, b.Link}, {"user", a.UID, b.UID}, {"group", a.GID, b.GID}} {
		if f.first != f.second {
			c.add(Difference{File: name, Place: f.place, First: fmt.Sprint(f.first), Second: fmt.Sprint(f.second)})
		}
	}
	if a.Kind != tree.File || b.Kind != tree.File || a.SHA256 == b.SHA256 {
		return nil
	}
	if a.Size > maxContent || b.Size > maxContent {
		c.add(Difference{File: name, Place: "content", First: a.SHA256, Second: b.SHA256})
		return nil
	}
	first, err := a.ReadAll()
	if err != nil {
		return fmt.Errorf("comparing %s: %w", name, err)
	}
	second, err := b.ReadAll()
	if err != nil {
		return fmt.Errorf("comparing %s: %w", name, err)
	}
	c.bytes(name, first, second)
	return nil
}

// Bytes compares two files of one name.
func Bytes(name string, first, second []byte, marks ...Mark) []Difference {
	c := &comparison{marks: marks}
	c.bytes(name, first, second)
	return c.all()
}

func (c *comparison) bytes(name string, a, b []byte) {
	if bytes.Equal(a, b) {
		return
	}
	before := len(c.found) + c.left
	both := func(magic string) bool {
		return bytes.HasPrefix(a, []byte(magic)) && bytes.HasPrefix(b, []byte(magic))
	}
	switch {
	case strings.Count(name, "!") > maxDepth:
	case both("\x7fELF"):
		c.elf(name, a, b)
	case both("PK\x03\x04"):
		c.zip(name, a, b)
	case both(arMagic):
		c.ar(name, a, b)
	case strings.HasSuffix(name, ".pyc"):
		c.pyc(name, a, b)
	case isText(a) && isText(b):
		c.text(name, a, b)
	}
	if len(c.found)+c.left == before {
		// No form was known, or the difference is outside of what it explains.
		c.raw(name, "", a, b)
	}
}

// isText tells text from other content.
func isText(data []byte) bool { return utf8.Valid(data) && !bytes.ContainsRune(data, 0) }

// text tells the first line that differs, and whether there are only other orders.
func (c *comparison) text(name string, a, b []byte) {
	first, second := strings.SplitAfter(string(a), "\n"), strings.SplitAfter(string(b), "\n")
	for i := range max(len(first), len(second)) {
		was, is := at(first, i), at(second, i)
		if was == is {
			continue
		}
		d := Difference{File: name, Place: fmt.Sprintf("line %d", i+1), First: short(was), Second: short(is), Cause: c.cause("", was, is)}
		if d.Cause == "" && slices.Equal(slices.Sorted(slices.Values(first)), slices.Sorted(slices.Values(second))) {
			d.Cause = causeOrder
		}
		c.add(d)
		return
	}
}

func at(lines []string, i int) string {
	if i < len(lines) {
		return lines[i]
	}
	return ""
}

// window is how much of the surroundings of a difference is looked at and shown, in bytes.
const window = 24

// raw tells the first offset that differs. Place is what the bytes are; empty for a
// whole file.
func (c *comparison) raw(name, place string, a, b []byte) {
	i := 0
	for i < len(a) && i < len(b) && a[i] == b[i] {
		i++
	}
	where := fmt.Sprintf("offset %#x", i)
	if place != "" {
		where = place + ", " + where
	}
	d := Difference{File: name, Place: where, First: around(a, i), Second: around(b, i)}
	d.Cause = c.cause(place, near(a, i), near(b, i))
	switch {
	case d.Cause != "":
	case place == placeCode:
		d.Cause = causeOfCode(a, b, i)
	default:
		d.Cause = causeOfNumbers(a, b, i)
	}
	c.add(d)
}

// near is what stands around an offset, further than what is shown.
func near(data []byte, i int) string { return string(data[max(0, i-128):min(len(data), i+128)]) }

// around shows what stands around an offset.
func around(data []byte, i int) string {
	if i >= len(data) {
		return fmt.Sprintf("the end, after %d bytes", len(data))
	}
	return short(string(data[max(0, i-window/3):min(len(data), i+window)]))
}

// shown is how long a text may be that is shown, in characters.
const shown = 160

// short makes a text printable and not longer than what is shown of it.
func short(text string) string {
	text = strings.TrimRight(text, "\n")
	if len(text) > shown {
		text = text[:shown]
	}
	quoted := fmt.Sprintf("%q", text)
	return quoted[1 : len(quoted)-1]
}
