package wiring

import (
	"context"
	"errors"
	"strings"
	"sync"

	"ampoule/builder"
	"ampoule/builder/docker"
	"ampoule/builder/layers"
	"ampoule/builder/sandbox"
	"ampoule/builder/share"
	"ampoule/store"
)

// Sandboxes opens Docker, unless it is open, for a builder.
func (p *Parts) Sandboxes(ctx context.Context) (builder.Sandboxes, error) {
	e, err := p.docker(ctx)
	if err != nil {
		return builder.Sandboxes{}, err
	}
	all := builder.Sandboxes{Runner: e, Images: pinnedImages{e, p.Store}, Online: e.Online(), Pool: p.pool.of(e)}
	if p.Around != nil {
		all.Runner = p.Around(all.Runner)
	}
	if p.AroundImages != nil {
		all.Images = p.AroundImages(all.Images)
	}
	return all, nil
}

// shares is the pool of all builds, which is made of what the engine says of its machine.
type shares struct {
	once sync.Once
	pool *share.Pool
}

func (s *shares) of(e *docker.Engine) *share.Pool {
	s.once.Do(func() {
		budget := e.Budget()
		s.pool = share.New(share.Total{Processors: int(budget.CPUs), Memory: budget.Memory})
	})
	return s.pool
}

// Engine opens Docker, unless it is open, to run images.
func (p *Parts) Engine(ctx context.Context) (*Engine, error) {
	e, err := p.docker(ctx)
	if err != nil {
		return nil, err
	}
	return &Engine{pinnedImages{e, p.Store}, e}, nil
}

// Engine runs images that stay while a use of the store lives. Docker itself stays open until
// the parts are closed.
type Engine struct {
	pinnedImages
	engine *docker.Engine
}

// Run runs an image, as [docker.Engine.Run] does.
func (e *Engine) Run(ctx context.Context, id sandbox.ID, o docker.RunOptions) (int, error) {
	return e.engine.Run(ctx, id, o)
}

// Hold gives what runs several programs of an image, as [docker.Engine.Hold] does.
func (e *Engine) Hold(id sandbox.ID, o docker.RunOptions, keeper []string) docker.Held {
	return e.engine.Hold(id, o, keeper)
}

// RemoveImages removes the store's images from Docker of which it has not all layers any
// more, and which no build uses. A store that never asked Docker for anything has none.
func (p *Parts) RemoveImages(ctx context.Context) (int, error) {
	if _, found, err := p.Store.KnownID(); err != nil || !found {
		return 0, err
	}
	e, err := p.docker(ctx)
	if err != nil {
		return 0, err
	}
	return e.RemoveImages(ctx, func(diffIDs []string, remove func() error) error {
		return p.Store.IfLost(ctx, sumsOf(diffIDs), remove)
	})
}

// pinnedImages has the layers of images stay while a use of the store lives, and with them
// the images (see [Parts.RemoveImages]).
type pinnedImages struct {
	sandbox.Images
	store *store.Store
}

// Load implements [sandbox.Images].
func (p pinnedImages) Load(ctx context.Context, config sandbox.Config, all ...sandbox.Layer) (sandbox.ID, error) {
	if err := p.store.Pin(sumsOf(layers.DiffIDs(sandbox.Image{Layers: all}))...); err != nil {
		return "", err
	}
	return p.Images.Load(ctx, config, all...)
}

// sumsOf are the sha256 of layers, in hex.
func sumsOf(diffIDs []string) []string {
	sums := make([]string, len(diffIDs))
	for i, id := range diffIDs {
		sums[i] = strings.TrimPrefix(id, "sha256:")
	}
	return sums
}

// docker is the engine of all calls.
func (p *Parts) docker(ctx context.Context) (*docker.Engine, error) {
	return p.engine.get(ctx, func(ctx context.Context) (*docker.Engine, error) {
		id, err := p.Store.ID(ctx)
		if err != nil {
			return nil, err
		}
		return docker.Open(ctx, docker.Options{Host: p.place.Engine, Locks: p.Store.Dir(store.Owners), Store: id, Swept: p.Swept})
	})
}

// shared is an engine that is opened once, for whoever asks first and for all others. A
// call that ends meanwhile ends its own waiting; only when nobody waits any more, opening
// ends. An engine that could not be opened is tried again by the next call.
type shared struct {
	mu      sync.Mutex
	current *opening
	closed  bool
	// running are the openings that have not ended, those that nobody waits for among them.
	running sync.WaitGroup
}

// opening is one try to open an engine.
type opening struct {
	cancel  context.CancelCauseFunc
	waiting int
	// done is closed when engine and err are set.
	done   chan struct{}
	engine *docker.Engine
	err    error
}

// errNobodyWaits ends an opening.
var errNobodyWaits = errors.New("nobody waits for the engine any more")

// get returns the engine, which open opens where it is not open yet.
func (s *shared) get(ctx context.Context, open func(context.Context) (*docker.Engine, error)) (*docker.Engine, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	o, err := s.join(ctx, open)
	if err != nil {
		return nil, err
	}
	defer s.leave(o)
	select {
	case <-o.done:
		return o.engine, o.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// join counts a call among those that wait for the opening, which it may have to begin.
func (s *shared) join(ctx context.Context, open func(context.Context) (*docker.Engine, error)) (*opening, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, ErrClosed
	}
	if s.current == nil {
		o := &opening{done: make(chan struct{})}
		// It is for all calls: none ends it alone.
		ctx, o.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
		s.current = o
		s.running.Go(func() { s.run(ctx, o, open) })
	}
	s.current.waiting++
	return s.current, nil
}

// run opens the engine. Where nobody wants it any more it is closed at once.
func (s *shared) run(ctx context.Context, o *opening, open func(context.Context) (*docker.Engine, error)) {
	engine, err := open(ctx)
	if err == nil && s.give(o, engine) {
		return
	}
	if err == nil {
		err = errors.Join(context.Cause(ctx), engine.Close())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current == o {
		s.current = nil
	}
	o.err = err
	close(o.done)
}

// give hands an engine to those who wait for it, and reports whether there are any. In one
// step: who leaves sees either an opening that goes on or an engine that is there.
func (s *shared) give(o *opening, engine *docker.Engine) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current != o {
		return false
	}
	o.engine = engine
	close(o.done)
	return true
}

// leave takes a call from those that wait. The last one ends an opening that is under way.
func (s *shared) leave(o *opening) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o.waiting--
	select {
	case <-o.done:
		return
	default:
	}
	if o.waiting == 0 {
		o.cancel(errNobodyWaits)
		if s.current == o {
			s.current = nil
		}
	}
}

// close closes the engine, if it was opened, and refuses further calls.
func (s *shared) close() error {
	s.mu.Lock()
	s.closed = true
	o := s.current
	if o != nil {
		select {
		case <-o.done:
		default:
			o.cancel(ErrClosed)
		}
	}
	s.current = nil
	s.mu.Unlock()
	s.running.Wait()
	if o == nil || o.engine == nil {
		return nil
	}
	return o.engine.Close()
}
