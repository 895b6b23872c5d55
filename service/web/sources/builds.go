package sources

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"sync"
	"time"

	"ampoule/faults"
	"ampoule/service/builds"
	"ampoule/service/logs"
	"ampoule/service/web"
)

// Queue is where builds are; [*queue.Queue] is one.
type Queue interface {
	Get(ctx context.Context, id string) (builds.Build, error)
	List(ctx context.Context, f builds.Filter, after string, limit int) (builds.Page, error)
	Cancel(ctx context.Context, by builds.Caller, id string) (builds.Build, error)
	Retry(ctx context.Context, by builds.Caller, id string) (builds.Accepted, error)
	Follow(ctx context.Context, id string, after int64) iter.Seq2[builds.Event, error]
	FollowLog(ctx context.Context, id string, stream logs.Stream, offset int64) iter.Seq2[logs.Chunk, error]
	ReadLog(ctx context.Context, id string, stream logs.Stream, offset int64, limit int) (logs.Chunk, error)
	OpenArchive(ctx context.Context, sum string) (io.ReadCloser, error)
}

// Builds are a queue's.
type Builds struct {
	Queue Queue
	// Inputs reads of a submission what goes into its build; may be nil.
	Inputs func(ctx context.Context, archive io.Reader) ([]web.Input, error)

	mu     sync.Mutex
	steps  map[string]*following
	inputs map[string][]web.Input
}

// following is how far the steps of a build were read.
type following struct {
	mu sync.Mutex
	steps
}

// remembered bounds of how many builds the steps, and the inputs, are kept.
const remembered = 256

// lookList is how often a list is looked at that somebody watches.
const lookList = 2 * time.Second

// Builds lists builds.
func (b *Builds) Builds(ctx context.Context, f web.Filter) (web.BuildPage, error) {
	filter := builds.Filter{Recipe: f.Recipe, Caller: f.Caller}
	if f.State != "" {
		filter.States = []builds.State{builds.State(f.State)}
	}
	page, err := b.Queue.List(ctx, filter, f.Before, f.Limit)
	if err != nil {
		return web.BuildPage{}, err
	}
	shown := web.BuildPage{Next: page.Next}
	for _, one := range page.Builds {
		shown.Builds = append(shown.Builds, build(one))
	}
	return shown, nil
}

// build is a build as pages have it, without its steps and inputs.
func build(b builds.Build) web.Build {
	shown := web.Build{
		ID: b.ID, Recipe: b.Recipe, Key: b.Key, Kind: string(b.Kind), State: web.State(b.State), Caller: b.Caller, Trusted: b.Trusted,
		Followers: max(0, b.Followers-1), Priority: int(b.Priority), Attempt: b.Attempt, Worker: b.Worker, Platform: b.Platform,
		Submitted: b.Created, Started: b.Started, Finished: b.Ended,
	}
	if b.Result != nil && b.Result.Digest != "" {
		shown.Ref = b.Recipe + "@" + b.Result.Digest
	}
	if f := b.Failure; f != nil && b.State == builds.Failed {
		shown.Failure = &web.Failure{Text: f.Message, Hints: f.Hints, Step: web.Step{Stage: f.Stage, Task: f.Task}.Name()}
	}
	return shown
}

// Build finds a build, with its steps and inputs.
func (b *Builds) Build(ctx context.Context, id string) (web.Build, error) {
	one, err := b.Queue.Get(ctx, id)
	if err != nil {
		return web.Build{}, err
	}
	shown := build(one)
	if shown.Steps, err = b.readSteps(ctx, one); err != nil {
		return web.Build{}, err
	}
	shown.Inputs = b.readInputs(ctx, one.Archive)
	return shown, nil
}

// readSteps reads what a build has told since it was looked at last. A build that was begun anew goes
// on in the same stream.
func (b *Builds) readSteps(ctx context.Context, one builds.Build) ([]web.Step, error) {
	f := b.following(one.ID)
	f.mu.Lock()
	defer f.mu.Unlock()
	for {
		chunk, err := b.Queue.ReadLog(ctx, one.ID, logs.Progress, f.offset, logs.MaxRead)
		if faults.Of(err) == faults.NotFound {
			break // logs go before their builds
		}
		if err != nil {
			return nil, err
		}
		f.read(chunk.Data)
		if len(chunk.Data) == 0 || chunk.End {
			break
		}
	}
	list := append([]web.Step(nil), f.list...)
	for i := range list {
		// What ran when its worker died, or when the build was cancelled, does not run on.
		if one.State.Terminal() && list[i].Finished.IsZero() {
			list[i].State, list[i].Finished, list[i].Message = web.StepFailed, one.Ended, "it was not finished"
		}
	}
	return list, nil
}

func (b *Builds) following(id string) *following {
	b.mu.Lock()
	defer b.mu.Unlock()
	if f, ok := b.steps[id]; ok {
		return f
	}
	if b.steps == nil || len(b.steps) >= remembered {
		b.steps = map[string]*following{} // what is looked at is read again
	}
	f := &following{}
	b.steps[id] = f
	return f
}

// readInputs reads what goes into a build. A submission that cannot be read shows none: the build
// itself says why.
func (b *Builds) readInputs(ctx context.Context, archive string) []web.Input {
	if b.Inputs == nil || archive == "" {
		return nil
	}
	b.mu.Lock()
	known, ok := b.inputs[archive]
	b.mu.Unlock()
	if ok {
		return known
	}
	r, err := b.Queue.OpenArchive(ctx, archive)
	if err != nil {
		return nil
	}
	defer r.Close()
	list, err := b.Inputs(ctx, r)
	if err != nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.inputs == nil || len(b.inputs) >= remembered {
		b.inputs = map[string][]web.Input{}
	}
	b.inputs[archive] = list
	return list
}

// Watch sends when a build's row or its steps have changed. Of all builds together it says from
// time to time that something may have.
func (b *Builds) Watch(ctx context.Context, id string) <-chan struct{} {
	out := make(chan struct{}, 1)
	tell := func() {
		select {
		case out <- struct{}{}:
		default: // it knows already
		}
	}
	if id == "" {
		go every(ctx, lookList, out, tell)
		return out
	}
	var both sync.WaitGroup
	both.Go(func() {
		for _, err := range b.Queue.Follow(ctx, id, 0) {
			if err != nil {
				return
			}
			tell()
		}
	})
	both.Go(func() {
		for _, err := range b.Queue.FollowLog(ctx, id, logs.Progress, b.offset(id)) {
			if err != nil {
				return
			}
			tell()
		}
	})
	go func() {
		both.Wait()
		tell()
		<-ctx.Done()
		close(out)
	}()
	return out
}

// offset is how far the steps of a build were read.
func (b *Builds) offset(id string) int64 {
	f := b.following(id)
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.offset
}

// every tells again and again.
func every(ctx context.Context, pause time.Duration, out chan struct{}, tell func()) {
	defer close(out)
	ticker := time.NewTicker(pause)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			tell()
		}
	}
}

// caller is somebody as the queue knows people.
func caller(by web.Identity, recipe string) builds.Caller {
	return builds.Caller{Name: by.Name, Trusted: by.Trusted, Admin: by.May(web.Admin, recipe, "")}
}

// Cancel cancels a build, or withdraws from it where others follow.
func (b *Builds) Cancel(ctx context.Context, by web.Identity, id string) error {
	one, err := b.Queue.Get(ctx, id)
	if err == nil {
		_, err = b.Queue.Cancel(ctx, caller(by, one.Recipe), id)
	}
	return err
}

// Retry submits a build again.
func (b *Builds) Retry(ctx context.Context, by web.Identity, id string) (string, error) {
	one, err := b.Queue.Get(ctx, id)
	if err != nil {
		return "", err
	}
	accepted, err := b.Queue.Retry(ctx, caller(by, one.Recipe), id)
	return accepted.Build.ID, err
}

// OpenLog opens what there is of a build's log.
func (b *Builds) OpenLog(ctx context.Context, id string) (io.ReadCloser, error) {
	return &logReader{ctx: ctx, from: b.Queue, id: id}, nil
}

// logReader reads a log until there is no more now.
type logReader struct {
	ctx    context.Context //nolint:containedctx // it is one reading
	from   Queue
	id     string
	offset int64
	rest   []byte
}

// Read reads.
func (r *logReader) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		chunk, err := r.from.ReadLog(r.ctx, r.id, logs.Output, r.offset, logs.MaxRead)
		if err != nil {
			return 0, err
		}
		if len(chunk.Data) == 0 {
			return 0, io.EOF
		}
		r.rest, r.offset = chunk.Data, chunk.Next
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// Close ends the reading.
func (*logReader) Close() error { return nil }

// FollowLog hands on what a log has from an offset.
func (b *Builds) FollowLog(ctx context.Context, id string, offset int64, take func(data []byte) error) error {
	for chunk, err := range b.Queue.FollowLog(ctx, id, logs.Output, offset) {
		if err != nil {
			return err
		}
		if err := take(chunk.Data); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// Published lists what the last builds have published, of a recipe where its name is not empty.
func (b *Builds) Published(ctx context.Context, name string) ([]web.ArtifactSummary, error) {
	page, err := b.Builds(ctx, web.Filter{State: web.Done, Recipe: name, Limit: recipesLooked})
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	var list []web.ArtifactSummary
	for _, one := range page.Builds {
		if _, digest, ok := strings.Cut(one.Ref, "@"); ok && !seen[one.Ref] {
			seen[one.Ref] = true
			list = append(list, web.ArtifactSummary{Ref: one.Ref, Name: one.Recipe, Digest: digest, Published: one.Finished})
		}
	}
	return list, nil
}

// recipesLooked is of how many builds the list of recipes is made.
const recipesLooked = 500

// Recipes are the recipes of a queue's builds.
type Recipes struct {
	Builds    *Builds
	Artifacts web.Artifacts
	Channels  web.Channels
}

// Recipes lists the recipes of the last builds, that of the newest one first.
func (r *Recipes) Recipes(ctx context.Context) ([]web.Recipe, error) {
	all, err := r.of(ctx, "")
	if err != nil {
		return nil, err
	}
	published, err := r.Artifacts.Artifacts(ctx, "")
	if err != nil {
		return nil, err
	}
	channels, err := r.Channels.Channels(ctx)
	if err != nil && faults.Of(err) == faults.Unknown {
		return nil, err
	}
	for i := range all {
		all[i] = completed(all[i], published, channels)
	}
	return all, nil
}

// of counts builds by recipe.
func (r *Recipes) of(ctx context.Context, name string) ([]web.Recipe, error) {
	page, err := r.Builds.Builds(ctx, web.Filter{Recipe: name, Limit: recipesLooked})
	if err != nil {
		return nil, err
	}
	at := map[string]int{}
	var all []web.Recipe
	for _, b := range page.Builds {
		i, ok := at[b.Recipe]
		if !ok {
			i = len(all)
			at[b.Recipe] = i
			all = append(all, web.Recipe{Name: b.Recipe, Last: b})
		}
		all[i].Builds++
		if b.State == web.Failed {
			all[i].Failed++
		}
	}
	return all, nil
}

func completed(r web.Recipe, published []web.ArtifactSummary, channels []web.Channel) web.Recipe {
	for _, a := range published {
		if a.Name == r.Name {
			r.Published = a
			break
		}
	}
	for _, c := range channels {
		if c.Repository == r.Name {
			r.Channels = append(r.Channels, c)
		}
	}
	return r
}

// Recipe finds one recipe.
func (r *Recipes) Recipe(ctx context.Context, name string) (web.Recipe, error) {
	all, err := r.of(ctx, name)
	if err != nil {
		return web.Recipe{}, err
	}
	published, err := r.Artifacts.Artifacts(ctx, name)
	if err != nil {
		return web.Recipe{}, err
	}
	if len(all) == 0 && len(published) == 0 {
		return web.Recipe{}, faults.New(faults.NotFound, "", "recipe %s: not found", name)
	}
	one := web.Recipe{Name: name}
	if len(all) > 0 {
		one = all[0]
	}
	channels, err := r.Channels.Channels(ctx)
	if err != nil && faults.Of(err) == faults.Unknown {
		return one, err
	}
	return completed(one, published, channels), nil
}

var errNoChannels = faults.New(faults.Undecided, "name a policy with a trust root when the service is started", "this service knows no trust root, which channels need")

// NoChannels are those of a service without a trust root.
type NoChannels struct{}

// Channels are none.
func (NoChannels) Channels(context.Context) ([]web.Channel, error) { return nil, nil }

// Channel is none.
func (NoChannels) Channel(_ context.Context, repository, name string) (web.Channel, error) {
	return web.Channel{}, fmt.Errorf("channel %s:%s: %w", repository, name, errors.Join(errNoChannels))
}

// Promote is refused.
func (NoChannels) Promote(context.Context, web.Identity, web.Move) error { return errNoChannels }

// Rollback is refused.
func (NoChannels) Rollback(context.Context, web.Identity, web.Move) error { return errNoChannels }

// Approve is refused.
func (NoChannels) Approve(context.Context, web.Identity, web.Move) error { return errNoChannels }
