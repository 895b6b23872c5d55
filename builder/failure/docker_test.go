//go:build docker

package failure_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ampoule/builder/docker"
	"ampoule/builder/failure"
	"ampoule/builder/sandbox"
	"ampoule/builder/sandbox/sandboxtest"
	"ampoule/store"
)

// TestOpenedAsItWasLeft keeps a step that failed in a real sandbox, and opens it again.
func TestOpenedAsItWasLeft(t *testing.T) {
	t.Parallel()
	st, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	e, err := docker.Open(t.Context(), docker.Options{Locks: st.Dir(store.Owners), Store: strings.ToLower(sandboxtest.Unique())})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_, err := e.RemoveImages(context.Background(), docker.All)
		if err := errors.Join(err, e.Close()); err != nil {
			t.Error(err)
		}
	})
	image := sandbox.Image{Config: sandboxtest.Config(), Layers: []sandbox.Layer{sandboxtest.ProgramLayer(t)}}
	id, err := e.Load(t.Context(), image.Config, image.Layers...)
	if err != nil {
		t.Fatal(err)
	}
	sb := sandboxtest.Start(t, e, sandbox.Spec{Image: id, Name: t.Name()})
	modified := time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC)
	work := strings.TrimPrefix(sandbox.WorkDir, "/") + "/"
	left := sandboxtest.Tar(t, []*tar.Header{
		{Name: work + "src/", Mode: 0o700, Uid: 1000, Gid: 1000, ModTime: modified},
		{Name: work + "src/x.c", Mode: 0o4640, Uid: 1000, Gid: 7, ModTime: modified},
		{Name: work + "src/hard", Linkname: work + "src/x.c", Mode: 0o4640, Uid: 1000, Gid: 7, ModTime: modified},
		{Name: work + "src/soft", Typeflag: tar.TypeSymlink, Linkname: "../../no/where", Mode: 0o777, ModTime: modified},
		{Name: work + strings.Repeat("long-name/", 12), Mode: 0o755, ModTime: modified},
	}, map[string]string{work + "src/x.c": "text"})
	// From the root, where the link does not leave what is imported.
	if err := sb.Import(t.Context(), "/", bytes.NewReader(left)); err != nil {
		t.Fatal(err)
	}
	sandboxtest.Output(t, sb, "write", sandbox.WorkDir+"/src/written", "by the step")
	before := listed(t, sb)

	state := failure.State{
		Recipe: "web", Step: "psycopg2", Title: "wheel psycopg2==2.9.10", Image: image,
		Args: []string{"probe", "exit", "1"}, Env: []string{"PATH=/bin"}, Dir: sandbox.WorkDir + "/src", Dirs: []string{sandbox.WorkDir},
	}
	if err := failure.Keep(t.Context(), st, sb, state); err != nil {
		t.Fatal(err)
	}
	if err := sb.Close(); err != nil {
		t.Fatal(err)
	}
	kept, found, err := failure.Last(st, "web", "")
	if err != nil || !found || kept.Lost != "" {
		t.Fatalf("found %v, lost %q, %v", found, kept.Lost, err)
	}
	again, err := kept.Open(t.Context(), st, e, e)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if diff := cmp.Diff(before, listed(t, again)); diff != "" {
		t.Errorf("files (-left +opened):\n%s", diff)
	}
	var out bytes.Buffer
	step := sandbox.Step{Args: []string{"probe", "pwd"}, Env: kept.Env, Dir: kept.Dir, Stdout: &out}
	if err := again.Exec(t.Context(), step); err != nil || out.String() != kept.Dir+"\n" {
		t.Errorf("a step in it: %q, %v", out.String(), err)
	}
	step.Args = []string{"probe", "connect", "tcp", "192.0.2.1:80"}
	if err := again.Exec(t.Context(), step); err == nil {
		t.Error("it has a network")
	}
}

// listed lists what is below the directory where things are built.
func listed(t *testing.T, sb sandbox.Sandbox) map[string]tar.Header {
	t.Helper()
	r, err := sb.Export(t.Context(), sandbox.WorkDir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	all := map[string]tar.Header{}
	for tr := tar.NewReader(r); ; {
		hdr, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all[hdr.Name] = tar.Header{
			Typeflag: hdr.Typeflag, Linkname: hdr.Linkname, Mode: hdr.Mode, Uid: hdr.Uid, Gid: hdr.Gid, Size: hdr.Size, ModTime: hdr.ModTime.UTC(),
		}
	}
}
