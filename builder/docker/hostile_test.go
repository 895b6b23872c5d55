//go:build docker

package docker_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ampoule/builder/docker"
	"ampoule/builder/sandbox"
	"ampoule/builder/sandbox/sandboxtest"
)

// answers are what each attempt of the program must get: those that are not here are
// refused with EPERM, sockets of other families with EAFNOSUPPORT.
var answers = map[string]string{
	"clone3": "ENOSYS", "io_uring_setup": "ENOSYS", "io_setup": "ENOSYS", "userfaultfd": "ENOSYS", "process_vm_readv": "ENOSYS",
	"kcmp": "ENOSYS", "name_to_handle_at": "ENOSYS", "fanotify_init": "ENOSYS", "modify_ldt": "ENOSYS", "memfd_secret": "ENOSYS",
	"netlink generic": "EPROTONOSUPPORT", "netlink audit": "EPROTONOSUPPORT",
	"socket raw": "EPERM", "socket ping": "EPERM", "socket sctp": "EPERM", "socket mptcp": "EPERM",
	"32-bit call": "killed", "x32 call": "killed",
}

func wanted(what string) string {
	want, ok := answers[what]
	switch {
	case ok:
		return want
	case strings.HasPrefix(what, "fine: "):
		return "done"
	case strings.HasPrefix(what, "socket "):
		return "EAFNOSUPPORT"
	}
	return "EPERM"
}

func TestSystemCalls(t *testing.T) {
	t.Parallel()
	e := open(t)
	id := image(t, e)
	boxes := map[string]sandbox.Sandbox{"sealed": sandboxtest.Start(t, e, sandbox.Spec{Image: id, Name: t.Name()})}
	online, err := e.Online().StartOnline(t.Context(), sandbox.OnlineSpec{Image: id, Name: t.Name()})
	if err != nil {
		t.Fatal(err)
	}
	defer online.Close()
	boxes["online"] = online
	for kind, b := range boxes {
		got, want := map[string]string{}, map[string]string{}
		for line := range strings.Lines(sandboxtest.Output(t, b, "attempts")) {
			what, result := line[:strings.LastIndex(line, ": ")], line[strings.LastIndex(line, ": ")+2:]
			got[what], want[what] = strings.TrimSpace(result), wanted(what)
		}
		if diff := cmp.Diff(want, got); diff != "" || len(got) < 70 {
			t.Errorf("%s: %d attempts (-want +got):\n%s", kind, len(got), diff)
		}
	}
}

// begin starts a step that never ends, and returns the first line that it writes.
func begin(t *testing.T, b sandbox.Sandbox, args ...string) (first string, ended <-chan error) {
	t.Helper()
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		step := sandboxtest.Probe(args...)
		step.Stdout = w
		err := b.Exec(t.Context(), step)
		w.CloseWithError(errors.Join(err, io.EOF))
		done <- err
	}()
	first, err := bufio.NewReader(r).ReadString('\n')
	if err != nil {
		t.Fatalf("%s: %v", strings.Join(args, " "), err)
	}
	return strings.TrimSpace(first), done
}

// What the kernel counts for each user, one sandbox does not take from another, of this
// store or of others.
func TestUsersShareNothing(t *testing.T) {
	t.Parallel()
	e, other := open(t), open(t)
	greedy := sandboxtest.Start(t, e, sandbox.Spec{Image: image(t, e), Name: t.Name()})
	if got, _ := begin(t, greedy, "watchers"); got == "0" {
		t.Fatal("it got no watchers itself")
	}
	users := map[string]bool{sandboxtest.Output(t, greedy, "id"): true}
	for _, e := range []*docker.Engine{e, other} {
		b := sandboxtest.Start(t, e, sandbox.Spec{Image: image(t, e), Name: t.Name()})
		sandboxtest.Output(t, b, "watchers", "1")
		users[sandboxtest.Output(t, b, "id")] = true
	}
	if len(users) != 3 {
		t.Errorf("three sandboxes have the users %q", slices.Collect(maps.Keys(users)))
	}
}

// exceeded reports whether a sandbox was ended, or an export refused, for using too much.
func exceeded(t *testing.T, err error, resource sandbox.Resource, together bool) {
	t.Helper()
	var excess *sandbox.ExceededError
	if !errors.As(err, &excess) || excess.Resource != resource || excess.Together != together || excess.Hint() == "" && excess.Resource != sandbox.Processes {
		t.Errorf("got %v, want an ExceededError for %s", err, resource)
	}
}

const mib = 1 << 20

func TestFilesAreBounded(t *testing.T) {
	t.Parallel()
	e := open(t)
	b := sandboxtest.Start(t, e, sandbox.Spec{Image: image(t, e), Name: t.Name(), Limits: sandbox.Limits{Disk: 400 * mib}})
	if got := refused(t, b, "sparse", "/tmp/d/huge", strconv.Itoa(101*mib)); !strings.Contains(got, "file too large") {
		t.Errorf("a file that is too long: %s", got)
	}
	sandboxtest.Output(t, b, "sparse", "/tmp/d/one", strconv.Itoa(90*mib))
	exportAll(t, b, "/tmp/d", nil)
	sandboxtest.Output(t, b, "sparse", "/tmp/d/two", strconv.Itoa(90*mib))
	sandboxtest.Output(t, b, "sparse", "/tmp/d/three", strconv.Itoa(30*mib))
	var excess *sandbox.ExceededError
	exportAll(t, b, "/tmp/d", &excess)
	if excess == nil || excess.Resource != sandbox.Exported || excess.Limit != 200*mib || excess.Hint() == "" {
		t.Errorf("exporting 210 of 200 MiB: %v", excess)
	}
}

// exportAll exports a directory; excess is nil where that must succeed.
func exportAll(t *testing.T, b sandbox.Sandbox, dir string, excess **sandbox.ExceededError) {
	t.Helper()
	r, err := b.Export(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	n, err := io.Copy(io.Discard, r)
	r.Close()
	if excess == nil && err != nil || excess != nil && !errors.As(err, excess) {
		t.Errorf("exporting %s: %d bytes, %v", dir, n, err)
	}
}

func TestDiskIsBounded(t *testing.T) {
	t.Parallel()
	e := open(t)
	b := sandboxtest.Start(t, e, sandbox.Spec{Image: image(t, e), Name: t.Name(), Limits: sandbox.Limits{Disk: 100 * mib}})
	_, ended := begin(t, b, "fill", "/tmp/f", "20", "6")
	select {
	case err := <-ended:
		exceeded(t, err, sandbox.Disk, false)
	case <-time.After(20 * time.Second):
		t.Error("120 MiB were written where 100 are allowed, and nobody ends it")
	}
	if err := b.Exec(t.Context(), sandboxtest.Probe("exit", "0")); !errors.Is(err, sandbox.ErrClosed) {
		exceeded(t, err, sandbox.Disk, false)
	}
}

// openWith connects to the engine with a budget.
func openWith(t *testing.T, budget sandbox.Limits) *docker.Engine {
	t.Helper()
	e, err := docker.Open(t.Context(), docker.Options{Locks: t.TempDir(), Store: storeOf(t), Budget: budget})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_, err := e.RemoveImages(context.Background(), docker.All)
		if err := errors.Join(err, e.Close()); err != nil {
			t.Error(err)
		}
	})
	return e
}

// Each of two sandboxes uses what it may; together it is too much.
func TestTheSumIsBounded(t *testing.T) {
	t.Parallel()
	for resource, test := range map[sandbox.Resource]struct {
		budget sandbox.Limits
		steps  [2][]string
	}{
		sandbox.Memory: {sandbox.Limits{Memory: 200 * mib}, [2][]string{{"hold", "130"}, {"hold", "110"}}},
		sandbox.Disk:   {sandbox.Limits{Disk: 200 * mib}, [2][]string{{"fill", "/tmp/f", "26", "5"}, {"fill", "/tmp/f", "22", "5"}}},
	} {
		t.Run(string(resource), func(t *testing.T) {
			t.Parallel()
			e := openWith(t, test.budget)
			var ends [2]<-chan error
			for i, step := range test.steps {
				limits := sandbox.Limits{Memory: 200 * mib, Disk: 200 * mib}
				b := sandboxtest.Start(t, e, sandbox.Spec{Image: image(t, e), Name: fmt.Sprint(t.Name(), i), Limits: limits})
				_, ends[i] = begin(t, b, step...)
			}
			select {
			case err := <-ends[0]:
				exceeded(t, err, resource, true)
			case err := <-ends[1]:
				t.Errorf("the one that used less was ended: %v", err)
			case <-time.After(20 * time.Second):
				t.Error("nobody was ended")
			}
		})
	}
}

// What has begun is not ended for what begins: that waits.
func TestSandboxWaitsForRoom(t *testing.T) {
	t.Parallel()
	e := openWith(t, sandbox.Limits{Memory: 200 * mib})
	limits := sandbox.Limits{Memory: 200 * mib}
	first := sandboxtest.Start(t, e, sandbox.Spec{Image: image(t, e), Name: t.Name(), Limits: limits})
	// A second one has the watch look at memory.
	sandboxtest.Start(t, e, sandbox.Spec{Image: image(t, e), Name: t.Name(), Limits: limits})
	begin(t, first, "hold", "170")
	time.Sleep(3 * time.Second)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if b, err := e.Start(ctx, sandbox.Spec{Image: image(t, e), Name: t.Name(), Limits: limits}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a third one got %v, %v; it is to wait", b, err)
	}
	started := make(chan error, 1)
	go func() {
		b, err := e.Start(t.Context(), sandbox.Spec{Image: image(t, e), Name: t.Name(), Limits: limits})
		if err == nil {
			err = b.Close()
		}
		started <- err
	}()
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	if err := <-started; err != nil {
		t.Error(err)
	}
}

// An online container has the bounds that sandboxes have.
func TestOnlineIsBounded(t *testing.T) {
	t.Parallel()
	e := open(t)
	bounded := sandbox.BoundedOnline{Online: e.Online(), Time: time.Minute, Limits: sandbox.Limits{Memory: 96 * mib, Disk: 40 * mib}}
	b, err := bounded.StartOnline(t.Context(), sandbox.OnlineSpec{Image: image(t, e), Name: t.Name()})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	refused(t, b, "sparse", "/tmp/huge", strconv.Itoa(11*mib))
	var exit *sandbox.ExitError
	if err := b.Exec(t.Context(), sandboxtest.Probe("hog")); !errors.As(err, &exit) || !exit.OutOfMemory {
		t.Errorf("hog: got %v, want an ExitError for want of memory", err)
	}
}
