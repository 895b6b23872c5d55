package cli

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"ampoule/agent"
)

// restarting is what has a host write down which release it was restarted with.
const restarting = `restart: {command: [sh, -c, 'readlink $AMPOULE_ROOT/current >> $AMPOULE_ROOT/restarts']}
watch: {for: 100ms, every: 50ms, failures: 2, command: [sh, -c, 'test ! -e $AMPOULE_ROOT/current/bin/bad']}
`

// settled wants that what is current is what was restarted last, and that nothing is under way.
func (m *machine) settled(digest string) {
	m.t.Helper()
	m.runs(digest)
	lines := strings.Split(strings.TrimSpace(read(m.t, m.path("root/restarts"))), "\n")
	if link, _ := os.Readlink(m.path("root/current")); lines[len(lines)-1] != link {
		m.t.Errorf("%s is current, and %s was restarted", link, lines[len(lines)-1])
	}
	if j, err := agent.ReadJournal(m.path("root")); err != nil || j.Phase != agent.Idle || j.Active != digest {
		m.t.Errorf("%v: %+v", err, j)
	}
}

// Processes that follow a channel are killed at any moment. The next one finishes what they began,
// or goes back.
func TestAgentKilled(t *testing.T) {
	t.Parallel()
	p := newProd(t)
	m := newFollower(t, p, "web-1", restarting)
	releases := []string{p.release("exit 0"), p.release("exit 0"), p.release("exit 0"), p.release("exit 1")}
	p.promote(releases[0])
	begun := time.Now()
	m.once(codeDone, "it has proven itself")
	took := time.Since(begun)
	good := releases[0]
	for i := range 10 {
		next := releases[(i+1)%len(releases)]
		p.promote(next)
		cmd := exec.Command(os.Args[0])
		cmd.Args = []string{"ampoule", "--store", m.store(), "agent", "once", "--config", m.path("agent.yaml")}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		after := rand.N(took) //nolint:gosec // any moment will do
		time.Sleep(after)
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		code, says := codeDone, ""
		if next == releases[3] {
			code, says = codeRefused, next+" has failed on this host"
		} else {
			good = next
		}
		m.once(code, says)
		m.settled(good)
		if t.Failed() {
			t.Fatalf("promotion %d, killed after %s of %s", i, after, took)
		}
	}
}

// With a full disk nothing is activated; with room again it is.
func TestAgentFullDisk(t *testing.T) {
	t.Parallel()
	p := newProd(t)
	m := newFollower(t, p, "web-1", restarting)
	root := m.path("root")
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=2m,mode=0755", "tmpfs", root).CombinedOutput(); err != nil {
		t.Skipf("mounting needs rights that this user lacks: %s", out)
	}
	t.Cleanup(func() { _ = exec.Command("umount", "--lazy", root).Run() })
	first, second := p.release("exit 0"), p.release("exit 0")
	p.promote(first)
	m.once(codeDone, "")
	p.promote(second)
	filler := filepath.Join(root, "filler")
	for _, room := range []int{0, 16 << 10} {
		text := bytes.Repeat([]byte("x"), 4<<10)
		f, err := os.Create(filler)
		if err != nil {
			t.Fatal(err)
		}
		for err == nil {
			_, err = f.Write(text)
		}
		if info, err := f.Stat(); err == nil {
			_ = f.Truncate(info.Size() - int64(room))
		}
		f.Close()
		m.once(6, "no space left on device")
		m.runs(first)
		if err := os.Remove(filler); err != nil {
			t.Fatal(err)
		}
	}
	m.once(codeDone, "")
	m.settled(second)
}

// A registry that fails in any way changes nothing on the host, and is told.
func TestAgentRegistryFaults(t *testing.T) {
	t.Parallel()
	p := newProd(t)
	target := &url.URL{Scheme: "http", Host: p.address}
	var fault atomic.Pointer[func(http.ResponseWriter, *http.Request) bool]
	real := httputil.NewSingleHostReverseProxy(target)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if do := fault.Load(); do != nil && (*do)(w, req) {
			return
		}
		real.ServeHTTP(w, req)
	}))
	t.Cleanup(front.Close)
	p.address = strings.TrimPrefix(front.URL, "http://")
	m := newFollower(t, p, "web-1", restarting)
	first := p.release("exit 0")
	p.promote(first)
	m.once(codeDone, "")
	next := p.release("exit 0")
	p.promote(next)
	answers := func(status int, header ...string) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, _ *http.Request) bool {
			if len(header) > 0 {
				w.Header().Set(header[0], header[1])
			}
			w.WriteHeader(status)
			return true
		}
	}
	cut := func(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) }
	blobs := func(do func(http.ResponseWriter, *http.Request) bool) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, req *http.Request) bool {
			return strings.Contains(req.URL.Path, "/blobs/") && do(w, req)
		}
	}
	for name, c := range map[string]struct {
		do   func(http.ResponseWriter, *http.Request) bool
		code int
		told string
	}{
		"it fails":              {answers(500), 7, "500"},
		"it limits the rate":    {answers(429), 7, "429"},
		"it asks for a day":     {answers(429, "Retry-After", "86400"), 7, "asks to be left alone for 24h0m0s"},
		"it cuts connections":   {cut, 7, "EOF"},
		"it cuts layers":        {blobs(cut), 7, ""},
		"it gives other bytes":  {blobs(func(w http.ResponseWriter, _ *http.Request) bool { fmt.Fprint(w, "other bytes"); return true }), codeRefused, "content is not what its digest says"},
		"it knows nobody":       {answers(401), 7, ""},
		"it has lost the entry": {blobs(answers(404)), codeRefused, ""},
	} {
		fault.Store(&c.do)
		m.once(c.code, c.told)
		m.settled(first)
		if t.Failed() {
			t.Fatal(name)
		}
	}
	fault.Store(nil)
	m.once(codeDone, "it has proven itself")
	m.settled(next)
}

// The units that ship are whole.
func TestUnits(t *testing.T) {
	t.Parallel()
	program, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Fatalf("make setup installs it: %v", err)
	}
	dir, from := t.TempDir(), filepath.Join("..", "..", "..", "integrations", "systemd")
	args := []string{"verify", "--man=no"}
	for _, name := range []string{"ampoule-agent@.service", "web.service", "web.socket"} {
		text := read(t, filepath.Join(from, name))
		// What they start is on no machine that tests run on.
		text = strings.NewReplacer("ExecStart=/usr/local/bin/ampoule ", "ExecStart=/bin/true ", "ExecStart=/opt/web/current/bin/ampoule-exec ", "ExecStart=/bin/true ").Replace(text)
		file := filepath.Join(dir, strings.Replace(name, "@.", "@web.", 1))
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		args = append(args, file)
	}
	if out, err := exec.Command(program, args...).CombinedOutput(); err != nil || len(bytes.TrimSpace(out)) > 0 {
		t.Errorf("%v\n%s", err, out)
	}
}
