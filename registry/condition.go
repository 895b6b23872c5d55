package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"ampoule/artifact"
	"ampoule/faults"
)

// UnconditionalError says that a registry takes no conditions on the write of a tag.
type UnconditionalError struct{ Registry string }

func (e *UnconditionalError) Error() string {
	return e.Registry + " has no condition on the write of a tag, as the OCI protocol has none: of two that write it at the same moment, one would be lost without a word"
}

// Kind says whose fault it is.
func (*UnconditionalError) Kind() faults.Kind { return faults.Refused }

// Hint says where it is possible.
func (*UnconditionalError) Hint() string {
	return "write it in the registry of one machine's store, without --registry, and copy from there: `ampoule copy NAME@sha256:… HOST/NAME:TAG`"
}

// MovedError says that a tag does not name any more what a write of it was conditional on.
type MovedError struct{ Ref string }

func (e *MovedError) Error() string { return e.Ref + " was written by somebody else meanwhile" }

// Kind says whose fault it is.
func (*MovedError) Kind() faults.Kind { return faults.Refused }

// Hint says what to do.
func (*MovedError) Hint() string { return "look at what it names now, and decide again" }

// CheckConditions says that [Repository.PutIf] and [Repository.PointIf] work here; elsewhere the
// error is an [*UnconditionalError]. Only the store's own registry does that.
func (r *Repository) CheckConditions(ctx context.Context) error {
	if r.at.transport == nil {
		return &UnconditionalError{r.at.shown}
	}
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
func (r *Repository) PutIf(ctx context.Context, tag, expected, artifactType string, annotations map[string]string, files []artifact.File) (string, error) {
	op := "writing " + tag
	manifest, err := encodeFiles(artifactType, annotations, files)
	if err != nil {
		return "", fmt.Errorf("%s: %w", op, err)
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

// PointIf has a tag name what has a digest in the repository, under the condition of
// [Repository.PutIf].
func (r *Repository) PointIf(ctx context.Context, tag, expected, digest string) error {
	d, err := r.at.get(ctx, r.at.repo.Digest(digest))
	if err != nil {
		return r.at.convert("reading "+digest, r.at.at(digest), err)
	}
	return r.putIf(ctx, tag, expected, document{d.Manifest, d.MediaType})
}

// putIf writes a manifest under a tag. The registry's client has no way to send a condition.
func (r *Repository) putIf(ctx context.Context, tag, expected string, d document) error {
	if err := r.CheckConditions(ctx); err != nil {
		return err
	}
	ref, op := r.at.base+":"+tag, "writing "+tag
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, "http://"+localHost+"/v2/"+r.at.repo.RepositoryStr()+"/manifests/"+tag, bytes.NewReader(d.raw))
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	req.Header.Set("Content-Type", string(d.mediaType))
	if expected == "" {
		req.Header.Set("If-None-Match", "*")
	} else {
		req.Header.Set("If-Match", artifact.EntityTag(expected))
	}
	resp, err := r.at.transport.RoundTrip(req)
	if err != nil {
		return r.at.convert(op, ref, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusPreconditionFailed {
		_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxConfig)) // it says the same in words
		// A write whose answer was lost was sent again: then it was this one.
		if now, err := r.Named(ctx, tag); err != nil || now == d.digest() {
			return err
		}
		return &MovedError{ref}
	}
	return r.at.convert(op, ref, transport.CheckError(resp, http.StatusCreated))
}
