package config

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestSettingsHaveAllVariables reads the source: every name of a variable in it is in the
// table.
func TestSettingsHaveAllVariables(t *testing.T) {
	t.Parallel()
	var listed []string
	for _, s := range Settings() {
		for _, v := range s.Variables {
			listed = append(listed, strings.TrimSuffix(v, "<NAME>"))
		}
	}
	name := regexp.MustCompile(`^[A-Za-z]+(_[A-Za-z]+)*_?$`)
	found := 0
	for _, file := range []string{"config.go", "environment.go", "file.go", "source.go", "credentials.go", "parse.go"} {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			literal, ok := n.(*ast.BasicLit)
			if !ok || literal.Kind != token.STRING {
				return true
			}
			text, err := strconv.Unquote(literal.Value)
			if err != nil || !name.MatchString(text) || text != strings.ToUpper(text) && !strings.HasSuffix(text, "_proxy") {
				return true
			}
			found++
			if !slices.Contains(listed, text) {
				t.Errorf("%s names %s, which Settings does not list", file, text)
			}
			return true
		})
	}
	if found < 10 {
		t.Errorf("only %d names were found", found)
	}
}

// TestSettingsAreRead sets each variable that this package reads, and looks whether it counts.
func TestSettingsAreRead(t *testing.T) {
	t.Parallel()
	for _, s := range Settings() {
		if s.Reader != "" {
			continue
		}
		for _, variable := range s.Variables {
			variable = strings.Replace(variable, "<NAME>", "PYPI", 1)
			base := []string{"HOME=/nowhere"}
			switch variable {
			case configHomeVariable:
				dir := t.TempDir()
				if err := os.MkdirAll(dir+"/ampoule", 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(dir+"/ampoule/config.toml", []byte("kept = [\"/set\"]\n"), 0o644); err != nil {
					t.Fatal(err)
				}
				variable += "=" + dir
			case profileVariable:
				base = []string{"HOME="}
				variable += "=/set"
			default:
				variable += "=/set"
			}
			without, err := Read(base, "")
			if err != nil {
				t.Fatal(err)
			}
			with, err := Read(append(base, variable), "")
			if err != nil {
				t.Fatal(err)
			}
			without.Inputs.Environ, with.Inputs.Environ = nil, nil
			if reflect.DeepEqual(without, with) {
				t.Errorf("%s changes nothing", variable)
			}
		}
	}
}

// TestSettingsHaveAllKeys compares the table with what config.toml may hold.
func TestSettingsHaveAllKeys(t *testing.T) {
	t.Parallel()
	var listed []string
	for _, s := range Settings() {
		if s.Key != "" {
			listed = append(listed, s.Key)
		}
	}
	slices.Sort(listed)
	known := keysOf(reflect.TypeFor[file](), "")
	slices.Sort(known)
	if diff := cmp.Diff(known, listed); diff != "" {
		t.Errorf("keys (-known +listed):\n%s", diff)
	}
}

// keysOf lists the keys of a type, below a prefix.
func keysOf(of reflect.Type, prefix string) []string {
	var keys []string
	for field := range of.Fields() {
		if field.Tag.Get("toml") == "-" {
			continue
		}
		key := prefix + field.Tag.Get("toml")
		switch field.Type.Kind() {
		case reflect.Struct:
			keys = append(keys, keysOf(field.Type, key+".")...)
		case reflect.Map:
			keys = append(keys, keysOf(field.Type.Elem(), key+".NAME.")...)
		default:
			keys = append(keys, key)
		}
	}
	return keys
}
