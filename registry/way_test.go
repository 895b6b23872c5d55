package registry_test

import (
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	ociregistry "github.com/google/go-containerregistry/pkg/registry"

	"ampoule/artifact"
	"ampoule/faults"
	"ampoule/registry"
	"ampoule/registry/embedded"
	"ampoule/registry/internal/registrytest"
	serving "ampoule/registry/server"
	"ampoule/registry/tokens"
	stores "ampoule/store"
)

// movable is a registry as most are: tags move, and nothing is asked for conditions.
func movable() http.Handler { return ociregistry.New(ociregistry.Logger(log.New(io.Discard, "", 0))) }

// servedBy is what `ampoule registry serve` answers to who has a token of these scopes.
func servedBy(t *testing.T, scopes ...string) http.Handler {
	t.Helper()
	st, err := stores.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	own := embedded.Open(st.Dir(stores.Registry))
	t.Cleanup(func() { _ = errors.Join(own.Close(), st.Close()) })
	book := tokens.Open(st)
	var all []tokens.Scope
	for _, text := range scopes {
		scope, err := tokens.ParseScope(text)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, scope)
	}
	_, secret, err := book.Create("somebody", all, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	return registrytest.As(serving.New(own, book, serving.Config{Listen: "127.0.0.1:0"}), secret)
}

// over opens the registry of a handler.
func over(t *testing.T, h http.Handler) *registry.Registry {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	r, err := registry.Open(strings.TrimPrefix(s.URL, "http://") + "/team")
	if err != nil {
		t.Fatal(err)
	}
	registry.Hurry(t, r, time.Minute)
	return r
}

// How a registry writes tags is tried: what it says of itself does not count.
func TestProbe(t *testing.T) {
	t.Parallel()
	conditional := func(r *http.Request) bool { return r.Header.Get("If-Match") != "" }
	byTag := func(r *http.Request) bool { return !strings.Contains(r.URL.Path, "/manifests/sha256:") }
	for name, c := range map[string]struct {
		registry http.Handler
		want     registry.Way
		refused  bool
	}{
		"ampoule registry serve":         {servedBy(t, "push:*"), registry.Conditional, false},
		"tags that move":                 {movable(), registry.Unguarded, false},
		"tags that move, with a header":  {boasting{movable()}, registry.Unguarded, false},
		"immutable, 409":                 {&registrytest.Immutable{Next: movable(), Status: http.StatusConflict}, registry.CreateOnly, false},
		"immutable, 412":                 {&registrytest.Immutable{Next: movable(), Status: http.StatusPreconditionFailed}, registry.CreateOnly, false},
		"immutable, 400":                 {&registrytest.Immutable{Next: movable(), Status: http.StatusBadRequest}, registry.CreateOnly, false},
		"immutable, 403":                 {&registrytest.Immutable{Next: movable(), Status: http.StatusForbidden}, registry.CreateOnly, false},
		"conditions are looked at early": {&registrytest.Hasty{Next: movable(), Writers: 4}, registry.Unguarded, false},
		"no conditions are taken":        {&registrytest.Refusing{Next: movable(), Status: http.StatusBadRequest, When: conditional}, registry.Unguarded, false},
		"nothing may be written":         {&registrytest.Refusing{Next: movable(), Status: http.StatusForbidden}, "", true},
		"no tag may be written":          {&registrytest.Refusing{Next: movable(), Status: http.StatusForbidden, When: byTag}, "", true},
		"a token that only reads":        {servedBy(t, "pull:*"), "", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			repo := repositoryOf(t, over(t, c.registry))
			for range 2 { // what the first time left changes nothing
				way, err := repo.Probe(t.Context(), artifact.ChannelProbeTag("prod"))
				if way != c.want || (err != nil) != c.refused {
					t.Fatalf("%q, %v", way, err)
				}
				if err != nil && faults.Of(err) != faults.Remote {
					t.Errorf("%v", err)
				}
			}
		})
	}
}

// boasting is a registry that says of itself what it does not do.
type boasting struct{ http.Handler }

// ServeHTTP implements [http.Handler].
func (b boasting) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set(artifact.ConditionsHeader, artifact.Conditions)
	b.Handler.ServeHTTP(w, r)
}

// Where a condition counts, tags of another registry move under it; where tags stay, they are new
// or not written. Nobody else's registry is written at all.
func TestConditionsElsewhere(t *testing.T) {
	t.Parallel()
	var moved *registry.MovedError
	repo := repositoryOf(t, over(t, servedBy(t, "push:*")))
	if _, err := repo.Probe(t.Context(), "channel-prod.probe"); err != nil {
		t.Fatal(err)
	}
	one, err := put(t, repo, "channel-prod", "", "1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := put(t, repo, "channel-prod", "", "2"); !errors.As(err, &moved) {
		t.Errorf("%v", err)
	}
	if again, err := put(t, repo, "channel-prod", "", "1"); err != nil || again != one {
		t.Errorf("what is there is not taken again: %v", err)
	}

	keeping := &registrytest.Immutable{Next: movable(), Status: http.StatusForbidden}
	repo = repositoryOf(t, over(t, keeping))
	repo.Believe(registry.CreateOnly)
	if _, err := put(t, repo, "channel-prod.000001", "", "1"); err != nil {
		t.Fatal(err)
	}
	if _, err := put(t, repo, "channel-prod.000001", "", "2"); !errors.As(err, &moved) {
		t.Errorf("%v", err)
	}
	var none *registry.UnconditionalError
	if _, err := put(t, repo, "channel-prod", one, "2"); !errors.As(err, &none) {
		t.Errorf("%v", err)
	}
	if tags, err := repo.Tags(t.Context()); err != nil || len(tags) != 1 || tags[0] != "channel-prod.000001" {
		t.Errorf("%q, %v", tags, err)
	}
	// The setting was taken back: what somebody else has written since is not taken for one's own.
	repo = repositoryOf(t, over(t, &overwriting{Handler: movable()}))
	repo.Believe(registry.CreateOnly)
	if _, err := put(t, repo, "channel-prod.000002", "", "1"); !errors.As(err, &moved) {
		t.Errorf("%v", err)
	}
	if tags, err := repositoryOf(t, over(t, movable())).Tags(t.Context()); err != nil || len(tags) > 0 {
		t.Errorf("a repository that is not there: %q, %v", tags, err)
	}
}

// overwriting is a registry in which somebody else writes the same tag a moment later.
type overwriting struct{ http.Handler }

// ServeHTTP implements [http.Handler].
func (o *overwriting) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.Handler.ServeHTTP(w, r)
	if r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, ".000002") {
		other := strings.NewReader(`{"schemaVersion":2,"mediaType":"` + artifact.ManifestType + `","config":{"mediaType":"application/vnd.oci.empty.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},"layers":[]}`)
		req := httptest.NewRequestWithContext(r.Context(), http.MethodPut, r.URL.Path, other)
		req.Header.Set("Content-Type", artifact.ManifestType)
		o.Handler.ServeHTTP(httptest.NewRecorder(), req)
	}
}
