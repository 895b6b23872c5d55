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
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sync/errgroup"

	"ampoule/artifact"
	"ampoule/registry/layer"
)

// uploads is how many blobs are sent at once.
const uploads = 4

// Publish sends an artifact: blobs, image manifests, referrers, and last the index
// with its key, so that an interrupted publication leaves nothing that can be
// found. Blobs that the registry has are not sent. If the key names this artifact
// already, and all of it is there, nothing is sent, the referrers neither; if it names
// another one that is whole, the error is a [*KeyTakenError].
//
// The store's registry decides between simultaneous publications of one key. The
// OCI protocol gives other registries no means to: there the key is looked up
// right before and after it is written.
func (r *Registry) Publish(ctx context.Context, a Packed) (Published, error) {
	at, err := r.locateOwn(a.Name, a.Name)
	if err != nil {
		return Published{}, err
	}
	tag, err := artifact.KeyTag(a.Key)
	if err != nil {
		return Published{}, fmt.Errorf("publishing %s: %w", a.Name, err)
	}
	docs, err := encode(a)
	if err != nil {
		return Published{}, fmt.Errorf("publishing %s: %w", a.Name, err)
	}
	if err := checkKey(a); err != nil {
		return Published{}, fmt.Errorf("publishing %s: %w", a.Name, err)
	}
	digest := docs.index.digest()
	p := publication{location: at, artifact: a, docs: docs, tag: tag}
	done, err := p.isDone(ctx)
	if err == nil && !done {
		err = p.run(ctx)
	}
	if err != nil {
		return Published{}, err
	}
	return Published{Ref: at.at(digest), Digest: digest}, nil
}

// checkKey refuses an artifact that its key would not find.
func checkKey(a Packed) error {
	for _, image := range a.Images {
		labels, err := artifact.ParseLabels(image.Config.Labels)
		if err == nil && labels.Key != a.Key {
			err = fmt.Errorf("label %s is %q, not its key", artifact.LabelKey, labels.Key)
		}
		if err != nil {
			return fmt.Errorf("image for %s: %w", image.Platform, err)
		}
	}
	return nil
}

// Attach publishes one more referrer of an artifact and returns the digest of its
// manifest. A registry without the referrers API keeps them in one tagged index
// (OCI distribution-spec, "Referrers Tag Schema"): two attached at the same time
// there may lose one.
func (r *Registry) Attach(ctx context.Context, ref string, referrer artifact.Referrer) (string, error) {
	at, err := r.parse(ref)
	if err != nil {
		return "", err
	}
	var subject *v1.Descriptor
	err = alive(ctx, func() (err error) {
		subject, err = at.puller.Head(ctx, at.reference())
		return err
	})
	if err != nil {
		return "", at.convert("attaching to "+ref, ref, err)
	}
	pusher, err := remote.NewPusher(at.options...)
	if err != nil {
		return "", fmt.Errorf("attaching to %s: %w", ref, err)
	}
	manifest, err := at.pushReferrer(ctx, pusher, referrer, *subject)
	if err != nil {
		return "", at.convert("attaching to "+ref, ref, err)
	}
	sent := referring{subject.Digest.String(), manifest.digest(), referrer.ArtifactType}
	return manifest.digest(), at.checkListed(ctx, "attaching to "+ref, []referring{sent})
}

// publication is one artifact on its way.
type publication struct {
	location
	artifact Packed
	docs     encoded
	tag      string
}

// isDone reports whether the key names the artifact already, and all of it is there. What is
// damaged is published again, even as another artifact: its own bits are lost.
func (p publication) isDone(ctx context.Context) (bool, error) {
	var types []string
	for _, r := range p.artifact.Referrers {
		types = append(types, r.ArtifactType)
	}
	found, ok, err := p.published(ctx, p.tag, p.artifact.Key, artifact.Beside{Always: types})
	var damaged *DamagedError
	if errors.As(err, &damaged) {
		return false, nil
	}
	if err != nil || !ok {
		return false, err
	}
	if found != p.docs.index.digest() {
		return false, &KeyTakenError{
			Name: p.artifact.Name, Key: p.artifact.Key, Published: found, Offered: p.docs.index.digest(),
		}
	}
	return true, nil
}

// run sends everything. It starts over once when a blob that was there is not any
// more: the registry collects what nothing refers to.
func (p publication) run(ctx context.Context) error {
	err := p.send(ctx)
	if isBlobUnknown(err) {
		err = p.send(ctx)
	}
	if status := statusOf(err); status == http.StatusConflict || status == http.StatusPreconditionFailed {
		if _, taken := p.isDone(ctx); taken != nil {
			return taken
		}
	}
	if err != nil {
		var mine *KeyTakenError
		var claim *claimError
		switch {
		case errors.As(err, &mine):
			return err
		case errors.As(err, &claim):
			return claim.err
		}
		return p.convert("publishing "+p.artifact.Name, p.base, err)
	}
	done, err := p.isDone(ctx)
	if err == nil && !done {
		err = &RemoteError{Registry: p.shown, Op: "publishing " + p.artifact.Name, Err: errNotKept}
	}
	return err
}

// errNotKept says that a registry took everything and does not have all of it.
var errNotKept = errors.New("it took the artifact, and not all of it can be had")

func (p publication) send(ctx context.Context) error {
	pusher, err := remote.NewPusher(p.options...)
	if err != nil {
		return err
	}
	if err := p.sendBlobs(ctx, pusher); err != nil {
		return err
	}
	for _, m := range p.docs.manifests {
		if err := pusher.Put(ctx, p.repo.Digest(m.digest()), m); err != nil {
			return err
		}
	}
	if err := p.sendReferrers(ctx, pusher); err != nil {
		return err
	}
	if done, err := p.isDone(ctx); done || err != nil {
		return err
	}
	if err := p.sendEvidence(ctx, pusher); err != nil {
		return err
	}
	if err := p.claim(ctx, pusher); err != nil {
		return err
	}
	return pusher.Put(ctx, p.repo.Tag(p.tag), p.docs.index)
}

// claimError is an error of [Packed.Claim], which is none of the registry's.
type claimError struct{ err error }

func (e *claimError) Error() string { return e.err.Error() }
func (e *claimError) Unwrap() error { return e.err }

// claim sends the index under its digest, and asks whether its key may name it.
func (p publication) claim(ctx context.Context, pusher *remote.Pusher) error {
	if p.artifact.Claim == nil {
		return nil
	}
	digest := p.docs.index.digest()
	if err := pusher.Put(ctx, p.repo.Digest(digest), p.docs.index); err != nil {
		return err
	}
	if err := p.artifact.Claim(ctx, digest); err != nil {
		return &claimError{err}
	}
	return nil
}

// Settle has a key name an artifact that was claimed for it, and whose publication ended before
// the key was written. Found is false where the registry does not have the artifact whole.
func (r *Registry) Settle(ctx context.Context, name, key, digest string) (found bool, err error) {
	at, err := r.locateOwn(name, name)
	if err != nil {
		return false, err
	}
	tag, err := artifact.KeyTag(key)
	if err != nil {
		return false, fmt.Errorf("settling %s: %w", name, err)
	}
	root, err := at.get(ctx, at.repo.Digest(digest))
	if err := at.convert("settling "+name, at.at(digest), err); err != nil {
		var missing *NotFoundError
		var damaged *DamagedError
		if errors.As(err, &missing) || errors.As(err, &damaged) {
			return false, nil
		}
		return false, err
	}
	c := chain{location: at, tag: tag, key: key, digest: digest}
	if err := c.check(ctx, root, artifact.Beside{}); err != nil {
		var damaged *DamagedError
		if errors.As(err, &damaged) {
			return false, nil
		}
		return false, at.convert("settling "+name, at.at(digest), err)
	}
	pusher, err := remote.NewPusher(at.options...)
	if err == nil {
		err = pusher.Put(ctx, at.repo.Tag(tag), document{root.Manifest, root.MediaType})
	}
	if err != nil {
		return false, at.convert("settling "+name, at.at(digest), err)
	}
	return true, nil
}

// sendReferrers sends what refers to the artifact, and wants it to be listed.
func (p publication) sendReferrers(ctx context.Context, pusher *remote.Pusher) error {
	subject := p.docs.index.descriptor()
	var sent []referring
	for _, referrer := range p.artifact.Referrers {
		manifest, err := p.pushReferrer(ctx, pusher, referrer, subject)
		if err != nil {
			return err
		}
		sent = append(sent, referring{subject.Digest.String(), manifest.digest(), referrer.ArtifactType})
	}
	return p.checkListed(ctx, "publishing "+p.artifact.Name, sent)
}

// sendEvidence signs the artifact and sends that: who finds its key finds its signatures.
func (p publication) sendEvidence(ctx context.Context, pusher *remote.Pusher) error {
	if p.artifact.Evidence == nil {
		return nil
	}
	index := p.docs.index.descriptor()
	items, err := p.artifact.Evidence(ctx, p.base, index.Digest.String())
	if err != nil {
		return err
	}
	return p.pushEvidence(ctx, pusher, index, items)
}

// sendBlobs sends configurations and layers, each once, several at a time.
func (p publication) sendBlobs(ctx context.Context, pusher *remote.Pusher) error {
	blobs := map[string]blob{}
	for _, c := range p.docs.configs {
		blobs[c.digest()] = documentBlob(c)
	}
	for _, image := range p.artifact.Images {
		for _, layers := range [][]layer.Layer{image.Base, image.Layers} {
			for _, l := range layers {
				blobs[l.Digest] = blob{digest: l.Digest, size: l.Size, mediaType: artifact.LayerType, open: l.Open}
			}
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(uploads)
	for _, b := range blobs {
		group.Go(func() error { return p.upload(ctx, pusher, b) })
	}
	return group.Wait()
}

// pushReferrer sends a referrer's files and manifest.
func (l location) pushReferrer(ctx context.Context, pusher *remote.Pusher, ref artifact.Referrer, subject v1.Descriptor) (document, error) {
	subject = v1.Descriptor{MediaType: subject.MediaType, Size: subject.Size, Digest: subject.Digest}
	manifest, err := encodeReferrer(ref, subject)
	if err != nil {
		return document{}, fmt.Errorf("referrer %s: %w", ref.ArtifactType, err)
	}
	for _, b := range blobsOf(ref.Files) {
		if err := l.upload(ctx, pusher, b); err != nil {
			return document{}, err
		}
	}
	return manifest, pusher.Put(ctx, l.repo.Digest(manifest.digest()), manifest)
}

func (l location) upload(ctx context.Context, pusher *remote.Pusher, b blob) error {
	if err := ctx.Err(); err != nil {
		return err // another one has failed, perhaps; the client would try and wait
	}
	b.ctx = ctx
	return pusher.Upload(ctx, l.repo, b)
}

// blob is content on its way to a registry, in the form that the client takes.
type blob struct {
	//nolint:containedctx // the client's Compressed has no context
	ctx       context.Context
	digest    string
	size      int64
	mediaType types.MediaType
	open      func(context.Context) (io.ReadCloser, error)
}

func documentBlob(d document) blob {
	return blob{digest: d.digest(), size: int64(len(d.raw)), mediaType: d.mediaType, open: openBytes(d.raw)}
}

// Digest implements v1.Layer.
func (b blob) Digest() (v1.Hash, error) { return v1.NewHash(b.digest) }

// DiffID implements v1.Layer; uploading asks for the compressed side only.
func (b blob) DiffID() (v1.Hash, error) { return v1.Hash{}, errors.ErrUnsupported }

// Compressed implements v1.Layer.
func (b blob) Compressed() (io.ReadCloser, error) { return b.open(b.ctx) }

// Uncompressed implements v1.Layer; uploading asks for the compressed side only.
func (b blob) Uncompressed() (io.ReadCloser, error) { return nil, errors.ErrUnsupported }

// Size implements v1.Layer.
func (b blob) Size() (int64, error) { return b.size, nil }

// MediaType implements v1.Layer.
func (b blob) MediaType() (types.MediaType, error) { return b.mediaType, nil }

func openBytes(data []byte) func(context.Context) (io.ReadCloser, error) {
	return func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }
}

func statusOf(err error) int {
	var status *transport.Error
	if errors.As(err, &status) {
		return status.StatusCode
	}
	return 0
}

func isBlobUnknown(err error) bool {
	var status *transport.Error
	if !errors.As(err, &status) {
		return false
	}
	for _, d := range status.Errors {
		if d.Code == transport.ManifestBlobUnknownErrorCode || d.Code == transport.BlobUnknownErrorCode {
			return true
		}
	}
	return false
}
