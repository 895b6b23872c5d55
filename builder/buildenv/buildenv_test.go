package buildenv

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"ampoule/builder/buildlog"
	"ampoule/builder/cpython"
	"ampoule/recipes"
)

// A module that cannot be linked in is told where the recipe names it.
func TestPlaced(t *testing.T) {
	t.Parallel()
	recipe, err := recipes.ParseRecipe("ampoule.yaml", []byte(`apiVersion: ampoule/v1
name: web
python:
  version: 3.13.5
  configure: []
  builtin: [math, jsn]
base: {debian: trixie}
runtime: {container: {base: {debian: trixie}}}
`))
	if err != nil {
		t.Fatal(err)
	}
	err = placed(recipe, fmt.Errorf("building: %w", &buildlog.StepError{What: "CPython 3.13.5", Err: &cpython.NoRuleError{Module: "jsn"}}))
	if err == nil || !strings.Contains(err.Error(), "ampoule.yaml:6:19") || !strings.Contains(err.Error(), "jsn that can be linked in") {
		t.Errorf("got %v", err)
	}
	other := errors.New("another")
	if got := placed(recipe, other); !errors.Is(got, other) {
		t.Errorf("got %v", got)
	}
}
