package builder

import (
	"errors"
	"strings"
	"testing"

	"ampoule/builder/seal"
	"ampoule/recipes"
)

// A package without a library is told where the recipe names it.
func TestLibraryPlaced(t *testing.T) {
	t.Parallel()
	recipe, err := recipes.ParseRecipe("ampoule.yaml", []byte("apiVersion: ampoule/v1\nname: x\npython: {version: 3.13.5}\nbase: {debian: bookworm}\nruntime:\n  vm: {glibc: \"2.36\"}\n  libraries: [libpq5, file]\n"))
	if err != nil {
		t.Fatal(err)
	}
	r := &build{req: Request{Recipe: recipe}}
	none := &seal.NoLibraryError{Package: "file", Programs: []string{"file"}}
	var faults recipes.Faults
	if err := r.placed(none); !errors.As(err, &faults) || faults[0].Line != 7 || faults[0].Column != 23 || !strings.Contains(faults[0].What, "it has programs: file") {
		t.Errorf("told: %v", err)
	}
	known := &seal.NoLibraryError{Package: "libother"}
	if err := r.placed(known); !errors.Is(err, known) {
		t.Errorf("of an override: %v", err)
	}
	if err := r.placed(nil); err != nil {
		t.Error(err)
	}
}
