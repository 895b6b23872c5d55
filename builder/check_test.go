package builder

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/artifact"
	"ampoule/builder/compare"
	"ampoule/builder/sandbox"
	"ampoule/faults"
	"ampoule/store"
)

// digester publishes nothing, and names an artifact by the bytes that it would publish. It has
// no groups.
type digester struct{ GroupPublisher }

func (d *digester) FindKey(context.Context, string, string) (string, bool, error) {
	return "", false, nil
}

func (d *digester) Publish(ctx context.Context, a artifact.Artifact) (string, error) {
	var parts []func(context.Context) (io.ReadCloser, error)
	for _, l := range a.Layers {
		parts = append(parts, l.Open)
	}
	for _, f := range a.Wheelhouse {
		parts = append(parts, f.Open)
	}
	for _, l := range a.Debug {
		parts = append(parts, l.Open)
	}
	hash := sha256.New()
	for _, open := range parts {
		r, err := open(ctx)
		if err != nil {
			return "", err
		}
		_, err = io.Copy(hash, r)
		if err := errors.Join(err, r.Close()); err != nil {
			return "", err
		}
	}
	return "sha256:" + hex.EncodeToString(hash.Sum(nil)), nil
}

func (d *digester) Close() error { return nil }

func TestCheck(t *testing.T) {
	t.Parallel()
	host := compare.Difference{Place: "line 2", First: `host = \"\"`, Second: `host = \"elsewhere\"`, Cause: "the host name where it was built"}
	at := func(file string) []compare.Difference {
		d := host
		d.File = file
		return []compare.Difference{d}
	}
	leakyInterpreter, leakyWheel := at(Prefix+"/"+library+"leak.py"), at(wheel+"!demo/__init__.py")
	leakyWheel = append(leakyWheel, compare.Difference{File: wheel + "!demo-1.0.dist-info/RECORD", Place: "line 1"})
	for name, c := range map[string]struct {
		leaks, only, what string
		want              []compare.Difference
	}{
		"the same":                       {"", "", "everything", nil},
		"the same interpreter":           {"demo", OnlyInterpreter, OnlyInterpreter, nil},
		"the same wheel":                 {"", "Demo", "demo==1.0", nil},
		"the interpreter differs":        {OnlyInterpreter, "", "everything", leakyInterpreter},
		"it alone":                       {OnlyInterpreter, OnlyInterpreter, OnlyInterpreter, leakyInterpreter},
		"a wheel differs":                {"demo", "demo", "demo==1.0", leakyWheel},
		"a wheel differs, of everything": {"demo", "", "everything", leakyWheel},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.leaks = c.leaks
			w.needs.Publisher = &digester{}
			var other *store.Store
			got, err := w.builder().Check(t.Context(), w.request(), c.only, func(st *store.Store) (Publisher, io.Closer, error) {
				other = st
				return &digester{}, &digester{}, nil
			})
			if err != nil {
				t.Fatal(err)
			}
			for i := range got.Differences {
				if d := &got.Differences[i]; strings.HasSuffix(d.File, "RECORD") {
					d.First, d.Second = "", "" // hashes
				}
			}
			if diff := cmp.Diff(c.want, got.Differences); diff != "" || got.Same() != (c.want == nil) || got.What != c.what || got.Name != "web" {
				t.Errorf("%+v (-want +got):\n%s", got, diff)
			}
			if found, err := w.st.Lookup(InputsKind, MakePlan(w.recipe, w.lock, w.recipe.Platforms[0], "").Key, new(Inputs)); found || err != nil {
				t.Errorf("the inputs stay for ever: %t, %v", found, err)
			}
			if ends := w.outcomes(); slices.Contains(ends, "found again") != (c.want != nil || c.only != "") {
				t.Errorf("runs ended with %q", ends)
			}
			if jobs := w.jobs(); c.only == "" && jobs != "-j1 -j2" {
				t.Errorf("both builds had %q", jobs)
			}
			if other.Root() == w.st.Root() {
				t.Error("the second build used the first one's store")
			}
			w.checkClosed()
		})
	}
	w := newWorld(t)
	if _, err := w.builder().Check(t.Context(), w.request(), "flask", nil); faults.Of(err) != faults.NotFound || w.opened != 0 {
		t.Errorf("a wheel that is not built: %v", err)
	}
}

// The second build knows how much memory wheels and the interpreter take, so that it does not build two large ones
// at once.
func TestCheckKnowsMemory(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.needs.Publisher = &digester{}
	if err := w.st.Record("wheel-memory", "demo", int64(3<<30)); err != nil {
		t.Fatal(err)
	}
	if _, err := w.builder().Check(t.Context(), w.request(), "", func(*store.Store) (Publisher, io.Closer, error) {
		return &digester{}, &digester{}, nil
	}); err != nil {
		t.Fatal(err)
	}
	got := map[string][]int64{}
	for _, sb := range w.runner.Sandboxes() {
		i := slices.IndexFunc(sb.Steps(), func(step sandbox.Step) bool { return step.Parallel != nil })
		if i >= 0 {
			got[sb.Spec.Name] = append(got[sb.Spec.Name], sb.Steps()[i].Memory)
		}
	}
	// The wheel was built before, and the interpreter was not.
	want := map[string][]int64{"wheel-demo": {3 << 30, 3 << 30}, "install-demo": {0, 0}, "cpython-3.13.5": {0, compiling}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("memory of both builds (-want +got):\n%s", diff)
	}
}

// Artifacts of one tree can differ in what is around it.
func TestArtifactsDiffer(t *testing.T) {
	t.Parallel()
	whole := func() artifact.Artifact {
		return artifact.Artifact{
			Base:   []sandbox.Layer{{DiffID: "sha256:b"}},
			Layers: []sandbox.Layer{{Name: "native", DiffID: "sha256:n"}},
			Config: sandbox.Config{Env: []string{"A=1"}, Labels: map[string]string{artifact.LabelKey: "sha256:k"}},
		}
	}
	for place, change := range map[string]func(*artifact.Artifact){
		"layers of the base":         func(a *artifact.Artifact) { a.Base[0].DiffID = "sha256:c" },
		"layer 1":                    func(a *artifact.Artifact) { a.Layers[0].DiffID = "sha256:m" },
		"layer 2":                    func(a *artifact.Artifact) { a.Layers = append(a.Layers, artifact.Layer{Name: "metadata"}) },
		"label " + artifact.LabelKey: func(a *artifact.Artifact) { a.Config.Labels[artifact.LabelKey] = "sha256:l" },
		"label more":                 func(a *artifact.Artifact) { a.Config.Labels["more"] = "x" },
		"environment":                func(a *artifact.Artifact) { a.Config.Env = append(a.Config.Env, "B=2") },
		"configuration":              func(a *artifact.Artifact) { a.Config.Entrypoint = []string{"python"} },
		"what was published before":  func(*artifact.Artifact) {},
	} {
		other := whole()
		change(&other)
		got := artifacts(whole(), other)
		if len(got) != 1 || got[0].Place != place || (got[0].First == got[0].Second) != (got[0].Cause != "") {
			t.Errorf("%s: found %+v", place, got)
		}
	}
}

// Groups of two builds are compared one by one.
func TestGroupsAreCompared(t *testing.T) {
	t.Parallel()
	first := []GroupResult{{Name: "docs", Digest: "sha256:1"}, {Name: "test", Digest: "sha256:2"}}
	second := []GroupResult{{Name: "docs", Digest: "sha256:1"}, {Name: "test", Digest: "sha256:3"}}
	want := []compare.Difference{{File: "dependency group test", Place: "its digest", First: "sha256:2", Second: "sha256:3"}}
	if diff := cmp.Diff(want, groups(first, second)); diff != "" {
		t.Errorf("differences (-want +got):\n%s", diff)
	}
	if found := groups(first, first); found != nil {
		t.Errorf("of the same: %+v", found)
	}
}
