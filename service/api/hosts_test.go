package api

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"ampoule/agent/reports"
	"ampoule/registry/trust/keys"
	"ampoule/service/database"
	"ampoule/service/database/databasetest"
	"ampoule/service/hosts"
	"ampoule/service/webhooks"
	"ampoule/service/wire"
)

// signed is a report of a host at a second.
func signed(t *testing.T, by keys.Signer, second int) string {
	t.Helper()
	digest := "sha256:" + strings.Repeat("1", 64)
	r := reports.Report{
		Host: "web-1", Channel: "registry.example/web:prod", Root: "/opt/web", Count: second, State: reports.Follows, Digest: digest, Wanted: digest,
		Time: time.Date(2026, 1, 2, 3, 4, second, 0, time.UTC).Format(time.RFC3339),
	}
	data, err := r.Sign(t.Context(), by)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// A report is taken from whoever may read the channel's repository, within bounds, and told to those alone.
func TestReports(t *testing.T) {
	t.Parallel()
	by, err := keys.Generate()
	if err != nil {
		t.Fatal(err)
	}
	book := &hosts.Book{DB: databasetest.Open(t, database.Options{Dir: t.TempDir()}), Keys: func(context.Context) (reports.Keys, error) {
		return reports.Keys{"web-1": by.Public()}, nil
	}}
	r := newRig(t, func(c *Config) {
		c.Reports = book
		c.OwnName = func(repository string) string { return strings.TrimPrefix(repository, "registry.example/") }
	})
	mine, others, admin := r.token("mine", "read:web"), r.token("others", "read:other"), r.token("admin", "admin:*")
	const asJSON = "Content-Type: application/json"
	push := func(secret, body string, headers ...string) (*http.Response, string) {
		t.Helper()
		return r.do(http.MethodPost, "/v1/reports", secret, strings.NewReader(body), headers...)
	}
	resp, body := push(mine, signed(t, by, 1), asJSON)
	if got := read[wire.Reported](t, body); resp.StatusCode != http.StatusOK || got.Host != "web-1" || !got.Changed {
		t.Errorf("%s %s", resp.Status, body)
	}
	if resp, body := push(mine, signed(t, by, 2), asJSON); resp.StatusCode != http.StatusOK || read[wire.Reported](t, body).Changed {
		t.Errorf("%s %s", resp.Status, body)
	}
	for _, c := range []struct {
		name, secret, body, kind string
		status                   int
		says                     string
	}{
		{"an older one", mine, signed(t, by, 1), asJSON, http.StatusConflict, "has reported at"},
		{"of another repository", others, signed(t, by, 3), asJSON, http.StatusNotFound, "there is no web"},
		{"nothing", mine, "", asJSON, http.StatusBadRequest, "body is required"},
		{"something else", mine, "{}", asJSON, http.StatusForbidden, "reading report"},
		{"too much", mine, strings.Repeat(" ", reports.MaxBytes+1), asJSON, http.StatusRequestEntityTooLarge, ""},
	} {
		resp, body := push(c.secret, c.body, c.kind)
		refused(t, c.name, resp, body, c.status, c.says)
	}
	var all wire.Hosts
	if _, body := r.do(http.MethodGet, "/v1/hosts", mine, nil); len(read[wire.Hosts](t, body).Hosts) != 1 {
		t.Errorf("%s", body)
	}
	if _, body := r.do(http.MethodGet, "/v1/hosts", others, nil); len(read[wire.Hosts](t, body).Hosts) != 0 {
		t.Errorf("%s %v", body, all)
	}
	for query, status := range map[string]int{
		"":                    http.StatusOK,
		"?distribution=flask": http.StatusOK,
		"?digest=sha256:" + strings.Repeat("1", 64): http.StatusOK,
		"?digest=sha256:12":                         http.StatusUnprocessableEntity,
		"?distribution=flask&library=libssl.so.3":   http.StatusUnprocessableEntity,
		"?distribution=flask%3D%3Dx+y":              http.StatusUnprocessableEntity,
		"?channel=web":                              http.StatusUnprocessableEntity,
		"?channel=other:prod":                       http.StatusNotFound,
		"?channel=169.254.169.254/web:prod":         http.StatusNotFound,
	} {
		if resp, body := r.do(http.MethodGet, "/v1/deployments"+query, mine, nil); resp.StatusCode != status {
			t.Errorf("%s: %s %s, want %d", query, resp.Status, body, status)
		}
	}
	if resp, body := r.do(http.MethodGet, "/v1/hosts/web-1", mine, nil); resp.StatusCode != http.StatusOK || len(read[wire.OneHost](t, body).History) != 1 {
		t.Errorf("%s", body)
	}
	resp, body = r.do(http.MethodGet, "/v1/hosts/web-1", others, nil)
	refused(t, "another team's host", resp, body, http.StatusNotFound, "has reported nothing")
	if resp, body := r.do(http.MethodDelete, "/v1/hosts/web-1", admin, nil); resp.StatusCode != http.StatusNoContent {
		t.Errorf("%s %s", resp.Status, body)
	}
	resp, body = r.do(http.MethodDelete, "/v1/hosts/web-1", admin, nil)
	refused(t, "a host that is gone", resp, body, http.StatusNotFound, "has reported nothing")
}

// No request has the server ask another registry for what a report names.
func TestDeploymentsOfOthers(t *testing.T) {
	t.Parallel()
	by, err := keys.Generate()
	if err != nil {
		t.Fatal(err)
	}
	book := &hosts.Book{DB: databasetest.Open(t, database.Options{Dir: t.TempDir()}), Keys: func(context.Context) (reports.Keys, error) {
		return reports.Keys{"web-1": by.Public()}, nil
	}}
	r := newRig(t, func(c *Config) {
		c.Reports = book
		c.Channels = func(context.Context) (Channels, error) { return nil, nil }
	})
	all := r.token("all", "read:*")
	if resp, body := r.do(http.MethodPost, "/v1/reports", all, strings.NewReader(signed(t, by, 1)), "Content-Type: application/json"); resp.StatusCode != http.StatusNotFound && resp.StatusCode != http.StatusOK {
		t.Fatal(body)
	}
	_, body := r.do(http.MethodGet, "/v1/deployments?distribution=flask", all, nil)
	if d := read[wire.Deployments](t, body); strings.Count(strings.Join(d.Unknown, "\n"), "it is in another registry") != 2 || len(d.Hosts) != 0 {
		t.Errorf("%s", body)
	}
}

// An administrator sees what was sent to whom, without what is secret of it, and has it sent again.
func TestWebhooks(t *testing.T) {
	t.Parallel()
	db := databasetest.Open(t, database.Options{Dir: t.TempDir()})
	out := webhooks.NewOutbox(db, []webhooks.Hook{{Name: "chat", URL: "https://chat.example/secret-path?and=query", Events: webhooks.Types()}})
	if err := out.AddOne(t.Context(), webhooks.Event{Type: webhooks.BuildEnded, Name: "web", Subject: "b1", Time: time.Unix(1, 0)}); err != nil {
		t.Fatal(err)
	}
	r := newRig(t, func(c *Config) { c.Webhooks = out })
	admin, some := r.token("admin", "admin:*"), r.token("some", "admin:web")
	resp, body := r.do(http.MethodGet, "/v1/webhooks", admin, nil)
	all := read[wire.Webhooks](t, body)
	if resp.StatusCode != http.StatusOK || len(all.Webhooks) != 1 || len(all.Webhooks[0].Deliveries) != 1 || all.Webhooks[0].URL != "https://chat.example" || strings.Contains(body, "secret") {
		t.Fatal(body)
	}
	resp, body = r.do(http.MethodGet, "/v1/webhooks", some, nil)
	refused(t, "an administrator of some names", resp, body, http.StatusForbidden, "may not admin all")
	path := "/v1/webhooks/chat/deliveries/" + all.Webhooks[0].Deliveries[0].ID + "/redeliver"
	if resp, body := r.do(http.MethodPost, path, admin, nil); resp.StatusCode != http.StatusAccepted || read[wire.Delivery](t, body).State != "waiting" {
		t.Errorf("%s %s", resp.Status, body)
	}
	for _, path := range []string{"/v1/webhooks/nobody/deliveries/x/redeliver", "/v1/webhooks/chat/deliveries/x/redeliver"} {
		resp, body := r.do(http.MethodPost, path, admin, nil)
		refused(t, path, resp, body, http.StatusNotFound, "webhook")
	}
}
