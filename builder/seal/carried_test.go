package seal

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/audit"
	"ampoule/builder/layers"
	"ampoule/builder/sandbox"
	"ampoule/builder/sandbox/fake"
	"ampoule/tree"
)

// patchAll stands for patchelf: it adds to each file that it is told to change.
func patchAll(_ context.Context, s *fake.Sandbox, _ sandbox.Step) error {
	e, ok := s.Files().Lookup(workDir + "job.json")
	if !ok {
		return errors.New("no job")
	}
	job, err := e.ReadAll()
	if err != nil {
		return err
	}
	for _, file := range s.Files().Sub(workDir + "tree").Entries() {
		if file.Kind != tree.File || !strings.Contains(string(job), `{"file":"`+file.Path+`","rpath":"$ORIGIN"}`) {
			continue
		}
		data, err := file.ReadAll()
		if err != nil {
			return err
		}
		if err := s.Write(tree.FileEntry(workDir+"tree/"+file.Path, 0o755, append(data, "patched"...))); err != nil {
			return err
		}
	}
	return nil
}

// Libraries that need others, or open some, come back with a search path; once.
func TestCarry(t *testing.T) {
	t.Parallel()
	s := newScene(t, patchAll)
	libraries := []tree.Entry{
		shared(t, "lib/libneeds.so.1", "libalone.so.1", "libc.so.6"), shared(t, "lib/libalone.so.1", "libc.so.6"),
		compiled(t, "lib/libopens.so.1", "extern void *dlopen(const char *, int); void *f(void) { return dlopen(0, 1); }", "-shared"),
		compiled(t, "lib/libown.so.1", "", "-shared", "-Wl,-rpath,/usr/lib/private"),
	}
	layer, err := s.Carry(t.Context(), s.in, libraries)
	if err != nil {
		t.Fatal(err)
	}
	got, closer, err := layers.Read(s.Store, strings.TrimPrefix(layer.DiffID, "sha256:"))
	if err != nil {
		t.Fatal(err)
	}
	defer closer.Close()
	if diff := cmp.Diff([]string{"lib/libneeds.so.1", "lib/libopens.so.1", "lib/libown.so.1"}, paths(got.Sub(prefix))); diff != "" {
		t.Errorf("changed (-want +got):\n%s", diff)
	}
	if again, err := s.Carry(t.Context(), s.in, libraries); err != nil || again.DiffID != layer.DiffID || len(s.runner.Sandboxes()) != 1 {
		t.Errorf("again: %v, %v in %d sandboxes", again, err, len(s.runner.Sandboxes()))
	}
	if _, err := s.Carry(t.Context(), s.in, libraries[1:2]); err != nil || len(s.runner.Sandboxes()) != 1 {
		t.Errorf("nothing to change: %v in %d sandboxes", err, len(s.runner.Sandboxes()))
	}
}

func TestCarriedKey(t *testing.T) {
	t.Parallel()
	in := Interpreter{Image: sandbox.Image{Layers: []sandbox.Layer{{DiffID: "tools"}}}, Python: python, Prefix: prefix}
	libraries := files("lib/a.so", "lib/b.so")
	key := in.carriedKey(libraries, scripts())
	other := in
	other.Image.Layers = []sandbox.Layer{{DiffID: "other"}}
	for name, changed := range map[string]string{
		"the image": other.carriedKey(libraries, scripts()), "a library": in.carriedKey(files("lib/a.so"), scripts()),
		"the scripts": in.carriedKey(libraries, nil),
	} {
		if changed == key {
			t.Errorf("%s is not in the key", name)
		}
	}
	if in.carriedKey(files("lib/b.so", "lib/a.so"), scripts()) != key {
		t.Error("the order is in the key")
	}
}

// What is carried is finished, and nothing else.
func TestFinishCarried(t *testing.T) {
	t.Parallel()
	carried, wheels, data := shared(t, "lib/liba.so.1"), shared(t, "lib/libb.so.1"), tree.FileEntry("lib/note", 0o644, []byte("text"))
	carried.Owner, wheels.Owner, data.Owner = OwnerNative, audit.OwnerWheel+"b", OwnerNative
	got, err := finishCarried(newTree(t, carried, wheels, data), func(libraries []tree.Entry) ([]tree.Entry, error) {
		if len(libraries) != 1 || libraries[0].Path != "lib/liba.so.1" {
			t.Errorf("given %v", libraries)
		}
		return []tree.Entry{{Path: "lib", Kind: tree.Dir}, tree.FileEntry("lib/liba.so.1", 0o755, []byte("new"))}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if e, _ := got.Lookup("lib/liba.so.1"); e.Size != 3 || e.Owner != OwnerNative {
		t.Errorf("got %+v", e)
	}
	wrong := errors.New("wrong")
	if _, err := finishCarried(newTree(t, carried), func([]tree.Entry) ([]tree.Entry, error) { return nil, wrong }); !errors.Is(err, wrong) {
		t.Error(err)
	}
	if _, err := finishCarried(newTree(t, wheels), nil); err != nil {
		t.Error(err)
	}
}
