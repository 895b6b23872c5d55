package issuers

import (
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ampoule/faults"
	"ampoule/service/access/issuers/issuertest"
)

func pemOf(t *testing.T, server *httptest.Server) string {
	t.Helper()
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
}

const back = "https://ampoule.example/login/sso/callback"

// people makes an issuer by whom people log in.
func people(t *testing.T, p *issuertest.Provider) *Issuers {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "secret"), []byte(issuertest.Secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("apiVersion: ampoule/v1\nissuers:\n- name: sso\n  url: %s\n  caller: email\n  login: {client: %s, secret-file: secret, title: Example}\nrules:\n- {issuer: sso, match: {groups: [\"ops-*\"]}, scopes: [\"read:*\", \"promote:*\"], builds: trusted}\n", p.URL, issuertest.Client)
	s, err := Parse(filepath.Join(dir, "access.yaml"), []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	all, err := Open(s, nil)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// visit goes to the issuer as a browser does, and brings back what it answers.
func visit(t *testing.T, to string) Answer {
	t.Helper()
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, to, nil)
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	at, err := url.Parse(resp.Header.Get("Location"))
	if err != nil || !strings.HasPrefix(at.String(), back+"?") {
		t.Fatalf("%s %s, %v", resp.Status, at, err)
	}
	q := at.Query()
	return Answer{State: q.Get("state"), Code: q.Get("code"), Error: q.Get("error"), Issuer: q.Get("iss")}
}

func TestLogin(t *testing.T) {
	t.Parallel()
	p := issuertest.New(t)
	all := people(t, p)
	ops := map[string]any{"sub": "0042", "email": "ann@example.org", "email_verified": true, "groups": append([]string{"ops-eu"}, strings.Fields(strings.Repeat("other ", 500))...)}
	if ways := all.Ways(); len(ways) != 1 || ways[0] != (Way{"sso", "Example"}) {
		t.Errorf("%v", ways)
	}
	login := func(change func(f *Flow, a *Answer)) (Person, error) {
		t.Helper()
		to, flow, err := all.Begin(t.Context(), "sso", back)
		if err != nil {
			t.Fatal(err)
		}
		answer := visit(t, to)
		change(&flow, &answer)
		return all.Finish(t.Context(), "sso", back, flow, answer)
	}
	same := func(*Flow, *Answer) {}
	p.User(ops)
	person, err := login(same)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := person.Encode()
	if err != nil || len(sealed) > 300 {
		t.Errorf("a session has %d bytes: %s, %v", len(sealed), sealed, err)
	}
	again, err := DecodePerson(sealed)
	if err != nil {
		t.Fatal(err)
	}
	who, err := all.Identify(again)
	if err != nil || who.Name != "sso:ann@example.org" || who.Subject != "0042" || !who.Trusted || fmt.Sprint(who.Scopes) != "[read:* promote:*]" {
		t.Errorf("%+v, %v", who, err)
	}
	// An ID token of the pages is none of a machine's.
	var refused *RefusedError
	if _, err := all.Check(t.Context(), p.Token(p.Claims(issuertest.Client, ops))); !errors.As(err, &refused) {
		t.Errorf("the pages' token as Bearer: %v", err)
	}
	for name, test := range map[string]struct {
		change func(f *Flow, a *Answer)
		user   map[string]any
		want   string
	}{
		"another state":    {func(_ *Flow, a *Answer) { a.State = "other" }, ops, "has not begun to log in"},
		"no flow":          {func(f *Flow, a *Answer) { *f, a.State = Flow{}, "" }, ops, "has not begun to log in"},
		"another verifier": {func(f *Flow, _ *Answer) { f.Verifier = strings.Repeat("x", 43) }, ops, "invalid_grant"},
		"another nonce":    {func(f *Flow, _ *Answer) { f.Nonce = "other" }, ops, "of another login"},
		"no nonce":         {func(f *Flow, _ *Answer) { f.Nonce = "" }, ops, "of another login"},
		"another code":     {func(_ *Flow, a *Answer) { a.Code = "other" }, ops, "invalid_grant"},
		"no code":          {func(_ *Flow, a *Answer) { a.Code = "" }, ops, "has refused"},
		"another issuer":   {func(_ *Flow, a *Answer) { a.Issuer = "https://evil.example" }, ops, "somebody else"},
		"the user refuses": {same, nil, "has refused: access_denied"},
		"a hostile error":  {func(_ *Flow, a *Answer) { a.Error = "<b>\nhello" }, ops, "sso has refused"},
		"another audience": {same, map[string]any{"aud": "elsewhere"}, "is for elsewhere"},
	} {
		p.User(test.user)
		_, err := login(test.change)
		if err == nil || !strings.Contains(err.Error(), test.want) || faults.Of(err) != faults.Refused || strings.Contains(err.Error(), "<b>") {
			t.Errorf("%s: %v; want %q", name, err, test.want)
		}
		for _, secret := range p.Given() {
			if err != nil && strings.Contains(err.Error()+fmt.Sprint(faults.Hints(err)), secret) {
				t.Errorf("%s: the error has %s", name, secret)
			}
		}
	}
	// Who is in no group may log in, and is nobody here.
	p.User(map[string]any{"sub": "0043", "groups": []string{"guests"}})
	person, err = login(same)
	var nobody *NobodyError
	if _, identifyErr := all.Identify(person); err != nil || !errors.As(identifyErr, &nobody) || nobody.Name != "sso:0043" {
		t.Errorf("%v, %v", err, identifyErr)
	}
	if _, err := all.Identify(Person{Issuer: "gone"}); faults.Of(err) != faults.NotFound {
		t.Errorf("an issuer that is not there any more: %v", err)
	}
	p.Away(true)
	var away *AwayError
	if _, err := all.Finish(t.Context(), "sso", back, Flow{State: "s", Nonce: "n", Verifier: "v"}, Answer{State: "s", Code: "c"}); !errors.As(err, &away) {
		t.Errorf("an issuer that is away: %v", err)
	}
}
