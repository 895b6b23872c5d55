package cli

import (
	"context"

	"github.com/sirupsen/logrus"

	"ampoule/builder/sandbox"
	"ampoule/service/metrics"
	"ampoule/service/traces"
	"ampoule/service/worklog"
	"ampoule/wiring"
)

// watchWork has what builds do with the machine counted and logged.
func watchWork(w *wiring.Parts, m *metrics.Metrics) {
	w.Around = func(next sandbox.Runner) sandbox.Runner { return m.Runner(worklog.Sandboxes(next)) }
	w.AroundImages, w.Swept = worklog.Images, worklog.Swept
}

// traces sets tracing up where the environment wants it. End sends what is not sent yet.
func (s *Session) traces(ctx context.Context, log *logrus.Logger) (_ *traces.Traces, end func(), err error) {
	unsent := func(err error) { log.WithError(err).Warn("sending traces") }
	tr, err := traces.Start(ctx, s.Environ, thisVersion().Version, unsent)
	return tr, func() {
		if err := tr.Close(ctx); err != nil {
			unsent(err)
		}
	}, err
}
