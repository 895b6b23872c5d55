package tree

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"time"
)

// Limits bound what is read from a tar stream. A zero field is no bound.
type Limits struct {
	// Entries is the largest number of members.
	Entries int
	// Bytes is the largest sum of file sizes, in which a hard link counts as the file that it becomes.
	Bytes int64
}

// ErrLimit is wrapped by errors about input that exceeds [Limits].
var ErrLimit = errors.New("exceeds the limit")

// Section is content of size bytes inside a larger file, which must remain readable.
func Section(r io.ReaderAt, offset, size int64) Content { return section{r, offset, size} }

// Offset says where in its tar the content of an entry that [FromTar] read begins. It
// returns false for other content.
func Offset(e Entry) (int64, bool) {
	s, ok := e.Content.(section)
	return s.offset, ok
}

// section is content inside a larger file.
type section struct {
	r           io.ReaderAt
	offset, len int64
}

// Open implements [Content]. What it returns is an [io.ReaderAt], too.
func (s section) Open() (io.ReadCloser, error) {
	return sectionReader{io.NewSectionReader(s.r, s.offset, s.len)}, nil
}

type sectionReader struct{ *io.SectionReader }

// Close implements [io.Closer]. It closes nothing.
func (sectionReader) Close() error { return nil }

// FromTar indexes an uncompressed tar of size bytes. Contents stay where they
// are: r must remain readable as long as the tree is used. Hard links become
// files, devices and FIFOs are left out, absolute paths and a leading "./" are
// made relative; a path that leaves the tree, a hard link to nothing, a sparse
// file and a member of any other kind are errors. Where a path comes twice, the
// later one counts, as tar does.
func FromTar(r io.ReaderAt, size int64, limits Limits) (*Tree, error) {
	return FromKnownTar(r, size, limits, func(int64, int64) string { return "" })
}

// FromKnownTar is [FromTar] for a tar that was read before. Of each file it asks for the
// sha256 of so many bytes from an offset, and reads what nobody knows (""). Everything else
// comes from the tar. A hash that is wrong is found when the content is read.
func FromKnownTar(r io.ReaderAt, size int64, limits Limits, known func(offset, size int64) (sha256 string)) (*Tree, error) {
	source := io.NewSectionReader(r, 0, size)
	tr := tar.NewReader(source)
	entries := map[string]Entry{}
	var total int64
	for members := 1; ; members++ {
		hdr, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("reading tar: %w", err)
		}
		if limits.Entries > 0 && members > limits.Entries {
			return nil, fmt.Errorf("reading tar: more than %d members: %w", limits.Entries, ErrLimit)
		}
		e, ok, err := fromHeader(hdr, entries)
		if err != nil {
			return nil, fmt.Errorf("reading tar: %w", err)
		}
		if !ok {
			continue
		}
		// A hard link becomes a file as large as its original.
		if e.Kind == File {
			total += e.Size
		}
		if limits.Bytes > 0 && total > limits.Bytes {
			return nil, fmt.Errorf("reading tar: more than %d bytes: %w", limits.Bytes, ErrLimit)
		}
		if hdr.Typeflag == tar.TypeReg {
			if err := fill(&e, source, r, tr, known); err != nil {
				return nil, fmt.Errorf("reading tar: %s: %w", e.Path, err)
			}
		}
		entries[e.Path] = e
	}
	list := make([]Entry, 0, len(entries))
	for _, e := range entries {
		list = append(list, e)
	}
	return New(list)
}

// fill gives a file its content, which begins where source stands, and its hash.
func fill(e *Entry, source io.Seeker, r io.ReaderAt, content io.Reader, known func(offset, size int64) string) error {
	offset, err := source.Seek(0, io.SeekCurrent)
	if err != nil {
		return err
	}
	e.Content = section{r, offset, e.Size}
	e.SHA256 = known(offset, e.Size)
	if e.SHA256 != "" {
		return nil
	}
	h := sha256.New()
	n, err := io.Copy(h, content)
	if err != nil {
		return err
	}
	end, err := source.Seek(0, io.SeekCurrent)
	if err != nil {
		return err
	}
	if n != e.Size || end != offset+e.Size {
		return errors.New("sparse files are not supported")
	}
	e.SHA256 = hex.EncodeToString(h.Sum(nil))
	return nil
}

// fromHeader makes an entry of a tar header. It returns false for members that no tree holds.
func fromHeader(hdr *tar.Header, seen map[string]Entry) (Entry, bool, error) {
	p, err := memberPath(hdr.Name)
	if err != nil {
		return Entry{}, false, err
	}
	if p == "." {
		return Entry{}, false, nil
	}
	info := hdr.FileInfo().Mode()
	e := Entry{Path: p, Mode: info & (fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky), UID: hdr.Uid, GID: hdr.Gid}
	switch hdr.Typeflag {
	case tar.TypeDir:
		e.Kind = Dir
	case tar.TypeReg:
		e.Kind, e.Size = File, hdr.Size
	case tar.TypeSymlink:
		e.Kind, e.Link, e.Mode = Symlink, hdr.Linkname, 0o777
	case tar.TypeLink:
		target, err := memberPath(hdr.Linkname)
		if err != nil {
			return Entry{}, false, err
		}
		original, ok := seen[target]
		if !ok || original.Kind == Dir {
			return Entry{}, false, fmt.Errorf("%s: hard link to %s, which is not there", p, hdr.Linkname)
		}
		original.Path = p
		return original, true, nil
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo, tar.TypeXGlobalHeader:
		return Entry{}, false, nil
	case tar.TypeGNUSparse:
		return Entry{}, false, fmt.Errorf("%s: sparse files are not supported", p)
	default:
		return Entry{}, false, fmt.Errorf("%s: members of kind %q are not supported", p, hdr.Typeflag)
	}
	return e, true, nil
}

// memberPath makes a tar member's name relative and clean; "." is the root.
func memberPath(name string) (string, error) {
	for _, part := range strings.Split(name, "/") {
		if part == ".." {
			return "", fmt.Errorf("%q leaves the tree", name)
		}
	}
	p := strings.TrimPrefix(path.Clean("/"+name), "/")
	if p == "" {
		return ".", nil
	}
	return p, nil
}

// WriteTar writes the tree as an uncompressed tar, deterministically: PAX only
// where a header needs it, sorted by path, every time set to mtime, no user or
// group names. Each path is put below prefix (which may be empty), whose own
// directories are written too, owned by root with mode 0755. Content that does not
// have its entry's hash is an error.
func (t *Tree) WriteTar(w io.Writer, prefix string, mtime time.Time) error {
	tw := tar.NewWriter(w)
	for _, dir := range parents(prefix) {
		if err := tw.WriteHeader(header(Entry{Path: dir, Kind: Dir, Mode: 0o755}, mtime)); err != nil {
			return fmt.Errorf("writing tar: %s: %w", dir, err)
		}
	}
	for _, e := range t.entries {
		e.Path = path.Join(prefix, e.Path)
		if err := writeEntry(tw, e, mtime); err != nil {
			return fmt.Errorf("writing tar: %s: %w", e.Path, err)
		}
	}
	if err := tw.Close(); err != nil {
		return fmt.Errorf("writing tar: %w", err)
	}
	return nil
}

func writeEntry(tw *tar.Writer, e Entry, mtime time.Time) error {
	if err := tw.WriteHeader(header(e, mtime)); err != nil {
		return err
	}
	if e.Kind != File {
		return nil
	}
	r, err := e.Content.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	h := sha256.New()
	if _, err := io.Copy(io.MultiWriter(tw, h), r); err != nil {
		return err
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != e.SHA256 {
		return fmt.Errorf("content is sha256:%s, not sha256:%s", got, e.SHA256)
	}
	return nil
}

func header(e Entry, mtime time.Time) *tar.Header {
	hdr := &tar.Header{
		Name: e.Path, Mode: int64(unixMode(e.Mode)), Uid: e.UID, Gid: e.GID,
		ModTime: mtime.UTC().Truncate(time.Second), Format: tar.FormatUnknown,
	}
	switch e.Kind {
	case Dir:
		hdr.Typeflag, hdr.Name = tar.TypeDir, e.Path+"/"
	case Symlink:
		hdr.Typeflag, hdr.Linkname = tar.TypeSymlink, e.Link
	default:
		hdr.Typeflag, hdr.Size = tar.TypeReg, e.Size
	}
	return hdr
}

// parents lists a path and its parent directories, the topmost first.
func parents(p string) []string {
	if p == "" || p == "." {
		return nil
	}
	return append(parents(path.Dir(p)), p)
}

// Time is the modification time of every file in whatever Ampoule makes, and the
// SOURCE_DATE_EPOCH of whatever it runs: 2020-01-01T00:00:00Z. It is late enough
// for zip (1980) and early enough for every clock.
var Time = time.Unix(1577836800, 0).UTC()
