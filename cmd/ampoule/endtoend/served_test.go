//go:build docker

package endtoend

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// served is `ampoule serve` over a data directory of its own, with the store of the tests, and who
// asks it.
type served struct {
	t             *testing.T
	data, at, url string
	token         string
	// signing are the files of the passphrase and of the key that it signs by, the latter without .key.
	signing []string
	// flags are further flags of the service, and env is added to its environment.
	flags, env []string
	kill       func()
}

// startServed starts a service that signs, and makes a token that may do everything.
func startServed(t *testing.T, changes ...func(*served)) *served {
	t.Helper()
	s := &served{t: t, data: t.TempDir(), at: "127.0.0.1:0"}
	for _, key := range []string{"passphrase", "build"} {
		s.signing = append(s.signing, filepath.Join(t.TempDir(), key))
	}
	if err := os.WriteFile(s.signing[0], []byte("a passphrase\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ampoule(t, "keys", "generate", s.signing[1], "--passphrase-file", s.signing[0])
	for _, change := range changes {
		change(s)
	}
	s.start()
	s.at = strings.TrimPrefix(s.url, "http://")
	s.token = ampoule(t, "token", "create", "me", "--data", s.data, "--scope", "admin:*", "--scope", "push:*")
	return s
}

// start starts the service's process, which ends with the test or when it is killed.
func (s *served) start() {
	s.t.Helper()
	cmd := exec.Command(program, append([]string{"--store", filepath.Join(cache, "store"), "serve", "--data", s.data, "--listen", s.at,
		"--passphrase-file", s.signing[0], "--sign-key", s.signing[1] + ".key"}, s.flags...)...)
	cmd.Env = append(os.Environ(), s.env...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	end := func(signal os.Signal) {
		_ = cmd.Process.Signal(signal)
		_, _ = io.Copy(io.Discard, out)
		_ = cmd.Wait()
	}
	s.kill = func() { end(syscall.SIGKILL) }
	s.t.Cleanup(func() {
		end(syscall.SIGTERM)
		if s.t.Failed() {
			s.t.Logf("the service says:\n%s", &errs)
		}
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		s.t.Fatalf("serve: %v\n%s", err, &errs)
	}
	s.url = strings.TrimSpace(line)
}

// environ names the service and the token.
func (s *served) environ() []string {
	return []string{"AMPOULE_SERVER=" + s.url, "AMPOULE_TOKEN=" + s.token}
}

// begin begins a build at the service, and returns when its progress has some text, with its ID and
// what waits for its end.
func (s *served) begin(file, until string) (id string, end func() tried) {
	s.t.Helper()
	cmd := exec.CommandContext(s.t.Context(), program, "--progress", "plain", "-f", file, "build")
	cmd.Env = append(os.Environ(), s.environ()...)
	var out bytes.Buffer
	cmd.Stdout = &out
	errs, err := cmd.StderrPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	var told strings.Builder
	lines := bufio.NewScanner(io.TeeReader(errs, &told))
	for lines.Scan() && !strings.Contains(lines.Text(), until) {
		if i := strings.LastIndex(lines.Text(), ": build "); i >= 0 {
			id, _, _ = strings.Cut(lines.Text()[i+len(": build "):], " ")
		}
	}
	return id, func() tried {
		for lines.Scan() {
		}
		_ = cmd.Wait() // the code says it
		return tried{strings.TrimSpace(out.String()), told.String(), cmd.ProcessState.ExitCode()}
	}
}

// tags are the tags of a name in the registry at an address.
func (s *served) tags(registry, name string) string {
	s.t.Helper()
	var list json.RawMessage
	s.getAt(registry+"/v2/"+name+"/tags/list", &list)
	return string(list)
}

// get reads a JSON answer of the service.
func (s *served) get(path string, into any) {
	s.t.Helper()
	s.getAt(s.url+path, into)
}

func (s *served) getAt(address string, into any) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, address, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+s.token)
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer answer.Body.Close()
	if err := json.NewDecoder(answer.Body).Decode(into); err != nil || answer.StatusCode != http.StatusOK {
		s.t.Fatalf("GET %s: status %d, %v", address, answer.StatusCode, err)
	}
}

// quickstartPython is the quickstart's python. Recipes of tests have it too, so that one interpreter is compiled for
// all. quickstartFlags are those of its lines that others have otherwise.
const (
	quickstartFlags = `  configure: [--enable-optimizations]
  profile: sha256:2e848b79d97ac3fe4bbf2ec64b15221f57c6948838bbd98b37c777641cb4c451
`
	quickstartPython = `python:
  version: 3.13.5
` + quickstartFlags + `  optional: [_tkinter]
`
)

// quickstart copies the quickstart's recipe, with a lock of today, under a name of this run's own. Its
// interpreter and wheels are those of the other tests.
func quickstart(t *testing.T, name string, replace ...string) (file string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(lockedQuickstart(t))); err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(dir, "ampoule.yaml")
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.NewReplacer(append(replace, "\nname: quickstart\n", "\nname: "+name+"\n")...).Replace(string(data))
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

// quickstarts is held while the quickstart is locked.
var quickstarts sync.Mutex

// lockedQuickstart gives the directory of the quickstart's recipe, which is locked once in a run: the lock that
// the catalogue has may name packages that Debian has no more.
func lockedQuickstart(t *testing.T) string {
	t.Helper()
	quickstarts.Lock()
	defer quickstarts.Unlock()
	dir := filepath.Join(scratch, "quickstart")
	if _, err := os.Stat(dir); err == nil {
		return dir
	}
	making := dir + ".new"
	err := errors.Join(os.RemoveAll(making), os.CopyFS(making, os.DirFS("../../../recipes/catalogue/quickstart")))
	if err != nil {
		t.Fatal(err)
	}
	ampoule(t, "-f", filepath.Join(making, "ampoule.yaml"), "lock", "--upgrade")
	if err := os.Rename(making, dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestServedBuild builds at a service whose process is killed in the middle: what is started again
// goes on, the follower sees it end, and the digest is that of this machine's own build. The key is
// answered at once then. A build that is cancelled ends what runs in its containers.
func TestServedBuild(t *testing.T) {
	beside(t)
	s := startServed(t)
	nonce := time.Now().UnixNano()
	name := fmt.Sprintf("served-%d", nonce)
	file := quickstart(t, name)

	id, end := s.begin(file, "start gate")
	s.kill()
	s.start()
	done := end()
	if done.code != 0 || !strings.HasPrefix(done.out, name+"@sha256:") || !strings.Contains(done.errs, "gate: passed") {
		t.Fatalf("the build ends with code %d: %s\n%s", done.code, done.out, done.errs)
	}
	var build struct {
		State, Key string
		Attempt    int
	}
	if s.get("/v1/builds/"+id, &build); build.State != "done" || build.Attempt != 2 {
		t.Errorf("the build is %+v, want it done by the second attempt", build)
	}
	var key struct{ Digest string }
	if s.get("/v1/keys/"+build.Key, &key); name+"@"+key.Digest != done.out {
		t.Errorf("the key has %s, the build gave %s", key.Digest, done.out)
	}

	if tags := s.tags(s.url, name); !strings.Contains(tags, strings.TrimPrefix(key.Digest, "sha256:")+".sig") {
		t.Errorf("it is not signed: %s", tags)
	}

	again := in(t, "", s.environ(), "-f", file, "build")
	if again.code != 0 || again.out != done.out || !strings.Contains(again.errs, "nothing was built") {
		t.Errorf("submitted again: code %d, %s\n%s", again.code, again.out, again.errs)
	}
	for verb, want := range map[string]string{"logs": id, "list": name, "logs latest": "gate target container | done"} {
		if told := in(t, "", s.environ(), strings.Fields(verb)...); told.code != 0 || !strings.Contains(told.out, want) {
			t.Errorf("%s: code %d, without %q:\n%s\n%s", verb, told.code, want, told.out, told.errs)
		}
	}

	// The service's registry has nothing under the prefix: this machine builds.
	elsewhere := s.loggedIn() + "/here"
	here := in(t, "", []string{"DOCKER_CONFIG=" + s.data, "AMPOULE_SERVER="}, "-f", file, "--registry", elsewhere, "build")
	if here.code != 0 || here.out != elsewhere+"/"+done.out || strings.Contains(here.errs, "nothing was built") {
		t.Errorf("this machine gave %s, the service %s\n%s", here.out, done.out, here.errs)
	}

	marker := fmt.Sprintf("slept-%d", nonce)
	slow := quickstart(t, name+"-slow", "[flask, --version]", `[python3, -c, "import time; time.sleep(900) # `+marker+`"]`)
	id, end = s.begin(slow, "start gate target")
	awaitProcesses(t, marker, true)
	if told := in(t, "", s.environ(), "cancel", id); told.code != 0 {
		t.Errorf("cancel: code %d\n%s", told.code, told.errs)
	}
	awaitProcesses(t, marker, false)
	if cancelled := end(); cancelled.code == 0 || !strings.Contains(cancelled.errs, "cancelled by me") {
		t.Errorf("the cancelled build ends with code %d:\n%s", cancelled.code, cancelled.errs)
	}
}

// loggedIn puts the token where Docker has its credentials, in the data directory, and returns the
// service's registry.
func (s *served) loggedIn() string {
	s.t.Helper()
	text := fmt.Sprintf(`{"auths":{%q:{"username":"me","password":%q}}}`, s.at, s.token)
	if err := os.WriteFile(filepath.Join(s.data, "config.json"), []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return s.at
}

// awaitProcesses waits until processes of this machine, in whatever container, have a word in their
// command, or none has it any more.
func awaitProcesses(t *testing.T, word string, want bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		if running(t, word) == want {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("processes with %s: want %t for 20 seconds", word, want)
		}
	}
}

func running(t *testing.T, word string) bool {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		// It may be gone.
		if line, err := os.ReadFile(file); err == nil && bytes.Contains(line, []byte(word)) {
			return true
		}
	}
	return false
}
