package cli

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ampoule/builder"
	"ampoule/builder/docker"
	"ampoule/builder/layers"
	"ampoule/builder/sandbox"
	"ampoule/registry"
	"ampoule/registry/layer"
	"ampoule/store"
	"ampoule/tree"
)

// sampleTree is a small tree with a program, a link and a wheel. Its interpreter is a
// program of this machine, which therefore can run it.
func sampleTree(t *testing.T) *tree.Tree {
	t.Helper()
	program, err := exec.LookPath("true")
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	python := tree.FileEntry("bin/python3.13", 0o755, data)
	python.Owner = "interpreter"
	wheel := tree.FileEntry("lib/python3.13/site-packages/idna/__init__.py", 0o644, []byte("x = 1\n"))
	wheel.Owner = "wheel:idna"
	t1, err := tree.New([]tree.Entry{
		python, wheel,
		{Path: "bin/python3", Kind: tree.Symlink, Mode: 0o777, Link: "python3.13", Owner: "interpreter"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return t1
}

// publish publishes the sample tree in the session's own registry.
func publish(ctx context.Context, t *testing.T, w *wiring, sealed *tree.Tree) (digest string) {
	t.Helper()
	reg, err := w.registry()
	if err != nil {
		t.Fatal(err)
	}
	parts, err := layers.SaveParts(ctx, w.store, layers.Split(sealed), builder.Prefix)
	if err != nil {
		t.Fatal(err)
	}
	digest, err = Publisher{Registry: reg, Store: w.store}.Publish(ctx, builder.Artifact{
		Name: "web", Key: "sha256:" + sumA, Platform: "linux/" + runtime.GOARCH, Created: time.Unix(1_700_000_000, 0),
		Layers: parts,
		Config: sandbox.Config{
			Architecture: runtime.GOARCH, Entrypoint: []string{"/opt/ampoule/bin/python3"}, Env: []string{"PATH=/opt/ampoule/bin"},
			Labels: map[string]string{
				registry.LabelKey: "sha256:" + sumA, registry.LabelRecipe: "web", registry.LabelTree: sealed.Hash(), registry.LabelPrefix: "/opt/ampoule",
			},
		},
		Verdict: []byte(`{"passed":true}`),
		Wheelhouse: []builder.File{{Name: "idna-3.10-py3-none-any.whl", Size: 5, SHA256: fmt.Sprintf("%x", sha256.Sum256([]byte("wheel"))), Open: func(context.Context) (io.ReadCloser, error) {
			return io.NopCloser(strings.NewReader("wheel")), nil
		}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return digest
}

// engine is an Engine that remembers what it was given.
type engine struct {
	config sandbox.Config
	files  []string
	ran    docker.RunOptions
	code   int
}

func (e *engine) Load(ctx context.Context, config sandbox.Config, layers ...sandbox.Layer) (sandbox.ID, error) {
	e.config = config
	for _, l := range layers {
		r, err := l.Open(ctx)
		if err != nil {
			return "", err
		}
		data, err := io.ReadAll(r)
		r.Close()
		if err != nil {
			return "", err
		}
		part, err := tree.FromTar(bytes.NewReader(data), int64(len(data)), tree.Limits{})
		if err != nil {
			return "", err
		}
		for _, entry := range part.Entries() {
			if entry.Kind != tree.Dir {
				e.files = append(e.files, entry.Path)
			}
		}
	}
	return "sha256:1", nil
}

func (e *engine) Run(_ context.Context, _ sandbox.ID, o docker.RunOptions) (int, error) {
	e.ran = o
	return e.code, nil
}

// TestPublishedArtifact takes one artifact through all verbs that need no engine.
func TestPublishedArtifact(t *testing.T) {
	t.Parallel()
	s, out, errs := session(t, goodRecipe)
	sealed := sampleTree(t)
	root := filepath.Join(t.TempDir(), "root")
	err := s.wired(t.Context(), func(ctx context.Context, w *wiring) error {
		digest := publish(ctx, t, w, sealed)
		if again := publish(ctx, t, w, sealed); again != digest {
			t.Errorf("published twice: %s and %s", digest, again)
		}
		reg, err := w.registry()
		if err != nil {
			return err
		}
		if found, ok, err := (Publisher{Registry: reg, Store: w.store}).FindKey(ctx, "web", "sha256:"+sumA); err != nil || !ok || found != digest {
			t.Errorf("FindKey: %q, %v, %v", found, ok, err)
		}
		ref := w.reference("web", digest)
		inspected(ctx, t, s, reg, ref, sealed)
		out.Reset()

		if err := Install(ctx, s, reg, ref, root); err != nil {
			t.Fatal(err)
		}
		release := strings.TrimSpace(out.String())
		out.Reset()
		if err := TreeHash(s, release, ""); err != nil {
			t.Fatal(err)
		}
		if got := strings.TrimSpace(out.String()); got != sealed.Hash() {
			t.Errorf("the installed tree is %s, not %s", got, sealed.Hash())
		}

		e := &engine{code: 3}
		err = Run(ctx, s, reg, e, ref, docker.RunOptions{Args: []string{"-V"}})
		if ExitCode(err) != 3 {
			t.Errorf("run: %v", err)
		}
		if diff := cmp.Diff([]string{"-V"}, e.ran.Args); diff != "" || e.ran.TTY {
			t.Errorf("run with %+v", e.ran)
		}
		want := []string{"opt/ampoule/bin/python3", "opt/ampoule/bin/python3.13", "opt/ampoule/lib/python3.13/site-packages/idna/__init__.py"}
		if diff := cmp.Diff(want, e.files); diff != "" {
			t.Errorf("files loaded (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]string{"/opt/ampoule/bin/python3"}, e.config.Entrypoint); diff != "" || e.config.Architecture != runtime.GOARCH {
			t.Errorf("configuration %+v", e.config)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}

	out.Reset()
	if err := Verify(t.Context(), s, root, ""); err != nil {
		t.Fatal(err)
	}
	if got := strings.TrimSpace(out.String()); got != sealed.Hash() {
		t.Errorf("verify: %q, want %q; %s", got, sealed.Hash(), errs)
	}
}

// inspected checks both forms of a description.
func inspected(ctx context.Context, t *testing.T, s *Session, reg *registry.Registry, ref string, sealed *tree.Tree) {
	t.Helper()
	out := s.Out.(*bytes.Buffer)
	if err := Inspect(ctx, s, reg, ref); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{ref, "tree", sealed.Hash(), "interpreter", "verdict.json", "idna-3.10-py3-none-any.whl", wheelhouseType} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("description lacks %q:\n%s", want, out)
		}
	}
	out.Reset()
	s.Output = JSON
	defer func() { s.Output = Text }()
	if err := Inspect(ctx, s, reg, ref); err != nil {
		t.Fatal(err)
	}
	var info artifactInfo
	if err := json.Unmarshal(out.Bytes(), &info); err != nil {
		t.Fatal(err)
	}
	if len(info.Images) != 1 || len(info.Images[0].Layers) != 2 || len(info.Referrers) != 2 {
		t.Errorf("description: %+v", info)
	}
}

func TestReferenceNamesTheRegistry(t *testing.T) {
	t.Parallel()
	w := &wiring{session: &Session{}}
	if got := w.reference("web", "sha256:1"); got != "web@sha256:1" {
		t.Errorf("reference %q", got)
	}
	w.session.Registry = "registry.example/team"
	if got := w.reference("web", "sha256:1"); got != "registry.example/team/web@sha256:1" {
		t.Errorf("reference %q", got)
	}
}

func TestStoreIDStays(t *testing.T) {
	t.Parallel()
	s, _, _ := session(t, goodRecipe)
	var ids []string
	for range 2 {
		err := s.wired(t.Context(), func(ctx context.Context, w *wiring) error {
			id, err := w.store.ID(ctx)
			ids = append(ids, id)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if ids[0] != ids[1] || len(ids[0]) != 16 {
		t.Errorf("ids %q", ids)
	}
}

// Images whose layers a build has loaded stay, though the store does not have them.
func TestLoadedImagesStay(t *testing.T) {
	t.Parallel()
	s, _, _ := session(t, goodRecipe)
	st, err := store.Open(s.Store)
	if err != nil {
		t.Fatal(err)
	}
	release, err := st.Use(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ids := []string{"sha256:" + strings.Repeat("1", 64), "sha256:" + strings.Repeat("2", 64)}
	loaded := loader{}
	if _, err := (pinnedImages{&loaded, st}).Load(t.Context(), sandbox.Config{}, sandbox.Layer{DiffID: ids[0]}, sandbox.Layer{DiffID: ids[1]}); err != nil || loaded.layers != 2 {
		t.Fatalf("loaded %d layers, %v", loaded.layers, err)
	}
	gone := errors.New("gone")
	remove := func() error { return gone }
	if err := st.IfLost(t.Context(), sumsOf(ids), remove); err != nil {
		t.Errorf("while it is in use: %v", err)
	}
	release()
	if err := st.IfLost(t.Context(), sumsOf(ids), remove); !errors.Is(err, gone) {
		t.Errorf("afterwards: %v", err)
	}
}

// loader counts the layers that it is given.
type loader struct{ layers int }

func (l *loader) Load(_ context.Context, _ sandbox.Config, layers ...sandbox.Layer) (sandbox.ID, error) {
	l.layers = len(layers)
	return "", nil
}

// The builder writes layers where installing looks for the tree.
func TestPrefix(t *testing.T) {
	t.Parallel()
	if builder.Prefix != layer.Prefix {
		t.Errorf("layers have the tree in %s, and are unpacked from %s", builder.Prefix, layer.Prefix)
	}
}

// Which blob a layer makes is remembered for that layer and this compressor.
func TestBlobsAreTold(t *testing.T) {
	t.Parallel()
	s, _, _ := session(t, goodRecipe)
	st, err := store.Open(s.Store)
	if err != nil {
		t.Fatal(err)
	}
	b := blobs{st}
	if err := b.Remember("sha256:1", "sha256:2", 3); err != nil {
		t.Fatal(err)
	}
	if digest, size, ok := b.Recall("sha256:1"); !ok || digest != "sha256:2" || size != 3 {
		t.Errorf("the same layer: %s, %d, %t", digest, size, ok)
	}
	if _, _, ok := b.Recall("sha256:3"); ok {
		t.Error("another layer has the same blob")
	}
	for _, key := range []string{layers.Key(blobsKind, layer.Format+1, "sha256:1"), "sha256:1"} {
		if key == blobKey("sha256:1") {
			t.Errorf("another compressor has the key %s", key)
		}
	}
}
