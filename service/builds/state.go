package builds

import (
	"fmt"
	"slices"

	"ampoule/faults"
)

// State is where a build is on its way.
type State string

// The states, in the order of the way.
const (
	Queued     State = "queued"
	Fetching   State = "fetching"
	Building   State = "building"
	Gating     State = "gating"
	Publishing State = "publishing"
	Done       State = "done"
	Failed     State = "failed"
	Cancelled  State = "cancelled"
)

// way is the order of the states of a build that nothing goes wrong with.
var way = []State{Queued, Fetching, Building, Gating, Publishing, Done}

// States lists all states.
func States() []State { return append(slices.Clone(way), Failed, Cancelled) }

// Running lists the states in which a worker has the build.
func Running() []State { return slices.Clone(way[1 : len(way)-1]) }

// Active lists the states that are left again.
func Active() []State { return slices.Clone(way[:len(way)-1]) }

// Terminal reports whether the state is never left.
func (s State) Terminal() bool { return s == Done || s == Failed || s == Cancelled }

// Running reports whether a worker has a build of the state.
func (s State) Running() bool { return slices.Contains(way[1:len(way)-1], s) }

// Valid reports whether there is such a state.
func (s State) Valid() bool { return slices.Contains(States(), s) }

// Before reports whether the state comes before another one on the way. One that is beside the
// way comes before none.
func (s State) Before(other State) bool {
	i, j := slices.Index(way, s), slices.Index(way, other)
	return i >= 0 && j >= 0 && i < j
}

// Check returns nil if a build may go from one state to the other, else a [*TransitionError].
// A build goes forward on the way, and may pass over states: what is reused is not built. It
// goes back to [Queued] alone, when its worker has lost it. It may fail or be cancelled wherever
// it is, and leaves no terminal state.
func Check(from, to State) error {
	switch {
	case !from.Valid() || !to.Valid() || from.Terminal():
	case to == Failed, to == Cancelled:
		return nil
	case from == Queued:
		// A lease comes first, whatever is found then.
		if to == Fetching {
			return nil
		}
	case to == Queued || from.Before(to):
		return nil
	}
	return &TransitionError{From: from, To: to}
}

// TransitionError says that a build does not go from one state to another.
type TransitionError struct {
	ID       string
	From, To State
}

func (e *TransitionError) Error() string {
	what := "the build"
	if e.ID != "" {
		what = "build " + e.ID
	}
	return fmt.Sprintf("%s is %s: it cannot become %s", what, e.From, e.To)
}

// Kind says whose turn it is.
func (*TransitionError) Kind() faults.Kind { return faults.Refused }
