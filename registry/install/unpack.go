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
	"unicode"
	"unicode/utf8"

	"golang.org/x/sync/errgroup"

	"ampoule/artifact"
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
	maxEntries = 1_000_000
	maxBytes   = 64 << 30
	// maxDepth is how many directories may stand above a file: it bounds the work of
	// finding one.
	maxDepth = 100
	// maxName and maxLink are what Linux takes, in bytes (NAME_MAX; PATH_MAX and its zero byte).
	maxName = 255
	maxLink = 4095
	// maxTrailer is how much may follow the end of a tar, which writers fill up with zeros.
	maxTrailer = 1 << 20
)

// unpacker writes the layers of one tree into a directory. Whatever a layer says,
// nothing is written outside it, no file twice, and no special file at all.
type unpacker struct {
	root *os.Root
	mu   sync.Mutex
	// dirs holds the directories that were made, with what they get at the end.
	dirs map[string]dirState
	// entries and bytes are what may still be written.
	entries, bytes int64
}

// dirState is the mode and the time of a directory. One that no layer tells of has a
// mode alone.
type dirState struct {
	mode  fs.FileMode
	mtime time.Time
	told  bool
}

// attempt is one try to unpack a layer.
type attempt struct {
	*unpacker
	// made are the files and links that it made; entries and bytes what it spent.
	made           []string
	entries, bytes int64
}

// unpack fetches and unpacks layers into an empty directory, several at a time:
// apart from directories, no two hold one path.
func unpack(ctx context.Context, src Source, layers []registry.LayerInfo, dir *os.Root) error {
	u := newUnpacker(dir)
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

func newUnpacker(dir *os.Root) *unpacker {
	return &unpacker{root: dir, dirs: map[string]dirState{}, entries: maxEntries, bytes: maxBytes}
}

// fetch unpacks one layer. A transfer that breaks is tried again: what the layer
// wrote is removed first.
func (u *unpacker) fetch(ctx context.Context, src Source, l registry.LayerInfo) error {
	for try := 1; ; try++ {
		a := &attempt{unpacker: u}
		err := a.layer(ctx, src, l)
		switch {
		case err == nil:
			return nil
		case isRefusal(err):
			return &VerificationError{What: "layer " + l.Digest, Err: err}
		case try == tries || ctx.Err() != nil || !errors.As(err, new(*transferError)):
			return fmt.Errorf("unpacking layer %s: %w", l.Digest, err)
		}
		if err := a.undo(); err != nil {
			return fmt.Errorf("unpacking layer %s again: %w", l.Digest, err)
		}
	}
}

// undo removes what an attempt made. Directories stay: others may use them.
func (a *attempt) undo() error {
	a.mu.Lock()
	a.unpacker.entries += a.entries
	a.unpacker.bytes += a.bytes
	a.mu.Unlock()
	for _, name := range a.made {
		if err := a.root.Remove(name); err != nil {
			return err
		}
	}
	return nil
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

// layer unpacks one layer and reads it to its verified end.
func (a *attempt) layer(ctx context.Context, src Source, l registry.LayerInfo) error {
	content, err := src.OpenLayer(ctx, l)
	if err != nil {
		return &transferError{err}
	}
	defer content.Close()
	in := transfer{content}
	if err := a.extract(ctx, in); err != nil {
		return err
	}
	rest, err := io.Copy(io.Discard, io.LimitReader(in, maxTrailer+1))
	if err == nil && rest > maxTrailer {
		return refuse("more than %d bytes follow its end", maxTrailer)
	}
	return err
}

// extract writes the members of a tar.
func (a *attempt) extract(ctx context.Context, r io.Reader) error {
	tr := tar.NewReader(r)
	for {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		hdr, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return tarError(err)
		}
		if err := a.member(hdr, tr); err != nil {
			return err
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

// member writes one member.
func (a *attempt) member(hdr *tar.Header, content io.Reader) error {
	name, err := place(hdr)
	if err != nil || name == "" {
		return err
	}
	if err := a.spend(hdr.Size); err != nil {
		return err
	}
	if hdr.Typeflag == tar.TypeDir {
		return a.dir(name, hdr)
	}
	if err := a.parents(path.Dir(name)); err != nil {
		return err
	}
	if hdr.Typeflag == tar.TypeSymlink {
		err = a.root.Symlink(hdr.Linkname, name)
	} else {
		err = a.file(name, hdr, content)
	}
	if errors.Is(err, fs.ErrExist) {
		return refuse("%q comes twice", name)
	}
	if err == nil && hdr.Typeflag == tar.TypeSymlink {
		a.made = append(a.made, name)
	}
	return err
}

// place returns where a member goes, relative to the tree's root; nothing for the
// directories above it.
func place(hdr *tar.Header) (string, error) {
	name := strings.TrimSuffix(hdr.Name, "/")
	if err := checkName(name); err != nil {
		return "", err
	}
	if hdr.Mode&^0o777 != 0 {
		return "", refuse("%q has mode %o: special bits are not unpacked", name, hdr.Mode)
	}
	if t := hdr.Typeflag; t != tar.TypeReg && t != tar.TypeDir && t != tar.TypeSymlink {
		return "", refuse("%q is not a file, directory or symbolic link but of type %q", name, t)
	}
	if hdr.Typeflag == tar.TypeSymlink {
		if err := checkLink(hdr.Linkname); err != nil {
			return "", refuse("%q is a link to %.100q: %v", name, hdr.Linkname, err)
		}
	}
	for key := range hdr.PAXRecords {
		if !slices.Contains(usedRecords, key) {
			return "", refuse("%q has the attribute %.100q, which is not unpacked", name, key)
		}
	}
	if hdr.Typeflag == tar.TypeDir && (name == artifact.Prefix || strings.HasPrefix(artifact.Prefix, name+"/")) {
		return "", nil
	}
	rel, ok := strings.CutPrefix(name, artifact.Prefix+"/")
	if !ok {
		return "", refuse("%q is not below %s", name, artifact.Prefix)
	}
	return rel, nil
}

// usedRecords are the attributes of a member (POSIX pax) that are for long names and
// large files. Others would make it sparse, or give it extended attributes.
var usedRecords = []string{"path", "linkpath", "size", "uid", "gid"}

// checkName refuses a path that leaves the tree, or that file systems, layers or
// terminals take for something else than a name.
func checkName(name string) error {
	if err := tree.CheckPath(name); err != nil {
		return refuse("%v", err)
	}
	if !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl) {
		return refuse("%q is not text in UTF-8", name)
	}
	parts := strings.Split(name, "/")
	if len(parts) > maxDepth {
		return refuse("%.100q… is below more than %d directories", name, maxDepth-1)
	}
	for _, part := range parts {
		if len(part) > maxName {
			return refuse("%.100q… has a name of more than %d bytes", name, maxName)
		}
		if strings.HasPrefix(part, ".wh.") {
			return refuse("%q deletes files", name)
		}
	}
	return nil
}

// checkLink refuses a link that cannot be made. Where it leads does not matter: nothing
// is written through it.
func checkLink(target string) error {
	if target == "" || len(target) > maxLink || strings.ContainsRune(target, 0) {
		return errors.New("no path")
	}
	return nil
}

// spend counts a member against the bounds of the whole tree.
func (a *attempt) spend(size int64) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.entries++
	a.bytes += size
	a.unpacker.entries--
	a.unpacker.bytes -= size
	if a.unpacker.entries < 0 || a.unpacker.bytes < 0 {
		return errTooMuch
	}
	return nil
}

var errTooMuch = refuse("the tree has more than %d entries or %d bytes", int64(maxEntries), int64(maxBytes))

// parents makes a directory and those above it, for what no layer has told yet.
func (u *unpacker) parents(dir string) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.mkdirAll(dir)
}

// mkdirAll makes a directory and those above it. A symbolic link on the way is refused.
// The caller holds the lock: until the end, nobody but the owner may use what is made.
func (u *unpacker) mkdirAll(dir string) error {
	if _, made := u.dirs[dir]; made || dir == "." {
		return nil
	}
	if err := u.mkdirAll(path.Dir(dir)); err != nil {
		return err
	}
	// A layer that tells of no directory could make a hundred of them with each file.
	u.entries--
	if u.entries < 0 {
		return errTooMuch
	}
	err := u.root.Mkdir(dir, 0o700)
	if errors.Is(err, fs.ErrExist) {
		return refuse("%q is there as something else than a directory", dir)
	}
	if err != nil {
		return err
	}
	u.dirs[dir] = dirState{mode: 0o755}
	return nil
}

// dir makes a directory and notes what it is to be at the end.
func (u *unpacker) dir(name string, hdr *tar.Header) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if err := u.mkdirAll(name); err != nil {
		return err
	}
	state := dirState{hdr.FileInfo().Mode().Perm(), hdr.ModTime, true}
	if other := u.dirs[name]; other.told && other.mode != state.mode {
		return refuse("%q has two modes", name)
	}
	u.dirs[name] = state
	return nil
}

// file writes a file; it is made even where writing it fails.
func (a *attempt) file(name string, hdr *tar.Header, content io.Reader) error {
	f, err := a.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	a.made = append(a.made, name)
	if _, err := io.Copy(f, content); err != nil {
		return errors.Join(tarReadError(err), f.Close())
	}
	if err := errors.Join(f.Chmod(hdr.FileInfo().Mode().Perm()), f.Close()); err != nil {
		return err
	}
	return a.root.Chtimes(name, hdr.ModTime, hdr.ModTime)
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
		if state.told {
			if err := u.root.Chtimes(name, state.mtime, state.mtime); err != nil {
				return err
			}
		}
		if err := u.root.Chmod(name, state.mode); err != nil {
			return err
		}
	}
	return nil
}
