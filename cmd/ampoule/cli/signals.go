package cli

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"

	"ampoule/faults"
)

// interrupts is what the signals that end the program mean at the moment.
type interrupts struct {
	// taker gets them in the place of the program; nil without one.
	taker atomic.Pointer[func(os.Signal)]
}

// interruptsKey is the key of a context's interrupts.
type interruptsKey struct{}

// takeSignals has a function called with each SIGINT and SIGTERM, which end nothing until
// restore is called. Where nobody waits for them it changes nothing.
func takeSignals(ctx context.Context, taker func(os.Signal)) (restore func()) {
	i, ok := ctx.Value(interruptsKey{}).(*interrupts)
	if !ok {
		return func() {}
	}
	i.taker.Store(&taker)
	return func() { i.taker.Store(nil) }
}

// interruptible returns a context that the first SIGINT or SIGTERM ends, with an
// [*InterruptedError] as its cause. The second one ends the program at once, by
// exit. Stop gives the signals their own meaning back.
func interruptible(parent context.Context, exit func(int)) (ctx context.Context, stop func()) {
	meaning := &interrupts{}
	ctx, cancel := context.WithCancelCause(context.WithValue(parent, interruptsKey{}, meaning))
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	stopped := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for taken := 0; ; {
			select {
			case <-stopped:
				return
			case s := <-signals:
				if taker := meaning.taker.Load(); taker != nil {
					(*taker)(s)
					continue
				}
				if taken > 0 {
					exit(faults.Interrupted.Code())
				}
				taken++
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
