package wheels

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

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

	mu    sync.Mutex
	known map[string]*made
}

// Fetcher is what a House needs of the downloader.
type Fetcher interface {
	Fetch(ctx context.Context, items ...fetch.Item) error
}

// Dists finds a dist by its ID.
type Dists func(id string) (recipes.Dist, bool)

// made is one dist's wheel, now or later.
type made struct {
	done  chan struct{}
	wheel Wheel
	err   error
}

// NewHouse makes a house whose builds run in the images that image gives for the
// normalised name of an sdist, at most concurrent at once.
func NewHouse(stage *Stage, f Fetcher, python string, concurrent int, image func(name string) sandbox.Image) *House {
	return &House{
		stage: stage, fetch: f, image: image, python: python,
		slots: make(chan struct{}, max(1, concurrent)), known: map[string]*made{},
	}
}

// Item returns what is fetched for a dist.
func Item(d recipes.Dist) fetch.Item {
	return fetch.Item{Source: "pypi", Name: d.Name, Version: d.Version, File: d.File, SHA256: d.SHA256}
}

// Wheels returns the wheels of several dists, in their order. The first error ends
// what the others do; it is that of the earliest dist that failed by itself.
func (h *House) Wheels(ctx context.Context, dists Dists, ids []string) ([]Wheel, error) {
	return h.wheels(ctx, dists, ids, nil)
}

func (h *House) wheels(ctx context.Context, dists Dists, ids, path []string) ([]Wheel, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	wheels := make([]Wheel, len(ids))
	var wg sync.WaitGroup
	for i, id := range ids {
		wg.Go(func() {
			var err error
			if wheels[i], err = h.wheel(ctx, dists, id, path); err != nil {
				cancel(err)
			}
		})
	}
	wg.Wait()
	return wheels, context.Cause(ctx)
}

func (h *House) wheel(ctx context.Context, dists Dists, id string, path []string) (Wheel, error) {
	if slices.Contains(path, id) {
		return Wheel{}, fmt.Errorf("build requirements go in a circle: %s", strings.Join(append(path, id), " → "))
	}
	h.mu.Lock()
	m, found := h.known[id]
	if !found {
		m = &made{done: make(chan struct{})}
		h.known[id] = m
	}
	h.mu.Unlock()
	if found {
		select {
		case <-m.done:
			return m.wheel, m.err
		case <-ctx.Done():
			return Wheel{}, context.Cause(ctx)
		}
	}
	defer close(m.done)
	m.wheel, m.err = h.make(ctx, dists, id, append(slices.Clone(path), id))
	if m.err != nil {
		h.mu.Lock()
		delete(h.known, id)
		h.mu.Unlock()
	}
	return m.wheel, m.err
}

func (h *House) make(ctx context.Context, dists Dists, id string, path []string) (Wheel, error) {
	d, ok := dists(id)
	if !ok {
		return Wheel{}, fmt.Errorf("%s is not in the lock", id)
	}
	if err := h.fetch.Fetch(ctx, Item(d)); err != nil {
		return Wheel{}, err
	}
	if d.Build == nil {
		return Wheel{Dist: d, File: d.File, SHA256: d.SHA256}, nil
	}
	job, err := h.job(ctx, dists, d, d.Build.Dists, path)
	if err != nil {
		return Wheel{}, err
	}
	select {
	case h.slots <- struct{}{}:
		defer func() { <-h.slots }()
	case <-ctx.Done():
		return Wheel{}, context.Cause(ctx)
	}
	return h.stage.Build(ctx, job)
}

// Job returns the job of an sdist whose build requirements are these dists.
func (h *House) Job(ctx context.Context, dists Dists, sdist recipes.Dist, needs []string) (Job, error) {
	return h.job(ctx, dists, sdist, needs, []string{sdist.ID()})
}

func (h *House) job(ctx context.Context, dists Dists, sdist recipes.Dist, needs, path []string) (Job, error) {
	wheels, err := h.wheels(ctx, dists, needs, path)
	if err != nil {
		return Job{}, err
	}
	return Job{Sdist: sdist, Image: h.image(sdist.Name), Python: h.python, Needs: wheels}, nil
}
