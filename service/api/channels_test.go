package api

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"ampoule/faults"
	"ampoule/registry/channel"
	"ampoule/service/wire"
)

// writes notes what is asked of it.
type writes struct {
	asked []channel.Promotion
	err   error
}

func (w *writes) log(repository, name, digest, reason string) (*channel.Log, error) {
	if w.err != nil {
		return nil, w.err
	}
	e := channel.Signed{Entry: channel.Entry{Repository: repository, Channel: name, Sequence: 1, Action: channel.Promote, Digest: digest, Who: "service", Reason: reason}, At: time.Unix(1, 0)}
	l := &channel.Log{Repository: repository, Channel: name, Entries: []channel.Signed{e}}
	l.Digest = digest
	return l, nil
}

func (w *writes) Promote(_ context.Context, repository, name string, p channel.Promotion) (*channel.Log, error) {
	w.asked = append(w.asked, p)
	return w.log(repository, name, p.Digest, p.Reason)
}

func (w *writes) Rollback(_ context.Context, repository, name, digest, reason string) (*channel.Log, error) {
	return w.log(repository, name, digest, reason)
}

func (w *writes) Revoke(_ context.Context, repository, name, digest, reason string) (*channel.Log, error) {
	return w.log(repository, name, digest, reason)
}

// A promotion needs the scope of its channel, names who asked, and takes nothing that was built for
// callers who are not trusted.
func TestPromotion(t *testing.T) {
	t.Parallel()
	w := &writes{}
	strange := ""
	r := newRig(t, func(c *Config) {
		c.Promoter = Promotions{Promoter: w, Trust: func(_ context.Context, digest string) (bool, bool, error) { return digest == strange, false, nil }}
	})
	secret := r.token("release", "promote:web→prod")
	const asJSON = "Content-Type: application/json"
	digest := "sha256:" + strings.Repeat("1", 64)
	body := func(more string) *strings.Reader {
		return strings.NewReader(`{"name":"web","digest":"` + digest + `","reason":"tested"` + more + `}`)
	}
	resp, text := r.do(http.MethodPost, "/v1/channels/prod/promote", secret, body(""), asJSON)
	if c := read[wire.Channel](t, text); resp.StatusCode != http.StatusOK || c.Digest != digest || c.Ref != "web@"+digest || len(c.Entries) != 1 || c.Entries[0].By != "service" {
		t.Errorf("%s", text)
	}
	if len(w.asked) != 1 || w.asked[0].Reason != "tested (by token release)" {
		t.Errorf("%+v", w.asked)
	}
	resp, text = r.do(http.MethodPost, "/v1/channels/ci/promote", secret, body(""), asJSON)
	refused(t, "another channel", resp, text, http.StatusForbidden, "promote:web→ci")
	resp, text = r.do(http.MethodPost, "/v1/channels/prod/promote", secret, body(`,"breakGlass":true`), asJSON)
	refused(t, "breaking the glass", resp, text, http.StatusForbidden, "admin:web")
	for _, verb := range []string{"rollback", "revoke"} {
		if resp, text := r.do(http.MethodPost, "/v1/channels/prod/"+verb, secret, body(""), asJSON); resp.StatusCode != http.StatusOK {
			t.Errorf("%s: %s", verb, text)
		}
	}
	resp, text = r.do(http.MethodPost, "/v1/channels/prod/revoke", secret, strings.NewReader(`{"name":"web","reason":"x"}`), asJSON)
	refused(t, "revoking nothing", resp, text, http.StatusUnprocessableEntity, "body.digest")
	w.err = faults.New(faults.Refused, "approve it", "one approval is missing")
	resp, text = r.do(http.MethodPost, "/v1/channels/prod/promote", secret, body(""), asJSON)
	refused(t, "what rules refuse", resp, text, http.StatusForbidden, "one approval is missing")
	w.err = nil
	strange = digest
	resp, text = r.do(http.MethodPost, "/v1/channels/prod/promote", secret, body(""), asJSON)
	refused(t, "built for strangers", resp, text, http.StatusForbidden, "not trusted")
	if text := r.log.String(); !strings.Contains(text, `"audit":"promote"`) || !strings.Contains(text, `"audit":"promote refused"`) {
		t.Errorf("%s", text)
	}
}
