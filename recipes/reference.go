package recipes

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

const referenceHead = `# The recipe

<!-- Generated from recipes/recipe.go; ` + "`go test ./recipes -update`" + ` writes it anew. -->

A recipe, ` + "`ampoule.yaml`" + `, says what is built and where it must run. It is strict: an unknown key, a
key written twice, a value of another type, an anchor, an alias or a second document is an error that
names file, line and column, and all errors of a file are told at once. Numbers are taken as they are
written: ` + "`3.10`" + ` is never 3.1.

[recipe.schema.json](recipe.schema.json) is its JSON Schema. Editors that use the YAML language server
check against it with a first line such as ` + "`# yaml-language-server: $schema=…`" + `.

A recipe with every key but ` + "`extends`" + `:

`

// Reference gives the reference of the recipe's keys in Markdown.
func Reference() []byte {
	var doc bytes.Buffer
	doc.WriteString(referenceHead)
	writeExample(&doc, slices.DeleteFunc(exampleLines(reflect.TypeFor[Recipe]()), func(line string) bool { return strings.HasPrefix(line, "extends:") }))
	writeKeys(&doc, reflect.TypeFor[Recipe](), nil)
	return doc.Bytes()
}

func writeExample(doc *bytes.Buffer, lines []string) {
	fmt.Fprintf(doc, "```yaml\n%s\n```\n", strings.Join(lines, "\n"))
}

// writeKeys writes a section for each key of a structure, and for those below it.
func writeKeys(doc *bytes.Buffer, t reflect.Type, path []string) {
	for _, f := range yamlFields(t) {
		at := child(path, f.Tag.Get("yaml"))
		fmt.Fprintf(doc, "\n## `%s`\n\n%s\n", strings.Join(at, "."), "`"+strings.Replace(describe(t, f), " ", "` ", 1))
		doc.WriteString("\n" + facts(f) + "\n\n")
		writeExample(doc, nest(at, fieldExample(f)))
		if below, suffix := structureBelow(f.Type); below != nil {
			at[len(at)-1] += suffix
			writeKeys(doc, below, at)
		}
	}
}

// structureBelow gives the structure that a field holds one or more of, and how
// paths go on to it.
func structureBelow(t reflect.Type) (below reflect.Type, suffix string) {
	switch {
	case t == reflect.TypeFor[Setting](), t == reflect.TypeFor[map[string]Requirements]():
		return nil, ""
	case t.Kind() == reflect.Pointer:
		return structureBelow(t.Elem())
	case t.Kind() == reflect.Map:
		below, _ := structureBelow(t.Elem())
		return below, ".NAME"
	case t.Kind() == reflect.Slice:
		below, _ := structureBelow(t.Elem())
		return below, "[]"
	case t.Kind() == reflect.Struct:
		return t, ""
	default:
		return nil, ""
	}
}

// facts says in a line whether the key must be written and what it holds.
func facts(f reflect.StructField) string {
	need := "Optional"
	if f.Tag.Get("need") == "yes" {
		need = "Required"
	}
	r := ruleOf(f.Tag)
	holds := "a mapping"
	switch f.Type.Kind() {
	case reflect.String:
		holds = strings.TrimPrefix(r.means, "is ")
	case reflect.Slice:
		holds = "a list"
		if r.means != "" {
			holds = "a list, each " + r.means
		}
		if f.Type.Elem().Kind() == reflect.Slice {
			holds = "a list of lists; in these, each is " + r.means
		}
	case reflect.Map:
		keys := rules[f.Tag.Get("keys")]
		holds = "a mapping, each key " + keys.means
		if len(keys.enum) > 1 {
			holds += " (`" + strings.Join(keys.enum, "`, `") + "`)"
		}
		if f.Type.Elem() == reflect.TypeFor[Setting]() {
			holds += ", each value a text or a list of texts"
		}
		if f.Type.Elem() == reflect.TypeFor[Requirements]() {
			holds += ", each value a text or a list, each " + r.means
		}
	case reflect.Struct:
		if f.Type == reflect.TypeFor[Requirements]() {
			holds = "text, a mapping, or a list, each " + r.means
		}
	}
	line := fmt.Sprintf("%s; %s.", need, holds)
	if slices.Contains(exactlyOne, f.Type) {
		line += " Exactly one of its keys is written."
	}
	if slices.Contains(atLeastOne, f.Type) {
		line += " At least one of its keys is written."
	}
	if len(r.enum) > 1 {
		line += " One of `" + strings.Join(r.enum, "`, `") + "`."
	}
	return line
}

// nest puts lines below the keys of a path.
func nest(path []string, lines []string) []string {
	for _, key := range slices.Backward(path) {
		name, list := strings.CutSuffix(key, "[]")
		if list {
			lines = item(lines)
		}
		if outer, ok := strings.CutSuffix(name, ".NAME"); ok {
			name = outer
			lines = under(exampleName, lines)
		}
		lines = under(name, lines)
	}
	return lines
}

const exampleName = "psycopg2"

// under gives lines as the value of a key: beside it if it is one line of no key.
func under(key string, lines []string) []string {
	if value, ok := strings.CutPrefix(lines[0], "= "); ok && len(lines) == 1 {
		return []string{key + ": " + value}
	}
	out := []string{key + ":"}
	for _, line := range lines {
		out = append(out, "  "+line)
	}
	return out
}

// item gives lines as the only item of a list.
func item(lines []string) []string {
	out := []string{"- " + lines[0]}
	for _, line := range lines[1:] {
		out = append(out, "  "+line)
	}
	return out
}

func exampleLines(t reflect.Type) []string {
	var lines []string
	for _, f := range yamlFields(t) {
		if slices.Contains(exactlyOne, t) && len(lines) > 0 {
			break
		}
		lines = append(lines, under(f.Tag.Get("yaml"), fieldExample(f))...)
	}
	return lines
}

// fieldExample gives an example of a field's value: its keys, or "= VALUE".
func fieldExample(f reflect.StructField) []string {
	example := ruleOf(f.Tag).example
	if f.Type == reflect.TypeFor[Requirements]() {
		return []string{"= " + rules["requirements file"].example}
	}
	if below, suffix := structureBelow(f.Type); below != nil {
		switch lines := exampleLines(below); suffix {
		case "[]":
			return item(lines)
		case "":
			return lines
		default:
			return under(exampleName, lines)
		}
	}
	if f.Type == reflect.TypeFor[map[string]Requirements]() {
		return []string{"= {" + rules[f.Tag.Get("keys")].example + ": requirements-test.txt}"}
	}
	for t := f.Type; t.Kind() == reflect.Slice; t = t.Elem() {
		example = "[" + example + "]"
	}
	if f.Type.Kind() == reflect.Map {
		example = "{" + rules[f.Tag.Get("keys")].example + ": " + example + "}"
	}
	return []string{"= " + example}
}
