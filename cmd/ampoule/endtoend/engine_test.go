//go:build docker

package endtoend

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"

	"ampoule/service/access/issuers/issuertest"
)

// engine is a Docker engine of the test's own, whose disk is of a size.
type engine struct {
	dir     string
	command *exec.Cmd
}

func newEngine(t *testing.T) *engine {
	t.Helper()
	e := &engine{dir: t.TempDir()}
	if err := os.Mkdir(e.disk(), 0o700); err != nil {
		t.Fatal(err)
	}
	run(t, "mount", "-t", "tmpfs", "-o", "size=3g", "ampoule-test", e.disk())
	t.Cleanup(func() {
		if err := syscall.Unmount(e.disk(), 0); err != nil {
			t.Errorf("unmounting %s: %v", e.disk(), err)
		}
	})
	t.Cleanup(func() { e.stop(t) })
	e.start(t)
	return e
}

func (e *engine) disk() string { return filepath.Join(e.dir, "disk") }
func (e *engine) host() string { return "unix://" + filepath.Join(e.dir, "socket") }

// start starts the engine and waits until it answers.
func (e *engine) start(t *testing.T) {
	t.Helper()
	file, err := os.OpenFile(filepath.Join(e.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	name := fmt.Sprintf("ampoule-test-%d", os.Getpid())
	e.command = exec.Command("dockerd", "--data-root", e.disk(), "--exec-root", filepath.Join(e.dir, "exec"),
		"--pidfile", filepath.Join(e.dir, "pid"), "--host", e.host(), "--bridge", "none", "--iptables=false", "--ip6tables=false",
		"--containerd-namespace", name, "--containerd-plugins-namespace", name+"-plugins")
	e.command.Stdout, e.command.Stderr = file, file
	// It has no bridge, and in a network of its own it takes that of no other engine away.
	e.command.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGTERM}
	if err := e.command.Start(); err != nil {
		t.Fatal(err)
	}
	for range 300 {
		if exec.Command("docker", "--host", e.host(), "version").Run() == nil {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	told, _ := os.ReadFile(file.Name())
	t.Fatalf("the engine does not answer:\n%s", last(string(told), 2000))
}

// stop ends the engine as a restart of its service does.
func (e *engine) stop(t *testing.T) {
	t.Helper()
	if e.command == nil {
		return
	}
	kill := time.AfterFunc(time.Minute, func() {
		t.Error("the engine does not end")
		_ = e.command.Process.Kill()
	})
	defer kill.Stop()
	if err := e.command.Process.Signal(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	_ = e.command.Wait() // it tells the signal
	e.command = nil
}

// containers lists all that the engine has.
func (e *engine) containers(t *testing.T) string {
	t.Helper()
	return run(t, "docker", "--host", e.host(), "ps", "--all", "--format", "{{.Names}} {{.Status}}")
}

// compiles waits until the build of a fault's wheel has begun.
func (e *engine) compiles(t *testing.T) {
	t.Helper()
	for range 600 {
		name, _, _ := strings.Cut(e.containers(t), " ")
		if strings.HasPrefix(name, "ampoule-wheel-victim") {
			// It may have ended by now.
			processes, _ := exec.Command("docker", "--host", e.host(), "top", name).Output()
			if strings.Contains(string(processes), "hook.py") {
				return
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Error("no wheel is compiled")
}

// fill fills the engine's disk but for some bytes, and returns what empties it again.
func (e *engine) fill(t *testing.T, free int64) func() {
	t.Helper()
	var disk syscall.Statfs_t
	if err := syscall.Statfs(e.disk(), &disk); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(e.disk(), "filler")
	file, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := syscall.Fallocate(int(file.Fd()), 0, 0, int64(disk.Bavail)*disk.Bsize-free); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := os.Remove(name); err != nil {
			t.Error(err)
		}
	}
}

// newRegistry is a registry that holds what one test publishes.
func newRegistry(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// unpublished wants a registry to have no repository.
func unpublished(t *testing.T, address string) {
	t.Helper()
	if list := repositories(t, address); strings.Contains(list, "fault-engine") {
		t.Errorf("published: %s", list)
	}
}

func repositories(t *testing.T, address string) string {
	t.Helper()
	resp, err := http.Get("http://" + address + "/v2/_catalog")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	list, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("asking for repositories: %s, %v", resp.Status, err)
	}
	return string(list)
}

// TestEngineFaults has an engine's disk fill up and the engine restart while a build
// runs. Then the same build gives what it gives elsewhere.
func TestEngineFaults(t *testing.T) {
	alone(t)
	f := newFaultWorld(t)
	e := newEngine(t)
	var mend func()
	full := func(t *testing.T) { mend = e.fill(t, 40<<20) }
	// The victim is another one each time, since its wheel is remembered.
	nonce := fmt.Sprintf("%d", time.Now().UnixNano())
	for _, fault := range []struct {
		name, does string
		// before happens before the build, during while it compiles; what they broke
		// mend mends.
		before, during func(t *testing.T)
		code           int
		says           []string
	}{
		{name: "disk full while images are loaded", does: `pass`, before: full, code: 6, says: []string{"no space left on device", "docker system df"}},
		{name: "disk full while a wheel is built", does: `
    time.sleep(8)
    for i in range(100):
        open("filler%d" % i, "wb").write(bytes(1 << 20))`, during: func(t *testing.T) {
			e.compiles(t)
			full(t)
		}, code: 6, says: []string{"No space left on device", "docker system df"}},
		{name: "stopped while a wheel is built", does: `time.sleep(10)`, during: func(t *testing.T) {
			e.compiles(t)
			e.stop(t)
			mend = func() { e.start(t) }
		}, code: 6, says: []string{"the engine was stopped"}},
	} {
		t.Run(fault.name, func(t *testing.T) {
			does := fault.does + "\n    # " + nonce
			f.env = []string{"DOCKER_HOST=" + e.host()}
			if fault.before != nil {
				fault.before(t)
			}
			wait := f.startAfresh(t, does)
			if fault.during != nil {
				fault.during(t)
			}
			_, errs, code := wait()
			if code != fault.code {
				t.Errorf("exit code %d, want %d:\n%s", code, fault.code, last(errs, 4000))
			}
			for _, says := range fault.says {
				if !strings.Contains(errs, says) {
					t.Errorf("it does not say %q:\n%s", says, last(errs, 4000))
				}
			}
			mend()
			again, errs, code := f.startAfresh(t, does)()
			if code != 0 {
				t.Fatalf("the next build: exit code %d\n%s", code, last(errs, 4000))
			}
			if list := e.containers(t); list != "" {
				t.Errorf("containers: %s", list)
			}
			f.elsewhere(t, does, again)
		})
	}
	t.Run("a service waits", func(t *testing.T) { outlastedByService(t, f, e, "time.sleep(6)\n    # "+nonce) })
}

// elsewhere wants the machine's own engine to give the same digest.
func (f *faultWorld) elsewhere(t *testing.T, does, digest string) {
	t.Helper()
	f.env = nil
	if got, errs, code := f.startAfresh(t, does)(); got != digest || code != 0 {
		t.Errorf("built %s, elsewhere %q, code %d\n%s", digest, got, code, last(errs, 4000))
	}
}

// outlastedByService has a service build while its registry is away, and while the engine restarts: the
// build waits in the queue each time, who follows it is told why, and it gives what it gives elsewhere. The
// caller is not trusted, so what it has built is not signed.
func outlastedByService(t *testing.T, f *faultWorld, e *engine, does string) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	issuer := issuertest.New(t)
	access := filepath.Join(t.TempDir(), "access.yaml")
	text := "apiVersion: ampoule/v1\nissuers: [{name: ci, url: \"" + issuer.URL + "\", audience: ampoule}]\nrules: [{issuer: ci, match: {repository_id: 42}, scopes: [\"build:*\"]}]\n"
	if err := os.WriteFile(access, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s := startServed(t, func(s *served) {
		s.flags, s.env = []string{"--registry", address, "--access", access}, []string{"DOCKER_HOST=" + e.host(), "AMPOULE_KEPT=" + f.kept}
	})
	s.token = issuer.Token(issuer.Claims("ampoule", map[string]any{"repository_id": "42"}))
	id, end := s.begin(f.write(t, "engine", does), "given back to the queue")
	if listener, err = net.Listen("tcp", address); err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: registry.New(registry.Logger(log.New(io.Discard, "", 0)))} //nolint:gosec // it serves this test
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	e.compiles(t)
	e.stop(t)
	e.start(t)
	done := end()
	_, digest, _ := strings.Cut(done.out, "@")
	for _, why := range []string{"connection refused", "the engine was stopped"} {
		if !strings.Contains(done.errs, why) {
			t.Errorf("nobody says %q", why)
		}
	}
	var build struct {
		State   string
		Attempt int
	}
	if s.get("/v1/builds/"+id, &build); build.State != "done" || build.Attempt != 3 || done.code != 0 {
		t.Fatalf("%+v, code %d\n%s", build, done.code, last(done.errs, 4000))
	}
	if list := e.containers(t); list != "" {
		t.Errorf("containers: %s", list)
	}
	if tags := s.tags("http://"+address, "fault-engine"); strings.Contains(tags, ".sig") {
		t.Errorf("it is signed: %s", tags)
	}
	f.elsewhere(t, does, digest)
}

// startAfresh starts a build that finds nothing under its key, and returns what waits for
// its digest. What fails has published nothing.
func (f *faultWorld) startAfresh(t *testing.T, does string) func() (digest, errs string, code int) {
	t.Helper()
	address := newRegistry(t)
	wait := f.start(t, "engine", does, "--registry", address)
	return func() (string, string, int) {
		out, errs, code := wait()
		if code != 0 {
			unpublished(t, address)
		} else if list := repositories(t, address); !strings.Contains(list, "fault-engine") {
			t.Errorf("not published: %s", list)
		}
		_, digest, _ := strings.Cut(out, "@")
		return digest, errs, code
	}
}
