package cli

import (
	"bytes"
	"flag"
	"fmt"
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
	"ampoule/internal/powerloss"
	"ampoule/system/systemtest"
	"ampoule/tree"
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

// How often an agent is killed, in turns of three kinds, and where that is recorded (make kills).
var (
	agentKills = flag.Int("kills", 10, "how often an agent is killed")
	killBook   = flag.String("record-kills", "", "the file of results: deeds that are in it are left out")
)

// Processes that follow a channel are killed at any moment of a turn: while they install, try, activate,
// restart, watch, or go back. The next one finishes what they began, or goes back.
func TestAgentKilled(t *testing.T) {
	t.Parallel()
	book, err := powerloss.OpenBook(*killBook)
	if err != nil {
		t.Fatal(err)
	}
	p := newProd(t)
	m := newFollower(t, p, "web-1", restarting)
	releases := []string{p.release("exit 0"), p.release("exit 0"), p.release("exit 0"), p.release("exit 1")}
	// The last one is bad after it was activated: it is gone back from.
	releases = append(releases, p.releaseWith("exit 0", tree.FileEntry("bin/bad", 0o755, nil)))
	p.promote(releases[0])
	m.once(codeDone, "it has proven itself")
	for i, kind := range []struct{ name, bad string }{
		{"agent: following a promotion", ""}, {"agent: trying a bad release", releases[3]}, {"agent: going back", releases[4]},
	} {
		kills := (*agentKills + 2 - i) / 3
		if book.Has(kind.name, kills) {
			t.Logf("%s: it is recorded", kind.name)
			continue
		}
		k := &killing{prod: p, host: m, good: releases[:3], bad: kind.bad, phases: map[agent.Phase]int{}}
		took := k.turn(time.Minute)
		for n := range kills {
			k.turn(took * time.Duration(n+1) / time.Duration(kills))
			if t.Failed() {
				t.Fatalf("%s, kill %d", kind.name, n)
			}
		}
		t.Logf("%s, undisturbed %s: killed in %v", kind.name, took, k.phases)
		if err := book.Put(powerloss.Result{Name: kind.name, Kills: kills}); err != nil {
			t.Error(err)
		}
	}
}

// killing is a host whose agent is killed in its turns, each of which follows a promotion.
type killing struct {
	*prod
	host *machine
	// good are releases, one of which is promoted in each turn and bad, if there is one, then.
	good  []string
	bad   string
	turns int
	// phases counts in what an agent was killed.
	phases map[agent.Phase]int
}

// turn promotes a release, kills the agent that follows after a time, and has another one follow. It returns
// how long the first one went on.
func (k *killing) turn(after time.Duration) time.Duration {
	k.t.Helper()
	m := k.host
	k.turns++
	next := k.good[k.turns%len(k.good)]
	good := next
	if k.bad != "" {
		k.promote(next)
		m.once(codeDone, "")
		next = k.bad
	}
	k.promote(next)
	cmd := exec.CommandContext(k.t.Context(), os.Args[0])
	cmd.Args = []string{"ampoule", "--store", m.store(), "agent", "once", "--config", m.path("agent.yaml")}
	begun := time.Now()
	if err := cmd.Start(); err != nil {
		k.t.Fatal(err)
	}
	killer := time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
	_ = cmd.Wait() // it is killed, or a release has failed
	took := time.Since(begun)
	killer.Stop()
	if j, err := agent.ReadJournal(m.path("root")); err == nil {
		k.phases[j.Phase]++
	}
	if k.bad == "" {
		m.once(codeDone, "")
	} else {
		m.once(codeRefused, next+" has failed on this host")
	}
	m.settled(good)
	return took
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
	systemtest.Mount(t, root, "size=2m,mode=0755")
	first, second := p.release("exit 0"), p.release("exit 0")
	p.promote(first)
	m.once(codeDone, "")
	p.promote(second)
	for _, room := range []int64{0, 16 << 10} {
		filler := systemtest.Fill(t, root, room)
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
