package queue

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"ampoule/service/builds"
	"ampoule/service/database"
)

const (
	// channel is PostgreSQL's, on which the IDs of changed builds are told.
	channel = "ampoule_builds"
	// anything stands for all builds: something may have been missed.
	anything = "*"
	// again is how long to wait for a server that does not answer.
	again = time.Second
)

// hub wakes who waits for changes: within the process, and with PostgreSQL across processes.
// It only wakes: whoever waits looks at the table, and looks now and then without being woken.
type hub struct {
	db *database.DB

	mu      sync.Mutex
	waiting map[string]map[chan struct{}]bool
	idle    chan struct{}
	// untold are builds that changed, of which other processes were not told yet; tell wakes who does.
	untold map[string]bool
	tell   chan struct{}

	once      sync.Once
	cancel    context.CancelFunc
	listening sync.WaitGroup
}

func newHub(db *database.DB) *hub {
	h := &hub{db: db, waiting: map[string]map[chan struct{}]bool{}, idle: make(chan struct{}, 1), tell: make(chan struct{}, 1), cancel: func() {}}
	if db.Pool() != nil {
		ctx, cancel := context.WithCancel(context.Background())
		h.cancel = cancel
		h.listening.Go(func() { h.listen(ctx) })
		h.listening.Go(func() { h.telling(ctx) })
	}
	return h
}

// watch returns a channel that gets something after each change of a build, until leave.
func (h *hub) watch(id string) (changed <-chan struct{}, leave func()) {
	c := make(chan struct{}, 1)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.waiting[id] == nil {
		h.waiting[id] = map[chan struct{}]bool{}
	}
	h.waiting[id][c] = true
	return c, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if delete(h.waiting[id], c); len(h.waiting[id]) == 0 {
			delete(h.waiting, id)
		}
	}
}

// announce tells of a change of a build when its transaction is committed: this process at once, and
// others by PostgreSQL, where they must know at once. They are not told within the transaction:
// PostgreSQL has transactions that notify wait for each other until they are on disk.
func (h *hub) announce(tx database.Tx, id string, what builds.What) {
	tx.OnCommit(func() {
		h.changed(id)
		if tx.Postgres() == nil || !isUrgent(what) {
			return
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.untold == nil {
			h.untold = map[string]bool{}
		}
		h.untold[id] = true
		signal(h.tell)
	})
}

// isUrgent reports whether other processes are told of an event: a worker that a build shall end, and
// whoever follows it that it has. Everything else they see when they look. PostgreSQL wakes all who
// listen for each that is told: with a hundred workers that is most of what it does.
func isUrgent(what builds.What) bool { return what == builds.Cancelling || what == builds.Ended }

// tellEvery is how long changes are collected of which other processes are told in one go.
const tellEvery = 20 * time.Millisecond

// telling tells other processes of changes. What cannot be told is lost: they look by themselves.
func (h *hub) telling(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-h.tell:
		}
		h.mu.Lock()
		ids := slices.Collect(maps.Keys(h.untold))
		h.untold = nil
		h.mu.Unlock()
		// Nobody waits for the disk here.
		_, _ = h.db.Pool().Exec(ctx, "WITH fast AS (SELECT set_config('synchronous_commit', 'off', true)) SELECT pg_notify($1, id) FROM fast, unnest($2::text[]) AS id", channel, ids)
		select {
		case <-ctx.Done():
			return
		case <-time.After(tellEvery):
		}
	}
}

// changed wakes who waits for a build.
func (h *hub) changed(id string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, topic := range []string{id, logTopic(id)} {
		for c := range h.waiting[topic] {
			signal(c)
		}
	}
	if id != anything {
		return
	}
	for _, all := range h.waiting {
		for c := range all {
			signal(c)
		}
	}
}

// logTopic is what those wait for who follow a build's log: what is written there, and all that
// changes of the build.
func logTopic(id string) string { return "log " + id }

// grown wakes who follows the log of a build.
func (h *hub) grown(id string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for c := range h.waiting[logTopic(id)] {
		signal(c)
	}
}

// queued wakes a worker of this process.
func (h *hub) queued() { signal(h.idle) }

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// listen passes on what other processes tell, on a connection of its own that is made anew
// when it breaks.
func (h *hub) listen(ctx context.Context) {
	for ctx.Err() == nil {
		_ = h.listenOnce(ctx) // Whatever ended it: what was missed is looked for.
		h.changed(anything)
		select {
		case <-ctx.Done():
		case <-time.After(again):
		}
	}
}

func (h *hub) listenOnce(ctx context.Context) error {
	conn, err := pgx.ConnectConfig(ctx, h.db.Pool().Config().ConnConfig.Copy())
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	if _, err := conn.Exec(ctx, "LISTEN "+channel); err != nil {
		return err
	}
	h.changed(anything)
	for {
		n, err := conn.WaitForNotification(ctx)
		if err != nil {
			return err
		}
		h.changed(n.Payload)
	}
}

func (h *hub) close() {
	h.once.Do(func() {
		h.cancel()
		h.listening.Wait()
	})
}
