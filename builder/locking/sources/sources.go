// Package sources walks source archives: sdists, and CPython's own. What they hold is foreign,
// so every walk has the same limits.
package sources

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"strings"

	"github.com/ulikunitz/xz"

	"ampoule/audit/wheel"
	"ampoule/faults"
	"ampoule/tree"
)

const (
	// MaxMembers bounds the members of an archive, directories and links included.
	MaxMembers = 200_000
	// MaxUnpacked bounds what an archive unpacks to, in bytes.
	MaxUnpacked = 8 << 30
)

// ErrTooLarge is what errors about archives and members beyond their limits are.
var ErrTooLarge = faults.New(faults.Input, "", "too large")

// tooLargeError says what is beyond which limit.
type tooLargeError string

func (e tooLargeError) Error() string { return string(e) }

// Kind says whose fault it is.
func (tooLargeError) Kind() faults.Kind { return faults.Input }

// Is reports whether target is [ErrTooLarge].
func (tooLargeError) Is(target error) bool { return target == ErrTooLarge }

// Member is a regular file of an archive.
type Member struct {
	// Name is as it stands in the archive: nobody has looked where it leads.
	Name string
	open func() (io.ReadCloser, error)
}

// Read returns the member's content, as long as the walk stands at the member. More than
// limit bytes are an [ErrTooLarge].
func (m Member) Read(limit int64) (_ []byte, err error) {
	r, err := m.open()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = tooLargeError(fmt.Sprintf("%s has more than %d bytes", m.Name, limit))
	}
	return data, err
}

// Walk gives the regular files of an archive, in their order, and the error that ends the
// walk before the archive does.
type Walk = iter.Seq2[Member, error]

// Sdist walks an sdist, whose kind its file's name tells: .tar.gz (PEP 625), .tgz or .zip, or
// .tar, which first-party code is packed in. It ends when ctx does.
func Sdist(ctx context.Context, f *os.File, file string) Walk { return usual.sdist(ctx, f, file) }

// CPython walks a source archive of CPython, .tar.xz or .tgz. It ends when ctx does.
func CPython(ctx context.Context, r io.Reader, file string) Walk {
	r = tree.ReaderWhile(ctx, r)
	if strings.HasSuffix(file, ".tgz") {
		return usual.tar(func() (io.Reader, error) { return gzip.NewReader(r) })
	}
	return usual.tar(func() (io.Reader, error) { return xz.NewReader(bufio.NewReader(r)) })
}

// limits are those of one walk.
type limits struct {
	members  int
	unpacked int64
}

var usual = limits{MaxMembers, MaxUnpacked}

func (l limits) sdist(ctx context.Context, f *os.File, file string) Walk {
	switch {
	case strings.HasSuffix(file, ".zip"):
		return l.zip(ctx, f)
	case strings.HasSuffix(file, ".tar.gz"), strings.HasSuffix(file, ".tgz"):
		return l.tar(func() (io.Reader, error) { return gzip.NewReader(tree.ReaderWhile(ctx, f)) })
	}
	if strings.HasSuffix(file, ".tar") {
		return l.tar(func() (io.Reader, error) { return tree.ReaderWhile(ctx, f), nil })
	}
	return failed(errors.New("not an sdist that is known: neither .tar.gz (PEP 625) nor .zip"))
}

func failed(err error) Walk {
	return func(yield func(Member, error) bool) { yield(Member{}, err) }
}

func (l limits) tooMany() error {
	return tooLargeError(fmt.Sprintf("more than %d members", l.members))
}

func (l limits) tar(open func() (io.Reader, error)) Walk {
	return func(yield func(Member, error) bool) {
		r, err := open()
		if err != nil {
			yield(Member{}, err)
			return
		}
		t := tar.NewReader(&bounded{r: r, left: l.unpacked})
		for n := 0; ; n++ {
			hdr, err := t.Next()
			if errors.Is(err, io.EOF) {
				return
			}
			if err == nil && n == l.members {
				err = l.tooMany()
			}
			if err != nil {
				yield(Member{}, err)
				return
			}
			if hdr.Typeflag == tar.TypeReg && !yield(Member{hdr.Name, func() (io.ReadCloser, error) { return io.NopCloser(t), nil }}, nil) {
				return
			}
		}
	}
}

// bounded reads what may come, and fails where more does.
type bounded struct {
	r    io.Reader
	left int64
}

// Read implements [io.Reader].
func (b *bounded) Read(p []byte) (int, error) {
	if b.left == 0 {
		// Nothing may follow: a reader that just ends would hide the rest.
		n, err := b.r.Read(make([]byte, 1))
		if n > 0 {
			err = tooLargeError("it unpacks to more than its limit")
		}
		return 0, err
	}
	n, err := b.r.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

func (l limits) zip(ctx context.Context, f *os.File) Walk {
	info, err := f.Stat()
	if err != nil {
		return failed(err)
	}
	// The limits of its directory and of its ratio are those of wheels.
	in := wheel.DefaultLimits
	in.Members, in.Bytes = l.members, l.unpacked
	z, err := wheel.Open(tree.ReaderAtWhile(ctx, f), info.Size(), in)
	if err != nil {
		return failed(err)
	}
	return func(yield func(Member, error) bool) {
		for _, member := range z.File {
			if member.Mode().IsRegular() && !yield(Member{member.Name, member.Open}, nil) {
				return
			}
		}
	}
}
