package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"golang.org/x/sync/errgroup"

	"ampoule/artifact"
	"ampoule/faults"
)

// Way is how a registry can write tags without that of two writers one is lost.
type Way string

// The ways.
const (
	// Conditional takes a condition on what the tag names.
	Conditional Way = "conditional"
	// CreateOnly keeps what a tag names: tags are new, or not written.
	CreateOnly Way = "create-only"
	// Unguarded has neither.
	Unguarded Way = "unguarded"
)

const (
	// probeWriters is how many write at the same moment.
	probeWriters = 4
	// probeTries is how often it is tried while others do the same.
	probeTries = 5
)

// IsOwn reports whether it is in the store's own registry.
func (r *Repository) IsOwn() bool { return r.at.transport != nil }

// Believe has a repository written in a way that was found out before.
func (r *Repository) Believe(way Way) { r.way = way }

// Probe finds out how the registry writes tags, and writes in that way from then on. What it says
// of itself does not count: it is tried, under a tag that is for nothing else. A condition that
// does not hold must be refused; of several writers with one that holds, one must win; a tag that
// does not move must refuse every other manifest, and the registry must take that by its digest.
//
// At most one small manifest stays under the tag. That nobody may write there is an error.
func (r *Repository) Probe(ctx context.Context, tag string) (Way, error) {
	switch {
	case r.at.transport != nil:
		return Conditional, r.checkConditions(ctx)
	case r.at.isFile():
		return Unguarded, nil
	}
	way, err := r.probe(ctx, tag)
	if err != nil {
		return "", r.at.convert("trying how tags are written", r.at.base+":"+tag, err)
	}
	r.way = way
	return way, nil
}

func (r *Repository) probe(ctx context.Context, tag string) (Way, error) {
	pusher, err := remote.NewPusher(r.at.options...)
	if err != nil {
		return "", err
	}
	if err := r.at.sendFiles(ctx, pusher, nil); err != nil {
		return "", err
	}
	for range probeTries {
		way, err := r.probeOnce(ctx, tag)
		if err != nil || way != "" {
			return way, err
		}
	}
	return "", faults.New(faults.Remote, "call it again", "others write %s:%s at the same time, again and again", r.at.base, tag)
}

// probeOnce tries it; somebody else who writes the tag leaves it open.
func (r *Repository) probeOnce(ctx context.Context, tag string) (Way, error) {
	first, err := probeManifest(0)
	if err != nil {
		return "", err
	}
	if err := r.begin(ctx, tag, first); err != nil {
		return "", err
	}
	named, err := r.Named(ctx, tag)
	if err != nil || named == "" {
		return "", err
	}
	others, err := probesBut(named)
	if err != nil {
		return "", err
	}
	// A condition that does not hold: the tag never named this.
	wrong := condition{"If-Match", conditionOf(others[1].digest()).value}
	took, err := r.try(withCondition(ctx, wrong), r.at.repo.Tag(tag), others[0])
	if err != nil {
		return "", err
	}
	switch now, err := r.Named(ctx, tag); {
	case err != nil:
		return "", err
	case took || now == others[0].digest():
		return Unguarded, nil
	case now != named:
		return "", nil
	}
	won, err := r.race(ctx, tag, named, others)
	if err != nil {
		return "", err
	}
	now, err := r.Named(ctx, tag)
	switch {
	case err != nil:
		return "", err
	case len(won) > 1:
		return Unguarded, nil
	case len(won) == 1 && now == won[0]:
		return Conditional, nil
	case now != named:
		return "", nil
	}
	return r.probeImmutable(ctx, tag, named, others[0])
}

// begin writes the first manifest, where there is none.
func (r *Repository) begin(ctx context.Context, tag string, first document) error {
	named, err := r.Named(ctx, tag)
	if err != nil || named != "" {
		return err
	}
	err = r.putThere(ctx, tag, "", first)
	if statusOf(err) == http.StatusPreconditionFailed { // somebody else did
		return nil
	}
	return err
}

// race has several writers move the tag from what it names, at the same moment, and returns what
// was taken of that.
func (r *Repository) race(ctx context.Context, tag, named string, others []document) (won []string, err error) {
	taken := make([]bool, len(others))
	group, writing := errgroup.WithContext(ctx)
	for i, d := range others {
		group.Go(func() (err error) {
			taken[i], err = r.try(withCondition(writing, conditionOf(named)), r.at.repo.Tag(tag), d)
			return err
		})
	}
	err = group.Wait()
	for i, d := range others {
		if taken[i] {
			won = append(won, d.digest())
		}
	}
	return won, err
}

// probeImmutable tries whether a tag moves at all.
func (r *Repository) probeImmutable(ctx context.Context, tag, named string, other document) (Way, error) {
	took, err := r.try(ctx, r.at.repo.Tag(tag), other)
	if err != nil {
		return "", err
	}
	switch now, err := r.Named(ctx, tag); {
	case err != nil:
		return "", err
	case took || now != named:
		return Unguarded, nil
	}
	// Who may not write anything moves no tag either.
	return CreateOnly, r.put(ctx, r.at.repo.Digest(other.digest()), other)
}

// try reports whether a registry takes a manifest. That it does not answer is an error.
func (r *Repository) try(ctx context.Context, at name.Reference, d document) (bool, error) {
	err := r.put(ctx, at, d)
	if isDefinite(statusOf(err)) {
		return false, nil
	}
	return err == nil, err
}

// isDefinite reports whether a status says that a write is refused, now and later, and not who
// asks, or how often.
func isDefinite(status int) bool {
	return status >= 400 && status < 500 && !slices.Contains([]int{http.StatusUnauthorized, http.StatusRequestTimeout, http.StatusTooManyRequests}, status)
}

// probeManifest is one of a few small manifests. They are always the same, so that a registry
// keeps no more of them the more often it is asked.
func probeManifest(i int) (document, error) {
	return encodeFiles(artifact.ProbeType, map[string]string{artifact.Namespace + "probe": strconv.Itoa(i)}, nil)
}

// probesBut are as many as write at the same moment, and none of them is named.
func probesBut(named string) ([]document, error) {
	var all []document
	for i := 0; len(all) < probeWriters; i++ {
		d, err := probeManifest(i)
		if err != nil {
			return nil, err
		}
		if d.digest() != named {
			all = append(all, d)
		}
	}
	return all, nil
}

// maxTags bounds the tags of a repository that are listed.
const maxTags = 1_000_000

// Tags lists the tags of the repository. What has none is empty.
func (r *Repository) Tags(ctx context.Context) ([]string, error) {
	var all []string
	err := alive(ctx, func() error {
		all = nil
		lister, err := r.at.puller.Lister(ctx, r.at.repo)
		for err == nil && lister.HasNext() {
			page, next := lister.Next(ctx)
			if next != nil {
				return next
			}
			all = append(all, page.Tags...)
			if len(all) > maxTags {
				return fmt.Errorf("it has more than %d tags", maxTags)
			}
		}
		return err
	})
	err = r.at.convert("listing tags", r.at.base, err)
	var missing *NotFoundError
	if errors.As(err, &missing) {
		return nil, nil
	}
	return all, err
}
