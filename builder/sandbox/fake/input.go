package fake

import (
	"context"
	"errors"
	"io"
)

// input is a step's input, for one goroutine. Reading it ends with its context, even
// while the source does not answer.
type input struct {
	//nolint:containedctx // a Read has no context of its own
	ctx context.Context
	// source may be nil: there is nothing to read then.
	source io.Reader
	// err is the source's own error, other than io.EOF.
	err error
}

// Read implements io.Reader.
func (in *input) Read(p []byte) (int, error) {
	if in.source == nil {
		return 0, io.EOF
	}
	type answer struct {
		data []byte
		err  error
	}
	answered := make(chan answer, 1)
	go func() {
		// The caller's own piece may be used for something else once its context ends.
		piece := make([]byte, len(p))
		n, err := in.source.Read(piece)
		answered <- answer{piece[:n], err}
	}()
	select {
	case a := <-answered:
		if a.err != nil && !errors.Is(a.err, io.EOF) {
			in.err = a.err
		}
		return copy(p, a.data), a.err
	case <-in.ctx.Done():
		return 0, context.Cause(in.ctx)
	}
}
