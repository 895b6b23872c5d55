package install

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

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

// layerForm is what the list of a layer's files is called.
var layerForm = regexp.MustCompile(`^[0-9a-f]{64}$`)

// contentKey names the content of a file: by its sha256 and by the mode that it has on disk,
// since files that are one on disk have one mode.
func contentKey(e tree.Entry) string {
	mode := onDisk(e.Mode)
	return e.SHA256 + "-0" + string([]byte{'0' + byte(mode>>6&7), '0' + byte(mode>>3&7), '0' + byte(mode&7)})
}

// keyMode is the mode that content has by its name; false for what is no such name.
func keyMode(key string) (mode fs.FileMode, ok bool) {
	const digits = "0123456789abcdef"
	if len(key) != 69 || key[64:66] != "-0" || strings.Trim(key[:64], digits) != "" {
		return 0, false
	}
	for _, digit := range []byte(key[66:]) {
		if digit < '0' || digit > '7' {
			return 0, false
		}
		mode = mode<<3 | fs.FileMode(digit-'0')
	}
	return mode, true
}

// content is what is there of the files of all releases. What it gives was read and hashed before,
// or has not changed since it was. A nil *content has nothing.
type content struct {
	root *os.Root
	// dir is the directory, open for as long as file is.
	dir    system.Raw
	file   *os.File
	layers *os.Root
	trusts func(fs.FileInfo) bool
	owner  func(uid int) bool
	// stamps are those of content that was right when it was seen last.
	stamps map[string]stamp

	// bare says that there was no content when it was opened.
	bare bool

	mu sync.Mutex
	// names says of keys that were asked for whether they are there; sizes has those whose content was read and is right.
	names map[string]bool
	sizes map[string]int64
	// cannotClone and cannotLink say that the file system refused once.
	cannotClone, cannotLink atomic.Bool
	// copies is the number of files that had to be copied.
	copies atomic.Int64
	modes  modes
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
	c := &content{root: root, trusts: s.trusts, owner: s.trustsOwner, names: map[string]bool{}, sizes: map[string]int64{}}
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
	if c.file, err = root.Open("."); err != nil {
		return err
	}
	c.dir = system.RawOf(c.file)
	// Beside content there are two names of ours.
	first, err := c.file.Readdirnames(3)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	c.bare = !slices.ContainsFunc(first, func(name string) bool { return name != layersName && name != stampsName })
	c.readStamps()
	return nil
}

// all lists the keys that are there, and what else is.
func (c *content) all() ([]string, error) {
	dir, err := c.root.Open(".")
	if err != nil {
		return nil, err
	}
	names, err := dir.Readdirnames(-1)
	return names, errors.Join(err, dir.Close())
}

func (c *content) close() error {
	if c == nil {
		return nil
	}
	err := c.root.Close()
	if c.layers != nil {
		err = errors.Join(err, c.layers.Close())
	}
	if c.file != nil {
		err = errors.Join(err, c.file.Close())
	}
	return err
}

// has reports whether something is there under a key. It may be damaged, or be gone since its stamp was noted.
func (c *content) has(key string) bool {
	if c == nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	here, asked := c.names[key]
	if asked || c.bare {
		return here
	}
	_, here = c.stamps[key]
	if !here {
		_, err := c.seen(key)
		here = !errors.Is(err, fs.ErrNotExist)
	}
	c.names[key] = here
	return here
}

// share puts the content of an entry into a directory under a name that is free there, if it is
// here and right. It returns its size.
func (c *content) share(ctx context.Context, e tree.Entry, dir system.Raw, name string) (size int64, shared bool, err error) {
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

// readers is how many files are looked at, and read where they have changed, at once: it is the disk's work.
const readers = 8

// check looks at content, and reads and hashes it unless it is unchanged; once. What is damaged is
// forgotten, and removed.
func (c *content) check(ctx context.Context, e tree.Entry, key string) (size int64, whole bool, err error) {
	c.mu.Lock()
	size, whole = c.sizes[key]
	c.mu.Unlock()
	if whole {
		return size, true, nil
	}
	seen, err := c.seen(key)
	if err == nil && c.isPlain(seen, onDisk(e.Mode)) {
		size, whole = seen.Size, c.unchanged(key, seen)
		if !whole {
			size, whole, err = c.isWhole(ctx, e, key)
		}
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
	c.names[key] = false
	return 0, false, ignoreMissing(c.root.Remove(key))
}

// buffers are what files are read with.
var buffers = sync.Pool{New: func() any {
	b := make([]byte, readSize)
	return &b
}}

// isWhole reads content and compares it with what it must be.
func (c *content) isWhole(ctx context.Context, e tree.Entry, key string) (size int64, whole bool, err error) {
	f, err := openAt(c.dir, key, os.O_RDONLY|system.NonBlock, 0)
	if err != nil {
		return 0, false, c.about("openat", key, err)
	}
	defer func() { _ = f.Close() }() // it was only read
	seen, err := f.Look()
	if err != nil || !c.isPlain(seen, onDisk(e.Mode)) {
		return 0, false, c.about("fstat", key, err)
	}
	buffer, ok := buffers.Get().(*[]byte)
	if !ok {
		panic("install: a pool of buffers has something else")
	}
	defer buffers.Put(buffer)
	sum, size, err := hashOf(ctx, f, *buffer)
	return size, err == nil && size == seen.Size && sum == e.SHA256, c.about("read", key, err)
}

// hashOf reads an open file to its end.
func hashOf(ctx context.Context, f system.Raw, buffer []byte) (sum string, size int64, err error) {
	h := sha256.New()
	for {
		if err := context.Cause(ctx); err != nil {
			return "", size, err
		}
		n := 0
		err := retried(func() (err error) {
			n, err = f.Read(buffer)
			return err
		})
		if err != nil {
			return "", size, err
		}
		h.Write(buffer[:n])
		size += int64(n)
		if n < len(buffer) { // a file gives less at its end alone
			return hex.EncodeToString(h.Sum(nil)), size, nil
		}
	}
}

// put gives a directory a file of another one, under a name that is free there: as a clone that
// shares its blocks, as another name, or as a copy where the file systems allow neither.
func (c *content) put(from system.Raw, name string, to system.Raw, as string, e tree.Entry) error {
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
			return pathError("linkat", e.Path, err)
		}
	}
	c.copies.Add(1)
	return c.copyFile(from, name, to, as, e, copyAll)
}

// copyAll copies a file's bytes.
func copyAll(to, from system.Raw) error {
	buffer, ok := buffers.Get().(*[]byte)
	if !ok {
		panic("install: a pool of buffers has something else")
	}
	defer buffers.Put(buffer)
	for {
		n := 0
		err := retried(func() (err error) {
			n, err = from.Read(*buffer)
			return err
		})
		if err != nil || n == 0 {
			return err
		}
		if _, err := to.Write((*buffer)[:n]); err != nil {
			return err
		}
	}
}

// copyFile makes a file of another one's content.
func (c *content) copyFile(from system.Raw, name string, to system.Raw, as string, e tree.Entry, fill func(to, from system.Raw) error) error {
	source, err := openAt(from, name, os.O_RDONLY|system.NonBlock, 0)
	if err != nil {
		return pathError("openat", e.Path, err)
	}
	defer func() { _ = source.Close() }() // it was only read
	err = writeFile(to, as, onDisk(e.Mode), &c.modes, func(f system.Raw) error { return fill(f, source) })
	if err != nil && !errors.Is(err, fs.ErrExist) {
		_ = removeAt(to, as)
	}
	return pathError("copying", e.Path, err)
}

// isUnsupported reports whether the file systems refuse a way of sharing for good.
func isUnsupported(err error) bool {
	return slices.ContainsFunc([]error{syscall.EOPNOTSUPP, syscall.EXDEV, syscall.ENOTTY, syscall.EINVAL, syscall.ENOSYS, syscall.EPERM}, func(e error) bool { return errors.Is(err, e) })
}

// keep takes the files of a tree that are not here yet, and gives these. They must be on disk.
func (c *content) keep(ctx context.Context, dir *os.Root, entries []tree.Entry) (fresh []tree.Entry, err error) {
	at := &opened{root: dir}
	defer at.close()
	for _, e := range entries {
		if e.Kind != tree.File {
			continue
		}
		key := contentKey(e)
		if c.has(key) {
			continue
		}
		if err := context.Cause(ctx); err != nil {
			return nil, err
		}
		from, name, err := at.parent(e.Path)
		if err == nil {
			err = ignoreExist(c.put(from, name, c.dir, key, e))
		}
		if err != nil {
			return nil, err
		}
		c.names[key] = true
		fresh = append(fresh, e)
	}
	return fresh, nil
}

// opened holds the directories that lead to the one that was used last: entries come in the order of
// their paths. No link is followed.
type opened struct {
	root *os.Root
	top  *os.File
	// names lead to the directory that was used last, and dirs are these directories.
	names []string
	dirs  []system.Raw
	// last is the path of the directory that was used last, with a slash at its end.
	last string
}

// parent opens the directory of a path, and gives the name in it.
func (o *opened) parent(p string) (system.Raw, string, error) {
	if o.top == nil {
		top, err := o.root.Open(".")
		if err != nil {
			return -1, "", err
		}
		o.top = top
	}
	dir, name := path.Split(p)
	if dir == o.last {
		return o.deepest(), name, nil
	}
	depth := 0
	for rest := dir; rest != ""; depth++ {
		var part string
		part, rest, _ = strings.Cut(rest, "/")
		if depth < len(o.names) && o.names[depth] == part {
			continue
		}
		o.leave(depth)
		next, err := openAt(o.deepest(), part, os.O_RDONLY|system.OnlyDirectory, 0)
		if err != nil {
			return -1, "", pathError("openat", dir, err)
		}
		o.names, o.dirs = append(o.names, part), append(o.dirs, next)
	}
	o.leave(depth)
	o.last = dir
	return o.deepest(), name, nil
}

// deepest is the directory that was opened last.
func (o *opened) deepest() system.Raw {
	if len(o.dirs) == 0 {
		return system.RawOf(o.top)
	}
	return o.dirs[len(o.dirs)-1]
}

// leave closes the directories from a depth on.
func (o *opened) leave(depth int) {
	if depth >= len(o.dirs) {
		return
	}
	for _, dir := range o.dirs[depth:] {
		_ = dir.Close() // nothing is written through it
	}
	o.names, o.dirs, o.last = o.names[:depth], o.dirs[:depth], ""
}

func (o *opened) close() {
	o.leave(0)
	if o.top != nil {
		_ = o.top.Close()
		o.top = nil
	}
	o.last = ""
}

// modes knows which modes files get as they are asked for: the process's umask, and what a directory passes on
// to its files (acl(5)), may take bits away. The same for files and directories of all that is made below a
// root.
type modes struct{ known [512]atomic.Int32 }

const (
	modeSame = iota + 1
	modeChanged
)

// same reports whether a mode comes out as it is asked for, by what the first file got that is looked at.
func (m *modes) same(mode fs.FileMode, look func() (system.Look, error)) bool {
	known := &m.known[mode.Perm()]
	if known.Load() == 0 && look != nil {
		is := int32(modeChanged)
		if seen, err := look(); err == nil && seen.Mode.Perm() == mode.Perm() {
			is = modeSame
		}
		known.Store(is)
	}
	return known.Load() == modeSame
}

// writeFile makes a file in a directory, fills it, and gives it a mode and the time that all
// files have.
func writeFile(dir system.Raw, name string, mode fs.FileMode, m *modes, fill func(system.Raw) error) error {
	f, err := openAt(dir, name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, uint32(mode))
	if err != nil {
		return err
	}
	err = fill(f)
	if err == nil && !m.same(mode, f.Look) {
		err = retried(func() error { return f.SetMode(uint32(mode)) })
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return setTime(dir, name)
}

// setTime gives what has a name in a directory the time that everything has.
func setTime(dir system.Raw, name string) error {
	return retried(func() error { return system.SetTimeAt(dir, name, tree.Time) })
}

// openAt opens a name in a directory, and follows no link.
func openAt(dir system.Raw, name string, flags int, mode uint32) (f system.Raw, err error) {
	err = retried(func() error {
		f, err = system.OpenAt(dir, name, flags, mode)
		return err
	})
	return f, err
}

// seenAt looks at a name in a directory, and follows no link.
func seenAt(dir system.Raw, name string) (seen system.Look, err error) {
	err = retried(func() error {
		seen, err = system.LookAt(dir, name)
		return err
	})
	return seen, err
}

// pathError says at which path something went wrong.
func pathError(op, path string, err error) error {
	if err == nil || errors.As(err, new(*fs.PathError)) {
		return err
	}
	return &fs.PathError{Op: op, Path: path, Err: err}
}

func removeAt(dir system.Raw, name string) error {
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
