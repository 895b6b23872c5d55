// Package metrics counts what the build service does, for Prometheus: what waits, how long builds
// and their steps take, what was found instead of made, what the gate refused, and what failed.
//
// What can be asked is asked when somebody reads ([Metrics.Watch]); what happens is counted by
// whoever is told of it. No name of a recipe or caller is a label: there are too many of them, and
// they are nobody else's business.
package metrics

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"ampoule/builder"
	"ampoule/builder/progress"
	"ampoule/faults"
)

const namespace = "ampoule"

// Buckets, in seconds: a build found in the registry takes milliseconds, a wheel minutes, and an
// optimised interpreter half an hour.
var (
	buildBuckets   = []float64{.1, 1, 5, 15, 30, 60, 120, 300, 600, 1200, 2400, 4800, 9600}
	requestBuckets = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}
)

// Metrics are the service's. Methods may be called from several goroutines.
type Metrics struct {
	registry *prometheus.Registry

	builds   *prometheus.HistogramVec
	waits    *prometheus.HistogramVec
	failures *prometheus.CounterVec
	steps    *prometheus.HistogramVec
	hits     *prometheus.CounterVec
	fetched  prometheus.Counter
	refused  *prometheus.CounterVec
	docker   *prometheus.CounterVec
	requests *prometheus.HistogramVec
	accepted *prometheus.CounterVec
}

// New makes metrics of which nothing is counted yet. Version is the program's.
func New(version string) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		builds:   histogram("build_duration_seconds", "How long builds took from when a worker took them, by kind and the state in which they ended.", buildBuckets, "kind", "state"),
		waits:    histogram("build_wait_seconds", "How long builds waited for a worker, by kind.", buildBuckets, "kind"),
		failures: counter("build_failures_total", "Builds that failed, by whose turn it is: the kinds of the table of faults.", "fault"),
		steps:    histogram("step_duration_seconds", "How long steps of builds took, by stage and outcome: made, reused, cached or failed.", buildBuckets, "stage", "outcome"),
		hits:     counter("results_total", "Results of stages, by stage and where they came from: made, reused (of this store) or cached (of a registry's cache).", "stage", "from"),
		refused:  counter("verdict_failures_total", "Findings for which the gate refused a tree, by check.", "check"),
		docker:   counter("docker_errors_total", "Errors of the sandbox engine, by operation. A step that ends with a code of its own is none.", "operation"),
		requests: histogram("http_request_duration_seconds", "How long answers took, by route, method and the first digit of the status.", requestBuckets, "route", "method", "status"),
		accepted: counter("acceptances_total", "What recipes of published artifacts accept against a rule: binary are wheels that were not built here, exception those of the gate.", "what"),
		fetched: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: namespace, Name: "fetched_bytes_total", Help: "Bytes of inputs that were downloaded.",
		}),
	}
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: namespace, Name: "info", Help: "1, with the program's version.", ConstLabels: prometheus.Labels{"version": version},
	})
	info.Set(1)
	m.registry.MustRegister(m.builds, m.waits, m.failures, m.steps, m.hits, m.fetched, m.refused, m.docker, m.requests, m.accepted, info,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func histogram(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: namespace, Name: name, Help: help, Buckets: buckets}, labels)
}

func counter(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, labels)
}

// Handler gives what was counted, in the form that Prometheus reads.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError, MaxRequestsInFlight: 4})
}

// Request counts an answer. Route is the pattern, never the address: those have no end.
func (m *Metrics) Request(route, method string, status int, took time.Duration) {
	m.requests.WithLabelValues(route, knownMethod(method), strconv.Itoa(status/100)+"xx").Observe(took.Seconds())
}

// knownMethod bounds how many values the label has.
func knownMethod(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete:
		return method
	}
	return "other"
}

// Build is a build that has ended.
type Build struct {
	// Kind is build or lock, State the one in which it ended, or "released".
	Kind, State string
	// Waited is how long it was queued, Took how long a worker had it.
	Waited, Took time.Duration
	// Err is why it failed, or was given back; nil otherwise.
	Err error
	// Accepted is as in [builds.Result].
	Accepted map[string]int
}

// Ended counts a build.
func (m *Metrics) Ended(b Build) {
	m.builds.WithLabelValues(b.Kind, b.State).Observe(b.Took.Seconds())
	m.waits.WithLabelValues(b.Kind).Observe(b.Waited.Seconds())
	for what, n := range b.Accepted {
		m.accepted.WithLabelValues(what).Add(float64(n))
	}
	if b.Err == nil {
		return
	}
	m.failures.WithLabelValues(faults.Of(b.Err).String()).Inc()
	var refused *builder.RefusedError
	if !errors.As(b.Err, &refused) {
		return
	}
	for _, check := range refused.Verdict.Checks {
		if check.Refused > 0 {
			m.refused.WithLabelValues(check.Name).Add(float64(check.Refused))
		}
	}
}

// Observer counts the steps of one build. It is to be told of all its events.
func (m *Metrics) Observer() progress.Observer {
	return &observer{m: m, begun: map[task]time.Time{}, bytes: map[task]int64{}}
}

type task struct {
	stage progress.Stage
	name  string
}

// observer is told of events one after another.
type observer struct {
	m     *Metrics
	begun map[task]time.Time
	bytes map[task]int64
}

// Observe counts an event.
func (o *observer) Observe(e progress.Event) {
	of := task{e.Stage, e.Task}
	switch e.Kind {
	case progress.Started:
		o.begun[of] = e.Time
	case progress.Advanced:
		if e.Stage == progress.StageFetch && e.Unit == progress.Bytes {
			o.m.fetched.Add(float64(max(0, e.Done-o.bytes[of])))
			o.bytes[of] = max(e.Done, o.bytes[of])
		}
	case progress.Done:
		from := "made"
		switch {
		case e.Cache != "":
			from = "cached"
		case e.Reused:
			from = "reused"
		}
		o.m.hits.WithLabelValues(e.Stage.String(), from).Inc()
		o.end(of, e.Time, from)
	case progress.Failed:
		o.end(of, e.Time, "failed")
	default:
		// Others are no end of a step.
	}
}

func (o *observer) end(of task, at time.Time, outcome string) {
	if begun, ok := o.begun[of]; ok {
		o.m.steps.WithLabelValues(of.stage.String(), outcome).Observe(max(0, at.Sub(begun).Seconds()))
	}
	delete(o.begun, of)
	delete(o.bytes, of)
}

// State is what can be asked of the service.
type State struct {
	// Unfinished counts builds that have not ended, by state. Oldest is how long the build waits
	// that waits longest.
	Unfinished map[string]int
	Oldest     time.Duration
	// Workers counts those that were seen lately.
	Workers int
	// Hosts counts hosts, by channel and state.
	Hosts map[Host]int
}

// Host is how a host stands to its channel.
type Host struct{ Channel, State string }

// askFor bounds how long a reading waits for the service's state.
const askFor = 5 * time.Second

// Watch asks for the service's state each time that somebody reads.
func (m *Metrics) Watch(ask func(ctx context.Context) (State, error)) {
	m.registry.MustRegister(&asking{ask: ask})
}

// asking is a collector of what is asked for. Of several readings at a time one asks.
type asking struct {
	mu  sync.Mutex
	ask func(ctx context.Context) (State, error)
}

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(namespace+"_"+name, help, labels, nil)
}

var (
	depth   = describe("queue_builds", "Builds that have not ended, by state.", "state")
	age     = describe("queue_oldest_seconds", "How long the build waits that waits longest.")
	workers = describe("workers", "Workers that were seen lately.")
	hosts   = describe("hosts", "Hosts, by channel and how they stand to it.", "channel", "state")
	up      = describe("database_up", "Whether the service's state could be asked for.")
)

// Describe says what is collected.
func (a *asking) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{depth, age, workers, hosts, up} {
		to <- d
	}
}

// Collect asks. What cannot be asked for is not there, and database_up is 0.
func (a *asking) Collect(to chan<- prometheus.Metric) {
	a.mu.Lock()
	defer a.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), askFor)
	defer cancel()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	state, err := a.ask(ctx)
	if err != nil {
		gauge(up, 0)
		return
	}
	gauge(up, 1)
	gauge(age, state.Oldest.Seconds())
	gauge(workers, float64(state.Workers))
	for name, n := range state.Unfinished {
		gauge(depth, float64(n), strings.ToValidUTF8(name, "?"))
	}
	for h, n := range state.Hosts {
		gauge(hosts, float64(n), strings.ToValidUTF8(h.Channel, "?"), strings.ToValidUTF8(h.State, "?"))
	}
}
