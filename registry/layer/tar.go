package layer

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/gzip"

	"ampoule/faults"
)

// ErrDiffID is wrapped by the error that reading a layer ends with when its tar is
// not the one that its DiffID names.
var ErrDiffID = faults.New(faults.Refused, "", "layer is not what its DiffID says")

// OpenTar returns the layer's uncompressed tar. Content that is not what DiffID
// says is an error from Read where io.EOF would be.
func (l Layer) OpenTar(ctx context.Context) (io.ReadCloser, error) {
	blob, err := l.Open(ctx)
	if err != nil {
		return nil, fmt.Errorf("opening layer %s: %w", l.DiffID, err)
	}
	zr, err := gzip.NewReader(blob)
	if isCorrupt(err) {
		err = fmt.Errorf("%w: %w", ErrDiffID, err)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening layer %s: %w", l.DiffID, err), blob.Close())
	}
	return &verifying{blob: blob, plain: zr, sum: newHasher(nil), want: l.DiffID}, nil
}

// verifying reads a gzip stream and compares what it held at its end. It reads
// the blob itself to its end too, so that whoever verifies the blob's digest there does.
type verifying struct {
	blob  io.ReadCloser
	plain *gzip.Reader
	sum   *hasher
	want  string
}

// Read implements io.Reader.
func (v *verifying) Read(p []byte) (int, error) {
	n, err := v.plain.Read(p)
	_, _ = v.sum.Write(p[:n])
	switch {
	case err == nil:
		return n, nil
	case isCorrupt(err):
		return n, fmt.Errorf("reading layer %s: %w: %w", v.want, ErrDiffID, err)
	case !errors.Is(err, io.EOF):
		return n, fmt.Errorf("reading layer %s: %w", v.want, err)
	}
	if got := v.sum.digest(); got != v.want {
		return n, fmt.Errorf("reading layer %s: content is %s: %w", v.want, got, ErrDiffID)
	}
	if _, err := io.Copy(io.Discard, v.blob); err != nil {
		return n, fmt.Errorf("reading layer %s: %w", v.want, err)
	}
	return n, io.EOF
}

// isCorrupt tells content that is no gzip stream from a transfer that broke.
func isCorrupt(err error) bool {
	var corrupt flate.CorruptInputError
	return errors.Is(err, gzip.ErrHeader) || errors.Is(err, gzip.ErrChecksum) || errors.As(err, &corrupt)
}

// Close implements io.Closer.
func (v *verifying) Close() error { return errors.Join(v.plain.Close(), v.blob.Close()) }
