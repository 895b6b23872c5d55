package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"ampoule/builder/progress"
	"ampoule/cmd/ampoule/display"
	"ampoule/faults"
	"ampoule/registry/tokens"
	"ampoule/service/builds"
	"ampoule/service/queue"
	"ampoule/service/submission"
	"ampoule/store"
	"ampoule/wiring"
)

// made runs builds as a function says.
type made func(ctx context.Context, job queue.Job) (builds.Result, error)

func (f made) Run(ctx context.Context, job queue.Job) (builds.Result, error) { return f(ctx, job) }

// aService is `ampoule serve` in this process, over a data directory, with a runner of the test's.
type aService struct {
	t         *testing.T
	data, url string
	token     string
	errs      *lockedBuffer
	stop      func() error
}

func startService(t *testing.T, data string, run made) *aService {
	t.Helper()
	return startServiceIn(t, data, "", run)
}

// startServiceIn is as startService, with another store than the data directory's, and changes of its
// flags.
func startServiceIn(t *testing.T, data, at string, run made, changes ...func(*serving)) *aService {
	t.Helper()
	a := &aService{t: t, data: data, errs: &lockedBuffer{}}
	address := &lockedBuffer{}
	s := &Session{In: strings.NewReader(""), Out: address, Err: a.errs, Store: at, Output: Text, Progress: display.Plain, Environ: append(tracesEnviron(), "HOME="+data)}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	o := serving{data: serviceData{dir: data}, slots: 2, quota: 50, limit: time.Hour, logForm: "json", archiveBytes: 10 << 20}
	o.Listen = "127.0.0.1:0"
	for _, change := range changes {
		change(&o)
	}
	go func() {
		ended <- Serve(ctx, s, o, func(_ context.Context, w *wiring.Parts) (queue.Runner, error) {
			if w.Reach == nil {
				return nil, errors.New("submissions may reach every address")
			}
			return run, nil
		})
	}()
	var once sync.Once
	a.stop = func() (err error) {
		once.Do(func() {
			cancel()
			err = <-ended
		})
		return err
	}
	t.Cleanup(func() { _ = a.stop() })
	for begun := time.Now(); !strings.HasSuffix(address.String(), "\n"); time.Sleep(5 * time.Millisecond) {
		select {
		case err := <-ended:
			t.Fatalf("the service ended: %v\n%s", err, a.errs)
		default:
		}
		if time.Since(begun) > time.Minute {
			t.Fatalf("the service does not answer: %s", a.errs)
		}
	}
	a.url = strings.TrimSpace(address.String())
	return a
}

// verb calls the program about a recipe's directory, with the service in this machine's place.
func (a *aService) verb(dir string, args ...string) (code int, out, errs string) {
	a.t.Helper()
	var stdout, stderr lockedBuffer
	s := &Session{In: strings.NewReader(""), Out: &stdout, Err: &stderr, Environ: []string{"HOME=" + dir, "AMPOULE_SERVER=" + a.url, "AMPOULE_TOKEN=" + a.token}}
	code = Main(s, append([]string{"-f", filepath.Join(dir, "ampoule.yaml"), "--store", filepath.Join(dir, "store"), "--progress", "plain"}, args...))
	return code, stdout.String(), stderr.String()
}

// makeToken makes a token as a person does, beside the server that runs.
func (a *aService) makeToken(name string, scopes ...string) string {
	a.t.Helper()
	var out, errs bytes.Buffer
	args := []string{"token", "create", name, "--data", a.data}
	for _, scope := range scopes {
		args = append(args, "--scope", scope)
	}
	if code := Main(&Session{In: strings.NewReader(""), Out: &out, Err: &errs, Environ: []string{"HOME=" + a.data}}, args); code != codeDone {
		a.t.Fatalf("%d: %s", code, errs.String())
	}
	return strings.TrimSpace(out.String())
}

// openedJob reads what a job was submitted with.
func openedJob(ctx context.Context, t *testing.T, job queue.Job) (submission.Submission, error) {
	archive, err := job.Archive(ctx)
	if err != nil {
		return submission.Submission{}, err
	}
	defer archive.Close()
	return submission.Open(ctx, archive, t.TempDir(), submission.Usual)
}

// A person's way through a service: a token, a lock, a build, its logs, and the same build again,
// with the results, messages and exit codes of this machine.
func TestServe(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	recipeDir := filepath.Join(dir, "web")
	local, _, _ := session(t, goodRecipe)
	lock := lockOf(t, local.Recipe, "3.10", sumA)
	if err := os.CopyFS(recipeDir, os.DirFS(filepath.Dir(local.Recipe))); err != nil {
		t.Fatal(err)
	}
	runs := 0
	var mu sync.Mutex
	a := startService(t, filepath.Join(dir, "data"), func(ctx context.Context, job queue.Job) (builds.Result, error) {
		mu.Lock()
		runs++
		mu.Unlock()
		in, err := openedJob(ctx, t, job)
		if err != nil {
			return builds.Result{}, err
		}
		if job.Build.Kind == builds.KindLock {
			sum, err := job.Keep(ctx, bytes.NewReader(lock.Encode()))
			return builds.Result{Lock: sum}, err
		}
		if in.Lock == nil {
			return builds.Result{}, errors.New("the lock did not come along")
		}
		task := progress.Start(ctx, progress.StageWheel, "six")
		task.Tell("something to see")
		task.End(nil)
		if err := job.Claim(ctx, "sha256:"+sumA); err != nil {
			return builds.Result{}, err
		}
		return builds.Result{Digest: "sha256:" + sumA}, nil
	})
	if !strings.Contains(a.errs.String(), "there is no token") {
		t.Errorf("nobody says that there is no token: %s", a.errs)
	}
	if code, _, errs := a.verb(recipeDir, "build"); code != faults.Input.Code() || !strings.Contains(errs, "there is no lock") {
		t.Errorf("without a lock: %d %s", code, errs)
	}
	if code, _, errs := a.verb(recipeDir, "lock"); code != faults.Refused.Code() || !strings.Contains(errs, "this needs a token") || !strings.Contains(errs, "hint: ") {
		t.Errorf("without a token: %d %s", code, errs)
	}
	a.token = a.makeToken("me", "build:*")
	if code, out, errs := a.verb(recipeDir, "lock"); code != codeDone || !strings.Contains(out, "ampoule.lock") || !strings.Contains(errs, "locked CPython 3.13.5") {
		t.Fatalf("lock: %d %q %s", code, out, errs)
	}
	if written, err := os.ReadFile(lockPath(filepath.Join(recipeDir, "ampoule.yaml"))); err != nil || !bytes.Equal(written, lock.Encode()) {
		t.Errorf("another lock was written: %v", err)
	}
	code, out, errs := a.verb(recipeDir, "build")
	if code != codeDone || out != "web@sha256:"+sumA+"\n" || !strings.Contains(errs, "something to see") || !strings.Contains(errs, "done  wheel six") {
		t.Fatalf("build: %d %q %s\n%s", code, out, errs, a.errs)
	}
	before := runs
	if code, out, errs := a.verb(recipeDir, "build"); code != codeDone || out != "web@sha256:"+sumA+"\n" || !strings.Contains(errs, "published already") || runs != before {
		t.Errorf("again: %d %q %s, %d runs", code, out, errs, runs-before)
	}
	if code, out, errs := a.verb(recipeDir, "plan"); code != codeDone || !strings.Contains(out, "key       sha256:") || !strings.Contains(errs, "the key is published") {
		t.Errorf("plan: %d %q %s", code, out, errs)
	}
	if code, out, errs := a.verb(recipeDir, "logs"); code != codeDone || strings.Count(out, "\n") != 2 || !strings.Contains(out, "sha256:"+sumA[:12]) || !strings.Contains(out, "locked") {
		t.Errorf("logs: %d %q %s", code, out, errs)
	}
	if code, out, errs := a.verb(recipeDir, "logs", "latest"); code != codeDone || !strings.Contains(out, "something to see") {
		t.Errorf("logs latest: %d %q %s", code, out, errs)
	}
	if code, out, errs := a.verb(recipeDir, "list"); code != codeDone || out != "" || !strings.Contains(errs, "nothing is published there") {
		t.Errorf("list: %d %q %s", code, out, errs)
	}
	if code, _, errs := a.verb(recipeDir, "build", "--jobs", "2"); code != codeUsage || !strings.Contains(errs, "--jobs is about this machine") {
		t.Errorf("a flag of this machine: %d %s", code, errs)
	}
	// A second process of the data directory ends, and the first one goes on.
	other := &Session{In: strings.NewReader(""), Out: io.Discard, Err: io.Discard, Output: Text, Environ: []string{"HOME=" + dir}}
	o := serving{data: serviceData{dir: a.data}, logForm: "text"}
	o.Listen = "127.0.0.1:0"
	if err := Serve(t.Context(), other, o, nil); faults.Of(err) != faults.Machine {
		t.Errorf("a second process: %v", err)
	}
	secret := strings.Split(a.token, "_")[2]
	if strings.Contains(a.errs.String(), secret) || !strings.Contains(a.errs.String(), `"caller":"me"`) {
		t.Errorf("the log: %s", a.errs)
	}
	if err := a.stop(); err != nil && faults.Of(err) != faults.Interrupted {
		t.Errorf("ending: %v", err)
	}
}

// Networks that submissions may reach are read, or what is wrong with them is told.
func TestServeReach(t *testing.T) {
	t.Parallel()
	all, err := networks([]string{"10.1.2.3/16", "192.168.0.7", "fd00::1"})
	if got := fmt.Sprint(all); err != nil || got != "[10.1.0.0/16 192.168.0.7/32 fd00::1/128]" {
		t.Errorf("%s, %v", got, err)
	}
	var errs bytes.Buffer
	code := Main(&Session{In: strings.NewReader(""), Out: io.Discard, Err: &errs, Environ: []string{"HOME=" + t.TempDir()}}, []string{"serve", "--reach", "intranet"})
	if code != codeUsage || !strings.Contains(errs.String(), `"intranet" is neither an address nor a network`) {
		t.Errorf("%d: %s", code, errs.String())
	}
}

// The tokens of a service are its own, whichever store it builds in.
func TestServeInAnotherStore(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	shared := filepath.Join(dir, "shared")
	a := startServiceIn(t, filepath.Join(dir, "data"), shared, nil)
	a.token = a.makeToken("me", "read:*")
	if code, _, errs := a.verb(dir, "list"); code != codeDone || !strings.Contains(errs, "nothing is published there") {
		t.Errorf("list: %d %s", code, errs)
	}
	st, err := store.Open(shared)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	if armed, err := tokens.Open(st).Any(); err != nil || armed {
		t.Errorf("the shared store has tokens: %t, %v", armed, err)
	}
}

// A build that fails at a service ends with the kind, the message and the hints of the failure.
func TestServedBuildFails(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	local, _, _ := session(t, goodRecipe)
	if err := os.WriteFile(lockPath(local.Recipe), lockOf(t, local.Recipe, "3.10", sumA).Encode(), 0o644); err != nil {
		t.Fatal(err)
	}
	started, release := make(chan struct{}, 1), make(chan struct{})
	a := startService(t, filepath.Join(dir, "data"), func(ctx context.Context, _ queue.Job) (builds.Result, error) {
		started <- struct{}{}
		select {
		case <-release:
			return builds.Result{}, faults.New(faults.Build, "add libpq-dev", "six: its build ended with code 1")
		case <-ctx.Done():
			return builds.Result{}, context.Cause(ctx)
		}
	})
	a.token = a.makeToken("me", "build:*")
	recipeDir := filepath.Dir(local.Recipe)
	type end struct {
		code int
		errs string
	}
	ended := make(chan end, 1)
	go func() {
		code, _, errs := a.verb(recipeDir, "build")
		ended <- end{code, errs}
	}()
	<-started
	close(release)
	if e := <-ended; e.code != faults.Build.Code() || !strings.Contains(e.errs, "six: its build ended with code 1") || !strings.Contains(e.errs, "hint: add libpq-dev") {
		t.Errorf("%d: %s", e.code, e.errs)
	}
}

// A build that is cancelled ends for who follows it, and in the worker.
func TestServedBuildIsCancelled(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	local, _, _ := session(t, goodRecipe)
	if err := os.WriteFile(lockPath(local.Recipe), lockOf(t, local.Recipe, "3.10", sumA).Encode(), 0o644); err != nil {
		t.Fatal(err)
	}
	started, stopped := make(chan string, 1), make(chan error, 1)
	a := startService(t, filepath.Join(dir, "data"), func(ctx context.Context, job queue.Job) (builds.Result, error) {
		started <- job.Build.ID
		<-ctx.Done()
		stopped <- context.Cause(ctx)
		return builds.Result{}, context.Cause(ctx)
	})
	a.token = a.makeToken("me", "build:*")
	recipeDir := filepath.Dir(local.Recipe)
	ended := make(chan int, 1)
	var said string
	go func() {
		code, _, errs := a.verb(recipeDir, "build")
		said = errs
		ended <- code
	}()
	id := <-started
	code, out, errs := a.verb(recipeDir, "cancel", id, "--output", "json")
	var b struct{ ID string }
	if err := json.Unmarshal([]byte(out), &b); code != codeDone || err != nil || b.ID != id {
		t.Errorf("cancel: %d %q %s", code, out, errs)
	}
	var cancelled *builds.CancelledError
	if err := <-stopped; !errors.As(err, &cancelled) {
		t.Errorf("the worker's build ended: %v", err)
	}
	if code := <-ended; code != faults.Interrupted.Code() || !strings.Contains(said, "error: build "+id+" was cancelled by me\n") {
		t.Errorf("who followed it ended with %d: %s", code, said)
	}
	if code, out, errs := a.verb(recipeDir, "cancel", id); code != codeDone || out != "cancelled\n" {
		t.Errorf("cancelling it again: %d %q %s", code, out, errs)
	}
	if code, out, errs := a.verb(recipeDir, "logs"); code != codeDone || !strings.Contains(out, "  cancelled  ") {
		t.Errorf("logs: %d %q %s", code, out, errs)
	}
}

func TestCancelNeedsAService(t *testing.T) {
	t.Parallel()
	if code, _, errs := run(t, "cancel", "b1", "--server", "none"); code != codeUsage || !strings.Contains(errs, "--server") {
		t.Errorf("%d %s", code, errs)
	}
	if code, _, errs := run(t, "logs", "--server", "ftp://x"); code != codeUsage || !strings.Contains(errs, "not the address of a server") {
		t.Errorf("%d %s", code, errs)
	}
	if code, _, errs := run(t, "serve", "--listen", "0.0.0.0:0"); code != codeUsage || !strings.Contains(errs, "--tls-cert") {
		t.Errorf("%d %s", code, errs)
	}
}

// What is wished of a build reaches the worker, and a second build is told of; in a pipeline, too.
func TestServedWishes(t *testing.T) {
	t.Parallel()
	local, _, _ := session(t, goodRecipe)
	if err := os.WriteFile(lockPath(local.Recipe), lockOf(t, local.Recipe, "3.10", sumA).Encode(), 0o644); err != nil {
		t.Fatal(err)
	}
	jobs := make(chan builds.Build, 2)
	same := true
	a := startService(t, filepath.Join(t.TempDir(), "data"), func(ctx context.Context, job queue.Job) (builds.Result, error) {
		jobs <- job.Build
		if job.Build.Force {
			return builds.Result{Digest: "sha256:" + sumA, Second: "sha256:" + sumA, Same: &same}, nil
		}
		return builds.Result{Digest: "sha256:" + sumA}, job.Claim(ctx, "sha256:"+sumA)
	})
	a.token = a.makeToken("me", "build:*")
	dir := filepath.Dir(local.Recipe)
	exported := filepath.Join(dir, "ampoule.env")
	if code, out, errs := a.verb(dir, "ci", "build", "--system", "shell", "--priority", "3", "--limit", "30m", "--export", exported); code != codeDone || out != "web@sha256:"+sumA+"\n" {
		t.Fatalf("ci build: %d %q %s", code, out, errs)
	}
	if b := <-jobs; b.Priority != 3 || b.Limit != 30*time.Minute || b.Force {
		t.Errorf("%+v", b)
	}
	if text, err := os.ReadFile(exported); err != nil || !strings.Contains(string(text), "AMPOULE_DIGEST=sha256:"+sumA) {
		t.Errorf("%s, %v", text, err)
	}
	code, out, errs := a.verb(dir, "build", "--force")
	if code != codeDone {
		t.Fatalf("build --force: %d %s", code, errs)
	}
	if b := <-jobs; out != "web@sha256:"+sumA+"\n" || !b.Force || !strings.Contains(errs, "it was built a second time, and has the same bits") {
		t.Errorf("build --force: %d %q %s", code, out, errs)
	}
	if code, _, errs := a.verb(dir, "build", "--priority", "11"); code == codeDone || !strings.Contains(errs, "priority") {
		t.Errorf("a priority that there is not: %d %s", code, errs)
	}
	if code, _, errs := a.verb(dir, "lock", "--limit", "1ms"); code != codeUsage || !strings.Contains(errs, "less than a second") {
		t.Errorf("no time: %d %s", code, errs)
	}
}
