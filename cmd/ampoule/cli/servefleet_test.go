package cli

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"ampoule/agent"
	"ampoule/agent/reports"
	"ampoule/config"
	"ampoule/faults"
	"ampoule/registry/trust/keys"
	"ampoule/service/wire"
)

// servedRules have people whom a service knows, and a channel that wants two of them.
const servedRules = `apiVersion: ampoule/v1
trust: acme
version: 1
people:
  ann: {callers: [ann]}
  ben: {callers: [ben]}
  cat: {keys: [approve-cat]}
services: [service-promote, service-approve]
channels:
- {name: staging}
- {name: prod, from: staging, approvals: {count: 2}}
`

// told is a receiver of webhooks.
type told struct {
	mu    sync.Mutex
	types []string
	all   string
}

func (r *told) ServeHTTP(_ http.ResponseWriter, req *http.Request) {
	body, _ := io.ReadAll(req.Body)
	var e struct{ Type string }
	_ = json.Unmarshal(body, &e)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.types, r.all = append(r.types, e.Type), r.all+string(body)+"\n"
}

// has waits until something was told.
func (r *told) has(t *testing.T, texts ...string) {
	t.Helper()
	for begun := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		r.mu.Lock()
		all := r.all
		r.mu.Unlock()
		missing := ""
		for _, text := range texts {
			if !strings.Contains(all, text) {
				missing = text
			}
		}
		if missing == "" {
			return
		}
		if time.Since(begun) > time.Minute {
			t.Fatalf("nobody was told %s:\n%s", missing, all)
		}
	}
}

// company is a machine whose service writes channels, and its people.
type company struct {
	*machine
	service *aService
	told    *told
	tokens  map[string]string
}

func newCompany(t *testing.T) (c *company, first, second string) {
	t.Helper()
	m := newMachine(t)
	for name, role := range map[string]string{"service-promote": "promote", "service-approve": "approve", "approve-cat": "approve", "web-1": "host"} {
		if err := KeysGenerate(m.Session, m.path(name), []byte("a passphrase")); err != nil {
			t.Fatal(err)
		}
		m.ok("trust", "add-key", name+"="+m.path(name+".pub"), "--role", role)
	}
	m.signRoot()
	m.write("channels.yaml", servedRules)
	m.write("policy.yaml", strings.Replace(built, "rules:", "channels: channels.yaml\nrules:", 1))
	m.ok("channel", "rules", "sign", m.path("channels.yaml"), "--trust", m.path("trust.yaml"), "--key", m.path("root.key"), "--passphrase-file", m.path("pw"))
	first, second = m.publish("build.key", config.FormLegacy), m.publish("build.key", config.FormLegacy, another)
	c = &company{machine: m, told: &told{}, tokens: map[string]string{}}
	receiver := httptest.NewServer(c.told)
	t.Cleanup(receiver.Close)
	m.write("chat.secret", "whsec_"+base64.StdEncoding.EncodeToString(bytes.Repeat([]byte("s"), 32))+"\n")
	m.write("webhooks.yaml", "apiVersion: ampoule/v1\nwebhooks:\n  chat:\n    url: "+receiver.URL+"\n    events: [channel.moved, approval.wanted, host.fell-back]\n    secret-file: chat.secret\n")
	c.service = startServiceIn(t, m.path("data"), m.store(), nil, func(o *serving) {
		o.policy, o.noWorker = m.path("policy.yaml"), true
		o.promote = config.Sign{Key: m.path("service-promote.key"), PassphraseFile: m.path("pw")}
		o.fleet = servingFleet{approve: config.Sign{Key: m.path("service-approve.key")}, webhooks: m.path("webhooks.yaml")}
		o.networks = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	})
	for name, scopes := range map[string][]string{
		"ann": {"promote:web", "approve:web"}, "ben": {"approve:web→prod"}, "dan": {"approve:web"}, "reader": {"read:web"}, "admin": {"admin:*", "promote:*"}, "others": {"promote:other", "read:other"},
	} {
		c.tokens[name] = c.service.makeToken(name, scopes...)
	}
	m.Environ = []string{"AMPOULE_POLICY=" + m.path("policy.yaml")}
	return c, first, second
}

// as calls the program as somebody does whose machine has nothing but the service.
func (c *company) as(who string, args ...string) (code int, out, errs string) {
	c.t.Helper()
	var stdout, stderr lockedBuffer
	home := c.t.TempDir()
	s := &Session{In: strings.NewReader(""), Out: &stdout, Err: &stderr, Environ: []string{"HOME=" + home, "AMPOULE_SERVER=" + c.service.url, "AMPOULE_TOKEN=" + c.tokens[who]}}
	code = Main(s, args)
	return code, stdout.String(), stderr.String()
}

// done wants a verb to print something.
func (c *company) done(want, who string, args ...string) {
	c.t.Helper()
	if code, out, errs := c.as(who, args...); code != codeDone || strings.TrimSpace(out) != want {
		c.t.Errorf("%s by %s: %d %q, want %q: %s", strings.Join(args, " "), who, code, out, want, errs)
	}
}

// refused wants a verb to end with a code and a message.
func (c *company) refused(want int, says, who string, args ...string) {
	c.t.Helper()
	if code, _, errs := c.as(who, args...); code != want || !strings.Contains(errs, says) {
		c.t.Errorf("%s by %s: %d, want %d and %q: %s", strings.Join(args, " "), who, code, want, says, errs)
	}
}

// same wants a verb to say at the service what it says on the machine that has the store.
func (c *company) same(args ...string) {
	c.t.Helper()
	for _, form := range []string{"text", "json"} {
		code, out, errs := c.as("ann", append(args, "--output", form)...)
		var stdout, stderr lockedBuffer
		s := &Session{In: strings.NewReader(""), Out: &stdout, Err: &stderr, Environ: append([]string{"HOME=" + c.t.TempDir()}, c.Environ...)}
		here := Main(s, append([]string{"--store", c.store()}, append(args, "--output", form)...))
		if code != here || out != stdout.String() || errs != stderr.String() {
			c.t.Errorf("%s: %d %s%s\nhere %d %s%s", strings.Join(args, " "), code, out, errs, here, stdout.String(), stderr.String())
		}
	}
}

// A digest goes to production through a service, and back, with the output and the codes of a machine that has the keys. Approvals count by
// person, and the service signs them for its callers.
func TestServedChannels(t *testing.T) {
	t.Parallel()
	c, first, second := newCompany(t)
	digest := func(ref string) string { return strings.TrimPrefix(ref, "web@") }
	c.refused(codeNotFound, "nothing was promoted yet", "ann", "channel", "resolve", "web:prod")
	c.done(first, "ann", "channel", "promote", "web:staging", first, "--reason", "the first")
	c.refused(codeRefused, "wants 2 approvals of people other than who promotes, and has those of: none", "ann", "channel", "promote", "web:prod", "--from", "staging")
	c.told.has(t, `"type":"approval.wanted"`, `"channel":"prod","digest":"`+digest(first)+`","count":2`)
	c.done(first, "ann", "channel", "approve", "web:prod", digest(first))
	c.refused(codeRefused, "caller dan of the service with key service-approve is nobody", "dan", "channel", "approve", "web:prod", digest(first))
	c.done(first, "ben", "channel", "approve", "web:prod", digest(first))
	c.done(first, "ben", "channel", "approve", "web:prod", digest(first))
	c.refused(codeRefused, "has those of: ben; what does not count: that of key service-approve: ann promotes", "ann", "channel", "promote", "web:prod", "--from", "staging")
	// Cat has a key of her own, and is at the machine that has it.
	c.ok(c.promoter("approve-cat", "approve", "web:prod", first)...)
	c.refused(codeRefused, "token ben may promote nothing", "ben", "channel", "promote", "web:prod", "--from", "staging")
	deploy := c.path("compose.yaml")
	c.write("compose.yaml", "services: {web: {image: 'registry.example/web@sha256:"+strings.Repeat("0", 64)+"'}}\n")
	c.done(first, "ann", "channel", "promote", "web:prod", "--from", "staging", "--write", deploy)
	if text, err := os.ReadFile(deploy); err != nil || !strings.Contains(string(text), digest(first)) {
		t.Errorf("%s %v", text, err)
	}
	c.told.has(t, `"type":"channel.moved"`, `"approvedBy":["ben","cat"]`, `"reason":"by token ann"`)

	c.done(second, "ann", "channel", "promote", "web:staging", second)
	c.done(first, "ann", "channel", "freeze", "web:prod", "--reason", "holidays")
	c.refused(codeRefused, "token ann may not admin web", "ann", "channel", "promote", "web:prod", "--from", "staging", "--break-glass", "--reason", "a hole")
	c.done(second, "ann", "channel", "freeze", "web:staging", "--reason", "holidays")
	c.refused(codeRefused, "the channel is frozen: holidays", "ann", "channel", "promote", "web:staging", first)
	c.done(second, "admin", "channel", "promote", "web:prod", "--from", "staging", "--break-glass", "--reason", "a hole")
	c.done(second, "ann", "channel", "unfreeze", "web:prod")
	c.same("channel", "history", "web:prod")
	c.same("channel", "resolve", "web:prod")
	c.same("channel", "check", "web:prod")
	c.same("channel", "history", "web:nowhere")
	c.done(first, "ann", "channel", "rollback", "web:prod", "--reason", "it leaks")
	c.done(first, "ann", "channel", "refresh", "web:prod")
	c.done(first, "ann", "channel", "revoke", "web:prod", digest(second), "--reason", "poisoned")
	c.done(first, "ann", "channel", "revoke", "web:prod", digest(first), "--reason", "poisoned too")
	c.same("channel", "resolve", "web:prod")
	c.same("channel", "history", "web:prod", "--unverified")
	c.refused(codeRefused, "is revoked in channel web:prod: poisoned too", "ann", "channel", "resolve", "web:prod")
	c.refused(codeUsage, "--key is about this machine", "ann", "channel", "refresh", "web:prod", "--key", "x")
	c.refused(codeUsage, "--policy is about this machine", "ann", "channel", "resolve", "web:prod", "--policy", "x")
	c.refused(codeNotFound, "there is no web that token others may read", "others", "channel", "history", "web:prod")
	c.refused(codeRefused, "token ann may not admin web", "ann", "channel", "restart", "web:prod", digest(first), "--reason", "x")

	var list wire.Channels
	if status := c.get("reader", "/v1/channels?name=web", &list); status != http.StatusOK || len(list.Channels) != 2 || list.Channels[0].Channel != "prod" || len(list.Channels[0].Entries) != 1 {
		t.Errorf("%d %+v", status, list)
	}
	if status := c.get("others", "/v1/channels", &list); status != http.StatusOK || len(list.Channels) != 0 {
		t.Errorf("%d %+v", status, list)
	}
	var hooks wire.Webhooks
	if status := c.get("admin", "/v1/webhooks", &hooks); status != http.StatusOK || len(hooks.Webhooks) != 1 || len(hooks.Webhooks[0].Deliveries) < 8 {
		t.Errorf("%d %+v", status, hooks)
	}
}

// ask asks the service for something.
func (c *company) ask(who, path string) (status int, body []byte) {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), http.MethodGet, c.service.url+path, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+c.tokens[who])
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err = io.ReadAll(resp.Body); err != nil {
		c.t.Fatal(err)
	}
	return resp.StatusCode, body
}

// get asks the API.
func (c *company) get(who, path string, into any) int {
	c.t.Helper()
	status, body := c.ask(who, path)
	if err := json.Unmarshal(body, into); err != nil {
		c.t.Fatal(err)
	}
	return status
}

// A host's agent pushes its reports, and who asks the service is told who runs what.
func TestServedReports(t *testing.T) {
	t.Parallel()
	c, first, second := newCompany(t)
	digest := func(ref string) string { return strings.TrimPrefix(ref, "web@") }
	c.done(first, "ann", "channel", "promote", "web:staging", first)
	text, err := keys.ReadFile(c.path("web-1.key"))
	if err != nil {
		t.Fatal(err)
	}
	by, err := keys.Open(text, []byte("a passphrase"))
	if err != nil {
		t.Fatal(err)
	}
	c.write("token", c.tokens["others"]+"\n")
	root := t.TempDir()
	if err := os.Mkdir(root+"/agent", 0o755); err != nil {
		t.Fatal(err)
	}
	var said lockedBuffer
	push := agent.Service{URL: c.service.url, TokenFile: c.path("token"), Host: "web-1", By: by, Root: root, Tell: func(text string) { _, _ = said.Write([]byte(text + "\n")) }}
	host := strings.TrimPrefix(c.service.url, "http://")
	j := &agent.Journal{Channel: host + "/web:staging", Active: digest(first), State: reports.Follows, Reports: 1}
	push.Begin(t.Context())
	if err := push.Report(t.Context(), j, time.Now()); err != nil {
		t.Fatal(err)
	}
	for begun := time.Now(); !strings.Contains(said.String(), "there is no web that token others may read"); time.Sleep(10 * time.Millisecond) {
		if time.Since(begun) > time.Minute {
			t.Fatalf("a token of others: %s", said.String())
		}
	}
	// A token that is replaced is read; what is not pushed yet, the next process pushes.
	c.write("token", c.tokens["reader"]+"\n")
	push.End()
	later := agent.Service{URL: push.URL, TokenFile: push.TokenFile, Host: push.Host, By: by, Root: root}
	later.Begin(t.Context())
	j.State, j.Reports, j.Wanted.Digest = reports.FellBack, 2, digest(second)
	j.Quarantined = map[string]agent.Quarantine{digest(second): {Why: "it does not start"}}
	if err := later.Report(t.Context(), j, time.Now().Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	for begun := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(root + "/agent/report.json"); os.IsNotExist(err) {
			break
		}
		if time.Since(begun) > time.Minute {
			t.Fatal("the report is not pushed")
		}
	}
	later.End()
	c.told.has(t, `"type":"host.fell-back"`, `"host":"web-1","name":"web","channel":"staging"`, "it does not start")

	var all wire.Hosts
	if status := c.get("reader", "/v1/hosts?state=fell-back&name=web", &all); status != http.StatusOK || len(all.Hosts) != 1 || all.Hosts[0].Name != "web" || all.Hosts[0].Channel != "staging" || all.Hosts[0].Digest != digest(first) {
		t.Errorf("%d %+v", status, all)
	}
	if status := c.get("others", "/v1/hosts", &all); status != http.StatusOK || len(all.Hosts) != 0 {
		t.Errorf("%d %+v", status, all)
	}
	var one wire.OneHost
	if status := c.get("reader", "/v1/hosts/web-1", &one); status != http.StatusOK || len(one.Roots) != 1 || len(one.History) == 0 {
		t.Errorf("%d %+v", status, one)
	}
	if status := c.get("others", "/v1/hosts/web-1", &one); status != http.StatusNotFound {
		t.Errorf("another team's host: %d", status)
	}
	code, out, errs := c.as("reader", "deployments", digest(first))
	if code != codeDone || !strings.Contains(out, "channel  web:staging") || !strings.Contains(out, "host     web-1") || !strings.Contains(out, "fell-back") {
		t.Errorf("%d %s%s", code, out, errs)
	}
	c.refused(faults.Refused.Code(), "could not be looked at", "reader", "deployments", "idna==3.10") // these artifacts have no bill
	c.refused(codeUsage, "--reports is about this machine", "reader", "deployments", "--reports", "x")
	code, out, errs = c.as("reader", "deployments", "--output", "json")
	if code != codeDone {
		t.Errorf("%d %s", code, errs)
	}
	validate(t, "deployments", []byte(out))
	if _, metrics := c.ask("reader", "/metrics"); !strings.Contains(string(metrics), `ampoule_hosts{channel="web:staging",state="fell back"} 1`) {
		t.Errorf("%s", metrics)
	}
}

// What a service is told of its fleet is read when it starts.
func TestServeFleetFlags(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, test := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"--approve-key", dir + "/x.key"}, codeUsage, "need a policy"},
		{[]string{"--webhooks", dir + "/webhooks.yaml"}, faults.Input.Code(), "there is no file of webhooks"},
		{[]string{"--host-keys", dir + "/hosts.yaml"}, faults.Input.Code(), "there is no list of hosts"},
	} {
		var errs lockedBuffer
		s := &Session{In: strings.NewReader(""), Out: io.Discard, Err: &errs, Environ: []string{"HOME=" + t.TempDir()}}
		code := Main(s, append([]string{"serve", "--listen", "127.0.0.1:0", "--no-worker"}, test.args...))
		if code != test.code || !strings.Contains(errs.String(), test.says) {
			t.Errorf("%v: %d %s", test.args, code, errs.String())
		}
	}
}

// Hosts know the service's registry by addresses of their own.
func TestOwnNames(t *testing.T) {
	t.Parallel()
	o := serving{advertise: "registry.example/team"}
	o.Listen, o.Hosts = "127.0.0.1:8090", []string{"ampoule.example", "internal:443"}
	own := ownNames("", o, nil)
	for given, want := range map[string]string{
		"web": "web", "team/web": "team/web", "registry.example/team/web": "web", "ampoule.example/web": "web", "Ampoule.example:8443/team/web": "team/web",
		"internal:80/web": "internal:80/web", "127.0.0.1:8090/web": "web", "localhost:8090/web": "web", "127.0.0.1:5000/web": "127.0.0.1:5000/web", "other.example/web": "other.example/web",
	} {
		if given == "internal:80/web" {
			want = "web"
		}
		if got := own(given); got != want {
			t.Errorf("%s is %s, want %s", given, got, want)
		}
	}
	if got := ownNames("elsewhere.example/x", o, nil)("elsewhere.example/x/web"); got != "web" {
		t.Errorf("%s", got)
	}
	if got := ownNames("elsewhere.example/x", o, nil)("ampoule.example/web"); got != "ampoule.example/web" {
		t.Errorf("a service that serves no registry: %s", got)
	}
}
