package survey

import (
	"context"
	"io"
	"runtime"
	"sync"
	"sync/atomic"

	"ampoule/tree"
)

// hash gives the files that were listed their hashes, several at a time. Those that cannot
// be read are left out, and told.
func (l *listing) hash(ctx context.Context) error {
	failed := make([]error, len(l.entries))
	var next atomic.Int64
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(l.entries) && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				if e, err := hashed(l.entries[i]); err != nil {
					failed[i] = err
				} else {
					l.entries[i] = e
				}
			}
		})
	}
	workers.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	kept := l.entries[:0]
	for i, e := range l.entries {
		if failed[i] != nil {
			l.unread.add(e.Path, reason(failed[i]))
			continue
		}
		kept = append(kept, e)
	}
	l.entries = kept
	return nil
}

// counting is content of which an audit counts how much it reads.
type counting struct {
	tree.Content
	effort *effort
}

// Open implements [tree.Content].
func (c counting) Open() (io.ReadCloser, error) {
	r, err := c.Content.Open()
	if err != nil {
		return nil, err
	}
	counted := countedReader{r, c.effort}
	if at, ok := r.(io.ReaderAt); ok {
		return countedFile{counted, at}, nil
	}
	return counted, nil
}

type countedReader struct {
	io.ReadCloser
	effort *effort
}

// Read implements [io.Reader].
func (r countedReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	return n, r.effort.read(n, err)
}

type countedFile struct {
	countedReader
	at io.ReaderAt
}

// ReadAt implements [io.ReaderAt].
func (r countedFile) ReadAt(p []byte, offset int64) (int, error) {
	n, err := r.at.ReadAt(p, offset)
	return n, r.effort.read(n, err)
}
