// Package layer makes the compressed layers of an image of uncompressed tars, the
// same bytes each time, and reads them.
package layer

import (
	"context"
	"io"
)

// Layer is one gzip-compressed layer, ready to be published. Digest and Size are
// known before its bytes are asked for.
type Layer struct {
	// Name says what the layer holds, in the caller's words.
	Name string
	// DiffID is "sha256:" and the hash of the uncompressed tar.
	DiffID string
	// Digest is "sha256:" and the hash of the compressed blob; Size is its length in bytes.
	Digest string
	Size   int64
	// Open returns the compressed blob from its start, each time it is called.
	Open func(context.Context) (io.ReadCloser, error)
}

// Memory remembers which blob a layer compresses to, so that nothing is
// compressed twice. What it says must hold for this package's compressor.
type Memory interface {
	// Recall returns the digest and size of the blob that a DiffID's tar compresses to.
	Recall(diffID string) (digest string, size int64, ok bool)
	// Remember records them.
	Remember(diffID, digest string, size int64) error
}
