package cli

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"

	"ampoule/faults"
)

// interruptible returns a context that the first SIGINT or SIGTERM ends, with an
// [*InterruptedError] as its cause. The second one ends the program at once, by
// exit. Stop gives the signals their own meaning back.
func interruptible(parent context.Context, exit func(int)) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	stopped := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for taken := 0; ; taken++ {
			select {
			case <-stopped:
				return
			case s := <-signals:
				if taken > 0 {
					exit(faults.Interrupted.Code())
				}
				cancel(&InterruptedError{Signal: s})
			}
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(stopped)
		<-ended
		cancel(nil)
	}
}

// interrupted makes whatever a verb says after a signal an [*InterruptedError]. A
// verb that had its result all the same is done; a program that it ran has its own
// code.
func interrupted(ctx context.Context, err error) error {
	var cause *InterruptedError
	if err == nil || is[*ChildError](err) || !errors.As(context.Cause(ctx), &cause) {
		return err
	}
	return &InterruptedError{Signal: cause.Signal, Err: err}
}
