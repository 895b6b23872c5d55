package survey

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"ampoule/tree"
)

// soon is how long an audit may go on once its context is done.
const soon = time.Second

// Files that are nearly all holes are told, and not read.
func TestSparseFiles(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ file, path string }{
		"an ELF file":       {"x.so", "/x.so"},
		"a wheel":           {"spam-1.0-" + tag + ".whl", "/"},
		"in a directory":    {"lib/python3.13/site-packages/x.so", "/lib/python3.13/site-packages"},
		"in pip's cache":    {"http-v2/0/1/2/3/4/01234.body", "/"},
		"what it is loaded": {"lib/python3.13/site-packages/x.pth", "/lib/python3.13/site-packages"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := machine(t, map[string]string{c.file: "\x7fELF"})
			if err := os.Truncate(filepath.Join(string(m), c.file), 60<<30); err != nil {
				t.Fatal(err)
			}
			begin := time.Now()
			r, err := Look(t.Context(), Target{Files: m, Path: c.path})
			if took := time.Since(begin); took > soon {
				t.Errorf("it took %s", took)
			}
			told := ""
			var unreadable *UnreadableError
			if errors.As(err, &unreadable) {
				told = unreadable.Why
			} else if err != nil || len(r.Unread) != 1 || r.Passed {
				t.Fatalf("%+v, %v", r, err)
			} else {
				told = r.Unread[0].Why
			}
			if !strings.Contains(told, "sparse") {
				t.Errorf("told %q", told)
			}
		})
	}
}

// What became a pipe after it was looked at is not waited for.
func TestFileThatBecomesAPipe(t *testing.T) {
	t.Parallel()
	m := machine(t, map[string]string{"x.so": "\x7fELF"})
	e, ok := m.Lookup("x.so")
	name := filepath.Join(string(m), "x.so")
	if err := errors.Join(os.Remove(name), syscall.Mkfifo(name, 0o600)); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if r, err := e.Content.Open(); err == nil {
		r.Close()
		t.Error("a pipe was opened")
	}
}

func TestLargeFiles(t *testing.T) {
	t.Parallel()
	if _, err := hashed(tree.Entry{Path: "a", Kind: tree.File, Size: maxFile + 1, Content: endless{}}); !errors.Is(err, errLarge) {
		t.Errorf("a file that is too large: %v", err)
	}
	if _, err := hashed(tree.Entry{Path: "a", Kind: tree.File, Size: 1, Content: endless{}}); !errors.Is(err, errGrows) {
		t.Errorf("a file that grows: %v", err)
	}
}

// endless begins as an ELF file, or as something else, and has no end.
type endless struct{ start string }

func (e endless) Open() (io.ReadCloser, error) { return &endlessReader{start: e.start}, nil }

type endlessReader struct {
	start  string
	offset int64
}

func (r *endlessReader) Read(p []byte) (int, error) {
	n, err := r.ReadAt(p, r.offset)
	r.offset += int64(n)
	return n, err
}

func (r *endlessReader) ReadAt(p []byte, offset int64) (int, error) {
	clear(p)
	if offset < int64(len(r.start)) {
		copy(p, r.start[offset:])
	}
	return len(p), nil
}

func (*endlessReader) Close() error { return nil }

// An audit ends as soon as its context does, whatever it is reading.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	stop := errors.New("stop")
	for name, c := range map[string]struct{ file, start, path string }{
		"an ELF file":    {"x.so", "\x7fELF", "/x.so"},
		"in a directory": {"lib/python3.13/site-packages/data.bin", "", "/lib/python3.13/site-packages"},
		"an interpreter": {"bin/python3.13", "\x7fELF", "/bin/python3.13"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			files, err := tree.New([]tree.Entry{{Path: c.file, Kind: tree.File, Mode: 0o644, Size: maxFile, Content: endless{c.start}}})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancelCause(t.Context())
			var stopped time.Time
			timer := time.AfterFunc(50*time.Millisecond, func() { stopped = time.Now(); cancel(stop) })
			defer timer.Stop()
			r, err := Look(ctx, Target{Files: NewImage(files), Path: c.path})
			if !errors.Is(err, stop) {
				t.Fatalf("%+v, %v", r, err)
			}
			if took := time.Since(stopped); took > soon {
				t.Errorf("it went on for %s", took)
			}
		})
	}
}
