package trials

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"ampoule/bench/internal/drive"
	"ampoule/bench/internal/recorded"
	"ampoule/bench/internal/weigh"
	"ampoule/recipes"
	"ampoule/recipes/catalogue"
)

// Catalogue builds recipes of the catalogue, all if none is named.
func (t *Trials) Catalogue(ctx context.Context, names []string) error {
	names, err := chosen(catalogue.Names(), names)
	if err != nil {
		return err
	}
	book, err := recorded.Open[recorded.Recipe](filepath.Join(t.Results, recorded.RecipesFile))
	if err != nil {
		return err
	}
	return each(t, book, names, func(name string) (recorded.Recipe, error) {
		var result recorded.Recipe
		err := inTemp(func(work string) error {
			var err error
			result, err = t.recipe(ctx, work, name)
			return err
		})
		if old, ok := book.Get(name); ok && err == nil && spared(result, old) {
			t.Say("%s: the store had what takes the time: the times of %s stay; an empty --store measures them anew", name, old.When)
			old.Digest, old.Sizes, old.Stage, old.Error = result.Digest, result.Sizes, result.Stage, result.Error
			return old, nil
		}
		return result, err
	})
}

// spared reports whether a store spared a build what another build of the same wheels took.
func spared(r, by recorded.Recipe) bool {
	less := r.Published || r.Reused > by.Reused || r.InterpreterSeconds == 0 && by.InterpreterSeconds > 0
	return less && r.Passed && by.Passed && !by.Published && r.Wheels == by.Wheels
}

// recipe builds one recipe and weighs what came out.
func (t *Trials) recipe(ctx context.Context, work, name string) (recorded.Recipe, error) {
	r := recorded.Recipe{Name: name, Outcome: t.today()}
	var err error
	if r.Of, err = recorded.RecipeHash(name); err != nil {
		return r, err
	}
	dir, err := t.fromCatalogue(ctx, work, name)
	if err != nil {
		return r, err
	}
	b, err := t.buildShipped(ctx, dir, &r)
	if err != nil {
		return r, t.failed(&r.Outcome, err, "build")
	}
	r.Passed, r.Digest, r.Published = true, b.Digest, b.Reused
	lock, err := readLock(dir)
	if err != nil {
		return r, err
	}
	r.Wheels = compiled(lock)
	if r.Sizes, err = t.sizes(ctx, work, dir, b.Ref, lock); err != nil {
		if ctx.Err() != nil {
			return r, err
		}
		// The artifact is good; that it could not be weighed is told beside it.
		r.Sizes, r.Stage, r.Error = recorded.Sizes{}, "sizes", t.scrub(err.Error())
	}
	return r, nil
}

// buildShipped builds with the lock that ships. If there is none, or a file in it
// cannot be had any more, the recipe is locked afresh.
func (t *Trials) buildShipped(ctx context.Context, dir string, r *recorded.Recipe) (built, error) {
	if _, err := os.Stat(filepath.Join(dir, lockFile)); err == nil {
		b, err := t.timedBuild(ctx, dir, r)
		if !isGone(err) {
			return b, err
		}
		t.Say("%s: locking afresh: %v", r.Name, err)
	}
	r.Relocked = true
	run, err := t.lock(ctx, t.Store, dir, "--upgrade")
	r.LockSeconds, r.InterpreterSeconds = seconds(run.Wall), seconds(interpreterTime(run))
	r.Compiled = compiledIn(run)
	if err != nil {
		return built{}, err
	}
	return t.timedBuild(ctx, dir, r)
}

func (t *Trials) timedBuild(ctx context.Context, dir string, r *recorded.Recipe) (built, error) {
	b, run, err := t.build(ctx, t.Store, dir)
	r.BuildSeconds, r.Reused = seconds(run.Wall), run.Reused("wheel")
	r.InterpreterSeconds += seconds(interpreterTime(run))
	r.Compiled = joined(r.Compiled, compiledIn(run))
	return b, err
}

// compiledIn says what a run compiled.
func compiledIn(run *drive.Run) recorded.Compiled {
	var compiled recorded.Compiled
	for _, task := range run.Tasks("wheel") {
		compiled = joined(compiled, recorded.Compiled{task: seconds(run.Took("wheel", task))})
	}
	return compiled
}

// joined has the times of both, the later ones where both have one.
func joined(earlier, later recorded.Compiled) recorded.Compiled {
	if earlier == nil {
		return later
	}
	maps.Copy(earlier, later)
	return earlier
}

// The exit codes that say that an input could not be had.
const (
	codeNotFound = 5
	codeRemote   = 7
)

// isGone reports whether a build failed because an input could not be fetched.
func isGone(err error) bool {
	var failure *drive.FailureError
	return errors.As(err, &failure) && (failure.Code == codeNotFound || failure.Code == codeRemote)
}

// inspected is what `ampoule inspect --output json` tells.
type inspected struct {
	Images []struct {
		Layers []struct {
			Base bool  `json:"base"`
			Size int64 `json:"size"`
		} `json:"layers"`
	} `json:"images"`
}

// sizes weighs an artifact, and the published wheels of what it holds.
func (t *Trials) sizes(ctx context.Context, work, dir, ref string, lock *recipes.Lock) (recorded.Sizes, error) {
	var s recorded.Sizes
	layers, err := t.layerBytes(ctx, ref)
	if err != nil {
		return s, err
	}
	tree, err := t.in(t.Store).Run(ctx, "install", ref, "--root", filepath.Join(work, "installed"))
	if err != nil {
		return s, err
	}
	if s, err = t.published(ctx, dir, lock); err != nil {
		return s, err
	}
	s.Layers = layers
	if s.Tree, err = weigh.All(tree.Out, true); err != nil {
		return s, err
	}
	return s, own(&s, tree.Out, lock)
}

// layerBytes adds up the layers of an artifact that are not its base's.
func (t *Trials) layerBytes(ctx context.Context, ref string) (int64, error) {
	run, err := t.in(t.Store).Run(ctx, "inspect", "--output", "json", ref)
	if err != nil {
		return 0, err
	}
	var info inspected
	if err := json.Unmarshal([]byte(run.Out), &info); err != nil {
		return 0, fmt.Errorf("reading what ampoule inspect printed: %w", err)
	}
	var total int64
	for _, image := range info.Images {
		for _, layer := range image.Layers {
			if !layer.Base {
				total += layer.Size
			}
		}
	}
	return total, nil
}

// own weighs what the requirements take of a tree.
func own(s *recorded.Sizes, tree string, lock *recipes.Lock) (err error) {
	var names []string
	for _, d := range required(lock) {
		names = append(names, d.Name)
	}
	if s.Own, err = weigh.Own(tree, names); err != nil {
		return err
	}
	names = slices.DeleteFunc(names, func(name string) bool { return slices.Contains(s.Unpublished, name) })
	s.OwnBeside, err = weigh.Own(tree, names)
	return err
}

// published weighs the published wheels of what a lock installs.
func (t *Trials) published(ctx context.Context, dir string, lock *recipes.Lock) (recorded.Sizes, error) {
	var s recorded.Sizes
	recipe, err := recipes.ReadRecipe(filepath.Join(dir, recipeFile))
	if err != nil {
		return s, err
	}
	target := weigh.Target{Python: recipe.Python.Version}
	if recipe.Runtime.VM != nil {
		target.Glibc = recipe.Runtime.VM.Glibc
	}
	for _, d := range required(lock) {
		size, ok, err := weigh.Published(ctx, t.Pip, target, d.Name, d.Version)
		if err != nil {
			return s, err
		}
		if !ok {
			s.Unpublished = append(s.Unpublished, d.Name)
		}
		s.Beside += size
	}
	return s, nil
}

// required gives the dists that a lock installs into the tree.
func required(lock *recipes.Lock) []recipes.Dist {
	var dists []recipes.Dist
	for _, id := range lock.Requirements {
		if d, ok := lock.Dist(id); ok {
			dists = append(dists, d)
		}
	}
	return dists
}
