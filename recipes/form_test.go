package recipes

import (
	"encoding/json"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

// garden is a file of a form of its own.
type garden struct {
	// Name is the garden's.
	Name string `yaml:"name" need:"yes" is:"name"`
	// Beds are its beds, by number.
	Beds map[string]bed `yaml:"beds" keys:"number"`
}

type bed struct {
	// Plants are what grows there.
	Plants []string `yaml:"plants" need:"yes" is:"plant" set:"yes"`
}

const gardenSource = `package recipes

type garden struct {
	// Name is the garden's.
	Name string
	// Beds are its beds, by number.
	Beds map[string]bed
}

type bed struct {
	// Plants are what grows there.
	Plants []string
}
`

var gardens = Form{
	What: "a garden", Limit: 200, Source: gardenSource,
	Rules: map[string]Rule{
		"number": {Means: "a number", Pattern: regexp.MustCompile(`^[0-9]+$`), Numbers: true},
		"plant":  {Means: "a plant", Enum: []string{"rose", "leek"}},
	},
}

// A form has the rules of recipes, and its own.
func TestForm(t *testing.T) {
	t.Parallel()
	var g garden
	places, faults := gardens.Decode("g.yaml", []byte("name: web\nbeds:\n  1: {plants: [rose, leek]}\n"), &g)
	if len(faults) > 0 || g.Beds["1"].Plants[1] != "leek" {
		t.Fatalf("%+v, %v", g, faults)
	}
	if at := places.At("beds", "1", "plants", "1"); at.String() != "g.yaml:3:22" || !places.Has("beds") || places.Has("sheds") {
		t.Errorf("it stands at %s", at)
	}
	for text, want := range map[string]string{
		"name: web\nbeds:\n  a: {plants: [rose]}\n": `g.yaml:3:3: beds: "a" is not a number`,
		"name: web\nbeds: {1: {plants: [ros]}}\n":   `"ros" is not a plant`,
		"name: Web\n":                            "name: \"Web\" is not a name",
		"beds: {}\n":                             "name is missing",
		"name: web\nbed: 1\n":                    `"bed" is no key of a garden`,
		"name: web\n" + strings.Repeat("#", 200): "more than 200 bytes",
		"":                                       "the file is empty",
	} {
		_, faults := gardens.Decode("g.yaml", []byte(text), &garden{})
		if len(faults) == 0 || !strings.Contains(faults.Error(), want) {
			t.Errorf("%q: %v", text, faults)
		}
	}
}

func TestFormSchema(t *testing.T) {
	t.Parallel()
	data, err := gardens.Schema("A garden", reflect.TypeFor[garden]())
	if err != nil {
		t.Fatal(err)
	}
	var s struct {
		Title      string
		Required   []string
		Properties map[string]struct {
			Description          string
			PropertyNames        struct{ Pattern string }
			AdditionalProperties struct {
				Required   []string
				Properties map[string]struct {
					Description string
					Items       struct{ Enum []string }
				}
			}
		}
	}
	if err := json.Unmarshal(data, &s); err != nil {
		t.Fatal(err)
	}
	beds := s.Properties["beds"]
	plants := beds.AdditionalProperties.Properties["plants"]
	if s.Title != "A garden" || len(s.Required) != 1 || beds.Description != "beds are its beds, by number." || beds.PropertyNames.Pattern != "^[0-9]+$" ||
		len(beds.AdditionalProperties.Required) != 1 || plants.Description != "plants are what grows there." || len(plants.Items.Enum) != 2 {
		t.Errorf("%s", data)
	}
}
