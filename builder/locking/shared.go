package locking

import "context"

// shared is a value that whoever asks for it first makes, and others wait for. That making it
// failed is not remembered: the reason may be the end of its maker's context.
type shared[T any] struct {
	// turn is full while somebody makes the value.
	turn  chan struct{}
	known bool
	value T
}

func newShared[T any]() *shared[T] { return &shared[T]{turn: make(chan struct{}, 1)} }

// get returns the value, or makes it. It waits no longer than its context lasts.
func (s *shared[T]) get(ctx context.Context, produce func() (T, error)) (T, error) {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		var none T
		return none, context.Cause(ctx)
	}
	if s.known {
		return s.value, nil
	}
	value, err := produce()
	if err == nil {
		s.value, s.known = value, true
	}
	return value, err
}
