package traces

import (
	"context"
	"net/http"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.37.0"
	"go.opentelemetry.io/otel/trace"

	"ampoule/builder/progress"
	"ampoule/internal/watched"
	"ampoule/service/builds"
	"ampoule/service/queue"
)

// Builds makes spans of what a worker's runner does, in the trace of the submission: how long the
// build was queued, the build itself, each of its steps, the claim of its key, and what is asked of
// registries.
func (t *Traces) Builds(next queue.Runner) queue.Runner {
	if t == nil {
		return next
	}
	return &tracing{t, next}
}

type tracing struct {
	t    *Traces
	next queue.Runner
}

// Run runs a build.
func (r *tracing) Run(ctx context.Context, job queue.Job) (builds.Result, error) {
	ctx = propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{"traceparent": job.Build.Trace})
	about := trace.WithAttributes(
		attribute.String("ampoule.build", job.Build.ID), attribute.String("ampoule.kind", string(job.Build.Kind)),
		attribute.String("ampoule.recipe", job.Build.Recipe), attribute.String("ampoule.key", job.Build.Key),
		attribute.String("ampoule.worker", job.Build.Worker), attribute.Int("ampoule.attempt", job.Build.Attempt))
	// The times are the database's, where those of other spans are the host's.
	_, waited := r.t.tracer.Start(ctx, "queued", about, trace.WithTimestamp(job.Build.Created))
	waited.End(trace.WithTimestamp(job.Build.Started))

	ctx, span := r.t.tracer.Start(ctx, string(job.Build.Kind), about, trace.WithSpanKind(trace.SpanKindConsumer))
	ctx = watched.With(ctx, r.t.calls)
	steps := &steps{ctx: ctx, tracer: r.t.tracer, running: map[step]trace.Span{}}
	leave := progress.Follow(ctx, steps)
	claim := job.Claim
	job.Claim = func(ctx context.Context, digest string) error {
		ctx, span := r.t.tracer.Start(ctx, "claim key", trace.WithAttributes(attribute.String("ampoule.digest", digest)))
		err := claim(ctx, digest)
		end(span, err != nil)
		return err
	}
	result, err := r.next.Run(ctx, job)
	leave()
	steps.close()
	if result.Digest != "" {
		span.SetAttributes(attribute.String("ampoule.digest", result.Digest), attribute.Bool("ampoule.reused", result.Reused))
	}
	end(span, err != nil)
	return result, err
}

// end ends a span. What an error says is no part of it: the log has that.
func end(span trace.Span, failed bool, options ...trace.SpanEndOption) {
	if failed {
		span.SetStatus(codes.Error, "")
	}
	span.End(options...)
}

type step struct {
	stage progress.Stage
	task  string
}

// steps makes spans of a build's steps. It is told of events one after another.
type steps struct {
	//nolint:containedctx // the observer of a feed has none
	ctx     context.Context
	tracer  trace.Tracer
	running map[step]trace.Span
}

// Observe implements [progress.Observer].
func (s *steps) Observe(e progress.Event) {
	of := step{e.Stage, e.Task}
	switch e.Kind {
	case progress.Started:
		s.finish(of, e.Time, true)
		_, s.running[of] = s.tracer.Start(s.ctx, e.Stage.String(), trace.WithTimestamp(e.Time), trace.WithAttributes(attribute.String("ampoule.task", e.Task)))
	case progress.Done:
		if span := s.running[of]; span != nil {
			span.SetAttributes(attribute.Bool("ampoule.reused", e.Reused), attribute.Bool("ampoule.cached", e.Cache != ""))
		}
		s.finish(of, e.Time, false)
	case progress.Failed:
		s.finish(of, e.Time, true)
	default:
		// Others are no end of a step.
	}
}

func (s *steps) finish(of step, at time.Time, failed bool) {
	if span := s.running[of]; span != nil {
		end(span, failed, trace.WithTimestamp(at))
		delete(s.running, of)
	}
}

// close ends what was broken off.
func (s *steps) close() {
	for of := range s.running {
		s.finish(of, time.Now(), true)
	}
}

// calls makes spans of requests to mirrors and registries: up to the header of the answer. They say nothing of
// a query, in which stores of objects have signatures.
func (t *Traces) calls(next http.RoundTripper) http.RoundTripper {
	return watched.Func(func(req *http.Request) (*http.Response, error) { return t.call(next, req) })
}

func (t *Traces) call(next http.RoundTripper, req *http.Request) (*http.Response, error) {
	ctx, span := t.tracer.Start(req.Context(), req.Method, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(
		semconv.HTTPRequestMethodKey.String(req.Method), semconv.ServerAddress(req.URL.Host), semconv.URLPath(req.URL.Path)))
	resp, err := next.RoundTrip(req.WithContext(ctx))
	if err == nil {
		span.SetAttributes(semconv.HTTPResponseStatusCode(resp.StatusCode))
	}
	end(span, err != nil || resp.StatusCode >= http.StatusInternalServerError)
	return resp, err
}
