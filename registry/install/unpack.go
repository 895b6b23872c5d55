package install

import (
	"archive/tar"
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"debug/elf"
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

// usualMode is that of a directory that no layer tells of.
const usualMode = 0o755

// unpacker writes the layers of one tree into a directory. Whatever a layer says,
// nothing is written outside it, no file twice, and no special file at all.
type unpacker struct {
	root *os.Root
	// content has files that need not be written; nil has none.
	content *content
	mu      sync.Mutex
	// dirs holds the directories that were made, with what they get at the end, and at those that
	// are open.
	dirs map[string]dirState
	at   opened
	// natives are the paths of the ELF files.
	natives map[string]bool
	// entries and bytes are what may still be written.
	entries, bytes int64
	// known are the entries of each layer that was known and is made of what is here, by its
	// digest; fetched those of the others.
	known, fetched map[string][]tree.Entry
	// listed says that something was known of the layers. If that is wrong, another layer may be what fails.
	listed bool
	// fileModes and dirModes are the modes that what is made here gets.
	fileModes, dirModes modes
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
	// found is what the layer has; elves are the paths of its ELF files.
	found  []tree.Entry
	elves  []string
	files  opened
	buffer []byte
}

// unpack fetches and unpacks layers, several at a time: apart from directories, no two hold one
// path. What is known of a layer whose files are all here is taken instead.
func (u *unpacker) unpack(ctx context.Context, src Source, layers []registry.LayerInfo) error {
	here, others, err := u.reusable(ctx, layers)
	if err != nil {
		return fmt.Errorf("looking for layers in %s: %w", contentName, err)
	}
	u.known = here.layers
	group, unpacking := errgroup.WithContext(ctx)
	group.SetLimit(downloads + 1)
	group.Go(func() error {
		if err := u.files(unpacking, here); err != nil {
			return fmt.Errorf("taking layers from %s: %w", contentName, err)
		}
		return nil
	})
	// The largest takes the longest.
	slices.SortStableFunc(others, func(a, b registry.LayerInfo) int { return cmp.Compare(b.Size, a.Size) })
	for _, l := range others {
		group.Go(func() error { return u.fetch(unpacking, src, l) })
	}
	defer u.at.close()
	return group.Wait()
}

func newUnpacker(dir *os.Root) *unpacker {
	return &unpacker{
		root: dir, at: opened{root: dir}, dirs: map[string]dirState{}, natives: map[string]bool{}, entries: maxEntries, bytes: maxBytes,
		known: map[string][]tree.Entry{}, fetched: map[string][]tree.Entry{},
	}
}

func (u *unpacker) attempt() *attempt { return &attempt{unpacker: u, files: opened{root: u.root}} }

// done notes what a layer has.
func (a *attempt) done(digest string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.fetched[digest] = append(a.fetched[digest], a.found...)
	for _, p := range a.elves {
		a.natives[p] = true
	}
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

// share makes a file of content that is here.
func (a *attempt) share(ctx context.Context, e tree.Entry) (bool, error) {
	dir, name, err := a.files.parent(e.Path)
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
			a.files.close()
			a.done(l.Digest)
			return nil
		case isRefusal(err):
			err = &VerificationError{What: "layer " + l.Digest, Err: err}
		case try == tries || ctx.Err() != nil || !errors.As(err, new(*transferError)):
			err = fmt.Errorf("unpacking layer %s: %w", l.Digest, err)
		default:
			err = nil
		}
		a.files.close()
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
	dir, base, err := a.files.parent(name)
	if err != nil {
		return err
	}
	e := tree.Entry{Path: name, Kind: tree.Symlink, Mode: 0o777, Link: target}
	if err := makeLink(dir, base, e); err != nil {
		return err
	}
	a.note(e)
	return nil
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
	at, name, err := u.at.parent(dir)
	if err != nil {
		return err
	}
	if err := u.makeDir(at, name, dir); err != nil {
		return err
	}
	u.dirs[dir] = dirState{mode: usualMode}
	return nil
}

// makeDir makes one directory with the usual mode, as far as it comes out; nobody else can look into the
// staging directory.
func (u *unpacker) makeDir(at system.Raw, name, dir string) error {
	err := retried(func() error { return system.MakeDirAt(at, name, usualMode) })
	if errors.Is(err, fs.ErrExist) {
		return refuse("%q is there as something else than a directory", dir)
	}
	if err != nil {
		return pathError("mkdirat", dir, err)
	}
	u.dirModes.same(usualMode, func() (system.Look, error) { return seenAt(at, name) })
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
	if isELF(data) {
		a.elves = append(a.elves, e.Path)
	}
	sum := sha256.Sum256(data)
	e.SHA256 = hex.EncodeToString(sum[:])
	if shared, err := a.share(ctx, e); shared || err != nil {
		return err
	}
	return a.write(e, func(f system.Raw) error {
		_, err := f.Write(data)
		return err
	})
}

// isELF reports whether a file that begins so is an ELF file.
func isELF(start []byte) bool { return bytes.HasPrefix(start, []byte(elf.ELFMAG)) }

// head keeps how what is written begins.
type head []byte

// Write implements [io.Writer].
func (h *head) Write(p []byte) (int, error) {
	*h = append(*h, p[:min(len(p), len(elf.ELFMAG)-len(*h))]...)
	return len(p), nil
}

// large writes a file that is not held in memory. If its content turns out to be here, that takes
// its place.
func (a *attempt) large(ctx context.Context, e tree.Entry, content io.Reader) error {
	h := sha256.New()
	if a.buffer == nil {
		a.buffer = make([]byte, maxHeld)
	}
	var start head
	err := a.write(e, func(f system.Raw) error {
		_, err := io.CopyBuffer(io.MultiWriter(f, h, &start), content, a.buffer)
		return err
	})
	if err != nil {
		return tarReadError(err)
	}
	if isELF(start) {
		a.elves = append(a.elves, e.Path)
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
	dir, name, err := a.files.parent(e.Path)
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

// write makes a file.
func (a *attempt) write(e tree.Entry, fill func(system.Raw) error) error {
	dir, name, err := a.files.parent(e.Path)
	if err != nil {
		return err
	}
	err = writeFile(dir, name, onDisk(e.Mode), &a.fileModes, fill)
	if !errors.Is(err, fs.ErrExist) {
		a.note(e)
	}
	return pathError("writing", e.Path, err)
}

// tarReadError keeps faults of the disk apart from those of the tar.
func tarReadError(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, tar.ErrHeader) {
		return tarError(err)
	}
	return err
}

// finish gives directories their modes, and the time that everything has.
func (u *unpacker) finish(ctx context.Context) error {
	top, err := u.root.Open(".")
	if err != nil {
		return err
	}
	defer func() { _ = top.Close() }() // nothing is written through it
	at := system.RawOf(top)
	// The deepest come first: a mode may close what is below.
	names := slices.SortedFunc(maps.Keys(u.dirs), func(a, b string) int { return cmp.Compare(b, a) })
	err = inParts(ctx, writers(), len(names), func(from, to int) error {
		for _, name := range names[from:to] {
			if err := setTime(at, name); err != nil {
				return pathError("utimensat", name, err)
			}
		}
		return nil
	})
	for _, name := range names {
		mode := u.dirs[name].mode
		if err != nil || mode == usualMode && u.dirModes.same(mode, nil) {
			continue
		}
		err = pathError("fchmodat", name, retried(func() error { return system.SetModeAt(at, name, uint32(mode)) }))
	}
	return errors.Join(err, u.root.Chtimes(".", tree.Time, tree.Time))
}
