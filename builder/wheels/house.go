package wheels

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"ampoule/builder/fetch"
	"ampoule/builder/once"
	"ampoule/builder/sandbox"
	"ampoule/faults"
	"ampoule/recipes"
)

// House gives the wheel of each dist of a lock: a locked wheel as it is, an sdist's
// after its build requirements' wheels are there. Each is made once; independent
// ones concurrently.
type House struct {
	stage *Stage
	fetch Fetcher
	image Images
	// python is the interpreter's path in those images.
	python string
	// concurrent is how many wheels one call makes at a time, with jobs processors together.
	concurrent, jobs int
	// memory is how much what is built at a time may hold together, in bytes; 0 is no bound.
	memory int64
	// KeepGoing builds what can be built after a build has failed, and tells of all
	// that failed at once, as a [*FailedError]. It is set before the first call.
	KeepGoing bool

	mu sync.Mutex
	// known are the wheels that were made, by the ID of their dist.
	known map[string]Wheel
}

// Images gives the image that an sdist is built in: the toolchain, its own packages,
// and the interpreter on top.
type Images func(ctx context.Context, sdist recipes.Dist) (sandbox.Image, error)

// Fetcher is what a House needs of the downloader.
type Fetcher interface {
	Fetch(ctx context.Context, items ...fetch.Item) error
}

// Dists finds a dist by its ID.
type Dists func(id string) (recipes.Dist, bool)

// maxConcurrent bounds the builds that run at once: beyond it they would wait for
// memory and disk rather than for processors.
const maxConcurrent = 8

// NewHouse makes a house whose builds run in the images that image gives. Together
// they use about as many processors as the stage's jobs, and hold no more than memory bytes where it
// is known what they take; 0 is no bound.
func NewHouse(stage *Stage, f Fetcher, python string, memory int64, image Images) *House {
	jobs := max(1, stage.Jobs)
	return &House{
		stage: stage, fetch: f, image: image, python: python,
		concurrent: min(jobs, maxConcurrent), jobs: jobs, memory: memory, known: map[string]Wheel{},
	}
}

// share is how many processors the next build of a schedule is told of: all are divided anew among
// what runs and what could run beside it. Two at least: many a build uses one most of the time.
func (h *House) share(s *schedule) int {
	return max(min(2, h.jobs), h.jobs/max(1, min(h.concurrent, s.wide())))
}

// Items returns what is fetched for a dist: its file, but of first-party code, and the crates
// that it is built with.
func Items(d recipes.Dist) []fetch.Item {
	var items []fetch.Item
	if !d.Own {
		items = append(items, fetch.Item{Source: cmp.Or(d.Source, fetch.PyPI), Name: d.Name, Version: d.Version, File: d.File, SHA256: d.SHA256})
	}
	if d.Build == nil {
		return items
	}
	for _, c := range d.Build.Crates {
		items = append(items, fetch.Item{Source: fetch.Crates, Name: c.Name, Version: c.Version, File: c.Name + "-" + c.Version + ".crate", SHA256: c.SHA256})
	}
	return items
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
	return h.job(ctx, sdist, wheels)
}

func (h *House) job(ctx context.Context, sdist recipes.Dist, needs []Wheel) (Job, error) {
	image, err := h.image(ctx, sdist)
	return Job{Sdist: sdist, Image: image, Python: h.python, Needs: needs}, err
}

// wheels makes wheels for what is being built along path, outermost first.
func (h *House) wheels(ctx context.Context, dists Dists, ids, path []string) ([]Wheel, error) {
	all, err := closure(dists, ids, path)
	if err != nil {
		return nil, err
	}
	made := h.made(all)
	// A cache may have what would be built: what that takes waits until it is.
	later := h.stage.Fetch != nil && once.HasCaches(ctx)
	var items []fetch.Item
	for _, d := range all {
		if _, known := made[d.ID()]; !known && !(later && d.Build != nil) {
			items = append(items, Items(d)...)
		}
	}
	if err := h.fetch.Fetch(ctx, items...); err != nil {
		return nil, err
	}
	s, err := h.schedule(all, made)
	if err != nil {
		return nil, err
	}
	if err := h.work(ctx, s); err != nil {
		return nil, err
	}
	wheels := make([]Wheel, len(ids))
	for i, id := range ids {
		wheels[i] = s.made[id]
	}
	return wheels, nil
}

// made returns the wheels that were made before, of these dists.
func (h *House) made(all []recipes.Dist) map[string]Wheel {
	h.mu.Lock()
	defer h.mu.Unlock()
	made := map[string]Wheel{}
	for _, d := range all {
		if w, known := h.known[d.ID()]; known {
			made[d.ID()] = w
		}
	}
	return made
}

// work makes what a schedule has, several at a time, until all is made or something
// failed that ends the rest. The next build begins when the work of one is done: what that has made
// is taken out of its sandbox meanwhile.
func (h *House) work(ctx context.Context, s *schedule) error {
	group, building := errgroup.WithContext(ctx)
	ended, worked := make(chan result), make(chan string)
	working, running := 0, 0
	for building.Err() == nil {
		for working < h.concurrent && running < 2*h.concurrent {
			d, ok := s.next(h.memory)
			if !ok {
				break
			}
			working, running = working+1, running+1
			needs, jobs := s.needs(d), h.share(s)
			group.Go(func() error {
				done := sync.OnceFunc(func() {
					select {
					case worked <- d.ID():
					case <-building.Done():
					}
				})
				w, err := h.make(building, d, needs, jobs, done)
				if err != nil && !(h.KeepGoing && building.Err() == nil && isFailure(err)) {
					return err
				}
				done()
				select {
				case ended <- result{d, w, err}:
				case <-building.Done():
				}
				return nil
			})
		}
		if running == 0 {
			break
		}
		select {
		case id := <-worked:
			working--
			s.worked[id] = true
		case r := <-ended:
			running--
			s.end(r)
			h.keep(r)
		case <-building.Done():
		}
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	return s.failed()
}

// keep remembers a wheel that was made.
func (h *House) keep(r result) {
	if r.err != nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.known[r.dist.ID()] = r.wheel
}

// make makes a dist's wheel with those that it needs, and a number of processors. It calls worked once
// the build needs these no more, unless it reuses a wheel.
func (h *House) make(ctx context.Context, d recipes.Dist, needs []Wheel, jobs int, worked func()) (Wheel, error) {
	if d.Build == nil {
		return Wheel{Dist: d, File: d.File, SHA256: d.SHA256}, h.stage.checkPure(d)
	}
	job, err := h.job(ctx, d, needs)
	if err != nil {
		return Wheel{}, err
	}
	stage := *h.stage
	stage.Jobs, stage.worked = jobs, worked
	return stage.Build(ctx, job)
}

// CircleError says that sdists need each other to be built.
type CircleError struct {
	// Path are the dists as NAME==VERSION, each needed by the one before; the last is
	// the first again.
	Path []string
}

func (e *CircleError) Error() string {
	return "build requirements go in a circle: " + strings.Join(recipes.First(e.Path), " → ")
}

// Kind says whose fault it is.
func (*CircleError) Kind() faults.Kind { return faults.Input }

// Hint says what can be done.
func (e *CircleError) Hint() string {
	return "list one that has a pure wheel under pure, or choose another version of one"
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
				return &CircleError{append(path[i:], id)}
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
