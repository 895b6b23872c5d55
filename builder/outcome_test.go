package builder

import (
	"context"
	"path/filepath"
	"testing"

	"ampoule/builder/buildlog"
	"ampoule/builder/sandbox"
	"ampoule/faults"
)

// Among its logs, a build keeps how it ended: the digest, or whose fault the failure was.
func TestBuildKeepsOutcome(t *testing.T) {
	t.Parallel()
	failed := faults.New(faults.Build, "", "broken")
	for name, tt := range map[string]struct {
		// ends is what the recipe's tests end with.
		ends func(cancel context.CancelCauseFunc) error
		want string
	}{
		"published": {func(context.CancelCauseFunc) error { return nil }, ""},
		"refused":   {func(context.CancelCauseFunc) error { return &sandbox.ExitError{Code: 1} }, "refused"},
		"failed":    {func(context.CancelCauseFunc) error { return failed }, "build"},
		"interrupted": {func(cancel context.CancelCauseFunc) error {
			cancel(faults.New(faults.Interrupted, "", "by a person"))
			return context.Canceled
		}, "interrupted"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			w.test = func(context.Context, sandbox.Step) error { return tt.ends(cancel) }
			got, err := w.builder().Build(ctx, w.request())
			if (err == nil) != (tt.want == "") {
				t.Fatalf("it ends with %v", err)
			}
			checkOutcome(t, w, buildlog.Outcome{Recipe: "web", Digest: got.Digest, Failure: tt.want})
		})
	}
}

// outcomes says of each run of a world, in the order of their names, how it ended. None may be without an outcome.
func (w *world) outcomes() []string {
	w.t.Helper()
	dirs, err := filepath.Glob(filepath.Join(w.st.Dir("logs"), "*"))
	if err != nil {
		w.t.Fatal(err)
	}
	var ends []string
	for _, dir := range dirs {
		o, err := buildlog.ReadOutcome(dir)
		if err != nil {
			w.t.Fatal(err)
		}
		ends = append(ends, o.Digest+o.Did+o.Failure)
	}
	return ends
}

// checkOutcome wants the only run of a world to have an outcome; times are not compared.
func checkOutcome(t *testing.T, w *world, want buildlog.Outcome) {
	t.Helper()
	dirs, err := filepath.Glob(filepath.Join(w.st.Dir("logs"), "*"))
	if err != nil || len(dirs) != 1 {
		t.Fatalf("%d runs, %v", len(dirs), err)
	}
	got, err := buildlog.ReadOutcome(dirs[0])
	if err != nil {
		t.Fatal(err)
	}
	if got.Begun.IsZero() || got.Ended.Before(got.Begun) {
		t.Errorf("begun %s, ended %s", got.Begun, got.Ended)
	}
	if want.Begun, want.Ended = got.Begun, got.Ended; got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}
