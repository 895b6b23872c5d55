package trials

import (
	"context"
	_ "embed" // the requirements of hundred
	"os"
	"path/filepath"
	"strings"
)

// hundredRequirements are distributions that are taken as they are published, so that building them costs
// an interpreter and a few minutes.
//
//go:embed hundred.txt
var hundredRequirements string

// nextRelease replaces the distributions that change in the next release: a small one and a large one, which together
// have a twentieth of the artifact's bytes.
var nextRelease = []string{"requests==2.32.4", "requests==2.32.5", "networkx==3.7", "networkx==3.5"}

// hundredRecipe is the recipe of an artifact of about a hundred distributions.
const hundredRecipe = `apiVersion: ampoule/v1
name: hundred
python:
  version: 3.13.5
  configure: []
  optional: [_tkinter]
base: {debian: bookworm}
requirements: requirements.txt
runtime:
  container: {base: {debian: bookworm}}
  vm: {glibc: "2.36"}
test:
  imports: [requests]
`

// hundred builds an artifact of about a hundred distributions, and another one of which two have changed. It
// returns their references. What a store has already is not built again.
func (t *Trials) hundred(ctx context.Context, work, store string) (refs []string, err error) {
	dir := filepath.Join(work, "hundred")
	if err := os.Mkdir(dir, 0o755); err != nil { //nolint:gosec // it is a recipe's
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, recipeFile), []byte(hundredRecipe), 0o644); err != nil { //nolint:gosec // it is a recipe
		return nil, err
	}
	for _, text := range []string{hundredRequirements, strings.NewReplacer(nextRelease...).Replace(hundredRequirements)} {
		if err := os.WriteFile(filepath.Join(dir, "requirements.txt"), []byte(text), 0o644); err != nil { //nolint:gosec // so are requirements
			return nil, err
		}
		t.Say("building about a hundred distributions")
		if _, err := t.lock(ctx, store, dir); err != nil {
			return nil, err
		}
		b, _, err := t.build(ctx, store, dir)
		if err != nil {
			return nil, err
		}
		refs = append(refs, b.Ref)
	}
	return refs, nil
}
