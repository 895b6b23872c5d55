package web_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"ampoule/service/web"
	"ampoule/service/web/webtest"
)

// open asks for a page and returns the answer with its body.
func (v *visitor) open(path string) (*http.Response, string) {
	v.t.Helper()
	req, _ := http.NewRequestWithContext(v.t.Context(), http.MethodGet, v.server.URL+path, nil)
	answer := v.do(req)
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		v.t.Fatal(err)
	}
	return answer, string(body)
}

// begin goes to the example's issuer.
func (v *visitor) begin(next string) {
	v.t.Helper()
	answer, _ := v.open("/login/sso?" + url.Values{"next": {next}}.Encode())
	if want := webtest.Issuer + "?back=" + v.server.URL + "/login/sso/callback"; answer.StatusCode != http.StatusSeeOther || answer.Header.Get("Location") != want {
		v.t.Fatalf("%s to %s, want %s", answer.Status, answer.Header.Get("Location"), want)
	}
	if c := answer.Cookies()[len(answer.Cookies())-1]; c.SameSite != http.SameSiteLaxMode || !c.HttpOnly || c.MaxAge != 600 || strings.Contains(c.Value, "kept-secret") {
		v.t.Errorf("cookie %v", c)
	}
}

func TestLoginByIssuer(t *testing.T) {
	t.Parallel()
	now := webtest.Now
	var told []string
	c := webtest.Example().Config()
	c.Now = func() time.Time { return now }
	c.Changed = func(_ context.Context, action, target string, err error) {
		told = append(told, fmt.Sprint(action, " ", target, " ", err == nil))
	}
	v := visitPages(t, c, "")
	if _, body := v.open("/login?next=/hosts"); !strings.Contains(body, `href="/login/sso?next=%2fhosts"`) || !strings.Contains(body, "Log in with Example SSO") || !strings.Contains(body, "for 8 hours at most") {
		t.Errorf("%s", body)
	}
	for name, test := range map[string]struct {
		answer string
		before func()
		status int
		want   string
	}{
		"a stranger":       {"?state=s&code=stranger", nil, http.StatusForbidden, "no rule of this service admits"},
		"refused":          {"?state=s&error=access_denied", nil, http.StatusForbidden, "access_denied"},
		"away":             {"?state=s&code=away", nil, http.StatusBadGateway, "cannot be asked"},
		"too late":         {"?state=s&code=" + webtest.Code, func() { now = now.Add(11 * time.Minute) }, http.StatusForbidden, "has not begun"},
		"no cookie":        {"?state=s&code=" + webtest.Code, func() { delete(v.cookies, "ampoule-login") }, http.StatusForbidden, "has not begun"},
		"a foreign cookie": {"?state=s&code=" + webtest.Code, func() { v.cookies["ampoule-login"] = "foreign" }, http.StatusForbidden, "has not begun"},
		// What was sealed as one cookie is no other one.
		"a session's cookie": {"?state=s&code=" + webtest.Code, func() { v.cookies["ampoule-login"] = session(t) }, http.StatusForbidden, "has not begun"},
	} {
		v.begin("/hosts")
		if test.before != nil {
			test.before()
		}
		answer, body := v.open("/login/sso/callback" + test.answer)
		if answer.StatusCode != test.status || !strings.Contains(body, test.want) || !strings.Contains(body, "Your token") || len(faultsOf(body)) > 0 {
			t.Errorf("%s: %s\n%s", name, answer.Status, body)
		}
		if status, _ := v.get("/builds"); status != http.StatusSeeOther {
			t.Errorf("%s: logged in", name)
		}
	}
	v.begin("/hosts")
	kept := v.cookies["ampoule-login"]
	answer, body := v.open("/login/sso/callback?state=s&code=" + webtest.Code)
	if answer.StatusCode != http.StatusOK || answer.Header.Get("Refresh") != "0; url=/hosts" || answer.Header.Get("Referrer-Policy") != "no-referrer" || !strings.Contains(body, `href="/hosts"`) || v.cookies["ampoule-login"] != "" || strings.Contains(body, webtest.Code) {
		t.Errorf("%s %v\n%s", answer.Status, answer.Header, body)
	}
	for _, cookie := range answer.Cookies() {
		if cookie.Name == "ampoule-session" && (cookie.SameSite != http.SameSiteStrictMode || cookie.MaxAge != 8*3600) {
			t.Errorf("cookie %v", cookie)
		}
	}
	if status, body := v.get("/builds"); status != http.StatusOK || !strings.Contains(body, "sso:ann@example.org") {
		t.Errorf("%d", status)
	}
	if answer := v.post("/builds/"+webtest.Running+"/cancel", url.Values{}); answer.StatusCode != http.StatusSeeOther {
		t.Errorf("a form: %s", answer.Status)
	}
	if last := told[len(told)-2:]; last[0] != "login /login/sso/callback true" || last[1] != "cancel /builds/"+webtest.Running+"/cancel true" || told[0] != "login /login/sso/callback false" {
		t.Errorf("%v", told)
	}
	// The session ends with its length, and when its owner may do nothing any more.
	now = now.Add(9 * time.Hour)
	if status, _ := v.get("/builds"); status != http.StatusSeeOther {
		t.Errorf("after nine hours: %d", status)
	}
	now = webtest.Now
	if v.post("/logout", url.Values{}); v.cookies["ampoule-session"] != "" {
		t.Error("logged out, and the session is there")
	}
	// An answer that was used counts once: its cookie is gone. Who has copied it needs a new code.
	v.cookies["ampoule-login"] = kept
	if answer, _ := v.open("/login/sso/callback?state=s&error=x"); answer.StatusCode != http.StatusForbidden {
		t.Errorf("again: %s", answer.Status)
	}
}

// session is the value of a session's cookie.
func session(t *testing.T) string {
	t.Helper()
	return visit(t, webtest.Example(), webtest.TokenAll).cookies["ampoule-session"]
}

// Who has logged in by an issuer is out as soon as the rules say so, and when the service has no issuers
// any more.
func TestPersonsEnd(t *testing.T) {
	t.Parallel()
	s := webtest.Example()
	v := visit(t, s, "")
	v.begin("/builds")
	v.open("/login/sso/callback?code=" + webtest.Code)
	if status, _ := v.get("/builds"); status != http.StatusOK {
		t.Fatal(status)
	}
	cookie := v.cookies["ampoule-session"]
	s.Revoke(webtest.TokenAll)
	if status, _ := v.get("/builds"); status != http.StatusSeeOther {
		t.Errorf("after the rules have changed: %d", status)
	}
	c := webtest.Example().Config()
	c.Logins, c.Trail = nil, nil
	bare := visitPages(t, c, "")
	bare.cookies["ampoule-session"] = cookie
	if status, _ := bare.get("/builds"); status != http.StatusSeeOther {
		t.Errorf("without issuers: %d", status)
	}
	for _, path := range []string{"/login/sso", "/login/sso/callback?code=x"} {
		if status, body := bare.get(path); status != http.StatusNotFound || strings.Contains(body, "Example SSO") {
			t.Errorf("%s: %d", path, status)
		}
	}
	bare.login(webtest.TokenAll)
	if _, body := bare.get("/builds"); strings.Contains(body, "Audit") {
		t.Error("a service without an audit log leads to it")
	}
	if status, _ := bare.get("/audit"); status != http.StatusNotFound {
		t.Errorf("%d", status)
	}
}

// The audit log is for those who administer everything.
func TestAuditIsForAdministrators(t *testing.T) {
	t.Parallel()
	s := webtest.Example()
	for token, want := range map[string]int{webtest.TokenAll: http.StatusOK, webtest.TokenRead: http.StatusForbidden, webtest.TokenShop: http.StatusForbidden} {
		v := visit(t, s, token)
		status, body := v.get("/audit")
		if status != want || strings.Contains(body, "203.0.113.9") != (want == http.StatusOK) {
			t.Errorf("%s: %d", token, status)
		}
		if _, body := v.get("/builds"); strings.Contains(body, `href="/audit"`) != (want == http.StatusOK) {
			t.Errorf("%s: the audit log is in the navigation, or it is not", token)
		}
	}
}

var _ web.Logins = (*webtest.Service)(nil)
