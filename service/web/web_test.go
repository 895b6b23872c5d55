package web_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"ampoule/faults"
	"ampoule/service/web"
	"ampoule/service/web/webtest"
)

// visitor is a browser without a script.
type visitor struct {
	t       testing.TB
	server  *httptest.Server
	cookies map[string]string
	client  *http.Client
}

// visit serves a service's pages, and logs in with a token where it is not empty.
func visit(t testing.TB, s *webtest.Service, token string) *visitor {
	t.Helper()
	return visitPages(t, s.Config(), token)
}

func visitPages(t testing.TB, c web.Config, token string) *visitor {
	t.Helper()
	pages, err := web.New(c)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(pages)
	t.Cleanup(server.Close)
	v := &visitor{t: t, server: server, cookies: map[string]string{}, client: &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	if token != "" {
		v.login(token)
	}
	return v
}

func (v *visitor) login(token string) {
	v.t.Helper()
	answer := v.post("/login", url.Values{"token": {token}, "next": {"/builds"}})
	if answer.StatusCode != http.StatusSeeOther || answer.Header.Get("Location") != "/builds" {
		v.t.Fatalf("logging in: %s, to %q", answer.Status, answer.Header.Get("Location"))
	}
}

func (v *visitor) do(req *http.Request) *http.Response {
	v.t.Helper()
	for name, value := range v.cookies {
		req.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	answer, err := v.client.Do(req)
	if err != nil {
		v.t.Fatal(err)
	}
	for _, c := range answer.Cookies() {
		v.cookies[c.Name] = c.Value
	}
	return answer
}

// get asks for a page and returns its body.
func (v *visitor) get(path string) (int, string) {
	v.t.Helper()
	req, _ := http.NewRequestWithContext(v.t.Context(), http.MethodGet, v.server.URL+path, nil)
	answer := v.do(req)
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		v.t.Fatal(err)
	}
	return answer.StatusCode, string(body)
}

// form is what a page's forms send back.
func (v *visitor) form(page string) string {
	v.t.Helper()
	_, body := v.get(page)
	_, rest, ok := strings.Cut(body, `name="form" value="`)
	if !ok {
		v.t.Fatalf("page %s has no form", page)
	}
	value, _, _ := strings.Cut(rest, `"`)
	return value
}

// post sends a form as a page of the service has it.
func (v *visitor) post(path string, values url.Values) *http.Response {
	v.t.Helper()
	from := "/builds"
	if path == "/login" {
		from = "/login"
	}
	values.Set("form", v.form(from))
	return v.postRaw(path, values, nil)
}

func (v *visitor) postRaw(path string, values url.Values, header http.Header) *http.Response {
	v.t.Helper()
	req, _ := http.NewRequestWithContext(v.t.Context(), http.MethodPost, v.server.URL+path, strings.NewReader(values.Encode()))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for name := range header {
		req.Header.Set(name, header.Get(name))
	}
	answer := v.do(req)
	v.t.Cleanup(func() { answer.Body.Close() })
	return answer
}

// faultsOf lists what a page must not have: what would run or look otherwise than the service's own
// files say, and fields without a name.
func faultsOf(text string) []string {
	doc, err := html.Parse(strings.NewReader(text))
	if err != nil {
		return []string{err.Error()}
	}
	var found []string
	ids := map[string]bool{}
	for n := range doc.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		attr := map[string]string{}
		for _, a := range n.Attr {
			attr[a.Key] = a.Val
			switch {
			case strings.HasPrefix(a.Key, "on"), a.Key == "style":
				found = append(found, fmt.Sprintf("<%s> has %s=%q", n.Data, a.Key, a.Val))
			case (a.Key == "href" || a.Key == "src" || a.Key == "action") && !strings.HasPrefix(a.Val, "/") && !strings.HasPrefix(a.Val, "#") && !strings.HasPrefix(a.Val, "?"):
				found = append(found, fmt.Sprintf("<%s> leads to %q", n.Data, a.Val))
			}
		}
		switch n.Data {
		case "style", "iframe", "object", "embed", "base":
			found = append(found, "there is a <"+n.Data+">")
		case "script":
			if attr["src"] == "" || n.FirstChild != nil {
				found = append(found, "a script stands in the page")
			}
		case "img":
			if _, ok := attr["alt"]; !ok {
				found = append(found, "an image has no alt")
			}
		}
		if id := attr["id"]; id != "" && ids[id] {
			found = append(found, "two elements have the id "+id)
		} else {
			ids[id] = true
		}
	}
	return found
}

// addresses lists where a page's links and forms without a body lead.
func addresses(text string) []string {
	doc, err := html.Parse(strings.NewReader(text))
	if err != nil {
		return nil
	}
	var all []string
	for n := range doc.Descendants() {
		for _, a := range n.Attr {
			if n.Type == html.ElementNode && (a.Key == "href" || a.Key == "src") {
				all = append(all, a.Val)
			}
		}
	}
	return all
}

// TestEveryPage walks all that links lead to, and wants each page to be there, and to have nothing
// that would run.
func TestEveryPage(t *testing.T) {
	t.Parallel()
	v := visit(t, webtest.Example(), webtest.TokenAll)
	todo, seen := []string{"/", "/hosts", "/diff", "/login"}, map[string]int{}
	for len(todo) > 0 {
		at := todo[0]
		todo = todo[1:]
		at, _, _ = strings.Cut(at, "#")
		if _, known := seen[at]; known || at == "" {
			continue
		}
		if strings.HasPrefix(at, "/login/") {
			continue // it leads away, to where people log in
		}
		status, body := v.get(at)
		seen[at] = status
		if status != http.StatusOK && (at != "/" || status != http.StatusSeeOther) && !strings.Contains(at, "sha256") {
			t.Errorf("%s: status %d", at, status)
		}
		if strings.HasPrefix(at, "/static/") || strings.HasSuffix(at, ".txt") || strings.HasPrefix(at, "/bills/") {
			continue
		}
		for _, fault := range faultsOf(body) {
			t.Errorf("%s: %s", at, fault)
		}
		for _, to := range addresses(body) {
			u, err := url.Parse(to)
			if err != nil {
				t.Errorf("%s: %v", at, err)
				continue
			}
			base, _ := url.Parse(at)
			todo = append(todo, base.ResolveReference(u).RequestURI())
		}
	}
	for _, want := range []string{"/builds/", "/builds/" + webtest.Broken + "/log", "/artifacts/web@", "/bills/web@", "/diff?", "/channels/web:prod", "/hosts", "/recipes/payments/api", "/workers", "/audit?before=", "/audit?caller=", "/static/style.css?", "/builds?before="} {
		if !slices.ContainsFunc(slices.Collect(func(yield func(string) bool) {
			for at, status := range seen {
				if status == http.StatusOK && !yield(at) {
					return
				}
			}
		}), func(at string) bool {
			return strings.HasPrefix(at, want) || want == "/builds?before=" && strings.Contains(at, "before=")
		}) {
			t.Errorf("no link leads to %s", want)
		}
	}
}

// TestStates wants each state of what is shown to stand on its page in words.
func TestStates(t *testing.T) {
	t.Parallel()
	v := visit(t, webtest.Example(), webtest.TokenAll)
	artifact := "/artifacts/web@" + webtest.Digest(20)
	for _, test := range []struct {
		page string
		want []string
	}{
		{"/builds", []string{"Queued", "Building", "Fetching", "Failed", "Done", "Cancelled", "2 followers", "attempt 2", "pg_config is missing", "(untrusted)", "Older builds"}},
		{"/builds?state=failed", []string{"payments/api", "All builds"}},
		{"/builds?recipe=nothing", []string{"No build is like that"}},
		{"/builds/" + webtest.Running, []string{"numpy==2.3.1", "211 of 388", "Reused", "from the cache registry.example/cache", "Waiting", "has most of them", "Cancel", "followed by 2 more", `data-live="/builds/` + webtest.Running + `/events"`}},
		{"/builds/" + webtest.Broken, []string{"It failed", "libpq-dev", "Try again", "To the error in the log"}},
		{"/builds/" + webtest.Waiting, []string{"It waits for a worker", "none yet", "The list of inputs is made when the build begins"}},
		{"/builds/" + webtest.Stopped, []string{"No step of it ran"}},
		{"/builds/" + webtest.Finished, []string{"/artifacts/web@sha256:", "Python-3.13.5.tar.xz"}},
		{"/builds/" + webtest.Broken + "/log", []string{"Jump to the error, line 5", "warning: unused variable", `class="wrong"`}},
		{"/builds/" + webtest.Broken + "/log?q=PG_CONFIG", []string{"2 lines have", "pg_config executable"}},
		{"/builds/" + webtest.Stopped + "/log", []string{"There is no log"}},
		{"/builds/" + webtest.Waiting + "/log", []string{"Nothing was written yet", "data-log="}},
		{artifact, []string{"Passed the gate", "docker run --rm registry.example/web@sha256:", "ampoule install registry.example/web@", "pip install --no-index", "uv pip install", "CPython", "numpy", "libssl3", "numpy chooses at run time", "https://slsa.dev/provenance/v1", "Unreadable", "judged by nobody", "Compare with"}},
		{"/artifacts/payments/api@" + webtest.Digest(23), []string{"No verdict", "Not everything could be read", "no: trained while it was built", "No bill of materials", "Nobody has signed it"}},
		{"/artifacts?name=nothing", []string{"No artifact has that name"}},
		{"/diff?a=web@" + webtest.Digest(21) + "&b=web@" + webtest.Digest(20), []string{"numpy", "added", "removed", "changed", "SSL_get0_group_name", "−1.8 MiB"}},
		{"/diff?a=web@" + webtest.Digest(21) + "&b=web@" + webtest.Digest(21), []string{"They are the same"}},
		{"/channels", []string{"Open", "Frozen", "Revoked", "Refused", "Empty", "3 of 6 hosts run it", "promote-9 is none of the root"}},
		{"/channels/web:prod", []string{"ben has; one more is missing", "Missing", "Met", "Promote to prod", "Roll back to", "Approve", "glass broken", "passed over: ", "approved by ben, cleo", "Fell back"}},
		{"/channels/payments/api:prod", []string{"The channel is frozen", "the audit is on until Friday"}},
		{"/channels/shop/search:prod", []string{"is revoked", "CVE in a carried library"}},
		{"/channels/shop/search:next", []string{"Nothing was promoted yet"}},
		{"/channels/shop/prices:prod", []string{"Nothing of this channel's log is believed", "Nothing is shown of a log that is not believed."}},
		{"/hosts", []string{"Current", "Behind", "Watching", "Fell back", "Stale", "Silent", "Failed", "connection refused"}},
		{"/recipes", []string{"payments/api", "2 builds, 1 failed"}},
		{"/recipes/payments/api", []string{"Artifacts", "Builds", "Channels"}},
		{"/audit", []string{"Done", "Refused", "Failed", "Begun", "the audit is on until Friday", "sso:ann@example.org", "from 203.0.113.9", "repo:payments/api:ref:refs/heads/main", "Older changes", `aria-current="page">Audit`}},
		{"/audit?result=failed", []string{"it leaks", "All changes"}},
		{"/audit?target=nothing", []string{"No change is like that"}},
		{"/workers", []string{"Busy", "Idle", "Draining", "Lost", "1 of 2 places taken", "large"}},
	} {
		status, body := v.get(test.page)
		if status != http.StatusOK {
			t.Errorf("%s: status %d", test.page, status)
		}
		for _, want := range test.want {
			if !strings.Contains(body, want) {
				t.Errorf("%s: nothing says %q", test.page, want)
			}
		}
	}
}

func TestNothingThereYet(t *testing.T) {
	t.Parallel()
	s := webtest.Empty()
	v := visit(t, s, webtest.TokenAll)
	for page, want := range map[string]string{
		"/builds": "Nothing was built here yet", "/artifacts": "Nothing is published yet", "/channels": "There is no channel yet",
		"/hosts": "No host has reported yet", "/recipes": "No recipe was built yet", "/workers": "No worker has come", "/audit": "Nobody has changed anything yet", "/diff": "There is nothing to compare yet",
	} {
		if status, body := v.get(page); status != http.StatusOK || !strings.Contains(body, want) || len(faultsOf(body)) > 0 {
			t.Errorf("%s: status %d, %v; want %q", page, status, faultsOf(body), want)
		}
	}
}

func TestErrorPages(t *testing.T) {
	t.Parallel()
	var reported []error
	c := webtest.Example().Config()
	c.Report = func(_ context.Context, err error) { reported = append(reported, err) }
	c.Recipes = brokenRecipes{webtest.Example()}
	v := visitPages(t, c, webtest.TokenAll)
	for _, test := range []struct {
		page   string
		status int
		want   string
	}{
		{"/nowhere", http.StatusNotFound, "there is no such page"},
		{"/builds/none", http.StatusNotFound, "build none: not found"},
		{"/builds/" + webtest.Running + "/log?from=x", http.StatusBadRequest, "is no number"},
		{"/audit?result=x", http.StatusBadRequest, "is no result of a change"},
		{"/login/nowhere", http.StatusNotFound, "nobody logs in that way"},
		{"/builds?state=x", http.StatusBadRequest, "is no state of a build"},
		{"/artifacts/web", http.StatusNotFound, "not found"},
		{"/artifacts/web@sha256:12", http.StatusNotFound, "not found"},
		{"/artifacts/web@" + webtest.Digest(99), http.StatusNotFound, "not found"},
		{"/diff?a=web@" + webtest.Digest(20), http.StatusBadRequest, "nothing to compare it with"},
		{"/channels/web", http.StatusNotFound, "not found"},
		{"/channels/web:none", http.StatusNotFound, "not found"},
		{"/recipes/..%2f..", http.StatusNotFound, "not found"},
		{"/recipes", http.StatusInternalServerError, "Nobody foresaw it"},
	} {
		status, body := v.get(test.page)
		if status != test.status || !strings.Contains(body, test.want) || len(faultsOf(body)) > 0 {
			t.Errorf("%s: status %d, want %d and %q; %v", test.page, status, test.status, test.want, faultsOf(body))
		}
		if strings.Contains(body, "disk of db-7") {
			t.Errorf("%s tells of the machine", test.page)
		}
	}
	if len(reported) != 1 || !strings.Contains(reported[0].Error(), "disk of db-7") {
		t.Errorf("reported %v", reported)
	}
}

// brokenRecipes fail in a way that nobody foresaw.
type brokenRecipes struct{ *webtest.Service }

func (brokenRecipes) Recipes(context.Context) ([]web.Recipe, error) {
	return nil, fmt.Errorf("reading the disk of db-7")
}

func TestHeaders(t *testing.T) {
	t.Parallel()
	c := webtest.Example().Config()
	c.Secure = true
	v := visitPages(t, c, "")
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, v.server.URL+"/login", nil)
	answer := v.do(req)
	answer.Body.Close()
	for name, want := range map[string]string{
		"Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
		"X-Content-Type-Options":  "nosniff", "Cache-Control": "no-store", "X-Frame-Options": "DENY", "Strict-Transport-Security": "max-age=31536000",
		"Content-Type": "text/html; charset=utf-8",
	} {
		if got := answer.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	for _, c := range answer.Cookies() {
		if !strings.HasPrefix(c.Name, "__Host-") || !c.HttpOnly || !c.Secure || c.SameSite != http.SameSiteStrictMode || c.Path != "/" || c.Domain != "" {
			t.Errorf("cookie %v", c)
		}
	}
	if len(answer.Cookies()) != 1 {
		t.Errorf("%d cookies", len(answer.Cookies()))
	}
}

// TestScopes walks all routes: nobody without the scope is served.
func TestScopes(t *testing.T) {
	t.Parallel()
	s := webtest.Example()
	nobody, reader, shop := visit(t, s, ""), visit(t, s, webtest.TokenRead), visit(t, s, webtest.TokenShop)
	routes := web.Routes(t, s.Config())
	if len(routes) < 20 {
		t.Fatalf("%d routes", len(routes))
	}
	fill := strings.NewReplacer("{id}", webtest.Running, "{name...}", "web", "{$}", "")
	for pattern, scope := range routes {
		method, path, _ := strings.Cut(pattern, " ")
		ref := "web@" + webtest.Digest(20)
		if strings.Contains(path, "channel") || method == http.MethodPost {
			ref = "web:prod"
		}
		path = strings.ReplaceAll(fill.Replace(path), "{ref...}", ref)
		if scope == "" {
			if !slices.Contains([]string{"/", "/login", "/logout", "/login/{way}", "/login/{way}/callback"}, path) {
				t.Errorf("%s is open to all", pattern)
			}
			continue
		}
		ask := func(v *visitor) (int, string) {
			if method == http.MethodGet {
				return v.get(path)
			}
			form := url.Values{"digest": {webtest.Digest(20)}, "reason": {"x"}}
			if v != nobody {
				form.Set("form", v.form("/builds"))
			}
			answer := v.postRaw(path, form, nil)
			body, _ := io.ReadAll(answer.Body)
			return answer.StatusCode, string(body)
		}
		status, body := ask(nobody)
		if status != http.StatusSeeOther && status != http.StatusUnauthorized && status != http.StatusForbidden || strings.Contains(body, "numpy") {
			t.Errorf("%s without a token: status %d", pattern, status)
		}
		if scope != web.Read {
			if status, _ := ask(reader); status != http.StatusForbidden {
				t.Errorf("%s with the scope read: status %d", pattern, status)
			}
		}
		if path != strings.SplitN(pattern, " ", 2)[1] && !strings.Contains(path, "/recipes/web/") {
			if status, _ := ask(shop); status != http.StatusNotFound {
				t.Errorf("%s of web, with a token for shop/*: status %d", pattern, status)
			}
		}
	}
	if asked := s.Asked(); len(asked) > 0 {
		t.Errorf("done without a scope: %v", asked)
	}
	_, body := shop.get("/builds")
	if strings.Contains(body, "payments/api") || !strings.Contains(body, "shop/search") {
		t.Error("a token for shop/* lists other builds, or not its own")
	}
	if _, body := reader.get("/channels/web:prod"); strings.Contains(body, "Promote to prod") || strings.Contains(body, "Roll back to") {
		t.Error("who may read is shown what only others may do")
	}
}

func TestForms(t *testing.T) {
	t.Parallel()
	s := webtest.Example()
	v := visit(t, s, webtest.TokenAll)
	for _, test := range []struct {
		path, to, asked string
		values          url.Values
	}{
		{"/builds/" + webtest.Running + "/cancel", "/builds/" + webtest.Running + "?done=cancelled", "ann cancel " + webtest.Running, url.Values{}},
		{"/builds/" + webtest.Broken + "/retry", "/builds/" + webtest.Broken + "?done=retried", "ann retry " + webtest.Broken, url.Values{}},
		{"/promote/web:prod", "/channels/web:prod?done=promoted", "ann promote web:prod " + webtest.Digest(20) + " release 42", url.Values{"digest": {webtest.Digest(20)}, "reason": {" release 42 "}}},
		{"/rollback/web:prod", "/channels/web:prod?done=rolled", "ann rollback web:prod " + webtest.Digest(22) + " it leaks", url.Values{"digest": {webtest.Digest(22)}, "reason": {"it leaks"}}},
		{"/approve/payments/api:prod", "/channels/payments/api:prod?done=approved", "ann approve payments/api:prod " + webtest.Digest(23), url.Values{"digest": {webtest.Digest(23)}}},
	} {
		before := len(s.Asked())
		for name, header := range map[string]http.Header{"no form": nil, "another site": {"Sec-Fetch-Site": {"cross-site"}}} {
			values := url.Values{}
			if header != nil {
				values.Set("form", v.form("/builds"))
			}
			for k, v := range test.values {
				values[k] = v
			}
			if answer := v.postRaw(test.path, values, header); answer.StatusCode != http.StatusForbidden {
				t.Errorf("%s, %s: %s", test.path, name, answer.Status)
			}
		}
		if n := len(s.Asked()); n != before {
			t.Fatalf("%s: done for a form that is not ours", test.path)
		}
		answer := v.post(test.path, test.values)
		if answer.StatusCode != http.StatusSeeOther || answer.Header.Get("Location") != test.to {
			t.Errorf("%s: %s to %q, want %q", test.path, answer.Status, answer.Header.Get("Location"), test.to)
		}
		if asked := s.Asked(); asked[len(asked)-1] != test.asked {
			t.Errorf("%s asked %q, want %q", test.path, asked[len(asked)-1], test.asked)
		}
		if status, body := v.get(test.to); status != http.StatusOK || !strings.Contains(body, `role="status"`) {
			t.Errorf("%s: status %d, or nothing says what was done", test.to, status)
		}
	}
}

// TestRefusedMove wants the channel's page to say why a promotion is refused, and what to do.
func TestRefusedMove(t *testing.T) {
	t.Parallel()
	s := webtest.Example()
	s.Refuse = faults.New(faults.Refused, "wait until tomorrow", "the rules of channel web:prod: one more must approve")
	v := visit(t, s, webtest.TokenAll)
	answer := v.post("/promote/web:prod", url.Values{"digest": {webtest.Digest(20)}})
	body, _ := io.ReadAll(answer.Body)
	if answer.StatusCode != http.StatusForbidden || !strings.Contains(string(body), "one more must approve") || !strings.Contains(string(body), "wait until tomorrow") || !strings.Contains(string(body), "Roll back") {
		t.Errorf("%s: %s", answer.Status, body)
	}
	for name, values := range map[string]url.Values{"no digest": {"digest": {"x"}}, "no reason": {"digest": {webtest.Digest(22)}}} {
		if answer := v.post("/rollback/web:prod", values); answer.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %s", name, answer.Status)
		}
	}
	if answer := v.post("/promote/web:prod", url.Values{"reason": {strings.Repeat("x", 70<<10)}}); answer.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("a large form: %s", answer.Status)
	}
}

func TestLogin(t *testing.T) {
	t.Parallel()
	s := webtest.Example()
	v := visit(t, s, "")
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, v.server.URL+"/channels/web:prod?x=1", nil)
	if answer := v.do(req); answer.Header.Get("Location") != "/login?next=%2Fchannels%2Fweb%3Aprod%3Fx%3D1" {
		t.Errorf("without a token: %s to %q", answer.Status, answer.Header.Get("Location"))
	}
	for _, token := range []string{"", "wrong", webtest.TokenAll + "x"} {
		answer := v.post("/login", url.Values{"token": {token}})
		body, _ := io.ReadAll(answer.Body)
		if answer.StatusCode != http.StatusUnauthorized || !strings.Contains(string(body), "does not count here") || token != "" && strings.Contains(string(body), token) {
			t.Errorf("token %q: %s, or the page repeats it", token, answer.Status)
		}
	}
	for next, want := range map[string]string{"/hosts": "/hosts", "": "/builds", "https://evil.example/": "/builds", "//evil.example": "/builds", `/\evil.example`: "/builds", "/login": "/builds", "/builds/events": "/builds", "javascript:alert(1)": "/builds"} {
		if answer := v.post("/login", url.Values{"token": {webtest.TokenAll}, "next": {next}}); answer.Header.Get("Location") != want {
			t.Errorf("next %q leads to %q, want %q", next, answer.Header.Get("Location"), want)
		}
		if value := v.cookies["ampoule-session"]; value == "" || strings.Contains(value, webtest.TokenAll) {
			t.Errorf("the cookie is %q", value)
		}
		v.post("/logout", url.Values{})
		if status, _ := v.get("/builds"); status != http.StatusSeeOther {
			t.Errorf("logged out: status %d", status)
		}
		delete(v.cookies, "ampoule-session")
	}
	v.login(webtest.TokenAll)
	s.Revoke(webtest.TokenAll)
	if status, _ := v.get("/builds"); status != http.StatusSeeOther {
		t.Errorf("with a revoked token: status %d", status)
	}
}

// TestSessionEnds wants neither an old cookie nor a changed one to be anybody's.
func TestSessionEnds(t *testing.T) {
	t.Parallel()
	c := webtest.Example().Config()
	now := webtest.Now
	c.Now = func() time.Time { return now }
	v := visitPages(t, c, webtest.TokenAll)
	good := v.cookies["ampoule-session"]
	for name, value := range map[string]string{"changed": "A" + good[1:], "cut": good[:20], "empty": "", "no base64": "%%%"} {
		v.cookies["ampoule-session"] = value
		if status, _ := v.get("/builds"); status != http.StatusSeeOther && value != good {
			t.Errorf("%s: status %d", name, status)
		}
	}
	v.cookies["ampoule-session"] = good
	if status, _ := v.get("/builds"); status != http.StatusOK {
		t.Errorf("the cookie itself: status %d", status)
	}
	now = now.Add(13 * time.Hour)
	if status, _ := v.get("/builds"); status != http.StatusSeeOther {
		t.Errorf("after 13 hours: status %d", status)
	}
	if _, err := web.New(web.Config{Key: []byte("short")}); err == nil {
		t.Error("a short key seals sessions")
	}
}

// elsewhere notes what it is asked for.
type elsewhere struct {
	*webtest.Service
	asked []string
}

func (e *elsewhere) Artifact(ctx context.Context, ref string) (web.Artifact, error) {
	e.asked = append(e.asked, ref)
	return e.Service.Artifact(ctx, ref)
}

func (e *elsewhere) Bill(ctx context.Context, ref string) ([]byte, error) {
	e.asked = append(e.asked, ref)
	return e.Service.Bill(ctx, ref)
}

func (e *elsewhere) Channel(ctx context.Context, repository, name string) (web.Channel, error) {
	e.asked = append(e.asked, repository)
	return e.Service.Channel(ctx, repository, name)
}

// A name that begins with a host, as the address of a machine nearby, is asked for nowhere.
func TestNamesHaveNoHost(t *testing.T) {
	t.Parallel()
	e := &elsewhere{Service: webtest.Example()}
	c := e.Config()
	c.Artifacts, c.Channels = e, e
	v := visitPages(t, c, webtest.TokenAll)
	for _, host := range []string{"127.0.0.1", "169.254.169.254", "localhost", "registry.example"} {
		ref := host + "/x@" + webtest.Digest(1)
		for _, path := range []string{"/artifacts/" + ref, "/bills/" + ref, "/channels/" + host + "/x:prod", "/diff?a=" + ref + "&b=" + ref} {
			if status, _ := v.get(path); status != http.StatusNotFound {
				t.Errorf("%s: %d", path, status)
			}
		}
	}
	if len(e.asked) > 0 {
		t.Errorf("asked for: %v", e.asked)
	}
	v.get("/artifacts/web@" + webtest.Digest(1))
	if len(e.asked) != 1 {
		t.Errorf("names of the service: %v", e.asked)
	}
}
