package survey

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"ampoule/audit"
	"ampoule/system"
	"ampoule/tree"
)

// Files is a file system that can be searched: a machine's, or an image's.
type Files interface {
	audit.Root
	// List names what is in a directory, sorted; the path is without a leading slash, and
	// leads through no link.
	List(dir string) ([]string, error)
}

// Machine is the file system below a directory of this machine: "/", or the root of
// another system, whose links cannot lead out of it. Entries have no hashes.
type Machine string

// Lookup implements [audit.Root].
func (m Machine) Lookup(p string) (tree.Entry, bool) {
	e, err := m.entry(p)
	return e, err == nil
}

// errLink says that a path leads through a link, which the kernel would follow out of
// another system's root.
var errLink = errors.New("a directory of the path is a link")

func (m Machine) entry(p string) (tree.Entry, error) {
	name := m.path(p)
	if err := m.contained(path.Dir(p)); err != nil {
		return tree.Entry{}, err
	}
	info, err := os.Lstat(name)
	if err != nil {
		return tree.Entry{}, err
	}
	e := tree.Entry{Path: p, Mode: info.Mode().Perm()}
	switch info.Mode().Type() {
	case fs.ModeDir:
		e.Kind = tree.Dir
	case fs.ModeSymlink:
		e.Kind = tree.Symlink
		if e.Link, err = os.Readlink(name); err != nil {
			return tree.Entry{}, err
		}
	case 0:
		e.Kind, e.Size, e.Content = tree.File, info.Size(), onDisk{m, p, isSparse(info)}
	default:
		return tree.Entry{}, specialError{}
	}
	return e, nil
}

// specialError says that something is a device, a pipe or a socket, which is never opened:
// for a search it is not there.
type specialError struct{}

func (specialError) Error() string { return "it is neither a regular file nor a directory" }

// Is makes it [fs.ErrNotExist].
func (specialError) Is(target error) bool { return target == fs.ErrNotExist }

// fault says why there is nothing to judge at an absolute path.
func (m Machine) fault(abs string) error {
	if m != "/" {
		_, err := m.entry(strings.TrimPrefix(abs, "/"))
		return err
	}
	info, err := os.Stat(abs)
	if err == nil && !info.IsDir() && !info.Mode().IsRegular() {
		err = specialError{}
	}
	return err
}

// missing is the error about a path that leads to nothing that could be judged.
func missing(files Files, abs string) error {
	if m, ok := machineOf(files); ok {
		if err := m.fault(abs); errors.Is(err, specialError{}) || errors.Is(err, fs.ErrPermission) {
			return &UnreadableError{abs, reason(err)}
		}
	}
	return &NotFoundError{abs}
}

// isKernels reports whether the kernel of a machine makes up what is at a path. Below /dev
// there are file systems in memory, too, which people use.
func isKernels(files Files, p string) bool {
	_, ok := machineOf(files)
	top, _, _ := strings.Cut(p, "/")
	return ok && (top == "proc" || top == "sys" || p == "dev")
}

// contained refuses a directory that a link leads to, below a root that is not this
// machine's own.
func (m Machine) contained(dir string) error {
	for ; m != "/" && dir != "." && dir != "/"; dir = path.Dir(dir) {
		info, err := os.Lstat(m.path(dir))
		if err != nil {
			return err
		}
		if info.Mode()&fs.ModeSymlink != 0 {
			return errLink
		}
	}
	return nil
}

// List implements [Files].
func (m Machine) List(dir string) ([]string, error) {
	return m.listWhile(dir, func() error { return nil })
}

func (m Machine) listWhile(dir string, goOn func() error) ([]string, error) {
	if err := m.contained(dir); err != nil {
		return nil, err
	}
	return listDir(m.path(dir), goOn)
}

func (m Machine) path(p string) string { return filepath.Join(string(m), filepath.FromSlash(p)) }

// onDisk is content in a file of its own.
type onDisk struct {
	machine Machine
	path    string
	// sparse says that nearly nothing of it is on the disk.
	sparse bool
}

// Open implements [tree.Content]. What has become something else than a file since it was
// looked at is refused, and never waited for, as for whoever writes into a pipe.
func (p onDisk) Open() (io.ReadCloser, error) {
	name := p.machine.path(p.path)
	if p.sparse {
		return nil, &fs.PathError{Op: "open", Path: name, Err: errSparse}
	}
	f, err := os.OpenFile(name, os.O_RDONLY|system.NonBlock|system.NoFollow, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &fs.PathError{Op: "open", Path: name, Err: specialError{}}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// Files of a distribution that are larger than all that are known have holes, or are there
// to keep whoever reads them busy.
const (
	// maxFile is the size in bytes from which a file is not read. The largest of published
	// wheels has some 4 GiB.
	maxFile = 64 << 30
	// sparseSize is the size in bytes from which a file may be sparse, sparseRatio how many
	// times as large it is then as what the disk has of it.
	sparseSize, sparseRatio = 1 << 30, 64
)

var (
	errSparse = fmt.Errorf("it is sparse: it says that it is more than %d times as large as what is on the disk", sparseRatio)
	errLarge  = fmt.Errorf("it has more than %d GiB: no file of a distribution has", maxFile>>30)
	errGrows  = errors.New("it grows while it is read")
)

// isSparse reports whether a file is nearly all holes, which reading it would fill with zeros.
func isSparse(info fs.FileInfo) bool {
	stat, ok := system.StatOf(info)
	return ok && info.Size() >= sparseSize && stat.Taken < info.Size()/sparseRatio
}

// watched are files that can be read as long as ctx is not done: a survey's own, which
// ends when its context does, however much a file holds.
type watched struct {
	Files
	//nolint:containedctx // a Root has no contexts
	ctx    context.Context
	effort *effort
	known  Known
}

// Lookup implements [audit.Root].
func (w *watched) Lookup(p string) (tree.Entry, bool) {
	w.effort.step(p)
	if w.known.skips(p) {
		return tree.Entry{}, false
	}
	e, ok := w.Files.Lookup(p)
	if e.Kind == tree.File && e.SHA256 == "" {
		e.SHA256 = w.known.hash(p)
	}
	if e.Content != nil {
		e.Content = counting{tree.While(w.ctx, e.Content), w.effort}
	}
	return e, ok
}

// List implements [Files].
func (w *watched) List(dir string) ([]string, error) {
	goOn := func() error {
		w.effort.step(dir)
		return context.Cause(w.ctx)
	}
	if err := goOn(); err != nil {
		return nil, err
	}
	list := w.Files.List
	if m, ok := w.Files.(Machine); ok {
		list = func(dir string) ([]string, error) { return m.listWhile(dir, goOn) }
	}
	names, err := list(dir)
	return slices.DeleteFunc(names, func(name string) bool { return w.known.skips(path.Join(dir, name)) }), err
}

// machineOf returns the machine that files are of, if they are not an image's.
func machineOf(files Files) (Machine, bool) {
	if w, ok := files.(*watched); ok {
		files = w.Files
	}
	m, ok := files.(Machine)
	return m, ok
}

// Image is a tree that stands for a whole file system.
type Image struct {
	*tree.Tree
	children map[string][]string
}

// NewImage makes a tree searchable.
func NewImage(t *tree.Tree) *Image {
	image := &Image{t, map[string][]string{}}
	for _, e := range t.Entries() {
		dir := path.Dir(e.Path)
		image.children[dir] = append(image.children[dir], path.Base(e.Path))
	}
	for _, names := range image.children {
		slices.Sort(names)
	}
	return image
}

// List implements [Files].
func (i *Image) List(dir string) ([]string, error) {
	if dir == "" {
		dir = "."
	}
	return i.children[dir], nil
}

// maxGrowth is by how many bytes a file may grow while it is read.
const maxGrowth = 64 << 20

// buffers are what files are read through. Most are small, and there are many.
var buffers = sync.Pool{New: func() any { return new([readSize]byte) }}

const readSize = 128 << 10

// hashed gives an entry its hash.
func hashed(e tree.Entry) (tree.Entry, error) {
	if e.Kind != tree.File || e.SHA256 != "" {
		return e, nil
	}
	if e.Size > maxFile {
		return e, errLarge
	}
	r, err := e.Content.Open()
	if err != nil {
		return e, err
	}
	defer r.Close()
	h := sha256.New()
	buffer := buffers.Get().(*[readSize]byte)
	defer buffers.Put(buffer)
	// Somebody may be writing to it, faster than it is read.
	most := e.Size + maxGrowth
	if e.Size, err = io.CopyBuffer(h, io.LimitReader(r, most), buffer[:]); err != nil {
		return e, fmt.Errorf("reading %s: %w", e.Path, err)
	}
	if e.Size == most {
		return e, errGrows
	}
	e.SHA256 = hex.EncodeToString(h.Sum(nil))
	return e, nil
}

// lookup finds an entry; where links are to be followed, what it leads to, under its own
// path. An error says why there is none, but for what is not there at all.
func lookup(files Files, p string) (e tree.Entry, real string, err error) {
	e, ok := files.Lookup(p)
	if !ok {
		m, isMachine := machineOf(files)
		if !isMachine {
			return e, "", fs.ErrNotExist
		}
		// A directory on the way may be a link, as lib64 is in environments.
		if _, err := m.entry(p); !errors.Is(err, errLink) {
			return e, "", cmp.Or(err, fs.ErrNotExist)
		}
	} else if e.Kind != tree.Symlink {
		return e, e.Path, nil
	}
	target, ok := audit.Follow(files, "/"+p)
	if !ok || target.Kind == tree.Symlink {
		return e, "", fs.ErrNotExist
	}
	real = target.Path
	target.Path = p
	return target, real, nil
}

// listing lists the files below a directory, as import finds them: links are followed.
type listing struct {
	files Files
	*effort
	unread unreadList
	// seen are the directories that were listed, so that links to them end.
	seen    pathSet
	trail   trail
	entries []tree.Entry
	// length is how many bytes the paths of what was listed take.
	length int
}

func newListing(files Files, e *effort) *listing {
	return &listing{files: files, effort: e, unread: unreadList{most: e.unread}, seen: pathSet{}, trail: trail{files: files}}
}

// filesError says that a directory has more files than are judged together.
type filesError int

func (e filesError) Error() string {
	return fmt.Sprintf("more than %d files are installed in it: not judged", int(e))
}

// pathsError says that the paths of a directory's files are longer than those that are judged
// together.
type pathsError int

func (e pathsError) Error() string {
	return fmt.Sprintf("the paths of the files that are installed in it take more than %d MiB: not judged", int(e)>>20)
}

// below adds the files below a directory, without their hashes. What Python caches, and
// environments and directories of distributions inside, which are judged for themselves,
// are left out.
func (l *listing) below(ctx context.Context, dir, real string) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	if l.seen.has(real) || isKernels(l.files, real) {
		return nil
	}
	if strings.Count(dir, "/") > maxDepth {
		l.unread.add(dir, errDeep.Error())
		return nil
	}
	l.seen.add(real)
	if !l.trail.enter(real) {
		return nil
	}
	defer l.trail.leave()
	names, err := l.files.List(real)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		l.unread.add(dir, reason(err))
		return nil
	}
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		if len(l.entries) > l.bounds.files {
			return filesError(l.bounds.files)
		}
		l.length += len(dir) + len("/") + len(name)
		if l.length > l.paths {
			return pathsError(l.paths)
		}
		e, at, err := lookup(l.files, path.Join(real, name))
		if dir != real || e.Path == "" {
			e.Path = path.Join(dir, name)
		}
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err == nil && e.Kind == tree.Dir:
			if name == "__pycache__" || isSitesName(name) || isVenv(l.files, at) {
				continue
			}
			l.entries = append(l.entries, e)
			if err := l.below(ctx, e.Path, at); err != nil {
				return err
			}
			continue
		case err != nil:
			l.unread.add(e.Path, reason(err))
			continue
		}
		l.entries = append(l.entries, e)
	}
	return nil
}

func isSitesName(name string) bool { return name == "site-packages" || name == "dist-packages" }

// isVenv reports whether a directory is a virtual environment (PEP 405).
func isVenv(files Files, dir string) bool {
	_, ok := files.Lookup(path.Join(dir, "pyvenv.cfg"))
	return ok
}

// match lists the files that a pattern's last part matches, with their hashes.
func match(files Files, pattern string) ([]tree.Entry, error) {
	dir, last := path.Split(pattern)
	dir = path.Clean(dir)
	names, err := files.List(dir)
	if err != nil {
		return nil, nil // there is no such directory
	}
	var entries []tree.Entry
	for _, name := range names {
		if ok, _ := path.Match(last, name); !ok {
			continue
		}
		e, ok := files.Lookup(path.Join(dir, name))
		if !ok || e.Kind != tree.File {
			continue
		}
		if e, err = hashed(e); err != nil {
			return nil, err
		}
		entries = append(entries, e)
	}
	return entries, nil
}
