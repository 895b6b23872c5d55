package traces

import (
	"net/http"
	"testing"

	"ampoule/faults"
	"ampoule/service/queue"
)

// The environment decides, and what it asks for in vain is told.
func TestAsked(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		environ []string
		want    bool
		kind    faults.Kind
	}{
		"nothing":           {[]string{"HOME=/", "OTEL_SERVICE_NAME=x"}, false, 0},
		"an endpoint":       {[]string{"OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4318"}, true, 0},
		"one of traces":     {[]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://c:4318/v1/traces"}, true, 0},
		"disabled":          {[]string{"OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4318", "OTEL_SDK_DISABLED=True"}, false, 0},
		"no traces":         {[]string{"OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4318", "OTEL_TRACES_EXPORTER=none"}, false, 0},
		"the usual place":   {[]string{"OTEL_TRACES_EXPORTER=otlp"}, true, 0},
		"another exporter":  {[]string{"OTEL_TRACES_EXPORTER=zipkin"}, false, faults.Usage},
		"another protocol":  {[]string{"OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4317", "OTEL_EXPORTER_OTLP_PROTOCOL=grpc"}, false, faults.Usage},
		"a protocol for it": {[]string{"OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4318", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=http/protobuf"}, true, 0},
		"protocol alone":    {[]string{"OTEL_EXPORTER_OTLP_PROTOCOL=grpc"}, false, 0},
		"empty":             {[]string{"OTEL_EXPORTER_OTLP_ENDPOINT="}, false, 0},
	} {
		got, err := asked(test.environ)
		if got != (test.want && test.kind == 0) || (err != nil) != (test.kind != 0) || err != nil && faults.Of(err) != test.kind {
			t.Errorf("%s: %t, %v", name, got, err)
		}
	}
}

// Without traces nothing stands between.
func TestNone(t *testing.T) {
	t.Parallel()
	tr, err := Start(t.Context(), []string{"HOME=/"}, "v1", nil)
	if tr != nil || err != nil {
		t.Fatalf("%v, %v", tr, err)
	}
	mux := http.NewServeMux()
	var runner queue.Runner
	if tr.Handler(mux) != http.Handler(mux) || tr.Builds(runner) != runner || tr.Close(t.Context()) != nil {
		t.Error("there is something between")
	}
}
