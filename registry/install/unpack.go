package install

import (
	"archive/tar"
	"bufio"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
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
	"unicode"
	"unicode/utf8"

	"golang.org/x/sync/errgroup"

	"ampoule/artifact"
	"ampoule/registry"
	"ampoule/registry/layer"
	"ampoule/system"
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

// maxHeld is the size up to which a file is held in memory before it is written, in bytes: what
// is here already is not written at all.
const maxHeld = 256 << 10

// unpacker writes the layers of one tree into a directory. Whatever a layer says,
// nothing is written outside it, no file twice, and no special file at all.
type unpacker struct {
	root *os.Root
	// content has files that need not be written; nil has none.
	content *content
	mu      sync.Mutex
	// dirs holds the directories that were made, with what they get at the end.
	dirs map[string]dirState
	// entries and bytes are what may still be written.
	entries, bytes int64
	// known are the entries of each layer that was known and is made of what is here, by its
	// digest; fetched those of the others.
	known, fetched map[string][]tree.Entry
}

// dirState is the mode of a directory. One that no layer tells of has the usual one.
type dirState struct {
	mode fs.FileMode
	told bool
}

// attempt is one try to unpack a layer.
type attempt struct {
	*unpacker
	// made are the files and links that it made; entries and bytes what it spent.
	made           []string
	entries, bytes int64
	// found is what the layer has.
	found  []tree.Entry
	at     opened
	buffer []byte
}

// unpack fetches and unpacks layers, several at a time: apart from directories, no two hold one
// path. What is known of a layer whose files are all here is taken instead.
func (u *unpacker) unpack(ctx context.Context, src Source, layers []registry.LayerInfo) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(downloads)
	// The largest takes the longest.
	layers = slices.SortedStableFunc(slices.Values(layers), func(a, b registry.LayerInfo) int { return cmp.Compare(b.Size, a.Size) })
	for _, l := range layers {
		group.Go(func() error {
			if done, err := u.reuse(ctx, l); done || err != nil {
				return err
			}
			return u.fetch(ctx, src, l)
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return u.finish()
}

func newUnpacker(dir *os.Root) *unpacker {
	return &unpacker{root: dir, dirs: map[string]dirState{}, entries: maxEntries, bytes: maxBytes, known: map[string][]tree.Entry{}, fetched: map[string][]tree.Entry{}}
}

func (u *unpacker) attempt() *attempt { return &attempt{unpacker: u, at: opened{root: u.root}} }

// done notes what a layer has.
func (a *attempt) done(digest string, layers map[string][]tree.Entry) {
	a.mu.Lock()
	defer a.mu.Unlock()
	layers[digest] = append(layers[digest], a.found...)
}

// tree is what was unpacked.
func (u *unpacker) tree() (*tree.Tree, error) {
	var all []tree.Entry
	for _, layers := range []map[string][]tree.Entry{u.known, u.fetched} {
		for _, entries := range layers {
			for _, e := range entries {
				if e.Kind != tree.Dir {
					all = append(all, e)
				}
			}
		}
	}
	for name, state := range u.dirs {
		all = append(all, tree.Entry{Path: name, Kind: tree.Dir, Mode: state.mode})
	}
	return tree.Adopt(all)
}

// reuse makes what is known of a layer of files that are here; it is not done if one of them
// turns out to be damaged.
func (u *unpacker) reuse(ctx context.Context, l registry.LayerInfo) (done bool, err error) {
	entries := u.content.known(l.Digest)
	if entries == nil {
		return false, nil
	}
	a := u.attempt()
	err = a.take(ctx, entries)
	a.at.close()
	a.done(l.Digest, u.known) // if it is wrong, another layer may be what fails
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, errGone):
		u.drop(l.Digest)
		return false, errors.Join(u.content.forget(l.Digest), a.undo())
	}
	return false, fmt.Errorf("taking layer %s from %s: %w", l.Digest, contentName, err)
}

// drop takes away what was noted of a layer that was known.
func (u *unpacker) drop(digest string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.known, digest)
}

// take makes the entries of a layer that is known.
func (a *attempt) take(ctx context.Context, entries []tree.Entry) error {
	if err := a.content.checkAll(ctx, entries); err != nil {
		return err
	}
	for _, e := range entries {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if err := a.entry(ctx, e); err != nil {
			return err
		}
	}
	return nil
}

// errGone says that content is not here, or is damaged.
var errGone = errors.New("it is not here")

// entry makes one entry of a layer that is known.
func (a *attempt) entry(ctx context.Context, e tree.Entry) error {
	if err := checkName(e.Path); err != nil {
		return err
	}
	if err := a.spend(0); err != nil {
		return err
	}
	if e.Kind == tree.Dir {
		return a.dir(e.Path, e.Mode)
	}
	if err := a.parents(path.Dir(e.Path)); err != nil {
		return err
	}
	if e.Kind == tree.Symlink {
		return a.link(e.Path, e.Link)
	}
	shared, err := a.share(ctx, e)
	if err == nil && !shared {
		err = errGone
	}
	return err
}

// share makes a file of content that is here.
func (a *attempt) share(ctx context.Context, e tree.Entry) (bool, error) {
	dir, name, err := a.at.parent(e.Path)
	if err != nil {
		return false, err
	}
	size, shared, err := a.content.share(ctx, e, dir, name)
	if err != nil || !shared {
		return false, err
	}
	e.Size = size
	a.note(e)
	return true, nil
}

func (a *attempt) note(e tree.Entry) {
	a.made = append(a.made, e.Path)
	a.found = append(a.found, e)
}

// fetch unpacks one layer. A transfer that breaks is tried again: what the layer
// wrote is removed first.
func (u *unpacker) fetch(ctx context.Context, src Source, l registry.LayerInfo) error {
	for try := 1; ; try++ {
		a := u.attempt()
		err := a.layer(ctx, src, l)
		switch {
		case err == nil:
			a.at.close()
			a.done(l.Digest, u.fetched)
			return nil
		case isRefusal(err):
			err = &VerificationError{What: "layer " + l.Digest, Err: err}
		case try == tries || ctx.Err() != nil || !errors.As(err, new(*transferError)):
			err = fmt.Errorf("unpacking layer %s: %w", l.Digest, err)
		default:
			err = nil
		}
		a.at.close()
		if err != nil {
			return err
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

// layer unpacks one layer and reads it to its verified end. It is decompressed beside that.
func (a *attempt) layer(ctx context.Context, src Source, l registry.LayerInfo) error {
	content, err := src.OpenLayer(ctx, l)
	if err != nil {
		return &transferError{err}
	}
	ahead, end := readAhead(transfer{content})
	in := bufio.NewReaderSize(ahead, readSize)
	err = a.extract(ctx, in)
	if err == nil {
		var rest int64
		rest, err = io.Copy(io.Discard, io.LimitReader(in, maxTrailer+1))
		if err == nil && rest > maxTrailer {
			err = refuse("more than %d bytes follow its end", maxTrailer)
		}
	}
	_ = ahead.Close()
	_ = content.Close() // what reads from it ends now
	end()
	return err
}

// readSize is how much is read at once, in bytes.
const readSize = 256 << 10

// readAhead reads from another goroutine, which ends after the reader was closed; end waits for
// that.
func readAhead(r io.Reader) (ahead io.ReadCloser, end func()) {
	out, in := io.Pipe()
	var reading sync.WaitGroup
	reading.Go(func() {
		_, err := io.CopyBuffer(in, r, make([]byte, readSize))
		_ = in.CloseWithError(err) // it returns nil
	})
	return out, reading.Wait
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
		if err := a.member(ctx, hdr, tr); err != nil {
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
func (a *attempt) member(ctx context.Context, hdr *tar.Header, content io.Reader) error {
	name, err := place(hdr)
	if err != nil || name == "" {
		return err
	}
	if err := a.spend(hdr.Size); err != nil {
		return err
	}
	mode := hdr.FileInfo().Mode().Perm()
	if hdr.Typeflag == tar.TypeDir {
		return a.dir(name, mode)
	}
	if err := a.parents(path.Dir(name)); err != nil {
		return err
	}
	if hdr.Typeflag == tar.TypeSymlink {
		err = a.link(name, hdr.Linkname)
	} else {
		err = a.file(ctx, tree.Entry{Path: name, Kind: tree.File, Mode: mode, Size: hdr.Size}, content)
	}
	if errors.Is(err, fs.ErrExist) {
		return refuse("%q comes twice", name)
	}
	return err
}

// link makes a symbolic link.
func (a *attempt) link(name, target string) error {
	dir, base, err := a.at.parent(name)
	if err != nil {
		return err
	}
	if err := retried(func() error { return system.SymlinkAt(target, dir, base) }); err != nil {
		return &fs.PathError{Op: "symlinkat", Path: name, Err: err}
	}
	a.note(tree.Entry{Path: name, Kind: tree.Symlink, Mode: 0o777, Link: target})
	return setTime(dir, base)
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
func (a *attempt) dir(name string, mode fs.FileMode) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.mkdirAll(name); err != nil {
		return err
	}
	if other := a.dirs[name]; other.told && other.mode != mode {
		return refuse("%q has two modes", name)
	}
	a.dirs[name] = dirState{mode, true}
	a.found = append(a.found, tree.Entry{Path: name, Kind: tree.Dir, Mode: mode})
	return nil
}

// file writes a file and hashes what it writes, or takes the content that is here. It is made
// even where writing it fails.
func (a *attempt) file(ctx context.Context, e tree.Entry, content io.Reader) error {
	if e.Size > maxHeld {
		return a.large(ctx, e, content)
	}
	if a.buffer == nil {
		a.buffer = make([]byte, maxHeld)
	}
	data := a.buffer[:e.Size]
	if _, err := io.ReadFull(content, data); err != nil {
		return tarReadError(err)
	}
	sum := sha256.Sum256(data)
	e.SHA256 = hex.EncodeToString(sum[:])
	if shared, err := a.share(ctx, e); shared || err != nil {
		return err
	}
	return a.write(e, func(f *os.File) error {
		_, err := f.Write(data)
		return err
	})
}

// large writes a file that is not held in memory. If its content turns out to be here, that takes
// its place.
func (a *attempt) large(ctx context.Context, e tree.Entry, content io.Reader) error {
	h := sha256.New()
	if a.buffer == nil {
		a.buffer = make([]byte, maxHeld)
	}
	err := a.write(e, func(f *os.File) error {
		_, err := io.CopyBuffer(io.MultiWriter(onlyWriter{f}, h), content, a.buffer)
		return err
	})
	if err != nil {
		return tarReadError(err)
	}
	last := &a.found[len(a.found)-1]
	last.SHA256 = hex.EncodeToString(h.Sum(nil))
	if !a.content.has(contentKey(*last)) {
		return nil
	}
	return a.replace(ctx, *last)
}

// replace takes content that is here instead of a file that was written.
func (a *attempt) replace(ctx context.Context, e tree.Entry) error {
	dir, name, err := a.at.parent(e.Path)
	if err != nil {
		return err
	}
	if _, whole, err := a.content.check(ctx, e, contentKey(e)); err != nil || !whole {
		return err
	}
	if err := removeAt(dir, name); err != nil {
		return err
	}
	return a.content.put(a.content.dir, contentKey(e), dir, name, e)
}

// onlyWriter hides what a file can do beside writing: nothing is read behind the hash's back.
type onlyWriter struct{ io.Writer }

// write makes a file.
func (a *attempt) write(e tree.Entry, fill func(*os.File) error) error {
	dir, name, err := a.at.parent(e.Path)
	if err != nil {
		return err
	}
	err = writeFile(dir, name, onDisk(e.Mode), fill)
	if !errors.Is(err, fs.ErrExist) {
		a.note(e)
	}
	return err
}

// tarReadError keeps faults of the disk apart from those of the tar.
func tarReadError(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, tar.ErrHeader) {
		return tarError(err)
	}
	return err
}

// finish gives directories their modes, and the time that everything has, the deepest first.
func (u *unpacker) finish() error {
	for _, name := range slices.Backward(slices.Sorted(maps.Keys(u.dirs))) {
		if err := u.root.Chtimes(name, tree.Time, tree.Time); err != nil {
			return err
		}
		if err := u.root.Chmod(name, u.dirs[name].mode); err != nil {
			return err
		}
	}
	return nil
}
