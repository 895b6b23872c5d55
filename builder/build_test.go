package builder

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ampoule/artifact"
	"ampoule/audit"
	"ampoule/builder/failure"
	"ampoule/builder/layers"
	"ampoule/builder/sandbox"
	"ampoule/builder/sandbox/fake"
	"ampoule/faults"
	"ampoule/internal/basetime"
	"ampoule/recipes"
	"ampoule/store"
	"ampoule/tree"
)

func TestMakePlan(t *testing.T) {
	t.Parallel()
	deb := func(name, sum string) recipes.Deb {
		return recipes.Deb{Name: name, Version: "1", File: "pool/" + name, SHA256: sum}
	}
	l := &recipes.Lock{
		Python: recipes.LockedPython{Version: "3.13.5", File: "Python-3.13.5.tar.xz", SHA256: "py"},
		Debian: map[string]recipes.Suite{"bookworm": {deb("gcc", "g"), deb("libc6", "12")}, "bullseye": {deb("libc6", "11")}},
		Dists: []recipes.Dist{
			{Name: "demo", Version: "1", File: "demo-1.tar.gz", SHA256: "d", Build: &recipes.BuildSet{Dists: []string{"setuptools==2"}}},
			{Name: "flask", Version: "3", File: "flask-3-py3-none-any.whl", SHA256: "f"},
			{Name: "setuptools", Version: "2", File: "setuptools-2.tar.gz", SHA256: "s", Build: &recipes.BuildSet{}},
		},
	}
	r := &recipes.Recipe{Name: "web"}
	first := MakePlan(r, l, "linux/amd64", "")
	var inputs []string
	for _, item := range first.Inputs {
		inputs = append(inputs, strings.Join([]string{item.Source, item.Name, item.Version, item.File, item.SHA256}, " "))
	}
	want := []string{
		"cpython cpython 3.13.5 Python-3.13.5.tar.xz py",
		"debian gcc 1 pool/gcc g", "debian libc6 1 pool/libc6 11", "debian libc6 1 pool/libc6 12",
		"pypi demo 1 demo-1.tar.gz d", "pypi flask 3 flask-3-py3-none-any.whl f", "pypi setuptools 2 setuptools-2.tar.gz s",
	}
	if diff := cmp.Diff(want, inputs); diff != "" {
		t.Errorf("inputs (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"demo==1", "setuptools==2"}, first.Compiled); diff != "" {
		t.Errorf("compiled (-want +got):\n%s", diff)
	}
	for range 20 {
		if diff := cmp.Diff(first, MakePlan(r, l, "linux/amd64", "")); diff != "" {
			t.Fatalf("(-first +second):\n%s", diff)
		}
	}
	if MakePlan(r, l, "linux/arm64", "").Key == first.Key {
		t.Error("another platform has the same key")
	}
	l.Dists[0].SHA256 = "e"
	if MakePlan(r, l, "linux/amd64", "").Key == first.Key {
		t.Error("another sdist has the same key")
	}
}

func TestBuildStale(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.lock.Answers.Requirements = []string{"demo==0.9"}
	_, err := w.build()
	var faults recipes.Faults
	if !errors.As(err, &faults) || faults[0].File != "ampoule.yaml" || faults[0].Line != 5 {
		t.Errorf("got %v", err)
	}
	w.lock.Answers = recipes.MakeAnswers(w.recipe, w.reqs)
	w.recipe.Python.Configure = []string{"--with-magic"}
	if _, err := w.build(); !errors.As(err, &faults) || !strings.Contains(err.Error(), "--with-magic") {
		t.Errorf("got %v", err)
	}
	if w.opened != 0 || len(w.asked) != 0 {
		t.Errorf("sandboxes were opened %d times, the registry asked %d times", w.opened, len(w.asked))
	}
}

func TestWithoutLock(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	req := w.request()
	req.Lock = nil
	_, built := w.builder().Build(t.Context(), req)
	_, fetched := w.builder().FetchInputs(t.Context(), req)
	_, checked := w.builder().Check(t.Context(), req, "demo", nil)
	for name, err := range map[string]error{"build": built, "fetch": fetched, "check": checked} {
		if !errors.Is(err, ErrNoLock) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if w.opened != 0 || len(w.asked) != 0 {
		t.Errorf("sandboxes were opened %d times, the registry asked %d times", w.opened, len(w.asked))
	}
}

func TestBuildReused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	key := MakePlan(w.recipe, w.lock, "linux/amd64", "").Key
	w.published[key] = digest
	got, err := w.build()
	want := Result{Name: "web", Digest: digest, Key: key, Reused: true}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if w.opened != 0 || len(w.asked) != 1 {
		t.Errorf("sandboxes were opened %d times, the registry asked %d times", w.opened, len(w.asked))
	}
}

func TestBuild(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var ran []string
	w.test = func(_ context.Context, step sandbox.Step) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		ran = append(ran, step.Env[0]+" "+step.Args[0]+" "+step.Args[len(step.Args)-1])
		return nil
	}
	got, err := w.build()
	if err != nil {
		t.Fatal(err)
	}
	if got.Digest == "" || got.Reused || got.Logs == "" || got.Verdict == nil || !got.Verdict.Passed || len(got.Verdict.Targets) != 2 {
		t.Errorf("got %+v", got)
	}
	slices.Sort(ran)
	if diff := cmp.Diff([]string{
		"PATH=/opt/ampoule/bin:/usr/bin:/bin python3 demo",
		"PATH=/srv/ampoule/current/bin:/usr/bin:/bin python3 demo",
	}, ran); diff != "" {
		t.Errorf("tests (-want +got):\n%s", diff)
	}
	for _, name := range []string{"verdict.json", "verdict.sarif", "verdict.junit.xml"} {
		if info, err := os.Stat(filepath.Join(got.Logs, name)); err != nil || info.Size() == 0 {
			t.Errorf("beside the logs: %v", err)
		}
	}
	if len(w.artifacts) != 1 {
		t.Fatalf("published %d times", len(w.artifacts))
	}
	checkArtifact(t, w, w.artifacts[0])
	w.checkClosed()
	started := len(w.runner.Sandboxes())
	again, err := w.build()
	if err != nil || !again.Reused || again.Digest != got.Digest || len(w.runner.Sandboxes()) != started {
		t.Errorf("again: %+v, %v", again, err)
	}
}

func checkArtifact(t *testing.T, w *world, a artifact.Artifact) {
	t.Helper()
	plan := MakePlan(w.recipe, w.lock, "linux/amd64", "")
	if a.Name != "web" || a.Key != plan.Key || a.Platform != "linux/amd64" || !a.Created.Equal(tree.Time) || len(a.Base) != 1 || a.Base[0].DiffID != w.base.DiffID {
		t.Errorf("the artifact is %+v", a)
	}
	whole, owners := publishedTree(t, w, a)
	var verdict audit.Verdict
	if err := json.Unmarshal(a.Verdict, &verdict); err != nil || !verdict.Passed || verdict.Tree != whole.Hash() {
		t.Errorf("the verdict is %s, %v", a.Verdict, err)
	}
	fingerprint := a.Config.Labels[artifact.LabelFingerprint]
	labels := map[string]string{
		"dev.ampoule.key": plan.Key, "dev.ampoule.recipe": "web", "dev.ampoule.python": "3.13.5", "dev.ampoule.tree": whole.Hash(),
		"dev.ampoule.prefix": "/opt/ampoule", "dev.ampoule.repeatable": "true", "dev.ampoule.fingerprint": fingerprint,
	}
	if diff := cmp.Diff(labels, a.Config.Labels); diff != "" || !artifact.IsDigest(fingerprint) {
		t.Errorf("labels (-want +got):\n%s", diff)
	}
	config := a.Config
	config.Labels = nil
	if diff := cmp.Diff(artifact.Config{
		Architecture: "amd64", User: "65532:65532",
		Env: []string{
			"PATH=/opt/ampoule/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "HOME=/tmp", "USER=nonroot",
		},
		Entrypoint: []string{"/opt/ampoule/bin/ampoule-exec", "--keep-env=PYTHONPATH", "--"}, Cmd: []string{"python3"},
	}, config); diff != "" {
		t.Errorf("the configuration (-want +got):\n%s", diff)
	}
	for file, owner := range map[string]string{
		"bin/python3.13": audit.OwnerInterpreter, library + "site-packages/demo/__init__.py": "tail-",
	} {
		if got := owners[file]; !strings.HasPrefix(got, owner) {
			t.Errorf("%s is in layer %q, not in %s", file, got, owner)
		}
	}
	if len(a.Wheelhouse) != 1 || a.Wheelhouse[0].Name != wheel || a.Wheelhouse[0].Size <= int64(len(w.wheel)) {
		t.Fatalf("the wheelhouse is %+v", a.Wheelhouse)
	}
	r, err := a.Wheelhouse[0].Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil || len(audit.CheckWheel(bytes.NewReader(data), int64(len(data)), wheel)) > 0 {
		t.Errorf("the wheelhouse's wheel is not sound, or %v", err)
	}
	z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	told, err := fs.ReadFile(z, "demo-1.0.dist-info/"+artifact.WheelRecordFile)
	if err != nil || !strings.Contains(string(told), fingerprint) {
		t.Errorf("the wheel tells %s, %v", told, err)
	}
}

// publishedTree lays an artifact's layers over one another, and says which of them each
// file is in.
func publishedTree(t *testing.T, w *world, a artifact.Artifact) (_ *tree.Tree, layerOf map[string]string) {
	t.Helper()
	var image sandbox.Image
	layerOf = map[string]string{}
	for _, l := range a.Layers {
		image = image.With(l)
		one, closer, err := layers.RootFS(t.Context(), w.st, sandbox.Image{}.With(l))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { closer.Close() })
		for _, e := range one.Sub(Prefix).Entries() {
			if e.Kind != tree.Dir {
				layerOf[e.Path] = l.Name
			}
		}
	}
	root, closer, err := layers.RootFS(t.Context(), w.st, image)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closer.Close() })
	return root.Sub(Prefix), layerOf
}

// A container needs the level of x86-64 that is compiled for; a machine has what it promises.
func TestTargetsHaveTheLevel(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.recipe.Python.CPU, w.recipe.Runtime.VM.CPU = "x86-64-v2", "x86-64-v3"
	got, err := w.build()
	if err != nil {
		t.Fatal(err)
	}
	for _, target := range got.Verdict.Targets {
		if want := map[string]string{"container": "x86-64-v2", "vm": "x86-64-v3"}[target.Name]; target.CPU != want {
			t.Errorf("%s has %s, want %s", target.Name, target.CPU, want)
		}
	}
}

// refusals returns what a build was refused for, as "CHECK TARGETS".
func refusals(t *testing.T, w *world, err error) []string {
	t.Helper()
	var refused *RefusedError
	if !errors.As(err, &refused) {
		t.Fatalf("got %v", err)
	}
	if len(w.artifacts) != 0 {
		t.Error("it was published")
	}
	w.checkClosed()
	var list []string
	for _, f := range refused.Verdict.Findings {
		list = append(list, strings.TrimSpace(f.Check+" "+strings.Join(f.Targets, " ")))
	}
	return list
}

func TestBuildRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(w *world)
		want   []string
	}{
		"test fails in one target": {func(w *world) {
			w.test = func(_ context.Context, step sandbox.Step) error {
				if step.Args[0] == "python3" && strings.Contains(step.Env[0], "/srv/") {
					return &sandbox.ExitError{Args: step.Args, Code: 3}
				}
				return nil
			}
		}, []string{"recipe-tests vm"}},
		"module does not load": {func(w *world) {
			w.load = func(m audit.Module) loaded {
				return loaded{Kind: audit.KindImport, Module: m.Name, File: m.File, Error: "ImportError: no"}
			}
		}, []string{"load container vm", "load container vm", "recipe-tests container vm"}},
		"module is not loaded": {func(w *world) {
			w.load = func(m audit.Module) loaded {
				return loaded{Kind: audit.KindImport, Module: "other", OK: true, Mapped: []string{"PLACE/bin/python3.13"}}
			}
		}, []string{"load container vm", "load container vm", "recipe-tests container vm"}},
		"stray file is mapped": {func(w *world) {
			w.load = func(m audit.Module) loaded {
				return loaded{Kind: audit.KindImport, Module: m.Name, File: m.File, OK: true, Mapped: []string{"PLACE/" + m.File, "PLACE/bin/python3.13", "/usr/lib64/ld-linux-x86-64.so.2", "/ampoule-build/x.so"}}
			}
		}, []string{"load container vm"}},
		"build directory is named": {func(w *world) {
			w.interpreter = append(w.interpreter, tree.FileEntry(library+"where.py", 0o644, []byte("built = '/ampoule-build/cpython'\n")))
		}, []string{"paths"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			c.change(w)
			got, err := w.build()
			if diff := cmp.Diff(c.want, refusals(t, w, err)); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
			if got.Verdict == nil || got.Verdict.Passed || got.Digest != "" || got.Logs == "" {
				t.Errorf("the result is %+v", got)
			}
			if hints := strings.Join(faults.Hints(err), "\n"); !strings.Contains(hints, "`ampoule shell` opens the refused tree in target ") {
				t.Errorf("the hints are %s", hints)
			}
		})
	}
}

// TestShellOpensRefusedTree opens what the gate refused, where it was refused, until it passes.
func TestShellOpensRefusedTree(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.test = func(_ context.Context, step sandbox.Step) error {
		if strings.Contains(step.Env[0], "/srv/") {
			return &sandbox.ExitError{Args: step.Args, Code: 3}
		}
		return nil
	}
	if _, err := w.build(); len(refusals(t, w, err)) != 1 {
		t.Fatalf("the build ends with %v", err)
	}
	var opened failure.State
	b := w.builder()
	open := func() error {
		return b.Shell(t.Context(), w.request(), ShellOptions{
			Command: []string{"id"}, Stdout: io.Discard, Stderr: io.Discard,
			Opened: func(s failure.State) error { opened = s; return nil },
		})
	}
	before := len(w.runner.Sandboxes())
	if err := open(); err != nil {
		t.Fatal(err)
	}
	if opened.Title != "the refused tree of web in target vm" || opened.Dir != "/tmp" || opened.Lost != "" ||
		!slices.Equal(opened.Args, []string{"python3", "-c", "import demo"}) && !slices.Equal(opened.Args, w.recipe.Test.Commands[0]) {
		t.Errorf("it opens %+v", opened)
	}
	sb := w.runner.Sandboxes()[before]
	if _, ok := sb.Files().Lookup("srv/ampoule/current/" + library + "site-packages/demo/__init__.py"); !ok || sb.Online || !sb.Closed() {
		t.Error("the sandbox lacks the tree, has a network or is left open")
	}
	w.test = func(context.Context, sandbox.Step) error { return nil }
	if _, err := w.build(); err != nil {
		t.Fatal(err)
	}
	if err := open(); faults.Of(err) != faults.NotFound {
		t.Errorf("after a build that passes: %v", err)
	}
}

// A wheel that is not what its RECORD says is refused before it is installed.
func TestBuildRefusesWheel(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	files := distribution()
	files[0] = files[0].Replace([]byte("answer = 41\n"))
	w.wheel = pack(files)
	_, err := w.build()
	if got := refusals(t, w, err); !slices.Equal(got, []string{"record"}) {
		t.Errorf("refused for %q", got)
	}
	for _, s := range w.runner.Sandboxes() {
		if strings.HasPrefix(s.Spec.Name, "install-") {
			t.Error("it was installed")
		}
	}
}

// failing is a runner in which the steps that name where fail.
func failing(w *world, where string, err error) *fake.Runner {
	return fake.New(func(ctx context.Context, s *fake.Sandbox, step sandbox.Step) error {
		if strings.Contains(strings.Join(step.Args, " "), where) {
			return err
		}
		return w.step(ctx, s, step)
	})
}

// Whatever fails, no sandbox stays and nothing is published.
func TestBuildFails(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	for _, where := range []string{"configure", "driver.py", "finish_wheel.py", "load.py", "python3 -m demo"} {
		t.Run(where, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.runner = failing(w, where, broken)
			if _, err := w.build(); !errors.Is(err, broken) {
				t.Errorf("got %v", err)
			}
			if len(w.artifacts) != 0 {
				t.Error("it was published")
			}
			w.checkClosed()
		})
	}
}

// Of two builds of one key one builds, and the other follows and gets its digest.
func TestBuildsOfOneKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	results := make(chan Result, 2)
	for range 2 {
		go func() {
			got, err := w.build()
			if err != nil {
				t.Error(err)
			}
			results <- got
		}()
	}
	first, second := <-results, <-results
	if first.Digest == "" || first.Digest != second.Digest || first.Reused || !second.Reused || len(w.artifacts) != 1 {
		t.Errorf("digests %s and %s, reused %t and %t, published %d", first.Digest, second.Digest, first.Reused, second.Reused, len(w.artifacts))
	}
	w.checkClosed()
}

// Two builds of different keys at once compile what they share once.
func TestBuildsShareStages(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var mu sync.Mutex
	steps := map[string]int{}
	w.runner = fake.New(func(ctx context.Context, s *fake.Sandbox, step sandbox.Step) error {
		mu.Lock()
		steps[strings.Join(step.Args, " ")]++
		mu.Unlock()
		return w.step(ctx, s, step)
	})
	// Its tests are no part of any stage.
	other := *w.recipe
	other.Test.Commands = [][]string{{"python3", "-m", "demo.other"}}
	digests := make(chan string, 2)
	b := w.builder()
	for _, r := range []*recipes.Recipe{w.recipe, &other} {
		req := w.request()
		req.Recipe = r
		go func() {
			got, err := b.Build(t.Context(), req)
			if err != nil || got.Reused {
				t.Errorf("%+v, %v", got, err)
			}
			digests <- got.Key
		}()
	}
	if first, second := <-digests, <-digests; first == second {
		t.Error("both have one key")
	}
	for _, once := range []string{"make install", "driver.py wheel"} {
		n := 0
		for command, times := range steps {
			if strings.Contains(command, once) {
				n += times
			}
		}
		if n != 1 {
			t.Errorf("%q ran %d times:\n%v", once, n, steps)
		}
	}
	w.checkClosed()
}

// Whatever content of the store is damaged, the next build makes it again, or says that an
// input is lost: it never publishes other bits.
func TestBuildMends(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.needs.Publisher = &digester{}
	first, err := w.build()
	if err != nil {
		t.Fatal(err)
	}
	inputs := map[string]bool{w.lock.Python.SHA256: true, w.lock.Dists[0].SHA256: true, strings.TrimPrefix(w.base.DiffID, "sha256:"): true}
	files, err := filepath.Glob(filepath.Join(w.st.Root(), "content", "*", "*"))
	if err != nil || len(files) < 10 {
		t.Fatalf("the store has %q, %v", files, err)
	}
	for _, path := range files {
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, at := range []int{len(whole) / 2, len(whole) - 1} {
			damaged := slices.Clone(whole)
			damaged[at] ^= 1
			if err := errors.Join(os.Chmod(path, 0o644), os.WriteFile(path, damaged, 0o444)); err != nil {
				t.Fatal(err)
			}
			again, err := w.build()
			isInput := inputs[filepath.Base(path)]
			if (err == nil && again.Digest != first.Digest) || (err != nil) != isInput {
				t.Errorf("byte %d of %s (%d bytes, an input: %t): %s, %v, before %s", at, path, len(whole), isInput, again.Digest, err, first.Digest)
			}
			if isInput {
				w.putAgain(whole)
			}
		}
	}
}

// A clock that jumps moves the verdict's time and nothing else: what was built is found,
// and what is built again is the same.
func TestClockJumps(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.needs.Publisher = &digester{}
	first, err := w.build()
	if err != nil {
		t.Fatal(err)
	}
	for _, now := range []time.Time{time.Unix(0, 0), basetime.Of(t).AddDate(100, 0, 0), basetime.Of(t).AddDate(0, 0, -1)} {
		anew := newWorld(t)
		anew.needs.Publisher = &digester{}
		// What there is seems to come from the other end of time.
		err := filepath.WalkDir(w.st.Root(), func(path string, _ fs.DirEntry, err error) error {
			return errors.Join(err, os.Chtimes(path, now, now))
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, world := range []*world{w, anew} {
			world.needs.Now = func() time.Time { return now }
			again, err := world.build()
			if err != nil || again.Digest != first.Digest {
				t.Errorf("at %s: %s, %v, before %s", now, again.Digest, err, first.Digest)
			}
		}
	}
}

// Whatever record of the store is damaged, the next build gives the same: it does the work
// again, and never takes what the record says.
func TestBuildMendsRecords(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.needs.Publisher = &digester{}
	first, err := w.build()
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(w.st.Root(), "records", "*", "*", "*"))
	if err != nil || len(files) < 10 {
		t.Fatalf("the store has %q, %v", files, err)
	}
	for _, path := range files {
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for part := range 4 {
			at := len(whole) * (2*part + 1) / 8
			damaged := slices.Clone(whole)
			damaged[at] ^= 1
			if err := os.WriteFile(path, damaged, 0o644); err != nil {
				t.Fatal(err)
			}
			again, err := w.build()
			if err != nil || again.Digest != first.Digest {
				t.Errorf("byte %d of %s: %s, %v, before %s\n%s", at, path, again.Digest, err, first.Digest, damaged)
			}
		}
	}
}

// A collection beside a build removes nothing that the build uses, and does not wait for it.
func TestBuildUsesStore(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	old, _, err := w.st.Put(t.Context(), strings.NewReader("nobody uses this"))
	if err != nil {
		t.Fatal(err)
	}
	// The targets are tested at once.
	var removed atomic.Int64
	w.test = func(ctx context.Context, _ sandbox.Step) error {
		did, err := w.st.Collect(ctx, store.Keep{}, true)
		if err != nil || did.InUseBytes == 0 {
			t.Errorf("while it ran: %+v, %v", did, err)
		}
		removed.Add(int64(did.Removed))
		return nil
	}
	if _, err := w.build(); err != nil {
		t.Error(err)
	}
	if removed.Load() != 1 || w.st.Has(old) {
		t.Errorf("%d things were removed while it ran", removed.Load())
	}
	if did, err := w.st.Collect(t.Context(), store.Keep{}, false); err != nil || did.Left != 0 {
		t.Errorf("after it: %+v, %v", did, err)
	}
}
