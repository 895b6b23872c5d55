package locking

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"ampoule/builder/layers"
	"ampoule/builder/memo"
	"ampoule/recipes"
)

// answersLast is how long what apt has answered counts: a suite changes a few times a day.
const answersLast = time.Hour

// Answers is what apt has answered in this process. Recipes that ask the same one after another
// take its package lists once, and get the same packages, whatever a mirror has got meanwhile. It
// serves any number of lockers at once; the zero value has no answers. A nil one remembers none.
type Answers struct {
	mu    sync.Mutex
	known map[string]answer
}

// answer is one that is there, or on its way.
type answer struct {
	suite string
	begun time.Time
	debs  *memo.Value[[]recipes.Deb]
}

// get returns the answer to a question about a suite, which ask asks where nobody has.
func (a *Answers) get(ctx context.Context, suite, question string, ask func() ([]recipes.Deb, error)) ([]recipes.Deb, error) {
	if a == nil {
		return ask()
	}
	debs, err := a.answer(suite, question).debs.Get(ctx, ask)
	return slices.Clone(debs), err
}

func (a *Answers) answer(suite, question string) answer {
	a.mu.Lock()
	defer a.mu.Unlock()
	maps.DeleteFunc(a.known, func(_ string, old answer) bool { return time.Since(old.begun) > answersLast })
	if a.known == nil {
		a.known = map[string]answer{}
	}
	found, ok := a.known[question]
	if !ok {
		found = answer{suite, time.Now(), memo.New[[]recipes.Deb]()}
		a.known[question] = found
	}
	return found
}

// has reports whether anything was asked about a suite.
func (a *Answers) has(suite string) bool {
	if a == nil {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, known := range a.known {
		if known.suite == suite {
			return true
		}
	}
	return false
}

// question names what apt is asked by all that decides its answer, but for the package lists.
func question(suite string, below installed, kept pins, want []string) string {
	sorted := func(names []string) []string { return slices.Sorted(slices.Values(names)) }
	return layers.Key("apt", 1, map[string]any{
		"suite": suite, "below": below.key, "kept": kept.debs, "want": sorted(want), "moved": sorted(kept.moved),
	})
}
