package cli

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ampoule/builder"
	"ampoule/builder/cpython"
	"ampoule/builder/cpython/pgo"
	"ampoule/faults"
	"ampoule/recipes"
)

// trained is a Trainer that has a profile.
type trained string

func (p trained) Train(_ context.Context, req builder.Request, _ builder.LockOptions) (cpython.Trained, builder.Inputs, error) {
	about := pgo.About{
		Objects: map[string]bool{"Objects/list.o": true, "Python/pylifecycle.o": false},
		Bolt:    &pgo.Bolt{Binaries: map[string]pgo.Binary{"python": {Branches: 40}, "libpython3.13.so.1.0": {}}},
	}
	return cpython.Trained{SHA256: string(p), Size: 3 << 20, About: about}, builder.Inputs{Name: req.Recipe.Name}, nil
}

func (p trained) MergeProfiles(_ context.Context, r *recipes.Recipe, sums []string) (cpython.Trained, builder.Inputs, error) {
	about := pgo.About{Objects: map[string]bool{"Objects/list.o": true}, Merged: sums}
	return cpython.Trained{SHA256: string(p), Size: 1 << 20, About: about}, builder.Inputs{Name: r.Name + strings.Join(sums, " ")}, nil
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
	if err := json.Unmarshal(out.Bytes(), &told); err != nil || told != (trainResult{"sha256:" + sumA, 3 << 20, "/srv/inputs", 2, 1, 0, 2, 1}) {
		t.Errorf("told %s, %v", out, err)
	}
	if want := "counts for 1 of 2 object files, and for 1 of 2 linked files"; !strings.Contains(errs.String(), want) || !strings.Contains(errs.String(), "added sha256:"+sumA) {
		t.Errorf("said %s", errs)
	}
	r, err := recipes.ReadRecipe(s.Recipe)
	if err != nil || r.Python.Profile != "sha256:"+sumA {
		t.Errorf("the recipe names %q, %v", r.Python.Profile, err)
	}
}

// A profile is written into the file that has the last one, else where the interpreter is configured, also if other
// recipes extend it.
func TestTrainShared(t *testing.T) {
	t.Parallel()
	const python, old = "python:\n  version: 3.13.5\n  configure: [--enable-optimizations]\n", "  profile: sha256:"
	for name, c := range map[string]struct{ shared, own, want string }{
		"configured there": {python, "", "python.yaml"},
		"configured here":  {"python: {version: 3.13.5}\n", "python:\n  configure: [--enable-optimizations]\n", "ampoule.yaml"},
		"another one":      {python, "python:\n" + old + sumB + "\n", "ampoule.yaml"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, _, errs := session(t, "")
			own := strings.Replace(goodRecipe, "python:\n  version: 3.13.5\n", c.own, 1) + "extends: python.yaml\n"
			for file, text := range map[string]string{"ampoule.yaml": own, "python.yaml": c.shared} {
				if err := os.WriteFile(filepath.Join(filepath.Dir(s.Recipe), file), []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			kept := func(context.Context, builder.Inputs) (string, error) { return "", nil }
			if err := Train(t.Context(), s, trained(sumA), kept, builder.Request{}, TrainOptions{Write: true}); err != nil {
				t.Fatal(err)
			}
			r, err := recipes.ReadRecipe(s.Recipe)
			if err != nil || r.Python.Profile != "sha256:"+sumA {
				t.Fatalf("the recipe names %q, %v", r.Python.Profile, err)
			}
			if at := r.At("python", "profile"); filepath.Base(at.File) != c.want || !strings.Contains(errs.String(), c.want+":") {
				t.Errorf("it stands in %s, want %s; said %s", at.File, c.want, errs)
			}
		})
	}
}

// A profile is named before it is kept, and before the recipe is written: if that fails, it is not lost.
func TestTrainedBeforeKept(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]struct {
		write bool
		keep  error
	}{"nowhere to keep it": {false, errors.New("the registry is away")}, "no recipe to write": {true, nil}} {
		s, out, errs := session(t, goodRecipe)
		keep := func(context.Context, builder.Inputs) (string, error) {
			if o.write {
				return "", os.Remove(s.Recipe)
			}
			return "", o.keep
		}
		if err := Train(t.Context(), s, trained(sumA), keep, builder.Request{}, TrainOptions{Write: o.write}); err == nil || out.Len() > 0 {
			t.Errorf("%s: %v, told %s", name, err, out)
		}
		if !strings.Contains(errs.String(), "sha256:"+sumA) {
			t.Errorf("%s: said %s", name, errs)
		}
	}
}

// Clang counts functions, and that is told.
func TestCounts(t *testing.T) {
	t.Parallel()
	for want, r := range map[string]trainResult{"1 of 2 object files": {Objects: 2, Counted: 1}, "3 functions": {Objects: 2, Functions: 3}} {
		if got := r.counts(); got != want {
			t.Errorf("counts for %s, want %s", got, want)
		}
	}
}

func TestMergeProfiles(t *testing.T) {
	t.Parallel()
	s, out, _ := session(t, goodRecipe)
	var merged builder.Inputs
	kept := func(_ context.Context, in builder.Inputs) (string, error) {
		merged = in
		return "", nil
	}
	if err := Train(t.Context(), s, trained(sumA), kept, builder.Request{}, TrainOptions{Merge: []string{"sha256:" + sumA, "sha256:" + sumB}}); err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(merged.Name, sumA+" "+sumB) || strings.TrimSpace(out.String()) != "sha256:"+sumA {
		t.Errorf("merged %q, told %s", merged.Name, out)
	}
	for want, o := range map[string]TrainOptions{
		"nothing to merge with": {Merge: []string{"sha256:" + sumA}},
		"given twice":           {Merge: []string{"sha256:" + sumA, "sha256:" + sumA}},
		"is no profile":         {Merge: []string{"sha256:" + sumA, sumB}},
		"--upgrade trains":      {Merge: []string{"sha256:" + sumA, "sha256:" + sumB}, Upgrade: true},
	} {
		if err := o.check(); faults.Of(err) != faults.Usage || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}
