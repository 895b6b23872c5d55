package api

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"ampoule/faults"
	"ampoule/registry/tokens"
	"ampoule/service/access"
	"ampoule/service/builds"
	"ampoule/service/logs"
	"ampoule/service/problem"
	"ampoule/service/wire"
)

var update = flag.Bool("update", false, "write what is generated")

// read takes an answer's body apart.
func read[T any](t *testing.T, text string) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return v
}

// refused wants a problem of a status that says something.
func refused(t *testing.T, what string, resp *http.Response, body string, status int, says string) problem.Problem {
	t.Helper()
	if resp.StatusCode != status || resp.Header.Get("Content-Type") != problem.MediaType {
		t.Errorf("%s: %s %s: %s, want %d", what, resp.Status, resp.Header.Get("Content-Type"), body, status)
		return problem.Problem{}
	}
	p := read[problem.Problem](t, body)
	if p.Status != status || p.Type == "" || p.Title == "" || !strings.Contains(body, says) || !strings.HasPrefix(p.Instance, instancePrefix) {
		t.Errorf("%s: %s, want it to say %q", what, body, says)
	}
	return p
}

var pathParameter = regexp.MustCompile(`\{[a-z]+\}`)

// concrete is a route's path with something in the place of its parameters.
func concrete(path string) string {
	return pathParameter.ReplaceAllStringFunc(path, func(name string) string {
		switch name {
		case "{key}", "{digest}":
			return "sha256:" + strings.Repeat("0", 64)
		case "{channel}":
			return "prod"
		case "{token}":
			return "nobody"
		}
		return "b1"
	})
}

// Every route refuses who has no token, and who has none of its verb. Whoever adds one says what it
// needs, or the server has no such route.
func TestEveryRouteRefuses(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	// A scope of a registry allows nothing here.
	useless := r.token("useless", "push:*", "pull:*", "delete:*")
	of := map[tokens.Verb]string{}
	all := []tokens.Verb{tokens.Read, tokens.Build, tokens.Promote, tokens.Approve, tokens.Admin}
	for _, verb := range all {
		of[verb] = r.token(string(verb), string(verb)+":*")
	}
	if len(r.server.routes) < 25 {
		t.Errorf("there are %d routes", len(r.server.routes))
	}
	paths := map[string]bool{}
	for _, route := range r.server.routes {
		paths[route.method+" "+route.path] = true
		what := route.method + " " + route.path
		resp, body := r.do(route.method, concrete(route.path), "", nil)
		if route.need.public {
			if resp.StatusCode != http.StatusOK {
				t.Errorf("%s: %s", what, body)
			}
			continue
		}
		if refused(t, what+" without a token", resp, body, http.StatusUnauthorized, "needs a token"); resp.Header.Get("WWW-Authenticate") == "" {
			t.Errorf("%s: no challenge", what)
		}
		resp, body = r.do(route.method, concrete(route.path), "ampoule_abcdefghij_wrong"+strings.ReplaceAll(route.path, "/", ""), nil)
		if resp.StatusCode != http.StatusUnauthorized && resp.StatusCode != http.StatusTooManyRequests {
			t.Errorf("%s with a wrong token: %s", what, body)
		}
		resp, body = r.do(route.method, concrete(route.path), useless, nil)
		if route.need.verb == "" {
			if resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden {
				t.Errorf("%s with any token: %s", what, body)
			}
			continue
		}
		refused(t, what+" with a token for something else", resp, body, http.StatusForbidden, string(route.need.verb))
		for _, verb := range all {
			resp, body := r.do(route.method, concrete(route.path), of[verb], nil)
			scope := tokens.Scope{Verb: verb, Pattern: "*"}
			if want := scope.Contains(route.need.verb); want == (resp.StatusCode == http.StatusForbidden) {
				t.Errorf("%s with %s: %s %s", what, scope, resp.Status, body)
			}
		}
	}
	// No operation is described that was not registered with what it needs.
	for path, item := range r.server.api.OpenAPI().Paths {
		for method, op := range map[string]any{http.MethodGet: item.Get, http.MethodPost: item.Post, http.MethodPut: item.Put, http.MethodDelete: item.Delete} {
			if fmt.Sprint(op) != "<nil>" && !paths[method+" "+path] {
				t.Errorf("%s %s says not what it needs", method, path)
			}
		}
	}
}

// What belongs to a name is not there for those whose token is for other names.
func TestNamesAreKeptApart(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	mine, others := r.token("mine", "build:quickstart"), r.token("others", "build:other/*", "promote:other/*", "admin:other/*")
	resp, body := r.do(http.MethodPost, "/v1/builds", mine, bytes.NewReader(quickstart(t, false)), asGzip)
	if resp.StatusCode != http.StatusAccepted {
		t.Fatal(body)
	}
	id := read[wire.Submitted](t, body).Build.ID
	key := read[wire.Submitted](t, body).Build.Key
	r.queue.change(func() {
		r.queue.published[key] = builds.Publication{Key: key, Recipe: "quickstart", Digest: "sha256:1"}
	})
	for _, path := range []string{"/v1/builds/" + id, "/v1/builds/" + id + "/log", "/v1/builds/" + id + "/lock", "/v1/builds/" + id + "/events", "/v1/builds/" + id + "/log/stream",
		"/v1/builds/" + id + "/progress/stream", "/v1/builds/" + id + "/events/stream", "/v1/keys/" + key,
		"/v1/artifacts/sha256:" + strings.Repeat("1", 64) + "?name=quickstart", "/v1/channels/prod?name=quickstart",
	} {
		resp, body := r.do(http.MethodGet, path, others, nil)
		refused(t, path, resp, body, http.StatusNotFound, "")
	}
	for _, path := range []string{"/v1/builds/" + id + "/cancel", "/v1/builds/" + id + "/retry"} {
		resp, body := r.do(http.MethodPost, path, others, nil)
		refused(t, path, resp, body, http.StatusNotFound, "")
	}
	resp, body = r.do(http.MethodPost, "/v1/builds", others, bytes.NewReader(quickstart(t, false)), asGzip)
	refused(t, "another's recipe", resp, body, http.StatusNotFound, "")
	resp, body = r.do(http.MethodPost, "/v1/channels/prod/promote", others, strings.NewReader(`{"name":"quickstart","digest":""}`), "Content-Type: application/json")
	refused(t, "another's channel", resp, body, http.StatusNotFound, "")
	for path, want := range map[string]string{"/v1/builds": `"builds":[]`} {
		if _, body := r.do(http.MethodGet, path, others, nil); !strings.Contains(body, want) {
			t.Errorf("%s: %s", path, body)
		}
	}
	for _, path := range []string{"/v1/tokens", "/v1/workers"} {
		resp, body := r.do(http.MethodGet, path, others, nil)
		refused(t, path, resp, body, http.StatusForbidden, "admin:*")
	}
	if resp, body := r.do(http.MethodGet, "/v1/keys/"+key, mine, nil); resp.StatusCode != http.StatusOK || !strings.Contains(body, "quickstart@sha256:1") {
		t.Errorf("%s", body)
	}
}

// An archive that comes a hundred times at once is read once and gives one build.
func TestIdenticalSubmissions(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	secret, archive := r.token("ci", "build:*"), quickstart(t, false)
	var all sync.WaitGroup
	ids := make([]string, 100)
	for i := range ids {
		all.Go(func() {
			resp, body := r.do(http.MethodPost, "/v1/builds", secret, bytes.NewReader(archive), asGzip)
			if resp.StatusCode == http.StatusAccepted {
				ids[i] = read[wire.Submitted](t, body).Build.ID
			}
		})
	}
	all.Wait()
	for _, id := range ids {
		if id != "b1" {
			t.Errorf("a submission became build %q", id)
		}
	}
	resp, body := r.do(http.MethodPost, "/v1/builds", secret, bytes.NewReader(archive), asGzip, "Idempotency-Key: one")
	got := read[wire.Submitted](t, body)
	if resp.StatusCode != http.StatusAccepted || resp.Header.Get("Location") != "/v1/builds/"+got.Build.ID || got.Build.State != "queued" || got.Build.Recipe != "quickstart" || got.Build.Caller != "ci" || !got.Build.Trusted {
		t.Errorf("%s %s", resp.Status, body)
	}
	if r.server.archives.reads != 1 || len(r.queue.builds) != 1 {
		t.Errorf("%d reads, %d builds", r.server.archives.reads, len(r.queue.builds))
	}
	resp, body = r.do(http.MethodPost, "/v1/locks?upgrade-name=flask,jinja2", secret, bytes.NewReader(quickstart(t, true)), asGzip, "Idempotency-Key: one")
	refused(t, "another body under the key", resp, body, http.StatusUnprocessableEntity, "idempotency key")
	if resp, body = r.do(http.MethodPost, "/v1/locks?upgrade-name=flask,jinja2", secret, bytes.NewReader(quickstart(t, true)), asGzip); resp.StatusCode != http.StatusAccepted {
		t.Errorf("a lock: %s", body)
	}
	if o := r.queue.builds[1].Options; o == nil || len(o.UpgradeNames) != 2 || r.queue.builds[1].Kind != builds.KindLock {
		t.Errorf("%+v", r.queue.builds[1])
	}
	resp, body = r.do(http.MethodPost, "/v1/plans", secret, bytes.NewReader(archive), asGzip)
	if p := read[wire.Plan](t, body); resp.StatusCode != http.StatusOK || p.Key != got.Build.Key || len(p.Inputs) == 0 {
		t.Errorf("%s", body)
	}
}

// Archives of one recipe's name, with members of the same names and other contents, are builds of their
// own, also if all come at once.
func TestSameNamesOtherContents(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	secret := r.token("ci", "build:*")
	archives := [][]byte{quickstart(t, false), packed(t, "quickstart", false, "[flask, --version]", "[flask, --help]")}
	keys := make([]sync.Map, len(archives))
	var all sync.WaitGroup
	for range 20 {
		for i, archive := range archives {
			all.Go(func() {
				resp, body := r.do(http.MethodPost, "/v1/builds", secret, bytes.NewReader(archive), asGzip)
				if got := read[wire.Submitted](t, body); resp.StatusCode != http.StatusAccepted || got.Build.Recipe != "quickstart" {
					t.Errorf("%s %s", resp.Status, body)
				} else {
					keys[i].Store(got.Build.Key, true)
				}
			})
		}
	}
	all.Wait()
	seen := map[any]bool{}
	for i := range keys {
		count := 0
		keys[i].Range(func(key, _ any) bool {
			count++
			seen[key] = true
			return true
		})
		if count != 1 {
			t.Errorf("one archive has %d keys", count)
		}
	}
	if len(seen) != len(archives) || len(r.queue.builds) != len(archives) {
		t.Errorf("%d keys, %d builds", len(seen), len(r.queue.builds))
	}
}

// broken is a body that breaks off.
type broken struct{ sent bool }

func (b *broken) Read(p []byte) (int, error) {
	if b.sent {
		return 0, errors.New("gone")
	}
	b.sent = true
	return copy(p, "\x1f\x8b"), nil
}

// Whatever is wrong with a request, the answer is a problem that says so, and nothing is accepted.
func TestBadRequests(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *Config) { c.MaxArchive = 1 << 20 })
	secret := r.token("ci", "build:*", "promote:*", "admin:*")
	const asJSON, asTar = "Content-Type: application/json", "Content-Type: application/x-tar"
	zero := strings.Repeat("0", 64)
	for name, c := range map[string]struct {
		method, path string
		body         string
		headers      []string
		status       int
		says         string
	}{
		"no such path":           {"GET", "/v1/nothing", "", nil, 404, "nothing at this path"},
		"no page":                {"GET", "/", "", nil, 404, "nothing at this path"},
		"another method":         {"PUT", "/v1/builds", "", nil, 405, "PUT"},
		"an unknown parameter":   {"GET", "/v1/builds?canary=1", "", nil, 422, "query.canary"},
		"a bad number":           {"GET", "/v1/builds?limit=many", "", nil, 422, "query.limit"},
		"a bad bound":            {"GET", "/v1/builds?limit=501", "", nil, 422, "query.limit"},
		"a bad time":             {"GET", "/v1/builds?since=yesterday", "", nil, 422, "query.since"},
		"a bad state":            {"GET", "/v1/builds?state=asleep", "", nil, 422, "asleep"},
		"a bad kind":             {"GET", "/v1/builds?kind=x", "", nil, 422, "lock"},
		"a hostile ID":           {"GET", "/v1/builds/..%2f..%2fetc", "", nil, 422, "path.id"},
		"no build":               {"GET", "/v1/builds/b9", "", nil, 404, "b9"},
		"no key":                 {"GET", "/v1/keys/x", "", nil, 422, "path.key"},
		"an unpublished key":     {"GET", "/v1/keys/sha256:" + zero, "", nil, 404, "nothing is published"},
		"a host in a name":       {"GET", "/v1/artifacts/sha256:" + zero + "?name=169.254.169.254/x", "", nil, 422, "query.name"},
		"localhost in a name":    {"GET", "/v1/diff?name=localhost/x&from=sha256:" + zero + "&to=sha256:" + zero, "", nil, 422, "query.name"},
		"a port in a name":       {"GET", "/v1/artifacts/sha256:" + zero + "?name=localhost:22/x", "", nil, 422, "query.name"},
		"a hostile channel":      {"GET", "/v1/channels/key-1?name=web", "", nil, 422, "query.channel"},
		"no channels here":       {"GET", "/v1/channels/prod?name=web", "", nil, 501, "no trust root"},
		"no promotion here":      {"POST", "/v1/channels/prod/promote", `{"name":"web"}`, []string{asJSON}, 501, "promotion key"},
		"no JSON":                {"POST", "/v1/channels/prod/promote", `{"name":`, []string{asJSON}, 400, ""},
		"an unknown field":       {"POST", "/v1/channels/prod/promote", `{"name":"web","canary":1}`, []string{asJSON}, 422, "body.canary"},
		"another type":           {"POST", "/v1/channels/prod/promote", `{"name":1}`, []string{asJSON}, 422, "body.name"},
		"no reason":              {"POST", "/v1/channels/prod/restart", `{"name":"web","digest":"sha256:` + zero + `","reason":""}`, []string{asJSON}, 422, "body.reason"},
		"large JSON":             {"POST", "/v1/channels/prod/promote", `{"name":"` + strings.Repeat("a", 2<<20) + `"}`, []string{asJSON}, 413, ""},
		"JSON as text":           {"POST", "/v1/channels/prod/promote", `{"name":"web"}`, []string{"Content-Type: text/plain"}, 415, ""},
		"a bad scope":            {"POST", "/v1/tokens", `{"name":"x","scopes":["everything"]}`, []string{asJSON}, 400, "no scope"},
		"no token to revoke":     {"DELETE", "/v1/tokens/nobody", "", nil, 404, "nobody"},
		"no content type":        {"POST", "/v1/builds", "x", nil, 415, "application/gzip"},
		"a wrong content type":   {"POST", "/v1/builds", "{}", []string{asJSON}, 415, "application/gzip"},
		"a coding":               {"POST", "/v1/builds", "x", []string{asTar, "Content-Encoding: gzip"}, 415, "Content-Encoding"},
		"an empty archive":       {"POST", "/v1/builds", "", []string{asTar}, 422, "empty"},
		"no archive":             {"POST", "/v1/builds", strings.Repeat("hello", 200), []string{asTar}, 422, "archive"},
		"a large archive":        {"POST", "/v1/builds", strings.Repeat("x", 2<<20), []string{asTar}, 413, "larger"},
		"a bad idempotency key":  {"POST", "/v1/builds", "x", []string{asTar, "Idempotency-Key: a b"}, 422, "header.Idempotency-Key"},
		"a long idempotency key": {"POST", "/v1/builds", "x", []string{asTar, "Idempotency-Key: " + strings.Repeat("a", 300)}, 422, "Idempotency-Key"},
		"too many labels":        {"POST", "/v1/builds?label=" + strings.Repeat("a,", 20), "x", []string{asTar}, 422, "query.label"},
		"no wheel's name":        {"POST", "/v1/audits?file=../x.whl", "x", []string{"Content-Type: application/zip"}, 422, "query.file"},
		"no wheel":               {"POST", "/v1/audits?file=x-1-py3-none-any.whl", "x", []string{asJSON}, 415, "application/zip"},
	} {
		resp, body := r.do(c.method, c.path, secret, strings.NewReader(c.body), c.headers...)
		if refused(t, name, resp, body, c.status, c.says); strings.Contains(body, r.server.Temp) {
			t.Errorf("%s: tells of a directory of the server: %s", name, body)
		}
		if name == "another method" && !strings.Contains(strings.Join(resp.Header["Allow"], ","), "POST") {
			t.Errorf("%s: %v", name, resp.Header)
		}
	}
	// A large body that does not say how large it is, and one that breaks off.
	resp, body := r.do(http.MethodPost, "/v1/builds", secret, io.MultiReader(strings.NewReader(strings.Repeat("x", 2<<20))), asTar)
	refused(t, "a large body without a length", resp, body, http.StatusRequestEntityTooLarge, "larger")
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.http.URL+"/v1/builds", &broken{})
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+secret)
	req.Header.Set("Content-Type", "application/gzip")
	if resp, err := r.http.Client().Do(req); err == nil {
		resp.Body.Close()
		t.Errorf("a broken body: %s", resp.Status)
	}
	if len(r.queue.builds) != 0 {
		t.Errorf("%d builds were accepted", len(r.queue.builds))
	}
	if entries, _ := filepath.Glob(filepath.Join(r.server.Temp, "submission-*")); len(entries) != 0 {
		t.Errorf("left behind: %v", entries)
	}
}

// A recipe that is wrong is told by file, line and column, as on the command line.
func TestFaultsOfRecipes(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	secret := r.token("ci", "build:*")
	for name, archive := range map[string][]byte{"no lock": quickstart(t, true)} {
		resp, body := r.do(http.MethodPost, "/v1/builds", secret, bytes.NewReader(archive), asGzip)
		refused(t, name, resp, body, http.StatusUnprocessableEntity, "lock")
	}
}

// What a queue refuses has its status, and says when to come again.
func TestQueueRefuses(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	secret, archive := r.token("ci", "build:*"), quickstart(t, false)
	r.queue.fail = fmt.Errorf("submitting: %w", &builds.QuotaError{Caller: "ci", Used: 50, Most: 50, RetryAfter: 90 * time.Second})
	resp, body := r.do(http.MethodPost, "/v1/builds", secret, bytes.NewReader(archive), asGzip)
	if refused(t, "quota", resp, body, http.StatusTooManyRequests, "50 unfinished"); resp.Header.Get("Retry-After") != "90" {
		t.Errorf("%v", resp.Header)
	}
	r.queue.fail = errors.New("canary: database password")
	resp, body = r.do(http.MethodPost, "/v1/builds", secret, bytes.NewReader(archive), asGzip)
	if refused(t, "a fault", resp, body, http.StatusInternalServerError, "nobody foresaw"); strings.Contains(body, "canary") || !strings.Contains(r.log.String(), "canary: database") {
		t.Errorf("%s", body)
	}
	r.queue.fail = nil
	r.queue.builds = []builds.Build{{ID: "b1", Recipe: "web", State: builds.Done}}
	resp, body = r.do(http.MethodPost, "/v1/builds/b1/cancel", secret, nil)
	refused(t, "cancelling what is done", resp, body, http.StatusConflict, "done")
}

// Nothing that could be used is in the log, whatever a request has in it.
func TestLogHasNoSecrets(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	secret := r.token("ci", "build:*")
	canary := strings.Split(secret, "_")[2]
	for _, path := range []string{"/v1/whoami", "/v1/builds?search=" + secret, "/v1/builds/" + secret, "/" + secret, "/v1/nothing?token=" + secret} {
		r.do(http.MethodGet, path, secret, nil, "User-Agent: "+secret, "Cookie: session="+secret, "X-Token: "+secret)
	}
	r.do(http.MethodGet, "/v1/whoami", secret+"x", nil)
	r.do(http.MethodPost, "/v1/builds", secret, bytes.NewReader(quickstart(t, false)), asGzip, "Idempotency-Key: "+secret)
	text := r.log.String()
	if strings.Contains(text, canary) || strings.Count(text, `"msg":"answered"`) != 7 || !strings.Contains(text, `"caller":"ci"`) {
		t.Errorf("%s", text)
	}
}

// A recipe stands on images of the service's own registry only if its submitter may read them there.
func TestImagesAreKeptApart(t *testing.T) {
	t.Parallel()
	digest := "@sha256:" + strings.Repeat("a", 64)
	for _, place := range []string{"", "registry.example:5000/ours/"} {
		s := &Server{Config: Config{Reference: func(name, digest string) string { return place + name + "@" + digest }}}
		caller := access.Caller{Name: "ci", Scopes: []tokens.Scope{{Verb: tokens.Build, Pattern: "web/*"}, {Verb: tokens.Read, Pattern: "base"}}}
		for image, want := range map[string]faults.Kind{
			place + "web/app" + digest: faults.Unknown, place + "base:1" + digest: faults.Unknown, "hub.example/other/app" + digest: faults.Unknown,
			place + "other/app" + digest: faults.NotFound, place + "other/app:1" + digest: faults.NotFound, "other/app" + digest: faults.NotFound,
		} {
			err := s.requireImages(caller, []string{image})
			if got := faults.Of(err); got != want || (err == nil) != (want == faults.Unknown) {
				t.Errorf("%s: %v", image, err)
			}
		}
	}
}

// Images are checked before a build is submitted.
func TestImagesOfSubmissions(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	secret := r.token("ci", "build:web")
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	text := "apiVersion: ampoule/v1\nname: web\npython: {version: 3.13.5}\nplatforms: [linux/amd64]\nbase: {image: \"other/app@sha256:" + strings.Repeat("a", 64) +
		"\"}\nrequirements: [idna==3.10]\nruntime:\n  container: {base: {debian: bookworm}}\ntest:\n  imports: [idna]\n"
	if err := errors.Join(w.WriteHeader(&tar.Header{Name: "ampoule.yaml", Mode: 0o644, Size: int64(len(text))}), func() error { _, err := io.WriteString(w, text); return err }(), w.Close()); err != nil {
		t.Fatal(err)
	}
	resp, body := r.do(http.MethodPost, "/v1/locks", secret, &archive, "Content-Type: application/x-tar")
	refused(t, "an image of others", resp, body, http.StatusNotFound, "other/app")
}

// What was asked is in the log, whatever it is called; only health that is well is not.
func TestLogHasAllPaths(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *Config) {
		c.Pages = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "page") })
	})
	for _, path := range []string{"/artifacts/quiz", "/healthz"} {
		r.do(http.MethodGet, path, "", nil)
	}
	if text := r.log.String(); !strings.Contains(text, `"path":"/artifacts/quiz"`) || strings.Contains(text, "/healthz") {
		t.Errorf("%s", text)
	}
}

func TestHeaders(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *Config) {
		c.Pages = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "page") })
	})
	for _, path := range []string{"/", "/v1/nothing", "/healthz"} {
		resp, _ := r.do(http.MethodGet, path, "", nil)
		for name, want := range map[string]string{
			"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store",
			"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
		} {
			if got := resp.Header.Get(name); got != want {
				t.Errorf("%s: %s is %q", path, name, got)
			}
		}
		if resp.Header.Get(wire.RequestHeader) == "" {
			t.Errorf("%s: no request ID", path)
		}
	}
	// A web page that has its own name lead here is not answered.
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.http.URL+"/healthz", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "evil.example"
	resp, err := r.http.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusMisdirectedRequest {
		t.Errorf("another host: %s", resp.Status)
	}
}

// A handler that breaks breaks one request.
func TestBrokenHandler(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *Config) {
		c.Pages = http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("canary") })
	})
	resp, body := r.do(http.MethodGet, "/", "", nil)
	refused(t, "a broken handler", resp, body, http.StatusInternalServerError, "nobody foresaw")
	if strings.Contains(body, "canary") || !strings.Contains(r.log.String(), "canary") {
		t.Errorf("%s", body)
	}
}

func TestRates(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *Config) { c.Rate = 5 })
	// The clock stands still: a slow machine sends as much at once as a fast one.
	began := time.Now()
	for _, of := range []*rates{r.server.addresses, r.server.callers} {
		of.now = func() time.Time { return began }
	}
	secret := r.token("ci", "build:*")
	var last *http.Response
	var body string
	for range 12 {
		last, body = r.do(http.MethodGet, "/v1/whoami", secret, nil)
	}
	if refused(t, "too many", last, body, http.StatusTooManyRequests, "too many requests"); last.Header.Get("Retry-After") != "1" {
		t.Errorf("%v", last.Header)
	}
	if resp, _ := r.do(http.MethodGet, "/v1/whoami", r.token("other", "read:*"), nil); resp.StatusCode != http.StatusOK {
		t.Errorf("another caller: %s", resp.Status)
	}
	if resp, _ := r.do(http.MethodGet, "/healthz", secret, nil); resp.StatusCode != http.StatusOK {
		t.Errorf("health: %s", resp.Status)
	}
	// Whoever says in each request to be somebody else is held up all the same.
	for i := range 2 * 5 * callersPerAddress {
		last, body = r.do(http.MethodGet, "/v1/version", fmt.Sprintf("ampoule_%010d_x", i), nil)
	}
	refused(t, "too many of an address", last, body, http.StatusTooManyRequests, "too many requests")
	if resp, _ := r.do(http.MethodGet, "/healthz", "", nil); resp.StatusCode != http.StatusOK {
		t.Errorf("health: %s", resp.Status)
	}
	if resp, _ := r.do(http.MethodGet, "/artifacts/quiz", secret, nil); resp.StatusCode != http.StatusTooManyRequests {
		t.Errorf("a path that ends as health's does: %s", resp.Status)
	}
	one := newRates(1)
	for i := range 2 * maxCallers {
		one.take(fmt.Sprint(i))
	}
	if len(one.of) > maxCallers {
		t.Errorf("%d callers are remembered", len(one.of))
	}
}

func TestReadiness(t *testing.T) {
	t.Parallel()
	var failing error
	r := newRig(t, func(c *Config) {
		c.Ready = map[string]Check{"database": func(context.Context) error { return failing }}
	})
	if resp, body := r.do(http.MethodGet, "/readyz", "", nil); resp.StatusCode != http.StatusOK || !strings.Contains(body, `"database":"ok"`) {
		t.Errorf("%s", body)
	}
	failing = faults.New(faults.Remote, "", "canary")
	if resp, body := r.do(http.MethodGet, "/readyz", "", nil); resp.StatusCode != http.StatusServiceUnavailable || strings.Contains(body, "canary") {
		t.Errorf("%s", body)
	}
	if resp, body := r.do(http.MethodGet, "/v1/version", "", nil); resp.StatusCode != http.StatusOK || !strings.Contains(body, `"version":"v1"`) {
		t.Errorf("%s", body)
	}
}

func TestTokens(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	secret := r.token("root", "admin:*")
	resp, body := r.do(http.MethodPost, "/v1/tokens", secret, strings.NewReader(`{"name":"ci","scopes":["build:team/*","promote:team/*->prod"]}`), "Content-Type: application/json")
	made := read[wire.Token](t, body)
	if resp.StatusCode != http.StatusCreated || made.Secret == "" || made.Expires.Before(time.Now()) {
		t.Fatalf("%s", body)
	}
	_, body = r.do(http.MethodGet, "/v1/whoami", made.Secret, nil)
	if who := read[wire.Who](t, body); who.Name != "ci" || strings.Join(who.Scopes, " ") != "build:team/* promote:team/*→prod" {
		t.Errorf("%s", body)
	}
	if _, body := r.do(http.MethodGet, "/v1/tokens", secret, nil); strings.Contains(body, "secret") || len(read[wire.Tokens](t, body).Tokens) != 2 {
		t.Errorf("%s", body)
	}
	if resp, body := r.do(http.MethodDelete, "/v1/tokens/ci", secret, nil); resp.StatusCode != http.StatusOK {
		t.Errorf("%s", body)
	}
	resp, body = r.do(http.MethodGet, "/v1/whoami", made.Secret, nil)
	refused(t, "a revoked token", resp, body, http.StatusUnauthorized, "revoked")
	if text := r.log.String(); !strings.Contains(text, `"audit":"create token"`) || !strings.Contains(text, `"audit":"revoke token"`) || strings.Contains(text, strings.Split(made.Secret, "_")[2]) {
		t.Errorf("%s", text)
	}
}

// A log is read from any offset, and by its steps.
func TestLog(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	secret := r.token("ci", "read:*")
	r.queue.builds = []builds.Build{{ID: "b1", Recipe: "web", State: builds.Building}}
	r.queue.logs[logs.Output] = []byte("one | a\ntwo | b\none | c\n")
	resp, body := r.do(http.MethodGet, "/v1/builds/b1/log?offset=8", secret, nil)
	if body != "two | b\none | c\n" || resp.Header.Get(wire.NextHeader) != "24" || resp.Header.Get(wire.EndHeader) != "false" || resp.Header.Get("Content-Type") != plainText {
		t.Errorf("%q, %v", body, resp.Header)
	}
	if _, body := r.do(http.MethodGet, "/v1/builds/b1/log?step=one", secret, nil); strings.Contains(body, "two") || !strings.Contains(body, "c") {
		t.Errorf("%q", body)
	}
	resp, body = r.do(http.MethodGet, "/v1/builds/b1/log?offset=99", secret, nil)
	refused(t, "an offset behind the end", resp, body, http.StatusNotFound, "offset")
}

// opened is a stream of a build that runs.
func (r *rig) opened(path, secret string, headers ...string) (lines func() string, end func()) {
	r.t.Helper()
	ctx, cancel := context.WithCancel(r.t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.http.URL+path, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+secret)
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	resp, err := r.http.Client().Do(req)
	if err != nil || resp.StatusCode != http.StatusOK {
		r.t.Fatalf("%v, %v", resp, err)
	}
	return func() string {
		data, _ := io.ReadAll(resp.Body)
		return string(data)
	}, func() { cancel(); resp.Body.Close() }
}

// A stream gives whole lines with the offsets to resume from, and the build at its end.
func TestStreams(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	secret := r.token("ci", "read:*")
	r.queue.builds = []builds.Build{{ID: "b1", Recipe: "web", State: builds.Building}}
	rest, end := r.opened("/v1/builds/b1/log/stream", secret)
	defer end()
	r.queue.change(func() { r.queue.logs[logs.Output] = []byte("one | first line\none | se") })
	r.queue.change(func() { r.queue.logs[logs.Output] = append(r.queue.logs[logs.Output], "cond\nno end"...) })
	r.queue.change(func() {
		r.queue.ended = true
		r.queue.builds[0].State = builds.Failed
		r.queue.builds[0].Failure = &builds.Failure{Kind: "build", Message: "canary ampoule_abcdefghij_SECRET"}
	})
	text := rest()
	for _, want := range []string{
		"id: 17\nevent: line\ndata: {\"offset\":0,\"next\":17,\"text\":\"one | first line\\n\"}", "id: 30\nevent: line", "id: 36\nevent: line", "event: end\n", `"exitCode":8`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%s\nhas no %s", text, want)
		}
	}
	if strings.Contains(text, "SECRET") || strings.Contains(text, "id: 0") {
		t.Errorf("%s", text)
	}
	again, end := r.opened("/v1/builds/b1/log/stream?after=3", secret, "Last-Event-ID: 30")
	defer end()
	if text := again(); strings.Contains(text, "first") || !strings.Contains(text, "no end") {
		t.Errorf("resumed: %s", text)
	}
	r.queue.change(func() { r.queue.logs[logs.Progress] = []byte("{\"seq\":1}\nno JSON\n{\"seq\":2}\n") })
	progress, end := r.opened("/v1/builds/b1/progress/stream", secret)
	defer end()
	if text := progress(); strings.Count(text, "event: progress") != 2 || !strings.Contains(text, "id: 28\nevent: progress\ndata: {\"seq\":2}") {
		t.Errorf("%s", text)
	}
	events, end := r.opened("/v1/builds/b1/events/stream", secret, "Last-Event-ID: 1")
	defer end()
	if text := events(); strings.Contains(text, "id: 1\n") || !strings.Contains(text, "id: 3\nevent: event") {
		t.Errorf("%s", text)
	}
}

// A token that is revoked while a stream runs ends the stream, which says why.
func TestTokenRevokedInAStream(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	secret := r.token("ci", "read:*")
	r.queue.builds = []builds.Build{{ID: "b1", Recipe: "web", State: builds.Building}}
	rest, end := r.opened("/v1/builds/b1/log/stream", secret)
	defer end()
	if _, err := r.book.Revoke("ci"); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	if text := rest(); !strings.Contains(text, "event: error") || !strings.Contains(text, "revoked") || strings.Contains(text, "event: end") {
		t.Errorf("%s", text)
	}
	if took := time.Since(begun); took > 4*recheck {
		t.Errorf("it took %s", took)
	}
}

// A server that ends ends its streams, and those of pages, and says that it is not ready.
func TestClosing(t *testing.T) {
	t.Parallel()
	closing, closeAll := context.WithCancel(t.Context())
	seen := make(chan struct{})
	r := newRig(t, func(c *Config) {
		c.Closing = closing
		c.Pages = http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
			<-Closing(req.Context())
			close(seen)
		})
	})
	secret := r.token("ci", "read:*")
	r.queue.builds = []builds.Build{{ID: "b1", Recipe: "web", State: builds.Building}}
	rest, end := r.opened("/v1/builds/b1/log/stream", secret)
	defer end()
	var page sync.WaitGroup
	page.Go(func() { r.do(http.MethodGet, "/", "", nil) })
	defer page.Wait()
	closeAll()
	if text := rest(); strings.Contains(text, "event: end") {
		t.Errorf("%s", text)
	}
	<-seen
	if resp, _ := r.do(http.MethodGet, "/readyz", "", nil); resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("readiness: %s", resp.Status)
	}
	if Closing(t.Context()) != nil {
		t.Error("a context of no request has something that is closed")
	}
}

// There are only so many streams, and who leaves makes room.
func TestManyStreams(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *Config) { c.MaxStreams = 2 })
	secret := r.token("ci", "read:*")
	r.queue.builds = []builds.Build{{ID: "b1", Recipe: "web", State: builds.Building}}
	_, end1 := r.opened("/v1/builds/b1/log/stream", secret)
	defer end1()
	_, end2 := r.opened("/v1/builds/b1/log/stream", secret)
	resp, body := r.do(http.MethodGet, "/v1/builds/b1/log/stream", secret, nil)
	if refused(t, "a third one", resp, body, http.StatusServiceUnavailable, "as many streams"); resp.Header.Get("Retry-After") == "" {
		t.Errorf("%v", resp.Header)
	}
	end2()
	for begun := time.Now(); len(r.server.streams) == 2; time.Sleep(time.Millisecond) {
		if time.Since(begun) > 10*time.Second {
			t.Fatal("the place of one who left is not given to others")
		}
	}
}

// The description that the repository keeps is that of the server.
func TestOpenAPIIsCurrent(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	raw, err := r.server.OpenAPI()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := json.Indent(&out, raw, "", "  "); err != nil {
		t.Fatal(err)
	}
	out.WriteByte('\n')
	file := filepath.Join("..", "..", "docs", "openapi.json")
	if *update {
		if err := os.WriteFile(file, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	kept, err := os.ReadFile(file)
	if err != nil || !bytes.Equal(kept, out.Bytes()) {
		t.Errorf("docs/openapi.json is not current (%v): go test ./service/api -run TestOpenAPIIsCurrent -update", err)
	}
	if resp, body := r.do(http.MethodGet, "/v1/openapi.json", "", nil); resp.StatusCode != http.StatusOK || !strings.Contains(body, `"openapi":"3.1.0"`) {
		t.Errorf("%s: %.200s", resp.Status, body)
	}
	if !strings.Contains(out.String(), `"x-ampoule-scope"`) || !strings.Contains(out.String(), "Idempotency-Key") {
		t.Error("it says nothing of scopes, or of idempotency")
	}
}
