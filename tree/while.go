package tree

import (
	"context"
	"io"
)

// readAtMost is how many bytes are read between two looks at the context: a slow disk
// reads them in well under a second.
const readAtMost = 1 << 20

// While returns content whose readers give bytes as long as ctx is not done, and its
// cause afterwards. They are [io.ReaderAt] where those of c are.
func While(ctx context.Context, c Content) Content { return whileContent{ctx, c} }

type whileContent struct {
	//nolint:containedctx // an Open has no context of its own
	ctx     context.Context
	content Content
}

// Open implements [Content].
func (c whileContent) Open() (io.ReadCloser, error) {
	if c.ctx.Err() != nil {
		return nil, context.Cause(c.ctx)
	}
	r, err := c.content.Open()
	if err != nil {
		return nil, err
	}
	reader := whileReader{ReaderWhile(c.ctx, r), r}
	if at, ok := r.(io.ReaderAt); ok {
		return whileFile{reader, ReaderAtWhile(c.ctx, at)}, nil
	}
	return reader, nil
}

type whileReader struct {
	io.Reader
	io.Closer
}

type whileFile struct {
	whileReader
	io.ReaderAt
}

// ReaderWhile returns a reader of what r has, as long as ctx is not done.
func ReaderWhile(ctx context.Context, r io.Reader) io.Reader { return readWhile{ctx, r} }

type readWhile struct {
	//nolint:containedctx // a Read has no context of its own
	ctx context.Context
	r   io.Reader
}

func (w readWhile) Read(p []byte) (int, error) {
	if w.ctx.Err() != nil {
		return 0, context.Cause(w.ctx)
	}
	return w.r.Read(p[:min(len(p), readAtMost)])
}

// ReaderAtWhile returns a reader of what r has, as long as ctx is not done.
func ReaderAtWhile(ctx context.Context, r io.ReaderAt) io.ReaderAt { return readAtWhile{ctx, r} }

type readAtWhile struct {
	//nolint:containedctx // a ReadAt has no context of its own
	ctx context.Context
	r   io.ReaderAt
}

// ReadAt implements [io.ReaderAt]. It fills p, as long as ctx is not done.
func (w readAtWhile) ReadAt(p []byte, offset int64) (n int, err error) {
	for {
		if w.ctx.Err() != nil {
			return n, context.Cause(w.ctx)
		}
		end := min(len(p), n+readAtMost)
		m, err := w.r.ReadAt(p[n:end], offset+int64(n))
		n += m
		if err != nil || n == len(p) {
			return n, err
		}
	}
}
