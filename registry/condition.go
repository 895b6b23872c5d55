package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"ampoule/artifact"
	"ampoule/faults"
)

// UnconditionalError says that a registry takes no conditions on the write of a tag.
type UnconditionalError struct{ Registry string }

func (e *UnconditionalError) Error() string {
	return e.Registry + " has no condition on the write of a tag, as the OCI protocol has none, and its tags move: of two that write one at the same moment, one would be lost without a word"
}

// Kind says whose fault it is.
func (*UnconditionalError) Kind() faults.Kind { return faults.Refused }

// Hint says where it is possible.
func (*UnconditionalError) Hint() string {
	return "write the channel in the registry of a machine's store, in one that `ampoule registry serve` serves, or in one with immutable tags; copies go from there: `ampoule channel mirror NAME:CHANNEL HOST[/PREFIX]`"
}

// MovedError says that a tag does not name any more what a write of it was conditional on.
type MovedError struct{ Ref string }

func (e *MovedError) Error() string { return e.Ref + " was written by somebody else meanwhile" }

// Kind says whose fault it is.
func (*MovedError) Kind() faults.Kind { return faults.Refused }

// Hint says what to do.
func (*MovedError) Hint() string { return "look at what it names now, and decide again" }

// checkConditions says that the process that serves the store's registry takes conditions.
func (r *Repository) checkConditions(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+localHost+"/v2/", nil)
	if err != nil {
		return err
	}
	resp, err := r.at.transport.RoundTrip(req)
	if err != nil {
		return r.at.convert("asking for conditions", r.at.base, err)
	}
	defer resp.Body.Close()
	if resp.Header.Get(artifact.ConditionsHeader) != artifact.Conditions {
		return faults.New(faults.Machine, "wait until it ends, or end it", "another process, of an older Ampoule, serves the store's registry: it knows no conditions")
	}
	return nil
}

// Named is the digest that a tag names; empty where there is no such tag. In the store's own
// registry what it names may be damaged.
func (r *Repository) Named(ctx context.Context, tag string) (string, error) {
	if r.at.transport != nil {
		return r.namedHere(ctx, tag)
	}
	var d *v1.Descriptor
	err := alive(ctx, func() (err error) {
		d, err = r.at.puller.Head(ctx, r.at.repo.Tag(tag))
		return err
	})
	err = r.at.convert("reading "+tag, r.at.base+":"+tag, err)
	var missing *NotFoundError
	switch {
	case errors.As(err, &missing):
		return "", nil
	case err != nil:
		return "", err
	}
	return d.Digest.String(), nil
}

// namedHere asks the store's own registry, which says what a tag names even where it has only
// ruins to give for it.
func (r *Repository) namedHere(ctx context.Context, tag string) (string, error) {
	ref, op := r.at.base+":"+tag, "reading "+tag
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, "http://"+localHost+"/v2/"+r.at.repo.RepositoryStr()+"/manifests/"+tag, nil)
	if err != nil {
		return "", fmt.Errorf("%s: %w", op, err)
	}
	resp, err := r.at.transport.RoundTrip(req)
	if err != nil {
		return "", r.at.convert(op, ref, err)
	}
	defer resp.Body.Close()
	if digest := resp.Header.Get(artifact.DigestHeader); artifact.IsDigest(digest) {
		return digest, nil
	}
	if resp.StatusCode == http.StatusNotFound {
		return "", nil
	}
	return "", r.at.convert(op, ref, transport.CheckError(resp, http.StatusNotFound))
}

// PutIf is as [Repository.Put], if the tag names what it is expected to: a digest, or nothing
// where that is empty. Else it is a [*MovedError], and nothing is changed. It returns the digest
// that the tag then names.
//
// In another registry than the store's own it does what [Repository.Probe] has found, or
// [Repository.Believe] was told: where tags do not move only new ones are written. Otherwise it is an
// [*UnconditionalError], before anything is sent.
func (r *Repository) PutIf(ctx context.Context, tag, expected, artifactType string, annotations map[string]string, files []artifact.File) (string, error) {
	op := "writing " + tag
	manifest, err := encodeFiles(artifactType, annotations, files)
	if err != nil {
		return "", fmt.Errorf("%s: %w", op, err)
	}
	if err := r.mayPutIf(ctx, expected); err != nil {
		return "", err
	}
	pusher, err := remote.NewPusher(r.at.options...)
	if err != nil {
		return "", fmt.Errorf("%s: %w", op, err)
	}
	if err := r.at.sendFiles(ctx, pusher, files); err != nil {
		return "", r.at.convert(op, r.at.base, err)
	}
	return manifest.digest(), r.putIf(ctx, tag, expected, manifest)
}

// mayPutIf refuses a write that would not be conditional.
func (r *Repository) mayPutIf(ctx context.Context, expected string) error {
	switch {
	case r.at.transport != nil:
		return r.checkConditions(ctx)
	case r.way == Conditional, r.way == CreateOnly && expected == "":
		return nil
	}
	return &UnconditionalError{r.at.shown}
}

// PointIf has a tag name what has a digest in the repository, under the condition of
// [Repository.PutIf].
func (r *Repository) PointIf(ctx context.Context, tag, expected, digest string) error {
	d, err := r.at.get(ctx, r.at.repo.Digest(digest))
	if err != nil {
		return r.at.convert("reading "+digest, r.at.at(digest), err)
	}
	return r.putIf(ctx, tag, expected, document{d.Manifest, d.MediaType})
}

// Point has a tag name what has a digest in the repository, whatever it named.
func (r *Repository) Point(ctx context.Context, tag, digest string) error {
	d, err := r.at.get(ctx, r.at.repo.Digest(digest))
	if err == nil {
		err = r.put(ctx, r.at.repo.Tag(tag), document{d.Manifest, d.MediaType})
	}
	return r.at.convert("writing "+tag, r.at.base+":"+tag, err)
}

// putIf writes a manifest under a tag, under a condition.
func (r *Repository) putIf(ctx context.Context, tag, expected string, d document) error {
	if err := r.mayPutIf(ctx, expected); err != nil {
		return err
	}
	ref, op := r.at.base+":"+tag, "writing "+tag
	var err error
	if r.at.transport != nil {
		err = r.putHere(ctx, tag, expected, d)
	} else {
		err = r.putThere(ctx, tag, expected, d)
	}
	refused := isDefinite(statusOf(err)) && r.way == CreateOnly
	if err == nil && r.way == CreateOnly || refused || statusOf(err) == http.StatusPreconditionFailed {
		// A write whose answer was lost was sent again: then it was this one. A registry whose tags
		// do not move says in its own way that there is one.
		switch now, asked := r.Named(ctx, tag); {
		case asked != nil:
			return asked
		case now == d.digest():
			return nil
		case now != "" || !refused:
			return &MovedError{ref}
		}
	}
	return r.at.convert(op, ref, err)
}

// conditionOf is the header of a condition on what a tag names.
func conditionOf(expected string) condition {
	if expected == "" {
		return condition{"If-None-Match", "*"}
	}
	return condition{"If-Match", artifact.EntityTag(expected)}
}

// putHere writes in the store's own registry. What it answers is an [*transport.Error].
func (r *Repository) putHere(ctx context.Context, tag, expected string, d document) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, "http://"+localHost+"/v2/"+r.at.repo.RepositoryStr()+"/manifests/"+tag, bytes.NewReader(d.raw))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", string(d.mediaType))
	c := conditionOf(expected)
	req.Header.Set(c.header, c.value)
	resp, err := r.at.transport.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return transport.CheckError(resp, http.StatusCreated)
}

// putThere writes in another registry. What it answers is an [*transport.Error].
func (r *Repository) putThere(ctx context.Context, tag, expected string, d document) error {
	return r.put(withCondition(ctx, conditionOf(expected)), r.at.repo.Tag(tag), d)
}

// put writes a manifest.
func (r *Repository) put(ctx context.Context, at name.Reference, d document) error {
	pusher, err := remote.NewPusher(r.at.options...)
	if err != nil {
		return err
	}
	return alive(ctx, func() error { return pusher.Put(ctx, at, d) })
}

// condition is one on the write of a manifest. The client of other registries has no way to send
// one, so it goes along with the context, and [conditioned] sends it.
type condition struct{ header, value string }

type conditionKey struct{}

func withCondition(ctx context.Context, c condition) context.Context {
	return context.WithValue(ctx, conditionKey{}, c)
}

// conditioned sends the condition of a write.
type conditioned struct{ next http.RoundTripper }

// RoundTrip implements [http.RoundTripper].
func (t conditioned) RoundTrip(req *http.Request) (*http.Response, error) {
	c, ok := req.Context().Value(conditionKey{}).(condition)
	if ok && req.Method == http.MethodPut && strings.Contains(req.URL.Path, "/manifests/") {
		req = req.Clone(req.Context())
		req.Header.Set(c.header, c.value)
	}
	return t.next.RoundTrip(req)
}
