package issuers

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ampoule/faults"
	"ampoule/recipes"
	"ampoule/service/access/issuers/issuertest"
)

const audience = "https://ampoule.example"

// open makes issuers of one provider and rules; more stands in the issuer's entry.
func open(t *testing.T, p *issuertest.Provider, more, rules string) *Issuers {
	t.Helper()
	text := fmt.Sprintf("apiVersion: ampoule/v1\nissuers:\n- name: ci\n  url: %s\n  audience: %s\n%srules:\n%s", p.URL, audience, more, rules)
	s, err := Parse(filepath.Join(t.TempDir(), "access.yaml"), []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	all, err := Open(s, nil)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

const mainRule = `- issuer: ci
  match: {repository_id: "42", ref: [refs/heads/main, refs/tags/*], ref_protected: "true"}
  scopes: ["build:team/*"]
  builds: trusted
- issuer: ci
  match: {repository_id: 42}
  scopes: ["read:team/*"]
`

func TestCheck(t *testing.T) {
	t.Parallel()
	p := issuertest.New(t)
	all := open(t, p, "", mainRule)
	protected := map[string]any{"repository_id": "42", "repository": "team/app", "ref": "refs/tags/v1", "ref_protected": true, "sub": "repo:team/app:ref:refs/tags/v1"}
	who, err := all.Check(t.Context(), p.Token(p.Claims(audience, protected)))
	if err != nil || !who.Trusted || fmt.Sprint(who.Scopes) != "[build:team/* read:team/*]" || who.Name != "ci:repo:team/app:ref:refs/tags/v1" || len(who.ID) != idLength || time.Until(who.Expires) < 4*time.Minute {
		t.Errorf("%+v, %v", who, err)
	}
	// A branch that anybody may push to is admitted by the other rule alone.
	branch := map[string]any{"repository_id": 42, "ref": "refs/heads/main", "ref_protected": "false"}
	who, err = all.Check(t.Context(), p.Token(p.Claims(audience, branch)))
	if err != nil || who.Trusted || fmt.Sprint(who.Scopes) != "[read:team/*]" {
		t.Errorf("%+v, %v", who, err)
	}
	if n := p.Asked("/.well-known/openid-configuration") + p.Asked("/keys"); n != 2 {
		t.Errorf("the issuer was asked %d times", n)
	}
}

// A repository that is renamed keeps its ID; one that gets the old name has another.
func TestRenamedRepository(t *testing.T) {
	t.Parallel()
	p := issuertest.New(t)
	both := open(t, p, "", "- {issuer: ci, match: {repository: team/app}, scopes: [\"read:*\"]}\n- {issuer: ci, match: {repository: team/app, repository_id: 42}, scopes: [\"build:*\"]}\n- {issuer: ci, match: {repository_id: 42}, scopes: [\"approve:*\"]}\n")
	for name, test := range map[string]struct {
		repository, id string
		scopes         string
	}{
		"as it was":        {"team/app", "42", "[read:* build:* approve:*]"},
		"renamed":          {"team/new", "42", "[approve:*]"},
		"somebody else's":  {"team/app", "43", "[read:*]"},
		"another one":      {"team/other", "43", "refused"},
		"a longer name":    {"team/app2", "43", "refused"},
		"a name around it": {"x/team/app", "43", "refused"},
	} {
		who, err := both.Check(t.Context(), p.Token(p.Claims(audience, map[string]any{"repository": test.repository, "repository_id": test.id})))
		var nobody *NobodyError
		if errors.As(err, &nobody) {
			if test.scopes != "refused" || !strings.Contains(nobody.Nearest, "repository") || strings.Contains(err.Error(), "rules[") {
				t.Errorf("%s: %v (%s)", name, err, nobody.Nearest)
			}
			continue
		}
		if err != nil || fmt.Sprint(who.Scopes) != test.scopes {
			t.Errorf("%s: %v, %v; want %s", name, who.Scopes, err, test.scopes)
		}
	}
}

func TestRefusedTokens(t *testing.T) {
	t.Parallel()
	p, other := issuertest.New(t), issuertest.New(t)
	all := open(t, p, "", mainRule)
	now := time.Now().Unix()
	claims := func(over map[string]any) map[string]any { return p.Claims(audience, over) }
	for name, test := range map[string]struct {
		token, want, hint string
		forged            bool
	}{
		"another audience":    {p.Token(p.Claims("https://elsewhere.example", nil)), "is for https://elsewhere.example", audience, false},
		"no audience":         {p.Token(claims(map[string]any{"aud": nil})), "is for nobody", audience, false},
		"expired":             {p.Token(claims(map[string]any{"exp": now - 61})), "has expired at", "clocks may differ by 1m0s", false},
		"not yet":             {p.Token(claims(map[string]any{"nbf": now + 62})), "counts from", "clocks may differ by 1m0s", false},
		"issued tomorrow":     {p.Token(claims(map[string]any{"iat": now + 86400})), "counts from", "clocks may differ", false},
		"for ever":            {p.Token(claims(map[string]any{"exp": nil})), "until when", "", false},
		"nobody":              {p.Token(claims(map[string]any{"sub": nil})), "names nobody", "", false},
		"a hostile name":      {p.Token(claims(map[string]any{"sub": "a\nb"})), "names nobody", "", false},
		"no signature":        {p.Forged("none", claims(nil)), "that this service does not take", "not none", true},
		"a symmetric one":     {p.Forged("HS256", claims(nil)), "that this service does not take", "not HS256", true},
		"somebody else's key": {p.Forged("ES256", claims(nil)), "signed by none of its keys", "", true},
		"another issuer":      {other.Token(other.Claims(audience, nil)), "no issuer that this service knows", "to the letter", true},
		"a lie of the issuer": {other.Token(claims(nil)), "signed by none of its keys", "", true},
		"a huge one":          {p.Token(claims(map[string]any{"groups": strings.Repeat("x", 20<<10)})), "larger than 16384 bytes", "", true},
		"garbage":             {"eyJ.garbage.x", "is no ID token", "", true},
	} {
		_, err := all.Check(t.Context(), test.token)
		var refused *RefusedError
		if !errors.As(err, &refused) || !strings.Contains(err.Error(), test.want) || refused.Forged != test.forged || !strings.Contains(strings.Join(faults.Hints(err), " "), test.hint) || faults.Of(err) != faults.Refused {
			t.Errorf("%s: %v (%v); want %q", name, err, faults.Hints(err), test.want)
		}
		if err != nil && strings.Contains(err.Error()+fmt.Sprint(faults.Hints(err)), test.token) {
			t.Errorf("%s: the error has the token", name)
		}
	}
	// A clock that is a minute off is not told of.
	for _, over := range []map[string]any{{"exp": now - 50, "repository_id": "42"}, {"nbf": now + 50, "iat": now + 50, "repository_id": "42"}} {
		if _, err := all.Check(t.Context(), p.Token(claims(over))); err != nil {
			t.Errorf("%v: %v", over, err)
		}
	}
	if other.Asked("/keys") != 0 {
		t.Error("an issuer was asked that nobody has configured")
	}
}

// at sets the clock of an issuer and of its door.
func at(all *Issuers, now func() time.Time) {
	all.all[0].now, all.all[0].door.now = now, now
}

// An issuer that has new keys is asked for them, and not for each token that nobody has signed.
func TestRotatedKeys(t *testing.T) {
	t.Parallel()
	p := issuertest.New(t)
	all := open(t, p, "", mainRule)
	now := time.Now()
	at(all, func() time.Time { return now })
	good := func() string { return p.Token(p.Claims(audience, map[string]any{"repository_id": "42"})) }
	old := good()
	if _, err := all.Check(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	now = now.Add(pause)
	p.Rotate()
	if _, err := all.Check(t.Context(), good()); err != nil {
		t.Errorf("after the rotation: %v", err)
	}
	// The old key is not published any more.
	var refused *RefusedError
	if _, err := all.Check(t.Context(), old); !errors.As(err, &refused) || !strings.Contains(strings.Join(faults.Hints(err), ""), "try again in 10s") {
		t.Errorf("signed by the old key: %v", err)
	}
	asked := p.Asked("/keys")
	for range 50 {
		if _, err := all.Check(t.Context(), p.Forged("ES256", p.Claims(audience, nil))); err == nil {
			t.Fatal("a forged token counts")
		}
	}
	if n := p.Asked("/keys"); n != asked || asked != 2 {
		t.Errorf("the keys were asked for %d, then %d times", asked, n)
	}
	// A key that is withdrawn and not replaced counts for an hour at most.
	last := good()
	p.Rotate()
	if _, err := all.Check(t.Context(), last); err != nil {
		t.Errorf("while the keys are fresh: %v", err)
	}
	now = now.Add(freshFor)
	all.all[0].skew = 2 * freshFor
	if _, err := all.Check(t.Context(), last); !errors.As(err, &refused) {
		t.Errorf("after an hour: %v", err)
	}
}

func TestAway(t *testing.T) {
	t.Parallel()
	p := issuertest.New(t)
	p.Away(true)
	all := open(t, p, "", mainRule)
	now := time.Now()
	at(all, func() time.Time { return now })
	token := p.Token(p.Claims(audience, map[string]any{"repository_id": "42", "exp": now.Add(48 * time.Hour).Unix()}))
	var away *AwayError
	for range 5 {
		if _, err := all.Check(t.Context(), token); !errors.As(err, &away) || away.Status() != http.StatusServiceUnavailable || away.RetryAfter() == 0 || faults.Of(err) != faults.Remote || len(faults.Hints(err)) == 0 {
			t.Fatalf("%v", err)
		}
	}
	if n := p.Asked("/.well-known/openid-configuration"); n != 1 {
		t.Errorf("an issuer that is away was asked %d times", n)
	}
	p.Away(false)
	now = now.Add(failurePause)
	if _, err := all.Check(t.Context(), token); err != nil {
		t.Errorf("when it is back: %v", err)
	}
	// What it has said counts while it is away, for a day.
	p.Away(true)
	now = now.Add(freshFor)
	if _, err := all.Check(t.Context(), token); err != nil {
		t.Errorf("with keys that were fetched before: %v", err)
	}
	now = now.Add(staleFor)
	if _, err := all.Check(t.Context(), token); !errors.As(err, &away) {
		t.Errorf("after a day: %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	now = now.Add(failurePause)
	if _, err := all.Check(ended, token); !errors.As(err, &away) {
		t.Errorf("for somebody who is gone: %v", err)
	}
}

// An issuer that can be asked for its description and not for its keys is believed by the keys that
// it had.
func TestKeysAreAway(t *testing.T) {
	t.Parallel()
	p := issuertest.New(t)
	all := open(t, p, "", mainRule)
	now := time.Now()
	at(all, func() time.Time { return now })
	token := p.Token(p.Claims(audience, map[string]any{"repository_id": "42", "exp": now.Add(48 * time.Hour).Unix()}))
	if _, err := all.Check(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	p.Answer(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/keys" {
			_, _ = w.Write([]byte("no keys"))
		}
		return r.URL.Path == "/keys"
	})
	now = now.Add(freshFor)
	var away *AwayError
	if _, err := all.Check(t.Context(), token); !errors.As(err, &away) || strings.Contains(err.Error(), token) {
		t.Errorf("keys that cannot be read: %v", err)
	}
	p.Answer(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/keys" {
			http.Error(w, "", http.StatusBadGateway)
		}
		return r.URL.Path == "/keys"
	})
	now = now.Add(pause)
	if _, err := all.Check(t.Context(), token); err != nil {
		t.Errorf("keys that are away: %v", err)
	}
}

// An issuer is asked where the access file says, whatever it says of itself.
func TestIssuersSendNobodyElsewhere(t *testing.T) {
	t.Parallel()
	asked := false
	inside := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked = true }))
	defer inside.Close()
	for name, answer := range map[string]func(p *issuertest.Provider) http.HandlerFunc{
		"keys elsewhere": func(p *issuertest.Provider) http.HandlerFunc {
			return func(w http.ResponseWriter, _ *http.Request) {
				fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q}`, p.URL, inside.URL+"/keys")
			}
		},
		"a redirect": func(*issuertest.Provider) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, inside.URL, http.StatusFound) }
		},
		"another issuer": func(*issuertest.Provider) http.HandlerFunc {
			return func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintf(w, `{"issuer":%q}`, inside.URL) }
		},
		"without end": func(*issuertest.Provider) http.HandlerFunc {
			return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, maxAnswer+1)) }
		},
	} {
		p := issuertest.New(t)
		p.Answer(func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path != "/keys" {
				answer(p)(w, r)
			}
			return r.URL.Path != "/keys"
		})
		all := open(t, p, "", mainRule)
		var away *AwayError
		if _, err := all.Check(t.Context(), p.Token(p.Claims(audience, nil))); !errors.As(err, &away) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if asked {
		t.Error("a host was asked that no access file names")
	}
}

// An issuer's certificate may be of an authority that only the access file knows.
func TestAuthorities(t *testing.T) {
	t.Parallel()
	if _, err := newDoor(Issuer{Name: "ci", URL: "https://ci.example", CA: "ca.pem"}, "no certificate", nil); faults.Of(err) != faults.Input || !strings.Contains(err.Error(), "ca.pem") {
		t.Errorf("%v", err)
	}
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }))
	defer server.Close()
	pem := pemOf(t, server)
	for authorities, want := range map[string]string{"": "certificate", pem: "418"} {
		d, err := newDoor(Issuer{Name: "ci", URL: server.URL}, authorities, nil)
		if err != nil {
			t.Fatal(err)
		}
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, nil)
		resp, err := d.client().Do(req)
		if err == nil {
			resp.Body.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %q", err, want)
		}
		req, _ = http.NewRequestWithContext(t.Context(), http.MethodGet, strings.Replace(server.URL, "https", "http", 1), nil)
		resp, err = d.client().Do(req)
		if err == nil {
			resp.Body.Close()
		}
		if err == nil || !strings.Contains(err.Error(), "plain http") {
			t.Errorf("an address in the clear: %v", err)
		}
	}
}

func TestEmailCountsIfVerified(t *testing.T) {
	t.Parallel()
	p := issuertest.New(t)
	all := open(t, p, "  caller: email\n", "- {issuer: ci, match: {email: \"*@example.org\"}, scopes: [\"read:*\"]}\n")
	for name, test := range map[string]struct {
		verified any
		want     string
	}{
		"verified": {true, "ci:ann@example.org"}, "as a text": {"true", "ci:ann@example.org"}, "not verified": {false, ""}, "nothing is said": {nil, ""},
	} {
		who, err := all.Check(t.Context(), p.Token(p.Claims(audience, map[string]any{"email": "ann@example.org", "email_verified": test.verified})))
		if who.Name != test.want || (err == nil) != (test.want != "") {
			t.Errorf("%s: %q, %v", name, who.Name, err)
		}
	}
}

var update = flag.Bool("update", false, "write what is generated")

func TestSchemaIsCurrent(t *testing.T) {
	t.Parallel()
	data, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join("..", "..", "..", "docs", "access.schema.json")
	if *update {
		if err := os.WriteFile(file, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if kept, err := os.ReadFile(file); err != nil || string(kept) != string(data) {
		t.Errorf("%s is not current; `go test ./service/access/issuers -update` writes it: %v", file, err)
	}
	for _, want := range []string{`"trusted"`, `"repository_id"`, "Names of repositories can be given to somebody else", `"oneOf"`} {
		if !strings.Contains(string(data), want) {
			t.Errorf("the schema has no %s: %s", want, data)
		}
	}
}

// Whatever an access file says, it is read or refused, and no rule of it is for everybody by chance.
func FuzzParse(f *testing.F) {
	f.Add([]byte("apiVersion: ampoule/v1\nissuers: [{name: ci, url: https://ci.example, audience: x}]\nrules: [{issuer: ci, match: {sub: [a, \"b*\"]}, scopes: [\"read:*\"]}]\n"))
	f.Add([]byte("apiVersion: ampoule/v1\nissuers: [{name: p, url: https://ci.example, login: {client: x}}]\nrules: [{issuer: p, match: {ref: x}, scopes: [\"read:*\"], builds: trusted}]\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := Parse("access.yaml", text)
		if err != nil {
			if faults.Of(err) != faults.Input {
				t.Errorf("%v", err)
			}
			return
		}
		for n, r := range s.Rules {
			if len(r.missing(claims{"ref": {"refs/heads/main"}, "aud": {"x"}})) == 0 || len(s.scopes[n]) == 0 {
				t.Errorf("%+v is for everybody, or allows nothing", r)
			}
		}
	})
}

// Whatever is sent as a token, it is refused without asking anybody.
func FuzzCheck(f *testing.F) {
	f.Add("eyJhbGciOiJub25lIn0.eyJpc3MiOiJodHRwczovL2NpLmV4YW1wbGUifQ.")
	f.Add("ey.ey.ey")
	f.Fuzz(func(t *testing.T, token string) {
		all := &Issuers{settings: &Settings{}}
		if _, err := all.Check(t.Context(), token); faults.Of(err) != faults.Refused || len(token) > 4 && strings.Contains(err.Error(), token) {
			t.Errorf("%v", err)
		}
	})
}

func TestSettings(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, text := range map[string]string{"empty": "\n", "secret": " s3cret \n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const good = `apiVersion: ampoule/v1
issuers:
- name: github
  url: https://ci.example
  audience: ampoule
- name: people
  url: https://id.example/realms/x
  login: {client: ampoule, secret-file: secret, scopes: [groups]}
rules:
- issuer: github
  match: {repository_id: 42, ref: refs/heads/main}
  scopes: ["build:team/*"]
  builds: trusted
- issuer: people
  match: {groups: [ops, "ops-*"]}
  scopes: ["promote:team/*→prod"]
session: 8h
skew: 5s
`
	s, err := Parse(filepath.Join(dir, "access.yaml"), []byte(good))
	if err != nil {
		t.Fatal(err)
	}
	if s.Session != 8*time.Hour || s.Skew != 5*time.Second || s.secrets["people"] != "s3cret" || len(s.Warnings()) != 0 {
		t.Errorf("%+v, %v", s, s.Warnings())
	}
	for name, test := range map[string]struct{ from, to, want string }{
		"an unknown key":         {"skew: 5s", "skw: 5s", `access.yaml:18:1: "skw" is no key of an access file`},
		"a wrong scope":          {`"build:team/*"`, `"biuld:team/*"`, `access.yaml:12:12: "biuld:team/*" is no scope`},
		"no such issuer":         {"- issuer: people", "- issuer: poeple", "access.yaml:14:11: there is no issuer poeple"},
		"an issuer without rule": {"- issuer: people", "- issuer: github", "no rule is for issuer people"},
		"for everybody":          {"{repository_id: 42, ref: refs/heads/main}", "{ref: refs/heads/main}", "access.yaml:11:3: this is so for everybody whom the issuer knows"},
		"no match":               {"{repository_id: 42, ref: refs/heads/main}", "{}", "this is so for everybody"},
		"no patterns":            {`[ops, "ops-*"]`, "[]", "rules[1].match.groups is empty"},
		"a name twice":           {"name: people", "name: github", "there is another issuer github"},
		"a URL twice":            {"https://id.example/realms/x", "https://ci.example", "another issuer with this URL"},
		"plain http":             {"https://ci.example", "http://ci.example", "plain http leads to another machine"},
		"credentials in a URL":   {"https://ci.example", "https://me:x@ci.example", "is not an https address"},
		"nobody is known":        {"  audience: ampoule\n", "", "nobody is known by issuer github"},
		"a missing secret":       {"secret-file: secret", "secret-file: absent", "access.yaml:8:41: absent cannot be read"},
		"an empty secret":        {"secret-file: secret", "secret-file: empty", "empty is empty"},
		"a truth value":          {"ref: refs/heads/main", "ref_protected: true", `quote it: "true"`},
		"a session for ever":     {"session: 8h", "session: 1000h", "is not a time from 1m to 168h"},
		"a skew of an hour":      {"skew: 5s", "skew: 3600s", "is not a time from 0s to 300s"},
		"a half trust":           {"builds: trusted", "builds: maybe", "is not trusted or untrusted"},
	} {
		_, err := Parse(filepath.Join(dir, "access.yaml"), []byte(strings.Replace(good, test.from, test.to, 1)))
		var wrong recipes.Faults
		if !errors.As(err, &wrong) || !strings.Contains(fmt.Sprint(err, faults.Hints(err), wrong), test.want) || faults.Of(err) != faults.Input {
			t.Errorf("%s: %v %v; want %q", name, err, wrong, test.want)
		}
	}
	named, err := Parse(filepath.Join(dir, "access.yaml"), []byte(strings.Replace(good, "repository_id: 42", "repository: team/app", 1)))
	if err != nil || len(named.Warnings()) != 1 || !strings.Contains(named.Warnings()[0], "match repository_id too") {
		t.Errorf("%v, %v", named.Warnings(), err)
	}
	if _, err := Read(filepath.Join(dir, "absent")); faults.Of(err) != faults.Input {
		t.Errorf("%v", err)
	}
}
