package buildenv

import (
	"context"
	"runtime"
	"strings"
	"testing"
	"time"

	"ampoule/builder/sandbox"
	"ampoule/builder/sandbox/fake"
	"ampoule/builder/sandbox/sandboxtest"
	"ampoule/builder/share"
	"ampoule/faults"
)

// A budget bounds what is sealed and what has a network alike.
func TestWithinBudget(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		budget Budget
		limits sandbox.Limits
		late   bool
	}{
		"nothing said": {Budget{}, sandbox.Limits{CPUs: int64(runtime.NumCPU())}, false},
		"all said":     {Budget{Jobs: 3, StepTime: time.Nanosecond, StepMemory: 5, StepDisk: 7}, sandbox.Limits{CPUs: 3, Memory: 5, Disk: 7}, true},
	} {
		r := fake.New(func(ctx context.Context, _ *fake.Sandbox, _ sandbox.Step) error {
			if c.late {
				<-ctx.Done()
			}
			return context.Cause(ctx)
		})
		id, err := r.Load(t.Context(), sandbox.Config{Architecture: "amd64"}, sandboxtest.TarLayer(t, nil, nil))
		if err != nil {
			t.Fatal(err)
		}
		within := Sandboxes{Runner: r, Images: r, Online: fake.Online{Runner: r}}.Within(c.budget)
		sealed, err := within.Runner.Start(t.Context(), sandbox.Spec{Image: id, Name: "sealed"})
		if err != nil {
			t.Fatal(err)
		}
		online, err := within.Online.StartOnline(t.Context(), sandbox.OnlineSpec{Image: id, Name: "online"})
		if err != nil {
			t.Fatal(err)
		}
		for _, sb := range []sandbox.Sandbox{sealed, online} {
			err := sb.Exec(t.Context(), sandbox.Step{Args: []string{"make"}})
			if late := faults.Of(err) == faults.Build && strings.Contains(err.Error(), "not done after"); late != c.late {
				t.Errorf("%s: a step ends with %v", name, err)
			}
		}
		for _, s := range r.Sandboxes() {
			if s.Spec.Limits != c.limits {
				t.Errorf("%s: %s has %+v, want %+v", name, s.Spec.Name, s.Spec.Limits, c.limits)
			}
		}
	}
}

// Steps of two calls share the pool: one waits for the other, and its own time begins after that.
func TestWithinPool(t *testing.T) {
	t.Parallel()
	begun, end := make(chan bool, 2), make(chan bool)
	r := fake.New(func(ctx context.Context, _ *fake.Sandbox, step sandbox.Step) error {
		begun <- true
		if step.Args[0] == "long" {
			<-end
		}
		return context.Cause(ctx)
	})
	id, err := r.Load(t.Context(), sandbox.Config{Architecture: "amd64"}, sandboxtest.TarLayer(t, nil, nil))
	if err != nil {
		t.Fatal(err)
	}
	shared := Sandboxes{Runner: r, Images: r, Online: fake.Online{Runner: r}, Pool: share.New(share.Total{Processors: 2, Memory: 1 << 30})}
	long, err := shared.Within(Budget{}).Runner.Start(t.Context(), sandbox.Spec{Image: id, Name: "long"})
	if err != nil {
		t.Fatal(err)
	}
	short, err := shared.Within(Budget{StepTime: 100 * time.Millisecond}).Online.StartOnline(t.Context(), sandbox.OnlineSpec{Image: id, Name: "short"})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 2)
	go func() { ended <- long.Exec(t.Context(), sandbox.Step{Args: []string{"long"}, Memory: 1 << 30}) }()
	<-begun
	go func() { ended <- short.Exec(t.Context(), sandbox.Step{Args: []string{"short"}}) }()
	select {
	case <-begun:
		t.Error("both run at once")
	case <-time.After(200 * time.Millisecond):
	}
	close(end)
	for range 2 {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}
