package install

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"ampoule/artifact"
	"ampoule/registry"
	"ampoule/system"
	"ampoule/tree"
)

const (
	// recordVersion is the form of the records that this program writes; provenVersion the first
	// one that has the documents. Since version 3, files are read-only.
	recordVersion = 3
	provenVersion = 2
	// maxRecord bounds a record, in bytes: a million files, and their documents.
	maxRecord = 256 << 20
)

// record says what a release must be, and why. It lies beside the release.
type record struct {
	Version  int    `json:"version"`
	Ref      string `json:"ref"`
	Digest   string `json:"digest"`
	Platform string `json:"platform"`
	// Tree is the tree's hash.
	Tree string `json:"tree"`
	// chain ties it to the digest.
	chain
	// Files is the tree's listing, to name what differs.
	Files string `json:"files"`
	// Bytes is the size of all files together.
	Bytes int64 `json:"bytes,omitempty"`
	// Grounds are what a policy decided by; nil where none was set.
	Grounds *Grounds `json:"grounds,omitempty"`
}

// Grounds are what a policy decides about a release by, without its registry.
type Grounds struct {
	// Name is the repository without host and prefix.
	Name string `json:"name"`
	// Digest and Tree are the record's.
	Digest string `json:"-"`
	Tree   string `json:"-"`
	// Evidence is what was beside the artifact when it was installed.
	Evidence []registry.Evidence `json:"evidence"`
}

// unprovenRecord is a record without a version: nothing in it ties the tree's hash to
// the digest.
type unprovenRecord struct {
	Ref      string            `json:"ref"`
	Digest   string            `json:"digest"`
	Platform string            `json:"platform"`
	Tree     string            `json:"tree"`
	Entries  map[string]string `json:"entries"`
}

func (r record) release() string { return releaseName(r.Digest) }

// with returns the record with the listing of a tree.
func (r record) with(t *tree.Tree) record {
	r.Files, r.Bytes = string(t.Listing()), 0
	for _, e := range t.Entries() {
		r.Bytes += e.Size
	}
	return r
}

// restored gives the files of a tree that was read from a release the modes that they have in the
// artifact: on disk they are read-only. The record's listing says which, if it is that of the tree
// that must be there; without one, a file may be written by its owner.
func (r record) restored(hash string, t *tree.Tree) *tree.Tree {
	if t == nil || r.Version != 0 && r.Version < recordVersion || t.Hash() == hash {
		return t
	}
	want := map[string]tree.Entry{}
	if entries, err := parseListing(r.Files); err == nil && digestOf([]byte(r.Files)) == hash {
		for _, e := range entries {
			want[e.Path] = e
		}
	}
	return t.Map(func(e tree.Entry) tree.Entry {
		w, known := want[e.Path]
		switch {
		case e.Kind != tree.File || e.Mode&writable != 0:
		case known && w.Kind == tree.File && onDisk(w.Mode) == e.Mode:
			e.Mode = w.Mode
		case !known && len(want) == 0:
			e.Mode |= 0o200
		}
		return e
	})
}

// proves reports whether the record holds what ties the tree to the digest.
func (r record) proves() bool { return r.Version >= provenVersion }

// releaseForm is what a release is called.
var releaseForm = regexp.MustCompile(`^sha256-[0-9a-f]{64}$`)

// releaseName is the name of a digest's release.
func releaseName(digest string) string { return strings.Replace(digest, ":", "-", 1) }

// errNewRecord says that a record has a form that this program does not know.
var errNewRecord = errors.New("a newer version of Ampoule made it")

// parseRecord reads a record strictly: what it accepts was written by an installation.
func parseRecord(raw []byte, release string) (record, error) {
	var form struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(raw, &form); err != nil {
		return record{}, err
	}
	var r record
	var err error
	switch form.Version {
	case 0:
		var old unprovenRecord
		err = strict(raw, &old)
		r = record{Ref: old.Ref, Digest: old.Digest, Platform: old.Platform, Tree: old.Tree}
	case provenVersion, recordVersion:
		err = strict(raw, &r)
	default:
		err = errNewRecord
	}
	if err != nil {
		return record{}, err
	}
	return r, r.check(release)
}

// strict reads one JSON value of exactly that form.
func strict(raw []byte, into any) error {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the record")
	}
	return nil
}

func (r record) check(release string) error {
	named, err := registry.PinnedDigest(r.Ref)
	switch {
	case err != nil:
		return err
	case r.release() != release || named != r.Digest:
		return fmt.Errorf("it is about %s", r.Ref)
	case !artifact.IsDigest(r.Tree):
		return fmt.Errorf("%q is not a tree's hash", r.Tree)
	}
	return nil
}

// lines maps the paths of a tree's listing to their lines.
func lines(listing string) map[string]string {
	found := map[string]string{}
	for line := range strings.Lines(listing) {
		_, rest, _ := strings.Cut(line, `"`)
		quoted, err := strconv.QuotedPrefix(`"` + rest)
		if err != nil {
			continue
		}
		if p, err := strconv.Unquote(quoted); err == nil {
			found[p] = line
		}
	}
	return found
}

// differences lists the paths at which a tree is not what the record says, sorted;
// nothing where the record's listing is not the one of the tree that must be there.
func (r record) differences(t *tree.Tree) []string {
	if digestOf([]byte(r.Files)) != r.Tree {
		return nil
	}
	want, found := lines(r.Files), lines(string(t.Listing()))
	paths := map[string]bool{}
	for p := range want {
		paths[p] = found[p] != want[p]
	}
	for p := range found {
		paths[p] = found[p] != want[p]
	}
	maps.DeleteFunc(paths, func(_ string, differs bool) bool { return !differs })
	return slices.Sorted(maps.Keys(paths))
}

// readRecord reads the record of a release. One that is missing is an
// [fs.ErrNotExist]; what is no record is an [*UnsafeError].
func (s *site) readRecord(release string) (record, error) {
	name := release + ".json"
	info, err := s.releases.Lstat(name)
	if err != nil {
		return record{}, err
	}
	notOurs := func(err error) error {
		return &UnsafeError{
			Path: s.shown(name), Why: fmt.Sprintf("is not a record that an installation made: %v", err),
			Advice: fmt.Sprintf("move it away, and install the same reference again (%s, too, if that is asked for)", s.shown(release)),
		}
	}
	switch {
	case !info.Mode().IsRegular():
		return record{}, notOurs(fmt.Errorf("it is not a file but %s", info.Mode().Type()))
	case info.Size() > maxRecord:
		return record{}, notOurs(fmt.Errorf("it has %d bytes, more than %d", info.Size(), maxRecord))
	case !s.trusts(info):
		return record{}, notOurs(fmt.Errorf("it belongs to user %d", ownerOf(info)))
	}
	raw, err := readSame(s.releases, name, info)
	if err != nil {
		return record{}, err
	}
	r, err := parseRecord(raw, release)
	if err != nil {
		return record{}, notOurs(err)
	}
	return r, nil
}

// readSame reads a file that was seen under a name.
func readSame(dir *os.Root, name string, seen fs.FileInfo) ([]byte, error) {
	f, err := dir.OpenFile(name, os.O_RDONLY|system.NonBlock, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !os.SameFile(info, seen) {
		return nil, errors.Join(fmt.Errorf("reading %s: it changed meanwhile", f.Name()), err)
	}
	raw, err := io.ReadAll(io.LimitReader(f, maxRecord+1))
	if err == nil && len(raw) > maxRecord {
		err = fmt.Errorf("reading %s: it grew over %d bytes", f.Name(), maxRecord)
	}
	return raw, err
}

// writeRecord puts a record in place in one step.
func (s *site) writeRecord(r record) error {
	r.Version = recordVersion
	raw, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if len(raw) > maxRecord {
		return &VerificationError{What: r.Ref, Err: fmt.Errorf("its record has %d bytes, more than %d", len(raw), maxRecord)}
	}
	temporary := path.Join(s.staging, stagedRecord)
	f, err := s.releases.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(raw)
	if err := errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close()); err != nil {
		return err
	}
	return s.releases.Rename(temporary, r.release()+".json")
}
