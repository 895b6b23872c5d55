package wheels

import (
	"errors"
	"slices"
	"time"

	"ampoule/recipes"
	"ampoule/store"
)

// secondsKind is the store's kind of records that say how long a build took here.
const secondsKind = "wheel-seconds"

// bytesPerSecond turns the size of an sdist that was never built into an estimate of
// how long its build takes. Only which of two builds is longer matters.
const bytesPerSecond = 100_000

// tookTime remembers how long a build took, for the order of later ones. What cannot
// be remembered is estimated again.
func (s *Stage) tookTime(sdist recipes.Dist, d time.Duration) {
	_ = s.Store.Record(secondsKind, sdist.SHA256, d.Seconds())
}

// seconds says how long building a dist takes: as long as it took before, or an estimate; 0
// where nothing is known.
func (s *Stage) seconds(d recipes.Dist) (float64, error) {
	if d.Build == nil {
		return 0, nil
	}
	var seconds float64
	if known, err := s.Store.Lookup(secondsKind, d.SHA256, &seconds); err != nil || known {
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
	made  map[string]Wheel
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
	s := &schedule{made: made, ranks: map[string]float64{}}
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

// next takes the dist that the longest way begins with (critical path scheduling).
func (s *schedule) next() (recipes.Dist, bool) {
	if len(s.ready) == 0 {
		return recipes.Dist{}, false
	}
	next := 0
	for i, d := range s.ready {
		if s.ranks[d.ID()] > s.ranks[s.ready[next].ID()] {
			next = i
		}
	}
	d := s.ready[next]
	s.ready = slices.Delete(s.ready, next, next+1)
	return d, true
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
