//go:build docker

package toolchain_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"ampoule/builder/docker"
	"ampoule/builder/fetch"
	"ampoule/builder/locking/apt"
	"ampoule/builder/sandbox"
	"ampoule/builder/toolchain"
	"ampoule/config"
	"ampoule/recipes"
	"ampoule/store"
	"ampoule/tree"
)

const suite = "bookworm"

// TestDebian makes a base and a layer of packages twice, under conditions as
// different as two machines', and expects the same bytes.
func TestDebian(t *testing.T) {
	st := openStore(t)
	fetcher := newFetcher(t, st)
	base, extra := resolve(t, fetcher)
	first := makeBoth(t, st, fetcher, base, extra)

	elsewhere := openStore(t)
	copyContent(t, st, elsewhere, append(base, extra...))
	var second sandbox.Image
	onOtherMachine(t, func() { second = makeBoth(t, elsewhere, fetcher, base, extra) })
	for i := range first.Layers {
		if first.Layers[i].DiffID != second.Layers[i].DiffID {
			t.Errorf("layer %d: %s here, %s elsewhere", i, first.Layers[i].DiffID, second.Layers[i].DiffID)
		}
	}
	compile(t, st, first)
}

func openStore(t *testing.T) *store.Store {
	t.Helper()
	st, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return st
}

func newFetcher(t *testing.T, st *store.Store) *fetch.Fetcher {
	t.Helper()
	set, err := config.Read(os.Environ(), "")
	if err != nil {
		t.Fatal(err)
	}
	return fetch.New(st, fetch.Config{Sources: set.Inputs.Sources, Environ: set.Inputs.Environ, Network: set.Place.Network})
}

// resolve locks a base and, on it, a compiler, certificates (whose update is a
// trigger) and dbus (which adds a user and would start a service).
func resolve(t *testing.T, f *fetch.Fetcher) (base, extra []recipes.Deb) {
	t.Helper()
	found, err := f.Sources().Debian(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	mirrors := apt.Mirrors{Network: f.Sources().Network()}
	for _, m := range found {
		if m.Security {
			mirrors.Security = append(mirrors.Security, m.URL)
		} else {
			mirrors.Archive = append(mirrors.Archive, m.URL)
		}
	}
	// As root, apt is another user, who has to get there.
	dir := t.TempDir()
	for _, d := range []string{dir, filepath.Dir(dir)} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	r, err := apt.Open(t.Context(), filepath.Join(dir, "apt"), suite, mirrors)
	if err != nil {
		t.Fatal(err)
	}
	if base, err = r.Resolve(t.Context(), nil, nil); err != nil {
		t.Fatal(err)
	}
	installed, err := r.Stanzas(t.Context(), base, nil)
	if err != nil {
		t.Fatal(err)
	}
	if extra, err = r.Resolve(t.Context(), installed, []string{"g++", "libc6-dev", "ca-certificates", "dbus"}); err != nil {
		t.Fatal(err)
	}
	return base, extra
}

// makeBoth makes the base, and the layers on it in a Docker sandbox.
func makeBoth(t *testing.T, st *store.Store, f *fetch.Fetcher, base, extra []recipes.Deb) sandbox.Image {
	t.Helper()
	engine := openEngine(t, st)
	var log bytes.Buffer
	locked := toolchain.Locked{
		Stage: toolchain.New(st, f, engine, engine), Platform: "linux/amd64", Log: &log,
		Lock: &recipes.Lock{
			Debian: map[string]recipes.Suite{suite: append(slices.Clone(base), extra...)},
			Base:   recipes.LockedBase{Suite: suite, Packages: names(base)}, Toolchain: names(extra),
		},
	}
	image, err := locked.Toolchain(t.Context())
	if err != nil {
		t.Fatalf("%v\n%s", err, log.Bytes())
	}
	return image
}

func names(debs []recipes.Deb) []string {
	list := make([]string, len(debs))
	for i, d := range debs {
		list[i] = d.Name
	}
	return list
}

func openEngine(t *testing.T, st *store.Store) *docker.Engine {
	t.Helper()
	engine, err := docker.Open(t.Context(), docker.Options{Locks: st.Dir(store.Owners), Store: "toolchain-" + strings.ToLower(rand.Text())})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_, err := engine.RemoveImages(context.Background(), docker.All)
		if err := errors.Join(err, engine.Close()); err != nil {
			t.Error(err)
		}
	})
	return engine
}

// copyContent spares the second machine the download.
func copyContent(t *testing.T, from, to *store.Store, debs []recipes.Deb) {
	t.Helper()
	for _, d := range debs {
		f, err := from.Open(d.SHA256)
		if err != nil {
			t.Fatal(err)
		}
		err = to.PutExpected(t.Context(), f, d.SHA256)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
	}
}

// onOtherMachine runs a function on a thread with another host name, resolver,
// umask, environment and directory for temporary files.
func onOtherMachine(t *testing.T, f func()) {
	t.Helper()
	for name, value := range map[string]string{
		"TMPDIR": t.TempDir(), "LANG": "tr_TR.UTF-8", "TZ": "Asia/Tokyo", "APT_CONFIG": "/nonexistent", "DEBIAN_FRONTEND": "readline",
	} {
		t.Setenv(name, value)
	}
	dir := t.TempDir()
	done := make(chan error, 1)
	go func() {
		// The thread is never unlocked: it ends with the goroutine, changed as it is.
		runtime.LockOSThread()
		err := moveThread(dir)
		if err == nil {
			f()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatalf("moving to another machine (this test needs root): %v", err)
	}
}

// moveThread changes what this thread and its children see.
func moveThread(dir string) error {
	if err := syscall.Unshare(syscall.CLONE_NEWUTS | syscall.CLONE_NEWNS | syscall.CLONE_FS); err != nil {
		return err
	}
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := syscall.Sethostname([]byte("elsewhere")); err != nil {
		return err
	}
	syscall.Umask(0o027)
	for name, content := range map[string]string{"hostname": "elsewhere\n", "resolv.conf": "nameserver 192.0.2.53\n"} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			return err
		}
		if err := syscall.Mount(file, "/etc/"+name, "", syscall.MS_BIND, ""); err != nil {
			return err
		}
	}
	return nil
}

// compile shows that the image has a working compiler, that what a library throws is
// caught, that the compiler does not tell where it ran, and that nothing of how the
// image was made is in it.
func compile(t *testing.T, st *store.Store, image sandbox.Image) {
	t.Helper()
	engine := openEngine(t, st)
	id, err := engine.Load(t.Context(), image.Config, image.Layers...)
	if err != nil {
		t.Fatal(err)
	}
	box, err := engine.Start(t.Context(), sandbox.Spec{Image: id, Name: "toolchain test"})
	if err != nil {
		t.Fatal(err)
	}
	defer box.Close()
	sources, err := tree.New([]tree.Entry{
		tree.FileEntry("f.cc", 0o644, []byte(`extern "C" int f(int x) { try { if (x) throw 1; } catch (int) { return 7; } return 0; }`)),
		tree.FileEntry("a.c", 0o644, []byte("#include <stdio.h>\nint f(int); int main(void) { puts(__FILE__); return f(1); }")),
	})
	if err == nil {
		err = sandbox.ImportTree(t.Context(), box, sandbox.WorkDir, sources)
	}
	if err != nil {
		t.Fatal(err)
	}
	const script = `cd /tmp; g++ -shared -fPIC -o libf.so ` + sandbox.WorkDir + `/f.cc; gcc -o a ` + sandbox.WorkDir + `/a.c $PWD/libf.so; ./a; echo $?
dpkg --audit; ls /usr/sbin/policy-rc.d /var/cache/ampoule 2>/dev/null; ls /var/log; getent passwd messagebus | cut -d: -f1`
	var out bytes.Buffer
	err = box.Exec(context.WithoutCancel(t.Context()), sandbox.Step{Args: []string{"/bin/sh", "-c", script}, Env: image.Config.Env, Stdout: &out, Stderr: &out})
	if err != nil {
		t.Fatalf("%v: %s", err, out.Bytes())
	}
	if got := strings.Join(strings.Fields(out.String()), " "); got != "/usr/src/ampoule/a.c 7 apt messagebus" {
		t.Errorf("got %q", got)
	}
}
