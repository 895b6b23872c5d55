package gate

import (
	"strings"
	"testing"

	"ampoule/audit"
	"ampoule/recipes"
)

// A recipe may except from every check that the gate makes, and from no other.
func TestExceptionsNameChecks(t *testing.T) {
	t.Parallel()
	const recipe = `apiVersion: ampoule/v1
name: a
python: {version: 3.13.5}
base: {debian: bookworm}
runtime: {container: {base: {debian: bookworm}}}
gate: {except: [{check: CHECK, files: [x], why: y, until: 2030-01-01}]}
`
	for _, c := range audit.Checks() {
		if _, err := recipes.ParseRecipe("ampoule.yaml", []byte(strings.Replace(recipe, "CHECK", c.Name, 1))); (err == nil) == c.OfPlaces {
			t.Errorf("check %s: %v", c.Name, err)
		}
	}
	for _, name := range []string{"tags-of-wheels", "no-such-check"} {
		if _, err := recipes.ParseRecipe("ampoule.yaml", []byte(strings.Replace(recipe, "CHECK", name, 1))); err == nil {
			t.Errorf("check %s: no fault, though the gate has no such check", name)
		}
	}
}
