package recipes

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// Limits on YAML that others wrote: the parser recurses, so that depth must be
// bounded before it runs.
const (
	maxRecipeBytes = 1 << 20
	maxLockBytes   = 16 << 20
	maxDepth       = 32
	// The parser takes time by the square of a block mapping's keys.
	maxBlockKeys = 5000
)

type kind int

const (
	nullKind kind = iota
	textKind
	boolKind
	listKind
	mapKind
	brokenKind // already told as a fault
)

func (k kind) String() string {
	return [...]string{"nothing", "text", "true or false", "a list", "a mapping", "something broken"}[k]
}

// node is a YAML value with its place. Numbers are text, as they were written.
type node struct {
	kind kind
	pos  Position
	// dir is the path from the recipe's directory to that of the file where this stands;
	// empty where it decides nothing.
	dir     string
	text    string
	items   []*node
	entries []entry
}

type entry struct {
	key   *node
	value *node
}

// yamlReader turns goccy's syntax tree into nodes. Strict decoding of goccy's own
// takes 3.10 for 3.1, passes a second document and an empty file, and stops at
// the first fault.
type yamlReader struct {
	file   string
	faults Faults
}

// readYAML reads one document whose root is a mapping. The node is nil if
// nothing of the file can be used.
func readYAML(file string, data []byte, limit int) (*node, Faults) {
	r := &yamlReader{file: file}
	root := r.read(data, limit)
	return root, r.faults
}

func (r *yamlReader) add(pos Position, what, hint string) {
	r.faults = append(r.faults, pos.fault(what, hint))
}

func (r *yamlReader) read(data []byte, limit int) *node {
	if !r.textFits(data, limit) {
		return nil
	}
	text := strings.TrimPrefix(string(data), "\ufeff")
	if err := r.parseable(text); err != nil {
		return nil
	}
	file, err := r.parse(text)
	if err != nil {
		return nil
	}
	body := r.document(file)
	if body == nil {
		return nil
	}
	root := r.node(body)
	switch root.kind {
	case mapKind:
		return root
	case nullKind:
		r.add(Position{File: r.file, Line: 1, Column: 1}, "the file is empty", "")
	case brokenKind:
	default:
		r.add(root.pos, fmt.Sprintf("the file holds %s where keys and values belong", root.kind), "")
	}
	return nil
}

// textFits checks size, encoding and characters, as YAML 1.2.2 section 5.1 has them.
func (r *yamlReader) textFits(data []byte, limit int) bool {
	start := Position{File: r.file, Line: 1, Column: 1}
	if len(data) > limit {
		r.add(start, fmt.Sprintf("the file has more than %d bytes", limit), "")
		return false
	}
	if !utf8.Valid(data) {
		r.add(lineOf(r.file, data, func(c rune, size int) bool { return c == utf8.RuneError && size == 1 }),
			"the file is not UTF-8 text here", "")
		return false
	}
	control := func(c rune, _ int) bool { return c < ' ' && c != '\t' && c != '\n' && c != '\r' || c == 0x7f }
	if pos := lineOf(r.file, data, control); pos.Line > 0 {
		r.add(pos, "a control character stands here", "remove it")
		return false
	}
	return true
}

// lineOf gives the place of the first character that is bad.
func lineOf(file string, data []byte, bad func(c rune, size int) bool) Position {
	line, column := 1, 1
	for i := 0; i < len(data); {
		c, size := utf8.DecodeRune(data[i:])
		if bad(c, size) {
			return Position{File: file, Line: line, Column: column}
		}
		column++
		if c == '\n' {
			line, column = line+1, 1
		}
		i += size
	}
	return Position{File: file}
}

var errFaults = errors.New("told as faults")

// parseable refuses what is nested more deeply, or has more keys, than any recipe or lock.
func (r *yamlReader) parseable(text string) error {
	flow, line, openers, keys := 0, 0, 0, 0
	for _, tk := range lexer.Tokenize(text) {
		if tk.Type == token.MappingValueType && flow == 0 {
			keys++
		}
		if keys > maxBlockKeys {
			r.add(r.position(tk), fmt.Sprintf("more than %d keys", maxBlockKeys), "")
			return errFaults
		}
		if tk.Position.Line != line {
			line, openers = tk.Position.Line, 0
		}
		switch tk.Type {
		case token.SequenceStartType, token.MappingStartType:
			flow++
		case token.SequenceEndType, token.MappingEndType:
			flow--
		case token.SequenceEntryType, token.MappingKeyType, token.AnchorType, token.TagType, token.DirectiveType:
			openers++
		case token.CollectEntryType:
			openers = 0
		}
		if flow > maxDepth || openers > maxDepth || flow == 0 && tk.Position.Column > 1<<12 && openers > 0 {
			r.add(r.position(tk), "this is nested too deeply", "")
			return errFaults
		}
	}
	return nil
}

func (r *yamlReader) parse(text string) (*ast.File, error) {
	file, err := parser.ParseBytes([]byte(text), 0, parser.AllowDuplicateMapKey())
	if err == nil {
		return file, nil
	}
	pos := Position{File: r.file, Line: 1, Column: 1}
	what := "it cannot be parsed"
	// The error's own text quotes the source, in time by the square of its length.
	if syntax, ok := errors.AsType[*yaml.SyntaxError](err); ok {
		what = syntax.Message
		if syntax.Token != nil {
			pos = r.position(syntax.Token)
		}
	}
	r.add(pos, "this is not YAML: "+what, "check the indentation, and the quotes and brackets around here")
	return nil, errFaults
}

// document gives the body of the only document.
func (r *yamlReader) document(file *ast.File) ast.Node {
	var body ast.Node
	for _, doc := range file.Docs {
		switch {
		case doc.Body == nil || doc.Body.Type() == ast.NullType && doc.Start == nil:
		case doc.Body.Type() == ast.DirectiveType:
			r.add(r.position(doc.Body.GetToken()), "a YAML directive stands here", "remove the line")
		case body != nil:
			r.add(r.start(doc.Body), "a second document begins here", "a file holds one document; remove the rest")
		default:
			body = doc.Body
		}
	}
	if body == nil && len(r.faults) == 0 {
		r.add(Position{File: r.file, Line: 1, Column: 1}, "the file is empty", "")
	}
	return body
}

func (r *yamlReader) position(tk *token.Token) Position {
	if tk == nil || tk.Position == nil {
		return Position{File: r.file, Line: 1, Column: 1}
	}
	return Position{File: r.file, Line: tk.Position.Line, Column: max(tk.Position.Column, 1)}
}

// start is where a value begins; a block mapping's token is its first colon.
func (r *yamlReader) start(n ast.Node) Position {
	switch n := n.(type) {
	case *ast.MappingNode:
		if !n.IsFlowStyle && len(n.Values) > 0 {
			return r.position(n.Values[0].Key.GetToken())
		}
	case *ast.MappingValueNode:
		return r.position(n.Key.GetToken())
	}
	return r.position(n.GetToken())
}

func (r *yamlReader) node(n ast.Node) *node {
	if n == nil {
		return &node{kind: nullKind, pos: Position{File: r.file, Line: 1, Column: 1}}
	}
	pos := r.start(n)
	switch n := n.(type) {
	case *ast.MappingNode:
		return r.mapping(pos, n)
	case *ast.MappingValueNode:
		return r.mapping(pos, &ast.MappingNode{Values: []*ast.MappingValueNode{n}})
	case *ast.SequenceNode:
		return r.list(pos, n)
	case *ast.NullNode:
		return &node{kind: nullKind, pos: pos}
	case *ast.BoolNode:
		return &node{kind: boolKind, pos: pos, text: n.GetToken().Value}
	case *ast.StringNode:
		return &node{kind: textKind, pos: pos, text: n.Value}
	case *ast.LiteralNode:
		return &node{kind: textKind, pos: pos, text: n.Value.Value}
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return &node{kind: textKind, pos: pos, text: n.GetToken().Value}
	default:
		return r.refused(pos, n)
	}
}

// refused tells of YAML that says one thing in the place of another.
func (r *yamlReader) refused(pos Position, n ast.Node) *node {
	switch n := n.(type) {
	case *ast.AnchorNode:
		r.add(pos, "an anchor (&) stands here", "write the value out wherever it belongs")
		return r.node(n.Value)
	case *ast.AliasNode:
		r.add(pos, "an alias (*) stands here", "write the value out wherever it belongs, or quote text that begins with *")
	case *ast.TagNode:
		r.add(pos, "a tag (!) stands here", "remove it, or quote text that begins with !")
		return r.node(n.Value)
	default:
		r.add(pos, fmt.Sprintf("YAML of the kind %s is not understood here", n.Type()), "")
	}
	return &node{kind: brokenKind, pos: pos}
}

func (r *yamlReader) list(pos Position, n *ast.SequenceNode) *node {
	list := &node{kind: listKind, pos: pos}
	for _, value := range n.Values {
		list.items = append(list.items, r.node(value))
	}
	return list
}

func (r *yamlReader) mapping(pos Position, n *ast.MappingNode) *node {
	m := &node{kind: mapKind, pos: pos}
	seen := map[string]Position{}
	for _, value := range n.Values {
		key := r.key(value.Key)
		child := r.node(value.Value)
		if key == nil {
			continue
		}
		if child.kind == nullKind {
			child.pos = key.pos
		}
		if first, twice := seen[key.text]; twice {
			r.add(key.pos, fmt.Sprintf("%q is written twice", key.text), fmt.Sprintf("it stands in line %d already; keep one", first.Line))
			continue
		}
		seen[key.text] = key.pos
		m.entries = append(m.entries, entry{key, child})
	}
	return m
}

// key gives the node of a key, or nil after telling what is wrong with it.
func (r *yamlReader) key(k ast.MapKeyNode) *node {
	pos := r.position(k.GetToken())
	switch k := k.(type) {
	case *ast.StringNode:
		return &node{kind: textKind, pos: pos, text: k.Value}
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.NullNode, *ast.InfinityNode, *ast.NanNode:
		return &node{kind: textKind, pos: pos, text: k.GetToken().Value}
	case *ast.MergeKeyNode:
		r.add(pos, "a merge key (<<) stands here", "write the keys out")
	default:
		r.add(pos, "a key is plain text", "")
	}
	return nil
}
