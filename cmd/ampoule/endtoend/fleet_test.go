//go:build docker

package endtoend

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// supervised is the variable that makes this program hold a service's socket, as systemd does:
// ADDRESS ROOT DIR.
const supervised = "AMPOULE_TEST_SUPERVISED"

func init() {
	if what := os.Getenv(supervised); what != "" {
		fields := strings.Fields(what)
		fmt.Fprintln(os.Stderr, supervise(fields[0], fields[1], fields[2]))
		os.Exit(1)
	}
}

// supervise listens, and whenever a line comes by DIR/restart it ends the gunicorn that runs and
// starts another one with the socket. Who asks meanwhile waits. When that serves, DIR/restarted
// gets a line.
func supervise(address, root, dir string) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	socket, err := listener.(*net.TCPListener).File()
	if err != nil {
		return err
	}
	var before *exec.Cmd
	for {
		asked, err := os.Open(filepath.Join(dir, "restart"))
		if err != nil {
			return err
		}
		_, err = bufio.NewReader(asked).ReadString('\n')
		asked.Close()
		if err != nil {
			continue
		}
		if before != nil {
			late := killAfter(before, 15*time.Second)
			_ = before.Process.Signal(syscall.SIGTERM)
			_ = before.Wait()
			late.Stop()
		}
		before, err = serveBy(root, dir, socket)
		for try := 1; err != nil && try < 3; try++ { // Restart=on-failure
			fmt.Fprintln(os.Stderr, err)
			before, err = serveBy(root, dir, socket)
		}
		said := "ok\n"
		if err != nil {
			said = err.Error() + "\n"
		}
		answer, err := os.OpenFile(filepath.Join(dir, "restarted"), os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		fmt.Fprint(answer, said)
		answer.Close()
	}
}

// killAfter kills a process, and all that it started, unless it is stopped before: systemd waits no
// longer than TimeoutStopSec either.
func killAfter(cmd *exec.Cmd, limit time.Duration) *time.Timer {
	return time.AfterFunc(limit, func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
}

// serveBy starts gunicorn of the current release, and waits until its workers have loaded the application.
func serveBy(root, dir string, socket *os.File) (*exec.Cmd, error) {
	out, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command("sh", "-c", `export LISTEN_PID=$$ LISTEN_FDS=1; exec "$@"`, "sh", filepath.Join(root, "current/bin/ampoule-exec"), "--",
		"gunicorn", "--workers=2", "--graceful-timeout=10", "--chdir="+dir, "app:app")
	cmd.ExtraFiles, cmd.Stderr, cmd.SysProcAttr = []*os.File{socket}, in, &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	in.Close()
	late := killAfter(cmd, 40*time.Second)
	defer late.Stop()
	lines := bufio.NewScanner(out)
	var said []string
	for loaded := 0; loaded < 2; {
		if !lines.Scan() {
			return nil, fmt.Errorf("gunicorn ended: %w, after %q", cmd.Wait(), said)
		}
		said = append(said, lines.Text())
		if strings.Contains(lines.Text(), "application loaded") {
			loaded++
		}
	}
	go func() { _, _ = io.Copy(io.Discard, out) }()
	return cmd, nil
}

// application says which gunicorn it imports, and from which releases all its modules are. It is
// not well where its release is listed as bad.
const application = `import gunicorn, os, re, sys
bad = os.path.join(os.path.dirname(os.path.abspath(__file__)), "bad")
def app(environ, start):
    files = [getattr(m, "__file__", None) or "" for m in list(sys.modules.values())]
    with open("/proc/self/maps") as maps:
        files += [line.split()[-1] for line in maps]
    releases = sorted(set(re.findall("releases/(sha256-[0-9a-f]{64})", " ".join(files))))
    ok = environ["PATH_INFO"] != "/health" or not os.path.exists(bad) or releases[0] not in open(bad).read()
    start("200 OK" if ok else "500 no", [("Content-Type", "text/plain")])
    return [(" ".join([gunicorn.__version__, str(os.getpid())] + releases)).encode()]
print("application loaded", file=sys.stderr, flush=True)
`

// fleet is three hosts, each in a network namespace of its own, that follow web:prod.
type fleet struct {
	t          *testing.T
	dir, store string
	hosts      []*fleetHost
	registry   *exec.Cmd
	// serve starts the registry.
	serve func()
	// failed counts requests that failed, of sent ones.
	mu           sync.Mutex
	sent, failed int
	why          string
}

type fleetHost struct {
	name, space, ip, dir string
	log                  *bytes.Buffer
}

const (
	fleetPoll = 2 * time.Second
	gateway   = "10.177.0.1"
)

func (f *fleet) path(name string) string { return filepath.Join(f.dir, name) }

func (f *fleet) write(name, text string) {
	f.t.Helper()
	if err := os.WriteFile(f.path(name), []byte(text), 0o644); err != nil {
		f.t.Fatal(err)
	}
}

// run runs the program with the fleet's store.
func (f *fleet) run(args ...string) (out, errs string, err error) {
	cmd := exec.CommandContext(f.t.Context(), program, append([]string{"--store", f.store, "--progress", "plain"}, args...)...)
	cmd.Env = append(os.Environ(), "AMPOULE_POLICY="+f.path("policy.yaml"), "SSL_CERT_FILE="+f.path("tls.pem"))
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	return strings.TrimSpace(stdout.String()), stderr.String(), err
}

// ok is run that ends well.
func (f *fleet) ok(args ...string) string {
	f.t.Helper()
	out, errs, err := f.run(args...)
	if err != nil {
		f.t.Fatalf("ampoule %s: %v\n%s", strings.Join(args, " "), err, errs)
	}
	return out
}

// signed are the flags of a verb that signs by a key.
func (f *fleet) signed(key string, args ...string) []string {
	return append(args, "--key", f.path(key+".key"), "--passphrase-file", f.path("pw"))
}

// newShop brings releases into the registry of a store of their own, as web, with what it takes to
// write its channels.
func newShop(t *testing.T, releases ...artifact) (f *fleet, digests []string) {
	t.Helper()
	f = &fleet{t: t, dir: t.TempDir()}
	f.store = f.path("store")
	for dir := f.dir; dir != os.TempDir(); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil { // the smoke test is another user
			t.Fatal(err)
		}
	}
	f.write("pw", "a passphrase\n")
	f.write("policy.yaml", "apiVersion: ampoule/v1\ntrust: {file: trust.yaml, name: acme}\nrules: [{match: [web]}]\n")
	for _, name := range []string{"root", "build", "promote"} {
		f.ok("keys", "generate", f.path(name), "--passphrase-file", f.path("pw"))
	}
	trust := f.path("trust.yaml")
	f.ok("trust", "init", "--trust", trust, "--name", "acme", "--root-key", "root="+f.path("root.pub"))
	f.ok("trust", "add-key", "build="+f.path("build.pub"), "--trust", trust, "--role", "build")
	f.ok("trust", "add-key", "promote="+f.path("promote.pub"), "--trust", trust, "--role", "promote")
	f.ok(f.signed("root", "trust", "sign", "--trust", trust)...)
	for i, r := range releases {
		file := f.path(fmt.Sprintf("%d.tar", i))
		ampoule(t, "export", r.ref, "--to", file)
		ref := f.ok("copy", file, "web")
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		f.ok(f.signed("build", "sign", ref)...)
		_, digest, _ := strings.Cut(ref, "@")
		digests = append(digests, digest)
	}
	return f, digests
}

// newFleet serves releases to three hosts.
func newFleet(t *testing.T, releases ...artifact) (f *fleet, digests []string) {
	t.Helper()
	f, digests = newShop(t, releases...)
	f.network()
	f.certificate()
	f.serve = func() {
		f.registry = exec.Command(program, "--store", f.store, "registry", "serve", "--listen", gateway+":5443", "--host", gateway, "--tls-cert", f.path("tls.pem"), "--tls-key", f.path("tls.key"))
		if err := f.registry.Start(); err != nil {
			t.Fatal(err)
		}
		for until := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			c, err := net.Dial("tcp", gateway+":5443")
			if err == nil {
				c.Close()
				return
			}
			if time.Now().After(until) {
				t.Fatal(err)
			}
		}
	}
	f.serve()
	t.Cleanup(f.away)
	return f, digests
}

// away takes the registry away.
func (f *fleet) away() {
	_ = f.registry.Process.Kill()
	_ = f.registry.Wait()
}

// network makes three namespaces behind one bridge.
func (f *fleet) network() {
	f.t.Helper()
	bridge := fmt.Sprintf("ampb%d", os.Getpid()%100000)
	ip := func(args ...string) {
		f.t.Helper()
		run(f.t, "ip", args...)
	}
	undo := func(args ...string) { f.t.Cleanup(func() { _ = exec.Command("ip", args...).Run() }) }
	ip("link", "add", bridge, "type", "bridge")
	undo("link", "del", bridge)
	ip("addr", "add", gateway+"/24", "dev", bridge)
	ip("link", "set", bridge, "up")
	for i := range 3 {
		h := &fleetHost{name: fmt.Sprintf("web-%d", i+1), space: fmt.Sprintf("amp%d-%d", os.Getpid(), i), ip: fmt.Sprintf("10.177.0.%d", 11+i), log: &bytes.Buffer{}}
		h.dir = f.path(h.name)
		if err := os.Mkdir(h.dir, 0o755); err != nil {
			f.t.Fatal(err)
		}
		ip("netns", "add", h.space)
		undo("netns", "del", h.space)
		veth := fmt.Sprintf("amv%d-%d", os.Getpid()%100000, i)
		ip("link", "add", veth, "type", "veth", "peer", "name", "eth0", "netns", h.space)
		ip("link", "set", veth, "master", bridge, "up")
		ip("-n", h.space, "addr", "add", h.ip+"/24", "dev", "eth0")
		ip("-n", h.space, "link", "set", "eth0", "up")
		ip("-n", h.space, "link", "set", "lo", "up")
		f.hosts = append(f.hosts, h)
	}
}

// certificate makes one that the hosts trust.
func (f *fleet) certificate() {
	f.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.t.Fatal(err)
	}
	form := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "registry"}, IPAddresses: []net.IP{net.ParseIP(gateway)}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, form, form, key.Public(), key)
	if err != nil {
		f.t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		f.t.Fatal(err)
	}
	f.write("tls.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	f.write("tls.key", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})))
	if err := os.Chmod(f.path("tls.key"), 0o600); err != nil {
		f.t.Fatal(err)
	}
}

// start starts a host's supervisor and its agent.
func (f *fleet) start(h *fleetHost) {
	f.t.Helper()
	for _, name := range []string{"restart", "restarted"} {
		if err := syscall.Mkfifo(filepath.Join(h.dir, name), 0o600); err != nil {
			f.t.Fatal(err)
		}
	}
	f.write(h.name+"/app.py", application)
	f.write(h.name+"/agent.yaml", fmt.Sprintf(`apiVersion: ampoule/v1
channel: %s:5443/web:prod
root: %s/root
policy: %s
poll: %s
restart: {command: [sh, -c, 'echo go > %[2]s/restart; read said < %[2]s/restarted; test "$said" = ok'], timeout: 1m}
watch: {for: 2s, every: 500ms, failures: 2, url: "http://%[5]s:8000/health"}
report: {host: %[6]s, directory: %[7]s, key: %[2]s/host.key, passphrase-file: %[2]s/host.pass}
`, gateway, h.dir, f.path("policy.yaml"), fleetPoll, h.ip, h.name, f.path("reports")))
	f.ok("agent", "keygen", filepath.Join(h.dir, "host"))
	f.ok("agent", "enroll", h.name+"="+filepath.Join(h.dir, "host.pub"), "--hosts", f.path("hosts.yaml"))
	f.in(h, []string{supervised + "=" + h.ip + ":8000 " + h.dir + "/root " + h.dir}, os.Args[0])
	f.in(h, []string{"SSL_CERT_FILE=" + f.path("tls.pem")}, program, "--store", filepath.Join(h.dir, "store"), "agent", "run", "--config", filepath.Join(h.dir, "agent.yaml"))
}

// in starts a program in a host's namespace, which ends with the test.
func (f *fleet) in(h *fleetHost, environ []string, name string, args ...string) *exec.Cmd {
	f.t.Helper()
	cmd := exec.Command("ip", append([]string{"netns", "exec", h.space, name}, args...)...)
	cmd.Env, cmd.Stdout, cmd.Stderr = append(os.Environ(), environ...), h.log, h.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
	})
	return cmd
}

// ask asks a host's service.
func (h *fleetHost) ask(port int, path string) (string, error) {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 20 * time.Second}
	resp, err := client.Get(fmt.Sprintf("http://%s:%d%s", h.ip, port, path))
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, text)
	}
	return string(text), err
}

// load asks all hosts without a pause until the test ends.
func (f *fleet) load() {
	ctx, cancel := context.WithCancel(f.t.Context())
	var all sync.WaitGroup
	for _, h := range f.hosts {
		for range 2 {
			all.Go(func() {
				for ctx.Err() == nil {
					_, err := h.ask(8000, "/")
					f.mu.Lock()
					f.sent++
					if err != nil {
						f.failed++
						f.why = h.name + ": " + err.Error()
					}
					f.mu.Unlock()
					time.Sleep(10 * time.Millisecond)
				}
			})
		}
	}
	f.t.Cleanup(func() {
		cancel()
		all.Wait()
	})
}

// unharmed wants no request to have failed.
func (f *fleet) unharmed(what string) {
	f.t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.t.Logf("%s: %d requests, %d failed", what, f.sent, f.failed)
	if f.failed > 0 || f.sent < 10 {
		f.t.Errorf("%s: %d of %d requests failed: %s", what, f.failed, f.sent, f.why)
	}
	f.sent, f.failed = 0, 0
}

// until waits until all hosts are as something says, and returns how long that took.
func (f *fleet) until(what string, is func(h *fleetHost) bool) time.Duration {
	f.t.Helper()
	begun := time.Now()
	for _, h := range f.hosts {
		for !is(h) {
			if time.Since(begun) > 2*time.Minute {
				f.t.Fatalf("%s does not %s:\n%s", h.name, what, last(h.log.String(), 4000))
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	return time.Since(begun)
}

// activates waits until a digest is current everywhere.
func (f *fleet) activates(digest string) time.Duration {
	f.t.Helper()
	return f.until("activate "+digest, func(h *fleetHost) bool {
		link, _ := os.Readlink(filepath.Join(h.dir, "root/current"))
		return filepath.Base(link) == strings.Replace(digest, ":", "-", 1)
	})
}

// state waits until all hosts report a digest and a state.
func (f *fleet) state(digest, state string) time.Duration {
	f.t.Helper()
	return f.until("report "+state+" with "+digest, func(h *fleetHost) bool {
		type host struct{ Host, Digest, State string }
		var all struct{ Hosts []host }
		// While the registry is away it tells that it could not ask there.
		out, _, _ := f.run("deployments", "--reports", f.path("reports"), "--hosts", f.path("hosts.yaml"), "--output", "json")
		if json.Unmarshal([]byte(out), &all) != nil {
			return false
		}
		return slices.Contains(all.Hosts, host{h.name, digest, state})
	})
}

// channel writes the channel in the registry's own store.
func (f *fleet) channel(args ...string) {
	f.t.Helper()
	f.ok(f.signed("promote", append([]string{"channel"}, args...)...)...)
}

// TestThreeHosts has three hosts, each in a network of its own, follow a channel, while they are
// asked without a pause: each release's gunicorn gets the same socket.
func TestThreeHosts(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("network namespaces need root, as Docker's tests do")
	}
	beside(t)
	f, digests := newFleet(t, build(t, "testdata/exec"), build(t, "testdata/exec", "requirements.txt", "older.txt"))
	first, second := digests[0], digests[1]
	if err := os.Mkdir(f.path("reports"), 0o755); err != nil {
		t.Fatal(err)
	}
	f.channel("promote", "web:prod", first)
	for _, h := range f.hosts {
		f.start(h)
	}
	f.state(first, "follows")
	f.load()
	root := f.path("alone")
	begun := time.Now()
	f.ok("install", "web@"+second, "--root", root)
	install := time.Since(begun)
	_ = os.RemoveAll(root)

	// One that nobody restarts, to see what its workers import after the switch.
	h := f.hosts[0]
	f.in(h, nil, filepath.Join(h.dir, "root/current/bin/ampoule-exec"), "--", "gunicorn", "--workers=1", "--bind="+h.ip+":8001", "--chdir="+h.dir, "app:app")
	f.until("serve on another port", func(*fleetHost) bool {
		_, err := h.ask(8001, "/")
		return err == nil
	})
	time.Sleep(2 * fleetPoll)
	f.unharmed("nothing happens")

	f.channel("promote", "web:prod", second)
	took := f.activates(second)
	t.Logf("from the promotion to the last host: %s; polls every %s, one install %s", took, fleetPoll, install)
	if most := 2*fleetPoll*11/10 + 3*install; took > most { // three share this machine
		t.Errorf("it took %s, more than %s", took, most)
	}
	f.state(second, "follows")
	f.unharmed("a promotion")
	for _, h := range f.hosts {
		if said, err := h.ask(8000, "/"); err != nil || !strings.HasPrefix(said, "22.0.0 ") || !strings.HasSuffix(said, " "+strings.Replace(second, ":", "-", 1)) {
			t.Errorf("%s says %s, %v", h.name, said, err)
		}
	}
	f.keepsItsRelease(h, first)

	f.channel("rollback", "web:prod", first)
	f.state(first, "follows")
	f.unharmed("going back")

	for _, h := range f.hosts {
		f.write(h.name+"/bad", strings.Replace(second, ":", "-", 1))
	}
	f.channel("promote", "web:prod", second)
	t.Logf("from the promotion of a bad release until all are back: %s", f.state(first, "fell-back"))
	f.unharmed("a bad release")

	f.channel("rollback", "web:prod", first)
	f.state(first, "follows")
	for _, h := range f.hosts {
		if err := os.Remove(filepath.Join(h.dir, "bad")); err != nil {
			t.Fatal(err)
		}
	}
	f.away()
	f.channel("promote", "web:prod", second)
	f.state(first, "blind")
	f.unharmed("a registry that is away during a promotion")
	f.serve()
	t.Logf("from the return of the registry to the last host: %s", f.activates(second))
	f.state(second, "follows")
	f.unharmed("its return")

	f.channel("revoke", "web:prod", second, "--reason", "poisoned")
	t.Logf("from the revocation to the last host: %s", f.activates(first))
	f.state(first, "alarmed")
	f.unharmed("a revocation")
	if text := f.ok("deployments", first, "--reports", f.path("reports"), "--hosts", f.path("hosts.yaml")); strings.Count(text, "host ") != 3 {
		t.Errorf("%s", text)
	}
}

// keepsItsRelease kills a worker of a gunicorn that was started with a release and never
// restarted: the next worker imports modules of that release alone.
func (f *fleet) keepsItsRelease(h *fleetHost, digest string) {
	f.t.Helper()
	before, err := h.ask(8001, "/")
	if err != nil {
		f.t.Fatal(err)
	}
	pid := 0
	if _, err := fmt.Sscan(strings.Fields(before)[1], &pid); err != nil || syscall.Kill(pid, syscall.SIGKILL) != nil {
		f.t.Fatalf("%s: %v", before, err)
	}
	after := ""
	for until := time.Now().Add(20 * time.Second); time.Now().Before(until); time.Sleep(50 * time.Millisecond) {
		if said, err := h.ask(8001, "/"); err == nil && strings.Fields(said)[1] != strings.Fields(before)[1] {
			after = said
			break
		}
	}
	if words := strings.Fields(after); len(words) != 3 || words[0] != "23.0.0" || words[2] != strings.Replace(digest, ":", "-", 1) {
		f.t.Errorf("a worker after the switch says %q; the one before %q", after, before)
	}
}
