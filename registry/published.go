package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"golang.org/x/sync/errgroup"

	"ampoule/artifact"
)

const (
	// heads is how many blobs are asked for at once.
	heads = 16
	// maxImages bounds what a registry may have looked at for one key.
	maxImages = 64
)

// FindKey returns the digest of the artifact published under a key ("sha256:" and
// hex). What counts is a chain: the key's tag, the index, each image's manifest and
// configuration, which carries the key, and a blob of the right size for each layer. In the
// store's own registry what belongs beside the index is part of it; to other registries
// artifacts may be copied without.
//
// A tag that leads to something else is a [*KeyMismatchError]. A chain that is broken is a
// [*DamagedError]: publishing it again mends it.
func (r *Registry) FindKey(ctx context.Context, name, key string, beside artifact.Beside) (digest string, found bool, err error) {
	at, err := r.locateOwn(name, name)
	if err != nil {
		return "", false, err
	}
	tag, err := artifact.KeyTag(key)
	if err != nil {
		return "", false, err
	}
	return at.published(ctx, tag, key, beside)
}

// published looks for the whole artifact of a key.
func (l location) published(ctx context.Context, tag, key string, beside artifact.Beside) (string, bool, error) {
	op, what := "finding "+l.base+":"+tag, l.base+":"+tag
	root, err := l.get(ctx, l.repo.Tag(tag))
	if err := l.convert(op, what, err); err != nil {
		var missing *NotFoundError
		if errors.As(err, &missing) {
			return "", false, nil
		}
		return "", false, err
	}
	c := chain{location: l, tag: tag, key: key, digest: root.Digest.String()}
	if err := c.check(ctx, root, beside); err != nil {
		return "", false, l.convert(op, what, err)
	}
	return c.digest, true, nil
}

// chain is what stands behind a key's tag.
type chain struct {
	location
	tag, key, digest string
}

// check follows the chain.
func (c chain) check(ctx context.Context, root *remote.Descriptor, beside artifact.Beside) error {
	if !root.MediaType.IsIndex() {
		return c.mismatch("it is no index of images")
	}
	index, err := parseIndex(root.Manifest)
	if err != nil {
		return c.damaged(c.digest, err)
	}
	if n := len(index.Manifests); n == 0 || n > maxImages {
		return c.mismatch(fmt.Sprintf("it has %d images", n))
	}
	var blobs []v1.Descriptor
	for _, d := range index.Manifests {
		found, err := c.image(ctx, d)
		if err != nil {
			return err
		}
		blobs = append(blobs, found...)
	}
	if err := c.heads(ctx, blobs); err != nil || !c.local {
		return err
	}
	return c.beside(ctx, beside)
}

// image checks one image of the index, and returns its layers.
func (c chain) image(ctx context.Context, d v1.Descriptor) ([]v1.Descriptor, error) {
	var m v1.Manifest
	if err := c.manifest(ctx, d, &m); err != nil {
		return nil, err
	}
	_, config, err := c.config(ctx, m.Config)
	if err != nil {
		return nil, c.damaged(m.Config.Digest.String(), err)
	}
	if platform := platformString(config.Platform()); platform != platformString(d.Platform) {
		return nil, c.mismatch(fmt.Sprintf("its image for %s says that it is for %s", platformString(d.Platform), platform))
	}
	if n := len(m.Layers); n > maxLayers {
		return nil, c.mismatch(fmt.Sprintf("its image for %s has %d layers", platformString(d.Platform), n))
	}
	labels, err := artifact.ParseLabels(config.Config.Labels)
	if err != nil {
		return nil, c.mismatch(fmt.Sprintf("its image for %s: %v", platformString(d.Platform), err))
	}
	if labels.Key != c.key {
		return nil, c.mismatch(fmt.Sprintf("the key in its image for %s is %q", platformString(d.Platform), labels.Key))
	}
	return m.Layers, nil
}

// manifest reads a manifest that the chain names.
func (c chain) manifest(ctx context.Context, d v1.Descriptor, m *v1.Manifest) error {
	raw, err := c.get(ctx, c.repo.Digest(d.Digest.String()))
	if err == nil && raw.Size != d.Size {
		err = fmt.Errorf("it has %d bytes, not %d", raw.Size, d.Size)
		return c.damaged(d.Digest.String(), fmt.Errorf("%w: %w", ErrDigest, err))
	}
	if err == nil {
		if err := json.Unmarshal(raw.Manifest, m); err != nil {
			return c.damaged(d.Digest.String(), fmt.Errorf("%w: %w", ErrDigest, err))
		}
	}
	return c.damaged(d.Digest.String(), err)
}

// beside checks what belongs to the publication and refers to the index.
func (c chain) beside(ctx context.Context, beside artifact.Beside) error {
	if len(beside.Always)+len(beside.Maybe) == 0 {
		return nil
	}
	list, err := c.listReferrers(ctx, c.digest, "")
	if err != nil {
		return err
	}
	for _, t := range beside.Always {
		gone := &DamagedError{Ref: c.at(c.digest), What: "its " + t, Err: errGone, local: c.local, file: c.isFile()}
		if err := c.anyWhole(ctx, list, t, gone); err != nil {
			return err
		}
	}
	for _, t := range beside.Maybe {
		if err := c.anyWhole(ctx, list, t, nil); err != nil {
			return err
		}
	}
	return nil
}

// anyWhole returns nil when one referrer of a type is whole, what is wrong with the last one
// when none is, and none when there is none.
func (c chain) anyWhole(ctx context.Context, list []v1.Descriptor, artifactType string, none error) error {
	err := none
	for _, d := range list {
		if d.ArtifactType != artifactType {
			continue
		}
		var m v1.Manifest
		if err = c.manifest(ctx, d, &m); err == nil {
			err = c.heads(ctx, append(m.Layers, m.Config))
		}
		var damaged *DamagedError
		if err == nil || !errors.As(err, &damaged) {
			return err
		}
	}
	return err
}

// heads asks whether each blob is there in its size.
func (c chain) heads(ctx context.Context, blobs []v1.Descriptor) error {
	group, asking := errgroup.WithContext(ctx)
	group.SetLimit(heads)
	seen := map[v1.Hash]bool{}
	for _, d := range blobs {
		if seen[d.Digest] || len(d.URLs) > 0 {
			continue
		}
		seen[d.Digest] = true
		group.Go(func() error {
			size, err := c.head(asking, d.Digest.String())
			if err == nil && size >= 0 && size != d.Size {
				err = fmt.Errorf("%w: it has %d bytes, not %d", ErrDigest, size, d.Size)
			}
			return c.damaged(d.Digest.String(), err)
		})
	}
	return group.Wait()
}

// head returns a blob's size; less than 0 where the registry does not tell it.
func (l location) head(ctx context.Context, digest string) (int64, error) {
	var size int64
	err := alive(ctx, func() error {
		blob, err := l.puller.Layer(ctx, l.repo.Digest(digest))
		if err == nil {
			size, err = blob.Size()
		}
		return err
	})
	return size, err
}

func (c chain) mismatch(why string) error {
	return &KeyMismatchError{Ref: c.base + ":" + c.tag, Digest: c.digest, Why: why, local: c.local}
}

// damaged makes an error of what the chain names in vain or what is not what it names. A
// registry that fails is another matter.
func (c chain) damaged(what string, err error) error {
	return c.asDamage(c.at(c.digest), what, err)
}

// asDamage makes a [*DamagedError] of the answer that something is not there, or is not
// what its digest says, where a manifest names it.
func (l location) asDamage(ref, what string, err error) error {
	if err == nil {
		return nil
	}
	if statusOf(err) == http.StatusNotFound {
		return &DamagedError{Ref: ref, What: what, Err: errGone, local: l.local, file: l.isFile()}
	}
	if isWrong(err) {
		return &DamagedError{Ref: ref, What: what, Err: err, local: l.local, file: l.isFile()}
	}
	return err
}

// alive repeats work that ended for the end of another caller's context: clients share
// their first request to a registry, whoever makes it.
func alive(ctx context.Context, work func() error) (err error) {
	const tries = 100 // more callers do not give up at once
	for range tries {
		err = work()
		ended := errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
		if !ended || ctx.Err() != nil {
			return err
		}
	}
	return err
}

// get fetches a manifest, verified against the digest that the reference has.
func (l location) get(ctx context.Context, ref name.Reference) (*remote.Descriptor, error) {
	if kept := l.getKept(ctx, ref); kept != nil {
		return kept, nil
	}
	var d *remote.Descriptor
	err := alive(ctx, func() (err error) {
		d, err = l.puller.Get(ctx, ref)
		return err
	})
	return d, markWrong(err)
}
