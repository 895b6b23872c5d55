package recipes

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// positions remembers where the values of a file stand, by path of keys.
type positions struct {
	file string
	// extended are the files that it extends, as [Recipe.Extended] gives them.
	extended []string
	at       map[string]Position
}

func joinPath(path []string) string { return strings.Join(path, "\x00") }

func (p *positions) find(path []string) Position {
	if p == nil {
		return Position{}
	}
	for n := len(path); n > 0; n-- {
		if pos, ok := p.at[joinPath(path[:n])]; ok {
			return pos
		}
	}
	return Position{File: p.file, Line: 1, Column: 1}
}

// has reports whether a value is written at the path.
func (p *positions) has(path ...string) bool {
	_, ok := p.at[joinPath(path)]
	return ok
}

// child is path with one more key; it never shares memory with another child.
func child(path []string, key string) []string {
	return append(slices.Clip(path), key)
}

// decoder fills Go values from nodes, by their yaml tags, and collects every
// fault. Beside structs it knows text, lists, mappings by name and pointers.
type decoder struct {
	// tag is the tag of the field that is being decoded.
	tag reflect.StructTag
	// what is the file: "a recipe".
	what string
	// part is set of a file that others are laid under: no key of it must be there.
	part      bool
	faults    Faults
	positions *positions
	// rules are the file's own, beside those of recipes.
	rules map[string]rule
}

// rule is the rule of a name: the file's own, or that of recipes.
func (d *decoder) rule(name string) rule {
	if r, own := d.rules[name]; own {
		return r
	}
	return rules[name]
}

func newDecoder(what, file string) *decoder {
	return &decoder{what: what, positions: &positions{file: file, at: map[string]Position{}}}
}

func (d *decoder) add(pos Position, what, hint string) {
	d.faults = append(d.faults, pos.fault(what, hint))
}

// decodeAs decodes a field and holds its texts, and its keys, to the rules that
// the field's tag names.
func (d *decoder) decodeAs(n *node, v reflect.Value, path []string, tag reflect.StructTag) {
	before := d.tag
	d.tag = tag
	d.decode(n, v, path)
	d.tag = before
}

func (d *decoder) decode(n *node, v reflect.Value, path []string) {
	d.positions.at[joinPath(path)] = n.pos
	if n.kind == brokenKind {
		return
	}
	switch value := v.Addr().Interface().(type) {
	case *Requirements:
		d.requirements(n, value, path)
		return
	case *Setting:
		d.setting(n, value, path)
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		target := reflect.New(v.Type().Elem())
		d.decode(n, target.Elem(), path)
		v.Set(target)
	case reflect.Struct:
		d.structure(n, v, path)
	case reflect.Map:
		d.mapping(n, v, path)
	case reflect.Slice:
		d.list(n, v, path)
	case reflect.String:
		d.text(n, v, path)
	default:
		panic(fmt.Sprintf("recipes: no decoding of %s", v.Type()))
	}
}

// wants tells of a value of another kind; it reports whether the kind is right.
func (d *decoder) wants(n *node, path []string, kinds ...kind) bool {
	if slices.Contains(kinds, n.kind) {
		return true
	}
	names := make([]string, len(kinds))
	for i, k := range kinds {
		names[i] = k.String()
	}
	hint := ""
	switch {
	case n.kind == boolKind && slices.Contains(kinds, textKind):
		hint = fmt.Sprintf("if the text is meant, quote it: %q", n.text)
	case n.kind == nullKind:
		hint = "remove the key, or give it a value"
	case n.kind == textKind && len(kinds) == 1 && kinds[0] == listKind:
		hint = fmt.Sprintf("a list of one is [%s]", n.text)
	}
	d.add(n.pos, fmt.Sprintf("%s is %s, not %s", dotted(path), strings.Join(names, " or "), n.kind), hint)
	return false
}

// dotted spells a path of keys for people.
func dotted(path []string) string {
	var s strings.Builder
	for i, key := range path {
		switch {
		case key != "" && strings.Trim(key, "0123456789") == "":
			s.WriteString("[" + key + "]")
		case i > 0:
			s.WriteString("." + key)
		default:
			s.WriteString(key)
		}
	}
	return s.String()
}

func (d *decoder) structure(n *node, v reflect.Value, path []string) {
	if !d.wants(n, path, mapKind) {
		return
	}
	fields := map[string]reflect.StructField{}
	for _, f := range yamlFields(v.Type()) {
		fields[f.Tag.Get("yaml")] = f
	}
	for _, e := range n.entries {
		field, known := fields[e.key.text]
		if !known {
			d.unknownKey(e.key, path, slices.Sorted(maps.Keys(fields)))
			continue
		}
		at := child(path, e.key.text)
		d.decodeAs(e.value, v.FieldByIndex(field.Index), at, field.Tag)
		if e.value.kind == mapKind || e.value.kind == listKind {
			d.positions.at[joinPath(at)] = e.key.pos
		}
	}
	d.missingKeys(n, v.Type(), path)
}

// missingKeys tells of the keys that are not written and must be.
func (d *decoder) missingKeys(n *node, t reflect.Type, path []string) {
	if d.part {
		return
	}
	for _, f := range yamlFields(t) {
		tag := f.Tag
		key := tag.Get("yaml")
		if tag.Get("need") == "yes" && !slices.ContainsFunc(n.entries, func(e entry) bool { return e.key.text == key }) {
			hint := ""
			if example := d.rule(tag.Get("is")).example; example != "" {
				hint = fmt.Sprintf("for example %s: %s", key, example)
			}
			d.add(n.pos, dotted(child(path, key))+" is missing", hint)
		}
	}
}

func (d *decoder) unknownKey(key *node, path, known []string) {
	of := d.what
	if len(path) > 0 {
		of = dotted(path)
	}
	d.add(key.pos, fmt.Sprintf("%q is no key of %s", key.text, of), suggestion(key.text, known, "keys here"))
}

func (d *decoder) mapping(n *node, v reflect.Value, path []string) {
	if !d.wants(n, path, mapKind) {
		return
	}
	v.Set(reflect.MakeMapWithSize(v.Type(), len(n.entries)))
	for _, e := range n.entries {
		at := child(path, e.key.text)
		d.obey(d.rule(d.tag.Get("keys")), e.key, at[:len(at)-1])
		value := reflect.New(v.Type().Elem()).Elem()
		d.decode(e.value, value, at)
		d.positions.at[joinPath(at)] = e.key.pos
		v.SetMapIndex(reflect.ValueOf(e.key.text), value)
	}
}

func (d *decoder) list(n *node, v reflect.Value, path []string) {
	if !d.wants(n, path, listKind) {
		return
	}
	if len(n.items) == 0 && d.tag.Get("need") == "yes" {
		d.add(n.pos, dotted(path)+" is empty", "")
	}
	v.Set(reflect.MakeSlice(v.Type(), len(n.items), len(n.items)))
	for i, item := range n.items {
		d.decode(item, v.Index(i), child(path, fmt.Sprint(i)))
	}
	if d.tag.Get("set") == "yes" {
		d.distinct(n, path)
	}
}

// distinct tells of texts that stand in a list more than once.
func (d *decoder) distinct(n *node, path []string) {
	seen := map[string]Position{}
	for _, item := range n.items {
		if first, twice := seen[item.text]; twice && item.kind == textKind {
			d.add(item.pos, fmt.Sprintf("%s has %q twice", dotted(path), item.text), fmt.Sprintf("it stands in line %d already; keep one", first.Line))
		} else {
			seen[item.text] = item.pos
		}
	}
}

func (d *decoder) text(n *node, v reflect.Value, path []string) {
	if d.wants(n, path, textKind) {
		v.SetString(pathText(n, d.tag.Get("is")))
		d.obey(d.rule(d.tag.Get("is")), n, path)
	}
}

// obey tells of a text that is against the rule.
func (d *decoder) obey(r rule, n *node, path []string) {
	if r.allows(n.text) || len(path) > 0 && path[0] == groupsKey && r.means == rules["requirements file"].means && isGroupsFile(n.text) {
		return
	}
	d.add(n.pos, fmt.Sprintf("%s: %q is not %s", dotted(path), n.text, r.means), r.hintFor(n.text))
}

func (d *decoder) requirements(n *node, r *Requirements, path []string) {
	switch {
	case !d.wants(n, path, textKind, listKind, mapKind):
	case n.kind == mapKind:
		d.structure(n, reflect.ValueOf(r).Elem(), path)
	case n.kind == textKind:
		r.File = pathText(n, "requirements file")
		d.obey(rules["requirements file"], n, path)
	default:
		if path[0] == groupsKey {
			n, r.Include = d.includes(n, path)
		}
		d.list(n, reflect.ValueOf(&r.List).Elem(), path)
	}
}

// groupsKey is the recipe's key of dependency groups.
const groupsKey = "dependency-groups"

// includeKey is the key of an item that includes another group. Below it, a group has the places
// of these.
const includeKey = "include-group"

// includes takes the mappings {include-group: NAME} out of a list.
func (d *decoder) includes(n *node, path []string) (rest *node, includes []string) {
	rest = &node{kind: n.kind, pos: n.pos, dir: n.dir, text: n.text}
	for _, item := range n.items {
		if item.kind != mapKind || len(item.entries) != 1 || item.entries[0].key.text != includeKey {
			rest.items = append(rest.items, item)
			continue
		}
		name := item.entries[0].value
		if d.wants(name, path, textKind) {
			d.obey(rules["group"], name, path)
			d.positions.at[joinPath(child(child(path, includeKey), strconv.Itoa(len(includes))))] = name.pos
			includes = append(includes, name.text)
		}
	}
	return rest, includes
}

func (d *decoder) setting(n *node, s *Setting, path []string) {
	switch {
	case !d.wants(n, path, textKind, listKind):
	case n.kind == textKind:
		d.text(n, reflect.ValueOf(&s.Text).Elem(), path)
	default:
		d.list(n, reflect.ValueOf(&s.List).Elem(), path)
	}
}

// suggestion hints at the nearest of the known words, or lists them.
func suggestion(word string, known []string, all string) string {
	best := Nearest(word, known)
	switch {
	case best != "":
		return fmt.Sprintf("did you mean %q?", best)
	case all != "" && len(known) <= 32:
		return all + ": " + strings.Join(known, ", ")
	default:
		return ""
	}
}

// Nearest is the known word that needs the fewest letters changed to be a word; empty if
// that is more than a third of them and one.
func Nearest(word string, known []string) string {
	best, distance := "", len(word)/3+2
	for _, k := range known {
		if n := editDistance(strings.ToLower(word), k); n < distance {
			best, distance = k, n
		}
	}
	return best
}

// editDistance counts the characters to insert, remove or replace.
func editDistance(a, b string) int {
	if len(a) > 80 || len(b) > 80 {
		return max(len(a), len(b))
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j+1]+1, row[j]+1)
		}
	}
	return row[len(b)]
}
