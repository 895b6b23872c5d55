package trials

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"ampoule/bench/internal/drive"
	"ampoule/bench/internal/recorded"
	"ampoule/builder/progress"
	"ampoule/store"
)

// gateRecipe is what is gated and published, and limitGate is what that may take of another
// program's time.
const (
	gateRecipe = "quickstart"
	limitGate  = 0.5
)

// gateRecords are the kinds of records that gates and publications leave.
var gateRecords = []string{"gate-imports", "gate-loads", "gate-order", "labelled-wheel", "layer-blob", "part-layer"}

// gated is what one gate and publication took. The two may overlap: Both is from the beginning
// of the first to the end of the second.
type gated struct{ gate, publish, both time.Duration }

// Gate has two programs gate and publish the quickstart recipe, in turns, so many times, and
// compares the medians. Each time the store, a copy, has everything but what gates and
// publications remember. An error is that it could not be measured.
func (t *Trials) Gate(ctx context.Context, before drive.Program, times int) (recorded.Figure, error) {
	book, err := recorded.Open[recorded.Figure](filepath.Join(t.Results, recorded.BenchFile))
	if err != nil {
		return recorded.Figure{}, err
	}
	var took [2][]gated
	err = inTemp(func(work string) error {
		dir, err := t.fromCatalogue(ctx, work, gateRecipe)
		if err != nil {
			return err
		}
		t.Say("building %s, where the store has not", gateRecipe)
		if _, _, err := t.build(ctx, t.Store, dir); err != nil {
			return err
		}
		for range times {
			for i, program := range []drive.Program{before, t.Ampoule} {
				one, err := t.gateOnce(ctx, program, dir)
				if err != nil {
					return fmt.Errorf("%s: %w", program.Path, err)
				}
				t.Say("%s: gate %.1f s, publication %.1f s, both %.1f s", program.Path, one.gate.Seconds(), one.publish.Seconds(), one.both.Seconds())
				took[i] = append(took[i], one)
			}
		}
		return nil
	})
	if err != nil {
		return recorded.Figure{}, err
	}
	f := gateFigure(median(took[0]), median(took[1]), times)
	f.When, f.Cores = t.Now().UTC().Format(time.DateOnly), runtime.NumCPU()
	return f, book.Put(f)
}

// gateFigure compares two times.
func gateFigure(before, now gated, times int) recorded.Figure {
	seconds := func(g gated) string {
		return fmt.Sprintf("gate %.1f s, publication %.1f s, together %.1f s", g.gate.Seconds(), g.publish.Seconds(), g.both.Seconds())
	}
	return recorded.Figure{
		Name: "gate and publication", Value: round(now.both.Seconds() / before.both.Seconds()), Limit: limitGate,
		Of: fmt.Sprintf("%s, nothing remembered of gates: %s; the program before: %s; medians of %d in turns", gateRecipe, seconds(now), seconds(before), times),
	}
}

// median is the one in the middle by its whole time.
func median(all []gated) gated {
	sorted := slices.SortedFunc(slices.Values(all), func(a, b gated) int { return int(a.both - b.both) })
	return sorted[len(sorted)/2]
}

// gateOnce builds a recipe by a program, in a copy of the store.
func (t *Trials) gateOnce(ctx context.Context, program drive.Program, dir string) (_ gated, err error) {
	copied, end, err := t.storeWithout(ctx, gateRecords)
	if err != nil {
		return gated{}, err
	}
	defer func() { err = errors.Join(err, end()) }()
	one := *t
	one.Ampoule = program
	_, run, err := one.build(ctx, copied, dir)
	if err != nil {
		return gated{}, err
	}
	return spanOf(run, gateRecipe)
}

// storeWithout copies the store without records of some kinds. What it returns removes the copy.
//
//nolint:contextcheck // the use of a store is its own, which nobody waits for
func (t *Trials) storeWithout(ctx context.Context, kinds []string) (string, func() error, error) {
	from, err := store.Open(t.Store)
	if err != nil {
		return "", nil, err
	}
	release, err := from.Use(context.Background())
	if err != nil {
		return "", nil, err
	}
	defer release()
	// Beside the store, content can be linked.
	dir, err := os.MkdirTemp(filepath.Dir(from.Root()), "copy-")
	if err != nil {
		return "", nil, err
	}
	end := func() error { return errors.Join(t.forgetStore(ctx, dir), os.RemoveAll(dir)) }
	_, err = from.Clone(dir, func(string) bool { return true }, func(kind string, _ []byte) bool { return !slices.Contains(kinds, kind) })
	if err != nil {
		return "", nil, errors.Join(err, end())
	}
	return dir, end, nil
}

// spanOf is what gate and publication of a recipe took in a run.
func spanOf(run *drive.Run, recipe string) (gated, error) {
	took := gated{gate: run.Took(progress.StageGate.String(), recipe), publish: run.Took(progress.StagePublish.String(), recipe)}
	var began, ended time.Time
	for _, e := range run.Events {
		switch {
		case e.Task != recipe:
		case e.Stage == progress.StageGate && e.Kind == progress.Started:
			began = e.Time
		case e.Stage == progress.StagePublish && e.Kind == progress.Done:
			ended = e.Time
		}
	}
	took.both = ended.Sub(began)
	if took.gate <= 0 || took.publish <= 0 || took.both <= 0 {
		return gated{}, errors.New("the build did not gate and publish: " + strings.Join(run.Tasks(progress.StageGate.String()), ", "))
	}
	return took, nil
}
