package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"ampoule/faults"
	"ampoule/registry/channel"
	"ampoule/service/access/issuers"
	"ampoule/service/access/issuers/issuertest"
	"ampoule/service/builds"
	"ampoule/service/database"
	"ampoule/service/database/databasetest"
	"ampoule/service/trail"
	"ampoule/service/wire"
)

// recordedRig is a server with an audit log.
func recordedRig(t *testing.T, change func(*Config, *trail.Log)) (*rig, *trail.Log) {
	t.Helper()
	log := trail.Open(databasetest.Open(t, database.Options{Dir: t.TempDir()}), 0)
	return newRig(t, func(c *Config) {
		c.Trail = log
		if change != nil {
			change(c, log)
		}
	}), log
}

// operations are all of a server, by method and path.
func operations(s *Server) map[string]*huma.Operation {
	all := map[string]*huma.Operation{}
	for path, item := range s.api.OpenAPI().Paths {
		for _, op := range []*huma.Operation{item.Get, item.Post, item.Put, item.Delete, item.Patch} {
			if op != nil {
				all[op.Method+" "+path] = op
			}
		}
	}
	return all
}

// Every route that changes something is in the audit log, also where it is refused. Whoever adds one
// that changes nothing says so.
func TestEveryChangeIsRecorded(t *testing.T) {
	t.Parallel()
	r, log := recordedRig(t, nil)
	useless := r.token("useless", "pull:*")
	var want []string
	for at, op := range operations(r.server) {
		method, path, _ := strings.Cut(at, " ")
		if op.Method == http.MethodGet || slices.Contains(unrecorded, op.OperationID) {
			continue
		}
		// Nobody is known: that is in the service's log alone.
		r.do(method, concrete(path), "", nil)
		resp, body := r.do(method, concrete(path), useless, nil)
		if resp.StatusCode != http.StatusForbidden {
			t.Errorf("%s: %s %s", at, resp.Status, body)
		}
		want = append(want, fmt.Sprint(op.OperationID, " ", concrete(path), " refused by useless in ", resp.Header.Get(wire.RequestHeader)))
	}
	page, err := log.List(t.Context(), trail.Filter{}, "", 500)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range page.Entries {
		got = append(got, fmt.Sprint(e.Action, " ", e.Target, " ", e.Result, " by ", e.Name, " in ", e.Request))
		if e.Client != "127.0.0.1" || e.Message == "" {
			t.Errorf("%+v", e)
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(want, got) || len(want) < 9 {
		t.Errorf("entries\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for _, id := range unrecorded {
		if !slices.ContainsFunc(slices.Collect(func(yield func(*huma.Operation) bool) {
			for _, op := range operations(r.server) {
				if !yield(op) {
					return
				}
			}
		}), func(op *huma.Operation) bool { return op.OperationID == id }) {
			t.Errorf("there is no operation %s", id)
		}
	}
}

// A channel is written between the beginning and the end of its entry.
func TestChangesAreInTheLog(t *testing.T) {
	t.Parallel()
	w := &writes{}
	r, _ := recordedRig(t, func(c *Config, log *trail.Log) {
		c.Promoter = Promotions{Promoter: w, Trust: func(context.Context, string) (bool, bool, error) { return false, false, nil }, Trail: log}
	})
	admin, release := r.token("admin", "admin:*"), r.token("release", "promote:web→prod")
	const asJSON = "Content-Type: application/json"
	digest := "sha256:" + strings.Repeat("1", 64)
	post := func(path, secret, body string) *http.Response {
		t.Helper()
		resp, _ := r.do(http.MethodPost, path, secret, strings.NewReader(body), asJSON)
		return resp
	}
	promote := `{"name":"web","digest":"` + digest + `","reason":"tested"}`
	post("/v1/channels/prod/promote", release, promote)
	w.err = faults.New(faults.Refused, "", "one approval is missing")
	post("/v1/channels/prod/promote", release, promote)
	w.err = errors.New("unforeseen")
	post("/v1/channels/prod/revoke", release, promote)
	made := post("/v1/tokens", admin, `{"name":"new","scopes":["read:*"]}`)
	post("/v1/tokens", admin, `{"name":"new","scopes":["read:*"]}`)
	resp, text := r.do(http.MethodGet, "/v1/audit?limit=4", admin, nil)
	page := read[wire.Audit](t, text)
	if resp.StatusCode != http.StatusOK || len(page.Entries) != 4 || page.Next == "" {
		t.Fatalf("%s", text)
	}
	_, text = r.do(http.MethodGet, "/v1/audit?after="+page.Next, admin, nil)
	rest := read[wire.Audit](t, text)
	var got []string
	for _, e := range append(page.Entries, rest.Entries...) {
		got = append(got, strings.TrimSpace(fmt.Sprint(e.Action, " ", e.Target, " ", e.Result, " ", e.Caller, " ", e.Message)))
	}
	want := []string{
		"create-token /v1/tokens refused admin there is a token new already", "create-token /v1/tokens done admin",
		"revoke web:prod failed release unforeseen", "promote web:prod refused release one approval is missing", "promote web:prod done release",
	}
	if !slices.Equal(got, want) {
		t.Errorf("entries\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if e := page.Entries[1]; e.Request != made.Header.Get(wire.RequestHeader) || e.Details["scopes"] != "read:*" || e.Details["token"] != "new" || e.CallerID == "" {
		t.Errorf("%+v", e)
	}
	if e := rest.Entries[0]; e.Details["digest"] != digest || e.Details["reason"] != "tested (by token release)" {
		t.Errorf("%+v", e)
	}
	for query, n := range map[string]int{"caller=release": 3, "result=failed": 1, "action=create-token": 2, "target=web:prod": 3, "target=web": 3, "since=2999-01-01T00:00:00Z": 0} {
		if _, text := r.do(http.MethodGet, "/v1/audit?"+query, admin, nil); len(read[wire.Audit](t, text).Entries) != n {
			t.Errorf("%s: %s", query, text)
		}
	}
	resp, text = r.do(http.MethodGet, "/v1/audit", r.token("team", "admin:team/*"), nil)
	refused(t, "an administrator of some names", resp, text, http.StatusForbidden, "admin:*")
	resp, text = r.do(http.MethodGet, "/v1/audit?after=garbage", admin, nil)
	refused(t, "no page", resp, text, http.StatusBadRequest, "is not the end of a page")
}

// Where the audit log cannot be written no channel is.
func TestNoChangeWithoutTheLog(t *testing.T) {
	t.Parallel()
	w := &writes{}
	db := databasetest.Open(t, database.Options{Dir: t.TempDir()})
	r := newRig(t, func(c *Config) {
		c.Promoter = Promotions{Promoter: w, Trust: func(context.Context, string) (bool, bool, error) { return false, false, nil }, Trail: trail.Open(db, 0)}
	})
	secret := r.token("release", "promote:web→prod")
	if err := db.Write(t.Context(), func(ctx context.Context, tx database.Tx) error {
		_, err := tx.Exec(ctx, "DROP TABLE trail")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	resp, text := r.do(http.MethodPost, "/v1/channels/prod/promote", secret, strings.NewReader(`{"name":"web","digest":"sha256:`+strings.Repeat("1", 64)+`"}`), "Content-Type: application/json")
	refused(t, "without the log", resp, text, http.StatusInternalServerError, "nobody foresaw")
	if len(w.asked) > 0 {
		t.Error("a channel was written that the audit log does not know of")
	}
}

// What a channel names is looked at once: what is promoted is what was found to be trusted.
func TestPromotionFromAChannel(t *testing.T) {
	t.Parallel()
	w, asked := &writes{}, []string{}
	p := Promotions{Promoter: w, Trust: func(_ context.Context, digest string) (bool, bool, error) {
		asked = append(asked, digest)
		return true, true, nil
	}, Channels: func(context.Context) (Channels, error) { return nil, faults.New(faults.Remote, "", "away") }}
	if _, err := p.Write(t.Context(), channel.Name{Repository: "web", Channel: "prod"}, "ann", channel.Move{Action: channel.Promote, From: "staging"}); faults.Of(err) != faults.Remote || len(w.asked)+len(asked) > 0 {
		t.Errorf("%v, %v, %v", err, w.asked, asked)
	}
	strange := Promotions{Promoter: w, Trust: func(context.Context, string) (bool, bool, error) { return true, false, nil }}
	for _, action := range []channel.Action{channel.Promote, channel.Restart} {
		if _, err := strange.Write(t.Context(), channel.Name{Repository: "web", Channel: "prod"}, "ann", channel.Move{Action: action, Digest: "sha256:1"}); faults.Of(err) != faults.Refused || len(w.asked) > 0 {
			t.Errorf("%s: %v", action, err)
		}
	}
	if _, err := p.Write(t.Context(), channel.Name{Repository: "web", Channel: "prod"}, "ann", channel.Move{Action: channel.Promote, From: "staging", Digest: "sha256:1"}); err != nil || len(w.asked) != 1 || len(asked) != 1 {
		t.Errorf("%v, %v, %v", err, w.asked, asked)
	}
}

// A stream whose ID token has ended is closed without an error: its reader goes on with another token.
func TestTokenEndsInAStream(t *testing.T) {
	t.Parallel()
	p := issuertest.New(t)
	settings, err := issuers.Parse("access.yaml", fmt.Appendf(nil, "apiVersion: ampoule/v1\nissuers: [{name: ci, url: %q, audience: ampoule}]\nrules: [{issuer: ci, match: {sub: somebody}, scopes: [\"read:*\"]}]\nskew: 0s\n", p.URL))
	if err != nil {
		t.Fatal(err)
	}
	all, err := issuers.Open(settings, nil)
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, func(c *Config) { c.Guard.Believe(all) })
	r.queue.builds = []builds.Build{{ID: "b1", Recipe: "web", State: builds.Building}}
	token := p.Token(p.Claims("ampoule", map[string]any{"exp": time.Now().Add(2 * time.Second).Unix()}))
	rest, end := r.opened("/v1/builds/b1/log/stream", token)
	defer end()
	if text := rest(); strings.Contains(text, "event: error") || strings.Contains(text, "event: end") {
		t.Errorf("%s", text)
	}
	resp, body := r.do(http.MethodGet, "/v1/builds/b1/log/stream", token, nil)
	refused(t, "the old token again", resp, body, http.StatusUnauthorized, "has expired")
}
