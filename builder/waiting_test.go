package builder

import (
	"context"
	"strings"
	"testing"
	"time"

	"ampoule/builder/progress"
	"ampoule/builder/progress/progresstest"
	"ampoule/builder/sandbox"
	"ampoule/builder/sandbox/fake"
	"ampoule/recipes"
)

// A build that waits for another one, of the same key or of a part that both have, says so at
// once, and for whom; what both want is made once.
func TestWaitingIsTold(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		// held is the step in which the first build is when the second one begins.
		held    string
		sameKey bool
		stage   progress.Stage
		task    string
	}{
		"key":         {"make install", true, progress.StageBuild, "web"},
		"interpreter": {"make install", false, progress.StageInterpreter, "CPython 3.13.5"},
		"wheel":       {"driver.py wheel", false, progress.StageWheel, "demo==1.0"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			w := newWorld(t)
			held, release := make(chan bool, 10), make(chan bool)
			w.runner = fake.New(func(ctx context.Context, s *fake.Sandbox, step sandbox.Step) error {
				if strings.Contains(strings.Join(step.Args, " "), test.held) {
					held <- true
					select {
					case <-release:
					case <-ctx.Done():
						return context.Cause(ctx)
					}
				}
				return w.step(ctx, s, step)
			})
			recipe := *w.recipe
			if !test.sameKey {
				// Its tests are no part of any stage.
				recipe.Test.Commands = [][]string{{"python3", "-m", "demo.other"}}
			}
			b, ended := w.builder(), make(chan Result, 2)
			build := func(r *progresstest.Recorder, recipe *recipes.Recipe) {
				req := w.request()
				req.Recipe = recipe
				got, err := b.Build(r.Context(ctx), req)
				if err != nil {
					t.Error(err)
				}
				ended <- got
			}
			first, second := progresstest.New(), progresstest.New()
			go build(first, w.recipe)
			<-held
			go build(second, &recipe)
			if e, ok := second.Await(ctx, progress.Waiting); !ok {
				t.Error("nobody is told of the waiting")
			} else if e.Stage != test.stage || e.Task != test.task || e.Holder.Build != first.Feed.Build() || e.Holder.Recipe != "web" {
				t.Errorf("%s %s waits for %+v", e.Stage, e.Task, e.Holder)
			}
			close(release)
			one, two := <-ended, <-ended
			if same := one.Digest == two.Digest; one.Digest == "" || two.Digest == "" || same != test.sameKey {
				t.Errorf("digests %s and %s", one.Digest, two.Digest)
			}
			if len(held) != 0 {
				t.Errorf("%q ran %d more times", test.held, len(held))
			}
			for _, e := range first.Events() {
				if e.Kind == progress.Waiting && e.Stage == test.stage {
					t.Errorf("the first build waits, too: %+v", e)
				}
			}
			w.checkClosed()
		})
	}
}
