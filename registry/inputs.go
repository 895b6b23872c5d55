package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sync/errgroup"

	"ampoule/artifact"
)

// Inputs keeps the inputs of builds in the repository [artifact.InputsName]: each a blob, found
// by its sha256 alone, and held against the registry's garbage collection by a
// manifest for each lock.
type Inputs struct{ at location }

// Inputs gives the registry's repository of inputs.
func (r *Registry) Inputs() (*Inputs, error) {
	at, err := r.locateOwn(artifact.InputsName, artifact.InputsName)
	return &Inputs{at}, err
}

// String names the repository for a person.
func (i *Inputs) String() string { return i.at.base }

// Open gives the blob of that sha256. What is not there is an [fs.ErrNotExist].
func (i *Inputs) Open(ctx context.Context, sum string) (io.ReadCloser, error) {
	op := "reading " + sum
	content, err := i.at.openBlob(ctx, "sha256:"+sum)
	err = i.at.convert(op, i.at.at("sha256:"+sum), err)
	if missing := (*NotFoundError)(nil); errors.As(err, &missing) {
		return nil, fmt.Errorf("%w: %w", fs.ErrNotExist, err)
	}
	if err != nil {
		return nil, err
	}
	return converting{ReadCloser: content, location: i.at, op: op}, nil
}

// Keep sends the files that the repository lacks, then the manifest that lists them all,
// with the key of the build that they belong to as its tag. It returns the manifest's
// reference.
func (i *Inputs) Keep(ctx context.Context, key string, files []artifact.File) (ref string, err error) {
	op := "keeping inputs"
	tag, err := artifact.KeyTag(key)
	if err != nil {
		return "", fmt.Errorf("%s: %w", op, err)
	}
	manifest, err := encodeFiles(artifact.InputsType, nil, files)
	if err != nil {
		return "", fmt.Errorf("%s: %w", op, err)
	}
	return i.at.at(manifest.digest()), i.at.putFiles(ctx, op, tag, manifest, files)
}

// putFiles sends the files that a repository lacks, then the manifest that lists them, under a
// tag.
func (l location) putFiles(ctx context.Context, op, tag string, manifest document, files []artifact.File) error {
	pusher, err := remote.NewPusher(l.options...)
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	send := func() error {
		if err := l.sendFiles(ctx, pusher, files); err != nil {
			return err
		}
		return pusher.Put(ctx, l.repo.Tag(tag), manifest)
	}
	if err = send(); isBlobUnknown(err) {
		// The registry has collected a blob since it was asked for it.
		err = send()
	}
	return l.convert(op, l.base, err)
}

// sendFiles sends the files that a repository lacks, several at a time.
func (l location) sendFiles(ctx context.Context, pusher *remote.Pusher, files []artifact.File) error {
	group, sending := errgroup.WithContext(ctx)
	group.SetLimit(uploads)
	for _, b := range blobsOf(files) {
		group.Go(func() error { return l.upload(sending, pusher, b) })
	}
	return group.Wait()
}

// blobsOf are the files of a manifest without image, and its empty configuration.
func blobsOf(files []artifact.File) []blob {
	blobs := []blob{documentBlob(document{emptyJSON, artifact.EmptyType})}
	seen := map[string]bool{}
	for _, f := range files {
		if !seen[f.Digest] {
			seen[f.Digest] = true
			blobs = append(blobs, blob{digest: f.Digest, size: f.Size, mediaType: types.MediaType(f.MediaType), open: f.Open})
		}
	}
	return blobs
}
