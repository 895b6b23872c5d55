package edit

import (
	"bytes"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"ampoule/recipes"
)

// AddItem writes a requirement into the list of a recipe at a path of keys, such as
// "requirements", or "dependency-groups" and a group's name: in the place of one of the same
// distribution with the same marker, else behind all others. A list that is missing is written.
// The error is [recipes.Faults]: of the recipe, or of a list in a form that is not edited.
func AddItem(file string, recipe []byte, w Wanted, keys ...string) ([]byte, Change, error) {
	l, err := readList(file, recipe, keys)
	if err != nil {
		return nil, Change{}, err
	}
	want := l.texts()
	at := slices.IndexFunc(l.items, func(i item) bool { return i.ok && w.replaces(i.requirement) })
	var out []byte
	var change Change
	switch {
	case at >= 0 && l.items[at].requirement.Spec == w.Spec:
		return recipe, Change{l.items[at].line, l.items[at].text, l.items[at].text}, nil
	case at >= 0:
		i := l.items[at]
		want[at], change = w.Text, Change{i.line, i.text, w.Text}
		out = l.splice(i.from, i.to, quoted(w.Text, l.flow))
	default:
		want = append(want, w.Text)
		out, change = l.added(w.Text)
	}
	out = l.whole(out)
	if !l.says(out, want) {
		return nil, Change{}, l.byHand(max(change.Line, 1), "write it into %s: %s", strings.Join(keys, "."), quoted(w.Text, true))
	}
	return out, change, nil
}

// RemoveItems removes all requirements of a distribution from the list of a recipe at a path of
// keys. Changes are none if there was none. The error is as that of [AddItem].
func RemoveItems(file string, recipe []byte, name string, keys ...string) ([]byte, []Change, error) {
	var changes []Change
	for {
		l, err := readList(file, recipe, keys)
		if err != nil {
			return nil, nil, err
		}
		at := slices.IndexFunc(l.items, func(i item) bool { return i.ok && i.requirement.Name == name })
		if at < 0 {
			return recipe, changes, nil
		}
		out := l.whole(l.removed(at))
		if !l.says(out, slices.Delete(l.texts(), at, at+1)) {
			return nil, nil, l.byHand(l.items[at].line, "remove %s from %s", quoted(l.items[at].text, true), strings.Join(keys, "."))
		}
		changes = append(changes, Change{Line: l.items[at].line + len(changes), Before: l.items[at].text})
		recipe = out
	}
}

// SetProfile writes the training profile of an interpreter, in the place of the one that is there,
// else before the configure flags, into a recipe or a file that recipes extend. The error is as that
// of [AddItem].
func SetProfile(file string, recipe []byte, profile string) ([]byte, Change, error) {
	// Nesting and size are bounded there, which the parser needs.
	if _, err := recipes.ParsePart(file, recipe); err != nil {
		return nil, Change{}, err
	}
	l, err := findIn(file, recipe, []string{"python", "profile"})
	if err != nil {
		return nil, Change{}, err
	}
	out, change := l.withText(profile, "configure")
	out = l.whole(out)
	r, err := recipes.ParsePart(file, out)
	if err != nil || r.Python.Profile != profile {
		return nil, Change{}, l.byHand(max(change.Line, 1), "write it into python: profile: %s", profile)
	}
	return out, change, nil
}

// withText gives the text with another value of a plain text, or with a line for it before that of
// a sibling.
func (l *list) withText(text, sibling string) ([]byte, Change) {
	if l.entry != nil {
		value, ok := l.entry.Value.(*ast.StringNode)
		if !ok {
			return l.data, Change{Line: l.entry.Key.GetToken().Position.Line}
		}
		from := l.offset(value.GetToken())
		change := Change{value.GetToken().Position.Line, value.Value, text}
		to := l.scalarEnd(from, value.Value)
		if to < 0 {
			return l.data, change
		}
		return l.splice(from, to, text), change
	}
	if l.parent == nil || l.depth != len(l.keys)-1 {
		return l.data, Change{}
	}
	for _, value := range l.parent.Values {
		if key := value.Key.GetToken(); key.Value == sibling {
			return l.before(key, l.keys[l.depth]+": "+text, Change{Line: key.Position.Line, After: text})
		}
	}
	return l.data, Change{}
}

// before gives the text with a further entry of a mapping before the one whose key is given, and
// before the comments above it.
func (l *list) before(key *token.Token, entry string, change Change) ([]byte, Change) {
	if l.parent.IsFlowStyle {
		at := l.offset(key)
		return l.splice(at, at, entry+", "), change
	}
	for change.Line > 1 && bytes.HasPrefix(bytes.TrimSpace(l.data[l.begin(change.Line-1):l.end(change.Line-1)]), []byte("#")) {
		change.Line--
	}
	at := l.begin(change.Line)
	return l.splice(at, at, strings.Repeat(" ", key.Position.Column-1)+entry+l.newline()), change
}

// list is a list of requirements in a recipe.
type list struct {
	*source
	// mark and windows say what is taken off the text before it is edited: a byte-order mark,
	// and the \r of all line ends, by which the parser counts wrongly.
	mark    []byte
	windows bool
	keys    []string
	// parent is the mapping that has the list, or should have; it is at the path of keys of
	// that depth.
	parent *ast.MappingNode
	depth  int
	// entry is the list with its key; nil if there is none.
	entry *ast.MappingValueNode
	// flow is set of [a, b], and open and shut are where its brackets stand.
	flow       bool
	open, shut int
	items      []item
}

// item is one requirement of a list.
type item struct {
	// from and to are where it is written, with its quotes.
	from, to, line int
	text           string
	requirement    recipes.Requirement
	// ok is set of a requirement by name.
	ok bool
}

func readList(file string, recipe []byte, keys []string) (*list, error) {
	l, err := openRecipe(file, recipe, keys)
	if err != nil || l.entry == nil {
		return l, err
	}
	if !l.has(l.offset(l.entry.Start), ":") {
		return nil, l.byHand(l.entry.Key.GetToken().Position.Line, "write %s: and the list behind it", keys[len(keys)-1])
	}
	sequence, ok := l.entry.Value.(*ast.SequenceNode)
	if !ok {
		return nil, l.byHand(l.entry.Key.GetToken().Position.Line, "write requirements as a list: [NAME]")
	}
	return l, l.read(sequence)
}

// openRecipe reads a recipe to be edited, and finds what it has at a path of keys.
func openRecipe(file string, recipe []byte, keys []string) (*list, error) {
	// Nesting and size are bounded there, which the parser needs.
	if _, err := recipes.ParseOwn(file, recipe); err != nil {
		return nil, err
	}
	return findIn(file, recipe, keys)
}

// findIn is openRecipe of a file that was read.
func findIn(file string, recipe []byte, keys []string) (*list, error) {
	l := &list{keys: keys}
	l.mark, l.source = cutMark(file, recipe)
	l.windows = bytes.Contains(l.data, []byte("\r\n"))
	if l.windows {
		l.source = newSource(file, bytes.ReplaceAll(l.data, []byte("\r\n"), []byte("\n")))
	}
	if !bytes.Equal(l.whole(l.data), recipe) {
		return nil, l.byHand(1, "let all lines end in the same way")
	}
	parsed, err := parser.ParseBytes(l.data, 0)
	if err != nil {
		return nil, l.byHand(1, "write it by hand")
	}
	for _, doc := range parsed.Docs {
		if root, ok := doc.Body.(*ast.MappingNode); ok {
			l.find(root)
		}
	}
	return l, nil
}

// whole gives an edited text as a recipe's file has it.
func (l *list) whole(text []byte) []byte {
	if l.windows {
		text = bytes.ReplaceAll(text, []byte("\n"), []byte("\r\n"))
	}
	return slices.Concat(l.mark, text)
}

// find follows the path of keys.
func (l *list) find(root *ast.MappingNode) {
	l.parent = root
	for i, key := range l.keys {
		at := slices.IndexFunc(l.parent.Values, func(v *ast.MappingValueNode) bool { return v.Key.GetToken().Value == key })
		if at < 0 {
			return
		}
		found := l.parent.Values[at]
		if i == len(l.keys)-1 {
			l.entry = found
			return
		}
		below, ok := found.Value.(*ast.MappingNode)
		if !ok {
			return
		}
		l.parent, l.depth = below, i+1
	}
}

// read finds where the items stand.
func (l *list) read(sequence *ast.SequenceNode) error {
	l.flow = sequence.IsFlowStyle
	if l.flow {
		l.open, l.shut = l.offset(sequence.Start), l.offset(sequence.End)
		if !l.has(l.open, "[") || !l.has(l.shut, "]") || l.open > l.shut {
			return l.byHand(sequence.Start.Position.Line, "write the list as [NAME, NAME]")
		}
	}
	for _, value := range sequence.Values {
		text, ok := value.(*ast.StringNode)
		if !ok {
			return l.byHand(value.GetToken().Position.Line, "write each requirement on a line, as plain or quoted text")
		}
		i := item{from: l.offset(text.GetToken()), line: text.GetToken().Position.Line, text: text.Value}
		i.to = l.scalarEnd(i.from, text.Value)
		if i.to < 0 {
			return l.byHand(i.line, "write each requirement on a line, as plain or quoted text")
		}
		r, err := recipes.ParseRequirement(i.text)
		i.requirement, i.ok = r, err == nil
		l.items = append(l.items, i)
	}
	return nil
}

// offset is where a token stands. Columns count characters.
func (l *list) offset(tk *token.Token) int {
	at := l.begin(tk.Position.Line)
	for range tk.Position.Column - 1 {
		_, size := utf8.DecodeRune(l.data[at:])
		at += size
	}
	return at
}

// has reports whether a text stands at an offset.
func (l *list) has(at int, text string) bool {
	return at <= len(l.data) && bytes.HasPrefix(l.data[at:], []byte(text))
}

// scalarEnd is where a text of one line ends that begins at an offset; negative of any other.
func (l *list) scalarEnd(from int, value string) int {
	if from >= len(l.data) {
		return -1
	}
	rest := l.data[from:max(from, l.end(l.lineOf(from)))]
	for _, form := range []*regexp.Regexp{singleQuoted, doubleQuoted} {
		if found := form.Find(rest); found != nil {
			return from + len(found)
		}
	}
	if bytes.HasPrefix(rest, []byte(value)) {
		return from + len(value)
	}
	return -1
}

var (
	singleQuoted = regexp.MustCompile(`^'(?:[^']|'')*'`)
	doubleQuoted = regexp.MustCompile(`^"(?:[^"\\]|\\.)*"`)
)

// added gives the text with one more item behind all others.
func (l *list) added(text string) ([]byte, Change) {
	switch {
	case l.entry == nil:
		return l.withList(text)
	case l.flow && len(l.items) == 0:
		return l.splice(l.open+1, l.shut, quoted(text, true)), Change{Line: l.lineOf(l.open), After: text}
	}
	last := l.items[len(l.items)-1]
	end, prefix := l.end(last.line), string(l.data[l.begin(last.line):last.from])
	next := Change{Line: last.line + 1, After: text}
	switch {
	case !l.flow:
		return l.splice(end, end, l.newline()+prefix+quoted(text, false)), next
	case strings.TrimSpace(prefix) != "" || l.lineOf(l.shut) == last.line:
		return l.splice(last.to, last.to, ", "+quoted(text, true)), Change{Line: last.line, After: text}
	}
	// The last item has lines of its own, and perhaps a comma and a comment.
	line := l.newline() + prefix + quoted(text, true)
	if comma := trailingComma.Find(l.data[last.to:l.shut]); comma != nil {
		return l.splice(end, end, line+","), next
	}
	behind := string(l.data[last.to:end])
	return l.splice(last.to, end, ","+behind+line), next
}

var trailingComma = regexp.MustCompile(`^[ \t]*,`)

// withList gives the text with a list that was not there: at the end of the recipe, or first
// among what its parent has.
func (l *list) withList(text string) ([]byte, Change) {
	if l.parent == nil || l.parent.IsFlowStyle {
		return l.data, Change{}
	}
	missing := l.keys[l.depth:]
	indent := ""
	var lines []string
	if l.depth > 0 {
		indent = strings.Repeat(" ", l.parent.Values[0].Key.GetToken().Position.Column-1)
	}
	for _, key := range missing {
		lines = append(lines, indent+key+":")
		indent += "  "
	}
	lines = append(lines, indent+"- "+quoted(text, false))
	if l.depth == 0 {
		out, line := l.appended(lines...)
		return out, Change{Line: line + len(lines) - 1, After: text}
	}
	first := l.parent.Values[0].Key.GetToken().Position.Line
	at := l.begin(first)
	return l.splice(at, at, strings.Join(lines, l.newline())+l.newline()), Change{Line: first + len(lines) - 1, After: text}
}

// removed gives the text without an item.
func (l *list) removed(n int) []byte {
	i := l.items[n]
	begin, next := l.begin(i.line), l.begin(i.line+1)
	behind := l.data[i.to:l.end(i.line)]
	alone := strings.TrimSpace(string(l.data[begin:i.from])) == "" && restOfItem.Match(behind)
	switch {
	case !l.flow && len(l.items) == 1:
		colon := min(l.offset(l.entry.Start)+1, begin)
		return slices.Concat(l.data[:colon], []byte(" []"), l.data[colon:begin], l.data[next:])
	case !l.flow, alone:
		return l.splice(begin, next, "")
	case n+1 < len(l.items):
		return l.splice(i.from, l.items[n+1].from, "")
	case n > 0:
		return l.splice(l.items[n-1].to, i.to, "")
	}
	return l.splice(l.open+1, l.shut, "")
}

// restOfItem is what may stand behind an item that has a line of its own.
var restOfItem = regexp.MustCompile(`^[ \t]*,?[ \t]*(#.*)?$`)

func (l *list) texts() []string {
	var found []string
	for _, i := range l.items {
		found = append(found, i.text)
	}
	return found
}

// says reports whether an edited recipe can be read, and the list says what it should.
func (l *list) says(recipe []byte, want []string) bool {
	r, err := recipes.ParseOwn(l.file, recipe)
	if err != nil {
		return false
	}
	got := r.Requirements
	if len(l.keys) > 1 {
		got = r.DependencyGroups[l.keys[1]]
	}
	return slices.Equal(got.List, want)
}

var (
	plainText = regexp.MustCompile(`^[A-Za-z][^#:\x00-\x1f]*[^#:\s\x00-\x1f]$|^[A-Za-z]$`)
	otherWord = regexp.MustCompile(`(?i)^(true|false|null|yes|no|on|off|y|n)$`)
)

// quoted is a requirement as YAML has it; flow is set in brackets.
func quoted(text string, flow bool) string {
	if plainText.MatchString(text) && !otherWord.MatchString(text) && !(flow && strings.ContainsAny(text, "[]{},")) {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", "''") + "'"
}
