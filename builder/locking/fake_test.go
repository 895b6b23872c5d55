package locking

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"ampoule/builder/buildenv"
	"ampoule/builder/buildlog"
	"ampoule/builder/fetch"
	"ampoule/builder/layers"
	"ampoule/builder/sandbox"
	"ampoule/builder/sandbox/fake"
	"ampoule/builder/wheels"
	"ampoule/recipes"
	"ampoule/store"
	"ampoule/tree"
)

const testPython = "/opt/ampoule/bin/python3.13"

func openStore(t testing.TB) *store.Store {
	t.Helper()
	st, err := store.Open(filepath.Join(t.TempDir(), "store"))
	if err != nil {
		t.Fatal(err)
	}
	return st
}

func put(t testing.TB, st *store.Store, content string) string {
	t.Helper()
	sum, _, err := st.Put(t.Context(), strings.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

// indexFile is a file as an index tells it (PEP 691).
type indexFile struct {
	Filename string            `json:"filename"`
	URL      string            `json:"url"`
	Hashes   map[string]string `json:"hashes"`
	Yanked   bool              `json:"yanked"`
}

// serveIndex serves project pages.
func serveIndex(t *testing.T, projects map[string][]indexFile) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := path.Base(r.URL.Path)
		files, ok := projects[name]
		if !ok {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/vnd.pypi.simple.v1+json")
		json.NewEncoder(w).Encode(map[string]any{"meta": map[string]string{"api-version": "1.0"}, "name": name, "files": files})
	}))
	t.Cleanup(s.Close)
	return s.URL + "/simple"
}

// world is an index with sdists, uv as a script, and backends that answer.
type world struct {
	t       *testing.T
	st      *store.Store
	runner  *fake.Runner
	image   sandbox.Image
	index   map[string][]indexFile
	log     *buildlog.Log
	recipe  *recipes.Recipe
	locker  *distLocker
	dynamic map[string][]string // by file of an sdist
	depends map[string][]string // likewise
	// names are further lines of metadata, likewise.
	names map[string]string
	// static is what the sandbox tells of a patched sdist, as JSON by file of an sdist.
	static map[string]string
	// crates is a directory that is a mirror of crates.
	crates string

	// private are further sources, and what the public index is then; may be nil.
	private map[string]fetch.Source
	// relay is where the script of the relay runs; nil without private sources.
	relay *onHost
	// cargo is where the relay of cargo's index runs, and chosen what cargo writes with what it
	// sees and the index; nil without.
	cargo  *onHost
	chosen func(files *tree.Tree, index func(crate string) string) (lock, stderr string)
	// told changes what a backend says that a release depends on, with what it has; may be nil.
	told func(sdist string, needs, depends []string) []string

	// fails reports whether a backend ends with an error, with what it has; may be nil.
	fails func(sdist string, needs []string) bool

	mu sync.Mutex
	// uv answers a query: what is asked, and the configuration that it is asked with.
	uv    func(asked, config string) (pylock, stderr string)
	asked []string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, st: openStore(t), index: map[string][]indexFile{}, dynamic: map[string][]string{}, depends: map[string][]string{}, static: map[string]string{}, recipe: &recipes.Recipe{}}
	w.crates = t.TempDir()
	w.runner = fake.New(w.step)
	root, err := tree.New([]tree.Entry{tree.FileEntry("etc/os-release", 0o644, nil)})
	if err != nil {
		t.Fatal(err)
	}
	layer, err := layers.Save(t.Context(), w.st, root, "")
	if err != nil {
		t.Fatal(err)
	}
	w.image = sandbox.Image{Config: sandbox.Config{Architecture: "amd64"}, Layers: []sandbox.Layer{layer}}
	if w.log, err = buildlog.Open(t.TempDir(), "lock"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.log.Close() })
	return w
}

// load loads the image.
func (w *world) load() sandbox.ID {
	w.t.Helper()
	id, err := w.runner.Load(w.t.Context(), w.image.Config, w.image.Layers...)
	if err != nil {
		w.t.Fatal(err)
	}
	return id
}

// sdist puts an sdist with build requirements into the index and the store.
func (w *world) sdist(name, version string, requires ...string) indexFile {
	w.t.Helper()
	stem := strings.ReplaceAll(name, "-", "_") + "-" + version
	text := fmt.Sprintf("[build-system]\nrequires = [%s]\n", quoted(requires))
	return w.file(name, stem+".tar.gz", string(gzipped(tarOf(w.t, member{name: stem + "/pyproject.toml", text: text}))))
}

// emptyZip is the end of central directory of an archive without members.
const emptyZip = "PK\x05\x06\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

func quoted(texts []string) string {
	q := make([]string, len(texts))
	for i, text := range texts {
		q[i] = fmt.Sprintf("%q", text)
	}
	return strings.Join(q, ", ")
}

func (w *world) file(name, file, content string) indexFile {
	w.t.Helper()
	f := indexFile{Filename: file, URL: "../../" + file, Hashes: map[string]string{"sha256": put(w.t, w.st, content)}}
	w.index[name] = append(w.index[name], f)
	return f
}

// resolved is a resolution: files of the index, by NAME==VERSION.
func (w *world) resolved(releases map[string][]indexFile) string {
	var b strings.Builder
	b.WriteString("lock-version = \"1.0\"\npackages = []\n")
	if len(releases) > 0 {
		b.Reset()
	}
	for _, id := range sortedKeys(releases) {
		name, version, _ := strings.Cut(id, "==")
		fmt.Fprintf(&b, "[[packages]]\nname = %q\nversion = %q\n", name, version)
		var files []string
		for _, f := range releases[id] {
			told := fmt.Sprintf("{url = %q, hashes = {sha256 = %q}}", "https://files.invalid/"+f.Filename, f.Hashes["sha256"])
			if isWheel(f.Filename) {
				files = append(files, told)
			} else {
				fmt.Fprintf(&b, "sdist = %s\n", told)
			}
		}
		if len(files) > 0 {
			fmt.Fprintf(&b, "wheels = [%s]\n", strings.Join(files, ", "))
		}
	}
	return b.String()
}

// step does what cat, uv and driver.py do.
func (w *world) step(ctx context.Context, s *fake.Sandbox, step sandbox.Step) error {
	work := strings.TrimPrefix(sandbox.WorkDir, "/")
	read := func(name string) string {
		e, ok := s.Files().Lookup(strings.TrimPrefix(name, "/"))
		if !ok {
			return ""
		}
		data, err := e.ReadAll()
		if err != nil {
			w.t.Error(err)
		}
		return string(data)
	}
	switch {
	case step.Args[0] == "cat":
		fmt.Fprint(step.Stdout, read(step.Args[1]))
		return nil
	case step.Args[0] == "perl" && !s.Online && w.relay != nil:
		return w.relay.Exec(ctx, step)
	case step.Args[0] == "perl" && !s.Online && w.cargo != nil:
		return w.cargo.Exec(ctx, step)
	case step.Args[0] == "cargo" && !s.Online && w.chosen != nil:
		files := s.Files().Sub(strings.TrimPrefix(crateDir, "/"))
		if !strings.Contains(read(cargoHome+"/config.toml"), "sparse+http://127.0.0.1:") {
			w.t.Error("cargo would ask the public registry")
		}
		lock, stderr := w.chosen(files, func(crate string) string {
			text, err := w.cargo.get(w.t, http.DefaultClient, fetch.CratePages+crate)
			if err != nil {
				w.t.Error(err)
			}
			return string(text)
		})
		if fmt.Fprint(step.Stderr, stderr); stderr != "" {
			return &sandbox.ExitError{Args: step.Args, Code: 101}
		}
		return s.Write(tree.FileEntry(strings.TrimPrefix(crateDir, "/")+"/Cargo.lock", 0o644, []byte(lock)))
	case step.Args[0] == uvPath && s.Online == (w.relay == nil):
		dir := path.Dir(step.Dir)
		w.mu.Lock()
		defer w.mu.Unlock()
		asked := read(path.Join(step.Dir, step.Args[len(step.Args)-1])) + read(dir+"/specs.txt")
		w.asked = append(w.asked, asked)
		config := read(dir+"/uv.toml") + read(dir+"/pylock.toml")
		if at := slices.Index(step.Args, "--constraints"); at >= 0 {
			config += read(step.Args[at+1])
		}
		answer, stderr := w.uv(asked, config)
		fmt.Fprint(step.Stderr, stderr)
		if stderr != "" {
			return &sandbox.ExitError{Args: step.Args, Code: 1}
		}
		return s.Write(tree.FileEntry(strings.TrimPrefix(dir, "/")+"/pylock.toml", 0o644, []byte(answer)))
	case slices.Equal(step.Args[:2], []string{testPython, "-I"}) && !s.Online:
		sdist := path.Base(s.Files().Sub(work + "/sdist").Entries()[0].Path)
		var needs []string
		for _, e := range s.Files().Sub(work + "/needs").Entries() {
			needs = append(needs, e.Path)
		}
		if w.fails != nil && w.fails(sdist, needs) {
			return &sandbox.ExitError{Args: step.Args, Code: 1}
		}
		stem := strings.TrimSuffix(strings.TrimSuffix(sdist, ".tar.gz"), ".zip")
		wheel := stem + "-cp313-cp313-linux_x86_64.whl"
		if told, ok := w.static[sdist]; ok && step.Args[3] == "static" {
			return s.Write(tree.FileEntry(work+"/out/result.json", 0o644, []byte(told)))
		}
		depends := w.depends[sdist]
		if w.told != nil {
			depends = w.told(sdist, needs, depends)
		}
		told, err := json.Marshal(map[string]any{
			"requires": w.dynamic[sdist], "wheel": wheel,
			"metadata": w.names[sdist] + "Requires-Dist: " + strings.Join(depends, "\nRequires-Dist: ") + "\n",
		})
		if err != nil {
			return err
		}
		return s.Write(
			tree.FileEntry(work+"/out/result.json", 0o644, told), tree.FileEntry(work+"/out/"+wheel, 0o644, []byte(sdist)),
			tree.Entry{Path: work + "/debug", Kind: tree.Dir, Mode: 0o755})
	}
	return &sandbox.ExitError{Args: step.Args, Code: 127}
}

// start makes the locker, once the index has what it will have.
func (w *world) start(reqs *recipes.RequirementSet, opts Options) *distLocker {
	w.t.Helper()
	if opts.Previous == nil {
		opts.Previous = &recipes.Lock{}
	}
	index := serveIndex(w.t, w.index)
	sources := map[string]fetch.Source{"pypi": {Mirrors: []string{index}}, "crates": {Mirrors: []string{w.crates}}}
	maps.Copy(sources, w.private)
	f := fetch.New(w.st, fetch.Config{Sources: sources})
	stage := &wheels.Stage{Store: w.st, Runner: w.runner, Images: w.runner, Fetch: f, Jobs: 2, Logs: w.t.TempDir()}
	var r *resolver
	var err error
	if w.private != nil {
		w.relay = newOnHost(w.t)
		r, err = startSealed(w.t.Context(), w.runner, w.load(), f.Front(), []byte("{}"), w.log)
	} else {
		r, err = startResolver(w.t.Context(), fake.Online{Runner: w.runner}, w.load(), Online{Index: index}, []byte("{}"), w.log)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	lock := &recipes.Lock{Base: recipes.LockedBase{Suite: "bookworm"}, Python: recipes.LockedPython{Version: "3.13.5"}}
	if reqs != nil {
		lock.Answers = recipes.MakeAnswers(w.recipe, reqs)
	}
	l := &Locker{Resources: buildenv.Resources{Store: w.st, Fetch: f}}
	w.locker = &distLocker{
		l: l, recipe: w.recipe, reqs: reqs, lock: lock, opts: opts, log: w.log,
		resolver: r, stage: stage, dists: map[string]recipes.Dist{}, roots: map[string]bool{}, crates: map[string]crateChoice{},
		debian: &debianLocker{l: l, recipe: w.recipe, lock: lock, opts: opts, log: w.log, debs: map[string]map[string]recipes.Deb{}},
		house:  wheels.NewHouse(stage, f, testPython, 0, func(context.Context, recipes.Dist) (sandbox.Image, error) { return w.image, nil }),
	}
	return w.locker
}
