//go:build postgres

package queue

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"ampoule/service/builds"
	"ampoule/service/database"
	"ampoule/service/database/databasetest"
)

// frozenURL is the variable by which the test program becomes a worker of that database.
const frozenURL = "AMPOULE_TEST_FROZEN_URL"

const (
	// frozenLease is short, so that the test is. On a busy machine it may end although the worker
	// lives: then the build has another attempt.
	frozenLease = 1500 * time.Millisecond
	// outageLease is long enough for a busy worker to prolong it before a server that is back has others
	// take the build, and outageTime is longer than it.
	outageLease = 3 * time.Second
	outageTime  = outageLease + 500*time.Millisecond
)

// runFrozen is a worker in a process of its own. It says when it has a build, waits for a line,
// and then tries to publish.
func runFrozen() int {
	ctx := context.Background()
	db, err := database.Open(ctx, database.Options{URL: os.Getenv(frozenURL)})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	q, err := New(ctx, Config{DB: db, Lease: frozenLease, Attempts: 1000})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	if os.Getenv(steadyWorker) != "" {
		return runSteady(ctx, q)
	}
	running, end := context.WithCancel(ctx)
	fake := &runner{do: func(ctx context.Context, job Job) (builds.Result, error) {
		fmt.Println("leased")
		// What builds does not look at its context all the time.
		if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
			return builds.Result{}, err
		}
		err := job.Claim(context.WithoutCancel(ctx), "sha256:zombie")
		fmt.Printf("claim: %v\n", err)
		end()
		return builds.Result{Digest: "sha256:zombie"}, err
	}}
	w, err := NewWorker(WorkerConfig{Queue: q, Runner: fake, Platform: platform, Drain: time.Minute})
	if err == nil {
		err = w.Run(running)
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

// A worker that is frozen past its lease loses its build. When it thaws, it publishes nothing.
func TestFrozenWorker(t *testing.T) {
	t.Parallel()
	url := cluster.Database(t)
	db := databasetest.Open(t, database.Options{URL: url})
	q := open(t, db, Config{Lease: frozenLease})
	id := submit(t, q, team, ask(1)).Build.ID

	zombie := exec.CommandContext(t.Context(), os.Args[0])
	zombie.Env = append(os.Environ(), frozenURL+"="+url)
	in, err := zombie.StdinPipe()
	must(t, err)
	out, err := zombie.StdoutPipe()
	must(t, err)
	zombie.Stderr = os.Stderr
	must(t, zombie.Start())
	lines := bufio.NewScanner(out)
	if !lines.Scan() || lines.Text() != "leased" {
		t.Fatalf("the worker says %q", lines.Text())
	}
	must(t, zombie.Process.Signal(syscall.SIGSTOP))

	w, _ := work(t, q, WorkerConfig{Runner: &runner{}})
	b := await(t, q, id, "done", ended)
	if b.State != builds.Done || b.Worker != w.ID() || b.Attempt < 2 || b.Result.Digest != digestOf(keyOf(1)) {
		t.Errorf("%+v", b)
	}
	must(t, zombie.Process.Signal(syscall.SIGCONT))
	_, err = fmt.Fprintln(in)
	must(t, err)
	if !lines.Scan() || lines.Text() != fmt.Sprintf("claim: publishing build %s: the lease 1 of build %s has ended: nothing of it counts any more", id, id) {
		t.Errorf("the thawed worker says %q", lines.Text())
	}
	if err := zombie.Wait(); err != nil {
		t.Error(err)
	}
	if after := get(t, q, id); after.Result.Digest != b.Result.Digest || after.Fence != b.Fence {
		t.Errorf("the thawed worker has changed the build: %+v", after)
	}
	checkHistory(t, db, []string{id}, true)
}

// A worker that is killed loses its build to another one.
func TestKilledWorker(t *testing.T) {
	t.Parallel()
	url := cluster.Database(t)
	db := databasetest.Open(t, database.Options{URL: url})
	q := open(t, db, Config{Lease: frozenLease})
	id := submit(t, q, team, ask(1)).Build.ID
	victim := exec.CommandContext(t.Context(), os.Args[0])
	victim.Env = append(os.Environ(), frozenURL+"="+url)
	_, err := victim.StdinPipe()
	must(t, err)
	out, err := victim.StdoutPipe()
	must(t, err)
	must(t, victim.Start())
	if lines := bufio.NewScanner(out); !lines.Scan() || lines.Text() != "leased" {
		t.Fatalf("the worker says %q", lines.Text())
	}
	must(t, victim.Process.Kill())
	var killed *exec.ExitError
	if err := victim.Wait(); !errors.As(err, &killed) {
		t.Errorf("the worker ends with %v", err)
	}
	work(t, q, WorkerConfig{Runner: &runner{}})
	if b := await(t, q, id, "done", ended); b.State != builds.Done || b.Attempt < 2 {
		t.Errorf("%+v", b)
	}
	checkHistory(t, db, []string{id}, true)
}

// Two processes share the work, whoever the submission came to. River tells the other one.
func TestTwoQueues(t *testing.T) {
	t.Parallel()
	url := cluster.Database(t)
	api := open(t, databasetest.Open(t, database.Options{URL: url}), Config{})
	db := databasetest.Open(t, database.Options{URL: url})
	work(t, open(t, db, Config{}), WorkerConfig{Runner: &runner{}, Slots: 2})
	var ids []string
	for i := range 10 {
		ids = append(ids, submit(t, api, team, ask(i)).Build.ID)
	}
	for _, id := range ids {
		if b := await(t, api, id, "done", ended); b.State != builds.Done {
			t.Errorf("%+v", b)
		}
	}
	checkHistory(t, db, ids, true)
}

// The server stops for a while, as if it crashed, in the middle of a build: nothing is lost, and
// nothing built twice.
func TestServerCrash(t *testing.T) {
	t.Parallel()
	own, err := databasetest.Start(t.Context())
	must(t, err)
	t.Cleanup(func() {
		if err := own.Stop(); err != nil {
			t.Error(err)
		}
	})
	db := databasetest.Open(t, database.Options{URL: own.URL("postgres")})
	q := open(t, db, Config{Lease: outageLease})
	begun, end := make(chan struct{}), make(chan struct{})
	fake := &runner{do: func(ctx context.Context, job Job) (builds.Result, error) {
		close(begun)
		<-end
		return builds.Result{Digest: digestOf(job.Build.Key)}, nil
	}}
	work(t, q, WorkerConfig{Runner: fake, Drain: time.Minute})
	id := submit(t, q, team, ask(1)).Build.ID
	<-begun
	must(t, own.Halt(true))
	_, err = q.Submit(t.Context(), team, ask(2))
	want[*database.UnavailableError](t, "a submission meanwhile", err)
	close(end)
	time.Sleep(outageTime)
	must(t, own.Run(t.Context()))
	deadline := time.Now().Add(patience)
	for {
		b, err := q.Get(t.Context(), id)
		if err == nil && b.State.Terminal() {
			if b.State != builds.Done || b.Attempt != 1 || fake.ran(id) != 1 {
				t.Errorf("%+v, %d runs", b, fake.ran(id))
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the build has not ended: %+v, %v", b, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
	checkHistory(t, db, []string{id}, true)
}

// steadyWorker is the variable by which the test program is a worker that goes on.
const steadyWorker = "AMPOULE_TEST_STEADY_WORKER"

// runSteady is a worker whose builds take a moment.
func runSteady(ctx context.Context, q *Queue) int {
	fake := &runner{do: func(ctx context.Context, job Job) (builds.Result, error) {
		time.Sleep(rand.N(300 * time.Millisecond))
		return succeed(ctx, job)
	}}
	w, err := NewWorker(WorkerConfig{Queue: q, Runner: fake, Platform: platform, Slots: 2})
	if err == nil {
		err = w.Run(ctx)
	}
	fmt.Println(err)
	return 1
}

// Workers are killed all the time. Every build ends once, well, with its own digest.
func TestKilledAllTheTime(t *testing.T) {
	t.Parallel()
	const workers, number, kills = 3, 40, 12
	url := cluster.Database(t)
	db := databasetest.Open(t, database.Options{URL: url})
	apis := []*Queue{open(t, db, Config{Lease: frozenLease, Attempts: 1000}), open(t, databasetest.Open(t, database.Options{URL: url}), Config{Lease: frozenLease, Attempts: 1000})}
	start := func() *exec.Cmd {
		cmd := exec.CommandContext(context.WithoutCancel(t.Context()), os.Args[0])
		cmd.Env = append(os.Environ(), frozenURL+"="+url, steadyWorker+"=1")
		cmd.Stderr = os.Stderr
		must(t, cmd.Start())
		return cmd
	}
	kill := func(cmd *exec.Cmd) {
		must(t, cmd.Process.Kill())
		var killed *exec.ExitError
		if err := cmd.Wait(); !errors.As(err, &killed) {
			t.Errorf("a worker ends with %v", err)
		}
	}
	var running []*exec.Cmd
	for range workers {
		running = append(running, start())
	}
	var ids []string
	for i := range number {
		ids = append(ids, submit(t, apis[i%2], team, ask(i)).Build.ID)
	}
	for range kills {
		time.Sleep(300 * time.Millisecond)
		i := rand.N(workers)
		kill(running[i])
		running[i] = start()
	}
	lost := 0
	for i, id := range ids {
		b := await(t, apis[i%2], id, "done", ended)
		if b.State != builds.Done || b.Result.Digest != digestOf(keyOf(i)) {
			t.Errorf("%+v", b)
		}
		lost += b.Attempt - 1
	}
	for _, cmd := range running {
		kill(cmd)
	}
	t.Logf("%d leases were lost", lost)
	checkHistory(t, db, ids, true)
}
