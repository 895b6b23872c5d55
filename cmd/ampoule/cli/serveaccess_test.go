package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ampoule/faults"
	"ampoule/recipes"
	"ampoule/recipes/catalogue"
	"ampoule/service/access/issuers/issuertest"
	"ampoule/service/builds"
	"ampoule/service/queue"
	"ampoule/service/submission"
	"ampoule/service/wire"
)

// ruled starts a service that believes an issuer.
func ruled(t *testing.T, p *issuertest.Provider, run made) *aService {
	t.Helper()
	dir := t.TempDir()
	text := fmt.Sprintf(`apiVersion: ampoule/v1
issuers:
- name: ci
  url: %s
  audience: ampoule
  login: {client: %s, secret-file: secret, title: Example}
rules:
- issuer: ci
  match: {repository_id: 42, ref: refs/heads/main, ref_protected: "true"}
  scopes: ["build:*", "pull:web"]
  builds: trusted
- issuer: ci
  match: {repository_id: 42}
  scopes: ["build:*"]
- issuer: ci
  match: {groups: ops}
  scopes: ["admin:*", "build:*"]
  builds: trusted
`, p.URL, issuertest.Client)
	for name, text := range map[string]string{"access.yaml": text, "secret": issuertest.Secret} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return startServiceIn(t, t.TempDir(), "", run, func(o *serving) { o.access = filepath.Join(dir, "access.yaml") })
}

// asks sends a request with a token.
func (a *aService) asks(method, path, token string, body io.Reader) (int, string) {
	a.t.Helper()
	req, err := http.NewRequestWithContext(a.t.Context(), method, a.url+path, body)
	if err != nil {
		a.t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/gzip")
	}
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		a.t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		a.t.Fatal(err)
	}
	return answer.StatusCode, string(text)
}

// packedQuickstart is the archive of a recipe of the catalogue.
func packedQuickstart(t *testing.T) []byte {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "quickstart")
	files, err := catalogue.Open("quickstart")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(dir, files); err != nil {
		t.Fatal(err)
	}
	r, err := recipes.ReadRecipe(filepath.Join(dir, "ampoule.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	set, err := recipes.ReadRequirements(r)
	if err != nil {
		t.Fatal(err)
	}
	a, err := submission.Pack(submission.Input{Recipe: r, Requirements: set})
	if err != nil {
		t.Fatal(err)
	}
	return a.Data
}

func decoded[T any](t *testing.T, text string) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return v
}

// A token of an issuer decides what its sender may do, and whether the worker may write caches for it. The
// audit log names issuer and subject. Nothing that is secret is in the log.
func TestServeIssuers(t *testing.T) {
	t.Parallel()
	p := issuertest.New(t)
	trusted := make(chan bool, 2)
	a := ruled(t, p, func(_ context.Context, job queue.Job) (builds.Result, error) {
		trusted <- job.Build.Trusted
		return builds.Result{}, faults.New(faults.Build, "", "nothing is built here")
	})
	admin := a.makeToken("admin", "admin:*")
	main := p.Token(p.Claims("ampoule", map[string]any{"sub": "repo:team/app:ref:refs/heads/main", "repository_id": "42", "ref": "refs/heads/main", "ref_protected": true}))
	branch := p.Token(p.Claims("ampoule", map[string]any{"sub": "repo:team/app:ref:refs/heads/x", "repository_id": "42", "ref": "refs/heads/x", "ref_protected": false}))
	archive := packedQuickstart(t)
	for _, test := range []struct {
		name, token string
		trusted     bool
	}{{"ci:repo:team/app:ref:refs/heads/main", main, true}, {"ci:repo:team/app:ref:refs/heads/x", branch, false}} {
		status, text := a.asks(http.MethodGet, "/v1/whoami", test.token, nil)
		if who := decoded[wire.Who](t, text); status != http.StatusOK || who.Name != test.name || who.Trusted != test.trusted || who.Issuer != p.URL || who.Expires.IsZero() {
			t.Errorf("%d %s", status, text)
		}
		status, text = a.asks(http.MethodPost, "/v1/builds", test.token, bytes.NewReader(archive))
		if got := decoded[wire.Submitted](t, text); status != http.StatusAccepted || got.Build.Trusted != test.trusted || got.Build.Caller != test.name {
			t.Fatalf("%d %s", status, text)
		}
		select {
		case got := <-trusted:
			if got != test.trusted {
				t.Errorf("%s: the worker is told that the build is trusted: %t", test.name, got)
			}
		case <-time.After(time.Minute):
			t.Fatal("nobody builds")
		}
	}
	for name, test := range map[string]struct {
		token  string
		status int
		want   string
	}{
		"another audience": {p.Token(p.Claims("elsewhere", nil)), http.StatusUnauthorized, "and not for this service"},
		"no rule":          {p.Token(p.Claims("ampoule", map[string]any{"repository_id": "43", "repository": "team/app"})), http.StatusForbidden, "no rule of this service admits ci:somebody"},
		"forged":           {p.Forged("HS256", p.Claims("ampoule", nil)), http.StatusUnauthorized, "not HS256"},
	} {
		if status, text := a.asks(http.MethodGet, "/v1/builds", test.token, nil); status != test.status || !strings.Contains(text, test.want) {
			t.Errorf("%s: %d %s", name, status, text)
		}
	}
	if text := a.errs.String(); !strings.Contains(text, "rules[1] wants another repository_id") {
		t.Errorf("the log does not say which claim a rule wants otherwise: %s", text)
	}
	// The registry beside it takes the same tokens, and says which scope is missing.
	for _, test := range []struct {
		token, want string
		status      int
	}{{main, `"name":"web"`, http.StatusOK}, {branch, "it needs the scope pull:web", http.StatusForbidden}, {admin, "it needs the scope pull:web", http.StatusForbidden}} {
		if status, text := a.asks(http.MethodGet, "/v2/web/tags/list", test.token, nil); status != test.status || !strings.Contains(text, test.want) {
			t.Errorf("registry: %d %s, want %s", status, text, test.want)
		}
	}
	if status, text := a.asks(http.MethodGet, "/v1/audit?caller=ci:repo:team/app:ref:refs/heads/main", admin, nil); status != http.StatusOK {
		t.Errorf("%d %s", status, text)
	} else if page := decoded[wire.Audit](t, text); len(page.Entries) != 1 || page.Entries[0].Action != "submit-build" || page.Entries[0].Issuer != p.URL || page.Entries[0].Subject != "repo:team/app:ref:refs/heads/main" || page.Entries[0].Client != "127.0.0.1" {
		t.Errorf("%s", text)
	}
	if status, text := a.asks(http.MethodGet, "/v1/audit", main, nil); status != http.StatusForbidden || !strings.Contains(text, "admin") {
		t.Errorf("the audit log for somebody who builds: %d %s", status, text)
	}
	for _, secret := range append(p.Given(), admin) {
		if strings.Contains(a.errs.String(), secret) {
			t.Errorf("the log has %s", secret)
		}
	}
}

// An issuer that is away stops nobody who has a token of the service.
func TestServeIssuerAway(t *testing.T) {
	t.Parallel()
	p := issuertest.New(t)
	p.Away(true)
	a := ruled(t, p, func(context.Context, queue.Job) (builds.Result, error) { return builds.Result{}, nil })
	token := p.Token(p.Claims("ampoule", map[string]any{"repository_id": "42"}))
	for _, path := range []string{"/v1/whoami", "/v2/web/tags/list", "/metrics"} {
		if status, text := a.asks(http.MethodGet, path, token, nil); status != http.StatusServiceUnavailable || !strings.Contains(text, "issuer ci cannot be asked") {
			t.Errorf("%s: %d %s", path, status, text)
		}
	}
	if status, text := a.asks(http.MethodGet, "/login/ci", "", nil); status != http.StatusServiceUnavailable || !strings.Contains(text, "Your token") {
		t.Errorf("logging in: %d %s", status, text)
	}
	if status, text := a.asks(http.MethodGet, "/v1/whoami", a.makeToken("ci", "read:*"), nil); status != http.StatusOK {
		t.Errorf("a token of the service: %d %s", status, text)
	}
}

// A person logs in at the pages by an issuer, in a browser that keeps cookies, and is in the access log
// and in the audit log by name.
func TestServeLogin(t *testing.T) {
	t.Parallel()
	p := issuertest.New(t)
	a := ruled(t, p, func(context.Context, queue.Job) (builds.Result, error) { return builds.Result{}, nil })
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	browser := &http.Client{Jar: jar}
	get := func(path string) (int, string, http.Header) {
		t.Helper()
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, a.url+path, nil)
		answer, err := browser.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		return answer.StatusCode, string(text), answer.Header
	}
	if status, text, _ := get("/audit"); status != http.StatusOK || !strings.Contains(text, "Log in with Example") {
		t.Fatalf("%d %s", status, text)
	}
	p.User(map[string]any{"sub": "0043", "groups": []string{"guests"}})
	if status, text, _ := get("/login/ci?next=/audit"); status != http.StatusForbidden || !strings.Contains(text, "no rule of this service admits ci:0043") {
		t.Errorf("a guest: %d %s", status, text)
	}
	p.User(map[string]any{"sub": "0042", "groups": []string{"ops", "guests"}})
	status, text, header := get("/login/ci?next=/audit")
	if status != http.StatusOK || header.Get("Refresh") != "0; url=/audit" {
		t.Fatalf("%d %v %s", status, header, text)
	}
	if status, text, _ = get("/audit"); status != http.StatusOK || !strings.Contains(text, "login") || !strings.Contains(text, "ci:0042") || !strings.Contains(text, "0042") {
		t.Errorf("%d %s", status, text)
	}
	_, form, _ := strings.Cut(text, `name="form" value="`)
	form, _, _ = strings.Cut(form, `"`)
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, a.url+"/logout", strings.NewReader(url.Values{"form": {form}}.Encode()))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	answer, err := browser.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if _, text, _ := get("/audit"); !strings.Contains(text, "Log in with Example") {
		t.Errorf("logged out: %s", text)
	}
	log := a.errs.String()
	if !strings.Contains(log, `"caller":"ci:0042"`) || !strings.Contains(log, `"path":"/login/ci/callback"`) {
		t.Errorf("the access log does not name who looks at pages: %s", log)
	}
	secrets := p.Given()
	at, _ := url.Parse(a.url)
	for _, c := range jar.Cookies(at) {
		secrets = append(secrets, c.Value)
	}
	if len(secrets) < 8 {
		t.Errorf("only %d secrets were there", len(secrets))
	}
	for _, secret := range secrets {
		if secret != "" && strings.Contains(log, secret) {
			t.Errorf("the log has %s", secret)
		}
	}
}

// What is written to the registry and removed there is in the audit log, and in the access log with its
// caller.
func TestServeRecordsTheRegistry(t *testing.T) {
	t.Parallel()
	a := startService(t, t.TempDir(), func(context.Context, queue.Job) (builds.Result, error) { return builds.Result{}, nil })
	admin, pusher := a.makeToken("admin", "admin:*"), a.makeToken("pusher", "push:team/*")
	put := func(path, manifest string) int {
		t.Helper()
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodPut, a.url+path, strings.NewReader(manifest))
		req.Header.Set("Authorization", "Bearer "+pusher)
		req.Header.Set("Content-Type", "application/vnd.oci.image.index.v1+json")
		answer, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		return answer.StatusCode
	}
	const index = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`
	if status := put("/v2/team/web/manifests/v1", index); status != http.StatusCreated {
		t.Fatal(status)
	}
	if status := put("/v2/web/manifests/v1", index); status != http.StatusForbidden {
		t.Fatal(status)
	}
	_, text := a.asks(http.MethodGet, "/v1/audit?caller=pusher", admin, nil)
	page := decoded[wire.Audit](t, text)
	if len(page.Entries) != 2 || page.Entries[0].Result != "refused" || page.Entries[1].Result != "done" || page.Entries[1].Action != "registry-write" || page.Entries[1].Target != "/v2/team/web/manifests/v1" {
		t.Errorf("%s", text)
	}
	if log := a.errs.String(); !strings.Contains(log, `"caller":"pusher"`) || strings.Contains(log, pusher) {
		t.Errorf("%s", log)
	}
}

// A service does not start with an access file that is wrong.
func TestServeWrongAccess(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "access.yaml")
	if err := os.WriteFile(file, []byte("apiVersion: ampoule/v1\nissuers: []\nrulez: []\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	s := &Session{In: strings.NewReader(""), Out: &out, Err: &errs, Environ: []string{"HOME=" + t.TempDir()}}
	if code := Main(s, []string{"serve", "--data", t.TempDir(), "--listen", "127.0.0.1:0", "--access", file, "--no-worker"}); code != 3 || !strings.Contains(errs.String(), "access.yaml:3:1") {
		t.Errorf("%d %s", code, errs.String())
	}
}
