package survey

import (
	"context"
	"fmt"
	"time"
)

const (
	// grace is how long what is under way may take to end once the context is done.
	grace = 500 * time.Millisecond
	// stuck is how long an audit may go on without reading anything: a server of files that is
	// gone lets whoever reads wait for ever.
	stuck = 10 * time.Minute
	// unitTime is how long one unit may be judged, beside being read.
	unitTime = 5 * time.Minute
)

var errUnitTime = fmt.Errorf("judging it takes more than %s: not judged", unitTime)

// outcome is what a survey gave.
type outcome struct {
	report *Report
	err    error
}

// attended runs a survey, and returns soon when ctx is done, or when nothing was read for
// long. The kernel may never return from a read: that is left behind then.
func (v *survey) attended(ctx context.Context, stuck time.Duration) (*Report, error) {
	done := make(chan outcome, 1)
	go func() {
		r, err := v.run(ctx)
		done <- outcome{r, err}
	}()
	look := time.NewTicker(stuck)
	defer look.Stop()
	ended := ctx.Done()
	var over <-chan time.Time
	for steps := v.steps.Load(); ; {
		select {
		case o := <-done:
			return o.report, o.err
		case <-ended:
			ended = nil
			over = time.After(grace)
		case <-over:
			return nil, context.Cause(ctx)
		case <-look.C:
			now := v.steps.Load()
			if now == steps {
				return nil, &UnreadableError{v.Path, fmt.Sprintf("nothing of it could be read for %s, last %s", stuck, v.last())}
			}
			steps = now
		}
	}
}
