package share

import (
	"context"
	"errors"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ampoule/builder/sandbox"
	"ampoule/builder/sandbox/fake"
	"ampoule/builder/sandbox/sandboxtest"
)

// parallel is a step that can use four processors.
func parallel() sandbox.Step {
	return sandbox.InParallel(4, func(n int) sandbox.Step {
		return sandbox.Step{Args: []string{"make", "-j" + strconv.Itoa(n)}, Env: []string{"JOBS=" + strconv.Itoa(n)}, Dir: "/tmp"}
	})
}

// A step has its share while it runs, is told of it, and gives it back however it ends.
func TestRunner(t *testing.T) {
	t.Parallel()
	pool := New(Total{Processors: 4, Memory: 4 * gib})
	failed := errors.New("no such header")
	var during []int
	r := fake.New(func(_ context.Context, _ *fake.Sandbox, step sandbox.Step) error {
		during = append(during, len(pool.shares))
		if step.Args[0] == "false" {
			return failed
		}
		return nil
	})
	id, err := r.Load(t.Context(), sandbox.Config{Architecture: "amd64"}, sandboxtest.TarLayer(t, nil, nil))
	if err != nil {
		t.Fatal(err)
	}
	first, err := pool.Take(t.Context(), Want{Processors: 2})
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := Runner{r, pool}.Start(t.Context(), sandbox.Spec{Image: id, Name: "wheel-numpy"})
	if err != nil {
		t.Fatal(err)
	}
	online, err := Online{fake.Online{Runner: r}, pool}.StartOnline(t.Context(), sandbox.OnlineSpec{Image: id, Name: "resolve"})
	if err != nil {
		t.Fatal(err)
	}
	if err := sealed.Exec(t.Context(), parallel()); err != nil {
		t.Error(err)
	}
	if waited := sandbox.Waited(sealed); waited <= 0 || waited > time.Minute {
		t.Errorf("it has waited for %s", waited)
	}
	first.Release()
	for _, sb := range []sandbox.Sandbox{sealed, online} {
		if err := sb.Exec(t.Context(), parallel()); err != nil {
			t.Error(err)
		}
	}
	if err := online.Exec(t.Context(), sandbox.Step{Args: []string{"false"}}); !errors.Is(err, failed) {
		t.Error(err)
	}
	if len(pool.shares) != 0 {
		t.Errorf("%d shares are taken", len(pool.shares))
	}
	if diff := cmp.Diff([]int{2, 1, 1, 1}, during); diff != "" {
		t.Errorf("shares while the steps ran (-want +got):\n%s", diff)
	}
	var got [][]string
	for _, s := range r.Sandboxes() {
		for _, step := range s.Steps() {
			got = append(got, append(append(step.Args, step.Env...), step.Dir))
		}
	}
	want := [][]string{{"make", "-j2", "JOBS=2", "/tmp"}, {"make", "-j4", "JOBS=4", "/tmp"}, {"make", "-j4", "JOBS=4", "/tmp"}, {"false", ""}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
}

// A step whose build ends while it waits never begins, and its sandbox is still there.
func TestRunnerIsCancelled(t *testing.T) {
	t.Parallel()
	pool := New(Total{Processors: 1, Memory: gib})
	r := fake.New(nil)
	id, err := r.Load(t.Context(), sandbox.Config{Architecture: "amd64"}, sandboxtest.TarLayer(t, nil, nil))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pool.Take(t.Context(), Want{Memory: gib}); err != nil {
		t.Fatal(err)
	}
	sb, err := Runner{r, pool}.Start(t.Context(), sandbox.Spec{Image: id, Name: "wheel-numpy"})
	if err != nil {
		t.Fatal(err)
	}
	stop := errors.New("interrupted")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(stop)
	if err := sb.Exec(ctx, parallel()); !errors.Is(err, stop) {
		t.Error(err)
	}
	if got := r.Sandboxes()[0]; got.Closed() || len(got.Steps()) != 0 {
		t.Errorf("closed %t, steps %v", got.Closed(), got.Steps())
	}
}
