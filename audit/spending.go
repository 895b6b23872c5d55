package audit

import (
	"context"
	"errors"
	"fmt"
	"unsafe"
)

// What is held of one place while it is judged, at most. Both are three times what
// an environment with vtk and PySide6 has, or more.
const (
	// maxNames is for the names of its files' symbols, in bytes.
	maxNames = 96 << 20
	// maxDependencies counts the dependencies of all its files, each in the process that would
	// load it.
	maxDependencies = 2_000_000
)

// ErrTooMuch is wrapped by errors about places that have more than is looked at.
var ErrTooMuch = errors.New("more than an audit looks at")

// spending is what judging one place has cost so far. A nil one has no bound.
type spending struct {
	//nolint:containedctx // it ends with the judging of its place
	ctx                 context.Context
	names, dependencies int
	fault               error
	// seen are the names that were counted.
	seen map[symbol]bool
}

func newSpending(ctx context.Context) *spending {
	return &spending{ctx: ctx, seen: map[symbol]bool{}}
}

// dependency counts one, and reports whether there may be more.
func (s *spending) dependency() bool {
	if s == nil {
		return true
	}
	switch s.dependencies++; {
	case s.fault != nil:
	case s.dependencies > maxDependencies:
		s.fault = fmt.Errorf("%w: its files need others more than %d times", ErrTooMuch, maxDependencies)
	default:
		s.fault = context.Cause(s.ctx)
	}
	return s.fault == nil
}

// perName is what a name costs beside its text, in bytes: it is held once for all files. The
// runtime's map of unique strings takes most of it: its entry, a weak pointer and its share of
// the inner nodes, as a heap profile of 650,000 names tells.
const perName = 224

// object counts what is held of a file.
func (s *spending) object(o *object) error {
	if err := context.Cause(s.ctx); err != nil {
		return err
	}
	s.names += len(o.gives.slots)*int(unsafe.Sizeof(uint64(0))) + len(o.wants)*int(unsafe.Sizeof(want{}))
	for _, w := range o.wants {
		if !s.seen[w.symbol] {
			s.seen[w.symbol] = true
			s.names += perName + len(w.Value())
		}
	}
	if s.names > maxNames {
		return fmt.Errorf("%w: its files have symbols whose names take more than %d MiB", ErrTooMuch, maxNames>>20)
	}
	return nil
}
