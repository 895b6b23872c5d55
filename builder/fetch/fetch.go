// Package fetch brings the inputs of a build into the store. Nothing else downloads
// them.
//
// An item is named by its source, never by a host: which mirrors serve a source is
// configuration ([config.Inputs]), and the defaults are asked of the machine's own
// clients, pip, apt and cargo. A mirror only says where bytes may be; the item's sha256
// decides whether they are the right ones, before anything sees them.
package fetch

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"ampoule/builder/once"
	"ampoule/builder/progress"
	"ampoule/config"
	"ampoule/recipes"
	"ampoule/store"
)

// The sources that every Ampoule knows. Configuration may add others.
const (
	PyPI    = config.PyPI
	Debian  = config.Debian
	CPython = config.CPython
	Crates  = config.Crates
	// Profiles has no mirror unless one is configured: a profile is what somebody trained.
	Profiles = config.Profiles
)

// Item is one file that a lock names.
type Item struct {
	// Source is PyPI, Debian, CPython, Crates, Profiles, or the name of a configured source.
	Source string
	// Name and Version are the distribution's, the package's or the crate's; CPython's
	// name, and that of its training profiles, is "python".
	Name    string
	Version string
	// File is the file's name, NAME-VERSION.crate for a crate; for Debian its path below
	// the archive's root.
	File string
	// SHA256 is 64 lower-case hexadecimal digits.
	SHA256 string
	// Size is in bytes; 0 when it is not known.
	Size int64
}

// String names the item for a person.
func (i Item) String() string {
	return fmt.Sprintf("%s %s %s (%s, sha256 %s)", i.Source, i.Name, i.Version, i.File, i.SHA256)
}

func (i Item) check() error {
	if err := store.CheckSum(i.SHA256); err != nil {
		return fmt.Errorf("item %s %s: %w", i.Source, i.Name, err)
	}
	if !fs.ValidPath(i.File) || i.File == "." || strings.ContainsAny(i.File, "\\\x00") {
		return fmt.Errorf("item %s: file %q is not a relative path", i, i.File)
	}
	for _, part := range []string{i.Name, i.Version} {
		if part == "" || part == "." || part == ".." || strings.ContainsAny(part, "/\\\x00") {
			return fmt.Errorf("item %s: %q is neither a name nor a version", i, part)
		}
	}
	if i.Size < 0 {
		return fmt.Errorf("item %s: size %d is negative", i, i.Size)
	}
	return nil
}

// Fetcher fetches items into a store. Its methods may be called from several
// goroutines. What it learns of sources and indexes it remembers as long as it
// lives, so one Fetcher serves one run.
type Fetcher struct {
	store   *store.Store
	config  Config
	client  *http.Client
	limits  limits
	clients clients

	// memory holds what was asked once, by what was asked.
	memory sync.Map
}

// New makes a Fetcher of a store and a configuration. The zero Config has no proxies and
// asks the machine's clients in an empty environment. The CA bundle is the process's, as Go
// reads it (SSL_CERT_FILE).
func New(st *store.Store, config Config) *Fetcher {
	f := &Fetcher{store: st, config: config.withDefaults(), limits: defaultLimits()}
	f.client = newClient(f.limits, config.Network)
	f.clients = machine{env: f.config.Environ, pythons: []string{"python3", "/usr/bin/python3"}, cargos: []string{"cargo", "/usr/bin/cargo"}}
	return f
}

// With gives a Fetcher of the same configuration for another store.
func (f *Fetcher) With(st *store.Store) *Fetcher {
	return &Fetcher{store: st, config: f.config, client: f.client, limits: f.limits, clients: f.clients}
}

// Fetch brings all items into the store, several at a time. What is there already
// is verified and not fetched again. Items that every mirror lacks are all told: one
// [*NotFoundError] each. Any other fault, such as a [*RemoteError], ends the rest.
func (f *Fetcher) Fetch(ctx context.Context, items ...Item) error {
	items, err := distinct(items)
	if err != nil || len(items) == 0 {
		return err
	}
	run := &run{fetcher: f, task: progress.Start(ctx, progress.StageFetch, ""), total: len(items)}
	err = run.all(ctx, items)
	if err == nil && run.fetched == 0 {
		run.task.Reuse()
		return nil
	}
	run.task.End(err)
	return err
}

// Open opens a fetched item for reading. The error is a [store.ErrNotFound] when
// it was not fetched.
func (f *Fetcher) Open(item Item) (*os.File, error) { return f.store.Open(item.SHA256) }

// leave keeps a partial file that has something, for the next try.
func leave(w *store.Writer) error {
	if w.Size() == 0 {
		w.Abort()
	}
	return w.Keep()
}

// distinct checks the items and drops those whose content another one has.
func distinct(items []Item) ([]Item, error) {
	var (
		kept   []Item
		faults []error
		seen   = make(map[string]bool, len(items))
	)
	for _, item := range items {
		if err := item.check(); err != nil {
			faults = append(faults, err)
			continue
		}
		if !seen[item.SHA256] {
			seen[item.SHA256] = true
			kept = append(kept, item)
		}
	}
	return kept, errors.Join(faults...)
}

// run is one call of Fetch.
type run struct {
	fetcher *Fetcher
	task    *progress.Task
	total   int

	mu      sync.Mutex
	done    int
	fetched int
	missing []error
}

func (r *run) all(ctx context.Context, items []Item) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(r.fetcher.config.Jobs)
	for _, item := range items {
		group.Go(func() error { return r.one(ctx, item) })
	}
	err := group.Wait()
	slices.SortFunc(r.missing, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(several(r.missing), err)
}

// several joins errors whose texts are told of the first ones alone: when a mirror drops
// old packages, hundreds are missing at once.
func several(errs []error) error {
	if len(errs) < 2 {
		return errors.Join(errs...)
	}
	return manyErrors(errs)
}

type manyErrors []error

func (m manyErrors) Error() string {
	texts := make([]string, len(m))
	for i, err := range m {
		texts[i] = err.Error()
	}
	return strings.Join(recipes.First(texts), "\n")
}

// Unwrap gives them all.
func (m manyErrors) Unwrap() []error { return m }

func (r *run) one(ctx context.Context, item Item) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	fetched, err := r.fetcher.ensure(ctx, item)
	r.mu.Lock()
	defer r.mu.Unlock()
	if missing := (*NotFoundError)(nil); errors.As(err, &missing) {
		r.missing = append(r.missing, err)
		return nil
	}
	if err != nil {
		return err
	}
	r.done++
	if fetched {
		r.fetched++
	}
	r.task.Advance(int64(r.done), int64(r.total), progress.Items)
	return nil
}

// ensure makes sure that the item is in the store, and reports whether it had to be
// fetched by this call.
func (f *Fetcher) ensure(ctx context.Context, item Item) (fetched bool, err error) {
	type nothing = struct{}
	task := progress.Later(ctx, progress.StageFetch, item.File)
	find := func(ctx context.Context) (nothing, bool, error) {
		whole, err := f.store.Whole(ctx, item.SHA256)
		return nothing{}, whole, err
	}
	_, found, err := once.Get(ctx, f.store, task, "input-"+item.SHA256, find, func(ctx context.Context) (nothing, error) {
		task.Begin()
		return nothing{}, f.receive(ctx, item, task)
	})
	task.Finish(found, err)
	return err == nil && !found, err
}

// receive fetches the item while it alone holds the item's partial file.
func (f *Fetcher) receive(ctx context.Context, item Item, task *progress.Task) (err error) {
	w, err := f.store.Resume(ctx, item.SHA256)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, leave(w)) }()
	d := &download{fetcher: f, item: item, w: w, meter: meter{task: task, every: 100 * time.Millisecond}}
	if err := d.fromMirrors(ctx); err != nil {
		return err
	}
	if _, _, err := w.Commit(); err != nil {
		return err
	}
	return f.store.Forget(partialKind, item.SHA256)
}
