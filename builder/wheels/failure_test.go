package wheels

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/builder/failure"
	"ampoule/builder/sandbox"
	"ampoule/builder/sandbox/fake"
	"ampoule/tree"
)

// failing is a stage whose builds print a text and end with exit code 1 as long as
// that is not empty.
func failing(t *testing.T, printed *string) (*Stage, Job) {
	t.Helper()
	b := newBackend()
	stage, _, image := newStage(t, b)
	r := fake.New(func(ctx context.Context, s *fake.Sandbox, step sandbox.Step) error {
		if step.Args[0] != testPython || *printed == "" {
			return b.step(ctx, s, step)
		}
		if err := s.Write(tree.FileEntry("ampoule-build/step.json", 0o644, []byte(`{"args": ["python", "-c", "hook"], "dir": "/ampoule-build/src/demo", "env": {"B": "2", "A": "1"}}`))); err != nil {
			return err
		}
		fmt.Fprintln(step.Stdout, *printed)
		return &sandbox.ExitError{Args: step.Args, Code: 1}
	})
	stage.Runner, stage.Images, stage.Recipe, stage.Suite = r, r, "web", "bookworm"
	l := newLock(t, stage.Store)
	return stage, Job{Sdist: l.sdist("psycopg2"), Image: image, Python: testPython}
}

func TestFailedBuild(t *testing.T) {
	t.Parallel()
	printed := "x.c:1:10: fatal error: libpq-fe.h: No such file or directory"
	stage, job := failing(t, &printed)
	_, err := stage.Build(t.Context(), job)
	var missing *MissingError
	if !errors.As(err, &missing) || !strings.Contains(err.Error(), "cause: the header libpq-fe.h") {
		t.Fatalf("got %v", err)
	}
	if want := "packages: {psycopg2: {build: [libpq-dev]}}"; !strings.Contains(missing.Hint(), want) {
		t.Errorf("the hint is %q, want %q in it", missing.Hint(), want)
	}
	state, found, err := failure.Last(stage.Store, "web", "")
	if err != nil || !found {
		t.Fatalf("found %t, %v", found, err)
	}
	got := []string{state.Step, state.Title, state.Dir, strings.Join(state.Args, " "), strings.Join(state.Env, " ")}
	if diff := cmp.Diff([]string{"psycopg2", "wheel of psycopg2==1.0", "/ampoule-build/src/demo", "python -c hook", "A=1 B=2"}, got); diff != "" {
		t.Errorf("kept (-want +got):\n%s", diff)
	}
	printed = ""
	if _, err := stage.Build(t.Context(), job); err != nil {
		t.Fatal(err)
	}
	if _, found, err := failure.Last(stage.Store, "web", "psycopg2"); found || err != nil {
		t.Errorf("after success it is still kept: %v", err)
	}
}

func TestFailureWithoutKnownCause(t *testing.T) {
	t.Parallel()
	printed := "something odd"
	stage, job := failing(t, &printed)
	_, err := stage.Build(t.Context(), job)
	var missing *MissingError
	var build *BuildError
	if !errors.As(err, &build) || errors.As(err, &missing) || !strings.Contains(err.Error(), "something odd") {
		t.Errorf("got %v", err)
	}
}

func TestPrepare(t *testing.T) {
	t.Parallel()
	printed := ""
	stage, job := failing(t, &printed)
	state, sb, err := stage.Prepare(t.Context(), job, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if state.Recipe != "web" || state.Step != "psycopg2" || !state.Time.IsZero() {
		t.Errorf("got %+v", state)
	}
	if err := sb.Close(); err != nil {
		t.Error(err)
	}
}
