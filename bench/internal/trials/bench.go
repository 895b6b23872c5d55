package trials

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"ampoule/bench/internal/recorded"
	"ampoule/recipes"
	"ampoule/store"
)

// The limits of the benchmark.
const (
	limitBuild   = 1.05 // of docker build's time
	limitRebuild = 0.05 // of docker build's time
	limitNothing = 0.15 // seconds
	limitPeak    = 300  // MiB
)

// nothings is how often a build without work is repeated: the median counts.
const nothings = 5

// times are the wall times of one benchmark.
type times struct {
	build, rebuild, nothing       time.Duration
	dockerBuild, dockerRebuild    time.Duration
	peak                          int64
	requirements, wheels, rebuilt int
}

// Bench builds the web recipe from an empty store and by a Dockerfile in one run,
// adds a requirement to both, and records the ratios. Its figures say what holds;
// an error is that it could not be measured.
func (t *Trials) Bench(ctx context.Context) ([]recorded.Figure, error) {
	book, err := recorded.Open[recorded.Figure](filepath.Join(t.Results, recorded.BenchFile))
	if err != nil {
		return nil, err
	}
	var took times
	if err := inTemp(func(work string) error { return t.bench(ctx, work, &took) }); err != nil {
		return nil, err
	}
	figures := took.figures(t.Now().UTC().Format(time.DateOnly))
	for _, f := range figures {
		if err := book.Put(f); err != nil {
			return nil, err
		}
	}
	return figures, nil
}

func (t *Trials) bench(ctx context.Context, work string, took *times) (err error) {
	dir, err := t.fromCatalogue(ctx, work, webRecipe)
	if err != nil {
		return err
	}
	t.Say("locking %s, in the usual store", webRecipe)
	if _, err := t.lock(ctx, t.Store, dir); err != nil {
		return err
	}
	empty := filepath.Join(work, "store")
	defer func() { err = errors.Join(err, t.forgetStore(ctx, empty)) }()
	if err := t.benchOurs(ctx, empty, dir, took); err != nil {
		return err
	}
	recipe, lock, source, err := inputs(empty, dir)
	if err != nil {
		return err
	}
	took.requirements, took.wheels = len(lock.Requirements), compiled(lock)
	r, err := t.newRival(ctx, work, recipe, lock, source)
	if r != nil {
		defer func() { err = errors.Join(err, r.remove(ctx)) }()
	}
	if err != nil {
		return err
	}
	t.Say("docker build, without its cache")
	if err := r.require(lock); err != nil {
		return err
	}
	if took.dockerBuild, err = r.build(ctx, true); err != nil {
		return fmt.Errorf("building by Dockerfile: %w", err)
	}
	return t.benchAdded(ctx, empty, dir, r, took)
}

// benchOurs builds from an empty store, and then builds nothing.
func (t *Trials) benchOurs(ctx context.Context, empty, dir string, took *times) error {
	t.Say("ampoule build, from an empty store")
	_, run, err := t.build(ctx, empty, dir)
	if err != nil {
		return err
	}
	took.build, took.peak = run.Wall, run.PeakBytes
	t.Say("ampoule build, with nothing to do")
	var again []time.Duration
	for range nothings {
		b, run, err := t.build(ctx, empty, dir)
		switch {
		case err != nil:
			return err
		case !b.Reused:
			return errors.New("a build that had nothing to do did something")
		}
		again = append(again, run.Wall)
		took.peak = max(took.peak, run.PeakBytes)
	}
	slices.Sort(again)
	took.nothing = again[len(again)/2]
	return nil
}

// benchAdded adds one native requirement on both sides.
func (t *Trials) benchAdded(ctx context.Context, empty, dir string, r *rival, took *times) error {
	a := additions[slices.IndexFunc(additions, func(a addition) bool { return a.kind == "native" })]
	before, err := readLock(dir)
	if err != nil {
		return err
	}
	if err := amend(dir, a); err != nil {
		return err
	}
	t.Say("%s is added: ampoule lock and build", a.requirement)
	locked, err := t.lock(ctx, empty, dir)
	if err != nil {
		return err
	}
	_, made, err := t.build(ctx, empty, dir)
	if err != nil {
		return err
	}
	took.rebuild = locked.Wall + made.Wall
	took.peak = max(took.peak, locked.PeakBytes, made.PeakBytes)
	after, err := readLock(dir)
	if err != nil {
		return err
	}
	took.rebuilt = compiled(after) - compiled(before)
	t.Say("%s is added: docker build, with its cache", a.requirement)
	if err := r.require(after); err != nil {
		return err
	}
	if took.dockerRebuild, err = r.build(ctx, false); err != nil {
		return fmt.Errorf("building by Dockerfile again: %w", err)
	}
	return nil
}

// inputs reads what was built, and where a store has CPython's source.
func inputs(dir, recipeDir string) (*recipes.Recipe, *recipes.Lock, string, error) {
	recipe, err := recipes.ReadRecipe(filepath.Join(recipeDir, recipeFile))
	if err != nil {
		return nil, nil, "", err
	}
	lock, err := readLock(recipeDir)
	if err != nil {
		return nil, nil, "", err
	}
	st, err := store.Open(dir)
	if err != nil {
		return nil, nil, "", err
	}
	return recipe, lock, st.Path(lock.Python.SHA256), nil
}

// forgetStore removes the images that a store's builds left in Docker.
func (t *Trials) forgetStore(ctx context.Context, dir string) error {
	if _, err := os.Stat(dir); err != nil {
		return nil
	}
	st, err := store.Open(dir)
	if err != nil {
		return err
	}
	id, found, err := st.KnownID()
	if err != nil || !found {
		return err
	}
	ctx = context.WithoutCancel(ctx)
	list, err := t.Docker.Run(ctx, "image", "ls", "--filter", "reference=ampoule.invalid/"+id+":*", "--format", "{{.Repository}}:{{.Tag}}")
	if err != nil || list.Out == "" {
		return err
	}
	_, err = t.Docker.Run(ctx, append([]string{"image", "rm"}, strings.Fields(list.Out)...)...)
	return err
}

// figures are the times as what the limits are for.
func (took times) figures(when string) []recorded.Figure {
	ratio := func(a, b time.Duration) float64 { return round(a.Seconds() / b.Seconds()) }
	figures := []recorded.Figure{
		{Name: "build", Value: ratio(took.build, took.dockerBuild), Limit: limitBuild,
			Of: fmt.Sprintf("ampoule build from an empty store: %.0f s, docker build --no-cache: %.0f s; %d requirements, %d sdists",
				took.build.Seconds(), took.dockerBuild.Seconds(), took.requirements, took.wheels)},
		{Name: "rebuild", Value: ratio(took.rebuild, took.dockerRebuild), Limit: limitRebuild,
			Of: fmt.Sprintf("one native requirement added: ampoule lock and build: %.1f s, docker build: %.0f s; %d more sdists",
				took.rebuild.Seconds(), took.dockerRebuild.Seconds(), took.rebuilt)},
		{Name: "nothing to do", Value: round(took.nothing.Seconds()), Limit: limitNothing, Unit: "s",
			Of: fmt.Sprintf("ampoule build, the median of %d", nothings)},
		{Name: "peak memory", Value: math.Ceil(float64(took.peak) / (1 << 20)), Limit: limitPeak, Unit: "MiB",
			Of: "the largest resident set of an ampoule process of this run"},
	}
	for i := range figures {
		figures[i].When, figures[i].Cores = when, runtime.NumCPU()
	}
	return figures
}

// round keeps three digits behind the point.
func round(x float64) float64 { return math.Round(x*1000) / 1000 }
