package cli

import (
	"context"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"ampoule/builder"
	"ampoule/builder/cpython"
	"ampoule/builder/cpython/pgo"
	"ampoule/recipes"
)

// trained is a Trainer that has a profile.
type trained string

func (p trained) Train(_ context.Context, req builder.Request, _ builder.LockOptions) (cpython.Trained, builder.Inputs, error) {
	about := pgo.About{Objects: map[string]bool{"Objects/list.o": true, "Python/pylifecycle.o": false}}
	return cpython.Trained{SHA256: string(p), Size: 3 << 20, About: about}, builder.Inputs{Name: req.Recipe.Name}, nil
}

func TestTrain(t *testing.T) {
	t.Parallel()
	s, out, errs := session(t, goodRecipe)
	recipe, err := os.ReadFile(s.Recipe)
	if err != nil {
		t.Fatal(err)
	}
	before := strings.Replace(string(recipe), "python:\n", "python:\n  configure: [--enable-optimizations]\n", 1)
	if err := os.WriteFile(s.Recipe, []byte(before), 0o644); err != nil {
		t.Fatal(err)
	}
	s.Output = JSON
	kept := func(context.Context, builder.Inputs) (string, error) { return "/srv/inputs", nil }
	if err := Train(t.Context(), s, trained(sumA), kept, builder.Request{}, TrainOptions{Write: true}); err != nil {
		t.Fatal(err)
	}
	var told trainResult
	if err := json.Unmarshal(out.Bytes(), &told); err != nil || told != (trainResult{"sha256:" + sumA, 3 << 20, "/srv/inputs", 2, 1}) {
		t.Errorf("told %s, %v", out, err)
	}
	if want := "counts for 1 of 2 object files"; !strings.Contains(errs.String(), want) || !strings.Contains(errs.String(), "added sha256:"+sumA) {
		t.Errorf("said %s", errs)
	}
	r, err := recipes.ReadRecipe(s.Recipe)
	if err != nil || r.Python.Profile != "sha256:"+sumA {
		t.Errorf("the recipe names %q, %v", r.Python.Profile, err)
	}
}
