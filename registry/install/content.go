package install

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sync/errgroup"

	"ampoule/system"
	"ampoule/tree"
)

const (
	// contentName is the directory below the root that holds each file's content once.
	contentName = "content"
	// layersName is the directory below content that tells which files a layer has.
	layersName = "layers"
)

// writable are the bits that no file of a release has on disk: files are shared by releases.
const writable = 0o222

// onDisk is the mode that a file has in a release.
func onDisk(mode fs.FileMode) fs.FileMode { return mode.Perm() &^ writable }

var (
	// contentForm is what content is called, and layerForm the list of a layer's files.
	contentForm = regexp.MustCompile(`^[0-9a-f]{64}-0[0-7]{3}$`)
	layerForm   = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

// contentKey names the content of a file: by its sha256 and by the mode that it has on disk,
// since files that are one on disk have one mode.
func contentKey(e tree.Entry) string { return fmt.Sprintf("%s-%04o", e.SHA256, onDisk(e.Mode)) }

// content is what is there of the files of all releases. What it gives was read and hashed
// before. A nil *content has nothing.
type content struct {
	root   *os.Root
	dir    *os.File
	layers *os.Root
	trusts func(fs.FileInfo) bool

	mu sync.Mutex
	// names are the keys that are there; sizes those whose content was read and is right.
	names map[string]bool
	sizes map[string]int64
	// cannotClone and cannotLink say that the file system refused once.
	cannotClone, cannotLink atomic.Bool
	// copies is the number of files that had to be copied.
	copies atomic.Int64
}

// openContent opens the content below the root; nil where there is none yet, unless it is to be made.
func (s *site) openContent(create bool) error {
	if s.content != nil {
		return nil
	}
	shown := filepath.Join(s.root, contentName)
	if create {
		if err := makeDir(s.dir, contentName); err != nil {
			return err
		}
	}
	root, _, err := openChild(s.dir, contentName, shown)
	if errors.Is(err, fs.ErrNotExist) && !create {
		return nil
	}
	if err != nil {
		return err
	}
	c := &content{root: root, trusts: s.trusts, names: map[string]bool{}, sizes: map[string]int64{}}
	s.content = c
	if err := safe(root, shown); err != nil {
		return err
	}
	if err := makeDir(root, layersName); err != nil {
		return err
	}
	if c.layers, _, err = openChild(root, layersName, filepath.Join(shown, layersName)); err != nil {
		return err
	}
	if err := safe(c.layers, filepath.Join(shown, layersName)); err != nil {
		return err
	}
	if c.dir, err = root.Open("."); err != nil {
		return err
	}
	names, err := c.dir.Readdirnames(-1)
	for _, name := range names {
		c.names[name] = true
	}
	return err
}

func (c *content) close() error {
	if c == nil {
		return nil
	}
	err := c.root.Close()
	if c.layers != nil {
		err = errors.Join(err, c.layers.Close())
	}
	if c.dir != nil {
		err = errors.Join(err, c.dir.Close())
	}
	return err
}

// has reports whether something is there under a key. It may be damaged.
func (c *content) has(key string) bool {
	if c == nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.names[key]
}

// share puts the content of an entry into a directory under a name that is free there, if it is
// here and right. It returns its size.
func (c *content) share(ctx context.Context, e tree.Entry, dir *os.File, name string) (size int64, shared bool, err error) {
	key := contentKey(e)
	if !c.has(key) {
		return 0, false, nil
	}
	size, whole, err := c.check(ctx, e, key)
	if err != nil || !whole {
		return 0, false, err
	}
	return size, true, c.put(c.dir, key, dir, name, e)
}

// readers is how many files are read at once.
const readers = 8

// checkAll reads and hashes the content of entries, several at a time. One that is damaged is errGone.
func (c *content) checkAll(ctx context.Context, entries []tree.Entry) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(readers)
	for _, e := range entries {
		if e.Kind != tree.File {
			continue
		}
		group.Go(func() error {
			_, whole, err := c.check(ctx, e, contentKey(e))
			if err == nil && !whole {
				err = errGone
			}
			return err
		})
	}
	return group.Wait()
}

// check reads and hashes content, once. What is damaged is forgotten, and removed.
func (c *content) check(ctx context.Context, e tree.Entry, key string) (size int64, whole bool, err error) {
	c.mu.Lock()
	size, whole = c.sizes[key]
	c.mu.Unlock()
	if whole {
		return size, true, nil
	}
	f, err := openAt(c.dir, key, os.O_RDONLY|system.NonBlock, 0)
	if err == nil {
		size, whole, err = c.isWhole(ctx, f, e)
		err = errors.Join(err, f.Close())
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ELOOP) {
		return 0, false, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if whole {
		c.sizes[key] = size
		return size, true, nil
	}
	delete(c.names, key)
	return 0, false, ignoreMissing(c.root.Remove(key))
}

// buffers are what files are read with.
var buffers = sync.Pool{New: func() any {
	b := make([]byte, readSize)
	return &b
}}

// isWhole compares an open file with what it must be.
func (c *content) isWhole(ctx context.Context, f *os.File, e tree.Entry) (int64, bool, error) {
	info, err := f.Stat()
	if err != nil || info.Mode() != onDisk(e.Mode) || !info.ModTime().Equal(tree.Time) || !c.trusts(info) {
		return 0, false, err
	}
	buffer, ok := buffers.Get().(*[]byte)
	if !ok {
		panic("install: a pool of buffers has something else")
	}
	defer buffers.Put(buffer)
	h := sha256.New()
	n, err := io.CopyBuffer(h, readerOf(ctx, f), *buffer)
	if err != nil {
		return 0, false, err
	}
	return n, n == info.Size() && hex.EncodeToString(h.Sum(nil)) == e.SHA256, nil
}

// put gives a directory a file of another one, under a name that is free there: as a clone that
// shares its blocks, as another name, or as a copy where the file systems allow neither.
func (c *content) put(from *os.File, name string, to *os.File, as string, e tree.Entry) error {
	if !c.cannotClone.Load() {
		err := c.copyFile(from, name, to, as, e, system.Clone)
		if !isUnsupported(err) {
			return err
		}
		c.cannotClone.Store(true)
	}
	if !c.cannotLink.Load() {
		err := retried(func() error { return system.LinkAt(from, name, to, as) })
		switch {
		case errors.Is(err, syscall.EMLINK): // this file has all the names that it may have
		case isUnsupported(err):
			c.cannotLink.Store(true)
		default:
			return err
		}
	}
	c.copies.Add(1)
	return c.copyFile(from, name, to, as, e, func(to, from *os.File) error {
		_, err := io.Copy(to, from)
		return err
	})
}

// copyFile makes a file of another one's content.
func (c *content) copyFile(from *os.File, name string, to *os.File, as string, e tree.Entry, fill func(to, from *os.File) error) error {
	source, err := openAt(from, name, os.O_RDONLY|system.NonBlock, 0)
	if err != nil {
		return err
	}
	defer func() { _ = source.Close() }()
	err = writeFile(to, as, onDisk(e.Mode), func(f *os.File) error { return fill(f, source) })
	if err != nil && !errors.Is(err, fs.ErrExist) {
		_ = removeAt(to, as)
	}
	return err
}

// isUnsupported reports whether the file systems refuse a way of sharing for good.
func isUnsupported(err error) bool {
	return slices.ContainsFunc([]error{syscall.EOPNOTSUPP, syscall.EXDEV, syscall.ENOTTY, syscall.EINVAL, syscall.ENOSYS, syscall.EPERM}, func(e error) bool { return errors.Is(err, e) })
}

// keep takes the files of a tree that are not here yet. They must be on disk.
func (c *content) keep(ctx context.Context, dir *os.Root, entries []tree.Entry) error {
	at := &opened{root: dir}
	defer at.close()
	for _, e := range entries {
		key := contentKey(e)
		if e.Kind != tree.File || c.has(key) {
			continue
		}
		if err := context.Cause(ctx); err != nil {
			return err
		}
		from, name, err := at.parent(e.Path)
		if err == nil {
			err = ignoreExist(c.put(from, name, c.dir, key, e))
		}
		if err != nil {
			return err
		}
		c.names[key] = true
	}
	return nil
}

// opened holds the directory that was used last: entries come in the order of their paths.
type opened struct {
	root *os.Root
	name string
	dir  *os.File
}

// parent opens the directory of a path, and gives the name in it.
func (o *opened) parent(p string) (*os.File, string, error) {
	parent, name := filepath.Split(p)
	parent = filepath.Clean(parent)
	if o.dir != nil && o.name == parent {
		return o.dir, name, nil
	}
	o.close()
	dir, err := o.root.Open(parent)
	if err != nil {
		return nil, "", err
	}
	o.name, o.dir = parent, dir
	return dir, name, nil
}

func (o *opened) close() {
	if o.dir != nil {
		_ = o.dir.Close()
		o.dir = nil
	}
}

// writeFile makes a file in a directory, fills it, and gives it a mode and the time that all
// files have.
func writeFile(dir *os.File, name string, mode fs.FileMode, fill func(*os.File) error) error {
	f, err := openAt(dir, name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if err := fill(f); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := errors.Join(f.Chmod(mode), f.Close()); err != nil {
		return err
	}
	return setTime(dir, name)
}

// setTime gives what has a name in a directory the time that everything has.
func setTime(dir *os.File, name string) error {
	return retried(func() error { return system.SetTimeAt(dir, name, tree.Time) })
}

// openAt opens a name in a directory, and follows no link.
func openAt(dir *os.File, name string, flags int, mode uint32) (*os.File, error) {
	fd := -1
	err := retried(func() (err error) {
		fd, err = system.OpenAt(dir, name, flags, mode)
		return err
	})
	if err != nil {
		return nil, &fs.PathError{Op: "openat", Path: filepath.Join(dir.Name(), name), Err: err}
	}
	return os.NewFile(uintptr(fd), filepath.Join(dir.Name(), name)), nil
}

func removeAt(dir *os.File, name string) error {
	return retried(func() error { return system.RemoveAt(dir, name) })
}

// retried repeats a call that a signal ended.
func retried(call func() error) error {
	for {
		if err := call(); !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// contextReader ends reading with its context.
type contextReader struct {
	//nolint:containedctx // a Read has no context of its own
	ctx context.Context
	r   io.Reader
}

func readerOf(ctx context.Context, r io.Reader) io.Reader { return contextReader{ctx, r} }

// Read implements [io.Reader].
func (c contextReader) Read(p []byte) (int, error) {
	if err := context.Cause(c.ctx); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
