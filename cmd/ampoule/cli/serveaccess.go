package cli

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"ampoule/registry/server"
	"ampoule/registry/tokens"
	"ampoule/service/access"
	"ampoule/service/access/issuers"
	"ampoule/service/api"
	"ampoule/service/journal"
	"ampoule/service/trail"
	"ampoule/service/web"
	"ampoule/service/web/sources"
)

// guard is what finds out who asks a service: by its tokens, and by the issuers of the access file.
func (s *Session) guard(o serving, book *tokens.Book, warn func(message string)) (*access.Guard, error) {
	g := access.NewGuard(book, o.Proxied, warn)
	if o.access == "" {
		return g, nil
	}
	settings, err := issuers.Read(o.access)
	if err != nil {
		return nil, err
	}
	for _, warning := range settings.Warnings() {
		warn(o.access + ": " + warning)
	}
	all, err := issuers.Open(settings)
	if err != nil {
		return nil, err
	}
	return g.Believe(all), nil
}

// logins gives the pages the issuers by whom people log in, and the audit log.
func logins(c *api.Config, log *trail.Log, shown *web.Config) {
	if all := c.Guard.Issuers(); all != nil && len(all.Ways()) > 0 {
		shown.Logins = sources.Logins{Issuers: all, Guard: c.Guard}
	}
	shown.Trail = sources.Trail{Log: log}
	shown.Changed = func(ctx context.Context, action, target string, err error) {
		if err := log.Conclude(ctx, action, target, err); err != nil {
			journal.Of(ctx).WithError(err).Error("a change is not in the audit log")
		}
	}
}

// served is a service's registry as other programs use it. What they write and remove is in the audit
// log; it is on disk before.
func (o serving) served(registry http.RoundTripper, guard *access.Guard, log *trail.Log, told *logrus.Logger) http.Handler {
	c := o.Config
	c.Known = api.KnownCaller
	c.Note = func(e server.Entry) {
		what, changes := methods[e.Method]
		if !changes || e.TokenID == "" || !strings.Contains(e.Path, "/manifests/") {
			return // content that no manifest names is nothing yet
		}
		entry := trail.Entry{Who: trail.Who{Name: e.Token, ID: e.TokenID}, Action: "registry-" + what, Target: e.Path, Client: e.Client, Result: trail.Done}
		if e.Status >= http.StatusBadRequest {
			entry.Result, entry.Message = trail.Refused, http.StatusText(e.Status)
		}
		ctx, cancel := context.WithTimeout(context.Background(), noteTime)
		defer cancel()
		if err := log.Write(ctx, entry); err != nil {
			logrus.NewEntry(told).WithError(err).Error("a change is not in the audit log")
		}
	}
	return server.New(registry, guard.Tokens(), c)
}

// noteTime bounds how long the registry waits for the audit log.
const noteTime = 10 * time.Second

// methods say what is done to a registry.
var methods = map[string]string{http.MethodPut: "write", http.MethodDelete: "delete"}
