package registry_test

import (
	"errors"
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
	"time"

	"github.com/google/go-cmp/cmp"
	ociregistry "github.com/google/go-containerregistry/pkg/registry"

	"ampoule/artifact"
	"ampoule/faults"
	"ampoule/registry"
	"ampoule/registry/layer"
	"ampoule/registry/ocidir"
)

// layoutAt opens a layout directory as a registry.
func layoutAt(t *testing.T, dir string) *registry.Registry {
	t.Helper()
	l, err := ocidir.Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	r, err := registry.Layout(l, dir)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// withEvidence publishes an artifact that others have attached something to, and to that, too.
func withEvidence(t *testing.T, r *registry.Registry) registry.Published {
	t.Helper()
	a := built(t)
	a.SBOM = func(digest string) ([]byte, error) { return []byte(`{"of":"` + digest + `"}`), nil }
	packed, err := registry.Pack(t.Context(), layer.Packer{Dir: t.TempDir()}, a)
	if err != nil {
		t.Fatal(err)
	}
	done, err := r.Publish(t.Context(), packed)
	if err != nil {
		t.Fatal(err)
	}
	group, err := r.Attach(t.Context(), done.Ref, artifact.Referrer{ArtifactType: artifact.GroupType, Files: []artifact.File{artifact.BytesFile("group.json", artifact.GroupRecordType, []byte("{}"))}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Attach(t.Context(), base(done.Ref)+"@"+group, artifact.Referrer{ArtifactType: artifact.VerdictType, Annotations: map[string]string{"of": "the group"}}); err != nil {
		t.Fatal(err)
	}
	return done
}

// base is a reference without its digest.
func base(ref string) string { return ref[:strings.IndexByte(ref, '@')] }

// types lists what refers to an artifact, and to its groups.
func types(t *testing.T, r *registry.Registry, ref string) []string {
	t.Helper()
	var all []string
	found, err := r.Referrers(t.Context(), ref, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range found {
		all = append(all, f.ArtifactType+" "+f.Digest)
		if f.ArtifactType == artifact.GroupType {
			all = append(all, types(t, r, base(ref)+"@"+f.Digest)...)
		}
	}
	slices.Sort(all)
	return all
}

// What is copied from anywhere to anywhere is the same, with all that refers to it.
func TestCopyEverywhere(t *testing.T) {
	t.Parallel()
	origin := store(t, t.TempDir())
	done := withEvidence(t, origin)
	want := types(t, origin, done.Ref)
	if len(want) != 6 {
		t.Fatalf("%d referrers: %q", len(want), want)
	}
	withAPI := httptest.NewServer(ociregistry.New(ociregistry.Logger(log.New(io.Discard, "", 0)), ociregistry.WithReferrersSupport(true)))
	t.Cleanup(withAPI.Close)
	api, err := registry.Open(strings.TrimPrefix(withAPI.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	places := []struct {
		name string
		at   *registry.Registry
	}{
		{"without the API", remote(t)}, {"layout", layoutAt(t, filepath.Join(t.TempDir(), "l"))}, {"with the API", api},
		{"second layout", layoutAt(t, filepath.Join(t.TempDir(), "l"))}, {"another store", store(t, t.TempDir())},
	}
	from, ref := origin, done.Ref
	for _, place := range places {
		copied, err := registry.Copy(t.Context(), from, ref, place.at, "copy:v1")
		if err != nil {
			t.Fatalf("to %s: %v", place.name, err)
		}
		if copied.Digest != done.Digest || copied.Present != 0 || copied.Sent == 0 || len(copied.Missing) > 0 || len(copied.Tags) != 2 {
			t.Errorf("to %s: %+v", place.name, copied)
		}
		if diff := cmp.Diff(want, types(t, place.at, copied.Ref)); diff != "" {
			t.Errorf("referrers %s (-want +got):\n%s", place.name, diff)
		}
		if digest, found, err := place.at.FindKey(t.Context(), "copy", built(t).Key, artifact.PublishedBeside()); err != nil || !found || digest != done.Digest {
			t.Errorf("by key %s: %s, %t, %v", place.name, digest, found, err)
		}
		again, err := registry.Copy(t.Context(), from, ref, place.at, "copy@"+done.Digest)
		if err != nil || again.Sent != 0 || again.Present != copied.Sent {
			t.Errorf("again %s: %+v, %v", place.name, again, err)
		}
		from, ref = place.at, copied.Ref
	}
}

// Signatures that cosign has under tags go along.
func TestCopySignatures(t *testing.T) {
	t.Parallel()
	origin, target := remote(t), remote(t)
	done := withEvidence(t, origin)
	tag := strings.Replace(done.Digest, ":", "-", 1) + ".sig"
	if _, err := registry.Copy(t.Context(), origin, done.Ref, origin, "web:"+tag); err != nil { // any manifest will do
		t.Fatal(err)
	}
	copied, err := registry.Copy(t.Context(), origin, done.Ref, target, "other")
	if err != nil {
		t.Fatal(err)
	}
	found, err := target.Resolve(t.Context(), base(copied.Ref)+":"+tag)
	if err != nil || found.Digest != done.Digest {
		t.Errorf("%s, %v", found.Digest, err)
	}
}

// A copy that is cut off leaves nothing that can be found, at whatever request, and is
// continued.
func TestCopyIsCutOff(t *testing.T) {
	t.Parallel()
	origin := store(t, t.TempDir())
	done := withEvidence(t, origin)
	for n := 1; ; n++ {
		s := newServer(t)
		var asked atomic.Int64
		s.fault = func(w http.ResponseWriter, _ *http.Request) bool {
			if asked.Add(1) < int64(n) {
				return false
			}
			w.WriteHeader(http.StatusForbidden)
			return true
		}
		r := s.open(t)
		_, err := registry.Copy(t.Context(), origin, done.Ref, r, "web:v1")
		if err == nil {
			if n < 20 {
				t.Errorf("it took %d requests alone", n)
			}
			return
		}
		s.fault = nil
		whole := &server{t: t, address: "127.0.0.1:0", content: s.content}
		whole.start()
		after := whole.open(t)
		d, err := after.Resolve(t.Context(), whole.address+"/team/web@"+done.Digest)
		if err == nil {
			// Only tags may be missing then.
			if len(types(t, after, d.Ref)) != 6 {
				t.Errorf("cut at request %d: it is there without its evidence", n)
			}
		}
		if n%5 == 0 {
			copied, err := registry.Copy(t.Context(), origin, done.Ref, after, "web:v1")
			if err != nil || copied.Digest != done.Digest || len(types(t, after, copied.Ref)) != 6 {
				t.Errorf("continued after request %d: %+v, %v", n, copied, err)
			}
		}
		whole.stop()
	}
}

// What a registry does wrong while something is copied from it or to it is told.
func TestCopyFaults(t *testing.T) {
	t.Parallel()
	blobs := func(then func(http.ResponseWriter, *http.Request) bool) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, req *http.Request) bool {
			return req.Method == http.MethodGet && strings.Contains(req.URL.Path, "/blobs/sha256") && then(w, req)
		}
	}
	wrong := func(w http.ResponseWriter, _ *http.Request) bool {
		fmt.Fprint(w, "other bytes")
		return true
	}
	short := func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("Content-Length", "1000")
		fmt.Fprint(w, "half")
		return true
	}
	otherManifest := func(w http.ResponseWriter, req *http.Request) bool {
		if !strings.Contains(req.URL.Path, "/manifests/sha256:") || req.Method != http.MethodGet {
			return false
		}
		w.Header().Set("Content-Type", artifact.IndexType)
		fmt.Fprint(w, `{"schemaVersion":2,"manifests":[]}`)
		return true
	}
	for name, c := range map[string]struct {
		source, target func(http.ResponseWriter, *http.Request) bool
		kind           faults.Kind
		want           string
	}{
		"wrong bytes":        {source: blobs(wrong), kind: faults.Refused, want: "damaged"},
		"wrong digest":       {source: otherManifest, kind: faults.Refused, want: "damaged"},
		"always cut":         {source: blobs(short), kind: faults.Remote, want: "EOF"},
		"target fails":       {target: status(http.StatusInternalServerError), kind: faults.Remote, want: "500"},
		"target is too busy": {target: status(http.StatusTooManyRequests), kind: faults.Remote, want: "429"},
		"target strips referrers": {target: func(w http.ResponseWriter, req *http.Request) bool {
			if strings.Contains(req.URL.Path, "/referrers/") {
				w.Header().Set("Content-Type", artifact.IndexType)
				fmt.Fprint(w, `{"schemaVersion":2,"mediaType":"`+artifact.IndexType+`","manifests":[]}`)
				return true
			}
			return false
		}, kind: faults.Remote, want: "does not list what refers to"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			from, to := newServer(t), newServer(t)
			done := withEvidence(t, from.open(t))
			from.fault, to.fault = c.source, c.target
			_, err := registry.Copy(t.Context(), from.open(t), done.Ref, to.open(t), "web:v1")
			if faults.Of(err) != c.kind || err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v of kind %v, want %q of %v", err, faults.Of(err), c.want, c.kind)
			}
			after := &server{t: t, address: "127.0.0.1:0", content: to.content}
			after.start()
			defer after.stop()
			var missing *registry.NotFoundError
			if _, err := after.open(t).Resolve(t.Context(), after.address+"/team/web@"+done.Digest); !errors.As(err, &missing) {
				t.Errorf("afterwards it is there: %v", err)
			}
		})
	}
}

// Faults that pass do no harm.
func TestCopyGoesOn(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]func(http.ResponseWriter, *http.Request) bool{
		"a cut":    once(9, cut),
		"an error": once(9, status(http.StatusBadGateway)),
		"asks to wait": once(9, func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusTooManyRequests)
			return true
		}),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			origin, s := store(t, t.TempDir()), newServer(t)
			done := withEvidence(t, origin)
			s.fault = fault
			copied, err := registry.Copy(t.Context(), origin, done.Ref, s.open(t), "web:v1")
			if err != nil || copied.Digest != done.Digest {
				t.Errorf("%+v, %v", copied, err)
			}
		})
	}
}

// A key keeps what it names, and a digest that was asked for is the one that is copied.
func TestCopyKeepsKeys(t *testing.T) {
	t.Parallel()
	origin, target := store(t, t.TempDir()), store(t, t.TempDir())
	done := withEvidence(t, origin)
	other := built(t)
	other.Layers = append(other.Layers, plain(t, "more", "opt/ampoule/more", "more\n"))
	packed, err := registry.Pack(t.Context(), layer.Packer{Dir: t.TempDir()}, other)
	if err != nil {
		t.Fatal(err)
	}
	first, err := target.Publish(t.Context(), packed)
	if err != nil {
		t.Fatal(err)
	}
	copied, err := registry.Copy(t.Context(), origin, done.Ref, target, "web:v1")
	if err != nil || copied.KeyTaken != first.Digest || !slices.Equal(copied.Tags, []string{"v1"}) {
		t.Errorf("%+v, %v", copied, err)
	}
	if digest, _, err := target.FindKey(t.Context(), "web", other.Key, artifact.Beside{}); digest != first.Digest {
		t.Errorf("the key names %s, %v", digest, err)
	}
	if _, err := registry.Copy(t.Context(), origin, done.Ref, target, "web@"+first.Digest); faults.Of(err) != faults.Refused {
		t.Errorf("to another digest: %v", err)
	}
	var missing *registry.NotFoundError
	if _, err := registry.Copy(t.Context(), origin, "web@sha256:"+strings.Repeat("0", 64), target, "web"); !errors.As(err, &missing) {
		t.Errorf("what is not there: %v", err)
	}
}

// A registry that says when to come again is asked then, and not before.
func TestRetryAfter(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"7": 7 * time.Second, "0": 0, "Fri, 02 Jan 2026 03:04:15 GMT": 10 * time.Second, "Thu, 01 Jan 2026 03:04:15 GMT": 0, "": -1, "soon": -1, "-3": -1,
	} {
		for _, code := range []int{http.StatusTooManyRequests, http.StatusServiceUnavailable} {
			wait, asked := registry.RetryAfter(&http.Response{StatusCode: code, Header: http.Header{"Retry-After": {value}}}, now)
			if asked != (want >= 0) || asked && wait != want {
				t.Errorf("%q: %s, %t", value, wait, asked)
			}
		}
	}
	if _, asked := registry.RetryAfter(&http.Response{StatusCode: http.StatusOK, Header: http.Header{"Retry-After": {"7"}}}, now); asked {
		t.Error("an answer asks to wait")
	}
	var times []time.Time
	s := newServer(t)
	a, _ := sample(t, key("1"), "x")
	s.fault = func(w http.ResponseWriter, _ *http.Request) bool {
		times = append(times, time.Now())
		if len(times) == 1 {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusTooManyRequests)
			return true
		}
		return false
	}
	if _, _, err := s.open(t).FindKey(t.Context(), a.Name, a.Key, artifact.Beside{}); err != nil {
		t.Error(err)
	}
	if len(times) < 2 || times[1].Sub(times[0]) < 900*time.Millisecond {
		t.Errorf("asked at %v", times)
	}
}

// What is no image is copied as it is.
func TestCopyOfFiles(t *testing.T) {
	t.Parallel()
	origin, target := store(t, t.TempDir()), layoutAt(t, filepath.Join(t.TempDir(), "l"))
	done := withEvidence(t, origin)
	found, err := origin.Referrers(t.Context(), done.Ref, artifact.WheelhouseType)
	if err != nil || len(found) != 1 {
		t.Fatal(found, err)
	}
	copied, err := registry.Copy(t.Context(), origin, base(done.Ref)+"@"+found[0].Digest, target, "wheels:v1")
	if err != nil || copied.Digest != found[0].Digest || !slices.Equal(copied.Tags, []string{"v1"}) || len(copied.Missing) > 0 {
		t.Errorf("%+v, %v", copied, err)
	}
}
