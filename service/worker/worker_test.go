package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/audit"
	"ampoule/builder"
	"ampoule/builder/buildlog"
	"ampoule/builder/compare"
	"ampoule/faults"
	"ampoule/recipes"
	"ampoule/service/builds"
	"ampoule/service/queue"
)

// fake is place and builder, and notes what it is asked.
type fake struct {
	t       *testing.T
	asked   []string
	settled bool
	checked builder.Checked
}

func (f *fake) TempDir() (string, func() error, error) {
	dir, err := os.MkdirTemp(f.t.TempDir(), "")
	return dir, func() error { return os.RemoveAll(dir) }, err
}

func (f *fake) Settle(_ context.Context, name, key, digest string) (bool, error) {
	f.asked = append(f.asked, "settle "+name+" "+key[:9]+" "+digest)
	return f.settled, nil
}

func (f *fake) Builder(trusted bool, _ func(context.Context, string) error) (Builder, error) {
	if trusted {
		f.asked = append(f.asked, "trusted")
	}
	return f, nil
}

func (f *fake) Lock(_ context.Context, req builder.Request, opts builder.LockOptions) (*recipes.Lock, error) {
	f.asked = append(f.asked, "lock "+req.Recipe.Name+" "+strings.Join(opts.UpgradeNames, ","))
	return req.Lock, nil
}

func (f *fake) Build(_ context.Context, req builder.Request) (builder.Result, error) {
	f.asked = append(f.asked, "build "+req.Recipe.Name+" "+strings.Join(req.Groups, ","))
	verdict := &audit.Verdict{Binary: make([]audit.BinaryWheel, 2), Exceptions: make([]audit.ExceptionResult, 1)}
	return builder.Result{Digest: "sha256:1", Reused: true, Verdict: verdict, Groups: []builder.GroupResult{{Name: "test", Digest: "sha256:2"}}}, nil
}

func (f *fake) Again(context.Context, builder.Request) (builder.Checked, error) {
	f.asked = append(f.asked, "again")
	return f.checked, nil
}

// request is the quickstart recipe, with its lock.
func request(t *testing.T) builder.Request {
	t.Helper()
	dir := filepath.Join("..", "..", "recipes", "catalogue", "quickstart")
	recipe, err := recipes.ReadRecipe(filepath.Join(dir, "ampoule.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	set, err := recipes.ReadRequirements(recipe)
	if err != nil {
		t.Fatal(err)
	}
	lock, err := recipes.ReadLock(filepath.Join(dir, "ampoule.lock"))
	if err != nil {
		t.Fatal(err)
	}
	return builder.Request{Recipe: recipe, Requirements: set, Lock: lock}
}

func job(t *testing.T, b builds.Build, claimed string) queue.Job {
	t.Helper()
	return queue.Job{
		Build:   b,
		Archive: func(context.Context) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("archive")), nil },
		Keep: func(_ context.Context, from io.Reader) (string, error) {
			data, err := io.ReadAll(from)
			if !strings.Contains(string(data), "version") {
				t.Errorf("kept: %.80q", data)
			}
			return "kept", err
		},
		Claim:   func(context.Context, string) error { return nil },
		Claimed: func(context.Context) (string, bool, error) { return claimed, claimed != "", nil },
	}
}

func TestRun(t *testing.T) {
	t.Parallel()
	req := request(t)
	plan, err := builder.PlanBuild(t.Context(), req, nil)
	if err != nil {
		t.Fatal(err)
	}
	key, name := plan.Key, req.Recipe.Name
	same, differs := true, false
	for what, test := range map[string]struct {
		build   builds.Build
		alone   bool
		claimed string
		checked builder.Checked
		want    builds.Result
		asked   []string
		err     error
	}{
		"build": {
			build: builds.Build{Kind: builds.KindBuild, Key: key, Trusted: true},
			want:  builds.Result{Digest: "sha256:1", Reused: true, Accepted: map[string]int{"binary": 2, "exception": 1}, Groups: map[string]string{"test": "sha256:2"}},
			asked: []string{"trusted", "build " + name + " "},
		},
		"untrusted, after a lost worker's claim": {
			build: builds.Build{Kind: builds.KindBuild, Recipe: name, Key: key}, claimed: "sha256:1",
			want:  builds.Result{Digest: "sha256:1", Reused: true, Accepted: map[string]int{"binary": 2, "exception": 1}, Groups: map[string]string{"test": "sha256:2"}},
			asked: []string{"settle " + name + " " + key[:9] + " sha256:1", "build " + name + " "},
		},
		"forced, same": {
			build: builds.Build{Kind: builds.KindBuild, Key: key, Force: true}, checked: builder.Checked{First: "sha256:1", Second: "sha256:1", Groups: []builder.GroupResult{{Name: "test", Digest: "sha256:2"}}},
			want:  builds.Result{Digest: "sha256:1", Second: "sha256:1", Same: &same, Groups: map[string]string{"test": "sha256:2"}},
			asked: []string{"again"},
		},
		"forced, another group": {
			build: builds.Build{Kind: builds.KindBuild, Key: key, Force: true}, checked: builder.Checked{First: "sha256:1", Second: "sha256:1", Differences: []compare.Difference{{First: "sha256:2", Second: "sha256:4"}}},
			want:  builds.Result{Digest: "sha256:1", Second: "sha256:1", Same: &differs},
			asked: []string{"again"}, err: &DifferError{"sha256:2", "sha256:4", 1},
		},
		"forced, another": {
			build: builds.Build{Kind: builds.KindBuild, Key: key, Force: true}, checked: builder.Checked{First: "sha256:1", Second: "sha256:3", Differences: make([]compare.Difference, 2)},
			want:  builds.Result{Digest: "sha256:1", Second: "sha256:3", Same: &differs},
			asked: []string{"again"}, err: &DifferError{"sha256:1", "sha256:3", 2},
		},
		"of another version": {
			build: builds.Build{Kind: builds.KindBuild, Key: "sha256:other"}, err: &builds.VersionError{Accepted: "sha256:other", Here: key},
		},
		"of another version, and no other worker": {
			build: builds.Build{Kind: builds.KindBuild, Key: "sha256:other"}, alone: true, err: &builds.VersionError{Accepted: "sha256:other", Here: key, Alone: true},
		},
		"lock": {
			build: builds.Build{Kind: builds.KindLock, Key: "sha256:any", Options: &builds.LockOptions{UpgradeNames: []string{"flask"}}},
			want:  builds.Result{Lock: "kept"}, asked: []string{"lock " + name + " flask"},
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			f := &fake{t: t, checked: test.checked}
			var opened string
			r := &Runner{Place: f, Open: func(_ context.Context, archive io.Reader, dir string) (builder.Request, error) {
				opened = dir
				if data, err := io.ReadAll(archive); string(data) != "archive" || err != nil {
					t.Errorf("archive %q, %v", data, err)
				}
				return req, nil
			}}
			wanted := job(t, test.build, test.claimed)
			wanted.Alone = test.alone
			got, err := r.Run(t.Context(), wanted)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("result (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.asked, f.asked); diff != "" {
				t.Errorf("asked (-want +got):\n%s", diff)
			}
			if (err == nil) != (test.err == nil) || err != nil && (err.Error() != test.err.Error() || faults.Of(err) != faults.Of(test.err)) {
				t.Errorf("error %v, want %v", err, test.err)
			}
			if _, err := os.Stat(opened); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the directory is left: %v", err)
			}
		})
	}
}

// A build of another version is for another worker; a difference is for a person.
func TestKinds(t *testing.T) {
	t.Parallel()
	if k := faults.Of(&builds.VersionError{}); k != faults.Machine {
		t.Error(k)
	}
	if k := faults.Of(&builds.VersionError{Alone: true}); k != faults.Input {
		t.Error(k)
	}
	if k := faults.Of(&DifferError{}); k != faults.Refused {
		t.Error(k)
	}
}

// What a failure says has no path of the worker's disk in it.
func TestFailuresNameNoFiles(t *testing.T) {
	t.Parallel()
	log, err := buildlog.Open(t.TempDir(), "wheel")
	if err != nil {
		t.Fatal(err)
	}
	step := log.Fail("wheel x 1", errors.New("it ended with code 1"))
	var failed *buildlog.StepError
	if !errors.As(step, &failed) {
		t.Fatal(step)
	}
	failed.Advice = "add gcc"
	f := builds.FailureOf("b1", fmt.Errorf("building: %w", errors.Join(step, &buildlog.StepError{What: "wheel y 1", Log: "/store/y.log", Err: errors.New("no")})))
	want := []string{"add gcc; `ampoule logs b1` shows the whole log", "`ampoule logs b1` shows the whole log"}
	if diff := cmp.Diff(want, f.Hints); diff != "" || f.Kind != "build" || strings.Contains(f.Message, "/store") {
		t.Errorf("%+v\n%s", f, diff)
	}
}
