package wheels

import (
	"context"
	"encoding/json"
	"errors"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"ampoule/builder/fetch"
	"ampoule/builder/layers"
	"ampoule/builder/sandbox"
	"ampoule/builder/sandbox/fake"
	"ampoule/recipes"
	"ampoule/store"
	"ampoule/tree"
)

const testPython = "/opt/ampoule/bin/python3.13"

// backend is what stands for every build backend: it answers for an sdist's file.
// Nil entries put nothing there. It counts the builds of each file.
type backend struct {
	answer func(ctx context.Context, mode, sdist string) (result string, out []tree.Entry, err error)
	// read is told of an sdist when its answer is read; nil is nobody.
	read func(ctx context.Context, sdist string)

	mu     sync.Mutex
	builds map[string]int
}

// newBackend builds a wheel NAME-VERSION-py3-none-any.whl of each sdist.
func newBackend() *backend {
	return &backend{builds: map[string]int{}, answer: func(_ context.Context, _, sdist string) (string, []tree.Entry, error) {
		wheel := wheelOf(sdist)
		return `{"wheel": "` + wheel + `"}`, []tree.Entry{tree.FileEntry(wheel, 0o644, []byte("wheel of "+sdist))}, nil
	}}
}

func wheelOf(sdist string) string { return strings.TrimSuffix(sdist, ".tar.gz") + "-py3-none-any.whl" }

func (b *backend) count(sdist string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.builds[sdist]
}

// step does what driver.py does in a sandbox, and cat.
func (b *backend) step(ctx context.Context, s *fake.Sandbox, step sandbox.Step) error {
	work := strings.TrimPrefix(sandbox.WorkDir, "/")
	sdist := path.Base(s.Files().Sub(work + "/sdist").Entries()[0].Path)
	if step.Args[0] == "cat" {
		if b.read != nil {
			b.read(ctx, sdist)
		}
		e, ok := s.Files().Lookup(strings.TrimPrefix(step.Args[1], "/"))
		if !ok {
			return &sandbox.ExitError{Args: step.Args, Code: 1}
		}
		data, err := e.ReadAll()
		if err != nil {
			return err
		}
		_, err = step.Stdout.Write(data)
		return err
	}
	if !slices.Equal(step.Args[:3], []string{testPython, "-I", sandbox.WorkDir + "/driver.py"}) {
		return &sandbox.ExitError{Args: step.Args, Code: 127}
	}
	b.mu.Lock()
	b.builds[sdist]++
	b.mu.Unlock()
	result, out, err := b.answer(ctx, step.Args[3], sdist)
	if err != nil {
		return err
	}
	entries := []tree.Entry{
		{Path: work + "/debug", Kind: tree.Dir, Mode: 0o755},
		tree.FileEntry(work+"/out/result.json", 0o644, []byte(result)),
	}
	for _, e := range out {
		e.Path = path.Join(work, "out", e.Path)
		entries = append(entries, e)
	}
	return s.Write(entries...)
}

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

// newStage makes a stage over a fake runner, and the image that its builds start from.
func newStage(t testing.TB, b *backend) (*Stage, *fake.Runner, sandbox.Image) {
	t.Helper()
	st := openStore(t)
	root, err := tree.New([]tree.Entry{tree.FileEntry("etc/os-release", 0o644, []byte("ID=debian\n"))})
	if err != nil {
		t.Fatal(err)
	}
	layer, err := layers.Save(t.Context(), st, root, "")
	if err != nil {
		t.Fatal(err)
	}
	r := fake.New(b.step)
	image := sandbox.Image{Config: sandbox.Config{Architecture: "amd64"}, Layers: []sandbox.Layer{layer}}
	return &Stage{Store: st, Runner: r, Images: r, Jobs: 3, Logs: t.TempDir()}, r, image
}

// lock is dists by ID. A dist whose needs are nil is a wheel.
type lock struct {
	t     testing.TB
	st    *store.Store
	dists map[string]recipes.Dist
}

func newLock(t testing.TB, st *store.Store) *lock {
	return &lock{t: t, st: st, dists: map[string]recipes.Dist{}}
}

// sdist adds an sdist, with its content, that is built with others.
func (l *lock) sdist(name string, needs ...string) recipes.Dist {
	d := recipes.Dist{Name: name, Version: "1.0", File: name + "-1.0.tar.gz", Build: &recipes.BuildSet{}}
	for _, need := range needs {
		d.Build.Dists = append(d.Build.Dists, need+"==1.0")
	}
	return l.add(d)
}

func (l *lock) wheel(name string, members ...member) recipes.Dist {
	d := recipes.Dist{Name: name, Version: "1.0", File: name + "-1.0-py3-none-any.whl"}
	d.SHA256 = put(l.t, l.st, string(zipped(l.t, append(members, member{name: name + ".py", text: "#"})...)))
	l.dists[d.ID()] = d
	return d
}

func (l *lock) add(d recipes.Dist) recipes.Dist {
	l.t.Helper()
	d.SHA256 = put(l.t, l.st, "content of "+d.File)
	l.dists[d.ID()] = d
	return d
}

func (l *lock) find(id string) (recipes.Dist, bool) {
	d, ok := l.dists[id]
	return d, ok
}

// fetched is a downloader that finds everything in the store, and notes what it was asked.
type fetched struct {
	st    *store.Store
	mu    sync.Mutex
	names []string
}

func (f *fetched) Fetch(_ context.Context, items ...fetch.Item) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, item := range items {
		f.names = append(f.names, item.Name)
		if !f.st.Has(item.SHA256) {
			return errors.New("not in the store: " + item.File)
		}
	}
	return nil
}

// told is JSON text of a value.
func told(t testing.TB, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// checkClosed wants every sandbox that was started closed.
func checkClosed(t testing.TB, r *fake.Runner) {
	t.Helper()
	for _, s := range r.Sandboxes() {
		if !s.Closed() {
			t.Errorf("sandbox %s was left open", s.Spec.Name)
		}
	}
}
