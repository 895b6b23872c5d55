package recipes

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/google/jsonschema-go/jsonschema"
)

// The comments of recipe.go are the descriptions of the schema and the text of the reference.
//
//go:embed recipe.go
var recipeSource string

// fieldComments gives the doc comment of every field, as TYPE.FIELD.
var fieldComments = sync.OnceValue(func() map[string]string { return commentsOf(recipeSource) })

// commentsOf gives the doc comment of every field in a Go source, as TYPE.FIELD.
func commentsOf(source string) map[string]string {
	file, err := parser.ParseFile(token.NewFileSet(), "", source, parser.ParseComments)
	if err != nil {
		panic("recipes: " + err.Error())
	}
	comments := map[string]string{}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.TypeSpec)
		if !ok {
			return true
		}
		if structure, ok := spec.Type.(*ast.StructType); ok {
			for _, field := range structure.Fields.List {
				for _, name := range field.Names {
					comments[spec.Name.Name+"."+name.Name] = strings.Join(strings.Fields(field.Doc.Text()), " ")
				}
			}
		}
		return false
	})
	return comments
}

// describe gives a field's comment with the key for the field's name.
func describe(t reflect.Type, f reflect.StructField) string { return describeBy(fieldComments(), t, f) }

func describeBy(comments map[string]string, t reflect.Type, f reflect.StructField) string {
	if outer := f.Index[:len(f.Index)-1]; len(outer) > 0 {
		t = t.FieldByIndex(outer).Type
	}
	return f.Tag.Get("yaml") + strings.TrimPrefix(comments[t.Name()+"."+f.Name], f.Name)
}

// exactlyOne are the structures of which exactly one key is written.
var exactlyOne = []reflect.Type{reflect.TypeFor[Base]()}

// atLeastOne are the structures that cannot be empty.
var atLeastOne = []reflect.Type{reflect.TypeFor[Runtime]()}

// Schema gives the JSON Schema (2020-12) of a recipe, for editors. It says what a
// schema can; [ParseRecipe] refuses more.
func Schema() ([]byte, error) {
	root := schemaOf(reflect.TypeFor[Recipe](), "")
	root.Schema = "https://json-schema.org/draft/2020-12/schema"
	// What a recipe lacks may stand in the file that it extends.
	root.Required = nil
	root.If, root.Else = &jsonschema.Schema{Required: []string{"extends"}}, needs(reflect.TypeFor[Recipe]())
	root.Title = "Ampoule recipe (ampoule.yaml)"
	if _, err := root.Resolve(nil); err != nil {
		return nil, fmt.Errorf("resolving the recipe's schema: %w", err)
	}
	data, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encoding the recipe's schema: %w", err)
	}
	return append(data, '\n'), nil
}

// schemaOf gives the schema of a type whose texts obey the rules of the field's tag.
func schemaOf(t reflect.Type, tag reflect.StructTag) *jsonschema.Schema {
	if t == reflect.TypeFor[Requirements]() {
		file := ruleSchema(rules["requirements file"])
		list := &jsonschema.Schema{Type: "array", Items: ruleSchema(rules["requirement"])}
		return &jsonschema.Schema{OneOf: []*jsonschema.Schema{file, list, structSchema(t)}}
	}
	if t == reflect.TypeFor[Setting]() {
		rule := ruleOf(tag)
		return &jsonschema.Schema{OneOf: []*jsonschema.Schema{ruleSchema(rule), {Type: "array", Items: ruleSchema(rule)}}}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return schemaOf(t.Elem(), tag)
	case reflect.Struct:
		return structSchema(t)
	case reflect.Map:
		return &jsonschema.Schema{Type: "object", AdditionalProperties: schemaOf(t.Elem(), tag), PropertyNames: ruleSchema(rules[tag.Get("keys")])}
	case reflect.Slice:
		s := &jsonschema.Schema{Type: "array", Items: schemaOf(t.Elem(), tag), UniqueItems: tag.Get("set") == "yes"}
		if tag.Get("need") == "yes" {
			s.MinItems = new(1)
		}
		return s
	default:
		return ruleSchema(ruleOf(tag))
	}
}

func structSchema(t reflect.Type) *jsonschema.Schema {
	s := &jsonschema.Schema{
		Type:                 "object",
		Properties:           map[string]*jsonschema.Schema{},
		AdditionalProperties: &jsonschema.Schema{Not: &jsonschema.Schema{}},
	}
	for _, f := range yamlFields(t) {
		property := schemaOf(f.Type, f.Tag)
		if merged(f) != nil {
			// The root's condition has them.
			property.Required = nil
		}
		property.Description = describe(t, f)
		s.Properties[f.Tag.Get("yaml")] = property
		s.PropertyOrder = append(s.PropertyOrder, f.Tag.Get("yaml"))
		if f.Tag.Get("need") == "yes" {
			s.Required = append(s.Required, f.Tag.Get("yaml"))
		}
	}
	if slices.Contains(exactlyOne, t) {
		s.MinProperties, s.MaxProperties = new(1), new(1)
	}
	if slices.Contains(atLeastOne, t) {
		s.MinProperties = new(1)
	}
	return s
}

// merged gives the structure of a field that extending files lay over each other by key;
// nil if it has none.
func merged(f reflect.StructField) reflect.Type {
	t := f.Type
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || slices.Contains(whole, t) {
		return nil
	}
	return t
}

// needs gives the keys that a recipe must have if it extends nothing.
func needs(t reflect.Type) *jsonschema.Schema {
	s := &jsonschema.Schema{Properties: map[string]*jsonschema.Schema{}}
	for _, f := range yamlFields(t) {
		key := f.Tag.Get("yaml")
		if f.Tag.Get("need") == "yes" {
			s.Required = append(s.Required, key)
		}
		if inner := merged(f); inner != nil {
			if below := needs(inner); len(below.Required)+len(below.Properties) > 0 {
				s.Properties[key] = below
				s.PropertyOrder = append(s.PropertyOrder, key)
			}
		}
	}
	return s
}

// yamlFields gives the fields that are keys, those of embedded structures among
// them, in the order of the source.
func yamlFields(t reflect.Type) []reflect.StructField {
	return slices.DeleteFunc(reflect.VisibleFields(t), func(f reflect.StructField) bool { return f.Tag.Get("yaml") == "" })
}

// ruleSchema gives the schema of a text. What an editor's YAML reader takes for a
// number is text to Ampoule, so that numbers pass where texts look like them.
func ruleSchema(r rule) *jsonschema.Schema {
	s := &jsonschema.Schema{Type: "string"}
	for _, text := range r.enum {
		s.Enum = append(s.Enum, text)
	}
	if r.numbers {
		s.Type, s.Types = "", []string{"string", "number"}
		for _, text := range r.enum {
			s.Enum = append(s.Enum, json.Number(text))
		}
	}
	if r.pattern != nil {
		s.Pattern = r.pattern.String()
	}
	if r.example != "" && r.enum == nil {
		s.Examples = []any{r.example}
	}
	return s
}
