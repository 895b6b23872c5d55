package imagefile

import (
	"bytes"
	"errors"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// imageKey is the key that an image stands behind, in all the forms.
const imageKey = "image"

// findYAML finds the images of all documents of a file: what stands behind a key "image". An
// alias is where its anchor is.
func findYAML(path string, text []byte) (_ []place, err error) {
	if !utf8.Valid(text) {
		return nil, fault(path, place{line: 1, column: 1}, "", "the file is not UTF-8 text")
	}
	// A parser that fails in its own way must not end the program behind a promotion.
	defer func() {
		if r := recover(); r != nil {
			err = fault(path, place{line: 1, column: 1}, "", "this is not YAML: %v", r)
		}
	}()
	// The parser counts lines that end as on Windows in its own way; their text is the same.
	plain := bytes.ReplaceAll(bytes.TrimPrefix(text, mark), []byte("\r\n"), []byte("\n"))
	file, err := parser.ParseBytes(plain, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		return nil, yamlFault(path, err)
	}
	f := &yamlFinder{path: path, text: text, seen: map[int]bool{}}
	for _, doc := range file.Docs {
		f.anchors = map[string]ast.Node{}
		ast.Walk(f, doc)
	}
	return f.found, f.err
}

// mark is a byte order mark, which is no part of the first line.
var mark = []byte("\ufeff")

// yamlFault is what a parser says, at its place. The error's own text quotes the source.
func yamlFault(path string, err error) error {
	at, what := place{line: 1, column: 1}, "it cannot be parsed"
	if syntax, ok := errors.AsType[*yaml.SyntaxError](err); ok {
		what = syntax.Message
		if syntax.Token != nil {
			at.line, at.column = syntax.Token.Position.Line, syntax.Token.Position.Column
		}
	}
	return fault(path, at, "", "this is not YAML: %s", what)
}

// yamlFinder looks at each node.
type yamlFinder struct {
	path    string
	text    []byte
	anchors map[string]ast.Node
	// seen are the offsets of what was found: an anchor may have several aliases.
	seen  map[int]bool
	found []place
	err   error
}

// Visit implements [ast.Visitor].
func (f *yamlFinder) Visit(n ast.Node) ast.Visitor {
	switch n := n.(type) {
	case *ast.AnchorNode:
		f.anchors[n.Name.String()] = n.Value
	case *ast.MappingValueNode:
		if key, ok := n.Key.(*ast.StringNode); ok && key.Value == imageKey {
			f.image(n.Value, 0)
		}
	}
	if f.err != nil {
		return nil
	}
	return f
}

// maxAliases bounds how deep aliases lead to one another: one may lead to itself.
const maxAliases = 8

// image notes the text behind a key, if it is one.
func (f *yamlFinder) image(n ast.Node, depth int) {
	if depth > maxAliases {
		return
	}
	switch v := n.(type) {
	case *ast.AnchorNode:
		f.image(v.Value, depth+1)
	case *ast.TagNode:
		f.image(v.Value, depth+1)
	case *ast.AliasNode:
		if anchored, ok := f.anchors[v.Value.String()]; ok {
			f.image(anchored, depth+1)
		}
	case *ast.StringNode:
		p, ok := f.place(v)
		if !ok {
			f.err = fault(f.path, p, "write it on one line, as image: "+v.Value, "this cannot be edited in the form that it is written in")
			return
		}
		if !f.seen[p.from] {
			f.seen[p.from] = true
			f.found = append(f.found, p)
		}
	}
	// A mapping behind the key, as charts have it, is no image's reference.
}

// place finds a text in its line. The parser counts columns in characters, and not always from
// where the text begins.
func (f *yamlFinder) place(n *ast.StringNode) (place, bool) {
	pos := n.GetToken().Position
	p := place{line: pos.Line, column: pos.Column, text: n.Value}
	begin := f.lineBegin(pos.Line)
	line := f.text[begin:]
	if end := bytes.IndexByte(line, '\n'); end >= 0 {
		line = line[:end]
	}
	// Nothing but the key stands before it: it is no part of an image.
	from := 0
	for range max(0, pos.Column-2) {
		_, size := utf8.DecodeRune(line[from:])
		from += size
	}
	at := bytes.Index(line[min(from, len(line)):], []byte(n.Value))
	if at < 0 || n.Value == "" {
		return p, false
	}
	p.from = begin + min(from, len(line)) + at
	p.to = p.from + len(n.Value)
	return p, true
}

// lineBegin is the offset of a line, counted from 1.
func (f *yamlFinder) lineBegin(line int) int {
	at := 0
	for range line - 1 {
		next := bytes.IndexByte(f.text[at:], '\n')
		if next < 0 {
			return len(f.text)
		}
		at += next + 1
	}
	return at
}
