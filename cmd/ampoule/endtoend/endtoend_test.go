//go:build docker

// Package endtoend drives the program as a user does, with a real engine, real
// mirrors and real compilers.
package endtoend

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"ampoule/recipes"
)

// buildTime bounds one verb of the program.
const buildTime = 30 * time.Minute

// program is the path of the compiled program, cache a directory that outlives the
// tests: it has the store, so that downloads, bases and interpreters are made once.
// scratch is one that outlives each test, and no run.
var program, cache, scratch string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "ampoule-endtoend-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		program = filepath.Join(dir, "ampoule")
		if out, err := exec.Command("go", "build", "-o", program, "ampoule/cmd/ampoule").CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "%s%v\n", out, err)
			return 1
		}
		if cache, err = cacheDir(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		scratch = dir
		flag.Parse()
		if err := order.open(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		code := m.Run()
		if testing.Verbose() {
			order.write(os.Stdout)
		}
		return code
	}())
}

func cacheDir() (string, error) {
	user, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(user, "ampoule-test")
	return dir, os.MkdirAll(dir, 0o755)
}

// ampoule runs the program and returns what it writes to its standard output.
func ampoule(t *testing.T, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), buildTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, append([]string{"--store", filepath.Join(cache, "store"), "--progress", "plain"}, args...)...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("ampoule %s: %v\n%s", strings.Join(args, " "), err, errs.String())
	}
	return strings.TrimSpace(out.String())
}

// run runs any program and returns its output, both streams.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// artifact is a recipe that was locked and built in this run.
type artifact struct {
	recipe *recipes.Recipe
	ref    string
	file   string
}

// build locks and builds a copy of a recipe under a name of this run's own, so that
// sealing, gate and publication really happen, whatever the store has. Pairs of
// texts are replaced in the recipe first.
func build(t *testing.T, dir string, replace ...string) artifact {
	t.Helper()
	copied := t.TempDir()
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(copied, "ampoule.yaml")
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	old := "\nname: " + filepath.Base(dir) + "\n"
	if !bytes.Contains(data, []byte(old)) {
		t.Fatalf("%s is not named as its directory", file)
	}
	name := fmt.Sprintf("%s-%d", filepath.Base(dir), time.Now().UnixNano())
	data = bytes.Replace(data, []byte(old), []byte("\nname: "+name+"\n"), 1)
	data = []byte(strings.NewReplacer(replace...).Replace(string(data)))
	if err := os.WriteFile(file, data, 0o644); err != nil {
		t.Fatal(err)
	}
	ampoule(t, "-f", file, "lock", "--upgrade")
	ref := ampoule(t, "-f", file, "build")
	if !strings.HasPrefix(ref, name+"@sha256:") {
		t.Fatalf("build printed %q", ref)
	}
	r, err := recipes.ReadRecipe(file)
	if err != nil {
		t.Fatal(err)
	}
	return artifact{recipe: r, ref: ref, file: file}
}

// rootfs returns a root file system of a suite with essential packages and nothing else.
func rootfs(t *testing.T, suite string) string {
	t.Helper()
	return bootstrapped(t, suite, suite, "--variant=essential")
}

// bootstrapping is held while a root file system is made.
var bootstrapping sync.Mutex

// bootstrapped returns a root file system that mmdebstrap makes, and the cache keeps by name.
func bootstrapped(t *testing.T, name, suite string, args ...string) string {
	t.Helper()
	bootstrapping.Lock()
	defer bootstrapping.Unlock()
	root := filepath.Join(cache, "roots", name)
	if _, err := os.Stat(filepath.Join(root, "etc", "debian_version")); err == nil {
		return root
	}
	if err := os.MkdirAll(filepath.Dir(root), 0o755); err != nil {
		t.Fatal(err)
	}
	made := root + ".new"
	if err := os.RemoveAll(made); err != nil {
		t.Fatal(err)
	}
	run(t, "mmdebstrap", append(args, "--quiet", suite, made)...)
	if err := os.Rename(made, root); err != nil {
		t.Fatal(err)
	}
	return root
}

// installing is held to read while something is installed in root file systems, and to write
// while one is copied.
var installing sync.RWMutex

// copyRootfs copies a root file system as it is made.
func copyRootfs(t *testing.T, suite, to string) {
	t.Helper()
	from := rootfs(t, suite)
	installing.Lock()
	defer installing.Unlock()
	run(t, "cp", "-a", from+"/.", to)
}

// tryIn installs the artifact at two paths of a root file system, which no other one has, and
// runs every test of the recipe there, by chroot, with an environment of its own.
func tryIn(t *testing.T, a artifact, suite string) {
	t.Helper()
	root := rootfs(t, suite)
	installing.RLock()
	defer installing.RUnlock()
	for _, place := range []string{"/opt/" + a.recipe.Name + " one", "/srv/else/" + a.recipe.Name} {
		dir := filepath.Join(root, place)
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		ampoule(t, "install", a.ref, "--root", dir)
		bin := place + "/current/bin"
		inside := func(args ...string) string {
			return run(t, "chroot", append([]string{root, "/usr/bin/env", "-i", "HOME=/tmp", "PATH=" + bin + ":/usr/bin:/bin"}, args...)...)
		}
		for _, module := range a.recipe.Test.Imports {
			inside("python3", "-c", "import "+module)
		}
		for _, command := range a.recipe.Test.Commands {
			inside(command...)
		}
		prefix := inside("python3", "-c", "import sys, sysconfig; print(sys.prefix, sysconfig.get_path('include'))")
		if !strings.HasPrefix(prefix, place+"/") {
			t.Errorf("in %s the tree at %s says that it is in %s", suite, place, prefix)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
}

func TestQuickstartRecipe(t *testing.T) {
	beside(t)
	a := build(t, "../../../recipes/catalogue/quickstart")
	t.Run("again", func(t *testing.T) {
		if again := ampoule(t, "-f", a.file, "build"); again != a.ref {
			t.Errorf("the second build gave %s, the first %s", again, a.ref)
		}
	})
	t.Run("bookworm", func(t *testing.T) { tryIn(t, a, "bookworm") })
	t.Run("trixie", func(t *testing.T) { tryIn(t, a, "trixie") })
	t.Run("docker", func(t *testing.T) { tryDocker(t, a) })
	t.Run("moved", func(t *testing.T) { tryMoved(t, a) })
	t.Run("rot", func(t *testing.T) { tryRot(t, a) })
	t.Run("lying key", func(t *testing.T) { tryLyingKey(t, a) })
}

func TestSharedInterpreter(t *testing.T) {
	beside(t)
	a := build(t, "testdata/shared")
	out := ampoule(t, "run", a.ref, "--", "-c", "print([l.split()[-1] for l in open('/proc/self/maps') if 'libpython' in l][0])")
	if !strings.HasSuffix(out, "/opt/ampoule/lib/libpython3.13.so.1.0") {
		t.Errorf("python3 of --enable-shared has mapped %q", out)
	}
}

// TestEveryKindOfBuild builds a small distribution for each way in which sdists say what
// their builds need; the recipe's tests use what was built.
func TestEveryKindOfBuild(t *testing.T) {
	beside(t)
	a := build(t, "testdata/kinds")
	t.Run("bookworm", func(t *testing.T) { tryIn(t, a, "bookworm") })
}

// embedder is a program that holds a Python.
const embedder = `
#include <Python.h>
int main(void) {
    Py_Initialize();
    int failed = PyRun_SimpleString("import sys, ssl; import markupsafe._speedups; print('embedded', sys.version_info[:2])");
    return Py_FinalizeEx() < 0 || failed;
}
`

func TestEmbeddableInterpreter(t *testing.T) {
	beside(t)
	a := build(t, "testdata/embed")
	out := ampoule(t, "run", a.ref, "--", "-c", "print('libpython' in open('/proc/self/maps').read())")
	if out != "False" {
		t.Errorf("python3 of the static executable has libpython mapped: %s", out)
	}
	dir := t.TempDir()
	ampoule(t, "install", a.ref, "--root", dir)
	source, binary := filepath.Join(dir, "embed.c"), filepath.Join(dir, "embed")
	if err := os.WriteFile(source, []byte(embedder), 0o644); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "current", "bin", "python3-config")
	flags := strings.Fields(run(t, config, "--embed", "--includes", "--ldflags"))
	args := append([]string{"-o", binary, source, "-Wl,-rpath," + filepath.Join(dir, "current", "lib")}, flags...)
	run(t, "gcc", args...)
	cmd := exec.Command(binary)
	cmd.Env = []string{"PYTHONHOME=" + filepath.Join(dir, "current")}
	told, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(told), "embedded (3, 13)") {
		t.Errorf("the embedding program: %v\n%s", err, told)
	}
	if needed := run(t, "readelf", "-d", binary); !strings.Contains(needed, "libpython3.13.so.1.0") {
		t.Errorf("the embedding program does not link libpython:\n%s", needed)
	}
}

// TestOldGlibc builds on an image of a registry, for a container from Debian's packages. The
// interpreter is the one of [TestBaseImage].
func TestOldGlibc(t *testing.T) {
	beside(t)
	a := build(t, "testdata/legacy", "BASE", pushedBase(t))
	for _, suite := range []string{"bullseye", "bookworm", "trixie"} {
		t.Run(suite, func(t *testing.T) { tryIn(t, a, suite) })
	}
}
