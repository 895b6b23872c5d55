package recipes

import (
	"bytes"
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// The classes of a recipe's field: what part it has in the key. The tag "key" names the
// class behind a comma; a field without one stands in the key, under the name before the comma.
const (
	// classLock is a field that decides what is locked: the lock has the answer to it.
	classLock = "lock"
	// classSource is a field that says where first-party code is: the hash of that code
	// stands in the key.
	classSource = "source"
	// classOut is a field that no build depends on; the tag "out" says why.
	classOut = "out"
	// classGroup is a field that only dependency groups depend on: it has a part in their
	// keys ([GroupKey]), and none in the artifact's.
	classGroup = "group"
	// classInline is a struct whose fields stand where it stands.
	classInline = "inline"
)

// The options of a field in the key.
const (
	// optionSet is a list whose order means nothing.
	optionSet = "set"
	// optionOmitEmpty is a list or a structure that came later: without it, keys are what
	// they were before.
	optionOmitEmpty = "omitempty"
)

// keyTag is a field's tag "key".
type keyTag struct{ name, option string }

// keyTagOf reads a field's tag. A field without one has no place in a recipe.
func keyTagOf(f reflect.StructField) keyTag {
	text, ok := f.Tag.Lookup("key")
	if !ok {
		panic("recipes: field " + f.Name + " has no tag that says what part it has in the key")
	}
	name, option, _ := strings.Cut(text, ",")
	return keyTag{name, option}
}

// canonical gives the values of a recipe that a build depends on, in one form: defaults
// filled in, lists sorted where their order means nothing, no null for a list or a mapping.
// It follows the structs, so their fields' order and tags are part of every key.
func canonical(r *Recipe) json.RawMessage {
	var b bytes.Buffer
	b.WriteByte('{')
	writeFields(&b, reflect.ValueOf(r).Elem())
	b.WriteByte('}')
	return b.Bytes()
}

// Canonical gives the values of a recipe that its artifact's key has, as JSON.
func Canonical(r *Recipe) json.RawMessage { return canonical(r) }

// canonicalOf gives the same form of a part of a recipe.
func canonicalOf(part any) json.RawMessage {
	var b bytes.Buffer
	// Only what stands behind something is separated from it.
	b.WriteByte('[')
	writeCanonical(&b, reflect.ValueOf(part), "")
	return b.Bytes()[1:]
}

// writeCanonical writes one value as JSON.
func writeCanonical(b *bytes.Buffer, v reflect.Value, option string) {
	if _, isLeaf := v.Interface().(json.Marshaler); isLeaf || v.Kind() == reflect.String {
		b.WriteString(encoded(v.Interface()))
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			b.WriteString("null")
			return
		}
		writeCanonical(b, v.Elem(), option)
	case reflect.Struct:
		b.WriteByte('{')
		writeFields(b, filled(v))
		b.WriteByte('}')
	case reflect.Slice:
		if option == optionSet {
			v = reflect.ValueOf(set(v.Interface().([]string)))
		}
		b.WriteByte('[')
		for i := range v.Len() {
			comma(b)
			writeCanonical(b, v.Index(i), "")
		}
		b.WriteByte(']')
	case reflect.Map:
		b.WriteByte('{')
		for _, key := range slices.Sorted(maps.Keys(keysOf(v))) {
			comma(b)
			b.WriteString(encoded(key) + ":")
			writeCanonical(b, v.MapIndex(reflect.ValueOf(key)), "")
		}
		b.WriteByte('}')
	default:
		panic("recipes: no canonical form of " + v.Type().String())
	}
}

// writeFields writes a struct's fields without the braces around them.
func writeFields(b *bytes.Buffer, v reflect.Value) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if !f.IsExported() {
			continue
		}
		tag := keyTagOf(f)
		switch {
		case tag.option == classLock, tag.option == classSource, tag.option == classGroup, tag.option == classOut, tag.option == optionOmitEmpty && isEmpty(v.Field(i)):
		case tag.option == classInline:
			writeFields(b, v.Field(i))
		default:
			comma(b)
			b.WriteString(encoded(tag.name) + ":")
			option := tag.option
			if option == optionOmitEmpty && f.Tag.Get("set") == "yes" {
				option = optionSet
			}
			writeCanonical(b, v.Field(i), option)
		}
	}
}

// isEmpty reports whether nothing is written in a list or a structure.
func isEmpty(v reflect.Value) bool {
	if v.Kind() == reflect.Pointer {
		return v.IsNil()
	}
	return v.Len() == 0
}

// filled gives a struct with its defaults.
func filled(v reflect.Value) reflect.Value {
	copied := reflect.New(v.Type())
	copied.Elem().Set(v)
	if d, ok := copied.Interface().(interface{ setDefaults() }); ok {
		d.setDefaults()
	}
	return copied.Elem()
}

// comma separates what follows from what stands before it, if anything does.
func comma(b *bytes.Buffer) {
	if last := b.Bytes()[b.Len()-1]; last != '{' && last != '[' {
		b.WriteByte(',')
	}
}

func keysOf(v reflect.Value) map[string]bool {
	keys := map[string]bool{}
	for _, key := range v.MapKeys() {
		keys[key.String()] = true
	}
	return keys
}

// encoded is the JSON of a value that always encodes.
func encoded(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		panic("recipes: encoding a key: " + err.Error())
	}
	return string(data)
}

func set(texts []string) []string {
	all := slices.Clone(texts)
	slices.Sort(all)
	return slices.Compact(all)
}
