package memo

import (
	"context"
	"errors"
	"testing"
)

// TestValueOutlivesItsMaker has the first maker give up while another one waits, which then
// makes the value itself, for all who come later.
func TestValueOutlivesItsMaker(t *testing.T) {
	t.Parallel()
	s := New[int]()
	ctx, cancel := context.WithCancel(t.Context())
	making, first := make(chan struct{}), make(chan error, 1)
	go func() {
		_, err := s.Get(ctx, func() (int, error) {
			close(making)
			<-ctx.Done()
			return 0, context.Cause(ctx)
		})
		first <- err
	}()
	<-making
	short, end := context.WithCancel(t.Context())
	end()
	if _, err := s.Get(short, func() (int, error) { return 1, nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("who gives up waiting is told %v", err)
	}
	second := make(chan int, 1)
	go func() {
		value, err := s.Get(t.Context(), func() (int, error) { return 2, nil })
		if err != nil {
			t.Error(err)
		}
		second <- value
	}()
	cancel()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Errorf("the first maker's error is %v", err)
	}
	if value := <-second; value != 2 {
		t.Errorf("the second one has %d", value)
	}
	if value, err := s.Get(t.Context(), func() (int, error) { return 3, nil }); value != 2 || err != nil {
		t.Errorf("later it is %d, %v", value, err)
	}
}
