package config

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// maxFile is the largest configuration file in bytes.
const maxFile = 1 << 20

// file is what config.toml may hold.
type file struct {
	Kept     []string `toml:"kept"`
	Policy   string   `toml:"policy"`
	Sign     Sign     `toml:"sign"`
	Store    bounds   `toml:"store"`
	Cache    caches   `toml:"cache"`
	Registry Serving  `toml:"registry"`
	Sources  Sources  `toml:"sources"`
	Server   Service  `toml:"server"`
}

// bounds are [Bounds] as people write them.
type bounds struct {
	Limit     string `toml:"limit"`
	Keep      string `toml:"keep"`
	Published string `toml:"published"`
}

// caches are a [Cache] as people write it.
type caches struct {
	Use     []string `toml:"use"`
	Key     string   `toml:"key"`
	Trusted []string `toml:"trusted"`
	Retired []string `toml:"retired"`
}

// reading is one reading of the configuration: what is set, and where it was said.
type reading struct {
	name   string
	parsed file
	// at has the place of each key and of each member of a list in the file.
	at map[string]unstable.Position
	// source has the variable that a source's mirrors come from, kept that of the places.
	source map[string]string
	kept   string
	// credentials has a variable that a source's credentials come from.
	credentials map[string]string
}

// read reads the file. A fault in its form is an [*Error].
func (r *reading) read(name string) error {
	info, err := os.Stat(name)
	if err != nil {
		return fmt.Errorf("reading configuration: %w", err)
	}
	if info.Size() > maxFile {
		return &Error{Where: name, Msg: fmt.Sprintf("%d bytes are more than the limit of %d", info.Size(), maxFile)}
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return fmt.Errorf("reading configuration: %w", err)
	}
	if err := toml.NewDecoder(bytes.NewReader(text)).DisallowUnknownFields().Decode(&r.parsed); err != nil {
		return formFaults(name, err)
	}
	r.name, r.at = name, positions(text)
	return nil
}

// formFaults gives each fault in a file's form its place.
func formFaults(name string, err error) error {
	var unknown *toml.StrictMissingError
	if errors.As(err, &unknown) {
		var faults []error
		for _, e := range unknown.Errors {
			row, column := e.Position()
			faults = append(faults, &Error{
				Where: fmt.Sprintf("%s:%d:%d", name, row, column),
				Msg:   fmt.Sprintf("unknown key %q", strings.Join(e.Key(), ".")),
				Help:  "known keys are kept and policy, of [store] limit, keep and published, of [cache] use, key, trusted and retired, of [registry] mutable, of [server] url and token-file, of [sign] key, command, public, passphrase-file, passphrase-command, form and builder, and of [sources.NAME] kind, mirrors, security, without, names and credentials (netrc, command and username)",
			})
		}
		return errors.Join(faults...)
	}
	var fault *toml.DecodeError
	if errors.As(err, &fault) {
		row, column := fault.Position()
		return &Error{Where: fmt.Sprintf("%s:%d:%d", name, row, column), Msg: fault.Error()}
	}
	return &Error{Where: name, Msg: err.Error()}
}

// positions finds where the keys of a file stand, and the members of its lists.
func positions(text []byte) map[string]unstable.Position {
	at := map[string]unstable.Position{}
	var p unstable.Parser
	p.Reset(text)
	var table []string
	for p.NextExpression() {
		switch e := p.Expression(); e.Kind {
		case unstable.Table, unstable.ArrayTable:
			table = noteKeys(&p, at, nil, e)
		case unstable.KeyValue:
			noteValue(&p, at, noteKeys(&p, at, table, e), e.Value())
		default: // comments have no key
		}
	}
	return at
}

// noteKeys notes the parts of an expression's key, and returns the path with it.
func noteKeys(p *unstable.Parser, at map[string]unstable.Position, below []string, e *unstable.Node) []string {
	path := append([]string{}, below...)
	for it := e.Key(); it.Next(); {
		path = append(path, string(it.Node().Data))
		if key := keyOf(path); at[key].Line == 0 {
			at[key] = p.Shape(it.Node().Raw).Start
		}
	}
	return path
}

// noteValue notes what a value consists of.
func noteValue(p *unstable.Parser, at map[string]unstable.Position, path []string, value *unstable.Node) {
	switch value.Kind {
	case unstable.Array:
		n := 0
		for it := value.Children(); it.Next(); n++ {
			member := append(append([]string{}, path...), index(n))
			if raw := it.Node().Raw; raw.Length > 0 {
				at[keyOf(member)] = p.Shape(raw).Start
			}
			noteValue(p, at, member, it.Node())
		}
	case unstable.InlineTable:
		for it := value.Children(); it.Next(); {
			noteValue(p, at, noteKeys(p, at, path, it.Node()), it.Node().Value())
		}
	default: // the others are one value
	}
}

// keyOf names a path of keys.
func keyOf(path []string) string { return strings.Join(path, "\x00") }

// index is the part of a path that names a list's member.
func index(i int) string { return strconv.Itoa(i) }

// where is the place of a path in the file, or of the nearest one above it that stands there.
func (r *reading) where(path ...string) string {
	for ; len(path) > 0; path = path[:len(path)-1] {
		if at, ok := r.at[keyOf(path)]; ok {
			return fmt.Sprintf("%s:%d:%d", r.name, at.Line, at.Column)
		}
	}
	return r.name
}

// whereSource is where a key of a source was set: a variable's name, or a place in the file.
func (r *reading) whereSource(name string, key ...string) string {
	inFile := r.where(append([]string{"sources", name}, key...)...)
	variable := r.source[name]
	if set := r.credentials[name]; set != "" && len(key) > 0 && key[0] == "credentials" {
		return set
	}
	_, hasTable := r.at[keyOf([]string{"sources", name})]
	if variable != "" && (!hasTable || len(key) > 0 && key[0] == "mirrors") {
		return variable
	}
	return cmp.Or(inFile, variable)
}

// whereKept is where a place that keeps inputs was set.
func (r *reading) whereKept(i int) string {
	return cmp.Or(r.kept, r.where("kept", index(i)))
}

// bounds reads the store's bounds.
func (r *reading) bounds() (Bounds, error) {
	set := r.parsed.Store
	b := Bounds{Set: set != (bounds{}), Keep: DefaultKeep}
	var faults []error
	try := func(key string, err error) {
		if err != nil {
			faults = append(faults, &Error{Where: r.where("store", key), Msg: fmt.Sprintf("store.%s: %v", key, err)})
		}
	}
	var err error
	if set.Limit != "" {
		b.Limit, err = ParseSize(set.Limit)
		try("limit", err)
	}
	if set.Keep != "" {
		b.Keep, err = ParseDuration(set.Keep)
		try("keep", err)
	}
	if set.Published != "" {
		b.Published, err = ParsePublished(set.Published)
		try("published", err)
	}
	return b, errors.Join(faults...)
}
