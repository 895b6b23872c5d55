package recipes

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
	"github.com/google/jsonschema-go/jsonschema"
)

var update = flag.Bool("update", false, "write generated and golden files anew")

// golden compares got with a file, or writes the file.
func golden(t *testing.T, file string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s is not current; `go test ./recipes -update` writes it (-is +should be):\n%s", file, diff)
	}
}

func TestSchemaIsCurrent(t *testing.T) {
	t.Parallel()
	schema, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	golden(t, filepath.Join("..", "docs", "recipe.schema.json"), schema)
}

func TestReferenceIsCurrent(t *testing.T) {
	t.Parallel()
	golden(t, filepath.Join("..", "docs", "recipe.md"), Reference())
}

func TestEveryKeyIsDescribed(t *testing.T) {
	t.Parallel()
	for key, comment := range fieldComments() {
		if comment == "" && !strings.HasSuffix(key, ".positions") {
			t.Errorf("%s has no doc comment", key)
		}
	}
}

// TestReferenceExamples holds the reference to what it says: its whole example is
// a recipe, and that of each key has that key.
func TestReferenceExamples(t *testing.T) {
	t.Parallel()
	blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(Reference()), -1)
	if len(blocks) < 30 {
		t.Fatalf("only %d examples", len(blocks))
	}
	if _, err := ParseRecipe("example", []byte(blocks[0][1])); err != nil {
		t.Errorf("the whole example: %v", err)
	}
	for _, block := range blocks[1:] {
		_, err := ParseRecipe("example", []byte(block[1]))
		for fault := range strings.SplitSeq(err.Error(), "\n") {
			if !strings.Contains(fault, " is missing") && !strings.Contains(fault, "extends stands where") && !strings.Contains(fault, " without --enable-optimizations decides nothing") {
				t.Errorf("%s\n%s", block[1], fault)
			}
		}
	}
}

// TestSchemaAgrees gives recipes to the schema, as an editor does.
func TestSchemaAgrees(t *testing.T) {
	t.Parallel()
	data, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	var schema jsonschema.Schema
	if err := json.Unmarshal(data, &schema); err != nil {
		t.Fatal(err)
	}
	resolved, err := schema.Resolve(nil)
	if err != nil {
		t.Fatal(err)
	}
	cases := map[string]struct {
		change [2]string
		good   bool
	}{
		"as it is":          {[2]string{"", ""}, true},
		"glibc unquoted":    {[2]string{`"2.36"`, "2.36"}, true},
		"list":              {[2]string{"requirements.txt", "[flask]"}, true},
		"unknown key":       {[2]string{"name:", "nom:"}, false},
		"partial version":   {[2]string{"3.13.5", "3.13.x"}, false},
		"unknown suite":     {[2]string{"debian: bookworm", "debian: woody"}, false},
		"two bases":         {[2]string{"debian: bookworm", "debian: bookworm, image: x"}, false},
		"text for list":     {[2]string{"[_tkinter]", "_tkinter"}, false},
		"no version":        {[2]string{"  version: 3.13.5\n", ""}, false},
		"no name":           {[2]string{"name: web\n", ""}, false},
		"name of a package": {[2]string{"psycopg2: {", "Psycopg2: {"}, false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text := strings.Replace(goodRecipe, c.change[0], c.change[1], 1)
			var instance any
			if err := yaml.Unmarshal([]byte(text), &instance); err != nil {
				t.Fatal(err)
			}
			encoded, err := json.Marshal(instance)
			if err != nil {
				t.Fatal(err)
			}
			var plain any
			if err := json.Unmarshal(encoded, &plain); err != nil {
				t.Fatal(err)
			}
			if err := resolved.Validate(plain); (err == nil) != c.good {
				t.Errorf("the schema says %v of\n%s", err, text)
			}
			if _, err := ParseRecipe("r", []byte(text)); (err == nil) != c.good {
				t.Errorf("ParseRecipe says %v of\n%s", err, text)
			}
		})
	}
}

// What the schema wants of a recipe may stand in the file that it extends.
func TestSchemaOfExtending(t *testing.T) {
	t.Parallel()
	data, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	var schema jsonschema.Schema
	if err := json.Unmarshal(data, &schema); err != nil {
		t.Fatal(err)
	}
	resolved, err := schema.Resolve(nil)
	if err != nil {
		t.Fatal(err)
	}
	recipe := map[string]any{"extends": "../python.yaml", "name": "web", "python": map[string]any{"configure": []any{"--with-lto"}}}
	if err := resolved.Validate(recipe); err != nil {
		t.Errorf("the schema refuses an extending recipe: %v", err)
	}
	delete(recipe, "extends")
	if resolved.Validate(recipe) == nil {
		t.Error("the schema takes a recipe that lacks almost everything")
	}
}
