package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/artifact"
	"ampoule/builder/docker"
	"ampoule/builder/layers"
	"ampoule/builder/progress"
	"ampoule/builder/sandbox"
	"ampoule/internal/basetime"
	"ampoule/registry"
	"ampoule/tree"
	"ampoule/wiring"
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
func publish(ctx context.Context, t *testing.T, w *wiring.Parts, sealed *tree.Tree) (digest string) {
	t.Helper()
	return publishAs(ctx, t, w, sealed, "web")
}

// publishAs publishes it under a name.
func publishAs(ctx context.Context, t *testing.T, w *wiring.Parts, sealed *tree.Tree, name string) (digest string) {
	t.Helper()
	return publishBy(ctx, t, w, sealed, name, func(*artifact.Artifact) {})
}

// publishBy publishes it after a change.
func publishBy(ctx context.Context, t *testing.T, w *wiring.Parts, sealed *tree.Tree, name string, change func(*artifact.Artifact)) (digest string) {
	t.Helper()
	publisher, err := w.Publisher()
	if err != nil {
		t.Fatal(err)
	}
	parts, err := layers.SaveParts(ctx, w.Store, progress.StagePublish, layers.Split(sealed), artifact.Prefix)
	if err != nil {
		t.Fatal(err)
	}
	about := sampleLabels(sealed)
	about.Recipe = name
	labels, err := about.Encode()
	if err != nil {
		t.Fatal(err)
	}
	a := artifact.Artifact{
		Name: name, Key: "sha256:" + sumA, Platform: "linux/" + runtime.GOARCH, Created: basetime.Of(t),
		Layers: parts,
		Config: artifact.Config{
			Architecture: runtime.GOARCH, Entrypoint: []string{"/opt/ampoule/bin/python3"}, Env: []string{"PATH=/opt/ampoule/bin"},
			Labels: labels,
		},
		Verdict:    []byte(`{"passed":true}`),
		Wheelhouse: []artifact.File{artifact.BytesFile("idna-3.10-py3-none-any.whl", artifact.WheelType, []byte("wheel"))},
	}
	change(&a)
	digest, err = publisher.Publish(ctx, a)
	if err != nil {
		t.Fatal(err)
	}
	return digest
}

// sampleLabels are the labels of the sample tree's artifact.
func sampleLabels(sealed *tree.Tree) artifact.Labels {
	return artifact.Labels{
		Recipe: "web", Key: "sha256:" + sumA, Python: "3.13.5", Fingerprint: "sha256:" + strings.Repeat("f", 64),
		Tree: sealed.Hash(), Prefix: "/opt/ampoule", Repeatable: new(false),
	}
}

// engine is an Engine that remembers what it was given.
type engine struct {
	config sandbox.Config
	files  []string
	ran    docker.RunOptions
	code   int
	// open is how many were held and not closed.
	open int
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

func (e *engine) Hold(_ sandbox.ID, o docker.RunOptions, _ []string) docker.Held {
	return e.holdBy(o, e.Run)
}

// holdBy holds what runs programs by another engine's Run.
func (e *engine) holdBy(o docker.RunOptions, run func(context.Context, sandbox.ID, docker.RunOptions) (int, error)) docker.Held {
	e.open++
	return &heldFake{e, o, run}
}

// heldFake is a docker.Held that runs each program by itself.
type heldFake struct {
	e   *engine
	o   docker.RunOptions
	run func(context.Context, sandbox.ID, docker.RunOptions) (int, error)
}

func (h *heldFake) Ready(context.Context) error { return nil }

func (h *heldFake) Run(ctx context.Context, o docker.RunOptions) (int, error) {
	all := h.o
	all.Args, all.Signals, all.Stdout, all.Stderr = o.Args, o.Signals, o.Stdout, o.Stderr
	return h.run(ctx, "", all)
}

func (h *heldFake) Close() error {
	h.e.open--
	return nil
}

// TestPublishedArtifact takes one artifact through all verbs that need no engine.
func TestPublishedArtifact(t *testing.T) {
	t.Parallel()
	s, out, errs := session(t, goodRecipe)
	sealed := sampleTree(t)
	root := filepath.Join(t.TempDir(), "root")
	err := s.wired(t.Context(), func(ctx context.Context, w *wiring.Parts) error {
		digest := publish(ctx, t, w, sealed)
		if again := publish(ctx, t, w, sealed); again != digest {
			t.Errorf("published twice: %s and %s", digest, again)
		}
		reg, err := w.Registry()
		if err != nil {
			return err
		}
		if found, ok, err := (wiring.Publisher{Registry: reg, Store: w.Store}).FindKey(ctx, "web", "sha256:"+sumA); err != nil || !ok || found != digest {
			t.Errorf("FindKey: %q, %v, %v", found, ok, err)
		}
		ref := w.Reference("web", digest)
		inspected(ctx, t, s, reg, ref, sealed)
		out.Reset()

		if err := Install(ctx, s, reg, ref, installBelow(root)); err != nil {
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
		err = Run(ctx, s, reg, e, ref, RunOptions{Args: []string{"-V"}})
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
	for _, want := range []string{ref, "tree", sealed.Hash(), "interpreter", "verdict.json", "idna-3.10-py3-none-any.whl", artifact.WheelhouseType} {
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
