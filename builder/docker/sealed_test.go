//go:build docker

package docker_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"net"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"ampoule/builder/docker"
	"ampoule/builder/sandbox"
	"ampoule/builder/sandbox/sandboxtest"
	"ampoule/tree"
)

// image loads the test image.
func image(t *testing.T, e *docker.Engine, more ...sandbox.Layer) sandbox.ID {
	t.Helper()
	id, err := e.Load(t.Context(), sandboxtest.Config(), append([]sandbox.Layer{sandboxtest.ProgramLayer(t)}, more...)...)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// refused runs a step that must fail by itself, with exit code 1, and returns what it said.
func refused(t *testing.T, b sandbox.Sandbox, args ...string) string {
	t.Helper()
	var out bytes.Buffer
	step := sandboxtest.Probe(args...)
	step.Stdout, step.Stderr = &out, &out
	err := b.Exec(t.Context(), step)
	var exit *sandbox.ExitError
	if !errors.As(err, &exit) || exit.Code != 1 {
		t.Errorf("probe %s: got %v, want exit code 1\n%s", strings.Join(args, " "), err, out.String())
	}
	return out.String()
}

// listen opens what a sandbox must not reach: a TCP port and an abstract socket.
func listen(t *testing.T) (port, abstract string) {
	t.Helper()
	tcp, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tcp.Close() })
	abstract = "ampoule-test-" + sandboxtest.Unique()
	unix, err := net.Listen("unix", "@"+abstract)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close() })
	_, port, err = net.SplitHostPort(tcp.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port, abstract
}

// hostAddresses lists this machine's addresses.
func hostAddresses(t *testing.T) []string {
	t.Helper()
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	var ips []string
	for _, a := range addresses {
		if ip, ok := a.(*net.IPNet); ok && !ip.IP.IsLinkLocalUnicast() {
			ips = append(ips, ip.IP.String())
		}
	}
	return ips
}

func TestNoEgress(t *testing.T) {
	t.Parallel()
	e := open(t)
	b := sandboxtest.Start(t, e, sandbox.Spec{Image: image(t, e), Name: t.Name()})
	port, abstract := listen(t)
	for _, ip := range hostAddresses(t) {
		refused(t, b, "connect", "tcp", net.JoinHostPort(ip, port))
	}
	for _, args := range [][]string{
		{"connect", "tcp", "192.0.2.1:80"},
		{"connect", "udp", "192.0.2.1:53"},
		{"connect", "udp", "172.17.0.1:53"},
		{"connect", "tcp6", "[2001:db8::1]:80"},
		{"connect", "udp6", "[2001:db8::1]:53"},
		{"connect", "udp6", "[ff02::1%lo]:5353"},
		{"connect", "tcp", "169.254.169.254:80"},
		{"connect", "udp", "169.254.169.254:80"},
		{"connect", "tcp6", "[fd00:ec2::254]:80"},
		{"connect", "unix", "/var/run/docker.sock"},
		{"connect", "unix", "/run/docker.sock"},
		{"connect", "unix", "/run/containerd/containerd.sock"},
		{"abstract", abstract},
		{"resolve", "example.com."},
		{"resolve", "example.com.", "192.0.2.1:53"},
		{"resolve", "example.com.", "127.0.0.11:53"},
	} {
		refused(t, b, args...)
	}
}

// TestProbesReach shows that the probes of TestNoEgress can succeed.
func TestProbesReach(t *testing.T) {
	t.Parallel()
	e := open(t)
	b, err := e.Online().StartOnline(t.Context(), sandbox.OnlineSpec{Image: image(t, e), Name: t.Name()})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	port, abstract := listen(t)
	reached := 0
	for _, ip := range hostAddresses(t) {
		if err := b.Exec(t.Context(), sandboxtest.Probe("connect", "tcp", net.JoinHostPort(ip, port))); err == nil {
			reached++
		}
	}
	if reached == 0 {
		t.Error("an online container does not reach this machine")
	}
	refused(t, b, "connect", "unix", "/var/run/docker.sock")
	refused(t, b, "abstract", abstract)
	refused(t, b, "become")
	if got := sandboxtest.Output(t, b, "id"); strings.HasPrefix(got, "0") {
		t.Errorf("an online container runs as %q", got)
	}
}

func TestOnlineIsNoRunner(t *testing.T) {
	t.Parallel()
	if _, ok := any(&docker.Online{}).(sandbox.Runner); ok {
		t.Error("Online is a Runner")
	}
}

func TestNoRights(t *testing.T) {
	t.Parallel()
	e := open(t)
	// The same program again, setuid and setgid root.
	layer := sandboxtest.TarLayer(t, []*tar.Header{{Name: "bin/probe", Mode: 0o6755}}, map[string]string{"bin/probe": program(t)})
	id := image(t, e, layer)
	b := sandboxtest.Start(t, e, sandbox.Spec{Image: id, Name: t.Name()})
	refused(t, b, "become")
	refused(t, b, "write", "/etc/passwd", "root::0:0::/:/bin/sh")
	refused(t, b, "write", "/proc/sys/kernel/core_pattern", "|/bin/probe")
	refused(t, b, "cat", "/proc/kcore")
	status := sandboxtest.Output(t, b, "cat", "/proc/self/status")
	user, _, _ := strings.Cut(sandboxtest.Output(t, b, "id"), " ")
	for _, want := range []string{
		strings.ReplaceAll("Uid:\tN\tN\tN\tN\n", "N", user), strings.ReplaceAll("Gid:\tN\tN\tN\tN\n", "N", user), "CapEff:\t0000000000000000\n", "CapBnd:\t0000000000000000\n",
		"NoNewPrivs:\t1\n", "Seccomp:\t2\n",
	} {
		if !strings.Contains(status, want) {
			t.Errorf("a step's status lacks %q:\n%s", want, status)
		}
	}
	const internal = 1<<31 | 1<<32 // the C library's own signals (nptl(7))
	for _, key := range []string{"SigIgn", "SigBlk"} {
		_, rest, _ := strings.Cut(status, key+":\t")
		text, _, _ := strings.Cut(rest, "\n")
		if mask, err := strconv.ParseUint(text, 16, 64); err != nil || mask&^internal != 0 {
			t.Errorf("a step starts with %s %q", key, text)
		}
	}
	if got := sandboxtest.Output(t, b, "cat", "/proc/sys/kernel/hostname"); got != "ampoule\n" {
		t.Errorf("the host name is %q", got)
	}
	packages := sandboxtest.Start(t, e, sandbox.Spec{Image: id, Name: t.Name(), Profile: sandbox.InstallPackages})
	for _, key := range []string{"CapPrm", "CapEff", "CapBnd"} {
		if status := sandboxtest.Output(t, packages, "cat", "/proc/self/status"); !strings.Contains(status, key+":\t00000000000000db\n") {
			t.Errorf("installing packages has other capabilities:\n%s", status)
		}
	}
	refused(t, packages, "connect", "tcp", "192.0.2.1:80")
	sandboxtest.Output(t, packages, "write", "/etc/passwd", "")
}

// program reads the program out of its layer.
func program(t *testing.T) string {
	t.Helper()
	r, err := sandboxtest.ProgramLayer(t).Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for tr := tar.NewReader(r); ; {
		hdr, err := tr.Next()
		if err != nil {
			t.Fatal(err)
		}
		if hdr.Name == "bin/probe" {
			var buf bytes.Buffer
			if _, err := buf.ReadFrom(tr); err != nil {
				t.Fatal(err)
			}
			return buf.String()
		}
	}
}

func TestProcessesAreBounded(t *testing.T) {
	t.Parallel()
	e := open(t)
	const pids = 60
	b := sandboxtest.Start(t, e, sandbox.Spec{Image: image(t, e), Name: t.Name(), Limits: sandbox.Limits{PIDs: pids}})
	got := strings.TrimSpace(sandboxtest.Output(t, b, "fork"))
	if n, err := strconv.Atoi(got); err != nil || n < 1 || n >= pids {
		t.Errorf("%q processes were started, %d are allowed", got, pids)
	}
	sandboxtest.Output(t, b, "exit", "0")
}

func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	e := open(t)
	b := sandboxtest.Start(t, e, sandbox.Spec{Image: image(t, e), Name: t.Name(), Limits: sandbox.Limits{Memory: 96 << 20}})
	var exit *sandbox.ExitError
	if err := b.Exec(t.Context(), sandboxtest.Probe("exit", "1")); !errors.As(err, &exit) || exit.OutOfMemory {
		t.Errorf("before: got %v, want an ExitError that is not for want of memory", err)
	}
	if err := b.Exec(t.Context(), sandboxtest.Probe("hog")); !errors.As(err, &exit) || !exit.OutOfMemory || exit.Code != 137 {
		t.Errorf("hog: got %v, want an ExitError for want of memory", err)
	}
	if err := b.Exec(t.Context(), sandboxtest.Probe("exit", "1")); !errors.As(err, &exit) || exit.OutOfMemory {
		t.Errorf("after: got %v, want an ExitError that is not for want of memory", err)
	}
}

func TestOrphansAreReaped(t *testing.T) {
	t.Parallel()
	e := open(t)
	b := sandboxtest.Start(t, e, sandbox.Spec{Image: image(t, e), Name: t.Name()})
	sandboxtest.Output(t, b, "orphan")
	got := ""
	for end := time.Now().Add(10 * time.Second); got != "0\n" && time.Now().Before(end); {
		got = sandboxtest.Output(t, b, "zombies")
	}
	if got != "0\n" {
		t.Errorf("%q zombies are left", got)
	}
}

func TestStepThatClosesItsOutput(t *testing.T) {
	t.Parallel()
	e := open(t)
	b := sandboxtest.Start(t, e, sandbox.Spec{Image: image(t, e), Name: t.Name()})
	var exit *sandbox.ExitError
	if err := b.Exec(t.Context(), sandboxtest.Probe("mute")); !errors.As(err, &exit) || exit.Code != 3 {
		t.Errorf("got %v, want exit code 3", err)
	}
}

// counter counts what is written.
type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

func TestOutputIsNotHeld(t *testing.T) {
	e := open(t)
	b := sandboxtest.Start(t, e, sandbox.Spec{Image: image(t, e), Name: t.Name()})
	const mib = 1024
	var out counter
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	step := sandboxtest.Probe("flood", strconv.Itoa(mib))
	step.Stdout = &out
	if err := b.Exec(t.Context(), step); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if out != mib<<20 {
		t.Errorf("%d bytes of %d arrived", out, mib<<20)
	}
	if grown := int64(after.HeapSys) - int64(before.HeapSys); grown > 32<<20 {
		t.Errorf("the heap grew by %d MiB", grown>>20)
	}
}

func TestImageWithoutPrograms(t *testing.T) {
	t.Parallel()
	e := open(t)
	id, err := e.Load(t.Context(), sandboxtest.Config(), sandboxtest.TarLayer(t, []*tar.Header{{Name: "etc/", Mode: 0o755}}, nil))
	if err != nil {
		t.Fatal(err)
	}
	_, err = e.Start(t.Context(), sandbox.Spec{Image: id, Name: t.Name()})
	var hint interface{ Hint() string }
	if !errors.As(err, &hint) || !strings.Contains(hint.Hint(), "coreutils") {
		t.Errorf("got %v, want an error with a hint", err)
	}
}

func TestDaemonHostIsUnreachable(t *testing.T) {
	t.Parallel()
	_, err := docker.Open(t.Context(), docker.Options{Host: "unix://" + t.TempDir() + "/none.sock", Locks: t.TempDir(), Store: "test"})
	var hint interface{ Hint() string }
	if !errors.Is(err, sandbox.ErrUnavailable) || !errors.As(err, &hint) || hint.Hint() == "" {
		t.Errorf("got %v, want ErrUnavailable with a hint", err)
	}
}

// Entries of root's that are imported over what an image has keep a step from reading that:
// the gate hides other distributions so.
func TestImportOwnedCovers(t *testing.T) {
	t.Parallel()
	e := open(t)
	secret := sandboxtest.TarLayer(t, []*tar.Header{
		{Name: "tree", Mode: 0o755, Typeflag: tar.TypeDir}, {Name: "tree/other", Mode: 0o755, Typeflag: tar.TypeDir},
		{Name: "tree/other/file", Mode: 0o644}, {Name: "tree/single", Mode: 0o644}, {Name: "tree/seen", Mode: 0o644},
	}, map[string]string{"tree/other/file": "other", "tree/single": "single", "tree/seen": "seen"})
	b := sandboxtest.Start(t, e, sandbox.Spec{Image: image(t, e, secret), Name: t.Name()})
	single := tree.FileEntry("tree/single", 0, nil)
	cover, err := tree.New([]tree.Entry{
		{Path: "tree", Kind: tree.Dir, Mode: 0o711}, {Path: "tree/other", Kind: tree.Dir}, single,
		{Path: "links/other", Kind: tree.Symlink, Link: "/tree/other"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := sandbox.ImportOwned(t.Context(), b, "/", cover); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"/tree/other/file", "/tree/single", "/links/other/file", "/tree"} {
		if said := refused(t, b, "cat", file); !strings.Contains(said, "permission denied") {
			t.Errorf("reading %s: %s", file, said)
		}
	}
	if said, err := sandbox.Output(t.Context(), b, sandboxtest.Probe("cat", "/tree/seen"), 100); err != nil || string(said) != "seen" {
		t.Errorf("reading what is not covered: %q, %v", said, err)
	}
}
