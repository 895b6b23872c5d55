package cli

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ampoule/faults"
	"ampoule/service/backup"
	"ampoule/service/builds"
	"ampoule/service/queue"
)

// put sends something to the service's registry.
func (a *aService) put(path, kind, body string) {
	a.t.Helper()
	req, err := http.NewRequestWithContext(a.t.Context(), http.MethodPut, a.url+path, strings.NewReader(body))
	if err != nil {
		a.t.Fatal(err)
	}
	req.Header.Set("Content-Type", kind)
	req.Header.Set("Authorization", "Bearer "+a.token)
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		a.t.Fatal(err)
	}
	defer answer.Body.Close()
	if said, err := io.ReadAll(answer.Body); answer.StatusCode != http.StatusCreated || err != nil {
		a.t.Fatalf("%s: %s %s %v", path, answer.Status, said, err)
	}
}

// admin calls `ampoule admin` as a person does beside a service.
func admin(t *testing.T, args ...string) (code int, out, errs string) {
	t.Helper()
	var stdout, stderr lockedBuffer
	s := &Session{In: strings.NewReader(""), Out: &stdout, Err: &stderr, Environ: []string{"HOME=" + t.TempDir()}}
	code = Main(s, append([]string{"admin"}, args...))
	return code, stdout.String(), stderr.String()
}

// A service that runs is backed up, lost, and put back: its keys, tokens and logs are there, and the build
// that was running runs again.
func TestAdminBackup(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	local, _, _ := session(t, goodRecipe)
	recipeDir := filepath.Dir(local.Recipe)
	if err := os.WriteFile(lockPath(local.Recipe), lockOf(t, local.Recipe, "3.10", sumA).Encode(), 0o600); err != nil {
		t.Fatal(err)
	}
	const index = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`
	published := fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(index)))
	started := make(chan string, 1)
	runs := func(ctx context.Context, job queue.Job) (builds.Result, error) {
		if job.Build.Kind == builds.KindLock {
			started <- job.Build.ID
			<-ctx.Done()
			return builds.Result{}, context.Cause(ctx)
		}
		return builds.Result{Digest: published}, job.Claim(ctx, published)
	}
	a := startService(t, filepath.Join(dir, "data"), runs)
	a.token = a.makeToken("me", "build:*", "push:*")
	a.put("/v2/web/manifests/1.0", "application/vnd.oci.image.index.v1+json", index)
	if code, out, errs := a.verb(recipeDir, "build"); code != codeDone || out != "web@"+published+"\n" {
		t.Fatalf("build: %d %q %s", code, out, errs)
	}
	waiting := make(chan int, 1)
	go func() {
		code, _, _ := a.verb(recipeDir, "lock")
		waiting <- code
	}()
	running := <-started

	dest := filepath.Join(dir, "backup")
	code, out, errs := admin(t, "backup", "--data", a.data, dest, "--output", "json")
	var made backup.Summary
	if err := json.Unmarshal([]byte(out), &made); code != codeDone || err != nil || made.Builds != 2 || made.Keys != 1 || made.Gone != 0 || !strings.Contains(errs, "it has secrets") {
		t.Fatalf("backup: %d %q %s", code, out, errs)
	}
	if code, _, errs := admin(t, "restore", "--data", a.data, dest); code != faults.Machine.Code() || !strings.Contains(errs, "stop it first") {
		t.Errorf("restore over the service: %d %s", code, errs)
	}
	if err := a.stop(); err != nil && faults.Of(err) != faults.Interrupted {
		t.Errorf("ending: %v", err)
	}
	<-waiting
	if err := os.RemoveAll(a.data); err != nil {
		t.Fatal(err)
	}
	if code, out, errs := admin(t, "restore", "--data", a.data, dest); code != codeDone || out != a.data+"\n" || !strings.Contains(errs, "2 builds, 1 keys") {
		t.Fatalf("restore: %d %q %s", code, out, errs)
	}
	token := a.token
	a = startService(t, a.data, runs)
	a.token = token
	if again := <-started; again != running {
		t.Errorf("build %s runs, and not %s", again, running)
	}
	if code, out, errs := a.verb(recipeDir, "build"); code != codeDone || out != "web@"+published+"\n" || !strings.Contains(errs, "published already") {
		t.Errorf("the key: %d %q %s", code, out, errs)
	}
	if code, out, errs := a.verb(recipeDir, "list"); code != codeDone || !strings.Contains(out, published[:19]) {
		t.Errorf("the registry: %d %q %s", code, out, errs)
	}
}

// Whoever has PostgreSQL, or another registry, is told what to do.
func TestAdminElsewhere(t *testing.T) {
	t.Parallel()
	for _, verb := range []string{"backup", "restore"} {
		if code, _, errs := admin(t, verb, "--database", "postgres://me:canary@db/x", "x"); code != codeUsage || !strings.Contains(errs, "pg_dump") || strings.Contains(errs, "canary") {
			t.Errorf("%s: %d %s", verb, code, errs)
		}
	}
	if code, _, errs := admin(t, "backup", "--data", t.TempDir(), "x"); code != faults.NotFound.Code() || !strings.Contains(errs, "pg_dump") {
		t.Errorf("no service: %d %s", code, errs)
	}
	if code, _, errs := admin(t, "restore", "--registry", "registry.example/x", "x"); code != codeUsage || !strings.Contains(errs, "--registry") {
		t.Errorf("restore elsewhere: %d %s", code, errs)
	}
	if code, _, errs := admin(t, "restore", "--data", t.TempDir(), t.TempDir()); code != faults.NotFound.Code() || !strings.Contains(errs, "is no backup") {
		t.Errorf("no backup: %d %s", code, errs)
	}
}
