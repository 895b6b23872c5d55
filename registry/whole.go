package registry

import (
	"cmp"
	"context"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Parts counts what belongs to an artifact.
type Parts struct {
	Manifests int `json:"manifests"`
	Blobs     int `json:"blobs"`
	// Bytes is the size of the blobs.
	Bytes int64 `json:"bytes"`
}

// CheckWhole asks whether everything is there that belongs to the artifact that a reference names,
// as [Copy] would take it along: each manifest is read, and each blob is asked for by its size. What a
// manifest names and is not there is a [*DamagedError].
func (r *Registry) CheckWhole(ctx context.Context, ref string) (Parts, error) {
	at, err := r.parse(ref)
	if err != nil {
		return Parts{}, err
	}
	c := &copying{src: at, blobs: map[v1.Hash]v1.Descriptor{}, seen: map[v1.Hash]bool{}}
	root, err := c.read(ctx)
	if err != nil {
		return Parts{}, at.convert("checking "+ref, ref, err)
	}
	parts := Parts{Manifests: 1 + len(c.parts) + len(c.evidence), Blobs: len(c.blobs)}
	blobs := make([]v1.Descriptor, 0, len(c.blobs))
	for _, d := range c.blobs {
		parts.Bytes += d.Size
		blobs = append(blobs, d)
	}
	slices.SortFunc(blobs, func(a, b v1.Descriptor) int { return cmp.Compare(a.Digest.Hex, b.Digest.Hex) })
	behind := chain{location: at, digest: root.digest()}
	return parts, at.convert("checking "+ref, ref, behind.heads(ctx, blobs))
}
