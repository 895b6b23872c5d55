package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ampoule/agent/program"
	"ampoule/faults"
	"ampoule/internal/basetime"
	"ampoule/registry/channel"
)

// Digests of releases.
var a, b, c = digestOf("a"), digestOf("b"), digestOf("c")

func digestOf(letter string) string { return "sha256:" + strings.Repeat(letter, 64) }

// errCrash ends an agent as a kill does: nothing that it would have done after that is done.
var errCrash = errors.New("killed")

// world is a channel, and a host with what runs there.
type world struct {
	t        *testing.T
	settings Settings
	log      channel.Log
	now      time.Time
	// away fails what asks the registry.
	away error
	// installed are the releases below the root, current the one of them that is, and running what
	// programs have been started with.
	installed        map[string]bool
	current, running string
	// bad says of digests in what they fail: install, smoke, activate, restart or watch.
	bad map[string]string
	// ops counts what the agent has done to the world; at crashAt it is killed.
	ops, crashAt int
	// asked counts requests, by kind; told is what people were told.
	asked map[string]int
	told  []string
	// during is called when something is done.
	during func(what string)
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{
		t: t, now: basetime.Of(t), installed: map[string]bool{}, bad: map[string]string{}, asked: map[string]int{}, during: func(string) {},
		settings: Settings{
			Repository: "registry.example/web", Channel: "prod", Root: filepath.Join(t.TempDir(), "root"), Poll: 30 * time.Second, Keep: 3,
			Smoke:   SmokeSettings{Timeout: time.Minute, User: defaultUser},
			Restart: RestartSettings{Command: []string{"restart"}, Timeout: time.Minute},
			Watch:   WatchSettings{For: time.Minute, Every: 10 * time.Second, Timeout: time.Second, Failures: 3, Command: []string{"look"}},
		},
	}
	w.log = channel.Log{Repository: "web", Channel: "prod"}
	return w
}

// entry adds an entry to the log.
func (w *world) entry(action channel.Action, digest string) {
	w.now = w.now.Add(time.Second)
	e := channel.Signed{Entry: channel.Entry{Sequence: len(w.log.Entries) + 1, Action: action, Digest: digest, Reason: "why"}, At: w.now}
	w.log.Entries = append(w.log.Entries, e)
	switch action {
	case channel.Promote, channel.Rollback, channel.Restart:
		w.log.Digest = digest
	case channel.Revoke:
		if w.log.Revoked == nil {
			w.log.Revoked = map[string]string{}
		}
		w.log.Revoked[digest] = "why"
	}
}

func (w *world) do(what string) {
	w.ops++
	if w.ops == w.crashAt {
		panic(errCrash)
	}
	w.asked[what]++
	w.during(what)
}

// Reference, Head and Read make it a [Channel].
func (w *world) Reference(digest string) string { return "registry.example/web@" + digest }

func (w *world) Head(context.Context) (string, error) {
	w.do("head")
	return fmt.Sprint(len(w.log.Entries)), w.away
}

func (w *world) Read(context.Context) (*channel.Log, error) {
	w.do("read")
	l := w.log
	l.Revoked = maps.Clone(w.log.Revoked)
	return &l, w.away
}

// Current, Install, Activate and Collect make it a [Host].
func (w *world) Current(context.Context) (string, error) { return w.current, nil }

func (w *world) Install(_ context.Context, ref string) (Release, error) {
	w.do("install")
	_, digest, _ := strings.Cut(ref, "@")
	if w.away != nil || w.bad[digest] == "install" {
		return Release{}, faults.New(faults.Remote, "", "the registry is away")
	}
	w.installed[digest] = true
	w.do("installed")
	return Release{digest, "/releases/" + digest, Tests{Commands: [][]string{{"smoke", digest}}}}, nil
}

func (w *world) Activate(_ context.Context, digest string) error {
	w.do("activate")
	if !w.installed[digest] {
		return faults.New(faults.NotFound, "", "%s is not installed", digest)
	}
	if w.bad[digest] == "activate" {
		return faults.New(faults.Machine, "", "the disk is full")
	}
	w.current = digest
	w.do("activated")
	return nil
}

func (w *world) Collect(context.Context, int) error {
	w.do("collect")
	return nil
}

// run is what programs do.
func (w *world) run(_ context.Context, cmd program.Command) error {
	failed := func() error { return &program.Error{Program: cmd.Args[0], Err: errors.New("exit status 1")} }
	switch cmd.Args[0] {
	case "smoke":
		w.do("smoke")
		if w.bad[cmd.Args[1]] == "smoke" {
			return failed()
		}
	case "restart":
		w.do("restart")
		if w.bad[w.current] == "restart" {
			return failed()
		}
		w.running = w.current
		w.do("restarted")
	case "look":
		w.do("look")
		if w.bad[w.running] == "watch" {
			return failed()
		}
	}
	return nil
}

// agent is a new process.
func (w *world) agent() *Agent {
	return &Agent{
		Settings: w.settings, Channel: w, Host: w, Now: func() time.Time { return w.now }, run: w.run,
		Tell: func(text string) { w.told = append(w.told, text) },
		sleep: func(_ context.Context, d time.Duration) error {
			w.now = w.now.Add(d)
			return nil
		},
	}
}

// once runs a process that is killed where the world says so.
func (w *world) once() (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = r.(error)
		}
	}()
	return w.agent().Once(w.t.Context())
}

func (w *world) journal() *Journal {
	w.t.Helper()
	j, err := ReadJournal(w.settings.Root)
	if err != nil {
		w.t.Fatal(err)
	}
	return j
}

// ok runs a process that ends well, and wants a digest to run then.
func (w *world) ok(digest string) {
	w.t.Helper()
	if err := w.once(); err != nil {
		w.t.Fatal(err)
	}
	w.runs(digest)
}

// runs wants a digest to run, and nothing to be under way.
func (w *world) runs(digest string) {
	w.t.Helper()
	j := w.journal()
	if w.current != digest || w.running != digest || j.Active != digest || j.Phase != Idle {
		w.t.Errorf("current %.9s, running %.9s, journal %.9s %s; want %.9s", w.current, w.running, j.Active, j.Phase, digest)
	}
}

// refuses runs a process that ends with an error.
func (w *world) refuses(text string, kind faults.Kind) {
	w.t.Helper()
	if err := w.once(); err == nil || !strings.Contains(err.Error(), text) || faults.Of(err) != kind {
		w.t.Errorf("%v of kind %v, not %q of kind %v", err, faults.Of(err), text, kind)
	}
}
