package install

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"

	"ampoule/tree"
)

// record says what a release must be. It lies beside the release.
type record struct {
	Ref      string `json:"ref"`
	Digest   string `json:"digest"`
	Platform string `json:"platform"`
	// Tree is the tree's hash.
	Tree string `json:"tree"`
	// Entries holds what stands at each path, to name what differs.
	Entries map[string]string `json:"entries"`
}

func (r record) release() string { return releaseName(r.Digest) }

// with returns the record with the entries of a tree.
func (r record) with(t *tree.Tree) record {
	r.Entries = entriesOf(t)
	return r
}

func entriesOf(t *tree.Tree) map[string]string {
	entries := make(map[string]string, t.Len())
	for _, e := range t.Entries() {
		switch e.Kind {
		case tree.Symlink:
			entries[e.Path] = "link " + e.Link
		case tree.Dir:
			entries[e.Path] = "dir " + e.Mode.String()
		default:
			entries[e.Path] = "file " + e.Mode.String() + " " + e.SHA256
		}
	}
	return entries
}

// differences lists the paths at which a tree is not what the record says, sorted.
func (r record) differences(t *tree.Tree) []string {
	found := entriesOf(t)
	paths := map[string]bool{}
	for p, want := range r.Entries {
		if found[p] != want {
			paths[p] = true
		}
	}
	for p := range found {
		if _, ok := r.Entries[p]; !ok {
			paths[p] = true
		}
	}
	return slices.Sorted(maps.Keys(paths))
}

func (s *site) readRecord(release string) (record, error) {
	raw, err := os.ReadFile(s.path(release) + ".json")
	if errors.Is(err, fs.ErrNotExist) {
		return record{}, &VerificationError{What: s.path(release), Err: errors.New("nothing says what it must be")}
	}
	if err != nil {
		return record{}, err
	}
	var r record
	if err := json.Unmarshal(raw, &r); err != nil {
		return record{}, &VerificationError{What: s.path(release) + ".json", Err: err}
	}
	if r.release() != release {
		return record{}, &VerificationError{What: s.path(release) + ".json", Err: fmt.Errorf("it is about %s", r.Digest)}
	}
	return r, nil
}

// writeRecord puts a record in place in one step.
func (s *site) writeRecord(r record) error {
	raw, err := json.Marshal(r)
	if err != nil {
		return err
	}
	temporary := s.path(s.staging) + ".json"
	f, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(raw)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(temporary, s.path(r.release())+".json")
}
