package client

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// A job of GitHub Actions brings an ID token for the service, and another one before it ends.
func TestActions(t *testing.T) {
	t.Parallel()
	asked, lifetime := 0, time.Hour
	refuse := false
	github := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if refuse || r.Header.Get("Authorization") != "Bearer request-secret" || r.URL.Query().Get("audience") != "https://ampoule.example" || r.URL.Query().Get("api-version") != "2.0" {
			http.Error(w, "no", http.StatusForbidden)
			return
		}
		asked++
		payload := base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"exp":%d}`, time.Now().Add(lifetime).Unix()))
		fmt.Fprintf(w, `{"count":1,"value":"ey.%s.%d"}`, payload, asked)
	}))
	defer github.Close()
	var got []string
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = append(got, r.Header.Get("Authorization"))
		_, _ = w.Write([]byte(`{"name":"github:x"}`))
	}))
	defer service.Close()
	actions := &Actions{URL: github.URL + "/token?api-version=2.0", Token: "request-secret", Audience: "https://ampoule.example"}
	c, err := New(Options{Server: service.URL, Transport: actions})
	if err != nil {
		t.Fatal(err)
	}
	who := func() error {
		_, err := c.WhoAmI(t.Context())
		return err
	}
	for range 3 {
		if err := who(); err != nil {
			t.Fatal(err)
		}
	}
	if asked != 1 || len(got) != 3 || got[0] != got[2] || !strings.HasSuffix(got[0], ".1") {
		t.Errorf("asked %d times, sent %v", asked, got)
	}
	actions.until, lifetime = time.Now(), 30*time.Second // shorter than the time before its end
	for range 2 {
		if err := who(); err != nil {
			t.Fatal(err)
		}
	}
	if asked != 3 || !strings.HasSuffix(got[4], ".3") {
		t.Errorf("asked %d times, sent %v", asked, got)
	}
	refuse, c.wait = true, nil
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, service.URL, nil)
	if _, err := actions.RoundTrip(req); err == nil || !strings.Contains(err.Error(), "403") || strings.Contains(err.Error(), "request-secret") {
		t.Errorf("%v", err)
	}
	plain, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://ampoule.example/", nil)
	if _, err := actions.RoundTrip(plain); err == nil || !strings.Contains(err.Error(), "plain http") {
		t.Errorf("%v", err)
	}
}
