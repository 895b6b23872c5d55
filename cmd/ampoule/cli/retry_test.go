package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ampoule/builder/progress"
	"ampoule/faults"
	"ampoule/service/builds"
	"ampoule/service/queue"
	"ampoule/service/wire"
)

// A build and a lock that failed at a service are repeated there, with the progress, results and
// exit codes of the verbs that submit.
func TestServedRetry(t *testing.T) {
	t.Parallel()
	local, _, _ := session(t, goodRecipe)
	dir := filepath.Dir(local.Recipe)
	lock := lockOf(t, local.Recipe, "3.10", sumA).Encode()
	if err := os.WriteFile(lockPath(local.Recipe), lock, 0o644); err != nil {
		t.Fatal(err)
	}
	a := startService(t, filepath.Join(t.TempDir(), "data"), func(ctx context.Context, job queue.Job) (builds.Result, error) {
		task := progress.Start(ctx, progress.StageWheel, "six")
		defer task.End(nil)
		if job.Build.RetryOf == "" {
			return builds.Result{}, faults.New(faults.Build, "add gcc", "six: its build ended with code 1")
		}
		if job.Build.Kind == builds.KindLock {
			sum, err := job.Keep(ctx, bytes.NewReader(lock))
			return builds.Result{Lock: sum}, err
		}
		return builds.Result{Digest: "sha256:" + sumA}, job.Claim(ctx, "sha256:"+sumA)
	})
	a.token = a.makeToken("me", "build:*")
	last := func() string {
		var all []wire.Build
		code, out, errs := a.verb(dir, "logs", "--output", "json")
		if err := json.Unmarshal([]byte(out), &all); code != codeDone || err != nil || len(all) == 0 {
			t.Fatalf("logs: %d %q %s", code, out, errs)
		}
		return all[0].ID
	}
	if code, _, errs := a.verb(dir, "build"); code != faults.Build.Code() || !strings.Contains(errs, "six: its build ended") {
		t.Fatalf("build: %d %s", code, errs)
	}
	code, out, errs := a.verb(dir, "retry", last())
	if code != codeDone || out != "web@sha256:"+sumA+"\n" || !strings.Contains(errs, "done  wheel six") {
		t.Errorf("retry: %d %q %s", code, out, errs)
	}
	if code, _, errs := a.verb(dir, "retry", last()); code != faults.Refused.Code() || !strings.Contains(errs, "done") {
		t.Errorf("what is done: %d %s", code, errs)
	}
	if code, _, errs := a.verb(dir, "lock"); code != faults.Build.Code() {
		t.Fatalf("lock: %d %s", code, errs)
	}
	if code, out, errs := a.verb(dir, "retry", last()); code != codeDone || out != string(lock) {
		t.Errorf("retry of a lock: %d %q %s", code, out, errs)
	}
	if code, _, errs := a.verb(dir, "retry", "b1"); code != faults.NotFound.Code() || !strings.Contains(errs, "b1") {
		t.Errorf("what is not there: %d %s", code, errs)
	}
}

// A service says as whom it knows its caller, and nothing of the token but its ID.
func TestServedWhoAmI(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a := startService(t, filepath.Join(dir, "data"), nil)
	if code, _, errs := a.verb(dir, "whoami"); code != faults.Refused.Code() || !strings.Contains(errs, "this needs a token") {
		t.Errorf("nobody: %d %s", code, errs)
	}
	a.token = a.makeToken("me", "build:web/*", "pull:*")
	code, out, errs := a.verb(dir, "whoami")
	for _, want := range []string{"caller   me\n", "scopes   build:web/*, pull:*\n", "trusted  yes\n", "until    2"} {
		if code != codeDone || !strings.Contains(out, want) {
			t.Errorf("nobody says %q: %d %q %s", want, code, out, errs)
		}
	}
	var who wire.Who
	code, out, _ = a.verb(dir, "whoami", "--output", "json")
	if err := json.Unmarshal([]byte(out), &who); code != codeDone || err != nil || who.Name != "me" || who.ID == "" || who.Expires.IsZero() || strings.Contains(out, a.token) {
		t.Errorf("%d %q: %v", code, out, err)
	}
}
