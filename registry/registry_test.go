package registry_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	ociregistry "github.com/google/go-containerregistry/pkg/registry"

	"ampoule/artifact"
	"ampoule/faults"
	"ampoule/internal/basetime"
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

// sample makes a small artifact: one base layer and one tree of a few files.
func sample(t testing.TB, key, content string) (registry.Packed, *tree.Tree) {
	t.Helper()
	return sampleAt(t, key, content, basetime.Of(t))
}

// sampleAt is as sample, made at a time.
func sampleAt(t testing.TB, key, content string, at time.Time) (registry.Packed, *tree.Tree) {
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
	var layers []layer.Layer
	for _, l := range []struct{ name, owner string }{{"interpreter", "interpreter"}, {"tail-03", "wheel:flask"}} {
		part := whole.Select(func(e tree.Entry) bool { return e.Owner == l.owner })
		layers = append(layers, packedAt(t, l.name, part, artifact.Prefix, at))
	}
	root, err := tree.New([]tree.Entry{tree.FileEntry("etc/os-release", 0o644, []byte("ID=test\n"))})
	if err != nil {
		t.Fatal(err)
	}
	base := packedAt(t, "base", root, "", at)
	return registry.Packed{
		Name: "web", Key: key,
		Images: []registry.PackedImage{{
			Platform: platform, Created: at, Base: []layer.Layer{base}, Layers: layers,
			Config: artifact.Config{
				Architecture: "amd64",
				Env:          []string{"PATH=/opt/ampoule/bin"}, Entrypoint: []string{"/opt/ampoule/bin/python3"},
				Labels: map[string]string{artifact.LabelKey: key, artifact.LabelTree: whole.Hash()},
			},
		}},
		Referrers: []artifact.Referrer{
			{ArtifactType: "application/vnd.ampoule.verdict+json", Files: []artifact.File{
				artifact.BytesFile("verdict.json", "application/json", []byte(`{"passed":true}`)),
			}},
			{ArtifactType: "application/vnd.ampoule.wheelhouse", Annotations: map[string]string{"wheels": "0"}},
		},
	}, whole
}

// packed makes a layer of a tree below prefix.
func packed(t testing.TB, name string, content *tree.Tree, prefix string) layer.Layer {
	t.Helper()
	return packedAt(t, name, content, prefix, basetime.Of(t))
}

// packedAt is as packed, with files of a time.
func packedAt(t testing.TB, name string, content *tree.Tree, prefix string, at time.Time) layer.Layer {
	t.Helper()
	var tar bytes.Buffer
	if err := content.WriteTar(&tar, prefix, at); err != nil {
		t.Fatal(err)
	}
	open := func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(tar.Bytes())), nil }
	l, err := layer.Packer{Dir: t.TempDir()}.Pack(t.Context(), name, fmt.Sprintf("sha256:%x", sha256.Sum256(tar.Bytes())), open)
	if err != nil {
		t.Fatal(err)
	}
	return l
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
		a, whole := sample(t, key("1"), "#!/bin/true")
		if _, found, err := r.FindKey(t.Context(), a.Name, a.Key, artifact.Beside{}); found || err != nil {
			t.Fatalf("before publishing, the key is found: %v, %v", found, err)
		}
		done, err := r.Publish(t.Context(), a)
		if err != nil {
			t.Fatal(err)
		}
		digest, found, err := r.FindKey(t.Context(), a.Name, a.Key, artifact.Beside{})
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
		if !image.Created.Equal(basetime.Of(t)) {
			t.Errorf("created at %s", image.Created)
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
		all, err = all.With(part.Sub(artifact.Prefix).Entries()...)
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
	digest, err := r.Attach(t.Context(), ref, artifact.Referrer{
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
	const want = "sha256:9406a994e3a59b03bb595b1f0879ae7a9563da4beeb5c38176222bcd5b88a8cf"
	eachRegistry(t, func(t *testing.T, r *registry.Registry) {
		a, _ := sampleAt(t, key("1"), "golden", time.Unix(1577836800, 0))
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
		first, _ := sample(t, key("1"), "first")
		second, _ := sample(t, key("1"), "second")
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
		if digest, _, err := r.FindKey(t.Context(), "web", key("1"), artifact.Beside{}); err != nil || digest != done.Digest {
			t.Errorf("the key names %s (%v), want %s", digest, err, done.Digest)
		}
	})
}

func TestDamagedBlobIsSentAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a, whole := sample(t, key("1"), "x")
	r := store(t, dir)
	l := a.Images[0].Layers[0]
	blobs := filepath.Join(dir, "repositories", "web", "blobs", "sha256")
	if _, err := r.Publish(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(blobs, strings.TrimPrefix(l.Digest, "sha256:")), 0); err != nil {
		t.Fatal(err)
	}
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
	a, _ := sample(t, key("1"), strings.Repeat("content", 1000))
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
		var damaged *registry.DamagedError
		if !errors.Is(err, registry.ErrDigest) || !errors.As(err, &damaged) {
			t.Errorf("error is %v, want damage that is ErrDigest", err)
		}
	}
}

func TestPullBase(t *testing.T) {
	t.Parallel()
	r := remote(t)
	a, _ := sample(t, key("1"), "x")
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
	onTop, _ := sample(t, key("2"), "y")
	onTop.Images[0].Base = base.Layers
	if _, err := local.Publish(t.Context(), onTop); err != nil {
		t.Errorf("publishing on a pulled base: %v", err)
	}
	var missing *registry.NotFoundError
	if _, err := local.PullBase(t.Context(), done.Ref, "linux/s390x"); !errors.As(err, &missing) {
		t.Errorf("error for a missing platform is %v, want NotFoundError", err)
	}
	tagged := strings.Split(done.Ref, "@")[0] + ":latest"
	if _, err := local.PullBase(t.Context(), tagged, platform); faults.Of(err) != faults.Usage || !strings.Contains(err.Error(), "not by a tag") {
		t.Errorf("error for a tag is %v", err)
	}
}

// A base is read from where its parts are kept, without its registry.
func TestPreferredBase(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(ociregistry.New(ociregistry.Logger(log.New(io.Discard, "", 0))))
	r, err := registry.Open(strings.TrimPrefix(server.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	a, _ := sample(t, key("1"), "x")
	done, err := r.Publish(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	files, err := r.BaseFiles(t.Context(), done.Ref, platform)
	if err != nil {
		t.Fatal(err)
	}
	places := parts{}
	for _, f := range files {
		content, err := f.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(content)
		if err := errors.Join(err, content.Close()); err != nil || int64(len(data)) != f.Size {
			t.Fatalf("%s: %d bytes of %d, %v", f.Name, len(data), f.Size, err)
		}
		places[strings.TrimPrefix(f.Digest, "sha256:")] = data
	}
	server.Close()
	local := store(t, t.TempDir())
	local.Prefer(parts{}, places)
	base, err := local.PullBase(t.Context(), done.Ref, platform)
	if err != nil || len(base.Layers) != 3 || len(files) != 6 {
		t.Fatalf("%d files, %d layers, %v", len(files), len(base.Layers), err)
	}
	last := strings.TrimPrefix(base.Layers[2].Digest, "sha256:")
	for _, damaged := range []bool{false, true} {
		if damaged {
			places[last] = places[last][:len(places[last])-1]
		}
		tar, err := base.Layers[2].OpenTar(t.Context())
		if err == nil {
			_, err = io.Copy(io.Discard, tar)
		}
		if (err != nil) != damaged {
			t.Errorf("damaged %t: %v", damaged, err)
		}
	}
	places[strings.TrimPrefix(done.Digest, "sha256:")] = []byte("{}")
	if _, err := local.PullBase(t.Context(), done.Ref, platform); err == nil {
		t.Error("a damaged manifest was taken, or its registry asked in vain without an error")
	}
}

// parts is content by its sha256.
type parts map[string][]byte

func (p parts) Open(_ context.Context, sum string) (io.ReadCloser, error) {
	data, ok := p[sum]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return io.NopCloser(bytes.NewReader(data)), nil
}

func TestInputs(t *testing.T) {
	t.Parallel()
	r := remote(t)
	inputs, err := r.Inputs()
	if err != nil {
		t.Fatal(err)
	}
	a := artifact.BytesFile("a-1.tar.gz", "application/octet-stream", []byte("a"))
	again := artifact.BytesFile("pool/a.deb", "application/octet-stream", []byte("a"))
	for range 2 {
		ref, err := inputs.Keep(t.Context(), key("1"), []artifact.File{a, again})
		if err != nil || !strings.HasPrefix(ref, inputs.String()+"@sha256:") {
			t.Fatalf("%s, %v", ref, err)
		}
	}
	content, err := inputs.Open(t.Context(), strings.TrimPrefix(a.Digest, "sha256:"))
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(content)
	if err := errors.Join(err, content.Close()); err != nil || string(data) != "a" {
		t.Errorf("%q, %v", data, err)
	}
	if _, err := inputs.Open(t.Context(), strings.Repeat("0", 64)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what is not kept: %v", err)
	}
}

func TestReferences(t *testing.T) {
	t.Parallel()
	r := store(t, t.TempDir())
	digest := "sha256:" + strings.Repeat("a", 64)
	for _, ref := range []string{"web", "web@sha256:12", "web:x@" + digest, "WEB@" + digest, "../web@" + digest, "web:", "@" + digest, "", "127.0.0.1:1/../x@" + digest} {
		if _, err := r.Resolve(t.Context(), ref); faults.Of(err) != faults.Usage || len(faults.Hints(err)) != 1 {
			t.Errorf("%q: error is %v, want one of the reference", ref, err)
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
	_, _, err = r.FindKey(t.Context(), "web", key("1"), artifact.Beside{})
	if err == nil || !strings.Contains(err.Error(), "plain http is for loopback addresses only") {
		t.Errorf("error is %v, want one about plain http", err)
	}
}

func TestArtifactsThatAreRefused(t *testing.T) {
	t.Parallel()
	r := store(t, t.TempDir())
	change := map[string]func(*registry.Packed){
		"no image":           func(a *registry.Packed) { a.Images = nil },
		"one platform twice": func(a *registry.Packed) { a.Images = append(a.Images, a.Images[0]) },
		"no platform":        func(a *registry.Packed) { a.Images[0].Platform = "linux" },
		"no key":             func(a *registry.Packed) { a.Key = "1" },
		"no name":            func(a *registry.Packed) { a.Name = "Web" },
		"too many layers": func(a *registry.Packed) {
			for len(a.Images[0].Base) < 125 {
				a.Images[0].Base = append(a.Images[0].Base, a.Images[0].Base[0])
			}
		},
	}
	for name, f := range change {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, _ := sample(t, key("1"), "x")
			f(&a)
			if _, err := r.Publish(t.Context(), a); err == nil {
				t.Error("it was published")
			}
		})
	}
}
