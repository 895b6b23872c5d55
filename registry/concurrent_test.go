package registry_test

import (
	"context"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"testing"

	"ampoule/artifact"
	"ampoule/registry"
	"ampoule/registry/embedded"
)

// TestSimultaneousPublicationsOfOneKey checks that exactly one of many wins.
func TestSimultaneousPublicationsOfOneKey(t *testing.T) {
	t.Parallel()
	r := store(t, t.TempDir())
	const n = 8
	var won sync.Map
	var wg sync.WaitGroup
	for i := range n {
		a, _ := sample(t, key("1"), strconv.Itoa(i))
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
	digest, _, err := r.FindKey(t.Context(), "web", key("1"), artifact.Beside{})
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
	a, _ := sample(t, key("1"), "x")
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
		_, found, findErr := whole.FindKey(t.Context(), a.Name, a.Key, artifact.Beside{})
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
	digest, _, err := r.FindKey(t.Context(), "web", key("1"), artifact.Beside{})
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
		digest, found, err := r.FindKey(t.Context(), "web", numbered(i), artifact.Beside{})
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
		a, _ := sample(t, numbered(i), strconv.Itoa(i))
		if _, err := r.Publish(t.Context(), a); err != nil {
			t.Errorf("publication %d: %v", i, err)
		}
	}
}
