package api

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"ampoule/builder"
	"ampoule/faults"
	"ampoule/registry"
	"ampoule/registry/tokens"
	"ampoule/service/access"
	"ampoule/service/journal"
	"ampoule/service/problem"
	"ampoule/service/submission"
	"ampoule/service/wire"
)

// archives takes submissions and reads each archive once, whoever sends it and however often.
type archives struct {
	queue Queue
	temp  string
	// reading is a place for each archive that is read at a time.
	reading chan struct{}
	flights singleflight.Group

	mu sync.Mutex
	// known are what archives were found to be, by sha256; the one that was asked for last is first.
	known map[string]*list.Element
	order *list.List
	// reads counts how many archives were read.
	reads int
}

const (
	// maxKnown is how many archives are remembered.
	maxKnown = 256
	// maxReading is how many archives are read at a time.
	maxReading = 4
	// readTime bounds reading one archive.
	readTime = 2 * time.Minute
)

func newArchives(q Queue, temp string) *archives {
	return &archives{queue: q, temp: temp, reading: make(chan struct{}, maxReading), known: map[string]*list.Element{}, order: list.New()}
}

// parsed is what an archive was found to be.
type parsed struct {
	sum string
	// name and platform are the recipe's.
	name, platform string
	// groups are the dependency groups that it has.
	groups []string
	// images are those that it stands on.
	images []string
	// plan is that of a build; where there is none, unbuildable says why.
	plan        wire.Plan
	unbuildable error
}

// errUnsupported says that a body is of another type.
func errUnsupported(given string) error {
	return problem.New(http.StatusUnsupportedMediaType, faults.Usage, "send a tar with Content-Type: application/x-tar, or one compressed by gzip with application/gzip",
		"the body is of type %q", short(given))
}

// receive takes the archive of a request and reads it.
func (s *Server) receive(ctx context.Context) (*parsed, error) {
	r := exchangeOf(ctx).request
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || !slices.Contains(submission.MediaTypes(), kind) {
		return nil, errUnsupported(r.Header.Get("Content-Type"))
	}
	sum, err := s.keep(ctx, r, s.MaxArchive)
	if err != nil {
		return nil, err
	}
	return s.archives.read(ctx, sum)
}

// keep puts a body into the archives.
func (s *Server) keep(ctx context.Context, r *http.Request, most int64) (string, error) {
	if coding := r.Header.Get("Content-Encoding"); coding != "" && !strings.EqualFold(coding, "identity") {
		return "", problem.New(http.StatusUnsupportedMediaType, faults.Usage, "leave the header Content-Encoding out", "bodies with the content coding %q are not read", short(coding))
	}
	if r.ContentLength > most {
		return "", tooLarge(most)
	}
	select {
	case s.uploads <- struct{}{}:
		defer func() { <-s.uploads }()
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
	sum, _, err := s.Queue.PutArchive(ctx, http.MaxBytesReader(exchangeOf(ctx).answer, r.Body, most))
	return sum, err
}

func tooLarge(most int64) error {
	return problem.New(http.StatusRequestEntityTooLarge, faults.Input, "leave out what the build does not read; app.files chooses", "the body is larger than the %d bytes that this server takes", most)
}

// read reads an archive, unless that was done before.
func (a *archives) read(ctx context.Context, sum string) (*parsed, error) {
	if p := a.find(sum); p != nil {
		return p, nil
	}
	flight := a.flights.DoChan(sum, func() (any, error) {
		// Another flight may have ended since it was looked for.
		if p := a.find(sum); p != nil {
			return p, nil
		}
		// It is for all who ask: none ends it alone.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readTime)
		defer cancel()
		p, err := a.open(ctx, sum)
		if err == nil {
			a.remember(p)
		}
		return p, err
	})
	select {
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case result := <-flight:
		if result.Err != nil {
			return nil, result.Err
		}
		p, ok := result.Val.(*parsed)
		if !ok {
			return nil, fmt.Errorf("reading archive %s: it gave a %T", sum, result.Val)
		}
		return p, nil
	}
}

func (a *archives) find(sum string) *parsed {
	a.mu.Lock()
	defer a.mu.Unlock()
	e := a.known[sum]
	if e == nil {
		return nil
	}
	a.order.MoveToFront(e)
	p, _ := e.Value.(*parsed)
	return p
}

func (a *archives) remember(p *parsed) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.known[p.sum] != nil {
		return
	}
	a.known[p.sum] = a.order.PushFront(p)
	for a.order.Len() > maxKnown {
		last, _ := a.order.Remove(a.order.Back()).(*parsed)
		delete(a.known, last.sum)
	}
}

// open reads an archive in a directory that is removed afterwards.
func (a *archives) open(ctx context.Context, sum string) (_ *parsed, err error) {
	select {
	case a.reading <- struct{}{}:
		defer func() { <-a.reading }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	a.mu.Lock()
	a.reads++
	a.mu.Unlock()
	journal.Of(ctx).WithField("archive", sum).Info("read an archive")
	archive, err := a.queue.OpenArchive(ctx, sum)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, archive.Close()) }()
	dir, err := os.MkdirTemp(a.temp, "submission-")
	if err != nil {
		return nil, fmt.Errorf("making a directory for a submission: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	in, err := submission.Open(ctx, archive, dir, submission.Usual)
	if err != nil {
		return nil, err
	}
	return planned(ctx, sum, in, dir), nil
}

// imagesOf are the images that a recipe and its lock name.
func imagesOf(in submission.Submission) []string {
	all := []string{in.Recipe.Base.Image}
	if c := in.Recipe.Runtime.Container; c != nil {
		all = append(all, c.Base.Image)
	}
	if in.Lock != nil {
		all = append(all, in.Lock.Base.Image)
		for _, target := range in.Lock.Targets {
			all = append(all, target.Image)
		}
	}
	slices.Sort(all)
	return slices.DeleteFunc(slices.Compact(all), func(image string) bool { return image == "" })
}

// requireImages refuses images of the service's own registry that the caller may not read: a build
// on one would give its files away.
func (s *Server) requireImages(caller access.Caller, images []string) error {
	// The place is what stands before every name; nothing, where the registry is the store's.
	place := ""
	if s.Reference != nil {
		place = strings.TrimSuffix(s.Reference("x", ""), "x@")
	}
	for _, image := range images {
		name, _, _ := strings.Cut(image, "@")
		if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
			name = name[:i]
		}
		own := !registry.HasHost(name)
		if rest, inside := strings.CutPrefix(name, place); inside && place != "" {
			name, own = rest, true
		}
		if !own {
			continue
		}
		if err := caller.Require(tokens.Read, name, ""); err != nil {
			return fmt.Errorf("image %s: %w", image, err)
		}
	}
	return nil
}

// planned says what building a submission would do.
func planned(ctx context.Context, sum string, in submission.Submission, dir string) *parsed {
	p := &parsed{sum: sum, name: in.Recipe.Name, platform: in.Recipe.Platforms[0]}
	for group := range in.Recipe.DependencyGroups {
		p.groups = append(p.groups, group)
	}
	slices.Sort(p.groups)
	p.images = imagesOf(in)
	plan, err := builder.PlanBuild(ctx, builder.Request{Recipe: in.Recipe, Requirements: in.Requirements, Lock: in.Lock, Workspace: in.Workspace}, nil)
	if err != nil {
		p.unbuildable = submission.Relative(err, dir)
		return p
	}
	p.plan = wire.Plan{Name: p.name, Key: plan.Key, Platform: p.platform, Inputs: []wire.Input{}, Compiled: append([]string{}, plan.Compiled...)}
	for _, i := range plan.Inputs {
		p.plan.Inputs = append(p.plan.Inputs, wire.Input{Source: i.Source, Name: i.Name, Version: i.Version, File: i.File, SHA256: i.SHA256})
	}
	return p
}

// translate gives errors of reading requests their status.
func translate(ctx context.Context, err error) error {
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return tooLarge(large.Limit)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return problem.New(http.StatusRequestTimeout, faults.Usage, "send the body without long breaks", "the body of the request stopped coming")
	case errors.Is(err, io.ErrUnexpectedEOF) && ctx.Err() != nil:
		return problem.New(http.StatusBadRequest, faults.Usage, "", "the body of the request ended early")
	}
	return known(err)
}
