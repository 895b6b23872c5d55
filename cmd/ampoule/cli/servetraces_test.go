package cli

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	coltrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	trace "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"ampoule/artifact"
	"ampoule/builder/progress"
	"ampoule/faults"
	"ampoule/registry"
	"ampoule/service/builds"
	"ampoule/service/queue"
)

// tracesEnviron are the variables of the process that are about traces.
func tracesEnviron() (found []string) {
	for _, one := range os.Environ() {
		if strings.HasPrefix(one, "OTEL_") {
			found = append(found, one)
		}
	}
	return found
}

// traceCollector takes traces as a collector does.
type traceCollector struct {
	mu      sync.Mutex
	raw     bytes.Buffer
	spans   []*trace.Span
	service string
}

// ServeHTTP implements [http.Handler].
func (r *traceCollector) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	var body io.Reader = req.Body
	if req.Header.Get("Content-Encoding") == "gzip" {
		var err error
		if body, err = gzip.NewReader(body); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
	}
	data, err := io.ReadAll(body)
	var sent coltrace.ExportTraceServiceRequest
	if err := errors.Join(err, proto.Unmarshal(data, &sent)); err != nil || req.URL.Path != "/v1/traces" {
		http.Error(w, fmt.Sprint(err), http.StatusBadRequest)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.raw.Write(data)
	for _, from := range sent.GetResourceSpans() {
		for _, a := range from.GetResource().GetAttributes() {
			if a.GetKey() == "service.name" {
				r.service = a.GetValue().GetStringValue()
			}
		}
		for _, s := range from.GetScopeSpans() {
			r.spans = append(r.spans, s.GetSpans()...)
		}
	}
}

// named are the spans of a name.
func (r *traceCollector) named(name string) (found []*trace.Span) {
	for _, s := range r.spans {
		if s.GetName() == name {
			found = append(found, s)
		}
	}
	return found
}

// A build is one trace, from its submission over queue and worker to its publication, with what was asked
// of a registry; nothing secret is in it.
//
//nolint:paralleltest // the library reads the process's environment
func TestServeTraces(t *testing.T) {
	collector := &traceCollector{}
	server := httptest.NewServer(collector)
	t.Cleanup(server.Close)
	elsewhere := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(elsewhere.Close)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.URL)
	t.Setenv("OTEL_SERVICE_NAME", "ampoule-test")
	dir := t.TempDir()
	local, _, _ := session(t, goodRecipe)
	recipeDir := filepath.Dir(local.Recipe)
	if err := os.WriteFile(lockPath(local.Recipe), lockOf(t, local.Recipe, "3.10", sumA).Encode(), 0o600); err != nil {
		t.Fatal(err)
	}
	a := startService(t, filepath.Join(dir, "data"), func(ctx context.Context, job queue.Job) (builds.Result, error) {
		reg, err := registry.Open(strings.TrimPrefix(elsewhere.URL, "http://") + "/team")
		if err != nil {
			return builds.Result{}, err
		}
		if _, found, err := reg.FindKey(ctx, "web", job.Build.Key, artifact.Beside{}); found || err != nil {
			return builds.Result{}, err
		}
		progress.Start(ctx, progress.StageWheel, "six").End(errors.New("canary-of-an-error"))
		progress.Start(ctx, progress.StageWheel, "seven").End(nil)
		return builds.Result{Digest: "sha256:" + sumA}, job.Claim(ctx, "sha256:"+sumA)
	})
	a.token = a.makeToken("me", "build:*")
	if code, _, errs := a.verb(recipeDir, "build"); code != codeDone {
		t.Fatalf("build: %d %s", code, errs)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, a.url+"/v1/builds?recipe=canary-of-a-query", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+a.token)
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if err := a.stop(); err != nil && faults.Of(err) != faults.Interrupted {
		t.Errorf("ending: %v", err)
	}
	collector.mu.Lock()
	defer collector.mu.Unlock()
	asked, built := collector.named("POST /v1/builds"), collector.named("build")
	if len(asked) != 1 || len(built) != 1 || !bytes.Equal(built[0].GetParentSpanId(), asked[0].GetSpanId()) {
		t.Fatalf("%d submissions, %d builds: %v", len(asked), len(built), collector.spans)
	}
	for name, want := range map[string]struct {
		parent *trace.Span
		spans  int
	}{"queued": {asked[0], 1}, "wheel": {built[0], 2}, "claim key": {built[0], 1}, "GET": {built[0], -1}} {
		found := collector.named(name)
		if len(found) != want.spans && (want.spans >= 0 || len(found) == 0) {
			t.Errorf("%d spans %s, want %d", len(found), name, want.spans)
		}
		for _, s := range found {
			if !bytes.Equal(s.GetTraceId(), asked[0].GetTraceId()) || !bytes.Equal(s.GetParentSpanId(), want.parent.GetSpanId()) {
				t.Errorf("%s is not below %s: %v", name, want.parent.GetName(), s)
			}
		}
	}
	for _, secret := range []string{"canary", strings.Split(a.token, "_")[2]} {
		if bytes.Contains(collector.raw.Bytes(), []byte(secret)) {
			t.Errorf("%q is in a trace", secret)
		}
	}
	if len(collector.named("GET /healthz")) != 0 || collector.service != "ampoule-test" {
		t.Errorf("service %q: %v", collector.service, collector.spans)
	}
	if id := fmt.Sprintf("%x", asked[0].GetTraceId()); !strings.Contains(a.errs.String(), `"trace":"`+id+`"`) {
		t.Errorf("the log does not name the trace %s: %s", id, a.errs)
	}
}

// A collector that is away is told, and keeps nobody waiting.
//
//nolint:paralleltest // as above
func TestServeTracesAway(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
	a := startService(t, t.TempDir(), nil)
	if code, _, errs := a.verb(t.TempDir(), "list"); code != faults.Refused.Code() {
		t.Errorf("%d %s", code, errs)
	}
	if err := a.stop(); err != nil && faults.Of(err) != faults.Interrupted {
		t.Errorf("ending: %v", err)
	}
	if !strings.Contains(a.errs.String(), "sending traces") {
		t.Errorf("nobody says that traces were not sent: %s", a.errs)
	}
}
