package cli

import (
	"context"

	"ampoule/config"
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
	all, err := issuers.Open(settings, config.PlaceOf(s.Environ).Network.Proxy)
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
