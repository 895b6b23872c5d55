package trials

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"time"

	"ampoule/bench/internal/recorded"
	"ampoule/internal/postgres"
)

const (
	// loadSubmissions come at once, loadFollowers follow one log, and loadKeys is how long the same
	// key is asked for.
	loadSubmissions = 1000
	loadFollowers   = 500
	loadKeys        = 10 * time.Second
	// loadBatches of 100 lines of 80 bytes are printed by each gate of the build that is followed.
	loadBatches = 100
	// memoryMost bounds what the service's process may have in memory, in MiB.
	memoryMost = 300
)

// Load loads `ampoule serve` with vegeta: over SQLite, and over a PostgreSQL server of its own. The
// store must have what the quickstart recipe needs, or it is made.
func (t *Trials) Load(ctx context.Context) ([]recorded.Load, error) {
	book, err := recorded.Open[recorded.Load](filepath.Join(t.Results, recorded.LoadFile))
	if err != nil {
		return nil, err
	}
	store := t.Store
	if store == "" {
		// A service has one of its own, unless it is told.
		run, err := t.Ampoule.Run(ctx, "store", "path")
		if err != nil {
			return nil, err
		}
		store = run.Out
	}
	put := func(l recorded.Load) error { return book.Put(l) }
	for _, database := range []string{"sqlite", "postgresql"} {
		if err := inTemp(func(work string) error { return t.loadDatabase(ctx, store, work, database, put) }); err != nil {
			return nil, fmt.Errorf("loading a service over %s: %w", database, err)
		}
	}
	return book.All(), nil
}

// loadDatabase does all three over one kind of database.
func (t *Trials) loadDatabase(ctx context.Context, store, work, database string, put func(recorded.Load) error) (err error) {
	l := &loading{t: t, store: store, work: work, database: database}
	if database == "postgresql" {
		server, startErr := postgres.Start(ctx)
		if startErr != nil {
			return startErr
		}
		defer func() { err = errors.Join(err, server.Stop()) }()
		l.url = server.URL("postgres")
	}
	if err := l.prepare(ctx); err != nil {
		return err
	}
	for _, one := range []struct {
		flags []string
		does  func(context.Context, *loaded) error
	}{
		// One process takes what comes; it builds when all is in the queue.
		{[]string{"--no-worker"}, func(ctx context.Context, s *loaded) error { return l.submissions(ctx, s, put) }},
		{nil, func(ctx context.Context, s *loaded) error {
			return errors.Join(l.followers(ctx, s, put), l.keys(ctx, s, put))
		}},
	} {
		if err := l.serving(ctx, one.flags, one.does); err != nil {
			return err
		}
	}
	return nil
}

// loading is the work with one database.
type loading struct {
	t                          *Trials
	store, work, database, url string
	token                      string
	// archive is what is submitted, a tar; build and key are what came of it.
	archive    string
	build, key string
}

// prepare makes a token and an archive of a recipe that has a name of its own, and whose tests print
// a lot.
func (l *loading) prepare(ctx context.Context) error {
	dir, err := l.t.fromCatalogue(ctx, l.work, killedRecipe)
	if err != nil {
		return err
	}
	file := filepath.Join(dir, recipeFile)
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	prints := fmt.Sprintf(`[python3, -c, "import time\nfor i in range(%d):\n  print('\\n'.join('%%06d %%s' %% (i * 100 + n, 'x' * 72) for n in range(100)), flush=True)\n  time.sleep(.05)"]`, loadBatches)
	changed := strings.NewReplacer("\nname: "+killedRecipe+"\n", fmt.Sprintf("\nname: load-%d\n", l.t.Now().UnixNano()), "[flask, --version]", prints).Replace(string(text))
	if err := os.WriteFile(file, []byte(changed), 0o600); err != nil {
		return err
	}
	l.archive = filepath.Join(l.work, "load.tar.gz")
	tar := exec.CommandContext(ctx, "tar", "-C", dir, "-czf", l.archive, recipeFile, lockFile, "requirements.txt")
	if out, err := tar.CombinedOutput(); err != nil {
		return fmt.Errorf("packing a submission: %w\n%s", err, out)
	}
	run, err := l.t.Ampoule.Run(ctx, append([]string{"token", "create", "load", "--scope", "admin:*"}, l.place()...)...)
	if run != nil {
		l.token = run.Out
	}
	return err
}

// place says where the service's data is.
func (l *loading) place() []string {
	if l.url != "" {
		return []string{"--database", l.url}
	}
	return []string{"--data", filepath.Join(l.work, "data")}
}

// loaded is a service that runs.
type loaded struct {
	address string
	process *os.Process
	// log is the file of what the process tells.
	log string
}

// serving serves while something is done with it.
func (l *loading) serving(ctx context.Context, flags []string, work func(context.Context, *loaded) error) error {
	args := []string{"serve", "--listen", "127.0.0.1:0", "--quota", "100000", "--data", filepath.Join(l.work, "data")}
	if l.url != "" {
		args = append(args, l.place()...)
	}
	log := filepath.Join(l.work, fmt.Sprintf("serve-%d.log", len(flags)))
	file, err := os.Create(log)
	if err != nil {
		return err
	}
	defer file.Close()
	err = served(ctx, l.t.in(l.store).With(append(args, flags...)...), file, func(address string, process *os.Process) error {
		return work(ctx, &loaded{address, process, log})
	})
	if err != nil {
		said, _ := os.ReadFile(log)
		err = fmt.Errorf("%w\n%s", err, said[max(0, len(said)-2000):])
	}
	return err
}

// result starts a result.
func (l *loading) result(what string, count int) recorded.Load {
	return recorded.Load{
		Name: l.database + ": " + what, Database: l.database, What: what, Count: count,
		When: l.t.Now().UTC().Format(time.DateOnly), Cores: runtime.NumCPU(), Shared: l.t.Shared,
	}
}

// weighed has something done, and notes what the service's process took of processors and memory
// meanwhile.
func (s *loaded) weighed(r *recorded.Load, do func() error) error {
	if err := forgetPeak(s.process.Pid); err != nil {
		return err
	}
	before, err := processTime(s.process.Pid)
	if err != nil {
		return err
	}
	if err := do(); err != nil {
		return err
	}
	after, err := processTime(s.process.Pid)
	if err != nil {
		return err
	}
	r.ServerSeconds = hundredths((after - before).Seconds())
	r.PeakMiB, err = peakMemory(s.process.Pid)
	return err
}

func hundredths(x float64) float64 { return math.Round(x*100) / 100 }

// submissions sends the same submission many times at once.
func (l *loading) submissions(ctx context.Context, s *loaded, put func(recorded.Load) error) error {
	r := l.result("submissions", loadSubmissions)
	l.t.Say("%s: %d submissions at once", l.database, loadSubmissions)
	var report attackReport
	err := s.weighed(&r, func() (err error) {
		target := "POST " + s.address + "/v1/builds\nAuthorization: Bearer " + l.token + "\nContent-Type: application/gzip\n@" + l.archive + "\n\n"
		report, err = l.attack(ctx, &r, strings.Repeat(target, loadSubmissions), "-lazy", "-rate=0", "-duration=0",
			fmt.Sprintf("-workers=%d", loadSubmissions), fmt.Sprintf("-max-workers=%d", loadSubmissions))
		return err
	})
	if err != nil {
		return err
	}
	var list struct{ Builds []struct{ ID, Key string } }
	if err := l.get(ctx, s, "/v1/builds?limit=500", &list); err != nil {
		return err
	}
	log, err := os.ReadFile(s.log)
	if err != nil {
		return err
	}
	r.Builds, r.Reads = len(list.Builds), bytes.Count(log, []byte(`msg="read an archive"`))
	if len(list.Builds) > 0 {
		l.build, l.key = list.Builds[0].ID, list.Builds[0].Key
	}
	r.P99Seconds = math.Round(report.Latencies.P99/1e6) / 1e3
	r.Passed = report.Codes["202"] == loadSubmissions && r.Builds == 1 && r.Reads == 1 && r.P99Seconds <= 2 && r.PeakMiB <= memoryMost
	r.Found = fmt.Sprintf("p99 %.2f s (limit 2 s); %d builds, %d archives read; %d accepted", r.P99Seconds, r.Builds, r.Reads, report.Codes["202"])
	return put(r)
}

// keys asks for the key, which is published by now, as often as it is answered.
func (l *loading) keys(ctx context.Context, s *loaded, put func(recorded.Load) error) error {
	r := l.result("keys", 0)
	l.t.Say("%s: the key, for %s", l.database, loadKeys)
	var report attackReport
	err := s.weighed(&r, func() (err error) {
		report, err = l.attack(ctx, &r, "GET "+s.address+"/v1/keys/"+l.key+"\nAuthorization: Bearer "+l.token+"\n",
			"-rate=0", "-workers=16", "-max-workers=16", "-duration="+loadKeys.String())
		return err
	})
	if err != nil {
		return err
	}
	r.Count = report.Requests
	r.PerSecond, r.P99Seconds = math.Round(report.Throughput), hundredths(report.Latencies.P99/1e9)
	r.Passed = report.Success == 1 && r.PerSecond >= 2000 && r.PeakMiB <= memoryMost
	r.Found = fmt.Sprintf("%.0f per second (limit 2,000); p99 %.1f ms", r.PerSecond, report.Latencies.P99/1e6)
	return put(r)
}

// attackReport is what `vegeta report -type=json` says. Times are in nanoseconds.
type attackReport struct {
	Latencies struct {
		P99 float64 `json:"99th"`
	} `json:"latencies"`
	Requests   int            `json:"requests"`
	Throughput float64        `json:"throughput"`
	Success    float64        `json:"success"`
	Codes      map[string]int `json:"status_codes"`
	Errors     []string       `json:"errors"`
}

// attack has vegeta send requests, and notes what that took of processors.
func (l *loading) attack(ctx context.Context, r *recorded.Load, targets string, flags ...string) (attackReport, error) {
	file, results := filepath.Join(l.work, "targets"), filepath.Join(l.work, "results")
	if err := os.WriteFile(file, []byte(targets), 0o600); err != nil {
		return attackReport{}, err
	}
	run, err := l.t.Vegeta.Run(ctx, append([]string{"attack", "-timeout=60s", "-targets=" + file, "-output=" + results}, flags...)...)
	if err != nil {
		return attackReport{}, err
	}
	r.LoaderSeconds = hundredths(run.CPU.Seconds())
	said, err := l.t.Vegeta.Run(ctx, "report", "-type=json", results)
	if err != nil {
		return attackReport{}, err
	}
	return readAttack([]byte(said.Out))
}

// readAttack reads a report.
func readAttack(data []byte) (attackReport, error) {
	var report attackReport
	if err := json.Unmarshal(data, &report); err != nil {
		return report, fmt.Errorf("reading what vegeta reports: %w", err)
	}
	if report.Requests == 0 {
		return report, errors.New("vegeta sent nothing")
	}
	return report, nil
}

// followers follow the log of the build from its beginning to its end, and compare what they got with
// the whole log.
func (l *loading) followers(ctx context.Context, s *loaded, put func(recorded.Load) error) error {
	r := l.result("followers", loadFollowers)
	l.t.Say("%s: %d followers of build %s", l.database, loadFollowers, l.build)
	var all []followed
	err := s.weighed(&r, func() error {
		before := ownTime()
		all = followMany(ctx, loadFollowers, s.address+"/v1/builds/"+l.build+"/log/stream", l.token)
		r.LoaderSeconds = hundredths((ownTime() - before).Seconds())
		return nil
	})
	if err != nil {
		return err
	}
	whole, err := l.log(ctx, s)
	if err != nil {
		return err
	}
	var build struct{ State string }
	if err := l.get(ctx, s, "/v1/builds/"+l.build, &build); err != nil {
		return err
	}
	r.LogBytes = int64(len(whole))
	for _, f := range all {
		if f.err != nil || f.sum != sumOf(whole) {
			r.Lost++
			l.t.Say("a follower got %d bytes of %d: %v", f.size, len(whole), f.err)
		}
	}
	r.Passed = r.Lost == 0 && build.State == "done" && r.PeakMiB <= memoryMost
	r.Found = fmt.Sprintf("%d of them lack something of %.1f MiB; the build is %s", r.Lost, float64(r.LogBytes)/(1<<20), build.State)
	return put(r)
}

// log reads the whole log, part by part.
func (l *loading) log(ctx context.Context, s *loaded) ([]byte, error) {
	var whole []byte
	for {
		resp, err := l.ask(ctx, fmt.Sprintf("%s/v1/builds/%s/log?offset=%d", s.address, l.build, len(whole)))
		if err != nil {
			return nil, err
		}
		part, err := io.ReadAll(resp.Body)
		if err := errors.Join(err, resp.Body.Close()); err != nil {
			return nil, err
		}
		whole = append(whole, part...)
		if resp.Header.Get("Ampoule-End") == "true" {
			return whole, nil
		}
	}
}

func (l *loading) ask(ctx context.Context, url string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+l.token)
	resp, err := http.DefaultClient.Do(req)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errors.Join(fmt.Errorf("asking for %s: %s", url, resp.Status), resp.Body.Close())
	}
	return resp, err
}

// get reads a JSON answer.
func (l *loading) get(ctx context.Context, s *loaded, path string, into any) error {
	resp, err := l.ask(ctx, s.address+path)
	if err != nil {
		return err
	}
	return errors.Join(json.NewDecoder(resp.Body).Decode(into), resp.Body.Close())
}

// ownTime is what this process has taken of processors.
func ownTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// clockTick is how long a tick of /proc/PID/stat is: USER_HZ is 100 on every architecture that Linux
// has (proc(5)).
const clockTick = 10 * time.Millisecond

// processTime is what a process has taken of processors.
func processTime(pid int) (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	var user, system int64
	// The name, which stands in parentheses, may have spaces in it.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) > 12 {
		_, err = fmt.Sscan(fields[11]+" "+fields[12], &user, &system)
	}
	return time.Duration(user+system) * clockTick, err
}

// forgetPeak has the kernel forget the largest resident set of a process (proc(5), clear_refs).
func forgetPeak(pid int) error {
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0)
}

var peakLine = regexp.MustCompile(`(?m)^VmHWM:\s+(\d+) kB$`)

// peakMemory is the largest resident set of a process since then, in MiB.
func peakMemory(pid int) (int, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	m := peakLine.FindSubmatch(status)
	if m == nil {
		return 0, fmt.Errorf("process %d has no largest resident set", pid)
	}
	var kib int
	_, err = fmt.Sscan(string(m[1]), &kib)
	return kib >> 10, err
}
