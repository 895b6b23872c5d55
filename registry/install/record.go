package install

import (
	"bufio"
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
	// recordVersion is the form of the records that this program writes. Since provenVersion they have
	// the documents, since readOnlyVersion files are read-only, and since listedVersion the listing
	// follows the JSON instead of being in it: decoding it took longer than going back.
	recordVersion   = 4
	provenVersion   = 2
	readOnlyVersion = 3
	listedVersion   = 4
	// maxRecord bounds a record, in bytes: a million files, and their documents.
	maxRecord = 256 << 20
)

// record says what a release must be, and why. It lies beside the release: a line of JSON, the lines of the
// listing that are directories, and the listing.
type record struct {
	Version  int    `json:"version"`
	Ref      string `json:"ref"`
	Digest   string `json:"digest"`
	Platform string `json:"platform"`
	// Tree is the tree's hash.
	Tree string `json:"tree"`
	// chain ties it to the digest.
	chain
	// Files is the tree's listing, to name what differs. In JSON it is there before listedVersion alone.
	Files string `json:"files,omitempty"`
	// Bytes is the size of all files together.
	Bytes int64 `json:"bytes,omitempty"`
	// Dated says that the directories have the time that everything has: a name that comes, goes or is
	// replaced changes it.
	Dated bool `json:"dated,omitempty"`
	// Entries is the number of lines of the listing, Dirs the size of those that are directories, in bytes: since
	// listedVersion.
	Entries int `json:"count,omitempty"`
	Dirs    int `json:"dirs,omitempty"`

	// dirs are the lines of directories.
	dirs string
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
	if t == nil || r.Version != 0 && r.Version < readOnlyVersion || t.Hash() == hash {
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

// parseRecord reads a record strictly: what it accepts was written by an installation. Records are
// large: one of today's form is read once.
func parseRecord(raw []byte, release string) (record, error) {
	head, rest, listed := bytes.Cut(raw, []byte("\n"))
	if !listed {
		head = raw
	}
	r, err := parseHead(head, release)
	if err != nil || r.Version < listedVersion && !listed {
		return r, err
	}
	if r.Version < listedVersion || r.Dirs > len(rest) {
		return record{}, errListing
	}
	r.dirs, r.Files = string(rest[:r.Dirs]), string(rest[r.Dirs:])
	if linesOf(r.Files, tree.Dir) != r.dirs || strings.Count(r.Files, "\n") != r.Entries {
		return record{}, errListing
	}
	return r, nil
}

var errListing = errors.New("its listing is not where it belongs")

// parseHead reads the JSON of a record.
func parseHead(head []byte, release string) (record, error) {
	var r record
	if err := strict(head, &r); err != nil || r.Version < provenVersion || r.Version > recordVersion {
		if r, err = parseOther(head, err); err != nil {
			return record{}, err
		}
	}
	if r.Version >= listedVersion && (r.Files != "" || r.Dirs < 0 || r.Dirs > maxRecord) {
		return record{}, errListing
	}
	return r, r.check(release)
}

// parseOther reads a record of another form than today's, which could not be read for a reason, if
// there is one.
func parseOther(raw []byte, why error) (record, error) {
	var form struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(raw, &form); err != nil {
		return record{}, err
	}
	switch form.Version {
	case 0:
		var old unprovenRecord
		err := strict(raw, &old)
		return record{Ref: old.Ref, Digest: old.Digest, Platform: old.Platform, Tree: old.Tree}, err
	case provenVersion, readOnlyVersion, recordVersion:
		return record{}, why
	default:
		return record{}, errNewRecord
	}
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
	info, err := s.seenRecord(release)
	if err != nil {
		return record{}, err
	}
	raw, err := readSame(s.releases, release+".json", info)
	if err != nil {
		return record{}, err
	}
	r, err := parseRecord(raw, release)
	if err != nil {
		return record{}, s.notRecord(release, err)
	}
	return r, nil
}

// readHead is readRecord without the release's files, as far as its form allows.
func (s *site) readHead(release string) (record, error) {
	info, err := s.seenRecord(release)
	if err != nil {
		return record{}, err
	}
	f, err := openSame(s.releases, release+".json", info)
	if err != nil {
		return record{}, err
	}
	defer f.Close()
	in := bufio.NewReader(f)
	head, err := in.ReadBytes('\n')
	if errors.Is(err, io.EOF) {
		return s.readRecord(release)
	}
	if err != nil {
		return record{}, err
	}
	r, err := parseHead(bytes.TrimSuffix(head, []byte("\n")), release)
	if err != nil {
		return record{}, s.notRecord(release, err)
	}
	dirs := make([]byte, r.Dirs)
	if _, err := io.ReadFull(in, dirs); err != nil {
		return record{}, s.notRecord(release, errListing)
	}
	r.dirs = string(dirs)
	return r, nil
}

// seenRecord looks whether a record can be one that an installation made.
func (s *site) seenRecord(release string) (fs.FileInfo, error) {
	info, err := s.releases.Lstat(release + ".json")
	if err != nil {
		return nil, err
	}
	switch {
	case !info.Mode().IsRegular():
		return nil, s.notRecord(release, fmt.Errorf("it is not a file but %s", info.Mode().Type()))
	case info.Size() > maxRecord:
		return nil, s.notRecord(release, fmt.Errorf("it has %d bytes, more than %d", info.Size(), maxRecord))
	case !s.trusts(info):
		return nil, s.notRecord(release, fmt.Errorf("it belongs to user %d", ownerOf(info)))
	}
	return info, nil
}

// notRecord says why something is no record.
func (s *site) notRecord(release string, err error) error {
	return &UnsafeError{
		Path: s.shown(release + ".json"), Why: fmt.Sprintf("is not a record that an installation made: %v", err),
		Advice: fmt.Sprintf("move it away, and install the same reference again (%s, too, if that is asked for)", s.shown(release)),
	}
}

// openSame opens a file that was seen under a name.
func openSame(dir *os.Root, name string, seen fs.FileInfo) (*os.File, error) {
	f, err := dir.OpenFile(name, os.O_RDONLY|system.NonBlock, 0)
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err != nil || !os.SameFile(info, seen) {
		return nil, errors.Join(fmt.Errorf("reading %s: it changed meanwhile", f.Name()), err, f.Close())
	}
	return f, nil
}

// readSame reads a file that was seen under a name.
func readSame(dir *os.Root, name string, seen fs.FileInfo) ([]byte, error) {
	f, err := openSame(dir, name, seen)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var raw bytes.Buffer
	raw.Grow(int(min(seen.Size(), maxRecord)) + bytes.MinRead)
	n, err := raw.ReadFrom(io.LimitReader(f, maxRecord+1))
	if err == nil && n > maxRecord {
		err = fmt.Errorf("reading %s: it grew over %d bytes", f.Name(), maxRecord)
	}
	return raw.Bytes(), err
}

// encode is the record as it is written.
func (r record) encode() ([]byte, error) {
	listing, dirs := r.Files, linesOf(r.Files, tree.Dir)
	r.Version, r.Files, r.Entries, r.Dirs = recordVersion, "", strings.Count(listing, "\n"), len(dirs)
	head, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	return slices.Concat(head, []byte("\n"), []byte(dirs), []byte(listing)), nil
}

// writeRecord puts a record in place in one step.
func (s *site) writeRecord(r record) error {
	f, err := s.stageRecord(r)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	return s.nameRecord(r)
}

// stageRecord writes a record where it has no name yet.
func (s *site) stageRecord(r record) (*os.File, error) {
	raw, err := r.encode()
	if err != nil {
		return nil, err
	}
	if len(raw) > maxRecord {
		return nil, &VerificationError{What: r.Ref, Err: fmt.Errorf("its record has %d bytes, more than %d", len(raw), maxRecord)}
	}
	f, err := s.releases.OpenFile(path.Join(s.staging, stagedRecord), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return nil, err
	}
	_, err = f.Write(raw)
	if err := errors.Join(err, f.Chmod(0o644)); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// nameRecord gives a record that is on disk its name.
func (s *site) nameRecord(r record) error {
	return s.releases.Rename(path.Join(s.staging, stagedRecord), r.release()+".json")
}
