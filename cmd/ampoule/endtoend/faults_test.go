//go:build docker

package endtoend

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"ampoule/recipes"
	"ampoule/store"
)

// faultRecipe requires one distribution, which a test makes.
const faultRecipe = `apiVersion: ampoule/v1
name: %s
` + quickstartPython + `base: {debian: bookworm}
requirements: [%s]
runtime:
  container: {base: {debian: bookworm}}
`

// packing is what backends pack a wheel with.
const packing = `
import base64, hashlib, os, subprocess, sys, sysconfig, time, zipfile

def pack(directory, tag, name, content):
    pure = "true" if tag.endswith("-any") else "false"
    files = {
        name: content,
        "victim-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: victim\nVersion: 1.0\n",
        "victim-1.0.dist-info/WHEEL": ("Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: %s\nTag: %s\n" % (pure, tag)).encode(),
    }
    record = ""
    for name, data in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        record += "%s,sha256=%s,%d\n" % (name, digest, len(data))
    files["victim-1.0.dist-info/RECORD"] = (record + "victim-1.0.dist-info/RECORD,,\n").encode()
    wheel = "victim-1.0-" + tag + ".whl"
    with zipfile.ZipFile(os.path.join(directory, wheel), "w") as z:
        for name, data in files.items():
            z.writestr(zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0)), data)
    return wheel
`

// backend is an in-tree build backend (PEP 517) whose build does what a fault says.
const backend = packing + `
def build_wheel(directory, config_settings=None, metadata_directory=None):
    fault()
    return pack(directory, "py3-none-any", "victim.py", b"answer = 42\n")

def fault():
FAULT
`

// faults are what builds do that they should not, as the body of a Python function.
var faults = []struct {
	name, does string
	// code is the exit code, says a part of what is told; 0 is a build that passes.
	code int
	says string
	args []string
}{
	{name: "nothing", does: `pass`},
	{name: "compile-error", does: `
    open("a.c", "w").write("#include <libpq-fe.h>\n")
    sys.exit(subprocess.run(["gcc", "-c", "a.c"]).returncode)`, code: 8, says: "libpq-fe.h"},
	{name: "compiles-for-its-own-processor", does: `
    open("a.c", "w").close()
    call = ["gcc", "-O2", "-march=native", "-c", "a.c"]
    print(*call, flush=True)
    subprocess.run(call, check=True)`, code: 4, says: "isa: lib/python3.13/site-packages/victim-1.0.dist-info"},
	{name: "ends-by-signal", does: `os.kill(os.getpid(), 11)`, code: 8, says: "exit code 139, SIGSEGV"},
	{name: "writes-outside", does: `open("/opt/ampoule/lib/python3.13/site-packages/evil.py", "w")`, code: 8, says: "Permission denied"},
	{name: "forks-without-end", does: `
    while True:
        if os.fork() == 0:
            time.sleep(600)`, code: 8, says: "Resource temporarily unavailable"},
	{name: "eats-memory", does: `
    eaten = []
    while True:
        eaten.append(bytearray(1 << 24))`, code: 8, says: "--step-memory", args: []string{"--step-memory", "256MiB"}},
	{name: "sleeps-for-ever", does: `time.sleep(10**6)`, code: 8, says: "not done after 10s", args: []string{"--step-timeout", "10s"}},
	{name: "prints-1-gb", does: `
    for i in range(1 << 10):
        sys.stdout.write("x" * 1023 + "\n" + "y" * ((1 << 20) - 1025) + "\n")
    sys.stdout.flush()
    sys.exit("enough")`, code: 8, says: "enough"},
	{name: "prints-control-codes", does: `sys.exit("\x1b]0;owned\x07\x1b[2Jcleared")`, code: 8, says: "cleared"},
	{name: "leaves-daemons", does: `
    subprocess.Popen(["sleep", "600"], start_new_session=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)`},
	{name: "kills-init", does: `
    os.kill(1, 9)
    os.kill(1, 15)
    time.sleep(600)`, code: 8, says: "the sandbox ended before the step"},
	{name: "asks-the-network", does: `
    import socket
    socket.create_connection(("192.0.2.1", 80), 5)`, code: 8, says: "Network is unreachable"},
	{name: "asks-docker", does: `
    import socket
    socket.socket(socket.AF_UNIX).connect("/var/run/docker.sock")`, code: 8, says: "No such file or directory"},
	{name: "wrong-metadata", does: `globals()["build_wheel"].__globals__["zipfile"].ZipInfo = None`, code: 8, says: "TypeError"},
}

// sdistFault is an sdist that must not be unpacked.
type sdistFault struct {
	name    string
	members []tar.Header
	says    string
}

func sdistFaults() []sdistFault {
	const top = "victim-1.0/"
	many := make([]tar.Header, 200_001)
	for i := range many {
		many[i] = tar.Header{Name: fmt.Sprintf(top+"%d", i), Typeflag: tar.TypeReg}
	}
	return []sdistFault{
		{"leaves-by-dots", []tar.Header{{Name: top + "../../evil", Typeflag: tar.TypeReg}}, "outside the destination"},
		{"leaves-by-root", []tar.Header{{Name: "/tmp/evil", Typeflag: tar.TypeReg}}, "outside the destination"},
		{"links-out", []tar.Header{{Name: top + "etc", Linkname: "../../../etc", Typeflag: tar.TypeSymlink}}, "outside the destination"},
		{"writes-through-a-link", []tar.Header{
			{Name: top + "here", Linkname: ".", Typeflag: tar.TypeSymlink}, {Name: top + "here/evil", Typeflag: tar.TypeReg},
		}, "lies below the link"},
		{"has-a-device", []tar.Header{{Name: top + "null", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3}}, "a device or a pipe"},
		{"bomb-of-bytes", []tar.Header{{Name: top + "zeros", Size: 9 << 30, Typeflag: tar.TypeReg}}, "unpacks to more than"},
		{"bomb-of-files", many, "unpacks to more than"},
		{"name-of-control-codes", []tar.Header{{Name: top + "\x1b]0;owned\x07\n\x1b[2J", Typeflag: tar.TypeFifo}}, "a device or a pipe"},
		{"name-too-long", []tar.Header{{Name: top + strings.Repeat("n", 300), Typeflag: tar.TypeReg}}, "File name too long"},
		{"several-directories", []tar.Header{{Name: "other/", Mode: 0o755, Typeflag: tar.TypeDir}}, "holds one directory"},
	}
}

// TestFaults builds distributions whose builds misbehave, in real sandboxes: what is told,
// the exit code, and that nothing is published and nothing left. What docs/faults.md says
// of them is tested here.
func TestFaults(t *testing.T) {
	beside(t)
	f := newFaultWorld(t)
	calm, errs, code := f.startAfresh(t, `pass`)()
	if code != 0 {
		t.Fatalf("without a fault: exit code %d\n%s", code, last(errs, 4000))
	}
	// What passes is another one each time, since its wheel is remembered.
	nonce := fmt.Sprintf("\n    # %d", time.Now().UnixNano())
	for _, fault := range faults {
		t.Run(fault.name, func(t *testing.T) {
			does := indented(fault.does)
			if fault.code == 0 {
				does = "\n" + strings.TrimPrefix(does, "\n") + nonce
			}
			out, errs, code := f.build(t, fault.name, does, fault.args...)
			if code != fault.code || !strings.Contains(errs, fault.says) {
				t.Errorf("exit code %d, want %d and %q:\n%s", code, fault.code, fault.says, last(errs, 4000))
			}
			if strings.ContainsAny(errs, "\x1b\x07") {
				t.Error("control codes reach the terminal")
			}
			if fault.code == 0 {
				if !strings.HasPrefix(out, "fault-"+fault.name+"@sha256:") {
					t.Errorf("told %q", out)
				}
			} else {
				f.notPublished(t, fault.name, out)
			}
			if list := f.abandoned(t); len(list) > 0 {
				t.Errorf("containers: %s", list)
			}
		})
	}
	for _, fault := range sdistFaults() {
		t.Run(fault.name, func(t *testing.T) {
			out, errs, code := f.startRecipe(t, f.writeFor(t, fault.name, pack(t, f.backend, "pass", fault.members...)))()
			if code != 8 || !strings.Contains(errs, fault.says) {
				t.Errorf("exit code %d, want 8 and %q:\n%s", code, fault.says, last(errs, 4000))
			}
			if strings.ContainsAny(errs, "\x1b\x07") {
				t.Error("control codes reach the terminal")
			}
			f.notPublished(t, fault.name, out)
		})
	}
	if log := f.log(t, "prints-1-gb"); log > 65<<20 {
		t.Errorf("the log of what printed 1 GB has %d bytes", log)
	}
	// What comes after gives what came before.
	digest, errs, code := f.startAfresh(t, `pass`)()
	if code != 0 || digest != calm {
		t.Errorf("after all faults: %q, before %q, code %d:\n%s", digest, calm, code, last(errs, 4000))
	}
}

func last(text string, n int) string { return text[max(0, len(text)-n):] }

// faultWorld has a lock without distributions, to which those of the faults are added, and
// a place that keeps them.
type faultWorld struct {
	lock  *recipes.Lock
	kept  string
	store string
	// recipe and backend are the recipe's text and the distribution's build backend.
	recipe, backend string
	// env is what builds get beside the environment, umask what they are run with; empty
	// is this process's.
	env   []string
	umask string
	// cut takes the network away from builds: what they have is the engine's socket.
	cut bool
	// told gets what builds say, too.
	told io.Writer
}

func newFaultWorld(t *testing.T) *faultWorld { return newFaultWorldFor(t, faultRecipe) }

// newFaultWorldFor takes another recipe, which is as [faultRecipe] in what it leaves open.
func newFaultWorldFor(t *testing.T, recipe string) *faultWorld {
	t.Helper()
	f := &faultWorld{kept: t.TempDir(), store: filepath.Join(cache, "store"), recipe: recipe, backend: backend}
	once, _ := baseLocks.LoadOrStore(recipe, sync.OnceValues(func() (*recipes.Lock, error) { return lockBase(t, recipe) }))
	lock, err := once.(func() (*recipes.Lock, error))()
	if err != nil {
		t.Fatal(err)
	}
	f.lock = lock
	return f
}

// baseLocks has the locks of this run, as functions that give one, by the recipes' texts.
var baseLocks sync.Map

// lockBase locks a recipe without distributions.
func lockBase(t *testing.T, recipe string) (*recipes.Lock, error) {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "ampoule.yaml")
	if err := os.WriteFile(file, fmt.Appendf(nil, recipe, "fault-base", ""), 0o644); err != nil {
		return nil, err
	}
	if _, errs, code := attempt(t, "-f", file, "lock"); code != 0 {
		return nil, fmt.Errorf("locking %s ends with code %d\n%s", file, code, errs)
	}
	return recipes.ReadLock(filepath.Join(dir, "ampoule.lock"))
}

// build builds a recipe that requires the distribution of a fault.
func (f *faultWorld) build(t *testing.T, name, does string, args ...string) (out, errs string, code int) {
	t.Helper()
	return f.start(t, name, does, args...)()
}

// write writes a recipe that requires the distribution of a fault, with its lock.
func (f *faultWorld) write(t *testing.T, name, does string) (recipe string) {
	t.Helper()
	return f.writeFor(t, name, pack(t, f.backend, does))
}

// writeFor writes a recipe that requires a distribution.
func (f *faultWorld) writeFor(t *testing.T, name string, sdist []byte) (recipe string) {
	t.Helper()
	sum := sha256.Sum256(sdist)
	file := hex.EncodeToString(sum[:])
	if err := os.WriteFile(filepath.Join(f.kept, file), sdist, 0o644); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	recipe = filepath.Join(dir, "ampoule.yaml")
	if err := os.WriteFile(recipe, fmt.Appendf(nil, f.recipe, "fault-"+name, "victim==1.0"), 0o644); err != nil {
		t.Fatal(err)
	}
	r, err := recipes.ReadRecipe(recipe)
	if err != nil {
		t.Fatal(err)
	}
	reqs, err := recipes.ReadRequirements(r)
	if err != nil {
		t.Fatal(err)
	}
	lock := *f.lock
	lock.Answers = recipes.MakeAnswers(r, reqs)
	lock.Requirements = []string{"victim==1.0"}
	lock.Dists = []recipes.Dist{{Name: "victim", Version: "1.0", File: "victim-1.0.tar.gz", SHA256: file, Build: &recipes.BuildSet{}}}
	if err := os.WriteFile(filepath.Join(dir, "ampoule.lock"), lock.Encode(), 0o644); err != nil {
		t.Fatal(err)
	}
	return recipe
}

// start starts a build, and returns what waits for its end.
func (f *faultWorld) start(t *testing.T, name, does string, args ...string) func() (out, errs string, code int) {
	t.Helper()
	return f.startRecipe(t, f.write(t, name, does), args...)
}

// startRecipe starts the build of a recipe, and returns what waits for its end.
func (f *faultWorld) startRecipe(t *testing.T, recipe string, args ...string) func() (out, errs string, code int) {
	t.Helper()
	args = append([]string{program, "--store", f.store, "--progress", "plain", "-f", recipe, "build"}, args...)
	if f.umask != "" {
		args = append([]string{"/bin/sh", "-c", `umask "$1"; shift; exec "$@"`, "sh", f.umask}, args...)
	}
	cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
	cmd.Env = append(append(os.Environ(), "AMPOULE_KEPT="+f.kept), f.env...)
	if f.cut {
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if f.told != nil {
		cmd.Stderr = io.MultiWriter(&stderr, f.told)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return func() (string, string, int) {
		var exit *exec.ExitError
		if err := cmd.Wait(); err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		return strings.TrimSpace(stdout.String()), stderr.String(), cmd.ProcessState.ExitCode()
	}
}

// abandoned lists containers of wheels' builds in the test's store whose process has ended: those
// of tests that run beside have one.
func (f *faultWorld) abandoned(t *testing.T) []string {
	t.Helper()
	st, err := store.Open(f.store)
	if err != nil {
		t.Fatal(err)
	}
	id, _, err := st.KnownID()
	if err != nil {
		t.Fatal(err)
	}
	orphans := func() (found []string) {
		list := run(t, "docker", "ps", "--all", "--filter", "name=ampoule-wheel-victim", "--filter", "label=ampoule.store="+id,
			"--format", `{{.Names}} {{.Label "ampoule.owner"}}`)
		for line := range strings.Lines(list) {
			name, owner, _ := strings.Cut(strings.TrimSpace(line), " ")
			if _, err := os.Stat(filepath.Join(st.Dir(store.Owners), owner+".lock")); err != nil {
				found = append(found, name)
			}
		}
		return found
	}
	// A process may end between the two looks of one, with its containers.
	first := orphans()
	return slices.DeleteFunc(orphans(), func(name string) bool { return !slices.Contains(first, name) })
}

// notPublished wants a build that failed to have published nothing.
func (f *faultWorld) notPublished(t *testing.T, name, told string) {
	t.Helper()
	if told != "" {
		t.Errorf("a build that failed told %q", told)
	}
	blobs, err := filepath.Glob(filepath.Join(f.store, "registry", "repositories", "fault-"+name, "index.json"))
	if err != nil || len(blobs) > 0 {
		t.Errorf("published: %q, %v", blobs, err)
	}
}

// log is the size of the log of a fault's build.
func (f *faultWorld) log(t *testing.T, name string) int64 {
	t.Helper()
	logs, err := filepath.Glob(filepath.Join(f.store, "logs", "*-fault-"+name+"-*", "wheel-victim-1.0.log"))
	if err != nil || len(logs) == 0 {
		t.Fatalf("logs %q, %v", logs, err)
	}
	info, err := os.Stat(logs[len(logs)-1])
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// indented makes a function's body of statements.
func indented(code string) string {
	if strings.HasPrefix(code, "\n") {
		return code
	}
	return "    " + code
}

// pack makes an sdist whose backend does what a fault says. More members come behind it;
// none of them has the content that its header may speak of.
func pack(t *testing.T, backend, does string, more ...tar.Header) []byte {
	t.Helper()
	var buf bytes.Buffer
	z := gzip.NewWriter(&buf)
	w := tar.NewWriter(z)
	for _, file := range []struct{ name, data string }{
		{"victim-1.0/PKG-INFO", "Metadata-Version: 2.1\nName: victim\nVersion: 1.0\n"},
		{"victim-1.0/pyproject.toml", "[build-system]\nrequires = []\nbuild-backend = 'backend'\nbackend-path = ['.']\n"},
		{"victim-1.0/backend.py", strings.Replace(backend, "FAULT", indented(does), 1)},
	} {
		if err := w.WriteHeader(&tar.Header{Name: file.name, Mode: 0o644, Size: int64(len(file.data)), Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, file.data); err != nil {
			t.Fatal(err)
		}
	}
	for _, header := range more {
		if err := w.WriteHeader(&header); err != nil {
			t.Fatal(err)
		}
	}
	// What has no content is told, and does no harm.
	if err := w.Close(); err != nil && len(more) == 0 {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// TestFullStore has the store's disk fill up when each stage begins, one build after the
// other. What was made before is found again, and in the end the digest is the one of a
// store that always had room, although umask, locale and time zone are others and there is
// no network.
func TestFullStore(t *testing.T) {
	beside(t)
	f := newFaultWorld(t)
	calm, errs, code := f.build(t, "full-store", `pass`)
	if code != 0 {
		t.Fatalf("with room: exit code %d\n%s", code, last(errs, 4000))
	}
	disk := t.TempDir()
	run(t, "mount", "-t", "tmpfs", "-o", "size=4g", "ampoule-test", disk)
	t.Cleanup(func() {
		if err := syscall.Unmount(disk, 0); err != nil {
			t.Error(err)
		}
	})
	ampoule(t, "-f", f.write(t, "full-store", `pass`), "fetch", "--to", f.kept)
	f.store = filepath.Join(disk, "store")
	// From here on nothing but what was kept, and the engine.
	f.cut = true
	f.umask, f.env = "077", []string{"LC_ALL=C", "LANG=tr_TR.UTF-8", "TZ=Asia/Tokyo"}
	// What is fetched comes too fast to be noticed.
	leave(t, disk, 20<<20)
	for _, full := range []struct {
		stage string
		// free is how many bytes there are when it starts.
		free int64
	}{
		{"nothing", 64 << 10}, {"toolchain base", 64 << 10}, {"toolchain installing", 64 << 10}, {"toolchain settings", 64 << 10},
		// Its log needs more at once: otherwise half of it would be compiled for nothing.
		{"interpreter", 4 << 10},
		{"wheel", 64 << 10}, {"seal", 64 << 10}, {"publish", 64 << 10},
	} {
		f.told = &watcher{until: " start " + full.stage, do: func() { leave(t, disk, full.free) }}
		start := time.Now()
		out, errs, code := f.build(t, "full-store", `pass`)
		t.Logf("full when it starts %s: after %s", full.stage, time.Since(start).Round(100*time.Millisecond))
		if code != 6 || !strings.Contains(strings.ToLower(errs), "no space left on device") {
			t.Errorf("full when it starts %s: exit code %d\n%s", full.stage, code, last(errs, 4000))
		}
		f.notPublished(t, "full-store", out)
		run(t, "mount", "-o", "remount,size=4g", disk)
	}
	f.told = nil
	out, errs, code := f.build(t, "full-store", `pass`)
	if code != 0 || out != calm {
		t.Errorf("built %s, with room %s, code %d\n%s", out, calm, code, last(errs, 4000))
	}
	left, err := os.ReadDir(filepath.Join(f.store, "tmp"))
	if err != nil || len(left) > 0 {
		t.Errorf("left in tmp: %v, %v", left, err)
	}
}

// leave makes a tmpfs as small as it can be, but for some bytes.
func leave(t *testing.T, dir string, free int64) {
	for range 100 {
		var disk syscall.Statfs_t
		if err := syscall.Statfs(dir, &disk); err != nil {
			t.Error(err)
			return
		}
		used := int64(disk.Blocks-disk.Bfree) * disk.Bsize
		// It grows meanwhile, and cannot be smaller than what it holds.
		if exec.Command("mount", "-o", fmt.Sprintf("remount,size=%d", used+free), dir).Run() == nil {
			return
		}
	}
	t.Errorf("%s does not become smaller", dir)
}

// watcher does something when a text was written to it, once.
type watcher struct {
	until string
	do    func()
	seen  []byte
}

// Write implements [io.Writer].
func (w *watcher) Write(p []byte) (int, error) {
	if w.seen = append(w.seen, p...); w.do != nil && bytes.Contains(w.seen, []byte(w.until)) {
		w.do()
		w.do = nil
	}
	return len(p), nil
}

// TestProcesses starts two builds at once. Of one key one builds and the other follows; of
// two keys that share a wheel one builds it.
func TestProcesses(t *testing.T) {
	beside(t)
	f := newFaultWorld(t)
	nonce := fmt.Sprintf("time.sleep(3) # %d", time.Now().UnixNano())
	for _, names := range [][2]string{{"one", "one"}, {"left", "right"}} {
		var digests []string
		built, followed := 0, 0
		first, second := f.start(t, names[0], nonce+names[0]), f.start(t, names[1], nonce+names[0])
		for _, wait := range []func() (string, string, int){first, second} {
			out, errs, code := wait()
			if code != 0 {
				t.Fatalf("%v: exit code %d\n%s", names, code, last(errs, 4000))
			}
			digests = append(digests, out)
			built += strings.Count(errs, " done  wheel victim==1.0")
			followed += strings.Count(errs, " ready wheel victim==1.0") + strings.Count(errs, "nothing was built")
		}
		if built != 1 || followed != 1 || (digests[0] == digests[1]) != (names[0] == names[1]) {
			t.Errorf("%v: the wheel was built %d times and found %d times, digests %q", names, built, followed, digests)
		}
	}
}

// TestSecondBuild checks a wheel that tells where it was built, and one that does not.
func TestSecondBuild(t *testing.T) {
	beside(t)
	f := newFaultWorld(t)
	f.backend = strings.Replace(backend, `b"answer = 42\n"`, `b"answer = 42\nhost = '%s'\n" % os.uname().nodename.encode()`, 1)
	out, errs, code := f.build(t, "leaks", `pass`, "--check", "--only", "victim")
	for _, want := range []string{"victim.py: line 2", "host = 'elsewhere'", "the host name where it was built"} {
		if !strings.Contains(out, want) {
			t.Errorf("it does not tell %q:\n%s", want, out)
		}
	}
	if code != 4 || !strings.Contains(errs, "error: victim==1.0: a second build gave other bits, in 2 places") {
		t.Errorf("exit code %d\n%s", code, last(errs, 4000))
	}
	f.backend = backend
	if out, errs, code = f.build(t, "leaks-nothing", `pass`, "--check", "--only", "victim"); code != 0 || !strings.HasPrefix(out, "same bits: victim==1.0 sha256:") {
		t.Errorf("exit code %d, told %q\n%s", code, out, last(errs, 4000))
	}
}

// TestKeptInRegistry builds what no mirror has, and the store no more: it is kept in a registry.
func TestKeptInRegistry(t *testing.T) {
	beside(t)
	f := newFaultWorld(t)
	does := fmt.Sprintf("pass # %d", time.Now().UnixNano())
	calm, errs, code := f.startAfresh(t, does)()
	if code != 0 {
		t.Fatalf("exit code %d\n%s", code, last(errs, 4000))
	}
	kept := newRegistry(t) + "/team"
	recipe := f.write(t, "engine", does)
	ampoule(t, "-f", recipe, "fetch", "--to", kept)
	lock, err := recipes.ReadLock(filepath.Join(filepath.Dir(recipe), "ampoule.lock"))
	if err != nil {
		t.Fatal(err)
	}
	sdist := lock.Dists[0].SHA256
	if err := os.Remove(filepath.Join(f.store, "content", sdist[:2], sdist)); err != nil {
		t.Fatal(err)
	}
	f.env = []string{"AMPOULE_KEPT=" + kept, "AMPOULE_SOURCE_PYPI=http://127.0.0.1:9/simple"}
	if again, errs, code := f.startAfresh(t, does)(); code != 0 || again != calm {
		t.Errorf("from kept inputs %q, before %s, code %d\n%s", again, calm, code, last(errs, 4000))
	}
}
