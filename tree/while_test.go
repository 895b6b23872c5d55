package tree

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"testing/iotest"
)

func TestWhile(t *testing.T) {
	t.Parallel()
	data := bytes.Repeat([]byte("0123456789abcdef"), readAtMost/16*2+3)
	if err := iotest.TestReader(ReaderWhile(t.Context(), bytes.NewReader(data[:100])), data[:100]); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	e := FileEntry("a", 0o644, data)
	e.Content = While(ctx, Section(bytes.NewReader(data), 0, int64(len(data))))
	if got, err := e.ReadAll(); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	r, err := e.Content.Open()
	if err != nil {
		t.Fatal(err)
	}
	at, ok := r.(io.ReaderAt)
	if !ok {
		t.Fatal("a file that can be read anywhere cannot be any more")
	}
	got := make([]byte, len(data)-5)
	if n, err := at.ReadAt(got, 5); n != len(got) || err != nil || !bytes.Equal(got, data[5:]) {
		t.Errorf("%d bytes, %v", n, err)
	}
	if n, err := at.ReadAt(make([]byte, 9), int64(len(data)-4)); n != 4 || !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %d bytes, %v", n, err)
	}
	stop := errors.New("stop")
	cancel(stop)
	if n, err := r.Read(got); n != 0 || !errors.Is(err, stop) {
		t.Errorf("Read afterwards: %d bytes, %v", n, err)
	}
	if n, err := at.ReadAt(got, 0); n != 0 || !errors.Is(err, stop) {
		t.Errorf("ReadAt afterwards: %d bytes, %v", n, err)
	}
	if _, err := e.Content.Open(); !errors.Is(err, stop) {
		t.Errorf("Open afterwards: %v", err)
	}
	plain := While(t.Context(), onlyReads{})
	if r, err := plain.Open(); err != nil {
		t.Error(err)
	} else if _, ok := r.(io.ReaderAt); ok {
		t.Error("what cannot be read anywhere can be")
	}
}

// onlyReads is content that is read from its start alone.
type onlyReads struct{}

func (onlyReads) Open() (io.ReadCloser, error) { return io.NopCloser(bytes.NewBufferString("x")), nil }
