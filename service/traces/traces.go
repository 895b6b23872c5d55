// Package traces tells OpenTelemetry what the build service does: each request, and each build from
// its submission over the queue and a worker to its publication, as one trace. It is set up by the
// standard variables of the environment alone; without them there is nothing of it. Spans say what
// logs say: names, keys, stages, paths. They have no query of an address, no header and no text of
// an error, in which secrets might be.
package traces

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.37.0"
	"go.opentelemetry.io/otel/trace"

	"ampoule/faults"
	"ampoule/internal/watched"
)

// scope names who makes the spans.
const scope = "ampoule"

// Variables of the environment (OpenTelemetry specification, "Environment Variable Specification"
// and "OpenTelemetry Protocol Exporter"). The library reads others of them itself: headers,
// certificates, time-outs, the sampler, limits and the resource.
const (
	disabledVariable = "OTEL_SDK_DISABLED"
	exporterVariable = "OTEL_TRACES_EXPORTER"
	serviceVariable  = "OTEL_SERVICE_NAME"
)

var (
	endpointVariables = []string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"}
	protocolVariables = []string{"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"}
)

// protocol is the only one that is spoken: it is also the specification's default.
const protocol = "http/protobuf"

// Traces makes spans, and sends them. A nil one makes none, and costs nothing.
type Traces struct {
	provider *sdktrace.TracerProvider
	tracer   trace.Tracer
}

// Start sets tracing up if the environment wants it; else it returns nil. Environ is as os.Environ
// has it, and is that of the process. What the variables ask for and this cannot do is an error.
// Warn is told what cannot be sent: a process has one.
func Start(ctx context.Context, environ []string, version string, warn func(error)) (*Traces, error) {
	wanted, err := asked(environ)
	if err != nil || !wanted {
		return nil, err
	}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(warn))
	exporter, err := otlptracehttp.New(ctx)
	if err != nil {
		return nil, fmt.Errorf("setting up traces: %w", err)
	}
	about, err := resource.New(ctx, resource.WithTelemetrySDK(), resource.WithHost(),
		resource.WithAttributes(semconv.ServiceName(scope), semconv.ServiceVersion(version)), resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("setting up traces: %w", errors.Join(err, exporter.Shutdown(ctx)))
	}
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(about))
	return &Traces{provider, provider.Tracer(scope, trace.WithInstrumentationVersion(version))}, nil
}

// asked reports whether the environment wants traces.
func asked(environ []string) (bool, error) {
	set := map[string]string{}
	for _, one := range environ {
		if name, value, _ := strings.Cut(one, "="); strings.HasPrefix(name, "OTEL_") {
			set[name] = strings.TrimSpace(value)
		}
	}
	if strings.EqualFold(set[disabledVariable], "true") {
		return false, nil
	}
	wanted := first(set, endpointVariables) != ""
	switch exporter := set[exporterVariable]; exporter {
	case "":
	case "none":
		return false, nil
	case "otlp":
		wanted = true
	default:
		return false, faults.New(faults.Usage, "set it to otlp, or none", "%s asks for %q, and traces are sent by OTLP alone", exporterVariable, exporter)
	}
	if p := first(set, protocolVariables); wanted && p != "" && p != protocol {
		return false, faults.New(faults.Usage, "set it to "+protocol+", for which collectors listen on port 4318", "%s asks for %q, which is not spoken", protocolVariables[1], p)
	}
	return wanted, nil
}

func first(set map[string]string, names []string) string {
	for _, name := range names {
		if set[name] != "" {
			return set[name]
		}
	}
	return ""
}

// sendFor bounds how long the last spans are sent.
const sendFor = 5 * time.Second

// Close sends what is not sent yet. It does not wait long for a collector that does not answer.
func (t *Traces) Close(ctx context.Context) error {
	if t == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), sendFor)
	defer cancel()
	return t.provider.Shutdown(ctx)
}

// Handler makes a span of each request but those for health, as a part of the caller's trace where
// it names one.
func (t *Traces) Handler(next http.Handler) http.Handler {
	if t == nil {
		return next
	}
	asking := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r.WithContext(watched.With(r.Context(), t.calls)))
	})
	return otelhttp.NewHandler(asking, "request", otelhttp.WithTracerProvider(t.provider), otelhttp.WithPropagators(propagation.TraceContext{}),
		otelhttp.WithFilter(func(r *http.Request) bool { return r.URL.Path != "/healthz" && r.URL.Path != "/readyz" }))
}
