package cli

import (
	"cmp"
	"context"
	"path/filepath"
	"strings"

	"ampoule/service/api"
	"ampoule/service/journal"
	"ampoule/service/metrics"
	"ampoule/service/queue"
	"ampoule/service/trail"
	"ampoule/service/web"
	"ampoule/service/web/sources"
	"ampoule/wiring"
)

// pages gives the API the pages, which show what it serves, and the metrics.
func (s *Session) pages(ctx context.Context, o serving, data string, q *queue.Queue, w *wiring.Parts, m *metrics.Metrics, changes *trail.Log, c *api.Config) error {
	key, err := web.OpenKey(cmp.Or(o.pagesKey, filepath.Join(data, "pages-key")))
	if err != nil {
		return err
	}
	reg, err := w.Registry()
	if err != nil {
		return err
	}
	shown := sources.Service{Queue: q, Guard: c.Guard, Registry: reg, Reference: w.Reference, Platform: platform(), Temp: c.Temp}
	if c.Artifacts != nil {
		shown.List = w.Own
	}
	if c.Channels != nil {
		shown.Channels = &sources.Channels{Open: func(ctx context.Context) (sources.Opener, error) { return c.Channels(ctx) }}
		if c.Promoter != nil {
			shown.Channels.Promoter = c.Promoter
		}
	}
	config := shown.Config()
	config.Key, config.Version, config.Secure = key, thisVersion().Version, o.Certificate != "" || o.Proxied
	logins(c, changes, &config)
	config.OwnRegistry = c.Registry != nil
	if o.advertise != "" {
		config.Registry = strings.TrimSuffix(o.advertise, "/") + "/"
	}
	config.Report = func(ctx context.Context, err error) { journal.Of(ctx).WithError(err).Error("a page failed") }
	config.Closing = func(context.Context) <-chan struct{} { return ctx.Done() }
	pages, err := web.New(config) //nolint:contextcheck // each request of a page has its own
	if err != nil {
		return err
	}
	m.WatchQueue(q)
	c.Observe, c.Pages = m.Request, sources.Beside(pages, c.Guard, m.Handler())
	return nil
}
