package registry_test

import (
	"context"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	ociregistry "github.com/google/go-containerregistry/pkg/registry"

	"ampoule/registry"
	"ampoule/registry/embedded"
	"ampoule/registry/layer"
	"ampoule/tree"
)

const platform = "linux/amd64"

// key returns a key that ends in a character.
func key(c string) string { return "sha256:" + strings.Repeat("0", 63) + c }

// store opens the registry of a directory, closed when the test ends.
func store(t *testing.T, dir string) *registry.Registry {
	t.Helper()
	e := embedded.Open(dir)
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	r, err := registry.Local(e)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// remote starts a registry without the referrers API and opens it below a prefix.
func remote(t *testing.T) *registry.Registry {
	t.Helper()
	server := httptest.NewServer(ociregistry.New(ociregistry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	r, err := registry.Open(strings.TrimPrefix(server.URL, "http://") + "/team")
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// artifact makes a small artifact: one base layer and one tree of a few files.
func artifact(t testing.TB, key, content string) (registry.Artifact, *tree.Tree) {
	t.Helper()
	program := tree.FileEntry("bin/python3", 0o755, []byte(content))
	program.Owner = "interpreter"
	module := tree.FileEntry("lib/flask.py", 0o644, []byte("import os\n"))
	module.Owner = "wheel:flask"
	link := tree.Entry{Path: "bin/python", Kind: tree.Symlink, Mode: 0o777, Link: "python3", Owner: "interpreter"}
	whole, err := tree.New([]tree.Entry{program, module, link})
	if err != nil {
		t.Fatal(err)
	}
	packer := layer.Packer{Dir: t.TempDir()}
	layers, err := packer.Pack(t.Context(), layer.Split(whole), time.Unix(1577836800, 0))
	if err != nil {
		t.Fatal(err)
	}
	root, err := tree.New([]tree.Entry{tree.FileEntry("etc/os-release", 0o644, []byte("ID=test\n"))})
	if err != nil {
		t.Fatal(err)
	}
	base, err := packer.Pack(t.Context(), []layer.Part{{Name: "base", Tree: root}}, time.Unix(1577836800, 0))
	if err != nil {
		t.Fatal(err)
	}
	return registry.Artifact{
		Name: "web", Key: key,
		Images: []registry.Image{{
			Platform: platform, Created: time.Unix(1577836800, 0), Base: base, Layers: layers,
			Config: registry.Config{
				Env: []string{"PATH=/opt/ampoule/bin"}, Entrypoint: []string{"/opt/ampoule/bin/python3"},
				Labels: map[string]string{registry.LabelKey: key, registry.LabelTree: whole.Hash()},
			},
		}},
		Referrers: []registry.Referrer{
			{ArtifactType: "application/vnd.ampoule.verdict+json", Files: []registry.File{
				registry.BytesFile("verdict.json", "application/json", []byte(`{"passed":true}`)),
			}},
			{ArtifactType: "application/vnd.ampoule.wheelhouse", Annotations: map[string]string{"wheels": "0"}},
		},
	}, whole
}

// eachRegistry runs a test against the embedded registry and against a remote one
// that has no referrers API.
func eachRegistry(t *testing.T, test func(*testing.T, *registry.Registry)) {
	t.Run("embedded", func(t *testing.T) {
		t.Parallel()
		test(t, store(t, t.TempDir()))
	})
	t.Run("remote", func(t *testing.T) {
		t.Parallel()
		test(t, remote(t))
	})
}

func TestPublishAndReadBack(t *testing.T) {
	t.Parallel()
	eachRegistry(t, func(t *testing.T, r *registry.Registry) {
		a, whole := artifact(t, key("1"), "#!/bin/true")
		if _, found, err := r.FindKey(t.Context(), a.Name, a.Key); found || err != nil {
			t.Fatalf("before publishing, the key is found: %v, %v", found, err)
		}
		done, err := r.Publish(t.Context(), a)
		if err != nil {
			t.Fatal(err)
		}
		digest, found, err := r.FindKey(t.Context(), a.Name, a.Key)
		if err != nil || !found || digest != done.Digest {
			t.Fatalf("the key names %q (%v, %v), want %s", digest, found, err, done.Digest)
		}
		d, err := r.Resolve(t.Context(), "web@"+done.Digest)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := r.Resolve(t.Context(), done.Ref); err != nil || cmp.Diff(d, again) != "" {
			t.Errorf("%s resolves to something else (%v)", done.Ref, err)
		}
		image, err := d.Image(platform)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(a.Images[0].Config, image.Config); diff != "" {
			t.Errorf("config (-want +got):\n%s", diff)
		}
		checkLayers(t, r, image, whole)
		checkReferrers(t, r, done.Ref)
	})
}

// checkLayers reads the tree's layers back and compares what they hold.
func checkLayers(t *testing.T, r *registry.Registry, image registry.ImageInfo, whole *tree.Tree) {
	t.Helper()
	var names []string
	all, err := tree.New(nil)
	for _, l := range image.Layers {
		names = append(names, l.Name)
		if l.Base {
			continue
		}
		content, openErr := r.OpenLayer(t.Context(), l)
		if openErr != nil {
			t.Fatal(openErr)
		}
		raw, readErr := io.ReadAll(content)
		part, tarErr := tree.FromTar(strings.NewReader(string(raw)), int64(len(raw)), tree.Limits{})
		if err = errors.Join(err, readErr, tarErr, content.Close()); err != nil {
			t.Fatal(err)
		}
		all, err = all.With(part.Sub(layer.Prefix).Entries()...)
	}
	if err != nil || all.Hash() != whole.Hash() {
		t.Errorf("the layers hold tree %s (%v), want %s", all.Hash(), err, whole.Hash())
	}
	if len(names) != 3 || names[0] != "base" || names[1] != "interpreter" || !strings.HasPrefix(names[2], "tail-") {
		t.Errorf("layers are %v, want base, interpreter, tail-NN", names)
	}
}

func checkReferrers(t *testing.T, r *registry.Registry, ref string) {
	t.Helper()
	if all, err := r.Referrers(t.Context(), ref, ""); err != nil || len(all) != 2 {
		t.Errorf("%d referrers (%v), want 2", len(all), err)
	}
	digest, err := r.Attach(t.Context(), ref, registry.Referrer{
		ArtifactType: "application/vnd.ampoule.verdict+json", Annotations: map[string]string{"second": "yes"},
	})
	if err != nil {
		t.Fatal(err)
	}
	verdicts, err := r.Referrers(t.Context(), ref, "application/vnd.ampoule.verdict+json")
	if err != nil || len(verdicts) != 2 {
		t.Fatalf("%d verdicts (%v), want 2", len(verdicts), err)
	}
	for _, v := range verdicts {
		if v.Digest == digest {
			if v.Annotations["second"] != "yes" || len(v.Files) != 0 {
				t.Errorf("the attached verdict is %+v", v)
			}
			continue
		}
		f, err := r.OpenFile(t.Context(), v.Files[0])
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(f)
		if err != nil || string(content) != `{"passed":true}` || v.Files[0].Name != "verdict.json" {
			t.Errorf("%s holds %q (%v)", v.Files[0].Name, content, err)
		}
	}
}

// TestArtifactGolden fails when the form of manifests or configurations changes:
// then every artifact gets another digest, which must be meant.
func TestArtifactGolden(t *testing.T) {
	t.Parallel()
	const want = "GOLDEN"
	eachRegistry(t, func(t *testing.T, r *registry.Registry) {
		a, _ := artifact(t, key("1"), "golden")
		done, err := r.Publish(t.Context(), a)
		if err != nil {
			t.Fatal(err)
		}
		if done.Digest != want {
			t.Errorf("digest is %s, want %s", done.Digest, want)
		}
	})
}

func TestFirstPublicationStands(t *testing.T) {
	t.Parallel()
	eachRegistry(t, func(t *testing.T, r *registry.Registry) {
		first, _ := artifact(t, key("1"), "first")
		second, _ := artifact(t, key("1"), "second")
		done, err := r.Publish(t.Context(), first)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := r.Publish(t.Context(), first); err != nil || again != done {
			t.Errorf("publishing again gave %v (%v), want %v", again, err, done)
		}
		_, err = r.Publish(t.Context(), second)
		var taken *registry.KeyTakenError
		if !errors.As(err, &taken) || taken.Published != done.Digest || taken.Offered == done.Digest {
			t.Errorf("error is %v, want one that names both digests", err)
		}
		if digest, _, err := r.FindKey(t.Context(), "web", key("1")); err != nil || digest != done.Digest {
			t.Errorf("the key names %s (%v), want %s", digest, err, done.Digest)
		}
	})
}

// TestSimultaneousPublicationsOfOneKey checks that exactly one of many wins.
func TestSimultaneousPublicationsOfOneKey(t *testing.T) {
	t.Parallel()
	r := store(t, t.TempDir())
	const n = 8
	var won sync.Map
	var wg sync.WaitGroup
	for i := range n {
		a, _ := artifact(t, key("1"), strconv.Itoa(i))
		wg.Go(func() {
			done, err := r.Publish(context.Background(), a)
			var taken *registry.KeyTakenError
			switch {
			case err == nil:
				won.Store(done.Digest, true)
			case !errors.As(err, &taken):
				t.Errorf("publication %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	digest, _, err := r.FindKey(t.Context(), "web", key("1"))
	if _, ok := won.Load(digest); !ok || err != nil {
		t.Errorf("the key names %s (%v), whose publication failed", digest, err)
	}
	count := 0
	won.Range(func(_, _ any) bool { count++; return true })
	if count != 1 {
		t.Errorf("%d publications succeeded, want 1", count)
	}
}

// TestInterruptedPublicationIsNotFound ends a publication at each request in turn.
func TestInterruptedPublicationIsNotFound(t *testing.T) {
	t.Parallel()
	e := embedded.Open(t.TempDir())
	defer e.Close()
	a, _ := artifact(t, key("1"), "x")
	whole, err := registry.Local(e)
	if err != nil {
		t.Fatal(err)
	}
	for after := 0; ; after++ {
		ctx, cancel := context.WithCancel(t.Context())
		broken, err := registry.Local(&fuse{next: e, left: after, blow: cancel})
		if err != nil {
			t.Fatal(err)
		}
		_, err = broken.Publish(ctx, a)
		cancel()
		_, found, findErr := whole.FindKey(t.Context(), a.Name, a.Key)
		if findErr != nil {
			t.Fatal(findErr)
		}
		if err == nil && found {
			return
		}
		if found {
			if refs, err := whole.Referrers(t.Context(), "web@"+mustFind(t, whole), ""); err != nil || len(refs) != 2 {
				t.Errorf("after %d requests the artifact is found with %d referrers (%v)", after, len(refs), err)
			}
			return
		}
		if after > 200 {
			t.Fatalf("publishing does not come to an end: %v", err)
		}
	}
}

func mustFind(t *testing.T, r *registry.Registry) string {
	t.Helper()
	digest, _, err := r.FindKey(t.Context(), "web", key("1"))
	if err != nil {
		t.Fatal(err)
	}
	return digest
}

// fuse lets a number of requests pass and then cancels.
type fuse struct {
	mu   sync.Mutex
	next http.RoundTripper
	left int
	blow context.CancelFunc
}

func (f *fuse) RoundTrip(req *http.Request) (*http.Response, error) {
	f.mu.Lock()
	f.left--
	blown := f.left < 0
	f.mu.Unlock()
	if blown {
		f.blow()
		return nil, context.Canceled
	}
	return f.next.RoundTrip(req)
}

// TestProcessesPublishAtOnce starts processes that share one directory: each
// publishes artifacts and ends, so that the lock goes from one to the next.
func TestProcessesPublishAtOnce(t *testing.T) {
	t.Parallel()
	const processes, each = 3, 4
	dir := t.TempDir()
	var wg sync.WaitGroup
	for p := range processes {
		wg.Go(func() {
			cmd := exec.Command(os.Args[0], "-test.run=^TestPublishingProcess$", "-test.count=1")
			cmd.Env = append(os.Environ(), "PUBLISH_DIR="+dir, "PUBLISH_FROM="+strconv.Itoa(p*each), "PUBLISH_COUNT="+strconv.Itoa(each))
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("process %d: %v\n%s", p, err, out)
			}
		})
	}
	wg.Wait()
	r := store(t, dir)
	for i := range processes * each {
		digest, found, err := r.FindKey(t.Context(), "web", numbered(i))
		if !found || err != nil {
			t.Errorf("publication %d is lost (%v)", i, err)
			continue
		}
		if refs, err := r.Referrers(t.Context(), "web@"+digest, ""); err != nil || len(refs) != 2 {
			t.Errorf("publication %d has %d referrers (%v), want 2", i, len(refs), err)
		}
	}
}

func numbered(i int) string { return key(string("0123456789abcdef"[i])) }

// TestPublishingProcess is the other process of TestProcessesPublishAtOnce.
func TestPublishingProcess(t *testing.T) {
	dir := os.Getenv("PUBLISH_DIR")
	if dir == "" {
		return
	}
	from, _ := strconv.Atoi(os.Getenv("PUBLISH_FROM"))
	count, _ := strconv.Atoi(os.Getenv("PUBLISH_COUNT"))
	r := store(t, dir)
	for i := from; i < from+count; i++ {
		a, _ := artifact(t, numbered(i), strconv.Itoa(i))
		if _, err := r.Publish(t.Context(), a); err != nil {
			t.Errorf("publication %d: %v", i, err)
		}
	}
}

func TestDamagedBlobIsSentAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a, whole := artifact(t, key("1"), "x")
	r := store(t, dir)
	l := a.Images[0].Layers[0]
	blobs := filepath.Join(dir, "repositories", "web", "blobs", "sha256")
	if _, err := r.Publish(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(blobs, strings.TrimPrefix(l.Digest, "sha256:")), 0); err != nil {
		t.Fatal(err)
	}
	a.Key = key("2")
	done, err := r.Publish(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	d, err := r.Resolve(t.Context(), done.Ref)
	if err != nil {
		t.Fatal(err)
	}
	checkLayers(t, r, d.Images[0], whole)
}

func TestCorruptedLayerIsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a, _ := artifact(t, key("1"), strings.Repeat("content", 1000))
	r := store(t, dir)
	done, err := r.Publish(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	l := a.Images[0].Layers[0]
	other := a.Images[0].Layers[1]
	at := func(l layer.Layer) string {
		return filepath.Join(dir, "repositories", "web", "blobs", "sha256", strings.TrimPrefix(l.Digest, "sha256:"))
	}
	raw, err := os.ReadFile(at(other))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(at(l), raw, 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := r.Resolve(t.Context(), done.Ref)
	if err != nil {
		t.Fatal(err)
	}
	for _, info := range d.Images[0].Layers {
		if info.Digest != l.Digest {
			continue
		}
		content, err := r.OpenLayer(t.Context(), info)
		if err == nil {
			_, err = io.Copy(io.Discard, content)
		}
		if !errors.Is(err, layer.ErrDiffID) {
			t.Errorf("error is %v, want ErrDiffID", err)
		}
	}
}

func TestPullBase(t *testing.T) {
	t.Parallel()
	r := remote(t)
	a, _ := artifact(t, key("1"), "x")
	done, err := r.Publish(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	local := store(t, t.TempDir())
	base, err := local.PullBase(t.Context(), done.Ref, platform)
	if err != nil {
		t.Fatal(err)
	}
	if len(base.Layers) != 3 || base.Config.Entrypoint[0] != "/opt/ampoule/bin/python3" {
		t.Errorf("base is %+v", base)
	}
	tar, err := base.Layers[0].OpenTar(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, tar); err != nil {
		t.Error(err)
	}
	onTop, _ := artifact(t, key("2"), "y")
	onTop.Images[0].Base = base.Layers
	if _, err := local.Publish(t.Context(), onTop); err != nil {
		t.Errorf("publishing on a pulled base: %v", err)
	}
	var missing *registry.NotFoundError
	if _, err := local.PullBase(t.Context(), done.Ref, "linux/s390x"); !errors.As(err, &missing) {
		t.Errorf("error for a missing platform is %v, want NotFoundError", err)
	}
	var wrong *registry.ReferenceError
	tagged := strings.Split(done.Ref, "@")[0] + ":latest"
	if _, err := local.PullBase(t.Context(), tagged, platform); !errors.As(err, &wrong) {
		t.Errorf("error for a tag is %v, want ReferenceError", err)
	}
}

func TestReferences(t *testing.T) {
	t.Parallel()
	r := store(t, t.TempDir())
	digest := "sha256:" + strings.Repeat("a", 64)
	for _, ref := range []string{"web", "web@sha256:12", "web:x@" + digest, "WEB@" + digest, "../web@" + digest, "web:", "@" + digest, "", "127.0.0.1:1/../x@" + digest} {
		var wrong *registry.ReferenceError
		if _, err := r.Resolve(t.Context(), ref); !errors.As(err, &wrong) {
			t.Errorf("%q: error is %v, want ReferenceError", ref, err)
		}
	}
	for _, ref := range []string{"web@" + digest, "web:prod", "team/web:prod"} {
		var missing *registry.NotFoundError
		if _, err := r.Resolve(t.Context(), ref); !errors.As(err, &missing) {
			t.Errorf("%q: error is %v, want NotFoundError", ref, err)
		}
	}
	var unreachable *registry.RemoteError
	if _, err := r.Resolve(t.Context(), "127.0.0.1:1/web@"+digest); !errors.As(err, &unreachable) || unreachable.Hint() == "" {
		t.Errorf("error is %v, want RemoteError with a hint", err)
	}
}

func TestPlainHTTPIsForLoopback(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/v2/") && len(r.URL.Path) > len("/v2/") {
			http.Redirect(w, r, "http://registry.invalid/", http.StatusTemporaryRedirect)
		}
	}))
	defer server.Close()
	r, err := registry.Open(strings.TrimPrefix(server.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = r.FindKey(t.Context(), "web", key("1"))
	if err == nil || !strings.Contains(err.Error(), "plain http is for loopback addresses only") {
		t.Errorf("error is %v, want one about plain http", err)
	}
}

func TestArtifactsThatAreRefused(t *testing.T) {
	t.Parallel()
	r := store(t, t.TempDir())
	change := map[string]func(*registry.Artifact){
		"no image":           func(a *registry.Artifact) { a.Images = nil },
		"one platform twice": func(a *registry.Artifact) { a.Images = append(a.Images, a.Images[0]) },
		"no platform":        func(a *registry.Artifact) { a.Images[0].Platform = "linux" },
		"no key":             func(a *registry.Artifact) { a.Key = "1" },
		"no name":            func(a *registry.Artifact) { a.Name = "Web" },
		"too many layers": func(a *registry.Artifact) {
			for len(a.Images[0].Base) < 125 {
				a.Images[0].Base = append(a.Images[0].Base, a.Images[0].Base[0])
			}
		},
	}
	for name, f := range change {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, _ := artifact(t, key("1"), "x")
			f(&a)
			if _, err := r.Publish(t.Context(), a); err == nil {
				t.Error("it was published")
			}
		})
	}
}
