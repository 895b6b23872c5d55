package builder

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"ampoule/artifact"
	"ampoule/audit"
	"ampoule/builder/fetch"
	"ampoule/builder/layers"
	"ampoule/builder/sandbox"
	"ampoule/builder/sandbox/fake"
	"ampoule/internal/basetime"
	"ampoule/recipes"
	"ampoule/store"
	"ampoule/tree"
)

const (
	suffix  = ".cpython-313-x86_64-linux-gnu.so"
	library = "lib/python3.13/"
	wheel   = "demo-1.0-py3-none-any.whl"
	digest  = "sha256:" + "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
)

// compile compiles C source with the host's gcc, a requirement of these tests,
// without the host's libc.
func compile(t *testing.T, name, source string, flags ...string) []byte {
	t.Helper()
	out := filepath.Join(t.TempDir(), name)
	cmd := exec.Command("gcc", append([]string{"-x", "c", "-", "-nostdlib", "-fPIC", "-o", out}, flags...)...)
	cmd.Stdin = strings.NewReader(source)
	if told, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("compiling %s: %v\n%s", name, err, told)
	}
	data, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// interpreter are the files of a CPython that the gate passes.
func interpreter(t *testing.T) []tree.Entry {
	t.Helper()
	python := compile(t, "python3.13", "int _PyRuntime; int PyList_New(void){return 0;} int main(void){return 0;}",
		"-Wl,-e,main", "-rdynamic", "-Wl,--disable-new-dtags", "-Wl,-rpath,$ORIGIN/../lib")
	module := compile(t, "_x"+suffix, "int PyList_New(void); int PyInit__x(void){return PyList_New();}", "-shared")
	return []tree.Entry{
		tree.FileEntry("bin/python3.13", 0o755, python),
		{Path: "bin/python3", Kind: tree.Symlink, Link: "python3.13"},
		tree.FileEntry("include/python3.13/patchlevel.h", 0o644, []byte("#define PY_VERSION \"3.13.5\"\n")),
		tree.FileEntry(library+"os.py", 0o644, nil),
		tree.FileEntry(library+"_sysconfigdata__linux_x86_64-linux-gnu.py", 0o644, []byte("build_time_vars = {'SOABI': 'cpython-313', 'EXT_SUFFIX': '"+suffix+"'}\n")),
		tree.FileEntry(library+"lib-dynload/_x"+suffix, 0o755, module),
	}
}

// baseFiles are the files of a base: only what an executable names.
func baseFiles(t *testing.T) []tree.Entry {
	t.Helper()
	loader := compile(t, "ld-linux-x86-64.so.2", "int loader;", "-shared", "-Wl,-soname,ld-linux-x86-64.so.2")
	return []tree.Entry{
		{Path: "lib64", Kind: tree.Symlink, Link: "/usr/lib64"},
		tree.FileEntry("usr/lib64/ld-linux-x86-64.so.2", 0o755, loader),
		tree.FileEntry("etc/os-release", 0o644, []byte("ID=debian\nVERSION_CODENAME=bookworm\n")),
		tree.FileEntry("var/lib/dpkg/status", 0o644, []byte("Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2.36\n\n")),
	}
}

// distribution are the files of demo 1.0, relative to site-packages.
func distribution() []tree.Entry { return distributionOf([]byte("answer = 42\n")) }

// distributionOf is demo 1.0 with a text in its package.
func distributionOf(text []byte) []tree.Entry { return distributionFor("py3-none-any", text) }

// distributionFor is demo 1.0 as a wheel with a tag has it.
func distributionFor(tag string, text []byte) []tree.Entry {
	const info = "demo-1.0.dist-info/"
	entries := []tree.Entry{
		tree.FileEntry("demo/__init__.py", 0o644, text),
		tree.FileEntry(info+"METADATA", 0o644, []byte("Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n")),
		tree.FileEntry(info+"WHEEL", 0o644, []byte("Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: "+tag+"\n")),
	}
	return recorded(info, entries)
}

// recorded adds the RECORD of a wheel's files, in its .dist-info directory.
func recorded(info string, entries []tree.Entry) []tree.Entry {
	var record strings.Builder
	for _, e := range entries {
		sum, _ := hex.DecodeString(e.SHA256)
		fmt.Fprintf(&record, "%s,sha256=%s,%d\n", e.Path, base64.RawURLEncoding.EncodeToString(sum), e.Size)
	}
	record.WriteString(info + "RECORD,,\n")
	return append(entries, tree.FileEntry(info+"RECORD", 0o644, []byte(record.String())))
}

func pack(entries []tree.Entry) []byte {
	var buf bytes.Buffer
	w := zip.NewWriter(&buf)
	for _, e := range entries {
		data, _ := e.ReadAll()
		f, _ := w.Create(e.Path)
		f.Write(data)
	}
	w.Close()
	return buf.Bytes()
}

// world is a machine without Docker on which a recipe is built: what would run there
// is written here.
type world struct {
	t *testing.T
	// needs are what its builder is made of, budget is what each call may take; they may
	// be replaced before building.
	needs  Dependencies
	budget Budget
	runner *fake.Runner
	st     *store.Store
	recipe *recipes.Recipe
	reqs   *recipes.RequirementSet
	lock   *recipes.Lock
	base   sandbox.Layer
	// interpreter, wheel and loads may be replaced before building.
	interpreter []tree.Entry
	wheel       []byte
	load        func(m audit.Module) loaded
	// leaks is what holds the sandbox's host name: a wheel, or the interpreter.
	leaks string
	// test does one of the recipe's tests.
	test func(ctx context.Context, step sandbox.Step) error

	mu        sync.Mutex
	opened    int
	asked     []string
	published map[string]string
	artifacts []artifact.Artifact
	groups    []artifact.Group
	// bills are the bills of materials of the artifacts, groupBills those of the groups.
	bills, groupBills [][]byte
}

const recipeText = `apiVersion: ampoule/v1
name: web
python: {version: 3.13.5}
base: {image: "registry.invalid/base@` + digest + `"}
requirements: [demo==1.0]
runtime:
  container: {base: {image: "registry.invalid/base@` + digest + `"}}
  vm: {glibc: "2.36"}
test:
  imports: [demo]
  commands: [[python3, -m, demo]]
`

func newWorld(t *testing.T) *world {
	t.Helper()
	st, err := store.Open(filepath.Join(t.TempDir(), "store"))
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, st: st, interpreter: interpreter(t), wheel: pack(distribution()), published: map[string]string{}}
	w.load = func(m audit.Module) loaded {
		return loaded{Kind: audit.KindImport, Module: m.Name, File: m.File, OK: true, Mapped: []string{"PLACE/bin/python3.13", "PLACE/" + m.File}}
	}
	w.test = func(context.Context, sandbox.Step) error { return nil }
	root, err := tree.New(baseFiles(t))
	if err != nil {
		t.Fatal(err)
	}
	if w.base, err = layers.Save(t.Context(), st, root, ""); err != nil {
		t.Fatal(err)
	}
	w.runner = fake.New(w.step)
	w.budget.Jobs = 2
	w.needs = Dependencies{
		Store: st, Fetch: fetch.New(st, fetch.Config{}), Publisher: w, Bases: w,
		Now: func() time.Time { return basetime.Of(t) },
		Sandboxes: func(context.Context) (Sandboxes, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.opened++
			return Sandboxes{Runner: w.runner, Images: w.runner}, nil
		},
	}
	if w.recipe, err = recipes.ParseRecipe("ampoule.yaml", []byte(recipeText)); err != nil {
		t.Fatal(err)
	}
	if w.reqs, err = recipes.ReadRequirements(w.recipe); err != nil {
		t.Fatal(err)
	}
	image := recipes.LockedBase{Image: "registry.invalid/base@" + digest, Suite: "bookworm"}
	w.lock = &recipes.Lock{
		APIVersion: recipes.APIVersion, Answers: recipes.MakeAnswers(w.recipe, w.reqs),
		Python: recipes.LockedPython{Version: "3.13.5", File: "Python-3.13.5.tar.xz", SHA256: w.put("source")},
		Base:   image, Targets: map[string]recipes.LockedBase{"container": image, "vm": image}, Requirements: []string{"demo==1.0"},
		Dists: []recipes.Dist{{Name: "demo", Version: "1.0", File: "demo-1.0.tar.gz", SHA256: w.put("sdist"), Build: &recipes.BuildSet{}}},
	}
	return w
}

func (w *world) put(content string) string {
	w.t.Helper()
	sum, _, err := w.st.Put(w.t.Context(), strings.NewReader(content))
	if err != nil {
		w.t.Fatal(err)
	}
	return sum
}

// putAgain brings back what was dropped.
func (w *world) putAgain(content []byte) {
	w.t.Helper()
	if _, _, err := w.st.Put(w.t.Context(), bytes.NewReader(content)); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) builder() *Builder {
	w.t.Helper()
	b, err := New(w.needs)
	if err != nil {
		w.t.Fatal(err)
	}
	return b
}

// request asks for what the world has.
func (w *world) request() Request {
	return Request{Recipe: w.recipe, Requirements: w.reqs, Lock: w.lock, Budget: w.budget}
}

func (w *world) build() (Result, error) { return w.builder().Build(w.t.Context(), w.request()) }

// basePart is all that the base's registry has.
const basePart = "a layer"

// PullBase implements Bases.
func (w *world) PullBase(context.Context, string, string) ([]sandbox.Layer, sandbox.Config, error) {
	return []sandbox.Layer{w.base}, sandbox.Config{Architecture: "amd64"}, nil
}

// BaseFiles implements Bases.
func (w *world) BaseFiles(context.Context, string, string) ([]artifact.File, error) {
	return []artifact.File{artifact.BytesFile("layer-0", artifact.LayerType, []byte(basePart))}, nil
}

// FindKey implements Publisher.
func (w *world) FindKey(_ context.Context, name, key string) (string, bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked = append(w.asked, name)
	found, ok := w.published[key]
	return found, ok, nil
}

// Publish implements Publisher.
func (w *world) Publish(_ context.Context, a artifact.Artifact) (string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.artifacts = append(w.artifacts, a)
	sum := sha256.Sum256([]byte(a.Key))
	w.published[a.Key] = "sha256:" + hex.EncodeToString(sum[:])
	bill, err := a.SBOM(w.published[a.Key])
	w.bills = append(w.bills, bill)
	return w.published[a.Key], err
}

// Tree implements GroupPublisher.
func (w *world) Tree(_ context.Context, _, digest, _ string) (string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range w.artifacts {
		if w.published[a.Key] == digest {
			return a.Config.Labels[artifact.LabelTree], nil
		}
	}
	return "another tree", nil
}

// FindGroup implements GroupPublisher.
func (w *world) FindGroup(_ context.Context, _, _, key string) (string, bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	found, ok := w.published[key]
	return found, ok, nil
}

// PublishGroup implements GroupPublisher.
func (w *world) PublishGroup(_ context.Context, g artifact.Group) (string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.groups = append(w.groups, g)
	sum := sha256.Sum256([]byte(g.Record.Key))
	w.published[g.Record.Key] = "sha256:" + hex.EncodeToString(sum[:])
	bill, err := g.SBOM(w.published[g.Record.Key])
	w.groupBills = append(w.groupBills, bill)
	return w.published[g.Record.Key], err
}

// leak is a file that tells where it was made.
func leak(s *fake.Sandbox) []byte {
	return fmt.Appendf(nil, "first = 1\nhost = %q\n", s.Spec.Guise.Hostname)
}

// below puts entries below a directory.
func below(dir string, entries []tree.Entry) []tree.Entry {
	moved := slices.Clone(entries)
	for i := range moved {
		moved[i].Path = path.Join(strings.TrimPrefix(dir, "/"), moved[i].Path)
	}
	return moved
}

// step does what the steps of every stage do.
func (w *world) step(ctx context.Context, s *fake.Sandbox, step sandbox.Step) error {
	args := strings.Join(step.Args, " ")
	switch {
	case step.Args[0] == "cat":
		e, ok := s.Files().Lookup(strings.TrimPrefix(step.Args[1], "/"))
		if !ok {
			return &sandbox.ExitError{Args: step.Args, Code: 1}
		}
		data, err := e.ReadAll()
		fmt.Fprintf(step.Stdout, "%s", data)
		return err
	case strings.Contains(args, "finish.py"):
		fmt.Fprintln(step.Stdout, `{"Modules": {"_x": "yes"}}`)
		files := w.interpreter
		if w.leaks == OnlyInterpreter {
			files = append(slices.Clone(files), tree.FileEntry(library+"leak.py", 0o644, leak(s)))
		}
		return s.Write(below(Prefix, files)...)
	case strings.Contains(args, "driver.py wheel"):
		data := w.wheel
		if w.leaks == "demo" {
			data = pack(distributionOf(leak(s)))
		}
		out := []tree.Entry{tree.FileEntry("out/result.json", 0o644, []byte(`{"wheel": "`+wheel+`"}`)), tree.FileEntry("out/"+wheel, 0o644, data), {Path: "debug", Kind: tree.Dir, Mode: 0o755}}
		return s.Write(below(sandbox.WorkDir, out)...)
	case strings.Contains(args, "load.py"):
		return w.loadAll(s, step)
	case strings.HasPrefix(s.Spec.Name, "gate-"):
		return w.test(ctx, step)
	case step.Parallel != nil:
		s.Hold(compiling)
	}
	return nil
}

// compiling is the memory that compiling an interpreter holds, in bytes.
const compiling = 2 << 30

// loaded is what the gate's script says of one attempt to load a module.
type loaded struct {
	Kind, Module, File, Error string
	OK                        bool
	Mapped                    []string
}

func (w *world) loadAll(s *fake.Sandbox, step sandbox.Step) error {
	e, ok := s.Files().Lookup(step.Args[4][1:])
	if !ok {
		return &sandbox.ExitError{Args: step.Args, Code: 1}
	}
	data, err := e.ReadAll()
	if err != nil {
		return err
	}
	var modules []audit.Module
	if err := json.Unmarshal(data, &modules); err != nil {
		return err
	}
	place := step.Args[len(step.Args)-2]
	for _, m := range modules {
		said := []loaded{}
		if m.Name == "" && m.File == "" {
			for _, name := range m.Packages {
				said = append(said, w.load(audit.Module{Name: name}))
			}
		} else {
			said = append(said, w.load(m))
		}
		for _, told := range append(said, loaded{Kind: "done", File: m.File}) {
			line, err := json.Marshal(told)
			if err != nil {
				return err
			}
			if _, err := io.WriteString(step.Stdout, strings.ReplaceAll(string(line), "PLACE", place)+"\n"); err != nil {
				return err
			}
		}
	}
	return nil
}

// jobs are the options of make with which anything was compiled.
func (w *world) jobs() string {
	var found []string
	for _, s := range w.runner.Sandboxes() {
		for _, step := range s.Steps() {
			for _, arg := range step.Args {
				if strings.HasPrefix(arg, "-j") && !slices.Contains(found, arg) {
					found = append(found, arg)
				}
			}
		}
	}
	slices.Sort(found)
	return strings.Join(found, " ")
}

// checkClosed wants every sandbox that was started closed.
func (w *world) checkClosed() {
	w.t.Helper()
	for _, s := range w.runner.Sandboxes() {
		if !s.Closed() {
			w.t.Errorf("sandbox %s was left open", s.Spec.Name)
		}
	}
}
