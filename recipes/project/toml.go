package project

import (
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// tomlValue is a text in a TOML file, with its place.
type tomlValue struct {
	// path is the keys that lead to it, with points between them. A list adds nothing.
	path         string
	text         string
	line, column int
}

// tomlValues gives the texts whose path is wanted, in the order of the file. The error
// tells where the file stops being TOML: what stands before it is given all the same.
func tomlValues(body string, wanted func(path string) bool) ([]tomlValue, error) {
	w := &tomlWalker{wanted: wanted}
	w.parser.Reset([]byte(body))
	var table string
	for w.parser.NextExpression() {
		switch e := w.parser.Expression(); e.Kind {
		case unstable.Table, unstable.ArrayTable:
			table = keyPath("", e)
		case unstable.KeyValue:
			w.value(keyPath(table, e), e.Value(), 0)
		default: // comments say nothing
		}
	}
	return w.found, w.parser.Error()
}

// maxNesting bounds lists and inline tables within each other.
const maxNesting = 32

type tomlWalker struct {
	parser unstable.Parser
	wanted func(string) bool
	found  []tomlValue
}

func (w *tomlWalker) value(path string, n *unstable.Node, depth int) {
	if depth > maxNesting {
		return
	}
	switch n.Kind {
	case unstable.Array:
		for it := n.Children(); it.Next(); {
			w.value(path, it.Node(), depth+1)
		}
	case unstable.InlineTable:
		for it := n.Children(); it.Next(); {
			w.value(keyPath(path, it.Node()), it.Node().Value(), depth+1)
		}
	case unstable.String, unstable.Bool:
		if !w.wanted(path) {
			return
		}
		start := w.parser.Shape(n.Raw).Start
		w.found = append(w.found, tomlValue{path, string(n.Data), start.Line, start.Column})
	default: // no other value is read
		w.wanted(path)
	}
}

// keyPath lays a key's parts behind a path.
func keyPath(path string, e *unstable.Node) string {
	var b strings.Builder
	b.WriteString(path)
	for it := e.Key(); it.Next(); {
		if b.Len() > 0 {
			b.WriteByte('.')
		}
		b.Write(it.Node().Data)
	}
	return b.String()
}

// notTOML tells where a file is not TOML.
func (r *Repository) notTOML(t text, err error) {
	line, column := 0, 0
	var wrong *unstable.ParserError
	var decoding *toml.DecodeError
	switch {
	case errors.As(err, &decoding):
		line, column = decoding.Position()
	case errors.As(err, &wrong):
		// What is wrong stands where the highlighted bytes are.
		if i := strings.Index(t.body, string(wrong.Highlight)); i >= 0 && utf8.Valid(wrong.Highlight) {
			line, column = place(t.body, i)
		}
	}
	r.tell(t.at(line, column), "this is not TOML: "+err.Error(), "what stands behind it is not read")
}
