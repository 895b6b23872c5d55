package install

import (
	"errors"
	"io/fs"
	"os"
	"strings"

	"ampoule/tree"
)

// Candidate is a release that is about to become the current one, or just did, and is as its record says. It is
// good for the call that it is handed to.
type Candidate struct {
	// Path is its directory.
	Path string
	// Natives are the paths in it of its ELF files; nil where they are not known.
	Natives map[string]bool

	site   *site
	record record
	tree   *tree.Tree
}

// Tree is the release's tree, without content; nil where its record does not tell its files.
func (c Candidate) Tree() *tree.Tree {
	if c.tree != nil {
		return c.tree
	}
	r, err := c.site.readRecord(c.record.release())
	if err != nil || digestOf([]byte(r.Files)) != r.Tree {
		return nil
	}
	entries, err := parseListing(r.Files)
	if err != nil {
		return nil
	}
	t, err := tree.Adopt(entries)
	if err != nil {
		return nil
	}
	return t
}

// noteSuffix ends the name of what [Candidate.WriteNote] has written.
const noteSuffix = ".looked"

// WriteNote writes a note about the release beside it, which goes with it. It is not synced: its first line is
// the hash of the rest, and what a power loss leaves of it is no note.
func (c Candidate) WriteNote(note []byte) error {
	name := c.record.release() + noteSuffix
	if err := ignoreMissing(c.site.releases.Remove(name)); err != nil {
		return err
	}
	f, err := c.site.releases.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(withHash(note))
	return errors.Join(err, f.Chmod(0o644), f.Close())
}

// Note reads the note about the release; nothing where there is none.
func (c Candidate) Note() []byte { return c.site.noted(c.record.release()) }

// NotesOfOthers reads the notes about the other releases.
func (c Candidate) NotesOfOthers() [][]byte {
	names, err := c.site.releaseNames()
	if err != nil {
		return nil
	}
	var notes [][]byte
	for _, name := range names {
		if note := c.site.noted(name); len(note) > 0 && name != c.record.release() {
			notes = append(notes, note)
		}
	}
	return notes
}

// noted reads the note about a release.
func (s *site) noted(release string) []byte {
	note, _ := readHashed(s.releases, release+noteSuffix, s.trusts)
	return []byte(note)
}

// withHash puts the hash of a list before it, on a line of its own.
func withHash(list []byte) []byte { return append([]byte(digestOf(list)+"\n"), list...) }

// readHashed reads a list with its hash. It is not ok where that is not there, or is damaged.
func readHashed(dir *os.Root, name string, trusts func(fs.FileInfo) bool) (list string, ok bool) {
	info, err := dir.Lstat(name)
	if err != nil || !info.Mode().IsRegular() || info.Size() > maxRecord || !trusts(info) {
		return "", false
	}
	raw, err := readSame(dir, name, info)
	if err != nil {
		return "", false
	}
	sum, list, _ := strings.Cut(string(raw), "\n")
	if sum != digestOf([]byte(list)) {
		return "", false
	}
	return list, true
}

// candidate is a release that was compared a moment before. What unpacked it may be nil.
func (s *site) candidate(r record, t *tree.Tree, u *unpacker) Candidate {
	c := Candidate{Path: s.shown(r.release()), site: s, record: r, tree: t}
	if u != nil {
		c.Natives = u.natives
	}
	return c
}
