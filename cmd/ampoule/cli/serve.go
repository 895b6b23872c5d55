package cli

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"

	"ampoule/config"
	"ampoule/faults"
	"ampoule/registry"
	"ampoule/registry/server"
	"ampoule/registry/tokens"
	"ampoule/service/api"
	"ampoule/service/database"
	"ampoule/service/journal"
	"ampoule/service/logs"
	"ampoule/service/metrics"
	"ampoule/service/queue"
	"ampoule/service/records"
	"ampoule/service/traces"
	"ampoule/service/trail"
	"ampoule/service/webhooks"
	"ampoule/service/wire"
	"ampoule/service/worklog"
	"ampoule/wiring"
)

// defaultServe is where a service listens.
const defaultServe = "127.0.0.1:8090"

func newServe(s *Session) *cobra.Command {
	var o serving
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Builds for others, as a service",
		Long: `Serve takes recipes over HTTP, builds them, and publishes what it has built. Without any
flag everything is in one data directory: the queue, the store, the registry, and one
worker. With --database and --registry several processes are one service: each is the API
and a worker, or with --no-worker the API alone.

Everything but health, version and the description of the API needs a token: see ampoule
token create. With --access it knows ID tokens of CI systems and identity providers, too,
and people log in to the pages by them. The result is the address, printed as soon as it
answers. Interrupting ends what others follow, gives running builds back to the queue, and
keeps what they compiled.

Only requests that name this server are answered: by the host of --listen, by the address
that they came to, by a loopback name or address, or by a name that --host gives.`,
		Example: `  ampoule serve
  ampoule serve --data /var/lib/ampoule --listen 0.0.0.0:8090 --host ampoule.example --tls-cert server.pem --tls-key server.key
  ampoule serve --access access.yaml
  ampoule serve --database postgres://ampoule@db.example/ampoule --registry registry.example/team --no-worker`,
		Args:              usage(cobra.NoArgs),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(cmd); err != nil {
				return err
			}
			return Serve(cmd.Context(), s, o, s.runner)
		},
	}
	o.add(cmd)
	return cmd
}

// serving are the flags of serve.
type serving struct {
	server.Config
	data                serviceData
	noWorker            bool
	slots               int
	labels              []string
	reach               []string
	networks            []netip.Prefix
	quota               int
	limit, drain, lease time.Duration
	attempts            int
	logForm, advertise  string
	pagesKey            string
	policy              string
	promote             config.Sign
	fleet               servingFleet
	sign                config.Sign
	access              string
	maxArchive          string
	archiveBytes        int64
	keep, keepLogs      string
	retention           retention
	keepAudit           string
	auditTime           time.Duration
}

func (o *serving) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.Listen, "listen", defaultServe, "the address to listen on; port 0 is a free one")
	f.StringArrayVar(&o.Hosts, "host", nil, "a further name that clients use for this server")
	f.StringVar(&o.data.dir, "data", "", dataHelp)
	f.StringVar(&o.data.database, "database", "", "a PostgreSQL database as postgres://… (default: SQLite in the data directory)")
	f.StringVar(&o.Certificate, "tls-cert", "", "the PEM file with the certificate and its chain (default: plain http)")
	f.StringVar(&o.Key, "tls-key", "", "the PEM file with the certificate's key")
	f.BoolVar(&o.Proxied, "behind-proxy", false, "believe the proxy before this server, which speaks TLS (X-Forwarded-For, X-Forwarded-Proto)")
	f.BoolVar(&o.noWorker, "no-worker", false, "build nothing in this process")
	f.IntVar(&o.slots, "slots", 1, "how many builds this process runs at once")
	f.StringArrayVar(&o.labels, "label", nil, "what this worker has, for builds that ask for it")
	f.StringArrayVar(&o.reach, "reach", nil, "a network, as 10.1.0.0/16, that images named by submissions may be taken from although it is not public")
	f.IntVar(&o.quota, "quota", 50, "how many unfinished builds a caller may have")
	f.DurationVar(&o.limit, "limit", 6*time.Hour, "how long a build may take")
	f.DurationVar(&o.lease, "lease", 30*time.Second, "how long a worker that gives no sign of life keeps its builds; at least 5s")
	f.IntVar(&o.attempts, "attempts", 5, "how often a build may lose its worker before it fails")
	f.DurationVar(&o.drain, "drain", 0, "how long running builds may go on when the process ends, before they are given back")
	f.StringVar(&o.maxArchive, "max-archive", "100MiB", "the largest submission that is taken")
	f.StringVar(&o.keep, "keep-builds", "90d", "how long builds that have ended stay listed, with their logs, or ever")
	f.StringVar(&o.keepAudit, "keep-audit", "400d", "how long entries of the audit log stay, or ever")
	f.StringVar(&o.access, "access", "", "the file that names issuers of ID tokens (OpenID Connect), and what those may do whom they know (default: tokens of the service alone)")
	f.StringVar(&o.keepLogs, "keep-logs", "", "how long the logs of builds that have ended stay (default: as long as the builds)")
	f.StringVar(&o.advertise, "advertise", "", "HOST[:PORT][/PREFIX] of the registry as clients reach it, which results begin with (default: none)")
	f.StringVar(&o.pagesKey, "pages-key", "", "the file with the key that seals sessions of the pages, the same for all processes (default: pages-key in the data directory)")
	f.StringVar(&o.logForm, "log-format", "text", "the form of the log on stderr: text or json")
	f.StringVar(&o.sign.Key, "sign-key", "", "sign what is built with this encrypted private key (default: what config.toml names, or none)")
	f.StringVar(&o.promote.Key, "promote-key", "", "the encrypted private key that entries of channels are signed with (default: channels are only read)")
	f.StringVar(&o.promote.PassphraseFile, "passphrase-file", "", "the file with the passphrase of these keys")
	channelPolicyFlag(cmd, &o.policy)
	o.fleet.add(cmd)
}

// minLease is the shortest lease: a sixth of it is the time between signs of life.
const minLease = 5 * time.Second

// check reads what flags say in words.
func (o *serving) check(cmd *cobra.Command) error {
	wrong := func(err error) error { return &UsageError{Verb: cmd.CommandPath(), Err: err} }
	var err error
	if o.archiveBytes, err = config.ParseSize(o.maxArchive); err != nil {
		return wrong(fmt.Errorf("--max-archive: %w", err))
	}
	if o.retention, err = parseRetention(o.keep, o.keepLogs); err != nil {
		return wrong(err)
	}
	if o.keepAudit != "ever" {
		if o.auditTime, err = config.ParseDuration(o.keepAudit); err != nil {
			return wrong(fmt.Errorf("--keep-audit: %w", err))
		}
	}
	if o.networks, err = networks(o.reach); err != nil {
		return wrong(fmt.Errorf("--reach: %w", err))
	}
	if o.lease < minLease || o.attempts < 1 {
		return wrong(fmt.Errorf("--lease is at least %s, and --attempts at least 1", minLease))
	}
	o.sign.PassphraseFile = o.promote.PassphraseFile
	if !o.TakesTokens() {
		return faults.New(faults.Usage, "give --tls-cert and --tls-key; behind a proxy that speaks TLS give --behind-proxy",
			"tokens would cross the network to %s in plain http", o.Listen)
	}
	return nil
}

// networks reads networks, and addresses that stand for themselves.
func networks(texts []string) ([]netip.Prefix, error) {
	var all []netip.Prefix
	for _, text := range texts {
		p, err := netip.ParsePrefix(text)
		if ip, ipErr := netip.ParseAddr(text); ipErr == nil {
			p, err = netip.PrefixFrom(ip, ip.BitLen()), nil
		}
		if err != nil {
			return nil, fmt.Errorf("%q is neither an address nor a network, such as 10.1.0.0/16", text)
		}
		all = append(all, p.Masked())
	}
	return all, nil
}

// runners makes what runs a service's builds.
type runners func(ctx context.Context, w *wiring.Parts) (queue.Runner, error)

// Serve runs a service until the context ends.
func Serve(ctx context.Context, s *Session, o serving, runs runners) (err error) {
	data, err := o.data.place(s)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(data, 0o700); err != nil {
		return fmt.Errorf("making the data directory: %w", err)
	}
	log, err := journal.New(s.Err, o.logForm)
	if err != nil {
		return err
	}
	if s.Store == "" {
		s.Store = ownStore(data)
	}
	// The database first: a second process of a data directory ends here.
	db, err := database.Open(ctx, database.Options{Dir: data, URL: o.data.database})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	return s.wired(journal.In(ctx, log), func(ctx context.Context, w *wiring.Parts) error {
		if err := s.signBuilds(ctx, w, o.sign); err != nil {
			return err
		}
		return s.serve(ctx, o, data, db, w, log, runs)
	})
}

// serve runs a service over what is open.
func (s *Session) serve(ctx context.Context, o serving, data string, db *database.DB, w *wiring.Parts, log *logrus.Logger, runs runners) (err error) {
	c, book, closeBook, err := o.queueConfig(data, db)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeBook()) }()
	out, err := o.fleet.openOutbox(db)
	if err != nil {
		return err
	}
	if out != nil {
		c.Ended = buildEnded(out)
	}
	q, err := queue.New(ctx, c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, q.Close()) }()
	tr, endTraces, err := s.traces(ctx, log)
	if err != nil {
		return err
	}
	defer endTraces()
	m := metrics.New(thisVersion().Version)
	watchWork(w, m)
	w.Reach = registry.NewReach(o.networks...)
	// What is served ends first, then the work, then what both stand on.
	var running sync.WaitGroup
	defer running.Wait()
	working, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	failed := make(chan error, 1)
	if o.noWorker {
		// A worker does it itself.
		running.Go(func() { q.Maintain(working, logrus.NewEntry(log)) })
	} else {
		worker, collect, err := s.worker(working, o, q, w, m, tr, log, runs)
		if err != nil {
			return err
		}
		running.Go(func() { collect(working) })
		running.Go(func() {
			if err := worker.Run(working); err != nil {
				failed <- err
				stop(err)
			}
		})
	}
	changes := trail.Open(db, o.auditTime)
	running.Go(func() { changes.Maintain(working, logrus.NewEntry(log)) })
	handler, senders, err := s.handler(working, o, data, db, q, out, tokens.Open(book), w, c.Temp, m, log, changes)
	if err != nil {
		return err
	}
	for _, send := range senders {
		running.Go(func() { send(working) })
	}
	err = server.Listen(working, tr.Handler(handler), o.Listening(), func(address string) {
		if err := s.announce(o.scheme() + address); err != nil {
			stop(err)
		}
	})
	stop(err)
	running.Wait()
	select {
	case worker := <-failed:
		err = errors.Join(err, worker)
	default:
	}
	return err
}

// queueConfig is what the queue is opened with, and the book of tokens, which is closed at the end. With SQLite
// both have files of their own in the data directory.
func (o serving) queueConfig(data string, db *database.DB) (c queue.Config, book tokens.Records, closeBook func() error, err error) {
	c = queue.Config{DB: db, Quota: o.quota, Limit: o.limit, Lease: o.lease, Attempts: o.attempts, Keep: o.retention.builds, KeepLogs: o.retention.logs, Log: journal.Of}
	if c.Temp, err = scratch(data); err != nil {
		return c, nil, nil, err
	}
	if db.Engine() != database.SQLite {
		return c, records.In(db), func() error { return nil }, nil
	}
	kept, err := openTokens(data)
	if err != nil {
		return c, nil, nil, err
	}
	c.Logs = logs.Files{Dir: filepath.Join(data, "logs")}
	return c, kept, kept.Close, nil
}

// announce prints the address that is served.
func (s *Session) announce(address string) error {
	return s.print(address, struct {
		Address string `json:"address"`
	}{address})
}

// worker makes this process's worker, and what collects its store behind each build until a context ends.
func (s *Session) worker(ctx context.Context, o serving, q *queue.Queue, w *wiring.Parts, m *metrics.Metrics, tr *traces.Traces, log *logrus.Logger, runs runners) (_ *queue.Worker, collect func(context.Context), err error) {
	runner, err := runs(ctx, w)
	if err != nil {
		return nil, nil, err
	}
	set, err := config.Read(s.Environ, "")
	if err != nil {
		return nil, nil, err
	}
	ended := make(chan struct{}, 1)
	worker, err := queue.NewWorker(queue.WorkerConfig{
		Queue: q, Runner: worklog.Builds(tr.Builds(m.Builds(collecting{runner, ended}))), Version: thisVersion().Version, Platform: platform(), Labels: o.labels, Slots: o.slots, Drain: o.drain,
		Log: logrus.NewEntry(log),
	})
	return worker, func(ctx context.Context) { collectBetween(ctx, w, set.Bounds, ended, log.Infof) }, err
}

func (o serving) scheme() string {
	if o.Certificate != "" {
		return "https://"
	}
	return "http://"
}

// scratch is a directory for files that need not outlive the process; what an earlier one left is
// gone.
func scratch(data string) (string, error) {
	dir := filepath.Join(data, "tmp")
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o700)); err != nil {
		return "", fmt.Errorf("making a directory for temporary files: %w", err)
	}
	return dir, nil
}

// handler answers a service's requests. Senders tell others what happens, as long as a context lasts.
func (s *Session) handler(ctx context.Context, o serving, data string, db *database.DB, q *queue.Queue, out *webhooks.Outbox, book *tokens.Book, w *wiring.Parts, temp string, m *metrics.Metrics, log *logrus.Logger, changes *trail.Log) (_ *api.Server, senders []func(context.Context), err error) {
	reg, err := w.Registry()
	if err != nil {
		return nil, nil, err
	}
	warn := func(message string) { logrus.NewEntry(log).Warn(message) }
	o.Warn = warn
	armed, err := book.Any()
	if err != nil {
		return nil, nil, err
	}
	if !armed && o.access == "" {
		s.tell("there is no token, and nobody may do anything: make one with `ampoule token create NAME --scope 'admin:*'`")
	}
	guard, err := s.guard(o, book, warn)
	if err != nil {
		return nil, nil, err
	}
	version := thisVersion()
	c := api.Config{
		Queue: q, Guard: guard, Trail: changes, Book: book, Source: reg, Reference: w.Reference, Advertise: o.advertise,
		Version: wire.Version{Version: version.Version, Commit: version.Revision, Builder: version.Builder, API: "v1"},
		Temp:    temp, Hosts: server.NewHosts(append([]string{o.Listen}, o.Hosts...)...), MaxArchive: o.archiveBytes, Closing: ctx, Log: log,
		Ready: map[string]api.Check{"database": db.Ping},
	}
	if s.Registry == "" {
		c.Artifacts = w.Own
		c.Registry = api.Registry(w.Own, guard, o.Config, changes, func(err error) { //nolint:contextcheck // a request has ended when it is noted
			logrus.NewEntry(log).WithError(err).Error("a change is not in the audit log")
		})
	}
	if out != nil {
		c.Webhooks = out
	}
	f, err := s.openFleet(ctx, o, db, q, w, out, &c)
	if err != nil {
		return nil, nil, err
	}
	names, err := s.pages(ctx, o, data, q, w, m, f, changes, &c)
	if err != nil {
		return nil, nil, err
	}
	return api.New(c), f.senders(db, w, names, log), nil
}
