package queue

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"ampoule/service/builds"
)

// traceOf is the trace that a context belongs to, as the header traceparent has it; empty without one.
func traceOf(ctx context.Context) string {
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, carrier)
	return carrier["traceparent"]
}

// tellTrace has the span of a submission name the build that came of it: one that was joined belongs
// to another submission's trace.
func tellTrace(ctx context.Context, a builds.Accepted) {
	trace.SpanFromContext(ctx).SetAttributes(
		attribute.String("ampoule.build", a.Build.ID), attribute.Bool("ampoule.joined", a.Joined), attribute.Bool("ampoule.published", a.Published))
}
