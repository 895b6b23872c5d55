package fetch

import (
	"context"
	"errors"
	"testing"
)

// Who gives up while he asks an index gets his own end for an answer. Nobody else gets it, and
// nobody waits for him longer than he wants to.
func TestAskIsEachCallersOwn(t *testing.T) {
	t.Parallel()
	f := New(nil, Config{})
	const key = "page of demo"
	ctx, cancel := context.WithCancel(t.Context())
	asking, first := make(chan struct{}), make(chan error, 1)
	go func() {
		_, err := ask(ctx, f, key, func() (int, error) {
			close(asking)
			<-ctx.Done()
			return 0, context.Cause(ctx)
		})
		first <- err
	}()
	<-asking
	hasty, end := context.WithCancel(t.Context())
	end()
	if _, err := ask(hasty, f, key, func() (int, error) { return 1, nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("who does not wait is told %v", err)
	}
	second := make(chan int, 1)
	go func() {
		got, err := ask(t.Context(), f, key, func() (int, error) { return 2, nil })
		if err != nil {
			t.Errorf("who waited is told %v", err)
		}
		second <- got
	}()
	cancel()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Errorf("who gave up is told %v", err)
	}
	if got := <-second; got != 2 {
		t.Errorf("who waited has %d", got)
	}
	if got, err := ask(t.Context(), f, key, func() (int, error) { return 3, nil }); got != 2 || err != nil {
		t.Errorf("later it is %d, %v", got, err)
	}
}
