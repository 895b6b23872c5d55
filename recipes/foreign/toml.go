package foreign

import (
	"bytes"
	"errors"
	"path"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// Limits on TOML: decoding recurses by the parts of a key, and by nesting.
const (
	maxKeyParts = 32
	maxNesting  = 64
	maxPlaces   = 1_000_000
)

// document knows where the tables and keys of a TOML file stand.
type document struct {
	file string
	// at has tables and keys by their path; the tables of an array are numbered from 0.
	at map[string]Place
}

func newDocument(file string) *document { return &document{file: file, at: map[string]Place{}} }

func joinPath(path ...string) string { return strings.Join(path, "\x00") }

// find gives the place of what stands at a path, or of the nearest thing around it.
func (d *document) find(path ...string) Place {
	for n := len(path); n > 0; n-- {
		if at, ok := d.at[joinPath(path[:n]...)]; ok {
			return at
		}
	}
	return Place{d.file, 1, 1}
}

// item gives the place of the n-th table of an array.
func (d *document) item(array string, n int) Place { return d.find(array, strconv.Itoa(n)) }

// toml decodes a file. ok is false after a fault was told.
func (r *reader) toml(file string, data []byte, into ...any) (doc *document, ok bool) {
	p := placer{document: newDocument(file), lines: newLines(data), count: map[string]int{}}
	if what := p.read(); what != "" {
		r.add(p.here(p.file, p.offset), "", "%s: %s", path.Base(file), what)
		return nil, false
	}
	for _, v := range into {
		err := toml.Unmarshal(data, v)
		if err == nil {
			continue
		}
		at := Place{File: file, Line: 1, Column: 1}
		if wrong, isWrong := errors.AsType[*toml.DecodeError](err); isWrong {
			at.Line, at.Column = wrong.Position()
		}
		hint := ""
		if file == r.file {
			hint = r.again()
		}
		r.add(at, hint, "%s is not of the form that it should have: %v", path.Base(file), err)
		return nil, false
	}
	return p.document, true
}

// placer finds the places of a document.
type placer struct {
	*document
	*lines
	parser unstable.Parser
	table  []string
	// count has how many tables each array has so far, by its path.
	count map[string]int
	// offset is where reading stopped.
	offset int
}

// read walks the file; it returns what is wrong.
func (p *placer) read() string {
	if !utf8.Valid(p.data) {
		return "it is not UTF-8 text"
	}
	p.parser.Reset(p.data)
	for p.parser.NextExpression() {
		if what := p.expression(p.parser.Expression()); what != "" {
			return what
		}
		if len(p.at) > maxPlaces {
			return "it has too many keys"
		}
	}
	err := p.parser.Error()
	if err == nil {
		return ""
	}
	if wrong, ok := errors.AsType[*unstable.ParserError](err); ok {
		p.offset = cap(p.data) - cap(wrong.Highlight)
	}
	return "this is not TOML: " + err.Error()
}

func (p *placer) expression(n *unstable.Node) string {
	key := n.Key()
	var parts []string
	for key.Next() {
		if len(parts) == 0 {
			p.offset = int(key.Node().Raw.Offset)
		}
		parts = append(parts, string(key.Node().Data))
		if len(parts) > maxKeyParts {
			return "a key has too many parts"
		}
	}
	switch n.Kind { //nolint:exhaustive // expressions are of these kinds alone
	case unstable.Table:
		p.table = p.resolve(parts)
		p.at[joinPath(p.table...)] = p.here(p.file, p.offset)
	case unstable.ArrayTable:
		p.table = p.resolve(parts[:len(parts)-1])
		p.table = append(p.table, parts[len(parts)-1])
		array := joinPath(p.table...)
		p.table = append(p.table, strconv.Itoa(p.count[array]))
		p.count[array]++
		if p.count[array] > maxPackages {
			return "it has too many tables " + parts[len(parts)-1]
		}
		p.at[joinPath(p.table...)] = p.here(p.file, p.offset)
	case unstable.KeyValue:
		if isTooMuch(n.Value(), 0) {
			return "a value is nested too deeply, or too long"
		}
		p.at[joinPath(append(p.table[:len(p.table):len(p.table)], parts...)...)] = p.here(p.file, p.offset)
	}
	return ""
}

// isTooMuch reports whether a value is nested more deeply, or has more items or parts of a
// key, than the limits.
func isTooMuch(n *unstable.Node, depth int) bool {
	limit := maxPackages
	if n.Kind == unstable.KeyValue {
		limit = maxKeyParts
	}
	for children := n.Children(); children.Next(); {
		limit--
		if limit < 0 || depth == maxNesting || isTooMuch(children.Node(), depth+1) {
			return true
		}
	}
	return false
}

// resolve gives the path of a table: in an array it is below the last one.
func (p *placer) resolve(parts []string) []string {
	var full []string
	for _, part := range parts {
		full = append(full, part)
		if n := p.count[joinPath(full...)]; n > 0 {
			full = append(full, strconv.Itoa(n-1))
		}
	}
	return full
}

// lines counts the lines of a file.
type lines struct {
	data []byte
	// counted is up to where lines are counted; the last one begins with column.
	counted, line, column int
}

func newLines(data []byte) *lines {
	l := &lines{data: data, line: 1}
	l.begin(0)
	return l
}

// begin finds the column of the first word of the line that begins at an offset.
func (l *lines) begin(offset int) {
	line := l.data[offset:]
	l.column = len(line) - len(bytes.TrimLeft(line, " \t")) + 1
}

// here gives the place of the first word of the line that an offset is in. Offsets come in
// the order of the file, so that each byte is looked at once.
func (l *lines) here(file string, offset int) Place {
	offset = min(max(offset, l.counted), len(l.data))
	passed := l.data[l.counted:offset]
	if n := bytes.Count(passed, []byte("\n")); n > 0 {
		l.line += n
		l.begin(l.counted + bytes.LastIndexByte(passed, '\n') + 1)
	}
	l.counted = offset
	return Place{file, l.line, l.column}
}
