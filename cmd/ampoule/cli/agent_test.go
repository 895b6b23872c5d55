package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"ampoule/agent"
	"ampoule/artifact"
	"ampoule/cmd/ampoule/display"
	"ampoule/config"
	"ampoule/recipes"
	"ampoule/registry/server"
	"ampoule/registry/tokens"
	"ampoule/tree"
	"ampoule/wiring"
)

// prod is a registry that is served, with what it takes to write its channel.
type prod struct {
	*machine
	address string
	// stop takes the registry away, start brings it back.
	stop, start func()
	releases    int
}

// newProd serves the registry of a promoter's store.
func newProd(t *testing.T) *prod {
	t.Helper()
	p := &prod{machine: newPromoter(t)}
	p.write("policy.yaml", "apiVersion: ampoule/v1\ntrust: {file: trust.yaml, name: acme}\nrules: [{match: [web]}]\n")
	p.Store = p.store()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p.address = listener.Addr().String()
	listener.Close()
	var cancel context.CancelFunc
	var ended chan error
	p.start = func() {
		parts, err := wiring.Open(p.workplace())
		if err != nil {
			t.Fatal(err)
		}
		var ctx context.Context
		ctx, cancel = context.WithCancel(context.Background())
		ended = make(chan error, 1)
		ready := make(chan string, 1)
		go func() {
			err := server.Serve(ctx, parts.Own, tokens.Open(parts.Store), server.Config{Listen: p.address}, func(address string) { ready <- address })
			parts.Close()
			ended <- err
		}()
		select {
		case <-ready:
		case err := <-ended:
			t.Fatal(err)
		}
	}
	p.stop = func() {
		cancel()
		<-ended
	}
	p.start()
	t.Cleanup(func() { p.stop() })
	return p
}

// release publishes a release, as a build does that signs. A script is what its recipe tests it by.
// It returns the digest.
func (p *prod) release(script string) string {
	p.t.Helper()
	return p.releaseWith(script)
}

// releaseWith is a release that has more files.
func (p *prod) releaseWith(script string, more ...tree.Entry) string {
	p.t.Helper()
	p.releases++
	key := fmt.Sprintf("sha256:%064d", p.releases)
	sealed := sampleTree(p.t)
	extra, err := tree.New(append(append(sealed.Entries(), more...),
		tree.FileEntry("bin/smoke", 0o755, []byte("#!/bin/sh\n"+script+"\n")),
		tree.FileEntry("share/release", 0o644, fmt.Appendf(nil, "%d\n", p.releases))))
	if err != nil {
		p.t.Fatal(err)
	}
	var ref string
	err = p.wired(p.t.Context(), func(ctx context.Context, w *wiring.Parts) error {
		if err := p.signBuilds(ctx, w, config.Sign{Key: p.path("build.key"), PassphraseFile: p.path("pw")}); err != nil {
			return err
		}
		ref = publishBy(ctx, p.t, w, extra, "web", func(a *artifact.Artifact) {
			a.Key, a.Config.Labels[artifact.LabelKey] = key, key
			a.Provenance.BuildDefinition.BuildType = artifact.BuildType
			// The recipe's tests are in what the build key signs.
			a.Provenance.BuildDefinition.ExternalParameters.Recipe = recipes.Canonical(&recipes.Recipe{Test: recipes.Test{Commands: [][]string{{"smoke"}}}})
		})
		return nil
	})
	if err != nil {
		p.t.Fatal(err)
	}
	return ref
}

func (p *prod) promote(digest string) {
	p.t.Helper()
	p.ok(p.promoter("promote-1", "promote", "web:prod", digest)...)
}

// lockedBuffer is written and read by several goroutines.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *lockedBuffer) Reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.b.Reset()
}

// newFollower is a host of its own that follows a channel: its own store and root, and the policy of all.
func newFollower(t *testing.T, p *prod, name, more string) *machine {
	t.Helper()
	out, errs := &lockedBuffer{}, &lockedBuffer{}
	m := &machine{
		Session: &Session{In: strings.NewReader(""), Out: out, Err: errs, Environ: []string{"PATH=" + os.Getenv("PATH")}, Progress: display.Plain},
		t:       t, dir: t.TempDir(), out: out, errs: errs,
	}
	// What is installed must be for others to run: the smoke test is another user.
	for dir := m.dir; dir != os.TempDir() && len(dir) > 1; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := AgentKeygen(m.Session, m.path("host")); err != nil {
		t.Fatal(err)
	}
	p.ok("agent", "enroll", name+"="+m.path("host.pub"), "--hosts", p.path("hosts.yaml"))
	if err := os.MkdirAll(p.path("reports"), 0o755); err != nil {
		t.Fatal(err)
	}
	m.write("agent.yaml", fmt.Sprintf(`apiVersion: ampoule/v1
channel: %s/web:prod
root: %s
policy: %s
poll: 100ms
report: {host: %s, directory: %s, key: host.key, passphrase-file: host.pass}
smoke: {timeout: 5s}
%s`, p.address, m.path("root"), p.path("policy.yaml"), name, p.path("reports"), more))
	return m
}

// once follows the channel once, and wants an exit code and a text.
func (m *machine) once(code int, text string) {
	m.t.Helper()
	m.errs.Reset()
	if got := m.run("agent", "once", "--config", m.path("agent.yaml")); got != code || !strings.Contains(m.errs.String(), text) {
		m.t.Errorf("it ends with code %d, not %d, or does not say %q: %s", got, code, text, m.errs)
	}
}

// runs wants a digest to be the current release.
func (m *machine) runs(digest string) {
	m.t.Helper()
	link, _ := os.Readlink(m.path("root/current"))
	if want := strings.Replace(digest, ":", "-", 1); digest != "" && filepath.Base(link) != want || digest == "" && link != "" {
		m.t.Errorf("current is %s, not %s", link, digest)
	}
}

// A host follows a channel of a registry that is served, with everything real: log, policy,
// installation, smoke test by an ordinary user, restart, watch, report.
func TestAgent(t *testing.T) {
	t.Parallel()
	p := newProd(t)
	watched := filepath.Join(t.TempDir(), "well")
	m := newFollower(t, p, "web-1", "")
	restarts := m.path("restarts")
	more := fmt.Sprintf(`restart: {command: [sh, -c, 'readlink $AMPOULE_ROOT/current >> %s']}
watch: {for: 200ms, every: 100ms, failures: 2, command: [sh, -c, 'test ! -e $AMPOULE_ROOT/current/bad && test -e %s']}
`, restarts, watched)
	text, err := os.ReadFile(m.path("agent.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	m.write("agent.yaml", string(text)+more)
	if err := os.WriteFile(watched, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	m.once(codeDone, "")
	m.runs("")
	first := p.release("exit 0")
	p.promote(first)
	m.once(codeDone, "it has proven itself")
	m.runs(first)
	if m.printed() == "" || !strings.HasPrefix(m.printed(), first) {
		t.Errorf("it prints %s", m.printed())
	}
	// The smoke test is somebody else, in a directory of its own, and hangs.
	hangs := p.release(`test "$(id -u)" != 0 && test "$PWD" = "$HOME" && sleep 600`)
	p.promote(hangs)
	m.once(codeRefused, "its smoke test failed: running smoke: it did not end within")
	m.runs(first)
	fails := p.release("echo no such module >&2; exit 1")
	p.promote(fails)
	m.once(codeRefused, "no such module")
	m.once(codeRefused, fails+" has failed on this host, and "+first+" runs")
	m.runs(first)
	p.ok(p.promoter("promote-1", "rollback", "web:prod", first)...)
	m.once(codeDone, "")

	second := p.release("true")
	p.promote(second)
	if err := os.Remove(watched); err != nil {
		t.Fatal(err)
	}
	m.once(codeRefused, "does not come up")
	m.runs(first)
	if err := os.WriteFile(watched, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	p.ok(p.promoter("promote-1", "rollback", "web:prod", first)...)
	m.once(codeDone, "")
	p.promote(second)
	m.once(codeDone, "it has proven itself")
	m.runs(second)
	p.ok(p.promoter("promote-1", "revoke", "web:prod", second, "--reason", "poisoned")...)
	m.once(codeRefused, "which is revoked: poisoned; "+first+" runs here")
	m.runs(first)
	done, err := os.ReadFile(restarts)
	if lines := strings.Split(strings.TrimSpace(string(done)), "\n"); err != nil || lines[len(lines)-1] != "releases/"+strings.Replace(first, ":", "-", 1) {
		t.Errorf("%v: %s", err, done)
	}

	m.ok("agent", "status", "--config", m.path("agent.yaml"), "--output", "json")
	validate(t, "agent-status", []byte(m.out.String()))
	var status AgentReport
	if err := json.Unmarshal([]byte(m.out.String()), &status); err != nil || status.State != "alarmed" || status.Digest != first || len(status.Events) == 0 {
		t.Errorf("%v: %+v", err, status)
	}
	m.Output = Text
	m.ok("agent", "status", "--config", m.path("agent.yaml"))
	if !strings.Contains(m.out.String(), "alarm    channel "+p.address+"/web:prod names "+second) {
		t.Errorf("%s", m.out)
	}
	p.deployed(first, second)
}

// deployed wants the fleet's state to be told.
func (p *prod) deployed(runs, revoked string) {
	p.t.Helper()
	args := func(more ...string) []string {
		return append([]string{"deployments", "--reports", p.path("reports"), "--hosts", p.path("hosts.yaml")}, more...)
	}
	p.ok(args("--output", "json")...)
	validate(p.t, "deployments", []byte(p.out.String()))
	var all DeploymentsReport
	if err := json.Unmarshal([]byte(p.out.String()), &all); err != nil || len(all.Hosts) != 1 || all.Hosts[0].Digest != runs || all.Hosts[0].State != "alarmed" {
		p.t.Errorf("%v: %+v", err, all)
	}
	p.Output = Text
	p.ok(args(revoked)...)
	if text := p.out.String(); !strings.Contains(text, "names it, revoked: poisoned") || strings.Contains(text, "host ") {
		p.t.Errorf("%s", text)
	}
	p.refuses(codeRefused, "could not be looked at", args("idna==3.10")...) // these releases have no bill
	if !strings.Contains(p.out.String(), "a bill of materials of") {
		p.t.Errorf("%s", p.out)
	}
	p.refuses(codeUsage, "is no digest", args("sha256:12")...)
	p.ok("deployments", runs)
	if text := p.out.String(); !strings.HasPrefix(text, "channel  web:prod  ") || !strings.Contains(text, "may go back to it") {
		p.t.Errorf("channels of the store's registry: %s", text)
	}
	p.refuses(codeUsage, "want --repository", "deployments", "--registry", p.address)
	p.ok("deployments", "--registry", p.address, "--repository", "web", revoked)
	if text := p.out.String(); !strings.HasPrefix(text, "channel  web:prod  ") || !strings.Contains(text, "names it") {
		p.t.Errorf("channels of a repository: %s", text)
	}
	p.refuses(codeRefused, "could not be looked at", "deployments", "--repository", "127.0.0.1:1/web")
	name := ""
	files, _ := filepath.Glob(p.path("reports/*"))
	for _, file := range files {
		name = file
	}
	data, err := os.ReadFile(name)
	if err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(name, bytes.Replace(data, []byte(`"sig":"`), []byte(`"sig":"AAAA`), 1), 0o644); err != nil {
		p.t.Fatal(err)
	}
	p.refuses(codeRefused, "could not be looked at", args()...)
	if !strings.Contains(p.out.String(), "whose key has not signed it") {
		p.t.Errorf("%s", p.out)
	}
}

// What a policy refuses, a registry that is away or shows an old log, and a stranger's log change
// nothing on the host.
func TestAgentKeepsWhatRuns(t *testing.T) {
	t.Parallel()
	p := newProd(t)
	m := newFollower(t, p, "web-1", "")
	first := p.release("exit 0")
	p.promote(first)
	m.once(codeDone, "")
	m.runs(first)
	p.stop()
	m.once(7, "connection refused")
	m.runs(first)
	old := filepath.Join(t.TempDir(), "old")
	if err := os.CopyFS(old, os.DirFS(p.store())); err != nil {
		t.Fatal(err)
	}
	p.start()
	second := p.release("exit 0")
	p.promote(second)
	m.once(codeDone, "")
	m.runs(second)
	p.stop()
	if err := os.Rename(p.store(), p.store()+".new"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(old, p.store()); err != nil {
		t.Fatal(err)
	}
	p.start()
	m.once(codeRefused, "it is rolled back or cut off")
	m.runs(second)
	p.stop()
	if err := os.RemoveAll(p.store()); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(p.store()+".new", p.store()); err != nil {
		t.Fatal(err)
	}
	p.start()
	m.once(codeDone, "")
	// The host's policy asks for more than the promoter's did.
	p.write("strict.yaml", "apiVersion: ampoule/v1\ntrust: {file: trust.yaml, name: acme}\nrules: [{match: [web], tests: {}}]\n")
	m.write("agent.yaml", strings.Replace(read(t, m.path("agent.yaml")), "policy.yaml", "strict.yaml", 1))
	third := p.release("exit 0")
	p.promote(third)
	m.once(codeRefused, "policy "+p.path("strict.yaml")+" refuses")
	m.runs(second)
	if j, err := agent.ReadJournal(m.path("root")); err != nil || len(j.Quarantined) > 0 || j.Phase != agent.Idle {
		t.Errorf("%v %+v", err, j)
	}
	m.write("agent.yaml", strings.Replace(read(t, m.path("agent.yaml")), "strict.yaml", "policy.yaml", 1))
	m.once(codeDone, "")
	m.runs(third)
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// A call that is wrong, a file that is, and a host without a policy are told.
func TestAgentUsage(t *testing.T) {
	t.Parallel()
	p := newProd(t)
	m := newFollower(t, p, "web-1", "")
	whole := read(t, m.path("agent.yaml"))
	m.refuses(codeInput, "there is no agent's configuration", "agent", "once", "--config", m.path("none.yaml"))
	m.refuses(codeNotFound, "no agent has worked on", "agent", "status", "--config", m.path("agent.yaml"))
	m.write("agent.yaml", strings.Replace(whole, "policy: ", "policies: ", 1))
	m.refuses(codeInput, `agent.yaml:4:1: "policies" is no key`, "agent", "run", "--config", m.path("agent.yaml"))
	m.write("agent.yaml", strings.Replace(whole, "policy: "+p.path("policy.yaml")+"\n", "", 1))
	m.refuses(codeUsage, "names a policy: nothing says whom to believe", "agent", "run", "--config", m.path("agent.yaml"))
	m.write("agent.yaml", strings.Replace(whole, "directory: "+p.path("reports"), "directory: nowhere", 1))
	m.refuses(codeInput, "nowhere, which is no directory", "agent", "run", "--config", m.path("agent.yaml"))
	m.write("host.pass", "wrong")
	m.write("agent.yaml", whole)
	m.refuses(codeInput, "opening the host's key", "agent", "run", "--config", m.path("agent.yaml"))
	m.refuses(codeUsage, "is there already", "agent", "keygen", m.path("host"))
	m.refuses(codeUsage, "want HOST=FILE", "agent", "enroll", "web-1")
}

// An agent that runs ends by a signal, between two looks, and says nothing of it.
func TestAgentRun(t *testing.T) {
	t.Parallel()
	p := newProd(t)
	m := newFollower(t, p, "web-1", "")
	first := p.release("exit 0")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	m.Store = m.store()
	go func() { ended <- m.withAgent(ctx, m.path("agent.yaml"), (*agent.Agent).Run) }()
	p.promote(first)
	for until := time.Now().Add(time.Minute); !strings.Contains(m.errs.String(), "it has proven itself"); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("%s", m.errs)
		}
	}
	if code := m.run("agent", "once", "--config", m.path("agent.yaml")); code != 6 {
		t.Errorf("a second agent ends with code %d: %s", code, m.errs)
	}
	cancel()
	if err := <-ended; err == nil {
		t.Error("it ends without a cause")
	}
	m.runs(first)
}
