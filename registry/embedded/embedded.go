// Package embedded is the registry that every store has: an OCI registry in this
// process, kept in a directory.
//
// The directory bears one writer: two that write it lose each other's
// publications. So one process at a time serves it, holding a lock whose file
// carries a loopback address and a secret, and every other process reaches it
// there. The holder listens from the moment it has the lock: it cannot know when
// another process will come, and a port costs less than a way to ask for one. Its
// own requests never use the network. When the holder ends, by whatever end, the
// next process that asks takes the lock over.
//
// The holder also carries out what keeps the registry well, on the order of any process of
// the store: it verifies and mends, collects, lists, holds and removes. Content that is
// damaged counts as absent for who wants to send it.
package embedded

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"ampoule/faults"
)

// patience is how long a request waits for another process to let go of the lock
// or to answer.
const patience = 15 * time.Second

// pause is the time between two tries.
const pause = 20 * time.Millisecond

// ErrClosed is returned by requests after Close.
var ErrClosed = errors.New("the store's registry is closed")

// Registry reaches the registry of one directory: it is an http.RoundTripper that
// answers for every host. It takes the lock with the first request.
type Registry struct {
	dir   string
	spare Spare
	// turn guards current and closed; it is held while a target is looked for.
	turn    chan struct{}
	current target
	closed  bool
}

// target is who answers: this process, or the one that holds the lock.
type target interface {
	roundTrip(*http.Request) (*http.Response, error)
	// lost reports whether an error means that another target must be found.
	lost(error) bool
	close() error
}

// Open returns the registry kept in a directory, which is made when it is needed.
func Open(dir string) *Registry {
	return &Registry{dir: dir, turn: make(chan struct{}, 1)}
}

// Spare gives content by its sha256 in hexadecimal. What it gives is compared.
type Spare interface {
	Open(sum string) (*os.File, error)
}

// MendFrom names a place that damaged content is restored from, where it has the same
// bytes. It is called before the registry is used.
func (r *Registry) MendFrom(s Spare) { r.spare = s }

// RoundTrip implements http.RoundTripper. A request whose body can be read again
// is sent again when the process that held the lock ends.
func (r *Registry) RoundTrip(req *http.Request) (*http.Response, error) {
	deadline := time.Now().Add(patience)
	for first := true; ; first = false {
		attempt, err := rewind(req, first)
		if err != nil {
			return nil, err
		}
		t, err := r.find(req.Context(), deadline)
		if err != nil {
			closeBody(attempt)
			return nil, err
		}
		began := time.Now()
		resp, err := t.roundTrip(attempt)
		if err == nil || !t.lost(err) || !canRewind(req) {
			return resp, err
		}
		r.forget(t)
		if time.Since(began) > patience {
			// It was at work for long before it ended.
			deadline = time.Now().Add(patience)
		}
		if time.Now().After(deadline) {
			return nil, busy(r.dir, err)
		}
		if err := sleep(req.Context()); err != nil {
			return nil, err
		}
	}
}

// Close lets go of the lock, after the requests of other processes that are under
// way, but after at most a few seconds. It is safe to call again.
func (r *Registry) Close() error {
	r.turn <- struct{}{}
	defer func() { <-r.turn }()
	r.closed = true
	if r.current == nil {
		return nil
	}
	err := r.current.close()
	r.current = nil
	return err
}

// find returns the target of the next request.
func (r *Registry) find(ctx context.Context, deadline time.Time) (target, error) {
	select {
	case r.turn <- struct{}{}:
		defer func() { <-r.turn }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	for {
		switch {
		case r.closed:
			return nil, ErrClosed
		case r.current != nil:
			return r.current, nil
		}
		t, err := r.acquire() //nolint:contextcheck // it opens files; what it starts outlives the caller
		if err != nil {
			return nil, fmt.Errorf("opening the registry in %s: %w", r.dir, err)
		}
		if t != nil {
			r.current = t
			return t, nil
		}
		if time.Now().After(deadline) {
			return nil, busy(r.dir, errNoAddress)
		}
		if err := sleep(ctx); err != nil {
			return nil, err
		}
	}
}

// acquire takes the lock, or finds who has it. It returns nil when neither is
// possible yet.
func (r *Registry) acquire() (target, error) {
	file := filepath.Join(r.dir, lockName)
	lock, err := tryLock(file)
	if err != nil {
		return nil, err
	}
	if lock != nil {
		return newHolder(r.dir, r.spare, lock)
	}
	address, ok := readAddress(file)
	if !ok {
		return nil, nil
	}
	another, err := address.servesAnother(file)
	if another {
		err = part(file)
	}
	if another || err != nil {
		return nil, err
	}
	return newPeer(address), nil
}

// forget drops a target that is lost, unless another request did already.
func (r *Registry) forget(t target) {
	r.turn <- struct{}{}
	defer func() { <-r.turn }()
	if r.current == t {
		_ = t.close()
		r.current = nil
	}
}

// busy says that another process holds the lock and cannot be reached: err is the last
// try's.
func busy(dir string, err error) error {
	return faults.New(faults.Machine, "look for an ampoule process that is stopped, or that runs in another network namespace",
		"opening the registry in %s: another process holds it and does not answer: %w", dir, err)
}

// errNoAddress says that the lock's file carries no address.
var errNoAddress = errors.New("the lock carries no address")

// rewind returns the request to send: a copy whose body starts at its start.
func rewind(req *http.Request, first bool) (*http.Request, error) {
	attempt := req.Clone(req.Context())
	if first || req.Body == nil || req.Body == http.NoBody {
		return attempt, nil
	}
	body, err := req.GetBody()
	attempt.Body = body
	return attempt, err
}

func canRewind(req *http.Request) bool {
	return req.Body == nil || req.Body == http.NoBody || req.GetBody != nil
}

func closeBody(req *http.Request) {
	if req.Body != nil {
		_ = req.Body.Close()
	}
}

func sleep(ctx context.Context) error {
	select {
	case <-time.After(pause):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// drain ends a response that is not handed on.
func drain(resp *http.Response) {
	_, _ = io.CopyN(io.Discard, resp.Body, 4096)
	_ = resp.Body.Close()
}
