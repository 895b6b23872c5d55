// Package tree holds a tree of files as data: entries in one order, each with
// its content, in one normal form with one hash.
//
// A Tree knows nothing of where it came from. Its normal form has no times, no
// hard links and no devices: two trees with one [Tree.Hash] are one tree,
// wherever they were read from.
package tree

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Kind says what an entry is.
type Kind uint8

// The kinds of entries. Devices, sockets and FIFOs are not representable.
const (
	Dir Kind = iota + 1
	File
	Symlink
)

// Content gives the bytes of a file, as often as it is asked.
type Content interface {
	Open() (io.ReadCloser, error)
}

// Entry is one file, directory or symbolic link.
type Entry struct {
	// Path is slash-separated, relative to the tree's root, and clean; the root itself is not an entry.
	Path string
	Kind Kind
	// Mode holds the permission, setuid, setgid and sticky bits.
	Mode fs.FileMode
	// UID and GID are numeric owners: 0 in every tree that is published.
	UID, GID int
	// Size is in bytes; 0 for anything but a file.
	Size int64
	// SHA256 is the content's hash in lower-case hex; empty for anything but a file.
	SHA256 string
	// Link is a symbolic link's target.
	Link string
	// Owner names the part that brought the entry, for example "interpreter" or
	// "wheel:flask". It is no part of the hash.
	Owner string
	// Content is nil for anything but a file.
	Content Content
}

// ReadAll returns a file's bytes, verified against its hash.
func (e Entry) ReadAll() ([]byte, error) {
	if e.Kind != File {
		return nil, fmt.Errorf("reading %s: not a file", e.Path)
	}
	r, err := e.Content.Open()
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", e.Path, err)
	}
	defer r.Close()
	data, err := io.ReadAll(io.LimitReader(r, e.Size+1))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", e.Path, err)
	}
	if got := hashOf(data); got != e.SHA256 {
		return nil, fmt.Errorf("reading %s: content is sha256:%s, not sha256:%s", e.Path, got, e.SHA256)
	}
	return data, nil
}

// Tree is a set of entries, sorted by path. The zero Tree is empty.
type Tree struct {
	entries []Entry
	index   map[string]int
}

// New makes a tree of entries in any order. A path that is not clean and
// relative, a path given twice, or an entry below something that is not a
// directory is an error. Missing parent directories are added with mode 0755.
func New(entries []Entry) (*Tree, error) { return Adopt(slices.Clone(entries)) }

// Adopt is [New] for entries that the caller gives away.
func Adopt(entries []Entry) (*Tree, error) {
	t := &Tree{entries: entries, index: make(map[string]int, len(entries))}
	t.sort()
	for i, e := range t.entries {
		if err := CheckPath(e.Path); err != nil {
			return nil, err
		}
		if i > 0 && t.entries[i-1].Path == e.Path {
			return nil, fmt.Errorf("%s: two entries with one path", e.Path)
		}
	}
	missing, err := t.missingDirs()
	if err != nil {
		return nil, err
	}
	if len(missing) > 0 {
		t.entries = append(t.entries, missing...)
		t.sort()
	}
	return t, nil
}

// sort puts the entries in order and indexes them.
func (t *Tree) sort() {
	slices.SortFunc(t.entries, func(a, b Entry) int { return cmp.Compare(a.Path, b.Path) })
	for i := range t.entries {
		t.index[t.entries[i].Path] = i
	}
}

// missingDirs lists the parents that are no entries. One that is no directory is an error.
func (t *Tree) missingDirs() ([]Entry, error) {
	var missing []Entry
	added := map[string]bool{}
	for _, e := range t.entries {
		for dir := path.Dir(e.Path); dir != "." && !added[dir]; dir = path.Dir(dir) {
			if i, ok := t.index[dir]; ok {
				if t.entries[i].Kind != Dir {
					return nil, fmt.Errorf("%s: its parent %s is not a directory", e.Path, dir)
				}
				// Its own parents are looked at for its own sake.
				break
			}
			added[dir] = true
			missing = append(missing, Entry{Path: dir, Kind: Dir, Mode: 0o755, UID: e.UID, GID: e.GID, Owner: e.Owner})
		}
	}
	return missing, nil
}

// CheckPath refuses a path that is not clean, relative and inside the tree, or too long.
func CheckPath(p string) error {
	if len(p) > maxPath {
		return fmt.Errorf("%.100q…: a path of %d bytes, more than %d", p, len(p), maxPath)
	}
	rest, more := p, true
	for more {
		var part string
		part, rest, more = strings.Cut(rest, "/")
		if part == "" || part == "." || part == ".." || strings.IndexByte(part, 0) >= 0 {
			return fmt.Errorf("%q: not a clean path inside a tree", p)
		}
	}
	return nil
}

// maxPath is the longest path that Linux takes, in bytes (PATH_MAX).
const maxPath = 4096

// Entries returns the entries sorted by path. The caller must not change them.
func (t *Tree) Entries() []Entry { return t.entries }

// Len returns the number of entries.
func (t *Tree) Len() int { return len(t.entries) }

// Lookup finds the entry at a path, without following links.
func (t *Tree) Lookup(p string) (Entry, bool) {
	i, ok := t.index[p]
	if !ok {
		return Entry{}, false
	}
	return t.entries[i], true
}

// maxLinks bounds the links followed by Resolve, as Linux does (ELOOP at 40).
const maxLinks = 40

// Resolve finds the entry that a path leads to, following symbolic links inside
// the tree as the kernel does (".." is the parent of what a link leads to). It returns false for a missing entry, a loop, an absolute link and a
// link that leaves the tree.
func (t *Tree) Resolve(p string) (Entry, bool) {
	done, rest := "", strings.Split(p, "/")
	for links := 0; len(rest) > 0; {
		part := rest[0]
		rest = rest[1:]
		if part == ".." {
			if done == "" {
				return Entry{}, false
			}
			done = strings.TrimPrefix(path.Dir("/"+done), "/")
			continue
		}
		next := path.Join(done, part)
		if next == "" || next == "." {
			continue
		}
		e, ok := t.Lookup(next)
		if !ok || e.Kind == File && len(rest) > 0 {
			return Entry{}, false
		}
		if e.Kind != Symlink {
			done = next
			continue
		}
		links++
		if links > maxLinks || path.IsAbs(e.Link) {
			return Entry{}, false
		}
		rest = append(strings.Split(e.Link, "/"), rest...)
	}
	return t.Lookup(done)
}

// Select returns the tree of the entries that keep accepts.
func (t *Tree) Select(keep func(Entry) bool) *Tree {
	kept, n := make([]bool, len(t.entries)), 0
	for i, e := range t.entries {
		kept[i] = keep(e)
		if kept[i] {
			n++
		}
	}
	entries := make([]Entry, 0, n)
	for i, e := range t.entries {
		if kept[i] {
			entries = append(entries, e)
		}
	}
	return mustNew(entries)
}

// Map returns the tree with each entry replaced by what change makes of it.
// Change must keep the path.
func (t *Tree) Map(change func(Entry) Entry) *Tree {
	entries := make([]Entry, len(t.entries))
	sameShape := true
	for i, e := range t.entries {
		entries[i] = change(e)
		sameShape = sameShape && entries[i].Path == e.Path && entries[i].Kind == e.Kind
	}
	if sameShape {
		return &Tree{entries, t.index}
	}
	return mustNew(entries)
}

// With returns the tree with entries added, or put in place of those with the same path.
func (t *Tree) With(entries ...Entry) (*Tree, error) {
	replaced := make(map[string]bool, len(entries))
	for _, e := range entries {
		replaced[e.Path] = true
	}
	all := append(make([]Entry, 0, len(entries)+len(t.entries)), entries...)
	for _, e := range t.entries {
		if !replaced[e.Path] {
			all = append(all, e)
		}
	}
	return Adopt(all)
}

// Sub returns the tree below a directory, with paths relative to it.
func (t *Tree) Sub(dir string) *Tree {
	var entries []Entry
	for _, e := range t.entries {
		if rel, ok := strings.CutPrefix(e.Path, dir+"/"); ok {
			e.Path = rel
			entries = append(entries, e)
		}
	}
	return mustNew(entries)
}

// mustNew makes a tree of entries that were in a tree already, and that nobody else has.
func mustNew(entries []Entry) *Tree {
	t, err := Adopt(entries)
	if err != nil {
		panic("tree: entries of a valid tree are not valid: " + err.Error())
	}
	return t
}

// Hash names the tree: "sha256:" and the hash of its [Tree.Listing].
func (t *Tree) Hash() string {
	h := sha256.New()
	t.list(h)
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}

// Listing says what the tree holds: one line for each entry, in order of path, with
// kind, mode in octal, path, and the content's hash or the link's target. Paths and
// targets are quoted as Go quotes strings. Owners, times and the root directory
// itself are no part of it.
func (t *Tree) Listing() []byte {
	var b bytes.Buffer
	t.list(&b)
	return b.Bytes()
}

// list writes the listing to what takes everything.
func (t *Tree) list(w io.Writer) {
	var line []byte
	for _, e := range t.entries {
		line = e.appendLine(line[:0])
		_, _ = w.Write(line) // it takes everything
	}
}

// appendLine appends the line of a listing.
func (e Entry) appendLine(line []byte) []byte {
	switch e.Kind {
	case Dir:
		line = strconv.AppendQuote(appendMode(append(line, "dir "...), e.Mode), e.Path)
	case File:
		line = strconv.AppendQuote(appendMode(append(line, "file "...), e.Mode), e.Path)
		line = append(append(line, ' '), e.SHA256...)
	case Symlink:
		line = strconv.AppendQuote(append(line, "link "...), e.Path)
		line = strconv.AppendQuote(append(line, ' '), e.Link)
	default:
		return line
	}
	return append(line, '\n')
}

// appendMode appends the four octal digits of a mode, and a space.
func appendMode(line []byte, m fs.FileMode) []byte {
	bits := unixMode(m)
	for shift := 9; shift >= 0; shift -= 3 {
		line = append(line, '0'+byte(bits>>shift&7))
	}
	return append(line, ' ')
}

// unixMode returns the permission bits with setuid, setgid and sticky where
// chmod(2) has them.
func unixMode(m fs.FileMode) uint32 {
	bits := uint32(m.Perm())
	if m&fs.ModeSetuid != 0 {
		bits |= 0o4000
	}
	if m&fs.ModeSetgid != 0 {
		bits |= 0o2000
	}
	if m&fs.ModeSticky != 0 {
		bits |= 0o1000
	}
	return bits
}

// FileEntry makes a file entry from bytes.
func FileEntry(p string, mode fs.FileMode, data []byte) Entry {
	return Entry{Path: p, Kind: File, Mode: mode, Size: int64(len(data)), SHA256: hashOf(data), Content: Bytes(data)}
}

// Replace returns a file entry with other bytes and everything else kept.
func (e Entry) Replace(data []byte) Entry {
	e.Size, e.SHA256, e.Content = int64(len(data)), hashOf(data), Bytes(data)
	return e
}

// Bytes is content in memory.
type Bytes []byte

// Open implements [Content].
func (b Bytes) Open() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }

func hashOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
