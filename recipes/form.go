package recipes

import (
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"

	"github.com/google/jsonschema-go/jsonschema"
)

// Rule says what a text of a [Form] may be.
type Rule struct {
	// Means completes "is not …".
	Means string
	// Enum lists the only texts; otherwise Pattern matches them all.
	Enum    []string
	Pattern *regexp.Regexp
	// Numbers is set where texts may look like YAML's numbers.
	Numbers bool
	// Example is a good text, as it stands in YAML.
	Example string
}

func (r Rule) rule() rule {
	return rule{means: r.Means, enum: r.Enum, pattern: r.Pattern, numbers: r.Numbers, example: r.Example}
}

// Form is a file that is read as strictly as a recipe: its structure's tags are as
// [Recipe]'s, and its rules are beside those of recipes.
type Form struct {
	// What is the file for people: "a policy".
	What  string
	Rules map[string]Rule
	// Limit bounds the file, in bytes; it is at most that of recipes.
	Limit int
	// Source is the Go source of the structures: their comments describe the schema.
	Source string
}

// Places says where the values of a file stand.
type Places struct{ positions *positions }

// At is where the value at a path of keys stands; of a value that is not written, where its
// nearest parent does.
func (p Places) At(path ...string) Position { return p.positions.find(path) }

// Has reports whether a value is written at the path.
func (p Places) Has(path ...string) bool { return p.positions.has(path...) }

// Fault makes a fault at the place that [Places.At] gives for path.
func (p Places) Fault(what, hint string, path ...string) Fault {
	return p.At(path...).fault(what, hint)
}

// Decode reads a file of the form into a structure, and tells all that is wrong.
func (f Form) Decode(file string, data []byte, into any) (Places, Faults) {
	d := newDecoder(f.What, file)
	d.rules = make(map[string]rule, len(f.Rules))
	for name, r := range f.Rules {
		d.rules[name] = r.rule()
	}
	places := Places{d.positions}
	root, faults := readYAML(file, data, min(f.Limit, maxRecipeBytes))
	if root == nil {
		return places, faults
	}
	d.decode(root, reflect.ValueOf(into).Elem(), nil)
	return places, append(faults, d.faults...)
}

// Schema gives the JSON Schema (2020-12) of the form, for editors.
func (f Form) Schema(title string, of reflect.Type) ([]byte, error) {
	root := schemaOf(of, "")
	root.Schema, root.Title = "https://json-schema.org/draft/2020-12/schema", title
	f.complete(root, of, "", commentsOf(f.Source))
	if _, err := root.Resolve(nil); err != nil {
		return nil, fmt.Errorf("resolving the schema of %s: %w", f.What, err)
	}
	data, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encoding the schema of %s: %w", f.What, err)
	}
	return append(data, '\n'), nil
}

// complete writes the form's own rules and comments into a schema.
func (f Form) complete(s *jsonschema.Schema, t reflect.Type, tag reflect.StructTag, comments map[string]string) {
	if t == reflect.TypeFor[Setting]() {
		if r, own := f.Rules[tag.Get("is")]; own {
			s.OneOf = []*jsonschema.Schema{ruleSchema(r.rule()), {Type: "array", Items: ruleSchema(r.rule())}}
		}
		return
	}
	switch t.Kind() {
	case reflect.Pointer:
		f.complete(s, t.Elem(), tag, comments)
	case reflect.Slice:
		f.complete(s.Items, t.Elem(), tag, comments)
	case reflect.Map:
		f.complete(s.AdditionalProperties, t.Elem(), tag, comments)
		if r, own := f.Rules[tag.Get("keys")]; own {
			s.PropertyNames = ruleSchema(r.rule())
		}
	case reflect.Struct:
		s.Required = nil
		for _, field := range yamlFields(t) {
			key := field.Tag.Get("yaml")
			property := s.Properties[key]
			f.complete(property, field.Type, field.Tag, comments)
			property.Description = describeBy(comments, t, field)
			if field.Tag.Get("need") == "yes" {
				s.Required = append(s.Required, key)
			}
		}
	default:
		if r, own := f.Rules[tag.Get("is")]; own {
			*s = *ruleSchema(r.rule())
		}
	}
}
