package cli

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	ociregistry "github.com/google/go-containerregistry/pkg/registry"

	"ampoule/artifact"
	"ampoule/builder/cpython"
	"ampoule/builder/layers"
	"ampoule/builder/once"
	"ampoule/builder/progress"
	"ampoule/builder/progress/progresstest"
	"ampoule/builder/sandbox"
	"ampoule/builder/sandbox/fake"
	"ampoule/config"
	"ampoule/registry/cache"
	"ampoule/tree"
	"ampoule/wiring"
)

// cacheServer is a registry with a cache in it.
type cacheServer struct {
	*httptest.Server
	// fault answers in the registry's place, if it reports so.
	fault atomic.Pointer[func(http.ResponseWriter, *http.Request) bool]
}

func newCacheServer(t *testing.T) *cacheServer {
	t.Helper()
	s := &cacheServer{}
	inner := ociregistry.New(ociregistry.Logger(log.New(io.Discard, "", 0)))
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if fault := s.fault.Load(); fault == nil || !(*fault)(w, req) {
			inner.ServeHTTP(w, req)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *cacheServer) ref() string { return strings.TrimPrefix(s.URL, "http://") + "/team/cache" }

// compiledOn builds an interpreter on a machine of its own, whose engine is a fake, with a cache. It
// returns the layer, what was told, and where the result came from.
func compiledOn(t *testing.T, set config.Cache) (layer string, warnings []string, tally once.Tally) {
	t.Helper()
	parts, err := wiring.Open(config.Place{Store: filepath.Join(t.TempDir(), "store")})
	if err != nil {
		t.Fatal(err)
	}
	defer parts.Close()
	caches, err := parts.Caches(set)
	if err != nil {
		t.Fatal(err)
	}
	runner := fake.New(func(_ context.Context, s *fake.Sandbox, step sandbox.Step) error {
		if !slices.ContainsFunc(step.Args, func(arg string) bool { return strings.HasSuffix(arg, "finish.py") }) {
			return nil
		}
		fmt.Fprintln(step.Stdout, `{"Modules": {"_x": "yes"}}`)
		return s.Write(tree.FileEntry(artifact.Prefix+"/bin/python3.13", 0o755, []byte("compiled")))
	})
	base, err := tree.New([]tree.Entry{tree.FileEntry("etc/os-release", 0o644, nil)})
	if err != nil {
		t.Fatal(err)
	}
	tools, err := layers.Save(t.Context(), parts.Store, base, "")
	if err != nil {
		t.Fatal(err)
	}
	source, _, err := parts.Store.Put(t.Context(), strings.NewReader("source"))
	if err != nil {
		t.Fatal(err)
	}
	stage := &cpython.Stage{Store: parts.Store, Runner: runner, Images: runner, Jobs: 1, Logs: t.TempDir()}
	r := progresstest.New()
	ctx, use := once.Using(r.Context(t.Context()), caches...)
	built, err := stage.Build(ctx, cpython.Spec{
		Version: "3.13.5", Source: source, Prefix: artifact.Prefix,
		Toolchain: sandbox.Image{Config: sandbox.Config{Architecture: "amd64"}, Layers: []sandbox.Layer{tools}},
	})
	tally = use.End()
	if err != nil {
		t.Fatal(err)
	}
	if n := len(runner.Sandboxes()); n != tally.Made {
		t.Errorf("%d sandboxes were started for %+v", n, tally)
	}
	for _, e := range r.Events() {
		if e.Kind == progress.Warned {
			warnings = append(warnings, e.Message)
		}
	}
	return built.Layer.DiffID, warnings, tally
}

// newCacheKey makes a key, and gives its file and the public one.
func newCacheKey(t *testing.T) (id, private, public string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "cache.key")
	id, err := cache.Generate(file)
	if err != nil {
		t.Fatal(err)
	}
	return id, file, file + ".pub"
}

// answers answers requests of some methods with a status.
func answers(code int, methods ...string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, req *http.Request) bool {
		if !slices.Contains(methods, req.Method) {
			return false
		}
		w.WriteHeader(code)
		return true
	}
}

// spoil has the registry send blobs of which something is changed.
func spoil(change func([]byte) []byte) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, req *http.Request) bool {
		if req.Method != http.MethodGet || !strings.Contains(req.URL.Path, "/blobs/") || req.Header.Get("Spoiled") != "" {
			return false
		}
		// It asks itself, once more.
		again := req.Clone(req.Context())
		again.RequestURI, again.URL.Scheme, again.URL.Host = "", "http", req.Host
		again.Header.Set("Spoiled", "yes")
		resp, err := http.DefaultTransport.RoundTrip(again)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return true
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return true
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		_, _ = w.Write(change(body))
		return true
	}
}

// What one machine has compiled another one reads. Whatever is wrong with the cache, the other one
// then compiles the same itself, and says why.
func TestCacheBetweenMachines(t *testing.T) {
	t.Parallel()
	id, private, public := newCacheKey(t)
	otherID, otherPrivate, otherPublic := newCacheKey(t)
	flip := func(body []byte) []byte {
		body[len(body)/2] ^= 1
		return body
	}
	for name, c := range map[string]struct {
		// signs is the key that the cache is filled with; fault begins afterwards.
		signs string
		fault func(http.ResponseWriter, *http.Request) bool
		away  bool
		set   config.Cache
		made  int
		want  string
	}{
		"sound":              {signs: private, set: config.Cache{Trusted: []string{public}}},
		"two trusted keys":   {signs: private, set: config.Cache{Trusted: []string{otherPublic, public}}},
		"poisoned":           {signs: private, fault: spoil(flip), set: config.Cache{Trusted: []string{public}}, made: 1, want: "is damaged"},
		"truncated":          {signs: private, fault: spoil(func(b []byte) []byte { return b[:len(b)/2] }), set: config.Cache{Trusted: []string{public}}, made: 1, want: "unexpected EOF"},
		"of a wrong key":     {signs: otherPrivate, set: config.Cache{Trusted: []string{public}}, made: 1, want: `was signed by a key that is not trusted, "` + otherID},
		"of a retired key":   {signs: private, set: config.Cache{Trusted: []string{public, otherPublic}, Retired: []string{id}}, made: 1, want: "was signed by a retired key, " + id},
		"away":               {signs: private, away: true, set: config.Cache{Trusted: []string{public}}, made: 1, want: "connection refused"},
		"broken":             {signs: private, fault: answers(500, "GET", "HEAD"), set: config.Cache{Trusted: []string{public}}, made: 1, want: "500"},
		"empty":              {set: config.Cache{Trusted: []string{public}}, made: 1},
		"full":               {fault: answers(507, "POST", "PUT", "PATCH"), set: config.Cache{Key: private}, made: 1, want: "507"},
		"broken for writing": {fault: answers(500, "POST", "PUT", "PATCH"), set: config.Cache{Key: private}, made: 1, want: "500"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newCacheServer(t)
			first := config.Cache{}
			if c.signs != "" {
				first = config.Cache{Use: []string{s.ref()}, Key: c.signs}
			}
			compiled, warnings, tally := compiledOn(t, first)
			if tally.Made != 1 || len(warnings) != 0 {
				t.Fatalf("the first one: %+v, %q", tally, warnings)
			}
			if c.fault != nil {
				s.fault.Store(&c.fault)
			}
			if c.away {
				s.Close()
			}
			c.set.Use = []string{s.ref()}
			again, warnings, tally := compiledOn(t, c.set)
			if again != compiled || tally != (once.Tally{Made: c.made, Cached: 1 - c.made}) {
				t.Errorf("%s, then %s: %+v", compiled, again, tally)
			}
			told := strings.Join(warnings, "\n")
			if (c.want == "") != (told == "") || !strings.Contains(told, c.want) || told != "" && !strings.Contains(told, "cache "+s.ref()+": ") {
				t.Errorf("told %q, want something with %q", told, c.want)
			}
		})
	}
}
