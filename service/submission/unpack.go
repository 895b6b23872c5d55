package submission

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/klauspost/compress/gzip"

	"ampoule/faults"
	"ampoule/tree"
)

// Limits bound what is unpacked.
type Limits struct {
	// Files is how many members there may be, directories among them.
	Files int
	// Bytes is how large all files together may be.
	Bytes int64
}

// Usual are the limits of a submission: first-party code is the largest part of one.
var Usual = Limits{Files: 50_000, Bytes: 512 << 20}

const (
	// maxName bounds a member's path, maxPart one name of it (NAME_MAX), in bytes, and maxDepth how
	// many names a path has.
	maxName, maxPart, maxDepth = 1024, 255, 32
)

// LimitError says that an archive is larger than it may be.
type LimitError struct{ What string }

func (e *LimitError) Error() string { return "the archive has more than " + e.What }

// Kind says whose turn it is.
func (*LimitError) Kind() faults.Kind { return faults.Input }

// Hint says what to do.
func (*LimitError) Hint() string { return "leave out what the build does not read; app.files chooses" }

// Status is that of an answer of HTTP.
func (*LimitError) Status() int { return http.StatusRequestEntityTooLarge }

// wrong says what is wrong with an archive.
func wrong(format string, args ...any) error {
	return faults.New(faults.Input, "a submission is a tar, or one compressed by gzip, of plain files with relative names", format, args...)
}

// Unpack writes the files of an archive into a directory, which is empty. Members are plain files
// and directories: links, devices and everything else is refused, and so are names that leave the
// directory, come twice, or could not be shown. What is wrong with the archive is of kind
// [faults.Input].
func Unpack(ctx context.Context, archive io.Reader, dir string, limits Limits) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("unpacking a submission: %w", err)
	}
	defer func() { _ = root.Close() }()
	plain, err := open(tree.ReaderWhile(ctx, archive))
	if err != nil {
		return fmt.Errorf("reading the archive: %w", err)
	}
	u := &unpacking{root: root, limits: limits, dirs: map[string]bool{".": true}, files: map[string]bool{}}
	if err := u.all(tar.NewReader(plain)); err != nil {
		return err
	}
	// The checksum of a compressed stream is behind all of it.
	if n, err := io.Copy(io.Discard, io.LimitReader(plain, maxTail+1)); err != nil || n > maxTail {
		return wrong("reading the archive: there is something behind its end")
	}
	return nil
}

// maxTail is how much padding may follow a tar's end, in bytes: programs fill their last record.
const maxTail = 1 << 20

// open finds out whether an archive is compressed.
func open(archive io.Reader) (io.Reader, error) {
	r := bufio.NewReader(archive)
	magic, err := r.Peek(2)
	switch {
	case errors.Is(err, io.EOF):
		return nil, wrong("it is empty")
	case err != nil:
		return nil, err
	case magic[0] != 0x1f || magic[1] != 0x8b: // RFC 1952, 2.3.1
		return r, nil
	}
	z, err := gzip.NewReader(r)
	if err != nil {
		return nil, wrong("it begins as gzip and is none: %w", err)
	}
	z.Multistream(false)
	return z, nil
}

// unpacking writes one archive.
type unpacking struct {
	root        *os.Root
	limits      Limits
	members     int
	bytes       int64
	dirs, files map[string]bool
}

func (u *unpacking) all(t *tar.Reader) error {
	for {
		h, err := t.Next()
		switch {
		case errors.Is(err, io.EOF):
			if len(u.files) == 0 {
				return wrong("the archive has no file")
			}
			return nil
		case err != nil:
			return readError(err)
		}
		u.members++
		if u.members > u.limits.Files {
			return &LimitError{fmt.Sprintf("%d members", u.limits.Files)}
		}
		if err := u.member(t, h); err != nil {
			return err
		}
	}
}

// readError is an error of reading an archive: its sender's, unless the sender is gone or slow, or
// this machine's disk is to blame.
func readError(err error) error {
	if faults.Of(err) != faults.Unknown || errors.Is(err, context.Canceled) || errors.Is(err, os.ErrDeadlineExceeded) || isOwn(err) {
		return fmt.Errorf("reading the archive: %w", err)
	}
	return wrong("reading the archive: %w", err)
}

// isOwn reports whether an error has a status already, as that of a body that is too large.
func isOwn(err error) bool {
	var large *http.MaxBytesError
	var status interface{ Status() int }
	var file *fs.PathError
	return errors.As(err, &large) || errors.As(err, &status) || errors.As(err, &file)
}

func (u *unpacking) member(t *tar.Reader, h *tar.Header) error {
	switch h.Typeflag {
	case tar.TypeXGlobalHeader: // as `git archive` writes
		return nil
	case tar.TypeReg, tar.TypeDir:
	case tar.TypeSymlink, tar.TypeLink:
		return wrong("%s is a link", shown(h.Name))
	default:
		return wrong("%s is no plain file", shown(h.Name))
	}
	name := strings.TrimSuffix(strings.TrimPrefix(h.Name, "./"), "/")
	if h.Typeflag == tar.TypeDir && (name == "" || name == ".") {
		return nil
	}
	if err := checkName(name); err != nil {
		return err
	}
	if h.Typeflag == tar.TypeDir {
		return u.dir(name)
	}
	if err := u.dir(path.Dir(name)); err != nil {
		return err
	}
	if u.files[name] || u.dirs[name] {
		return wrong("%s comes twice", shown(name))
	}
	if h.Size < 0 || h.Size > u.limits.Bytes-u.bytes {
		return &LimitError{fmt.Sprintf("%d bytes", u.limits.Bytes)}
	}
	u.bytes += h.Size
	u.files[name] = true
	return u.file(t, name, h)
}

// checkName refuses names that are not plain relative paths on every system, and those that a person
// could not be shown.
func checkName(name string) error {
	switch {
	case len(name) > maxName || strings.Count(name, "/") >= maxDepth:
		return wrong("a name is longer than %d bytes, or has more than %d parts: %s", maxName, maxDepth, shown(name))
	case !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }):
		return wrong("a name has characters that cannot be shown: %s", shown(name))
	case strings.ContainsAny(name, `\:`):
		return wrong("a name has a backslash or a colon, which lead elsewhere on some systems: %s", shown(name))
	case tree.CheckPath(name) != nil:
		return wrong("a name is no relative path, or leaves the archive: %s", shown(name))
	}
	for part := range strings.SplitSeq(name, "/") {
		if len(part) > maxPart {
			return wrong("a name is longer than %d bytes: %s", maxPart, shown(part))
		}
	}
	return nil
}

// shown is a foreign name as it may stand in a message.
func shown(name string) string {
	if len(name) > 80 {
		name = name[:80] + "…"
	}
	return fmt.Sprintf("%q", name)
}

// dir makes a directory with those above it.
func (u *unpacking) dir(name string) error {
	if u.dirs[name] {
		return nil
	}
	for at := name; at != "."; at = path.Dir(at) {
		if u.files[at] {
			return wrong("%s is a file, and has something below it", shown(at))
		}
		u.dirs[at] = true
	}
	if err := u.root.MkdirAll(name, 0o755); err != nil {
		return fmt.Errorf("unpacking a submission: %w", err)
	}
	return nil
}

func (u *unpacking) file(t *tar.Reader, name string, h *tar.Header) error {
	mode := fs.FileMode(0o644)
	if h.Mode&0o111 != 0 {
		mode = 0o755
	}
	f, err := u.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return fmt.Errorf("unpacking a submission: %w", err)
	}
	_, err = io.Copy(f, t)
	// The umask has no part in what is built.
	if err = errors.Join(err, f.Chmod(mode), f.Close()); err != nil {
		return readError(err)
	}
	return nil
}
