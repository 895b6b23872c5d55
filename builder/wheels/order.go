package wheels

import (
	"errors"
	"slices"
	"time"

	"ampoule/builder/sandbox"
	"ampoule/recipes"
	"ampoule/store"
)

// secondsKind is the store's kind of records that say how long a build took here.
const secondsKind = "wheel-seconds"

// memoryKind is the store's kind of records that say how much memory a build held here.
const memoryKind = "wheel-memory"

// Measure reports whether records of a kind say what builds took. They decide no bit of what is made.
func Measure(kind string) bool { return kind == secondsKind || kind == memoryKind }

// bytesPerSecond turns the size of an sdist that was never built into an estimate of
// how long its build takes. Only which of two builds is longer matters.
const bytesPerSecond = 100_000

// measures are the keys under which is noted what building a dist took: its sdist's hash, and its
// name, under which the last release counts for one that was never built.
func measures(d recipes.Dist) []string { return []string{d.SHA256, d.Name} }

// note notes something that building a dist took, or took until it ended with an error. Such a build
// may have ended early: what is noted never gets less by it. What cannot be noted is not known the
// next time.
func note[N int64 | float64](s *Stage, kind string, d recipes.Dist, value N, failed error) {
	keys := measures(d)
	for i, key := range keys {
		took := value
		if failed != nil {
			var before N
			if _, err := s.noted(kind, keys[i:], &before); err != nil {
				continue
			}
			took = max(took, before)
		}
		_ = s.Store.Record(kind, key, took)
	}
}

// noted finds what was noted under the first of some keys that has anything.
func (s *Stage) noted(kind string, keys []string, value any) (known bool, err error) {
	for _, key := range keys {
		if known, err = s.Store.Lookup(kind, key, value); err != nil || known {
			break
		}
	}
	return known, err
}

// tookTime remembers how long a build took, for the order of later ones.
func (s *Stage) tookTime(sdist recipes.Dist, d time.Duration, failed error) {
	note(s, secondsKind, sdist, d.Seconds(), failed)
}

// tookMemory remembers how much memory the sandbox of a build was seen to hold at most, if anybody
// looked.
func (s *Stage) tookMemory(sdist recipes.Dist, sb sandbox.Sandbox, failed error) {
	if peak, known := sandbox.Peak(sb); known {
		note(s, memoryKind, sdist, peak, failed)
	}
}

// memory says how much memory building a dist takes, in bytes: what it took before, and 0 if nobody
// knows.
func (s *Stage) memory(d recipes.Dist) (int64, error) {
	if d.Build == nil {
		return 0, nil
	}
	var memory int64
	_, err := s.noted(memoryKind, measures(d), &memory)
	return memory, err
}

// seconds says how long building a dist takes: as long as it took before, or an estimate; 0
// where nothing is known.
func (s *Stage) seconds(d recipes.Dist) (float64, error) {
	if d.Build == nil {
		return 0, nil
	}
	var seconds float64
	if known, err := s.noted(secondsKind, measures(d), &seconds); err != nil || known {
		return seconds, err
	}
	f, err := s.Store.Open(d.SHA256)
	if errors.Is(err, store.ErrNotFound) {
		// It is not fetched yet, since a cache may have the wheel.
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return float64(info.Size()) / bytesPerSecond, nil
}

// schedule says what to build next of dists that need one another.
type schedule struct {
	// ready are the dists whose needs are all made.
	ready []recipes.Dist
	// wanting are the others, in an order in which each stands behind what it needs.
	wanting []recipes.Dist
	// ranks say, by ID, how long the longest way from the start of a dist's build to
	// the end of everything is, in seconds.
	ranks map[string]float64
	// memory says, by ID, how many bytes each takes; 0 is not known.
	memory map[string]int64
	// before says, by ID, what was being made when another dist could first begin in the place of one
	// that did not fit.
	before map[string]map[string]bool
	// building are the dists that are being made, and worked those of them, by ID, whose work is done.
	building []recipes.Dist
	worked   map[string]bool
	made     map[string]Wheel
	// failures are in the order in which they happened.
	failures []result
}

// result is what became of one dist.
type result struct {
	dist  recipes.Dist
	wheel Wheel
	err   error
}

// schedule plans the dists that are not made yet. Each stands behind all that it needs.
func (h *House) schedule(all []recipes.Dist, made map[string]Wheel) (*schedule, error) {
	s := &schedule{made: made, ranks: map[string]float64{}, memory: map[string]int64{}, before: map[string]map[string]bool{}, worked: map[string]bool{}}
	// after is the longest way from a dist's end.
	after := map[string]float64{}
	for _, d := range slices.Backward(all) {
		if _, known := made[d.ID()]; known {
			continue
		}
		seconds, err := h.stage.seconds(d)
		if err != nil {
			return nil, err
		}
		if s.memory[d.ID()], err = h.stage.memory(d); err != nil {
			return nil, err
		}
		s.ranks[d.ID()] = seconds + after[d.ID()]
		if d.Build != nil {
			for _, need := range d.Build.Dists {
				after[need] = max(after[need], s.ranks[d.ID()])
			}
		}
		s.wanting = append(s.wanting, d)
	}
	slices.Reverse(s.wanting)
	s.promote()
	return s, nil
}

// promote moves the dists whose needs are made to those that are ready.
func (s *schedule) promote() {
	s.wanting = slices.DeleteFunc(s.wanting, func(d recipes.Dist) bool {
		if d.Build != nil && slices.ContainsFunc(d.Build.Dists, func(id string) bool { return !s.isMade(id) }) {
			return false
		}
		s.ready = append(s.ready, d)
		return true
	})
}

func (s *schedule) isMade(id string) bool {
	_, made := s.made[id]
	return made
}

// next takes the dist that the longest way begins with (critical path scheduling), of those whose
// memory fits beside what is being made: all of it together may take room bytes, and any number
// where that is 0. While nothing is being made, every dist fits. None is taken in the place of one
// that a longer way begins with, and that needs nothing but what will be there at any moment, or
// does not fit only because of what began in its place.
func (s *schedule) next(room int64) (recipes.Dist, bool) {
	busy := s.busy()
	first, next := -1, -1
	for i, d := range s.ready {
		if first < 0 || s.ranks[d.ID()] > s.ranks[s.ready[first].ID()] {
			first = i
		}
		if s.fits(d, busy, room) && (next < 0 || s.ranks[d.ID()] > s.ranks[s.ready[next].ID()]) {
			next = i
		}
	}
	if next < 0 || next != first && s.keeps(s.ready[first], busy, room) {
		return recipes.Dist{}, false
	}
	if slices.ContainsFunc(s.wanting, func(d recipes.Dist) bool { return s.ranks[d.ID()] > s.ranks[s.ready[next].ID()] && s.soon(d) }) {
		return recipes.Dist{}, false
	}
	d := s.ready[next]
	s.ready = slices.Delete(s.ready, next, next+1)
	s.building = append(s.building, d)
	return d, true
}

// busy are the dists that are being made, and whose work is not done.
func (s *schedule) busy() []recipes.Dist {
	return slices.DeleteFunc(slices.Clone(s.building), func(d recipes.Dist) bool { return s.worked[d.ID()] })
}

// fits reports whether there is memory for a dist beside others.
func (s *schedule) fits(d recipes.Dist, beside []recipes.Dist, room int64) bool {
	var taken int64
	for _, other := range beside {
		taken += s.memory[other.ID()]
	}
	return room == 0 || taken == 0 || taken+s.memory[d.ID()] <= room
}

// keeps reports whether a dist that does not fit has the others wait: it would fit beside what is
// left of all that was being made when another one could first begin in its place. As long as small
// ones went on beginning, it would not fit.
func (s *schedule) keeps(d recipes.Dist, busy []recipes.Dist, room int64) bool {
	before, waits := s.before[d.ID()]
	if !waits {
		before = map[string]bool{}
		for _, other := range busy {
			before[other.ID()] = true
		}
		s.before[d.ID()] = before
	}
	return s.fits(d, slices.DeleteFunc(slices.Clone(busy), func(other recipes.Dist) bool { return !before[other.ID()] }), room)
}

// soon reports whether all that a dist needs is made, or its work is done.
func (s *schedule) soon(d recipes.Dist) bool {
	return !slices.ContainsFunc(d.Build.Dists, func(id string) bool { return !s.isMade(id) && !s.worked[id] })
}

// wide is how many compilations are running or could begin.
func (s *schedule) wide() int {
	n := 0
	for _, d := range slices.Concat(s.busy(), s.ready) {
		if d.Build != nil {
			n++
		}
	}
	return n
}

// needs returns the wheels that a dist is built with.
func (s *schedule) needs(d recipes.Dist) []Wheel {
	if d.Build == nil {
		return nil
	}
	needs := make([]Wheel, len(d.Build.Dists))
	for i, id := range d.Build.Dists {
		needs[i] = s.made[id]
	}
	return needs
}

// end takes note of what became of a dist.
func (s *schedule) end(r result) {
	s.building = slices.DeleteFunc(s.building, func(d recipes.Dist) bool { return d.ID() == r.dist.ID() })
	delete(s.worked, r.dist.ID())
	if r.err != nil {
		s.failures = append(s.failures, r)
		return
	}
	s.made[r.dist.ID()] = r.wheel
	s.promote()
}

// failed tells of all that failed, and of what could not be built therefore; nil when
// nothing did.
func (s *schedule) failed() error {
	if len(s.failures) == 0 {
		return nil
	}
	failed := &FailedError{}
	for _, r := range s.failures {
		failed.Failures = append(failed.Failures, r.err)
	}
	for _, d := range s.wanting {
		failed.Skipped = append(failed.Skipped, d.ID())
	}
	return failed
}
