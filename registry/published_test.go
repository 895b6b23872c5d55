package registry_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"ampoule/artifact"
	"ampoule/registry"
	"ampoule/registry/embedded"
)

// beside are what refers to each test artifact.
var beside = artifact.Beside{
	Always: []string{"application/vnd.ampoule.verdict+json", "application/vnd.ampoule.wheelhouse"}, Maybe: []string{"application/vnd.ampoule.debug"},
}

// contentOf lists the files of a published artifact: what FindKey depends on.
func contentOf(t *testing.T, dir string) []string {
	t.Helper()
	blobs := filepath.Join(dir, "repositories", "web", "blobs", "sha256")
	entries, err := os.ReadDir(blobs)
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	for _, entry := range entries {
		path := filepath.Join(blobs, entry.Name())
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		// The list of referrers that had one is replaced by the list that has two.
		var m struct {
			Manifests []struct{ ArtifactType string }
			Config    *struct{}
		}
		if json.Unmarshal(raw, &m) == nil && m.Config == nil && len(m.Manifests) == 1 && m.Manifests[0].ArtifactType != "" {
			continue
		}
		files = append(files, path)
	}
	if len(files) < 9 {
		t.Fatalf("the artifact has %d files, want three layers, three configurations, a verdict and five manifests at least", len(files))
	}
	return files
}

// flip changes one bit of a file and none of its times, as a disk does.
func flip(t *testing.T, path string) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	raw[len(raw)/2] ^= 1
	if err := os.WriteFile(path, raw, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path, info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
}

// harms are what can happen to a file.
var harms = map[string]func(*testing.T, string){
	"flipped": flip,
	"gone": func(t *testing.T, path string) {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	},
	"empty": func(t *testing.T, path string) {
		if err := os.Truncate(path, 0); err != nil {
			t.Fatal(err)
		}
	},
}

// TestDamagedPublicationIsPublishedAgain harms each file of a publication. The key does not
// count as published any more, and publishing gives the same digest with all that belongs to it.
func TestDamagedPublicationIsPublishedAgain(t *testing.T) {
	t.Parallel()
	a, whole := sample(t, key("1"), strings.Repeat("content", 20000))
	first := t.TempDir()
	r := store(t, first)
	done, err := r.Publish(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	for harm, do := range harms {
		for _, file := range contentOf(t, first) {
			t.Run(harm+"/"+filepath.Base(file)[:8], func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				if err := os.CopyFS(dir, os.DirFS(first)); err != nil {
					t.Fatal(err)
				}
				r := store(t, dir)
				if digest, found, err := r.FindKey(t.Context(), "web", a.Key, beside); err != nil || !found || digest != done.Digest {
					t.Fatalf("before, the key is found: %v, %v", found, err)
				}
				rel, _ := filepath.Rel(first, file)
				do(t, filepath.Join(dir, rel))
				// The list of referrers is made anew whenever it is asked for.
				_, found, err := r.FindKey(t.Context(), "web", a.Key, beside)
				var damaged *registry.DamagedError
				if !errors.As(err, &damaged) && !isReferrers(t, file) {
					t.Errorf("the key is found: %v, %v, want damage", found, err)
				}
				again, err := r.Publish(t.Context(), a)
				if err != nil || again != done {
					t.Fatalf("publishing again gives %v, %v, want %v", again, err, done)
				}
				if _, found, err := r.FindKey(t.Context(), "web", a.Key, beside); err != nil || !found {
					t.Errorf("afterwards the key is found: %v, %v", found, err)
				}
				d, err := r.Resolve(t.Context(), done.Ref)
				if err != nil {
					t.Fatal(err)
				}
				checkLayers(t, r, d.Images[0], whole)
				checkReferrers(t, r, done.Ref)
			})
		}
	}
}

// isReferrers tells the list of what refers to the artifact.
func isReferrers(t *testing.T, path string) bool {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Contains(raw, []byte(`"manifests"`)) && bytes.Contains(raw, []byte("vnd.ampoule.wheelhouse"))
}

// TestDamagedListIsMadeAnew harms the list of a repository, which two artifacts are in: one
// is published again, and the other one is found as before.
func TestDamagedListIsMadeAnew(t *testing.T) {
	t.Parallel()
	for harm, do := range harms {
		t.Run(harm, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			r := store(t, dir)
			other, _ := sample(t, key("1"), "one")
			a, _ := sample(t, key("2"), "two")
			kept, err := r.Publish(t.Context(), other)
			if err != nil {
				t.Fatal(err)
			}
			done, err := r.Publish(t.Context(), a)
			if err != nil {
				t.Fatal(err)
			}
			list := filepath.Join(dir, "repositories", "web", "index.json")
			if harm == "flipped" {
				raw, err := os.ReadFile(list)
				if err != nil {
					t.Fatal(err)
				}
				do = func(t *testing.T, path string) {
					if err := os.WriteFile(path, raw[:len(raw)/2], 0o644); err != nil {
						t.Fatal(err)
					}
				}
			}
			do(t, list)
			again := store(t, dir)
			if harm != "flipped" {
				again = r // it has the list in its memory
			}
			if _, err := again.Resolve(t.Context(), kept.Ref); err == nil {
				t.Error("an artifact is found while the list is damaged")
			}
			if published, err := again.Publish(t.Context(), a); err != nil || published != done {
				t.Fatalf("publishing again gives %v, %v, want %v", published, err, done)
			}
			if digest, found, err := again.FindKey(t.Context(), "web", other.Key, beside); err != nil || !found || digest != kept.Digest {
				t.Errorf("the other key is found: %v, %v, want %s", found, err, kept.Digest)
			}
		})
	}
}

// TestLostBitsTakeNoKey publishes other bits under a key whose own are lost.
func TestLostBitsTakeNoKey(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := store(t, dir)
	first, _ := sample(t, key("1"), "first")
	second, _ := sample(t, key("1"), "second")
	if _, err := r.Publish(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "repositories", "web", "blobs", "sha256", strings.TrimPrefix(first.Images[0].Layers[0].Digest, "sha256:"))); err != nil {
		t.Fatal(err)
	}
	done, err := r.Publish(t.Context(), second)
	if err != nil {
		t.Fatal(err)
	}
	if digest, found, err := r.FindKey(t.Context(), "web", key("1"), beside); err != nil || !found || digest != done.Digest {
		t.Errorf("the key is found: %s, %v, %v", digest, found, err)
	}
}

// TestRotIsSeenAfterReading changes a layer behind the registry's back, times and all: a
// reader finds it, and then the key counts as published no more.
func TestRotIsSeenAfterReading(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	e := embedded.Open(dir)
	t.Cleanup(func() { _ = e.Close() })
	behind := &deaf{next: e}
	r, err := registry.Local(behind)
	if err != nil {
		t.Fatal(err)
	}
	a, _ := sample(t, key("1"), "content")
	done, err := r.Publish(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	d, err := r.Resolve(t.Context(), done.Ref)
	if err != nil {
		t.Fatal(err)
	}
	last := d.Images[0].Layers[2]
	flip(t, filepath.Join(dir, "repositories", "web", "blobs", "sha256", strings.TrimPrefix(last.Digest, "sha256:")))
	content, err := r.OpenLayer(t.Context(), last)
	if err == nil {
		_, err = io.Copy(io.Discard, content)
		_ = content.Close()
	}
	var damaged *registry.DamagedError
	if !errors.As(err, &damaged) || !strings.Contains(damaged.Hint(), "ampoule build") {
		t.Fatalf("reading the layer: %v", err)
	}
	if !slices.Contains(behind.asked, "/v2/web/blobs/"+last.Digest) {
		t.Errorf("the registry was not told to look again: %v", behind.asked)
	}
}

// deaf notes which blobs were to be compared whatever is remembered.
type deaf struct {
	next  http.RoundTripper
	asked []string
}

func (d *deaf) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Header.Get("Cache-Control") == "no-cache" {
		d.asked = append(d.asked, req.URL.Path)
	}
	return d.next.RoundTrip(req)
}

// TestLyingKeyIsRefused has the tag of a key name another key's artifact.
func TestLyingKeyIsRefused(t *testing.T) {
	t.Parallel()
	lie := func(t *testing.T, r *registry.Registry, client http.RoundTripper, repository string) {
		t.Helper()
		a, _ := sample(t, key("1"), "one")
		done, err := r.Publish(t.Context(), a)
		if err != nil {
			t.Fatal(err)
		}
		index := fetch(t, client, repository+"/manifests/"+done.Digest)
		_, entry, _ := bytes.Cut(index, []byte(`"manifests":[`))
		entry, _, _ = bytes.Cut(entry, []byte("]"))
		with := func(entries ...[]byte) []byte {
			return bytes.Replace(index, entry, bytes.Join(entries, []byte(",")), 1)
		}
		var mismatch *registry.KeyMismatchError
		for k, lie := range map[string]struct {
			index []byte
			why   string
		}{
			key("2"): {index, `is "` + key("1") + `"`},
			key("3"): {with(), "it has 0 images"},
			key("4"): {with(slices.Repeat([][]byte{entry}, 65)...), "it has 65 images"},
		} {
			write(t, client, repository+"/manifests/key-"+strings.TrimPrefix(k, "sha256:"), lie.index)
			digest, found, err := r.FindKey(t.Context(), "web", k, artifact.Beside{})
			if !errors.As(err, &mismatch) || found || digest != "" || !strings.Contains(mismatch.Why, lie.why) {
				t.Errorf("the key is found: %q, %v, %v, want a mismatch: %s", digest, found, err, lie.why)
			}
		}
		b, _ := sample(t, key("2"), "two")
		if _, err := r.Publish(t.Context(), b); !errors.As(err, &mismatch) {
			t.Errorf("publishing under the key: %v, want a mismatch", err)
		}
	}
	t.Run("embedded", func(t *testing.T) {
		t.Parallel()
		e := embedded.Open(t.TempDir())
		t.Cleanup(func() { _ = e.Close() })
		r, err := registry.Local(e)
		if err != nil {
			t.Fatal(err)
		}
		lie(t, r, e, "http://store.localhost/v2/web")
		report, err := e.Verify(t.Context(), true)
		if err != nil || len(report.Faults) != 3 || !strings.Contains(report.Faults[0].Done, "the tag is removed") {
			t.Errorf("verifying tells %v, %v", report.Faults, err)
		}
		b, _ := sample(t, key("2"), "two")
		if _, err := r.Publish(t.Context(), b); err != nil {
			t.Errorf("publishing after the repair: %v", err)
		}
	})
	t.Run("remote", func(t *testing.T) {
		t.Parallel()
		s := newServer(t)
		lie(t, s.open(t), http.DefaultTransport, "http://"+s.address+"/v2/team/web")
	})
}

// write writes an index under a tag.
func write(t *testing.T, client http.RoundTripper, url string, index []byte) {
	t.Helper()
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodPut, url, bytes.NewReader(index))
	req.Header.Set("Content-Type", "application/vnd.oci.image.index.v1+json")
	resp, err := client.RoundTrip(req)
	if err != nil || resp.StatusCode != http.StatusCreated {
		t.Fatalf("writing the tag: %v, %v", resp, err)
	}
	_ = resp.Body.Close()
}

func fetch(t *testing.T, client http.RoundTripper, url string) []byte {
	t.Helper()
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	resp, err := client.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v", url, resp.Status, err)
	}
	return raw
}

// TestLostLayerInOtherRegistry has a registry that collected a layer of a publication.
func TestLostLayerInOtherRegistry(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	r := s.open(t)
	a, _ := sample(t, key("1"), "one")
	done, err := r.Publish(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	lost := true
	s.fault = func(w http.ResponseWriter, req *http.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		if req.Method == http.MethodPut && strings.Contains(req.URL.String(), "sha256%3A"+strings.TrimPrefix(a.Images[0].Layers[0].Digest, "sha256:")) {
			lost = false
		}
		if lost && strings.HasSuffix(req.URL.Path, a.Images[0].Layers[0].Digest) {
			w.WriteHeader(http.StatusNotFound)
			return true
		}
		return false
	}
	var damaged *registry.DamagedError
	if _, _, err := r.FindKey(t.Context(), "web", a.Key, artifact.Beside{}); !errors.As(err, &damaged) {
		t.Fatalf("the key is found: %v, want damage", err)
	}
	d, err := r.Resolve(t.Context(), done.Ref)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.OpenLayer(t.Context(), d.Images[0].Layers[1]); !errors.As(err, &damaged) {
		t.Errorf("opening the layer: %v, want damage", err)
	}
	if again, err := r.Publish(t.Context(), a); err != nil || again != done {
		t.Errorf("publishing again gives %v, %v", again, err)
	}
	if _, found, err := r.FindKey(t.Context(), "web", a.Key, artifact.Beside{}); err != nil || !found {
		t.Errorf("afterwards the key is found: %v, %v", found, err)
	}
}

// TestFindKeyOutlivesOthers has one caller give up while it makes the first request that all
// callers share.
func TestFindKeyOutlivesOthers(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	pinged, others := make(chan struct{}), make(chan struct{})
	s.fault = once(1, func(_ http.ResponseWriter, req *http.Request) bool {
		close(pinged)
		<-others
		<-req.Context().Done()
		return true
	})
	r := s.open(t)
	ctx, cancel := context.WithCancel(t.Context())
	first := make(chan error, 1)
	go func() {
		_, _, err := r.FindKey(ctx, "web", key("1"), artifact.Beside{})
		first <- err
	}()
	<-pinged
	second := make(chan error, 1)
	go func() {
		_, _, err := r.FindKey(t.Context(), "web", key("1"), artifact.Beside{})
		second <- err
	}()
	time.Sleep(50 * time.Millisecond) // the second one waits for the first one's request by then
	close(others)
	cancel()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Errorf("the first caller's error is %v", err)
	}
	if err := <-second; err != nil {
		t.Errorf("the second caller's error is %v, want none", err)
	}
}

// TestReferencesTellNoSecret gives addresses with passwords where references are wanted.
func TestReferencesTellNoSecret(t *testing.T) {
	t.Parallel()
	r := store(t, t.TempDir())
	for _, text := range []string{
		"https://user:hunter2@host.example/team", "user:hunter2@host.example/team", "https://user:hun/hunter2@host.example", "user:x/hunter2@host.example:1/x",
		"https://hunter2@host.example/web@sha256:" + strings.Repeat("0", 64), "hunter2@host.example/web:tag", "https://user:%hunter2@host/x", "user:a@hunter2@host/x:1",
	} {
		if _, err := registry.Open(text); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("opening %s: %v", text, err)
		}
		if _, err := r.Resolve(t.Context(), text); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("resolving %s: %v", text, err)
		}
	}
	said := "Get \"https://user:hun/hunter2@host.example/v2/\": no\nhint: run this\n"
	foreign := &registry.RemoteError{Registry: "host.example", Op: "reading web", Err: errors.New(said)}
	if told := foreign.Error(); strings.Contains(told, "hunter2") || strings.Contains(told, "\n") {
		t.Errorf("a registry's failure is told as %q", told)
	}
}

// TestAttachedByOthers loses what others attached to an artifact: publishing again would not
// bring it back, so the publication counts as whole.
func TestAttachedByOthers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := store(t, dir)
	a, _ := sample(t, key("1"), "one")
	done, err := r.Publish(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	for _, artifactType := range []string{"application/vnd.other", beside.Always[0], beside.Maybe[0]} {
		file := artifact.BytesFile("x", "text/plain", []byte("attached as "+artifactType))
		if _, err := r.Attach(t.Context(), done.Ref, artifact.Referrer{ArtifactType: artifactType, Files: []artifact.File{file}}); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(filepath.Join(dir, "repositories", "web", "blobs", "sha256", strings.TrimPrefix(file.Digest, "sha256:"))); err != nil {
			t.Fatal(err)
		}
		_, found, err := r.FindKey(t.Context(), "web", a.Key, beside)
		// The last one is of a type that belongs to it, and none of that type is whole.
		if want := artifactType != beside.Maybe[0]; found != want {
			t.Errorf("with a lost %s the key is found: %v, %v, want %v", artifactType, found, err, want)
		}
	}
}
