package survey

import (
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"io/fs"
	"os"
	"slices"
	"sync/atomic"

	"ampoule/system"
)

// bounds are what one audit looks at, at most: what is beyond is told as not read, and
// nothing passes then. They are several times what the largest machines have that people
// audit whole.
type bounds struct {
	// dirs and names are how many directories are searched, and how many names in them are
	// looked at. Of what is installed in one directory, files counts the entries.
	dirs, names, files int
	// paths is how many bytes the paths of these entries take.
	paths int
	// units is how many wheels and directories of distributions are judged, unread how many
	// paths are told that could not be read.
	units, unread int
	// bytes is how much is read of files.
	bytes int64
}

var defaultBounds = bounds{dirs: 1_000_000, names: 20_000_000, files: 150_000, paths: 16 << 20, units: 50_000, unread: 10_000, bytes: 4 << 40}

// maxListed bounds the names of one directory: all are in memory at a time.
const maxListed = 500_000

var errListed = fmt.Errorf("it has more than %d files: not looked at", maxListed)

// bytesError says that an audit has read what it may.
type bytesError int64

func (e bytesError) Error() string {
	return fmt.Sprintf("not read: an audit reads %d GiB at most", int64(e)>>30)
}

// effort is what an audit has looked at so far. It may be used concurrently.
type effort struct {
	bounds
	bytesRead atomic.Int64
	// steps counts what was looked at or read; at is the last path of these.
	steps atomic.Int64
	at    atomic.Pointer[string]
}

// step notes that something at a path is looked at.
func (e *effort) step(p string) {
	e.steps.Add(1)
	e.at.Store(&p)
}

// last is what was looked at last.
func (e *effort) last() string {
	if p := e.at.Load(); p != nil {
		return show(*p)
	}
	return "nothing"
}

// read counts what was read, which gave an error or none; too much of it is one.
func (e *effort) read(n int, err error) error {
	e.steps.Add(1)
	if e.bytesRead.Add(int64(n)) > e.bytes {
		return &fs.PathError{Op: "read", Path: e.last(), Err: bytesError(e.bytes)}
	}
	return err
}

// unreadList are paths that could not be read, as many as are told, and a count of the others.
type unreadList struct {
	list []Unread
	most int
	more int
}

func (u *unreadList) add(p, why string) {
	if len(u.list) >= u.most {
		u.more++
		return
	}
	u.list = append(u.list, Unread{show(p), why})
}

// all are the paths, and how many others there are below a target.
func (u *unreadList) all(target string) []Unread {
	if u.more == 0 {
		return u.list
	}
	return append(u.list, Unread{target, fmt.Sprintf("%d more files and directories in it could not be read", u.more)})
}

// pathSet is a set of paths, by their hashes: a search sees more than a million.
type pathSet map[uint64]struct{}

var pathSeed = maphash.MakeSeed()

func (s pathSet) has(p string) bool {
	_, ok := s[maphash.String(pathSeed, p)]
	return ok
}

func (s pathSet) add(p string) { s[maphash.String(pathSeed, p)] = struct{}{} }

// trail is the way from where a search began to a directory of a machine. A directory that
// is mounted again below itself leads on without end.
type trail struct {
	files Files
	steps []identity
}

// identity tells directories of a machine apart, however they are called.
type identity struct{ device, inode uint64 }

// enter goes into a directory, and reports whether there is anything to look for: nothing is
// in what the kernel makes up, wherever it is mounted, nor in a directory that leads to itself.
func (t *trail) enter(dir string) bool {
	at, ok := identityOf(t.files, dir)
	if ok {
		for _, step := range t.steps {
			if step == at {
				return false
			}
		}
		isMount := len(t.steps) == 0 || t.steps[len(t.steps)-1].device != at.device
		if isMount && isMadeUp(t.files, dir) {
			return false
		}
	}
	t.steps = append(t.steps, at)
	return true
}

func (t *trail) leave() { t.steps = t.steps[:len(t.steps)-1] }

// identityOf is that of a directory of a machine; an image has none.
func identityOf(files Files, dir string) (identity, bool) {
	m, ok := machineOf(files)
	if !ok {
		return identity{}, false
	}
	info, err := os.Lstat(m.path(dir))
	if err != nil {
		return identity{}, false
	}
	stat, ok := system.StatOf(info)
	return identity{stat.Device, stat.Inode}, ok
}

// madeUp are the types of file systems whose files the kernel makes up (statfs(2)).
var madeUp = map[int64]bool{
	0x9fa0:     true, // proc
	0x62656572: true, // sysfs
	0x27e0eb:   true, // cgroup
	0x63677270: true, // cgroup2
	0x64626720: true, // debugfs
	0x74726163: true, // tracefs
	0x73636673: true, // securityfs
	0xcafe4a11: true, // bpf
	0x62656570: true, // configfs
	0x65735543: true, // fusectl
	0x6165676c: true, // pstore
	0xde5e81e4: true, // efivarfs
	0x42494e4d: true, // binfmt_misc
	0x1cd1:     true, // devpts
	0x19800202: true, // mqueue
	0xf97cff8c: true, // selinux
}

func isMadeUp(files Files, dir string) bool {
	m, ok := machineOf(files)
	if !ok {
		return false
	}
	kind, err := system.FileSystem(m.path(dir))
	return err == nil && madeUp[kind]
}

// listDir names what is in a directory, sorted, as long as goOn has no error.
func listDir(name string, goOn func() error) (_ []string, err error) {
	f, err := os.OpenFile(name, os.O_RDONLY|system.OnlyDirectory, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var names []string
	for {
		if err := goOn(); err != nil {
			return nil, err
		}
		some, err := f.Readdirnames(1 << 12)
		names = append(names, some...)
		switch {
		case len(names) > maxListed:
			return nil, errListed
		case errors.Is(err, io.EOF):
			slices.Sort(names)
			return names, nil
		case err != nil:
			return nil, err
		}
	}
}
