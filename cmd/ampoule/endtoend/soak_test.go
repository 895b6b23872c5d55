//go:build docker

package endtoend

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"ampoule/internal/postgres"
	"ampoule/internal/record"
	"ampoule/service/database"
	"ampoule/service/queue/history"
)

var (
	rounds     = flag.Int("rounds", 0, "how many rounds of TestSoak the record shall have; 0 is a short one, without a record")
	soakRecord = flag.String("record", "", "the file that gets each round as it ends; those that are in it are not repeated")
)

const (
	// soakLease is how long a worker has a build without a sign of life, soakFreeze how long a frozen
	// one gives none.
	soakLease  = 6 * time.Second
	soakFreeze = 9 * time.Second
	// soakWorkers and soakAPIs are processes.
	soakWorkers, soakAPIs = 3, 2
	// soakShort and soakLong are how many recipes are built in a round.
	soakShort, soakLong = 2, 4
	// soakPatience bounds a round.
	soakPatience = 10 * time.Minute
)

// soakKinds are the records that the service's store has at first: what it has not, it makes while it
// is disturbed.
var soakKinds = []string{"toolchain-layer", "interpreter", "wheel", "layer-blob", "layer-index"}

// soakRound is what came of a round; `measure table` shows it.
type soakRound struct {
	Name      string   `json:"name"`
	When      string   `json:"when"`
	Cores     int      `json:"cores"`
	Shared    bool     `json:"shared,omitempty"`
	Seconds   float64  `json:"seconds"`
	Builds    int      `json:"builds"`
	Lost      int      `json:"lost_leases"`
	Killed    int      `json:"killed"`
	Frozen    int      `json:"frozen"`
	Restarted int      `json:"restarted"`
	Faults    []string `json:"faults,omitempty"`
}

// Key is its name.
func (r soakRound) Key() string { return r.Name }

// process is one process of the service, which is started again when it was killed.
type process struct {
	program string
	args    []string
	log     *os.File
	cmd     *exec.Cmd
}

// start starts it, and returns what it says first, when it answers.
func (p *process) start() (said string, err error) {
	p.cmd = exec.Command(p.program, p.args...)
	p.cmd.Stderr = p.log
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return "", err
	}
	if err := p.cmd.Start(); err != nil {
		return "", err
	}
	said, err = bufio.NewReader(out).ReadString('\n')
	if err != nil {
		told, _ := os.ReadFile(p.log.Name())
		err = fmt.Errorf("serve: %w\n%s", err, last(string(told), 4000))
	}
	return strings.TrimSpace(said), err
}

// end ends it in order.
func (p *process) end() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	_ = p.cmd.Wait()
}

// newProcess starts a process of a program that ends with the test; its log is shown when that fails.
func newProcess(t *testing.T, program string, args ...string) (p *process, said string) {
	t.Helper()
	log, err := os.Create(filepath.Join(t.TempDir(), "serve.log"))
	if err != nil {
		t.Fatal(err)
	}
	p = &process{program: program, args: args, log: log}
	t.Cleanup(func() {
		if p.cmd != nil && p.cmd.Process != nil {
			p.end()
		}
		if told, _ := os.ReadFile(log.Name()); t.Failed() {
			t.Logf("%s says:\n%s", strings.Join(args, " "), last(string(told), 3000))
		}
		log.Close()
	})
	if said, err = p.start(); err != nil {
		t.Fatal(err)
	}
	return p, said
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	_ = p.cmd.Wait()
}

// soaked is a service of several processes over one PostgreSQL and one registry.
type soaked struct {
	t        *testing.T
	dir      string
	db       *postgres.Cluster
	registry *process
	at       string
	// processes are the workers, and then the APIs, which urls are of.
	processes []*process
	urls      []string
	token     string
	round     soakRound
}

// TestSoak has two API processes and three workers build on a real PostgreSQL and Debian's registry,
// while one of them is killed, or frozen past its lease and thawed, every few seconds. Every build ends
// once and well, with the digest that an undisturbed build gives, and a checker finds no fault in the
// history. With -rounds it goes on for long, and PostgreSQL and the registry are restarted too.
func TestSoak(t *testing.T) {
	beside(t)
	names, count := []string{""}, soakShort
	if *rounds > 0 {
		names, count = nil, soakLong
	}
	for i := range *rounds {
		names = append(names, fmt.Sprintf("round %03d", i+1))
	}
	store := ""
	for _, name := range names {
		if has, err := record.Has[soakRound](*soakRecord, name); err != nil {
			t.Fatal(err)
		} else if has {
			t.Logf("%s: it is recorded", name)
			continue
		}
		want := undisturbed(t, count)
		if store == "" {
			store = clonedOf(t, func(kind string) bool { return slices.Contains(soakKinds, kind) })
		}
		if !t.Run(name, func(t *testing.T) { soak(t, name, store, want) }) {
			return
		}
	}
}

// wanted is a recipe, and the digest that it gives when nobody disturbs it.
type wanted struct {
	archive []byte
	digest  string
}

// undisturbed builds recipes that share an interpreter and wheels, in the store of the tests.
func undisturbed(t *testing.T, count int) (all []wanted) {
	t.Helper()
	for range count {
		name := fmt.Sprintf("soaked-%d", time.Now().UnixNano())
		file := quickstart(t, name, "[flask, --version]", fmt.Sprintf(`[python3, -c, "print('%s')"]`, name))
		ref := ampoule(t, "-f", file, "build")
		archive := filepath.Join(filepath.Dir(file), "soaked.tar.gz")
		run(t, "tar", "-C", filepath.Dir(file), "-czf", archive, "ampoule.yaml", "ampoule.lock", "requirements.txt")
		data, err := os.ReadFile(archive)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, wanted{data, strings.TrimPrefix(ref, name+"@")})
	}
	return all
}

// soak is one round.
func soak(t *testing.T, name, store string, want []wanted) {
	began := time.Now()
	s := startSoaked(t, store)
	s.round = soakRound{Name: name, When: began.UTC().Format(time.DateOnly), Cores: runtime.NumCPU(), Shared: os.Getenv("AMPOULE_SHARED") != ""}
	over, done := context.WithCancel(t.Context())
	defer done()
	var disturbing sync.WaitGroup
	disturbing.Go(func() { s.disturb(over, name != "") })
	accepted := map[string]wanted{}
	for i, w := range want {
		for again := range 2 {
			// The same by another way: it is the same build.
			accepted[s.submit(w, i+again, fmt.Sprintf("%d-%d", i, again))] = w
		}
	}
	db, err := database.Open(t.Context(), database.Options{URL: s.db.URL("postgres")})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	ids := slices.Collect(func(yield func(string) bool) {
		for id := range accepted {
			yield(id)
		}
	})
	s.await(db, ids)
	done()
	disturbing.Wait()
	s.judge(db, accepted, ids)
	s.round.Seconds = float64(time.Since(began).Round(time.Second) / time.Second)
	t.Logf("%+v", s.round)
	for _, fault := range s.round.Faults {
		t.Error(fault)
	}
	if *soakRecord != "" {
		if err := record.Put(*soakRecord, s.round); err != nil {
			t.Fatal(err)
		}
	}
}

// startSoaked starts everything.
func startSoaked(t *testing.T, store string) *soaked {
	t.Helper()
	s := &soaked{t: t, dir: t.TempDir()}
	var err error
	if s.db, err = postgres.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.db.Stop(); err != nil {
			t.Error(err)
		}
	})
	s.startRegistry()
	place := []string{"--database", s.db.URL("postgres")}
	s.token = ampoule(t, append([]string{"token", "create", "soak", "--scope", "admin:*"}, place...)...)
	for i := range soakWorkers + soakAPIs {
		at := "127.0.0.1:0"
		if i >= soakWorkers {
			at = freeAddress(t)
			s.urls = append(s.urls, "http://"+at)
		}
		args := append([]string{"--store", store, "--registry", s.at, "serve", "--data", filepath.Join(s.dir, fmt.Sprint("data", i)),
			"--listen", at, "--lease", soakLease.String(), "--attempts", "1000"}, place...)
		if i >= soakWorkers {
			args = append(args, "--no-worker")
		}
		p, _ := newProcess(t, program, args...)
		s.processes = append(s.processes, p)
	}
	return s
}

// startRegistry starts Debian's docker-registry, on the address that it had.
func (s *soaked) startRegistry() {
	s.t.Helper()
	config := filepath.Join(s.dir, "registry.yml")
	if s.registry == nil {
		s.at = freeAddress(s.t)
		text := fmt.Sprintf("version: 0.1\nstorage: {filesystem: {rootdirectory: %s}}\nhttp: {addr: %q}\nlog: {level: error}\n", filepath.Join(s.dir, "registry"), s.at)
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			s.t.Fatal(err)
		}
		s.registry = &process{}
		s.t.Cleanup(func() { s.registry.kill() })
	}
	s.registry.cmd = exec.Command("docker-registry", "serve", config)
	if err := s.registry.cmd.Start(); err != nil {
		s.t.Fatalf("%v: .ci/setup installs it", err)
	}
	for begun := time.Now(); time.Since(begun) < time.Minute; time.Sleep(50 * time.Millisecond) {
		if c, err := net.Dial("tcp", s.at); err == nil {
			c.Close()
			return
		}
	}
	s.t.Fatal("docker-registry does not answer")
}

func freeAddress(t *testing.T) string {
	t.Helper()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer free.Close()
	return free.Addr().String()
}

// disturb does something to a process every few seconds: first one thing of each kind, and in a long
// round what is drawn then, until the context ends.
func (s *soaked) disturb(ctx context.Context, long bool) {
	worker := func() *process { return s.processes[rand.N(soakWorkers)] }
	kill := func(p *process) {
		p.kill()
		if _, err := p.start(); err != nil {
			s.t.Error(err)
		}
		s.round.Killed++
	}
	deeds := []func(){
		func() { kill(worker()) }, func() { s.freeze(ctx, worker()) }, func() { kill(s.processes[soakWorkers+rand.N(soakAPIs)]) }, func() { kill(worker()) },
	}
	if long {
		deeds = append(deeds, func() { s.restartDatabase() }, func() { s.restartRegistry() }, func() { s.freeze(ctx, worker()) }, func() { kill(worker()) })
	}
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-time.After(2*time.Second + rand.N(2*time.Second)):
		}
		switch {
		case n < len(deeds):
			deeds[n]()
		case long:
			deeds[rand.N(len(deeds))]()
		default:
			return
		}
	}
}

// freeze stops a process for longer than its lease, and lets it go on: it does not know.
func (s *soaked) freeze(ctx context.Context, p *process) {
	_ = p.cmd.Process.Signal(syscall.SIGSTOP)
	select {
	case <-ctx.Done():
	case <-time.After(soakFreeze):
	}
	_ = p.cmd.Process.Signal(syscall.SIGCONT)
	s.round.Frozen++
}

func (s *soaked) restartDatabase() {
	if err := s.db.Halt(true); err != nil {
		s.t.Error(err)
	}
	if err := s.db.Run(s.t.Context()); err != nil {
		s.t.Error(err)
	}
	s.round.Restarted++
}

func (s *soaked) restartRegistry() {
	s.registry.kill()
	s.startRegistry()
	s.round.Restarted++
}

// submit submits until it is accepted, by whichever API answers, under one idempotency key.
func (s *soaked) submit(w wanted, api int, key string) (id string) {
	s.t.Helper()
	return submitTo(s.t, s.token, w.archive, key, s.urls[api%soakAPIs], s.urls[(api+1)%soakAPIs])
}

// submitTo submits an archive until one of several services accepts it.
func submitTo(t *testing.T, token string, archive []byte, key string, urls ...string) (id string) {
	t.Helper()
	for begun, i := time.Now(), 0; time.Since(begun) < time.Minute; i++ {
		if i > 0 {
			time.Sleep(200 * time.Millisecond)
		}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, urls[i%len(urls)]+"/v1/builds", bytes.NewReader(archive))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
		req.Header.Set("Content-Type", "application/gzip")
		req.Header.Set("Idempotency-Key", key)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			continue
		}
		var got struct{ Build struct{ ID string } }
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		switch {
		case err != nil || resp.StatusCode >= http.StatusInternalServerError:
		case resp.StatusCode > http.StatusAccepted:
			t.Fatalf("submitting: %s\n%s", resp.Status, text)
		case json.Unmarshal(text, &got) == nil && got.Build.ID != "":
			return got.Build.ID
		}
	}
	t.Fatal("no API accepts a submission")
	return ""
}

// await waits until all builds have ended.
func (s *soaked) await(db *database.DB, ids []string) {
	s.t.Helper()
	for begun := time.Now(); ; time.Sleep(200 * time.Millisecond) {
		ended := 0
		err := db.Read(s.t.Context(), func(ctx context.Context, q database.Querier) error {
			return q.QueryRow(ctx, "SELECT count(*) FROM builds WHERE state IN ('done', 'failed', 'cancelled')").Scan(&ended)
		})
		if err == nil && ended == len(ids) {
			return
		}
		if time.Since(begun) > soakPatience {
			s.t.Fatalf("%d of %d builds have ended, %v", ended, len(ids), err)
		}
	}
}

// judge compares what came of each build with what is wanted, and reads the history.
func (s *soaked) judge(db *database.DB, accepted map[string]wanted, ids []string) {
	s.t.Helper()
	r := &s.round
	r.Builds = len(ids)
	err := db.Read(s.t.Context(), func(ctx context.Context, q database.Querier) error {
		for id, w := range accepted {
			var state, failure, digest, name string
			var attempt int
			err := q.QueryRow(ctx, `SELECT b.state, b.failure, b.attempt, b.recipe, coalesce(p.digest, '') FROM builds b LEFT JOIN publications p ON p.build_key = b.build_key
				WHERE b.id = $1`, id).Scan(&state, &failure, &attempt, &name, &digest)
			if err != nil {
				return err
			}
			r.Lost += attempt - 1
			if state != "done" || digest != w.digest {
				r.Faults = append(r.Faults, fmt.Sprintf("build %s is %s with %s, want %s %s", id, state, digest, w.digest, failure))
			}
			if !s.has(name, digest) {
				r.Faults = append(r.Faults, fmt.Sprintf("the registry has no %s@%s", name, digest))
			}
		}
		return nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
	faults, err := history.Check(s.t.Context(), db, ids, true)
	if err != nil {
		s.t.Fatal(err)
	}
	r.Faults = append(r.Faults, faults...)
}

// has reports whether the registry has an artifact.
func (s *soaked) has(name, digest string) bool {
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodHead, "http://"+s.at+"/v2/"+name+"/manifests/"+digest, nil)
	if err != nil {
		return false
	}
	req.Header.Set("Accept", "application/vnd.oci.image.index.v1+json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}
