package once

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/builder/progress"
	"ampoule/store"
)

// childVariable makes the test binary a process that makes the thing in a store. It says when it
// begins, and goes on with the first line of its input.
const childVariable = "ONCE_TEST_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childVariable); dir != "" {
		if err := child(dir); err != nil {
			fmt.Println("fault:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func child(dir string) error {
	st, err := store.Open(dir)
	if err != nil {
		return err
	}
	ctx := progress.Of(context.Background(), "elsewhere")
	_, _, err = Remembered(ctx, st, progress.Later(ctx, progress.StageWheel, "x==1"), kind, key, func(ctx context.Context) (string, error) {
		fmt.Println("making", progress.Self(ctx).Build)
		if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
			return "", err
		}
		sum, _, err := st.Put(ctx, strings.NewReader("made"))
		return sum, err
	})
	return err
}

// process is a child that makes the thing.
type process struct {
	*exec.Cmd
	in io.WriteCloser
	// build is its build's ID.
	build string
}

func startProcess(t *testing.T, st *store.Store) *process {
	t.Helper()
	p := &process{Cmd: exec.CommandContext(t.Context(), os.Args[0])}
	p.Env = append(os.Environ(), childVariable+"="+st.Root())
	p.Stderr = os.Stderr
	out, err := p.StdoutPipe()
	if err == nil {
		p.in, err = p.StdinPipe()
	}
	if err == nil {
		err = p.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	build, ok := strings.CutPrefix(strings.TrimSpace(line), "making ")
	if !ok {
		t.Fatalf("the process says %q, %v", line, err)
	}
	p.build = build
	return p
}

// expectProcess expects that a maker waits for another process.
func expectProcess(t *testing.T, m *maker, p *process) {
	t.Helper()
	e, ok := m.Await(m.ctx, progress.Waiting)
	if !ok {
		t.Fatal("it is not told that it waits")
	}
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	want := progress.Holder{Build: p.build, Recipe: "elsewhere", Process: p.Process.Pid, Host: host, Since: e.Holder.Since}
	if diff := cmp.Diff(want, *e.Holder); diff != "" || e.Holder.Since.IsZero() {
		t.Errorf("it waits for (-want +got):\n%s", diff)
	}
}

// Of two processes that want one thing one makes it, and the other one waits for that process.
func TestTwoProcesses(t *testing.T) {
	t.Parallel()
	st, made := openStore(t), &atomic.Int64{}
	other := startProcess(t, st)
	m := newMaker(t, st, made, "web")
	ended := m.start()
	expectProcess(t, m, other)
	if _, err := io.WriteString(other.in, "go on\n"); err != nil {
		t.Fatal(err)
	}
	if got := <-ended; got.err != nil || !got.found || made.Load() != 0 {
		t.Errorf("%+v, made here %d times", got, made.Load())
	}
	if err := other.Wait(); err != nil {
		t.Error(err)
	}
}

// A maker that is killed leaves it to one of those who wait; the others are told of the new one.
func TestKilledMaker(t *testing.T) {
	t.Parallel()
	st, made := openStore(t), &atomic.Int64{}
	other := startProcess(t, st)
	makers := []*maker{newMaker(t, st, made, "web"), newMaker(t, st, made, "web")}
	var ended []chan outcome
	for _, m := range makers {
		ended = append(ended, m.start())
	}
	for _, m := range makers {
		expectProcess(t, m, other)
		m.Events()
	}
	if err := other.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = other.Wait()
	next, waits := 0, 1
	select {
	case <-makers[0].begun:
	case <-makers[1].begun:
		next, waits = 1, 0
	case <-t.Context().Done():
		t.Fatal("nobody makes it")
	}
	expectHolder(t, makers[waits], makers[next].Feed.Build(), "web")
	makers[next].resume <- nil
	a, b := <-ended[next], <-ended[waits]
	if a.err != nil || b.err != nil || a.found || !b.found || made.Load() != 1 {
		t.Errorf("%+v and %+v, made %d times", a, b, made.Load())
	}
}
