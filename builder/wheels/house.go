package wheels

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"ampoule/builder/fetch"
	"ampoule/builder/sandbox"
	"ampoule/recipes"
)

// House gives the wheel of each dist of a lock: a locked wheel as it is, an sdist's
// after its build requirements' wheels are there. Each is made once; independent
// ones concurrently.
type House struct {
	stage *Stage
	fetch Fetcher
	image func(name string) sandbox.Image
	// python is the interpreter's path in those images.
	python string
	slots  chan struct{}

	mu sync.Mutex
	// known are the wheels that were made, by the ID of their dist.
	known map[string]Wheel
}

// Fetcher is what a House needs of the downloader.
type Fetcher interface {
	Fetch(ctx context.Context, items ...fetch.Item) error
}

// Dists finds a dist by its ID.
type Dists func(id string) (recipes.Dist, bool)

// maxConcurrent bounds the builds that run at once: beyond it they would wait for
// memory and disk rather than for processors.
const maxConcurrent = 8

// NewHouse makes a house whose builds run in the images that image gives for the
// normalised name of an sdist. Together they use about as many processors as jobs says.
func NewHouse(stage *Stage, f Fetcher, python string, jobs int, image func(name string) sandbox.Image) *House {
	concurrent := min(max(1, jobs), maxConcurrent)
	shared := *stage
	// Two at least: most of the time fewer builds run than could.
	shared.Jobs = max(min(2, jobs), jobs/concurrent)
	return &House{
		stage: &shared, fetch: f, image: image, python: python,
		slots: make(chan struct{}, concurrent), known: map[string]Wheel{},
	}
}

// Item returns what is fetched for a dist.
func Item(d recipes.Dist) fetch.Item {
	return fetch.Item{Source: "pypi", Name: d.Name, Version: d.Version, File: d.File, SHA256: d.SHA256}
}

// Wheels returns the wheels of several dists, in their order. The first error ends
// what the others do, and is the one returned.
func (h *House) Wheels(ctx context.Context, dists Dists, ids []string) ([]Wheel, error) {
	return h.wheels(ctx, dists, ids, nil)
}

// Job returns the job of an sdist whose build requirements are these dists.
func (h *House) Job(ctx context.Context, dists Dists, sdist recipes.Dist, needs []string) (Job, error) {
	wheels, err := h.wheels(ctx, dists, needs, []string{sdist.ID()})
	if err != nil {
		return Job{}, err
	}
	return h.job(sdist, wheels), nil
}

func (h *House) job(sdist recipes.Dist, needs []Wheel) Job {
	return Job{Sdist: sdist, Image: h.image(sdist.Name), Python: h.python, Needs: needs}
}

// wheels makes wheels for what is being built along path, outermost first.
func (h *House) wheels(ctx context.Context, dists Dists, ids, path []string) ([]Wheel, error) {
	all, err := closure(dists, ids, path)
	if err != nil {
		return nil, err
	}
	round := map[string]*made{}
	var items []fetch.Item
	h.mu.Lock()
	for _, d := range all {
		m := &made{done: make(chan struct{})}
		var known bool
		if m.wheel, known = h.known[d.ID()]; known {
			close(m.done)
		} else {
			items = append(items, Item(d))
		}
		round[d.ID()] = m
	}
	h.mu.Unlock()
	if err := h.fetch.Fetch(ctx, items...); err != nil {
		return nil, err
	}
	group, building := errgroup.WithContext(ctx)
	for _, d := range all {
		group.Go(func() error { return h.make(building, d, round) })
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return wheelsOf(ctx, round, ids)
}

// closure lists the dists with all that building them takes, each once, after what
// it takes. A circle in it is an error: nothing in one could ever be built.
func closure(dists Dists, ids, path []string) ([]recipes.Dist, error) {
	var all []recipes.Dist
	seen := map[string]bool{}
	var visit func(ids, path []string) error
	visit = func(ids, path []string) error {
		for _, id := range ids {
			if i := slices.Index(path, id); i >= 0 {
				return fmt.Errorf("build requirements go in a circle: %s", strings.Join(append(path[i:], id), " → "))
			}
			if seen[id] {
				continue
			}
			d, ok := dists(id)
			if !ok {
				return fmt.Errorf("%s is not in the lock", id)
			}
			if d.Build != nil {
				if err := visit(d.Build.Dists, append(path, id)); err != nil {
					return err
				}
			}
			seen[id] = true
			all = append(all, d)
		}
		return nil
	}
	return all, visit(ids, path)
}

// made is one dist's wheel, which is there once done is closed.
type made struct {
	done  chan struct{}
	wheel Wheel
}

// wheelsOf waits for wheels and returns them in the order of their IDs.
func wheelsOf(ctx context.Context, round map[string]*made, ids []string) ([]Wheel, error) {
	wheels := make([]Wheel, len(ids))
	for i, id := range ids {
		select {
		case <-round[id].done:
			wheels[i] = round[id].wheel
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	return wheels, nil
}

// make makes a dist's wheel, unless it is known, after those that it needs.
func (h *House) make(ctx context.Context, d recipes.Dist, round map[string]*made) error {
	m := round[d.ID()]
	select {
	case <-m.done:
		return nil
	default:
	}
	m.wheel = Wheel{Dist: d, File: d.File, SHA256: d.SHA256}
	if d.Build != nil {
		needs, err := wheelsOf(ctx, round, d.Build.Dists)
		if err != nil {
			return err
		}
		if m.wheel, err = h.build(ctx, h.job(d, needs)); err != nil {
			return err
		}
	}
	h.mu.Lock()
	h.known[d.ID()] = m.wheel
	h.mu.Unlock()
	close(m.done)
	return nil
}

// build builds when one of the places for building is free.
func (h *House) build(ctx context.Context, job Job) (Wheel, error) {
	select {
	case h.slots <- struct{}{}:
		defer func() { <-h.slots }()
	case <-ctx.Done():
		return Wheel{}, context.Cause(ctx)
	}
	return h.stage.Build(ctx, job)
}
