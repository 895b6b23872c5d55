package server

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"ampoule/faults"
)

// TestScopes asks with tokens of several scopes.
func TestScopes(t *testing.T) {
	t.Parallel()
	s := serve(t, Config{})
	secrets := map[string]string{
		"none": "", "pull": s.token("pull", time.Time{}, "pull:team/*"), "push": s.token("push", time.Time{}, "push:team/*"), "delete": s.token("delete", time.Time{}, "delete:team/*"),
		"expired": s.token("expired", time.Now().Add(-time.Hour), "push:*", "delete:*"), "unknown": "ampoule_aaaaaaaaaa_b", "no token": "hunter2",
	}
	digest := s.blob(secrets["push"], "team/web", []byte("{}"))
	m := image(digest, 2, "")
	if got := s.put(secrets["push"], "team/web", "1", m, nil); got.status != http.StatusCreated {
		t.Fatalf("pushing: %d %s", got.status, got.body)
	}
	const (
		ok, created, accepted, taken = http.StatusOK, http.StatusCreated, http.StatusAccepted, http.StatusConflict
		ask, no                      = http.StatusUnauthorized, http.StatusForbidden
	)
	for _, c := range []struct {
		method, path string
		want         map[string]int
	}{
		{http.MethodGet, "/v2/", map[string]int{"none": ask, "pull": ok, "push": ok, "delete": ok, "expired": ask, "unknown": ask, "no token": ask}},
		{http.MethodGet, "/v2/team/web/manifests/1", map[string]int{"none": ask, "pull": ok, "push": ok, "delete": no, "expired": ask, "unknown": ask}},
		{http.MethodGet, "/v2/team/web/tags/list", map[string]int{"none": ask, "pull": ok, "push": ok, "delete": no}},
		{http.MethodGet, "/v2/team/web/referrers/" + digest, map[string]int{"none": ask, "pull": ok, "push": ok, "delete": no}},
		{http.MethodHead, "/v2/team/web/blobs/" + digest, map[string]int{"none": ask, "pull": ok, "push": ok, "delete": no}},
		{http.MethodGet, "/v2/other/manifests/1", map[string]int{"none": ask, "pull": no, "push": no, "delete": no}},
		{http.MethodPost, "/v2/team/web/blobs/uploads/", map[string]int{"none": ask, "pull": no, "push": accepted, "delete": no, "expired": ask, "unknown": ask}},
		{http.MethodPost, "/v2/other/blobs/uploads/", map[string]int{"pull": no, "push": no, "delete": no}},
		{http.MethodDelete, "/v2/team/web/blobs/uploads/x", map[string]int{"none": ask, "pull": no, "delete": no}},
		{http.MethodDelete, "/v2/team/web/blobs/" + digest, map[string]int{"none": ask, "pull": no, "push": no, "delete": taken, "expired": ask}},
		{http.MethodDelete, "/v2/other/manifests/1", map[string]int{"pull": no, "push": no, "delete": no}},
		{http.MethodDelete, "/v2/team/web/manifests/1", map[string]int{"none": ask, "pull": no, "push": no, "delete": accepted}},
		{http.MethodGet, "/v2/_catalog", map[string]int{"none": ask, "pull": http.StatusNotFound}},
	} {
		for who, want := range c.want {
			got := s.want(want, call{method: c.method, path: c.path, secret: secrets[who]})
			if challenge := got.header.Get("WWW-Authenticate"); (want == ask) != strings.HasPrefix(challenge, "Basic ") {
				t.Errorf("%s: %s %s asks for %q", who, c.method, c.path, challenge)
			}
			if secret := secrets[who]; secret == "" || want == ask {
				continue
			}
			// Bearer is as good.
			if c.method == http.MethodGet {
				s.want(want, call{method: c.method, path: c.path, header: map[string]string{"Authorization": "Bearer " + secrets[who]}})
			}
		}
	}
}

// TestRevoked revokes a token between two requests of one connection.
func TestRevoked(t *testing.T) {
	t.Parallel()
	s := serve(t, Config{})
	secret := s.token("ci", time.Time{}, "push:*")
	s.want(http.StatusOK, call{method: http.MethodGet, path: "/v2/", secret: secret})
	if _, err := s.book.Revoke("ci"); err != nil {
		t.Fatal(err)
	}
	s.want(http.StatusUnauthorized, call{method: http.MethodGet, path: "/v2/", secret: secret})
	s.want(http.StatusUnauthorized, call{method: http.MethodGet, path: "/v2/"})
}

// TestPublic reads without a token, and writes with one, as clients do it that ask for bearer
// tokens.
func TestPublic(t *testing.T) {
	t.Parallel()
	s := serve(t, Config{Public: true})
	secret := s.token("ci", time.Time{}, "push:*")
	digest := s.blob(secret, "web", []byte("{}"))
	s.want(http.StatusOK, call{method: http.MethodGet, path: "/v2/web/blobs/" + digest})
	for path, scope := range map[string]string{"/v2/": "", "/v2/web/blobs/uploads/": `scope="repository:web:pull,push"`} {
		method := http.MethodGet
		if scope != "" {
			method = http.MethodPost
		}
		got := s.want(http.StatusUnauthorized, call{method: method, path: path})
		if challenge := got.header.Get("WWW-Authenticate"); !strings.HasPrefix(challenge, `Bearer realm="`+s.url+`/v2/token"`) || !strings.Contains(challenge, scope) {
			t.Errorf("%s asks for %q", path, challenge)
		}
	}
	bearer := func(secret string) string {
		var answer struct{ Token string }
		got := s.want(http.StatusOK, call{method: http.MethodGet, path: "/v2/token?service=x&scope=repository:web:pull", secret: secret})
		if err := json.Unmarshal([]byte(got.body), &answer); err != nil {
			t.Error(err)
		}
		return answer.Token
	}
	for who, want := range map[string][2]int{"": {http.StatusOK, http.StatusUnauthorized}, secret: {http.StatusOK, http.StatusAccepted}} {
		header := map[string]string{"Authorization": "Bearer " + bearer(who)}
		s.want(want[0], call{method: http.MethodGet, path: "/v2/", header: header})
		s.want(want[0], call{method: http.MethodGet, path: "/v2/web/blobs/" + digest, header: header})
		s.want(want[1], call{method: http.MethodPost, path: "/v2/web/blobs/uploads/", header: header})
	}
	s.want(http.StatusUnauthorized, call{method: http.MethodGet, path: "/v2/token", secret: secret + "x"})
	s.want(http.StatusMethodNotAllowed, call{method: http.MethodPost, path: "/v2/token", secret: secret})
	if got := serve(t, Config{}); got.token("ci", time.Time{}, "pull:*") != "" {
		got.want(http.StatusUnauthorized, call{method: http.MethodGet, path: "/v2/token"})
	}
}

// TestGuessing sends wrong tokens until nobody looks at them, which holds up no other token.
func TestGuessing(t *testing.T) {
	t.Parallel()
	s := serve(t, Config{})
	right, other := s.token("right", time.Time{}, "pull:*"), s.token("other", time.Time{}, "pull:*")
	for range guessesAllowed {
		s.want(http.StatusUnauthorized, call{method: http.MethodGet, path: "/v2/", secret: right + "x"})
	}
	for _, secret := range []string{right + "x", right} {
		if got := s.want(http.StatusTooManyRequests, call{method: http.MethodGet, path: "/v2/", secret: secret}); got.header.Get("Retry-After") == "" || got.code() != "TOOMANYREQUESTS" {
			t.Errorf("it says %v", got)
		}
	}
	s.want(http.StatusOK, call{method: http.MethodGet, path: "/v2/", secret: other})
	if len(s.warned()) != guessesAllowed {
		t.Errorf("%d wrong tokens are told", len(s.warned()))
	}
}

func TestGuesses(t *testing.T) {
	t.Parallel()
	g := newGuesses()
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	g.now = func() time.Time { return now }
	for range guessesAllowed {
		g.add("1.2.3.4", "a")
	}
	if g.wait("1.2.3.4", "a") != guessTime || g.wait("1.2.3.4", "b") != 0 || g.wait("1.2.3.5", "a") != 0 {
		t.Error("others are held up, or nobody is")
	}
	for i := range floodAllowed {
		g.add("1.2.3.4", string(rune('A'+i)))
	}
	if g.wait("1.2.3.4", "b") == 0 || g.wait("1.2.3.5", "b") != 0 {
		t.Error("a flood is not seen")
	}
	now = now.Add(guessTime + time.Second)
	if g.wait("1.2.3.4", "a") != 0 || g.wait("1.2.3.4", "b") != 0 {
		t.Error("it never ends")
	}
	for i := range 3 * maxGuessers {
		g.add(string(rune(i)), "a")
	}
	if len(g.of) > maxGuessers+2 {
		t.Errorf("%d addresses are remembered", len(g.of))
	}
}

// TestMountNeedsReading takes content from a repository that the token may not read: it has to
// be sent.
func TestMountNeedsReading(t *testing.T) {
	t.Parallel()
	s := serve(t, Config{})
	digest := s.blob(s.token("all", time.Time{}, "push:*"), "secret", []byte("{}"))
	mine := s.token("mine", time.Time{}, "push:mine")
	both := s.token("both", time.Time{}, "push:mine", "pull:secret")
	path := "/v2/mine/blobs/uploads/?from=secret&mount=" + digest
	s.want(http.StatusAccepted, call{method: http.MethodPost, path: path, secret: mine})
	s.want(http.StatusNotFound, call{method: http.MethodHead, path: "/v2/mine/blobs/" + digest, secret: mine})
	s.want(http.StatusCreated, call{method: http.MethodPost, path: path, secret: both})
}

// TestPlainHTTP has a server that others reach without TLS take no token.
func TestPlainHTTP(t *testing.T) {
	t.Parallel()
	s := serve(t, Config{})
	secret := s.token("ci", time.Time{}, "pull:*")
	for name, c := range map[string]struct {
		config      Config
		local, path string
		secret      string
		want        int
	}{
		"from this machine":        {Config{}, "127.0.0.1", "", secret, http.StatusOK},
		"over a network":           {Config{}, "192.0.2.1", "", secret, http.StatusForbidden},
		"nothing over a network":   {Config{}, "192.0.2.1", "", "", http.StatusForbidden},
		"over a network, public":   {Config{Public: true}, "192.0.2.1", "", "", http.StatusOK},
		"content there":            {Config{Public: true}, "192.0.2.1", "x/manifests/y", "", http.StatusNotFound},
		"token there":              {Config{Public: true}, "192.0.2.1", "x/manifests/y", secret, http.StatusForbidden},
		"behind a proxy":           {Config{Proxied: true}, "192.0.2.1", "", secret, http.StatusOK},
		"nothing behind the proxy": {Config{Proxied: true}, "192.0.2.1", "", "", http.StatusUnauthorized},
	} {
		req := httptest.NewRequestWithContext(context.WithValue(t.Context(), http.LocalAddrContextKey, &net.TCPAddr{IP: net.ParseIP(c.local)}), http.MethodGet, "http://"+c.local+"/v2/"+c.path, nil)
		if c.secret != "" {
			req.SetBasicAuth("x", c.secret)
		}
		answer := httptest.NewRecorder()
		New(s.own, s.book, c.config).ServeHTTP(answer, req)
		if answer.Code != c.want || answer.Code == http.StatusForbidden && answer.Header().Get("WWW-Authenticate") != "" {
			t.Errorf("%s: %d %v, want %d", name, answer.Code, answer.Header(), c.want)
		}
	}
	err := Serve(t.Context(), s.own, s.book, Config{Listen: "0.0.0.0:0"}, func(string) { t.Error("it listens") })
	if faults.Of(err) != faults.Usage || len(faults.Hints(err)) == 0 {
		t.Errorf("serving tokens over plain http: %v", err)
	}
}

// TestForwarded believes a proxy, and nobody else, about who asks.
func TestForwarded(t *testing.T) {
	t.Parallel()
	req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://registry.example/v2/", nil)
	req.Header.Set("X-Forwarded-For", "198.51.100.1, 203.0.113.7")
	req.RemoteAddr = "192.0.2.1:1"
	for proxied, want := range map[bool]string{false: "192.0.2.1", true: "203.0.113.7"} {
		if got := NewGate(nil, proxied, nil).Client(req); got != want {
			t.Errorf("proxied %v: the client is %s", proxied, got)
		}
	}
}
