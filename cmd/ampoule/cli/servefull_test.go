package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ampoule/builder"
	"ampoule/config"
	"ampoule/faults"
	"ampoule/service/builds"
	"ampoule/service/problem"
	"ampoule/service/queue"
	"ampoule/service/worker"
	"ampoule/system/systemtest"
	"ampoule/wiring"
)

// The disk of a service's data directory is full: an upload that has no room there is refused, in words that
// say why, and leaves nothing. The service goes on, and takes the same when there is room.
func TestServeFullDisk(t *testing.T) {
	t.Parallel()
	local, _, _ := session(t, goodRecipe)
	if err := os.WriteFile(lockPath(local.Recipe), lockOf(t, local.Recipe, "3.10", sumA).Encode(), 0o644); err != nil {
		t.Fatal(err)
	}
	data := systemtest.Disk(t, "16m")
	a := startService(t, data, func(ctx context.Context, job queue.Job) (builds.Result, error) {
		return builds.Result{Digest: "sha256:" + sumA}, job.Claim(ctx, "sha256:"+sumA)
	})
	a.token = a.makeToken("me", "build:*")
	empty := fill(t, data)
	status, body := a.asks(http.MethodPost, "/v1/builds", a.token, bytes.NewReader(make([]byte, 4<<20)))
	var p problem.Problem
	if err := json.Unmarshal([]byte(body), &p); err != nil || status != http.StatusServiceUnavailable || p.Kind != faults.Machine.String() || !strings.Contains(p.Detail, "no space left on device") {
		t.Errorf("an upload: %d %s", status, body)
	}
	if left, err := os.ReadDir(filepath.Join(data, "tmp")); len(left) > 0 || err != nil {
		t.Errorf("left of it: %v, %v", left, err)
	}
	if status, body := a.asks(http.MethodGet, "/v1/builds", a.token, nil); status != http.StatusOK {
		t.Errorf("looking: %d %s", status, body)
	}
	empty()
	if code, out, errs := a.verb(filepath.Dir(local.Recipe), "build"); code != codeDone || out != "web@sha256:"+sumA+"\n" {
		t.Errorf("with room: %d %q %s", code, out, errs)
	}
}

// quickPlace is a worker's place on this machine's disk, whose builder builds nothing.
type quickPlace struct{ worker.Local }

// Builder implements [worker.Place].
func (quickPlace) Builder(bool, func(context.Context, string) error) (worker.Builder, error) {
	return quickBuilder{}, nil
}

type quickBuilder struct{ worker.Builder }

// Build implements [worker.Builder].
func (quickBuilder) Build(context.Context, builder.Request) (builder.Result, error) {
	return builder.Result{Digest: "sha256:" + sumA}, nil
}

// The disk of a worker's store is full: it gives the build back, who follows that is told why, and the build
// is done when there is room.
func TestServeFullWorker(t *testing.T) {
	t.Parallel()
	local, _, _ := session(t, goodRecipe)
	if err := os.WriteFile(lockPath(local.Recipe), lockOf(t, local.Recipe, "3.10", sumA).Encode(), 0o644); err != nil {
		t.Fatal(err)
	}
	disk := systemtest.Disk(t, "16m")
	parts, err := wiring.Open(config.Place{Store: filepath.Join(disk, "store")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := parts.Close(); err != nil {
			t.Error(err)
		}
	})
	a := startService(t, filepath.Join(t.TempDir(), "data"), submissions{quickPlace{worker.Local{Parts: parts}}, nil}.Run)
	a.token = a.makeToken("me", "build:*")
	empty := fill(t, disk)
	type end struct {
		code      int
		out, errs string
	}
	ended := make(chan end, 1)
	go func() {
		code, out, errs := a.verb(filepath.Dir(local.Recipe), "build")
		ended <- end{code, out, errs}
	}()
	for begun := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		if _, body := a.asks(http.MethodGet, "/v1/builds", a.token, nil); strings.Contains(body, `"state":"queued"`) && strings.Contains(body, `"attempt":1`) {
			break
		}
		if time.Since(begun) > time.Minute {
			t.Fatalf("the build is not given back: %s", a.errs)
		}
	}
	empty()
	if e := <-ended; e.code != codeDone || e.out != "web@sha256:"+sumA+"\n" || !strings.Contains(e.errs, "given back to the queue: ") || !strings.Contains(e.errs, "no space left on device") {
		t.Errorf("%d %q %s", e.code, e.out, e.errs)
	}
}

// fill fills the disk below a directory, and returns what makes room.
func fill(t *testing.T, dir string) (empty func()) {
	t.Helper()
	filler := systemtest.Fill(t, dir, 0)
	return func() {
		if err := os.Remove(filler); err != nil {
			t.Error(err)
		}
	}
}
