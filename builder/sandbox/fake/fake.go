// Package fake is a [sandbox.Runner] and [sandbox.Images] for tests: it holds the
// files of each sandbox in memory and calls a function where a step would run.
package fake

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"sync"

	"ampoule/builder/sandbox"
	"ampoule/tree"
)

var (
	_ sandbox.Runner = (*Runner)(nil)
	_ sandbox.Images = (*Runner)(nil)
	_ sandbox.Online = Online{}
)

// Handler does what a step would do: it reads and changes the sandbox's files, reads
// the step's Stdin, writes to the step's writers, and returns an [*sandbox.ExitError]
// for a code other than 0. None of the three is nil. A step with a terminal gets its
// input as it is, without an echo, and its Stderr is its Stdout; the handler reads the
// terminal's sizes. It ends when ctx is cancelled, as reading Stdin does.
type Handler func(ctx context.Context, s *Sandbox, step sandbox.Step) error

// Runner starts fake sandboxes.
type Runner struct {
	handler Handler

	mu        sync.Mutex
	images    map[sandbox.ID]*tree.Tree
	layers    map[string]*tree.Tree
	sandboxes []*Sandbox
}

// New makes a runner whose steps the handler does. A nil handler does nothing.
func New(handler Handler) *Runner {
	if handler == nil {
		handler = func(context.Context, *Sandbox, sandbox.Step) error { return nil }
	}
	return &Runner{handler: handler, images: map[sandbox.ID]*tree.Tree{}, layers: map[string]*tree.Tree{}}
}

// Sandboxes returns every sandbox that was started, open or closed, in order.
func (r *Runner) Sandboxes() []*Sandbox {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.sandboxes)
}

// Start implements [sandbox.Runner].
func (r *Runner) Start(ctx context.Context, spec sandbox.Spec) (sandbox.Sandbox, error) {
	if err := spec.Check(); err != nil {
		return nil, fmt.Errorf("starting sandbox %s: %w", spec.Name, err)
	}
	return r.start(ctx, spec, false)
}

func (r *Runner) start(ctx context.Context, spec sandbox.Spec, online bool) (sandbox.Sandbox, error) {
	if err := context.Cause(ctx); err != nil {
		return nil, fmt.Errorf("starting sandbox %s: %w", spec.Name, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	files, ok := r.images[spec.Image]
	if !ok {
		return nil, fmt.Errorf("starting sandbox %s: image %s is not loaded", spec.Name, spec.Image)
	}
	s := &Sandbox{Spec: spec, Online: online, handler: r.handler, image: files, files: files}
	r.sandboxes = append(r.sandboxes, s)
	return s, nil
}

// Online starts fake sandboxes of a runner as [sandbox.Online].
type Online struct{ Runner *Runner }

// StartOnline implements [sandbox.Online].
func (o Online) StartOnline(ctx context.Context, spec sandbox.OnlineSpec) (sandbox.Sandbox, error) {
	return o.Runner.start(ctx, sandbox.Spec{Image: spec.Image, Name: spec.Name, Limits: spec.Limits}, true)
}

// Load implements [sandbox.Images].
func (r *Runner) Load(ctx context.Context, config sandbox.Config, layers ...sandbox.Layer) (sandbox.ID, error) {
	if err := context.Cause(ctx); err != nil {
		return "", fmt.Errorf("loading image: %w", err)
	}
	if config.Architecture == "" || len(layers) == 0 {
		return "", errors.New("loading image: an image needs an architecture and a layer")
	}
	h := sha256.New()
	if err := json.NewEncoder(h).Encode(config); err != nil {
		return "", fmt.Errorf("loading image: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	files := &tree.Tree{}
	for _, l := range layers {
		layer, err := r.layer(ctx, l)
		if err != nil {
			return "", fmt.Errorf("loading image: layer %s: %w", l.DiffID, err)
		}
		if files, err = apply(files, layer); err != nil {
			return "", fmt.Errorf("loading image: layer %s: %w", l.DiffID, err)
		}
		fmt.Fprintln(h, l.DiffID)
	}
	id := sandbox.ID("sha256:" + hex.EncodeToString(h.Sum(nil)))
	r.images[id] = files
	return id, nil
}

// layer reads a layer, unless it is there.
func (r *Runner) layer(ctx context.Context, l sandbox.Layer) (*tree.Tree, error) {
	if known, ok := r.layers[l.DiffID]; ok {
		return known, nil
	}
	source, err := l.Open(ctx)
	if err != nil {
		return nil, err
	}
	defer source.Close()
	data, err := io.ReadAll(source)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(data)
	if got := "sha256:" + hex.EncodeToString(sum[:]); got != l.DiffID {
		return nil, fmt.Errorf("its content is %s", got)
	}
	files, err := tree.FromTar(bytes.NewReader(data), int64(len(data)), tree.Limits{})
	if err != nil {
		return nil, err
	}
	r.layers[l.DiffID] = files
	return files, nil
}

// Names of whiteouts (image-spec layer.md).
const (
	whiteout = ".wh."
	opaque   = ".wh..wh..opq"
)

// apply lays a layer over files.
func apply(files, layer *tree.Tree) (*tree.Tree, error) {
	var added []tree.Entry
	for _, e := range layer.Entries() {
		dir, name := path.Split(e.Path)
		hidden, ok := strings.CutPrefix(name, whiteout)
		if !ok {
			added = append(added, e)
			continue
		}
		gone := path.Join(dir, hidden)
		files = files.Select(func(e tree.Entry) bool {
			if name == opaque {
				return !strings.HasPrefix(e.Path, dir)
			}
			return e.Path != gone && !strings.HasPrefix(e.Path, gone+"/")
		})
	}
	return files.With(added...)
}

// Sandbox is a fake sandbox.
type Sandbox struct {
	// Spec is what it was started with.
	Spec sandbox.Spec
	// Online tells that it was started with a network.
	Online bool

	handler Handler

	// image is what the files were at first.
	image *tree.Tree

	mu     sync.Mutex
	files  *tree.Tree
	steps  []sandbox.Step
	peak   int64
	closed bool
}

// Steps returns the steps that were run, in the order of their beginning.
func (s *Sandbox) Steps() []sandbox.Step {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.steps)
}

// Closed reports whether the sandbox was closed.
func (s *Sandbox) Closed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

// Hold has a step hold memory, in bytes, as [sandbox.Peak] tells.
func (s *Sandbox) Hold(memory int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.peak = max(s.peak, memory)
}

// Peak is the most memory that a step held, in bytes.
func (s *Sandbox) Peak() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.peak
}

// Files returns the whole file system.
func (s *Sandbox) Files() *tree.Tree {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.files
}

// Write adds entries, whose paths are relative to the root, or puts them in place
// of those with the same path.
func (s *Sandbox) Write(entries ...tree.Entry) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	files, err := s.files.With(entries...)
	if err == nil {
		s.files = files
	}
	return err
}

// Exec implements [sandbox.Sandbox].
func (s *Sandbox) Exec(ctx context.Context, step sandbox.Step) error {
	if err := s.begin(step); err != nil {
		return fmt.Errorf("running a step in %s: %w", s.Spec.Name, err)
	}
	if step.Stdout == nil {
		step.Stdout = io.Discard
	}
	if step.Terminal != nil {
		step.Stderr = step.Stdout
	}
	if step.Stderr == nil {
		step.Stderr = io.Discard
	}
	if step.Dir == "" {
		step.Dir = "/"
	}
	in := &input{ctx: ctx, source: step.Stdin}
	step.Stdin = in
	err := context.Cause(ctx)
	if err == nil {
		err = s.handler(ctx, s, step)
	}
	if in.err != nil {
		err = in.err
	}
	var exit *sandbox.ExitError
	if err == nil || errors.As(err, &exit) && ctx.Err() == nil {
		return err
	}
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	return errors.Join(fmt.Errorf("running %s in %s: %w", step.Args[0], s.Spec.Name, err), s.Close())
}

// begin checks and records a step.
func (s *Sandbox) begin(step sandbox.Step) error {
	if len(step.Args) == 0 || step.Args[0] == "" || strings.Contains(step.Args[0], "=") {
		return fmt.Errorf("no command in %q", step.Args)
	}
	if step.Dir != "" && !path.IsAbs(step.Dir) {
		return fmt.Errorf("working directory %q is not absolute", step.Dir)
	}
	if len(step.Secrets) > 0 && step.Terminal != nil {
		return errors.New("a step with a terminal has no secrets")
	}
	for _, variable := range slices.Concat(step.Env, step.Secrets) {
		if strings.Index(variable, "=") < 1 {
			return fmt.Errorf("environment variable %q is not KEY=value", variable)
		}
		if slices.Contains(step.Secrets, variable) && strings.Contains(variable, "\n") {
			return errors.New("a secret has a line break")
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return sandbox.ErrClosed
	}
	s.steps = append(s.steps, step)
	return nil
}

// Close implements [sandbox.Sandbox].
func (s *Sandbox) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return nil
}
