package install

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"ampoule/registry"
	"ampoule/registry/layer"
	"ampoule/tree"
)

const (
	// downloads is how many layers are fetched and unpacked at once.
	downloads = 4
	// tries is how often a layer is fetched whose transfer breaks.
	tries = 3
	// maxEntries and maxBytes bound a whole tree.
	maxEntries = 2_000_000
	maxBytes   = 64 << 30
)

// unpacker writes the layers of one tree into a directory. Whatever a layer says,
// nothing is written outside it, no file twice, and no special file at all.
type unpacker struct {
	root *os.Root
	mu   sync.Mutex
	// dirs holds the modes and times that directories get at the end.
	dirs map[string]dirState
	// budget is what may still be written.
	entries, bytes int64
}

type dirState struct {
	mode  fs.FileMode
	mtime time.Time
}

// unpack fetches and unpacks layers into an empty directory, several at a time:
// apart from directories, no two hold one path.
func unpack(ctx context.Context, src Source, layers []registry.LayerInfo, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	u := &unpacker{root: root, dirs: map[string]dirState{}, entries: maxEntries, bytes: maxBytes}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(downloads)
	for _, l := range layers {
		group.Go(func() error { return u.fetch(ctx, src, l) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return u.finish()
}

// fetch unpacks one layer. A transfer that breaks is tried again: what the layer
// wrote is removed first.
func (u *unpacker) fetch(ctx context.Context, src Source, l registry.LayerInfo) error {
	for try := 1; ; try++ {
		made, err := u.layer(ctx, src, l)
		switch {
		case err == nil:
			return nil
		case isRefusal(err):
			return &VerificationError{What: "layer " + l.Digest, Err: err}
		case try == tries || ctx.Err() != nil || !errors.As(err, new(*transferError)):
			return fmt.Errorf("unpacking layer %s: %w", l.Digest, err)
		}
		for _, name := range made {
			if err := u.root.Remove(name); err != nil {
				return fmt.Errorf("unpacking layer %s again: %w", l.Digest, err)
			}
		}
	}
}

// isRefusal tells content that is wrong from a transfer that broke.
func isRefusal(err error) bool {
	var refused *refusal
	return errors.As(err, &refused) || errors.Is(err, layer.ErrDiffID) || errors.Is(err, registry.ErrDigest)
}

// refusal says why a layer is not unpacked.
type refusal struct{ why string }

func (r *refusal) Error() string { return r.why }

func refuse(format string, args ...any) error { return &refusal{fmt.Sprintf(format, args...)} }

// transferError marks errors of reading a layer, which another try may not meet.
type transferError struct{ err error }

func (e *transferError) Error() string { return e.err.Error() }
func (e *transferError) Unwrap() error { return e.err }

// transfer marks what its reader returns.
type transfer struct{ r io.Reader }

func (t transfer) Read(p []byte) (int, error) {
	n, err := t.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = &transferError{err}
	}
	return n, err
}

// layer unpacks one layer, reads it to its verified end, and returns the files and
// links that it made.
func (u *unpacker) layer(ctx context.Context, src Source, l registry.LayerInfo) (made []string, err error) {
	content, err := src.OpenLayer(ctx, l)
	if err != nil {
		return nil, &transferError{err}
	}
	defer content.Close()
	in := transfer{content}
	made, err = u.extract(ctx, in)
	if err != nil {
		return made, err
	}
	_, err = io.Copy(io.Discard, in)
	return made, err
}

// extract writes the members of a tar.
func (u *unpacker) extract(ctx context.Context, r io.Reader) (made []string, err error) {
	tr := tar.NewReader(r)
	for {
		if err := context.Cause(ctx); err != nil {
			return made, err
		}
		hdr, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return made, nil
		}
		if err != nil {
			return made, tarError(err)
		}
		name, isDir, err := u.member(hdr, tr)
		if name != "" && !isDir {
			made = append(made, name)
		}
		if err != nil {
			return made, err
		}
	}
}

// tarError makes a refusal of a malformed tar, and keeps a broken transfer.
func tarError(err error) error {
	var broken *transferError
	if errors.As(err, &broken) {
		return err
	}
	return refuse("reading tar: %v", err)
}

// member writes one member and returns the path that it made.
func (u *unpacker) member(hdr *tar.Header, content io.Reader) (name string, isDir bool, err error) {
	name, err = place(hdr)
	if err != nil || name == "" {
		return "", false, err
	}
	if err := u.spend(hdr.Size); err != nil {
		return "", false, err
	}
	if err := u.mkdirAll(path.Dir(name)); err != nil {
		return "", false, err
	}
	switch hdr.Typeflag {
	case tar.TypeDir:
		return name, true, u.dir(name, hdr)
	case tar.TypeSymlink:
		err = u.root.Symlink(hdr.Linkname, name)
	default:
		err = u.file(name, hdr, content)
	}
	if errors.Is(err, fs.ErrExist) {
		return "", false, refuse("%s comes twice", name)
	}
	return name, false, err
}

// place returns where a member goes, relative to the tree's root; nothing for the
// directories above it.
func place(hdr *tar.Header) (string, error) {
	name := strings.TrimSuffix(hdr.Name, "/")
	if err := tree.CheckPath(name); err != nil {
		return "", refuse("%v", err)
	}
	if strings.HasPrefix(path.Base(name), ".wh.") {
		return "", refuse("%s deletes files", name)
	}
	if hdr.Mode&^0o777 != 0 {
		return "", refuse("%s has mode %o: special bits are not unpacked", name, hdr.Mode)
	}
	if t := hdr.Typeflag; t != tar.TypeReg && t != tar.TypeDir && t != tar.TypeSymlink {
		return "", refuse("%s is not a file, directory or symbolic link but of type %q", name, t)
	}
	if hdr.Typeflag == tar.TypeDir && (name == layer.Prefix || strings.HasPrefix(layer.Prefix, name+"/")) {
		return "", nil
	}
	rel, ok := strings.CutPrefix(name, layer.Prefix+"/")
	if !ok {
		return "", refuse("%s is not below %s", name, layer.Prefix)
	}
	return rel, nil
}

// spend counts a member against the bounds of the whole tree.
func (u *unpacker) spend(size int64) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.entries--
	u.bytes -= size
	if u.entries < 0 || u.bytes < 0 {
		return refuse("the tree has more than %d entries or %d bytes", int64(maxEntries), int64(maxBytes))
	}
	return nil
}

// mkdirAll makes a directory and those above it. A symbolic link on the way is refused.
func (u *unpacker) mkdirAll(dir string) error {
	if dir == "." {
		return nil
	}
	if err := u.mkdirAll(path.Dir(dir)); err != nil {
		return err
	}
	err := u.root.Mkdir(dir, 0o755)
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	info, err := u.root.Lstat(dir)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return refuse("%s is not a directory", dir)
	}
	return nil
}

// dir makes a directory and notes what it is to be at the end.
func (u *unpacker) dir(name string, hdr *tar.Header) error {
	if err := u.mkdirAll(name); err != nil {
		return err
	}
	state := dirState{hdr.FileInfo().Mode().Perm(), hdr.ModTime}
	u.mu.Lock()
	defer u.mu.Unlock()
	if other, ok := u.dirs[name]; ok && other.mode != state.mode {
		return refuse("%s has two modes", name)
	}
	u.dirs[name] = state
	return nil
}

func (u *unpacker) file(name string, hdr *tar.Header, content io.Reader) error {
	f, err := u.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, content)
	if err != nil {
		return errors.Join(tarReadError(err), f.Close())
	}
	if err := errors.Join(f.Chmod(hdr.FileInfo().Mode().Perm()), f.Close()); err != nil {
		return err
	}
	return u.root.Chtimes(name, hdr.ModTime, hdr.ModTime)
}

// tarReadError keeps faults of the disk apart from those of the tar.
func tarReadError(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, tar.ErrHeader) {
		return tarError(err)
	}
	return err
}

// finish gives directories their modes and times, the deepest first.
func (u *unpacker) finish() error {
	for _, name := range slices.Backward(slices.Sorted(maps.Keys(u.dirs))) {
		state := u.dirs[name]
		if err := u.root.Chtimes(name, state.mtime, state.mtime); err != nil {
			return err
		}
		if err := u.root.Chmod(name, state.mode); err != nil {
			return err
		}
	}
	return nil
}
