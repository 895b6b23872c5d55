//go:build docker

package docker

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ampoule/builder/sandbox"
	"ampoule/builder/sandbox/sandboxtest"
)

// ownerVariable makes this test binary a process that owns a sandbox.
const ownerVariable = "AMPOULE_TEST_OWNER"

func TestMain(m *testing.M) {
	if args := strings.Split(os.Getenv(ownerVariable), " "); len(args) == 3 {
		if err := own(args[0], args[1], sandbox.ID(args[2])); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// own starts a sandbox and stays until it is killed.
func own(locks, store string, id sandbox.ID) error {
	ctx := context.Background()
	e, err := Open(ctx, Options{Locks: locks, Store: store})
	if err != nil {
		return err
	}
	if _, err := e.Start(ctx, sandbox.Spec{Image: id, Name: "owned"}); err != nil {
		return err
	}
	fmt.Println("ready")
	time.Sleep(time.Hour)
	return nil
}

// openStore connects as a process of a store.
func openStore(t *testing.T, locks, store string) *Engine {
	t.Helper()
	e, err := Open(t.Context(), Options{Locks: locks, Store: store})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_, err := e.RemoveImages(context.Background(), All)
		if err := errors.Join(err, e.Close()); err != nil {
			t.Error(err)
		}
	})
	return e
}

// testStore is a store id for one test.
func testStore() string { return "t" + strings.ToLower(sandboxtest.Unique()) }

func loadProbe(t *testing.T, e *Engine) sandbox.ID {
	t.Helper()
	id, err := e.Load(t.Context(), sandboxtest.Config(), sandboxtest.ProgramLayer(t))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// containers counts the containers of the engine's store.
func containers(t *testing.T, e *Engine) int {
	t.Helper()
	all, err := e.list(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

// startOwner starts a process that owns a sandbox.
func startOwner(t *testing.T, locks, store string, id sandbox.ID) *exec.Cmd {
	t.Helper()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), ownerVariable+"="+locks+" "+store+" "+string(id))
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if line != "ready\n" {
		t.Fatalf("the child says %q, %v", line, err)
	}
	t.Cleanup(func() {
		_ = child.Process.Kill()
		_ = child.Wait() // It was killed, or is waited for already.
	})
	return child
}

// A copy of a store's directory shows nothing about who lives: what the original's
// processes have running stays, even if both have one id.
func TestSweepOfCopy(t *testing.T) {
	t.Parallel()
	locks, store := t.TempDir(), testStore()
	e := openStore(t, locks, store)
	child := startOwner(t, locks, store, loadProbe(t, e))
	copied := filepath.Join(t.TempDir(), "copy")
	if out, err := exec.Command("cp", "-a", locks, copied).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, dir := range []string{copied, t.TempDir()} {
		openStore(t, dir, store)
		if n := containers(t, e); n != 1 {
			t.Errorf("a store with the locks %s has removed %d containers of another one", dir, 1-n)
		}
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait() // It was killed.
	if err := e.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := containers(t, e); n != 0 {
		t.Errorf("%d containers of a dead process are left", n)
	}
}

func TestSweep(t *testing.T) {
	t.Parallel()
	locks, store := t.TempDir(), testStore()
	e := openStore(t, locks, store)
	child := startOwner(t, locks, store, loadProbe(t, e))
	if err := e.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := containers(t, e); n != 1 {
		t.Errorf("%d containers of a living process are left of 1", n)
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait() // It was killed.

	other := openStore(t, t.TempDir(), testStore())
	if err := other.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := containers(t, e); n != 1 {
		t.Errorf("another store has removed %d containers of this one", 1-n)
	}
	openStore(t, locks, store)
	if n := containers(t, e); n != 0 {
		t.Errorf("%d containers of a dead process are left", n)
	}
	files, err := filepath.Glob(filepath.Join(locks, "*"))
	if err != nil || len(files) != 2 {
		t.Errorf("lock files %v, %v, want those of the two engines", files, err)
	}
}

func TestCancelRemovesContainer(t *testing.T) {
	t.Parallel()
	e := openStore(t, t.TempDir(), testStore())
	b, err := e.Start(t.Context(), sandbox.Spec{Image: loadProbe(t, e), Name: "x y/z"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	begin := time.Now()
	if err := b.Exec(ctx, sandboxtest.Probe("sleep")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("cancelling took %s", took)
	}
	if n := containers(t, e); n != 0 {
		t.Errorf("%d containers are left", n)
	}
}

func TestCloseRemovesContainers(t *testing.T) {
	t.Parallel()
	locks, store := t.TempDir(), testStore()
	watcher := openStore(t, locks, store)
	id := loadProbe(t, watcher)
	e, err := Open(t.Context(), Options{Locks: locks, Store: store})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Start(t.Context(), sandbox.Spec{Image: id, Name: "left"}); err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if n := containers(t, watcher); n != 0 {
		t.Errorf("%d containers are left", n)
	}
}

func TestContainerRemovedByOthers(t *testing.T) {
	t.Parallel()
	e := openStore(t, t.TempDir(), testStore())
	b, err := e.Start(t.Context(), sandbox.Spec{Image: loadProbe(t, e), Name: "gone"})
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(time.Second, func() {
		if err := e.remove(context.Background(), b.(*box).id); err != nil {
			t.Error(err)
		}
	})
	if err := b.Exec(t.Context(), sandboxtest.Probe("sleep")); !errors.Is(err, sandbox.ErrUnavailable) {
		t.Errorf("got %v, want one of a container that others ended", err)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
}
