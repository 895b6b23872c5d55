package builder

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ampoule/artifact"
	"ampoule/builder/progress"
	"ampoule/builder/sandbox"
	"ampoule/builder/sandbox/fake"
	"ampoule/builder/share"
	"ampoule/recipes"
	"ampoule/store"
)

// crowd is a machine of two processors on which several builds run, and whose store is collected.
type crowd struct {
	*world
	pool *share.Pool
	// free is content that nobody uses.
	free []string
	// gone is closed when none of it is there any more.
	gone chan struct{}
	// running steps can use several processors; most is how many there were at a time.
	running, most atomic.Int32
	// collections counts those that have ended.
	collections atomic.Int32
}

func newCrowd(t *testing.T) *crowd {
	t.Helper()
	c := &crowd{world: newWorld(t), pool: share.New(share.Total{Processors: 2, Memory: 2 << 30}), gone: make(chan struct{})}
	c.runner = fake.New(c.step)
	c.needs.Publisher = reader{c.world}
	c.needs.Sandboxes = func(context.Context) (Sandboxes, error) {
		return Sandboxes{Runner: c.runner, Images: c.runner, Pool: c.pool}, nil
	}
	// What cannot be fetched again stays, as after `ampoule fetch`.
	kept := Inputs{Files: []Input{{SHA256: c.lock.Python.SHA256}, {SHA256: c.lock.Dists[0].SHA256}, {SHA256: strings.TrimPrefix(c.base.DiffID, "sha256:")}}}
	if err := c.st.RecordDurably(InputsKind, "the key", kept); err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		c.free = append(c.free, c.put(fmt.Sprintf("of a build long ago: %d", i)))
	}
	return c
}

// step does what a step does. The interpreter's is in the middle of its work when all that nobody
// uses goes.
func (c *crowd) step(ctx context.Context, s *fake.Sandbox, step sandbox.Step) error {
	if step.Parallel != nil {
		n := c.running.Add(1)
		defer c.running.Add(-1)
		for most := c.most.Load(); n > most && !c.most.CompareAndSwap(most, n); most = c.most.Load() {
		}
	}
	if slices.Contains(step.Args, "install") {
		select {
		case <-c.gone:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	if step.Parallel != nil {
		time.Sleep(20 * time.Millisecond) // Others would be seen beside it.
	}
	return c.world.step(ctx, s, step)
}

// collect collects the store without a pause, as hard as can be.
func (c *crowd) collect(ctx context.Context) error {
	told := false
	for ctx.Err() == nil {
		if _, err := c.st.Collect(ctx, store.Keep{}, true); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		c.collections.Add(1)
		if !told && !slices.ContainsFunc(c.free, c.isThere) {
			told = true
			close(c.gone)
		}
	}
	return nil
}

// isThere reports whether the store has content, without using it.
func (c *crowd) isThere(sum string) bool {
	_, err := os.Lstat(c.st.Path(sum))
	return err == nil
}

// reader is a publisher that reads all that it is given.
type reader struct{ *world }

// Publish implements Publisher.
func (r reader) Publish(ctx context.Context, a artifact.Artifact) (string, error) {
	for _, l := range a.Layers {
		if err := readLayer(ctx, l); err != nil {
			return "", fmt.Errorf("layer %s: %w", l.Name, err)
		}
	}
	return r.world.Publish(ctx, a)
}

func readLayer(ctx context.Context, l artifact.Layer) error {
	f, err := l.Open(ctx)
	if err != nil {
		return err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return err
	}
	if got := "sha256:" + hex.EncodeToString(sum.Sum(nil)); got != l.DiffID {
		return fmt.Errorf("it is %s", got)
	}
	return nil
}

// variants are four requests with keys and interpreters of their own.
func (c *crowd) variants() []Request {
	var all []Request
	for i, flags := range [][]string{nil, {"--without-doc-strings"}, {"--with-assertions"}, {"--without-doc-strings", "--with-assertions"}} {
		recipe := *c.recipe
		recipe.Name, recipe.Python.Configure = fmt.Sprintf("web-%d", i), flags
		lock := *c.lock
		lock.Answers = recipes.MakeAnswers(&recipe, c.reqs)
		all = append(all, Request{Recipe: &recipe, Requirements: c.reqs, Lock: &lock, Budget: c.budget})
	}
	return all
}

// Eight builds of four keys run in one process while its store is collected without a pause. Each
// ends well, each key is made once, they share the machine, and what nobody uses goes meanwhile.
func TestBuildsBesideCollections(t *testing.T) {
	t.Parallel()
	c := newCrowd(t)
	ctx, cancel := context.WithTimeoutCause(t.Context(), 2*time.Minute, errors.New("the builds hang"))
	defer cancel()
	collecting, stop := context.WithCancel(ctx)
	collected := make(chan error, 1)
	go func() { collected <- c.collect(collecting) }()

	b := c.builder()
	requests := c.variants()
	results, errs := make([]Result, 2*len(requests)), make([]error, 2*len(requests))
	var builds sync.WaitGroup
	for i := range results {
		builds.Go(func() { results[i], errs[i] = b.Build(ctx, requests[i%len(requests)]) })
	}
	builds.Wait()
	stop()
	if err := <-collected; err != nil {
		t.Errorf("collecting: %v", err)
	}
	digests := map[string]bool{}
	for i, err := range errs {
		if err != nil || results[i].Digest == "" || results[i].Digest != results[i%len(requests)].Digest {
			t.Errorf("build %d of %s: %+v, %v", i, requests[i%len(requests)].Recipe.Name, results[i], err)
		}
		digests[results[i].Digest] = true
	}
	if len(digests) != 4 || len(c.artifacts) != 4 {
		t.Errorf("%d digests, %d publications", len(digests), len(c.artifacts))
	}
	// On two processors, four jobs are given out at most, two at least to each step.
	if most := c.most.Load(); most > 2 {
		t.Errorf("%d steps that can use several processors ran at once", most)
	}
	if n := c.collections.Load(); n < 5 {
		t.Errorf("only %d collections ended beside the builds", n)
	}
	c.checkClosed()
	c.checkNothingIsHeld()
}

// checkNothingIsHeld wants shares and pins of ended builds to have gone.
func (c *crowd) checkNothingIsHeld() {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(progress.Silent(c.t.Context()), time.Minute)
	defer cancel()
	whole, err := c.pool.Take(ctx, share.Want{Processors: 2, Memory: 2 << 30})
	if err != nil || whole.Processors != 2 {
		c.t.Fatalf("after all builds a step has %+v, %v", whole, err)
	}
	whole.Release()
	left, err := c.st.Collect(ctx, store.Keep{}, true)
	if err != nil || left.InUseBytes != 0 || left.Left != 3 {
		c.t.Errorf("after all builds the store has %+v, %v", left, err)
	}
}
