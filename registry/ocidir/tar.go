package ocidir

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"ampoule/artifact"
)

const (
	// maxMembers bounds the members of a tar, maxMember the bytes of one: more than any
	// layer has.
	maxMembers = 100_000
	maxMember  = 64 << 30
)

// openTar finds the files of a layout in a tar that is not compressed. Nothing is unpacked.
func openTar(name string) (*Layout, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("opening layout: %w", err)
	}
	l := &Layout{}
	members, err := indexTar(f)
	if err == nil {
		l.files = archive{f, members}
		err = l.check()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening layout %s: %w", name, err), f.Close())
	}
	return l, nil
}

// member is where a tar has a file.
type member struct{ offset, size int64 }

// archive are the files of a tar.
type archive struct {
	file    *os.File
	members map[string]member
}

// open implements files.
func (a archive) open(name string) (io.ReadCloser, int64, error) {
	m, ok := a.members[name]
	if !ok {
		return nil, 0, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
	}
	return io.NopCloser(io.NewSectionReader(a.file, m.offset, m.size)), m.size, nil
}

// Close implements [io.Closer].
func (a archive) Close() error { return a.file.Close() }

// indexTar finds the files of a tar. A layout has directories and files in it, each once,
// under clean names: anything else is refused.
func indexTar(f *os.File) (map[string]member, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	members := map[string]member{}
	r := tar.NewReader(f)
	for n := 0; ; n++ {
		h, err := r.Next()
		if errors.Is(err, io.EOF) && n > 0 {
			return members, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%w: it is no tar, or it is cut off: %w", ErrLayout, err)
		}
		if n >= maxMembers {
			return nil, fmt.Errorf("%w: more than %d members", ErrLayout, maxMembers)
		}
		name := strings.TrimSuffix(strings.TrimPrefix(h.Name, "./"), "/")
		if h.Typeflag == tar.TypeDir && (name == "" || name == ".") {
			continue
		}
		if err := checkMember(h, name); err != nil {
			return nil, err
		}
		if h.Typeflag == tar.TypeDir {
			continue
		}
		if _, twice := members[name]; twice {
			return nil, fmt.Errorf("%w: it has %.100q twice", ErrLayout, name)
		}
		at, err := f.Seek(0, io.SeekCurrent)
		if err != nil {
			return nil, err
		}
		if h.Size > info.Size()-at {
			return nil, fmt.Errorf("%w: it ends within %.100q", ErrLayout, name)
		}
		members[name] = member{at, h.Size}
	}
}

// checkMember refuses what no layout has.
func checkMember(h *tar.Header, name string) error {
	switch {
	case name == "" || path.IsAbs(name) || path.Clean(name) != name || name == ".." || strings.HasPrefix(name, "../"):
		return fmt.Errorf("%w: the name %.100q is not clean, or leads out of it", ErrLayout, h.Name)
	case h.Typeflag != tar.TypeDir && h.Typeflag != tar.TypeReg:
		return fmt.Errorf("%w: %.100q is neither a file nor a directory", ErrLayout, h.Name)
	case h.Size > maxMember:
		return fmt.Errorf("%w: %.100q has %d bytes, more than %d", ErrLayout, h.Name, h.Size, int64(maxMember))
	}
	// GNU's and PAX's sparse files have another size than what is there.
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return fmt.Errorf("%w: %.100q is sparse", ErrLayout, h.Name)
		}
	}
	return nil
}

// WriteTar writes a layout directory as one tar: the marker, index.json and the blobs by
// name, with fixed times, owners and modes. Equal layouts give equal bytes.
func WriteTar(ctx context.Context, w io.Writer, path string, mtime time.Time) error {
	entries, err := os.ReadDir(filepath.Join(path, "blobs", "sha256"))
	if err != nil {
		return fmt.Errorf("writing layout: %w", err)
	}
	names := []string{layoutFile, indexFile}
	for _, e := range entries {
		if artifact.IsDigest(digestBegin + e.Name()) {
			names = append(names, "blobs/sha256/"+e.Name())
		}
	}
	tw := tar.NewWriter(w)
	for _, dir := range []string{"blobs/", "blobs/sha256/"} {
		if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o755, ModTime: mtime}); err != nil {
			return fmt.Errorf("writing layout: %w", err)
		}
	}
	for _, name := range names {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := writeMember(tw, filepath.Join(path, filepath.FromSlash(name)), name, mtime); err != nil {
			return fmt.Errorf("writing layout: %s: %w", name, err)
		}
	}
	if err := tw.Close(); err != nil {
		return fmt.Errorf("writing layout: %w", err)
	}
	return nil
}

func writeMember(tw *tar.Writer, file, name string, mtime time.Time) (err error) {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: info.Size(), ModTime: mtime}); err != nil {
		return err
	}
	_, err = io.Copy(tw, f)
	return err
}
