package wiring

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"ampoule/artifact"
	"ampoule/builder/layers"
	"ampoule/builder/progress"
	"ampoule/builder/sandbox"
	"ampoule/builder/share"
	"ampoule/config"
	"ampoule/registry/layer"
	"ampoule/store"
	"ampoule/tree"
)

var sumA = strings.Repeat("a", 64)

// opened opens parts, which the test closes.
func opened(t *testing.T, place config.Place) *Parts {
	t.Helper()
	if place.Store == "" {
		place.Store = filepath.Join(t.TempDir(), "store")
	}
	p, err := Open(place)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// closed closes parts.
func closed(t *testing.T, p *Parts) {
	t.Helper()
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}

// publish publishes an artifact of one file.
func publish(ctx context.Context, p *Parts, key string) (string, error) {
	return publishClaiming(ctx, p, key, nil)
}

// publishClaiming is as publish, and asks before the key is written.
func publishClaiming(ctx context.Context, p *Parts, key string, claim func(context.Context, string) error) (string, error) {
	reg, err := p.Registry()
	if err != nil {
		return "", err
	}
	return publishBy(ctx, p.publisher(reg, Order{Claim: claim}), key)
}

// publishBy publishes an artifact of one file.
func publishBy(ctx context.Context, by Publisher, key string) (string, error) {
	sealed, err := tree.New([]tree.Entry{tree.FileEntry("bin/python3", 0o755, []byte(key))})
	if err != nil {
		return "", err
	}
	parts, err := layers.SaveParts(ctx, by.Store, progress.StagePublish, layers.Split(sealed), artifact.Prefix)
	if err != nil {
		return "", err
	}
	return by.Publish(ctx, artifact.Artifact{
		Name: "web", Key: key, Platform: "linux/" + runtime.GOARCH, Created: time.Unix(1_700_000_000, 0), Layers: parts,
		Config: artifact.Config{Architecture: runtime.GOARCH, Labels: map[string]string{
			artifact.LabelKey: key, artifact.LabelRecipe: "web", artifact.LabelTree: sealed.Hash(), artifact.LabelPrefix: "/opt/ampoule",
		}},
		Verdict: []byte(`{"passed":true}`),
	})
}

// find asks for what publish published.
func find(ctx context.Context, p *Parts, key string) (digest string, found bool, err error) {
	reg, err := p.Registry()
	if err != nil {
		return "", false, err
	}
	return Publisher{Registry: reg, Store: p.Store}.FindKey(ctx, "web", key)
}

// A publisher asks before a key names what was built, and takes a refusal as it is.
func TestPublisherClaims(t *testing.T) {
	t.Parallel()
	p := opened(t, config.Place{})
	defer closed(t, p)
	key := "sha256:" + strings.Repeat("1", 64)
	refusal := errors.New("another one has it")
	var claimed string
	_, err := publishClaiming(t.Context(), p, key, func(_ context.Context, digest string) error {
		claimed = digest
		return refusal
	})
	if !errors.Is(err, refusal) || claimed == "" {
		t.Errorf("refused: %v, digest %q", err, claimed)
	}
	if _, found, err := find(t.Context(), p, key); found || err != nil {
		t.Errorf("a refused key is found: %t, %v", found, err)
	}
	digest, err := publishClaiming(t.Context(), p, key, func(context.Context, string) error { return nil })
	if err != nil || digest != claimed {
		t.Errorf("granted: %s, %v; want %s", digest, err, claimed)
	}
}

// engineAt serves an engine that has no containers. It answers who it is after may is closed.
func engineAt(t *testing.T, asked chan<- struct{}, may <-chan struct{}) (host string) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Api-Version", "1.47")
		switch {
		case strings.HasSuffix(r.URL.Path, "/_ping"):
		case strings.HasSuffix(r.URL.Path, "/info"):
			select {
			case asked <- struct{}{}:
			default:
			}
			select {
			case <-may:
			case <-r.Context().Done():
				return
			}
			fmt.Fprint(w, `{"OSType":"linux","MemTotal":1073741824,"NCPU":1}`)
		case strings.HasSuffix(r.URL.Path, "/containers/json"):
			fmt.Fprint(w, "[]")
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(server.Close)
	return "tcp://" + strings.TrimPrefix(server.URL, "http://")
}

// left lists the files of an area, or directory, of a store.
func left(t *testing.T, p *Parts, area string) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(p.Store.Root(), area))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// Several calls share the parts. That one of them ends does no harm to the others, though it
// was the first, and opened what they wait for.
func TestOneOfSeveralCallsEnds(t *testing.T) {
	t.Parallel()
	asked, may := make(chan struct{}, 1), make(chan struct{})
	p := opened(t, config.Place{Engine: engineAt(t, asked, may)})
	cause := errors.New("not wanted any more")
	first, cancel := context.WithCancelCause(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := p.Sandboxes(first)
		ended <- err
	}()
	<-asked

	var calls sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		calls.Go(func() { errs[i] = call(t.Context(), p, fmt.Sprintf("sha256:%064d", i)) })
	}
	waiting(t, p, 1+len(errs))
	cancel(cause)
	if err := <-ended; !errors.Is(err, cause) {
		t.Errorf("the call that ended: %v", err)
	}
	close(may)
	calls.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Errorf("the other calls: %v", err)
	}
	if err := call(first, p, "sha256:"+sumA); !errors.Is(err, cause) {
		t.Errorf("a call that had ended before: %v", err)
	}
	if n := len(left(t, p, string(store.Owners))); n != 1 {
		t.Errorf("%d engines were opened", n)
	}
	closed(t, p)
}

// call does what a build does with the parts: it uses the store, opens the engine, publishes,
// and finds what it published.
func call(ctx context.Context, p *Parts, key string) error {
	release, err := p.Store.Use(ctx)
	if err != nil {
		return err
	}
	defer release()
	if _, err := p.Builder(config.Inputs{}); err != nil {
		return err
	}
	if _, err := p.Sandboxes(ctx); err != nil {
		return err
	}
	digest, err := publish(ctx, p, key)
	if err != nil {
		return err
	}
	found, ok, err := find(ctx, p, key)
	if err == nil && (!ok || found != digest) {
		err = fmt.Errorf("found %q, %t, not %s", found, ok, digest)
	}
	return err
}

// waiting waits until so many calls wait for the engine.
func waiting(t *testing.T, p *Parts, want int) {
	t.Helper()
	for {
		p.engine.mu.Lock()
		n := 0
		if p.engine.current != nil {
			n = p.engine.current.waiting
		}
		p.engine.mu.Unlock()
		if n == want {
			return
		}
		select {
		case <-t.Context().Done():
			t.Fatalf("%d calls wait, not %d", n, want)
		case <-time.After(time.Millisecond):
		}
	}
}

// When nobody waits any more, opening ends; the next call opens the engine anew.
func TestNobodyWaits(t *testing.T) {
	t.Parallel()
	asked, may := make(chan struct{}, 1), make(chan struct{})
	p := opened(t, config.Place{Engine: engineAt(t, asked, may)})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-asked
		cancel()
	}()
	if _, err := p.Sandboxes(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("the call that ended: %v", err)
	}
	p.engine.running.Wait()
	if names := left(t, p, string(store.Owners)); len(names) > 0 {
		t.Errorf("owners %q", names)
	}
	close(may)
	if _, err := p.Sandboxes(t.Context()); err != nil {
		t.Errorf("the next call: %v", err)
	}
	closed(t, p)
}

// An engine that cannot be opened is tried again.
func TestEngineIsTriedAgain(t *testing.T) {
	t.Parallel()
	p := opened(t, config.Place{Engine: "unix://" + filepath.Join(t.TempDir(), "none.sock")})
	if _, err := p.Engine(t.Context()); !errors.Is(err, sandbox.ErrUnavailable) {
		t.Errorf("without an engine: %v", err)
	}
	may := make(chan struct{})
	close(may)
	p.place.Engine = engineAt(t, nil, may)
	if _, err := p.Engine(t.Context()); err != nil {
		t.Errorf("with an engine: %v", err)
	}
	closed(t, p)
}

// Nothing is opened before it is asked for.
func TestEngineIsLazy(t *testing.T) {
	t.Parallel()
	p := opened(t, config.Place{Engine: "unix:///nowhere/none.sock"})
	if _, err := p.Builder(config.Inputs{}); err != nil {
		t.Fatal(err)
	}
	if _, found, err := find(t.Context(), p, "sha256:"+sumA); found || err != nil {
		t.Errorf("found %t, %v", found, err)
	}
	if n, err := p.RemoveImages(t.Context()); n != 0 || err != nil {
		t.Errorf("removed %d, %v", n, err)
	}
	closed(t, p)
}

// Close gives back the engine's lock file, the registry and the pins, and ends an opening.
func TestCloseReleases(t *testing.T) {
	t.Parallel()
	may := make(chan struct{})
	close(may)
	p := opened(t, config.Place{Engine: engineAt(t, nil, may)})
	if err := call(t.Context(), p, "sha256:"+sumA); err != nil {
		t.Fatal(err)
	}
	release, err := p.Store.Use(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Store.Pin(sumA); err != nil {
		t.Fatal(err)
	}
	closed(t, p)
	for _, area := range []string{string(store.Owners), "users", string(store.Tmp)} {
		if names := left(t, p, area); len(names) > 0 {
			t.Errorf("%s holds %q", area, names)
		}
	}
	release()
	if _, err := p.Engine(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("the engine afterwards: %v", err)
	}
	if text, err := os.ReadFile(filepath.Join(p.Store.Dir(store.Registry), "lock")); err != nil || strings.Trim(string(text), "\x00") != "" {
		t.Errorf("the registry's lock names %q, %v", text, err)
	}
	next := opened(t, config.Place{Store: p.Store.Root()})
	if _, err := publish(t.Context(), next, "sha256:"+sumA); err != nil {
		t.Errorf("whoever comes next: %v", err)
	}
	closed(t, next)
	closed(t, p)
}

// All builds of a process share one pool, which has what the engine's machine has.
func TestBuildsShareOnePool(t *testing.T) {
	t.Parallel()
	may := make(chan struct{})
	close(may)
	p := opened(t, config.Place{Engine: engineAt(t, nil, may)})
	defer closed(t, p)
	first, err := p.Sandboxes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	second, err := p.Sandboxes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if first.Pool == nil || first.Pool != second.Pool || first.Pool.Memory() != 1<<30/100*80 {
		t.Errorf("pools %p and %p", first.Pool, second.Pool)
	}
	got, err := first.Pool.Take(t.Context(), share.Want{Processors: 64})
	if err != nil || got.Processors != 2 {
		t.Errorf("a step has %+v, %v", got, err)
	}
}

func TestCloseEndsAnOpening(t *testing.T) {
	t.Parallel()
	asked := make(chan struct{}, 1)
	p := opened(t, config.Place{Engine: engineAt(t, asked, nil)})
	ended := make(chan error, 1)
	go func() {
		_, err := p.Engine(t.Context())
		ended <- err
	}()
	<-asked
	closed(t, p)
	if err := <-ended; !errors.Is(err, ErrClosed) {
		t.Errorf("the call: %v", err)
	}
}

// What is set wrongly is named.
func TestWrongSettingsAreNamed(t *testing.T) {
	t.Parallel()
	foreign := t.TempDir()
	if err := os.WriteFile(filepath.Join(foreign, "file"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		place  config.Place
		inputs config.Inputs
		want   string
	}{
		"no store":       {want: "the store: no directory"},
		"foreign store":  {place: config.Place{Store: foreign}, want: foreign},
		"registry":       {place: config.Place{Store: t.TempDir(), Registry: "no host/x"}, want: "no host/x"},
		"kept":           {place: config.Place{Store: t.TempDir()}, inputs: config.Inputs{Kept: []string{foreign + "/none"}}, want: foreign + "/none: kept inputs"},
		"kept, registry": {place: config.Place{Store: t.TempDir()}, inputs: config.Inputs{Kept: []string{"registry.example/Team"}}, want: "registry.example/Team"},
	} {
		p, err := Open(c.place)
		if err == nil {
			_, err = p.Builder(c.inputs)
			closed(t, p)
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
		var told interface{ Hint() string }
		if !errors.As(err, &told) || told.Hint() == "" {
			t.Errorf("%s: no hint: %v", name, err)
		}
	}
}

// What a call pulled can be opened by others after it, and not by one that has ended.
func TestPulledOutlivesItsCall(t *testing.T) {
	t.Parallel()
	p := opened(t, config.Place{})
	digest, err := publish(t.Context(), p, "sha256:"+sumA)
	if err != nil {
		t.Fatal(err)
	}
	reg, err := p.Registry()
	if err != nil {
		t.Fatal(err)
	}
	bases := Publisher{Registry: reg, Store: p.Store}
	ctx, cancel := context.WithCancel(t.Context())
	pulled, _, err := bases.PullBase(ctx, "web@"+digest, "linux/"+runtime.GOARCH)
	if err != nil || len(pulled) == 0 {
		t.Fatal(pulled, err)
	}
	files, err := bases.BaseFiles(ctx, "web@"+digest, "linux/"+runtime.GOARCH)
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	cancel()
	read := func(ctx context.Context, open func(context.Context) (io.ReadCloser, error)) (string, error) {
		r, err := open(ctx)
		if err != nil {
			return "", err
		}
		sum := sha256.New()
		_, err = io.Copy(sum, r)
		return fmt.Sprintf("%x", sum.Sum(nil)), errors.Join(err, r.Close())
	}
	for _, l := range pulled {
		if got, err := read(t.Context(), l.Open); err != nil || "sha256:"+got != l.DiffID {
			t.Errorf("layer %s: %s, %v", l.DiffID, got, err)
		}
		if _, err := read(ctx, l.Open); !errors.Is(err, context.Canceled) {
			t.Errorf("layer %s, by a call that has ended: %v", l.DiffID, err)
		}
	}
	for _, f := range files {
		if got, err := read(t.Context(), f.Open); err != nil || "sha256:"+got != f.Digest {
			t.Errorf("%s: %s, %v", f.Name, got, err)
		}
	}
	closed(t, p)
}

func TestReferenceNamesTheRegistry(t *testing.T) {
	t.Parallel()
	p := &Parts{}
	if got := p.Reference("web", "sha256:1"); got != "web@sha256:1" {
		t.Errorf("reference %q", got)
	}
	p.place.Registry = "registry.example/team"
	if got := p.Reference("web", "sha256:1"); got != "registry.example/team/web@sha256:1" {
		t.Errorf("reference %q", got)
	}
}

// Images whose layers a build has loaded stay, though the store does not have them.
func TestLoadedImagesStay(t *testing.T) {
	t.Parallel()
	st, err := store.Open(t.TempDir())
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

// Which blob a layer makes is remembered for that layer and this compressor.
func TestBlobsAreTold(t *testing.T) {
	t.Parallel()
	st, err := store.Open(t.TempDir())
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
