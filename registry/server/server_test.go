package server

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"ampoule/artifact"
	"ampoule/registry/embedded"
	"ampoule/registry/internal/protocol"
	"ampoule/registry/tokens"
	"ampoule/store"
)

// served is a server over a new store's registry.
type served struct {
	t       *testing.T
	url     string
	store   *store.Store
	book    *tokens.Book
	own     *embedded.Registry
	client  *http.Client
	entries func() []Entry
	warned  func() []string
	// end ends serving and returns its error.
	end func() error
}

// serve serves until the test ends.
func serve(t *testing.T, c Config) *served {
	t.Helper()
	st, err := store.Open(filepath.Join(t.TempDir(), "store"))
	if err != nil {
		t.Fatal(err)
	}
	s := &served{t: t, store: st, book: tokens.Open(st), own: embedded.Open(st.Dir(store.Registry)), client: &http.Client{}}
	var mu sync.Mutex
	var entries []Entry
	var warned []string
	c.Note = func(e Entry) { mu.Lock(); defer mu.Unlock(); entries = append(entries, e) }
	c.Warn = func(message string) { mu.Lock(); defer mu.Unlock(); warned = append(warned, message) }
	s.entries = func() []Entry { mu.Lock(); defer mu.Unlock(); return entries }
	s.warned = func() []string { mu.Lock(); defer mu.Unlock(); return warned }
	if c.Listen == "" {
		c.Listen = "127.0.0.1:0"
	}
	ctx, cancel := context.WithCancel(t.Context())
	ready, ended := make(chan string, 1), make(chan error, 1)
	go func() { ended <- Serve(ctx, s.own, s.book, c, func(a string) { ready <- a }) }()
	var once sync.Once
	var result error
	s.end = func() error {
		once.Do(func() {
			cancel()
			result = <-ended
		})
		return result
	}
	t.Cleanup(func() {
		if err := s.end(); err != nil {
			t.Errorf("serving: %v", err)
		}
		_ = s.own.Close()
		_ = st.Close()
	})
	select {
	case address := <-ready:
		s.url = "http://" + address
		if c.Certificate != "" {
			s.url = "https://" + address
		}
	case err := <-ended:
		ended <- err
		t.Fatalf("serving ends: %v", err)
	}
	return s
}

// token makes a token.
func (s *served) token(name string, expires time.Time, scopes ...string) string {
	s.t.Helper()
	var all []tokens.Scope
	for _, text := range scopes {
		scope, err := tokens.ParseScope(text)
		if err != nil {
			s.t.Fatal(err)
		}
		all = append(all, scope)
	}
	_, secret, err := s.book.Create(name, all, expires)
	if err != nil {
		s.t.Fatal(err)
	}
	return secret
}

// call is a request to a server.
type call struct {
	method, path, secret string
	header               map[string]string
	body                 []byte
	// streamed sends the body without its length.
	streamed bool
}

// reply is what was answered.
type reply struct {
	status int
	header http.Header
	body   string
}

// code is the code of an error in the protocol's form.
func (r reply) code() string {
	var answer struct{ Errors []struct{ Code string } }
	if json.Unmarshal([]byte(r.body), &answer) != nil || len(answer.Errors) == 0 {
		return ""
	}
	return answer.Errors[0].Code
}

func (s *served) do(c call) reply {
	s.t.Helper()
	var body io.Reader = bytes.NewReader(c.body)
	if c.streamed {
		body = struct{ io.Reader }{body}
	}
	if c.body == nil {
		body = nil
	}
	req, err := http.NewRequestWithContext(s.t.Context(), c.method, s.url+c.path, body)
	if err != nil {
		s.t.Fatal(err)
	}
	if c.secret != "" {
		req.SetBasicAuth("anybody", c.secret)
	}
	for name, value := range c.header {
		req.Header.Set(name, value)
	}
	resp, err := s.client.Do(req)
	if err != nil {
		s.t.Fatalf("%s %s: %v", c.method, c.path, err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatalf("%s %s: %v", c.method, c.path, err)
	}
	return reply{resp.StatusCode, resp.Header, string(raw)}
}

// want fails the test unless a request is answered with that status.
func (s *served) want(status int, c call) reply {
	s.t.Helper()
	got := s.do(c)
	if got.status != status {
		s.t.Errorf("%s %s is answered with %d, want %d: %s", c.method, c.path, got.status, status, got.body)
	}
	return got
}

func digestOf(content []byte) string {
	sum := sha256.Sum256(content)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// blob sends content and returns its digest.
func (s *served) blob(secret, repository string, content []byte) string {
	s.t.Helper()
	digest := digestOf(content)
	s.want(http.StatusCreated, call{http.MethodPost, "/v2/" + repository + "/blobs/uploads/?digest=" + digest, secret, map[string]string{"Content-Type": "application/octet-stream"}, content, false})
	return digest
}

// image is a manifest of one blob, which differs by its note.
func image(blob string, size int, note string) []byte {
	return fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"application/vnd.oci.empty.v1+json","digest":%q,"size":%d},"layers":[],"annotations":{"note":%q}}`, artifact.ManifestType, blob, size, note)
}

// put writes a manifest.
func (s *served) put(secret, repository, ref string, manifest []byte, header map[string]string) reply {
	s.t.Helper()
	all := map[string]string{"Content-Type": artifact.ManifestType}
	for name, value := range header {
		all[name] = value
	}
	return s.do(call{http.MethodPut, "/v2/" + repository + "/manifests/" + ref, secret, all, manifest, false})
}

// TestWithoutTokens has everybody read, and nobody write or give orders.
func TestWithoutTokens(t *testing.T) {
	t.Parallel()
	s := serve(t, Config{})
	for method, want := range map[string]int{http.MethodGet: http.StatusOK, http.MethodHead: http.StatusOK, http.MethodPost: http.StatusMethodNotAllowed, http.MethodPut: http.StatusMethodNotAllowed, http.MethodDelete: http.StatusMethodNotAllowed} {
		got := s.want(want, call{method: method, path: "/v2/"})
		if got.header.Get("Ampoule-Holder") != "" {
			t.Errorf("%s tells strangers who holds the registry", method)
		}
	}
	for _, path := range []string{"/v2/web/manifests/x", "/v2/web/blobs/uploads/", "/v2/web/blobs/uploads/x"} {
		for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
			s.want(http.StatusMethodNotAllowed, call{method: method, path: path})
		}
	}
	for _, path := range []string{"/ampoule/v1/list", "/v2/../ampoule/v1/list", "/", "/v2/_catalog", "/v2/x"} {
		s.want(http.StatusNotFound, call{method: http.MethodGet, path: path})
	}
	// What was asked before there was a token is asked again.
	s.token("late", time.Time{}, "pull:*")
	s.want(http.StatusUnauthorized, call{method: http.MethodGet, path: "/v2/"})
}

func TestServingEnds(t *testing.T) {
	t.Parallel()
	s := serve(t, Config{})
	s.want(http.StatusOK, call{method: http.MethodGet, path: "/v2/"})
	began := time.Now()
	if err := s.end(); err != nil || time.Since(began) > 10*time.Second {
		t.Errorf("serving ended after %v with %v", time.Since(began), err)
	}
}

// TestRequestEndsBeforeServer ends the server while an upload is under way: it is answered.
func TestRequestEndsBeforeServer(t *testing.T) {
	t.Parallel()
	s := serve(t, Config{})
	secret := s.token("ci", time.Time{}, "push:*")
	content := []byte("content")
	body, w := io.Pipe()
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url+"/v2/web/blobs/uploads/?digest="+digestOf(content), body)
	req.SetBasicAuth("x", secret)
	answered := make(chan int, 1)
	go func() {
		resp, err := s.client.Do(req)
		if err != nil {
			t.Log(err)
			answered <- 0
			return
		}
		_ = resp.Body.Close()
		answered <- resp.StatusCode
	}()
	if _, err := w.Write(content[:3]); err != nil {
		t.Fatal(err)
	}
	// It is under way when the registry has begun to keep it.
	for begun := []string(nil); len(begun) == 0; time.Sleep(time.Millisecond) {
		begun, _ = filepath.Glob(filepath.Join(s.store.Dir(store.Registry), "repositories", "web", "_uploads", "*"))
	}
	time.AfterFunc(300*time.Millisecond, func() {
		_, _ = w.Write(content[3:])
		_ = w.Close()
	})
	if err := s.end(); err != nil {
		t.Error(err)
	}
	if status := <-answered; status != http.StatusCreated {
		t.Errorf("an upload under way is answered with %d", status)
	}
}

// TestMainPaths pushes, pulls, lists and deletes, as the OCI conformance program does it.
func TestMainPaths(t *testing.T) {
	t.Parallel()
	s := serve(t, Config{})
	secret := s.token("all", time.Time{}, "push:*", "delete:*")
	content := bytes.Repeat([]byte("0123456789"), 100)
	digest := digestOf(content)
	octets := map[string]string{"Content-Type": "application/octet-stream"}

	// In pieces, with a wrong one in between.
	at := s.want(http.StatusAccepted, call{method: http.MethodPost, path: "/v2/web/blobs/uploads/", secret: secret}).header.Get("Location")
	at = s.want(http.StatusAccepted, call{http.MethodPatch, at, secret, map[string]string{"Content-Range": "0-499"}, content[:500], false}).header.Get("Location")
	s.want(http.StatusRequestedRangeNotSatisfiable, call{http.MethodPatch, at, secret, map[string]string{"Content-Range": "0-499"}, content[:500], false})
	at = s.want(http.StatusAccepted, call{http.MethodPatch, at, secret, map[string]string{"Content-Range": "500-999"}, content[500:], true}).header.Get("Location")
	s.want(http.StatusCreated, call{method: http.MethodPut, path: at + "&digest=" + digest, secret: secret})
	for _, wrong := range []string{digestOf([]byte("other")), "sha512:" + strings.Repeat("0", 128)} {
		if got := s.do(call{http.MethodPost, "/v2/web/blobs/uploads/?digest=" + wrong, secret, octets, content, false}); got.status != http.StatusBadRequest {
			t.Errorf("content that is not %s is answered with %d", wrong, got.status)
		}
	}

	blob := "/v2/web/blobs/" + digest
	if got := s.want(http.StatusOK, call{method: http.MethodHead, path: blob, secret: secret}); got.header.Get("Content-Length") != "1000" {
		t.Errorf("its size is told as %s", got.header.Get("Content-Length"))
	}
	if got := s.want(http.StatusPartialContent, call{method: http.MethodGet, path: blob, secret: secret, header: map[string]string{"Range": "bytes=10-12"}}); got.body != "012" {
		t.Errorf("a part of it is %q", got.body)
	}
	if got := s.want(http.StatusCreated, call{method: http.MethodPost, path: "/v2/other/blobs/uploads/?from=web&mount=" + digest, secret: secret}); got.header.Get("Location") == "" {
		t.Error("a mounted blob has no place")
	}

	m := image(digest, len(content), "first")
	if got := s.put(secret, "web", "1.0", m, nil); got.status != http.StatusCreated || got.header.Get("Docker-Content-Digest") != digestOf(m) {
		t.Fatalf("the manifest is answered with %d: %s", got.status, got.body)
	}
	for _, ref := range []string{"1.0", digestOf(m)} {
		got := s.want(http.StatusOK, call{method: http.MethodGet, path: "/v2/web/manifests/" + ref, secret: secret})
		if got.body != string(m) || got.header.Get("Content-Type") != artifact.ManifestType || got.header.Get("ETag") != `"`+digestOf(m)+`"` {
			t.Errorf("%s is %v %s", ref, got.header, got.body)
		}
		s.want(http.StatusNotModified, call{method: http.MethodGet, path: "/v2/web/manifests/" + ref, secret: secret, header: map[string]string{"If-None-Match": `"` + digestOf(m) + `"`}})
	}
	if got := s.put(secret, "web", digestOf(content), m, nil); got.status != http.StatusBadRequest {
		t.Errorf("a manifest under another digest is answered with %d", got.status)
	}
	if got := s.put(secret, "web", "2.0", image(digestOf([]byte("none")), 4, ""), nil); got.status != http.StatusBadRequest || got.code() != "MANIFEST_BLOB_UNKNOWN" {
		t.Errorf("a manifest without its content is answered with %d %s", got.status, got.code())
	}
	referrer := []byte(strings.Replace(string(image(digest, len(content), "referrer")), `"layers"`, fmt.Sprintf(`"artifactType":"test/x","subject":{"mediaType":%q,"digest":%q,"size":%d},"layers"`, artifact.ManifestType, digestOf(m), len(m)), 1))
	if got := s.put(secret, "web", digestOf(referrer), referrer, nil); got.status != http.StatusCreated || got.header.Get("OCI-Subject") != digestOf(m) {
		t.Errorf("the referrer is answered with %d %v", got.status, got.header)
	}
	referrers := "/v2/web/referrers/" + digestOf(m)
	if got := s.want(http.StatusOK, call{method: http.MethodGet, path: referrers + "?artifactType=test/x", secret: secret}); !strings.Contains(got.body, digestOf(referrer)) {
		t.Errorf("referrers are %s", got.body)
	}
	if got := s.put(secret, "web", "0.9", image(digest, len(content), "second"), nil); got.status != http.StatusCreated {
		t.Error(got)
	}
	got := s.want(http.StatusOK, call{method: http.MethodGet, path: "/v2/web/tags/list?n=1", secret: secret})
	if !strings.Contains(got.body, `["0.9"]`) || got.header.Get("Link") == "" {
		t.Errorf("tags are %s, %s", got.body, got.header.Get("Link"))
	}
	if got := s.want(http.StatusOK, call{method: http.MethodGet, path: "/v2/_oci/ext/discover", secret: secret}); !strings.Contains(got.body, "If-Match") {
		t.Errorf("extensions are %s", got.body)
	}

	s.want(http.StatusConflict, call{method: http.MethodDelete, path: blob, secret: secret})
	s.want(http.StatusAccepted, call{method: http.MethodDelete, path: "/v2/web/manifests/1.0", secret: secret})
	s.want(http.StatusNotFound, call{method: http.MethodHead, path: "/v2/web/manifests/1.0", secret: secret})
	s.want(http.StatusOK, call{method: http.MethodHead, path: "/v2/web/manifests/" + digestOf(m), secret: secret})
	for _, manifest := range [][]byte{referrer, image(digest, len(content), "second"), m} {
		path := "/v2/web/manifests/" + digestOf(manifest)
		s.want(http.StatusAccepted, call{method: http.MethodDelete, path: path, secret: secret})
		s.want(http.StatusNotFound, call{method: http.MethodGet, path: path, secret: secret})
		s.want(http.StatusNotFound, call{method: http.MethodDelete, path: path, secret: secret})
	}
	if got := s.want(http.StatusOK, call{method: http.MethodGet, path: referrers, secret: secret}); strings.Contains(got.body, digestOf(referrer)) {
		t.Errorf("after deletion referrers are %s", got.body)
	}
	s.want(http.StatusAccepted, call{method: http.MethodDelete, path: blob, secret: secret})
	s.want(http.StatusNotFound, call{method: http.MethodGet, path: blob, secret: secret})
	s.want(http.StatusNotFound, call{method: http.MethodDelete, path: blob, secret: secret})
}

// TestImmutableTags moves tags, by their path and beside a digest.
func TestImmutableTags(t *testing.T) {
	t.Parallel()
	s := serve(t, Config{Mutable: []string{"stage-*"}})
	secret := s.token("all", time.Time{}, "push:*", "delete:*")
	digest := s.blob(secret, "web", []byte("{}"))
	first, second := image(digest, 2, "first"), image(digest, 2, "second")
	beside := strings.Replace(digestOf(first), ":", "-", 1)
	for tag, moves := range map[string]bool{
		"1.0": false, "latest": false, "stage-prod": true, beside: true, beside + ".sig": true, beside + ".att": true, beside + ".sbom": true, beside + ".x": false,
	} {
		for _, way := range []string{"path", "parameter"} {
			put := func(manifest []byte) reply {
				if way == "path" {
					return s.put(secret, "web", tag, manifest, nil)
				}
				return s.put(secret, "web", digestOf(manifest)+"?tag=new&tag="+tag, manifest, nil)
			}
			want := http.StatusConflict
			if moves && way == "path" {
				want = http.StatusCreated
			}
			for range 2 {
				if got := put(first); got.status != http.StatusCreated {
					t.Errorf("%s by %s is answered with %d: %s", tag, way, got.status, got.body)
				}
			}
			got := put(second)
			if got.status != want || want == http.StatusConflict && (got.code() != "DENIED" || !strings.Contains(got.body, digestOf(first))) {
				t.Errorf("moving %s by %s is answered with %d, want %d: %s", tag, way, got.status, want, got.body)
			}
			s.want(http.StatusAccepted, call{method: http.MethodDelete, path: "/v2/web/manifests/" + tag, secret: secret})
		}
	}
}

// TestLogsOfChannels: nobody moves the log of a channel without a condition on what it names, or
// takes it away.
func TestLogsOfChannels(t *testing.T) {
	t.Parallel()
	s := serve(t, Config{Mutable: []string{"*"}})
	secret := s.token("all", time.Time{}, "push:*", "delete:*")
	log := image(s.blob(secret, "web", []byte("{}")), 2, "first")
	path := "/v2/web/manifests/channel-prod"
	for ref, want := range map[string]int{"channel-prod": http.StatusPreconditionRequired, digestOf(log) + "?tag=channel-prod": http.StatusPreconditionRequired} {
		if got := s.put(secret, "web", ref, log, nil); got.status != want {
			t.Errorf("writing %s is answered with %d, want %d", ref, got.status, want)
		}
	}
	if got := s.put(secret, "web", "channel-prod", log, map[string]string{"If-None-Match": "*"}); got.status != http.StatusCreated {
		t.Errorf("beginning a log is answered with %d: %s", got.status, got.body)
	}
	s.want(http.StatusConflict, call{method: http.MethodDelete, path: path, secret: secret})
	s.want(http.StatusConflict, call{method: http.MethodDelete, path: "/v2/web/manifests/" + digestOf(log), secret: secret})
	s.want(http.StatusOK, call{method: http.MethodHead, path: path, secret: secret})
}

// TestTwoWriters has several writers move one tag at the same moment: one wins each time.
func TestTwoWriters(t *testing.T) {
	t.Parallel()
	s := serve(t, Config{Mutable: []string{"prod"}})
	secret := s.token("all", time.Time{}, "push:*")
	digest := s.blob(secret, "web", []byte("{}"))
	race := func(header map[string]string, round int) (winner string) {
		t.Helper()
		var won sync.Map
		var all sync.WaitGroup
		var refused, other int
		var mu sync.Mutex
		for i := range 8 {
			all.Go(func() {
				m := image(digest, 2, fmt.Sprint(round, i))
				got := s.put(secret, "web", "prod", m, header)
				mu.Lock()
				defer mu.Unlock()
				switch got.status {
				case http.StatusCreated:
					won.Store(digestOf(m), true)
				case http.StatusPreconditionFailed:
					refused++
				default:
					other++
				}
			})
		}
		all.Wait()
		winners := 0
		won.Range(func(key, _ any) bool { winners++; winner = key.(string); return true })
		if winners != 1 || refused != 7 || other != 0 {
			t.Errorf("round %d: %d win, %d are refused, %d other", round, winners, refused, other)
		}
		return winner
	}
	current := race(map[string]string{"If-None-Match": "*"}, 0)
	for round := range 5 {
		current = race(map[string]string{"If-Match": `"` + current + `"`}, round+1)
		if got := s.want(http.StatusOK, call{method: http.MethodGet, path: "/v2/web/manifests/prod", secret: secret}); digestOf([]byte(got.body)) != current {
			t.Errorf("the tag names another one than the writer that was told so")
		}
	}
	for header, status := range map[string]int{"*": http.StatusCreated, `"sha256:x", "` + digestOf(image(digest, 2, "last")) + `"`: http.StatusCreated, `W/"` + current + `"`: http.StatusPreconditionFailed, `"x"`: http.StatusPreconditionFailed} {
		s.put(secret, "web", "prod", image(digest, 2, "last"), nil)
		if got := s.put(secret, "web", "prod", image(digest, 2, "next"), map[string]string{"If-Match": header}); got.status != status {
			t.Errorf("If-Match: %s is answered with %d, want %d", header, got.status, status)
		}
	}
	if got := s.put(secret, "web", "never", image(digest, 2, "x"), map[string]string{"If-Match": "*"}); got.status != http.StatusPreconditionFailed {
		t.Errorf("If-Match: * for a new tag is answered with %d", got.status)
	}
}

// TestBounds sends more than is taken.
func TestBounds(t *testing.T) {
	t.Parallel()
	s := serve(t, Config{MaxBlob: 1000})
	secret := s.token("all", time.Time{}, "push:*")
	large := bytes.Repeat([]byte("x"), 1001)
	for _, streamed := range []bool{false, true} {
		if got := s.do(call{http.MethodPost, "/v2/web/blobs/uploads/?digest=" + digestOf(large), secret, nil, large, streamed}); got.status != http.StatusRequestEntityTooLarge || got.code() != "SIZE_INVALID" {
			t.Errorf("streamed %v: %d %s", streamed, got.status, got.code())
		}
		at := s.want(http.StatusAccepted, call{method: http.MethodPost, path: "/v2/web/blobs/uploads/", secret: secret}).header.Get("Location")
		at = s.want(http.StatusAccepted, call{http.MethodPatch, at, secret, nil, large[:600], streamed}).header.Get("Location")
		s.want(http.StatusRequestEntityTooLarge, call{http.MethodPatch, at, secret, nil, large[:600], streamed})
	}
	s.blob(secret, "web", large[:1000])
	req := httptest.NewRequestWithContext(t.Context(), http.MethodPut, "http://localhost/v2/web/manifests/1.0", bytes.NewReader(make([]byte, protocol.MaxManifest+1)))
	req = req.WithContext(context.WithValue(req.Context(), http.LocalAddrContextKey, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}))
	req.SetBasicAuth("x", secret)
	answer := httptest.NewRecorder()
	New(s.own, s.book, Config{}).ServeHTTP(answer, req)
	if answer.Code != http.StatusRequestEntityTooLarge {
		t.Errorf("a huge manifest is answered with %d", answer.Code)
	}
}

// TestAccessLog notes who did what, without secrets.
func TestAccessLog(t *testing.T) {
	t.Parallel()
	s := serve(t, Config{})
	secret := s.token("ci", time.Time{}, "push:*")
	s.blob(secret, "web", []byte("{}"))
	s.do(call{method: http.MethodGet, path: "/v2/?token=" + secret, secret: secret + "wrong"})
	s.do(call{method: http.MethodGet, path: "/v2/", header: map[string]string{"Authorization": "Bearer " + secret}})
	if err := s.end(); err != nil {
		t.Error(err)
	}
	entries := s.entries()
	if len(entries) != 3 || entries[0].Token != "ci" || entries[0].Status != http.StatusCreated || entries[0].Received != 2 || entries[0].Client != "127.0.0.1" || entries[1].Token != "" || entries[1].Status != http.StatusUnauthorized {
		t.Errorf("noted: %+v", entries)
	}
	raw, err := json.Marshal([]any{entries, s.warned()})
	if err != nil {
		t.Fatal(err)
	}
	if _, last, _ := strings.Cut(secret[len("ampoule_"):], "_"); strings.Contains(string(raw), last) {
		t.Errorf("a secret is noted: %s", raw)
	}
}
