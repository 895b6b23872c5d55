// Package memo makes values that are made once and shared, where making one can fail and
// is done for a caller who can give up.
package memo

import "context"

// Value is a value that whoever asks for it first makes; others who ask meanwhile wait
// for it. That making it failed is not remembered: the reason may be the end of its maker's
// context, which is nobody else's answer. Whoever waits then makes it.
//
// The zero Value does not work: see [New].
type Value[T any] struct {
	// turn is full while somebody makes the value.
	turn  chan struct{}
	known bool
	value T
}

// New returns a value that nobody has made yet.
func New[T any]() *Value[T] { return &Value[T]{turn: make(chan struct{}, 1)} }

// Get returns the value, or makes it. It waits for another maker no longer than its own
// context lasts.
func (v *Value[T]) Get(ctx context.Context, produce func() (T, error)) (T, error) {
	select {
	case v.turn <- struct{}{}:
		defer func() { <-v.turn }()
	case <-ctx.Done():
		var none T
		return none, context.Cause(ctx)
	}
	if v.known {
		return v.value, nil
	}
	value, err := produce()
	if err == nil {
		v.value, v.known = value, true
	}
	return value, err
}
