package install

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// known are artifacts by the names of their releases.
type known map[string]*source

// artifacts makes an artifact of each program.
func artifacts(t testing.TB, programs ...string) (all []*source, byRelease known) {
	t.Helper()
	byRelease = known{}
	for _, program := range programs {
		s := newSource(t, program, sample(t, program))
		all, byRelease[releaseName(s.description.Digest)] = append(all, s), s
	}
	return all, byRelease
}

// check tells what of a root could be seen and is not whole: every release that is
// there, and the current one. Releases that are damaged on purpose are left out.
func (k known) check(root string, damaged map[string]bool) error {
	names, err := os.ReadDir(filepath.Join(root, releasesName))
	if err != nil {
		return err
	}
	for _, name := range names {
		s, ok := k[name.Name()]
		if !ok || damaged[name.Name()] {
			continue
		}
		if err := holds(filepath.Join(root, releasesName, name.Name()), s.whole); err != nil {
			return err
		}
	}
	target, err := os.Readlink(filepath.Join(root, currentName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if _, ok := k[strings.TrimPrefix(target, releasesName+"/")]; err != nil || !ok {
		return errors.Join(errors.New("current leads to "+target), err)
	}
	return nil
}

// Installations of the same artifact and of others below one root wait for one
// another, and whoever looks meanwhile sees whole releases alone.
func TestConcurrentInstallations(t *testing.T) {
	t.Parallel()
	root := filepath.Join(tempDir(t), "not", "there", "yet")
	sources, byRelease := artifacts(t, "one", "two", "three")
	mustInstall(t, sources[0], root)
	done := make(chan struct{})
	var installing, watching sync.WaitGroup
	watching.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			if err := byRelease.check(root, nil); err != nil {
				t.Error(err)
				return
			}
			// Several may be switched to meanwhile; each is whole.
			if raw, err := os.ReadFile(filepath.Join(root, "current", "bin", "python3")); err != nil || len(raw) == 0 {
				t.Errorf("current: %q (%v)", raw, err)
				return
			}
		}
	})
	for range 4 {
		for _, s := range sources {
			installing.Go(func() {
				if got, err := Install(t.Context(), s, "web", Options{Root: root, Platform: platform}); err != nil || got.Repaired {
					t.Errorf("installed %+v: %v", got, err)
				}
			})
		}
	}
	installing.Wait()
	close(done)
	watching.Wait()
	checkNothingUnfinished(t, root)
	for _, s := range sources {
		if again := mustInstall(t, s, root); !again.Present {
			t.Errorf("installed again: %+v", again)
		}
		if _, err := verify(t, root, s.description.Digest); err != nil {
			t.Error(err)
		}
	}
}

// The first installations below a root that is not there make it once.
func TestConcurrentFirstInstallations(t *testing.T) {
	t.Parallel()
	root := filepath.Join(tempDir(t), "a", "b", "web")
	sources, byRelease := artifacts(t, "one", "two")
	var installing sync.WaitGroup
	for range 4 {
		for _, s := range sources {
			installing.Go(func() {
				if _, err := Install(t.Context(), s, "web", Options{Root: root, Platform: platform}); err != nil {
					t.Error(err)
				}
			})
		}
	}
	installing.Wait()
	if err := byRelease.check(root, nil); err != nil {
		t.Error(err)
	}
}

// installer starts another process that installs a program and is about to begin.
func installer(t *testing.T, root, program string, before bool) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestKillProcess$", "-test.count=1")
	cmd.Env = append(os.Environ(), "INSTALL_ROOT="+root, "INSTALL_PROGRAM="+program)
	if before {
		cmd.Env = append(cmd.Env, "INSTALL_BEFORE=wait")
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, len("ready"))); err != nil {
		t.Fatal(err)
	}
	return cmd
}

// TestKillProcess is the other process of the tests that kill one.
func TestKillProcess(t *testing.T) {
	program, root := os.Getenv("INSTALL_PROGRAM"), os.Getenv("INSTALL_ROOT")
	if program == "" {
		return
	}
	s := newSource(t, program, sample(t, program))
	o := Options{Root: root, Platform: platform}
	ready := func() { _, _ = os.Stdout.WriteString("ready") }
	if os.Getenv("INSTALL_BEFORE") == "" {
		ready()
	} else {
		o.Before = func(context.Context, Candidate) error {
			ready()
			time.Sleep(time.Minute)
			return nil
		}
	}
	if _, err := Install(t.Context(), s, "web", o); err != nil {
		t.Fatal(err)
	}
}

// TestKilledAtAnyMoment kills installations from their beginning to their end, also
// those that replace a damaged release. Whatever can be seen is whole each time, and
// the next one finds nothing in its way.
func TestKilledAtAnyMoment(t *testing.T) {
	t.Parallel()
	root := filepath.Join(tempDir(t), "web")
	programs := []string{"one", "two", "three"}
	sources, byRelease := artifacts(t, programs...)
	// What this test damaged may be whole again; it need not.
	damaged := map[string]bool{}
	for i := range 45 {
		which := i % len(programs)
		release := sources[which].release(root)
		if i%2 == 1 {
			// What is written in its place would damage the other releases, too.
			flask := filepath.Join(release, "lib", "flask.py")
			if err := errors.Join(os.Remove(flask), os.WriteFile(flask, []byte("evil"), 0o600)); err == nil {
				damaged[filepath.Base(release)] = true
			}
		} else if err := removeTree(release); err == nil {
			delete(damaged, filepath.Base(release))
		}
		if target, _ := os.Readlink(filepath.Join(root, currentName)); filepath.Base(target) == filepath.Base(release) {
			_ = os.Remove(filepath.Join(root, currentName)) // it is this test that damaged it
		}
		cmd := installer(t, root, programs[which], false)
		time.Sleep(time.Duration(rand.Int64N(int64(12 * time.Millisecond))))
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if err := byRelease.check(root, damaged); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("after kill %d: %v", i, err)
		}
	}
	for _, s := range sources {
		mustInstall(t, s, root)
		if _, err := verify(t, root, s.description.Digest); err != nil {
			t.Error(err)
		}
	}
	checkNothingUnfinished(t, root)
}

// Killed after a release is in its place and before it is the current one.
func TestKilledBeforeTheSwitch(t *testing.T) {
	t.Parallel()
	root := tempDir(t)
	sources, byRelease := artifacts(t, "one", "two")
	mustInstall(t, sources[0], root)
	cmd := installer(t, root, "two", true)
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if got := current(t, root); got != "one" {
		t.Errorf("current is %q", got)
	}
	if err := byRelease.check(root, nil); err != nil {
		t.Error(err)
	}
	if again := mustInstall(t, sources[1], root); !again.Present || current(t, root) != "two" {
		t.Errorf("installed again: %+v, current is %q", again, current(t, root))
	}
	checkNothingUnfinished(t, root)
}
