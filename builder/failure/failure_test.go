package failure

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"ampoule/builder/layers"
	"ampoule/builder/sandbox"
	"ampoule/builder/sandbox/fake"
	"ampoule/builder/sandbox/sandboxtest"
	"ampoule/faults"
	"ampoule/store"
	"ampoule/tree"
)

// scene is a store, and a runner with an image.
type scene struct {
	store  *store.Store
	runner *fake.Runner
	image  sandbox.Image
}

func newScene(t *testing.T) *scene {
	t.Helper()
	st, err := store.Open(filepath.Join(t.TempDir(), "store"))
	if err != nil {
		t.Fatal(err)
	}
	layer := sandboxtest.TarLayer(t, []*tar.Header{{Name: "etc/", Mode: 0o755}, {Name: "tmp/", Mode: 0o1777}}, nil)
	config := sandbox.Config{Architecture: "amd64", Env: []string{"A=1"}, Labels: map[string]string{"x": "y"}}
	return &scene{st, fake.New(nil), sandbox.Image{Config: config, Layers: []sandbox.Layer{layer}}}
}

// start starts a sandbox with a file in the directory where things are built.
func (s *scene) start(t *testing.T, text string) sandbox.Sandbox {
	t.Helper()
	id, err := s.runner.Load(t.Context(), s.image.Config, s.image.Layers...)
	if err != nil {
		t.Fatal(err)
	}
	sb, err := s.runner.Start(t.Context(), sandbox.Spec{Image: id, Name: "test"})
	if err != nil {
		t.Fatal(err)
	}
	left := sandboxtest.Tar(t, []*tar.Header{
		{Name: "src/", Mode: 0o711, Uid: 1000, Gid: 1000},
		{Name: "src/x.c", Mode: 0o640, Uid: 1000, Gid: 7},
		{Name: "link", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd", Mode: 0o777},
	}, map[string]string{"src/x.c": text})
	if err := sb.Import(t.Context(), sandbox.WorkDir, bytes.NewReader(left)); err != nil {
		t.Fatal(err)
	}
	return sb
}

func (s *scene) state(step string) State {
	return State{
		Recipe: "web", Step: step, Title: "wheel " + step + "==1.0", Key: "key of " + step, Image: s.image,
		Args: []string{"make", "all"}, Env: []string{"PATH=/bin", "CC=gcc"}, Dir: sandbox.WorkDir + "/src", Log: "/logs/x.log",
		Dirs: []string{sandbox.WorkDir, "/no/such/dir", "/tmp"}, Time: time.Date(2026, 11, 21, 6, 0, 0, 0, time.UTC),
	}
}

func (s *scene) keep(t *testing.T, step, text string) {
	t.Helper()
	if err := Keep(t.Context(), s.store, s.start(t, text), s.state(step)); err != nil {
		t.Fatal(err)
	}
}

func (s *scene) last(t *testing.T, step string) State {
	t.Helper()
	state, found, err := Last(s.store, "web", step)
	if err != nil || !found {
		t.Fatalf("the failure of %q: %v, %v", step, found, err)
	}
	return state
}

// contentFiles counts the store's contents.
func (s *scene) contentFiles(t *testing.T) int {
	t.Helper()
	n := 0
	err := filepath.WalkDir(filepath.Join(s.store.Root(), "content"), func(_ string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			n++
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// compareStates leaves out what functions and private fields cannot tell.
var compareStates = cmp.Options{
	cmpopts.IgnoreFields(sandbox.Layer{}, "Open"), cmpopts.IgnoreUnexported(State{}),
}

func TestKeepAndOpen(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.keep(t, "psycopg2", "#include <libpq-fe.h>")
	got := s.last(t, "psycopg2")
	if diff := cmp.Diff(s.state("psycopg2"), got, compareStates); diff != "" {
		t.Errorf("state (-kept +found):\n%s", diff)
	}

	// Another process has nothing of the image but what the store holds.
	elsewhere := fake.New(nil)
	sb, err := got.Open(t.Context(), s.store, elsewhere, elsewhere)
	if err != nil {
		t.Fatal(err)
	}
	defer sb.Close()
	box := elsewhere.Sandboxes()[0]
	if box.Online || box.Spec.Profile != sandbox.Unprivileged || box.Spec.Name != "shell-psycopg2" {
		t.Errorf("it is opened as %+v", box.Spec)
	}
	x, _ := box.Files().Lookup("ampoule-build/src/x.c")
	text, err := x.ReadAll()
	if err != nil || string(text) != "#include <libpq-fe.h>" || x.Mode != 0o640 || x.UID != 1000 || x.GID != 7 {
		t.Errorf("the file is %+v with %q, %v", x, text, err)
	}
	if l, _ := box.Files().Lookup("ampoule-build/link"); l.Kind != tree.Symlink || l.Link != "/etc/passwd" {
		t.Errorf("the link is %+v", l)
	}
	if dir, _ := box.Files().Lookup("ampoule-build/src"); dir.Mode.Perm() != 0o711 {
		t.Errorf("the directory is %+v", dir)
	}
	if _, found := box.Files().Lookup("no"); found {
		t.Error("a directory that was not there is made")
	}
}

func TestLastAndForget(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	if _, found, err := Last(s.store, "web", ""); found || err != nil {
		t.Errorf("before any failure: %v, %v", found, err)
	}
	if err := Forget(t.Context(), s.store, "web", "lxml"); err != nil {
		t.Errorf("forgetting nothing: %v", err)
	}
	for _, step := range []string{"lxml", "interpreter", "psycopg2", "lxml"} {
		s.keep(t, step, "text of "+step)
	}
	steps, err := Steps(s.store, "web")
	if diff := cmp.Diff([]string{"interpreter", "psycopg2", "lxml"}, steps); diff != "" || err != nil {
		t.Errorf("steps (-want +got):\n%s%v", diff, err)
	}
	if got := s.last(t, ""); got.Step != "lxml" {
		t.Errorf("the last failure is %s", got.Step)
	}
	if got := s.last(t, "interpreter"); got.Step != "interpreter" {
		t.Errorf("asked for the interpreter's failure, got %s", got.Step)
	}
	for _, ask := range [][2]string{{"web", "numpy"}, {"worker", ""}, {"worker", "lxml"}} {
		if _, found, err := Last(s.store, ask[0], ask[1]); found || err != nil {
			t.Errorf("%q: %v, %v", ask, found, err)
		}
	}
	// A layer, and what two directories held for each of three steps: the first
	// failure of lxml is gone.
	if got, want := s.contentFiles(t), 1+3*2; got != want {
		t.Errorf("the store has %d contents, want %d", got, want)
	}
	for _, step := range []string{"lxml", "psycopg2"} {
		if err := Forget(t.Context(), s.store, "web", step); err != nil {
			t.Fatal(err)
		}
	}
	if got := s.last(t, ""); got.Step != "interpreter" {
		t.Errorf("the last failure that was not mended is %s", got.Step)
	}
	if got, want := s.contentFiles(t), 1+2; got != want {
		t.Errorf("afterwards the store has %d contents, want %d", got, want)
	}
	if err := Forget(t.Context(), s.store, "web", "interpreter"); err != nil {
		t.Fatal(err)
	}
	if _, found, err := Last(s.store, "web", ""); found || err != nil {
		t.Errorf("after all is forgotten: %v, %v", found, err)
	}
}

// TestContentsAreLost checks that a failure is kept whatever became of its sandbox.
func TestContentsAreLost(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	gone := s.start(t, "text")
	gone.Close()
	state := s.state("lxml")
	state.Time = time.Time{}
	if err := Keep(t.Context(), s.store, gone, state); err != nil {
		t.Fatal(err)
	}
	got := s.last(t, "")
	if age := time.Since(got.Time); age < 0 || age > time.Hour {
		t.Errorf("it failed %v ago", age)
	}
	if !strings.Contains(got.Lost, sandbox.ErrClosed.Error()) {
		t.Errorf("it says %q", got.Lost)
	}
	sb, err := got.Open(t.Context(), s.store, s.runner, s.runner)
	if err != nil {
		t.Fatal(err)
	}
	defer sb.Close()
	all := s.runner.Sandboxes()
	dir, found := all[len(all)-1].Files().Lookup("ampoule-build/src")
	if !found || dir.Kind != tree.Dir || dir.UID != sandbox.UID {
		t.Errorf("the step's directory is %+v, %v", dir, found)
	}
	// The next failure of the same step has contents again.
	s.keep(t, "lxml", "text")
	if got := s.last(t, ""); got.Lost != "" {
		t.Errorf("afterwards it says %q", got.Lost)
	}
}

func TestContentsAreBounded(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	sb := s.start(t, strings.Repeat("x", 2<<20))
	for _, test := range []struct {
		dirs  []string
		limit int64
		fits  bool
	}{
		{[]string{sandbox.WorkDir}, 3 << 20, true},
		{[]string{sandbox.WorkDir}, 1 << 20, false},
		{[]string{sandbox.WorkDir, sandbox.WorkDir + "/src"}, 3 << 20, false},
		{[]string{sandbox.WorkDir, sandbox.WorkDir + "/src"}, 6 << 20, true},
	} {
		taken, err := take(t.Context(), s.store, sb, test.dirs, test.limit)
		if test.fits && (err != nil || len(taken) != len(test.dirs)) {
			t.Errorf("%q within %d: %v, %v", test.dirs, test.limit, taken, err)
		}
		if !test.fits && (err == nil || taken != nil || !strings.Contains(err.Error(), "MiB")) {
			t.Errorf("%q within %d: %v, %v", test.dirs, test.limit, taken, err)
		}
		drop(s.store, taken)
		if n := s.contentFiles(t); n != 0 {
			t.Errorf("%q within %d: %d contents stay", test.dirs, test.limit, n)
		}
	}
}

// TestSameContentsApart checks that dropping a failure leaves alone what others have.
func TestSameContentsApart(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.keep(t, "one", "same")
	s.keep(t, "two", "same")
	if err := Forget(t.Context(), s.store, "web", "one"); err != nil {
		t.Fatal(err)
	}
	sb, err := s.last(t, "two").Open(t.Context(), s.store, s.runner, s.runner)
	if err != nil {
		t.Fatal(err)
	}
	sb.Close()
}

func TestOpenTellsWhatIsGone(t *testing.T) {
	t.Parallel()
	for name, remove := range map[string]func(State) string{
		"layer":    func(s State) string { return sumOf(layers.DiffIDs(s.Image)[0]) },
		"contents": func(s State) string { return s.contents[0].SHA256 },
	} {
		s := newScene(t)
		s.keep(t, "lxml", "text")
		state := s.last(t, "")
		if err := os.Remove(s.store.Path(remove(state))); err != nil {
			t.Fatal(err)
		}
		started := len(s.runner.Sandboxes())
		_, err := state.Open(t.Context(), s.store, s.runner, s.runner)
		if faults.Of(err) != faults.NotFound || !errors.Is(err, store.ErrNotFound) || !strings.Contains(strings.Join(faults.Hints(err), "\n"), "build again") {
			t.Errorf("%s: got %v", name, err)
		}
		for _, box := range s.runner.Sandboxes()[started:] {
			if !box.Closed() {
				t.Errorf("%s: a sandbox was left open", name)
			}
		}
	}
}

func TestKeepRefuses(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	if err := Keep(t.Context(), s.store, s.start(t, "x"), State{Recipe: "web"}); err == nil {
		t.Error("a state without a step is kept")
	}
	lying := s.state("lxml")
	lying.Image.Layers = []sandbox.Layer{{
		DiffID: lying.Image.Layers[0].DiffID,
		Open: func(context.Context) (io.ReadCloser, error) {
			return io.NopCloser(strings.NewReader("another layer")), nil
		},
	}}
	var mismatch *store.MismatchError
	if err := Keep(t.Context(), s.store, s.start(t, "x"), lying); !errors.As(err, &mismatch) {
		t.Errorf("a layer that is another one: %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("interrupted")
	cancel(cause)
	if err := Keep(ctx, s.store, s.start(t, "x"), s.state("lxml")); !errors.Is(err, cause) {
		t.Errorf("cancelled: %v", err)
	}
	if _, found, err := Last(s.store, "web", ""); found || err != nil {
		t.Errorf("something is kept: %v, %v", found, err)
	}
}
