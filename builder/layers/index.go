package layers

import (
	"fmt"
	"io"
	"io/fs"

	"ampoule/store"
	"ampoule/tree"
)

const (
	// indexKind is the store's kind of records that say what a layer holds, and where.
	indexKind = "layer-index"
	// indexedSize is the size in bytes from which a layer's index is kept: a smaller
	// layer is read as quickly as that.
	indexedSize = 8 << 20
	// indexedMembers is how many entries are recorded at most: a record is bounded.
	indexedMembers = 50_000
	// indexFormat is raised when the same tar gives another tree.
	indexFormat = 1
)

// member is an entry of a layer in a record.
type member struct {
	Path   string      `json:"p"`
	Kind   tree.Kind   `json:"k,omitempty"`
	Mode   fs.FileMode `json:"m"`
	UID    int         `json:"u,omitempty"`
	GID    int         `json:"g,omitempty"`
	Link   string      `json:"l,omitempty"`
	Size   int64       `json:"s,omitempty"`
	SHA256 string      `json:"h,omitempty"`
	Offset int64       `json:"o,omitempty"`
}

// readIndexed indexes a layer of size bytes in r, or finds the index of an earlier time.
// So a large layer is read and hashed once, and not each time that it is built on.
func readIndexed(st *store.Store, sum string, r io.ReaderAt, size int64) (*tree.Tree, error) {
	if size < indexedSize {
		return tree.FromTar(r, size, Limits)
	}
	key := Key(indexKind, indexFormat, sum)
	var members []member
	if known, err := st.Lookup(indexKind, key, &members); err == nil && known {
		// A record that cannot be right is written anew.
		if t, err := fromMembers(members, r, size); err == nil {
			return t, nil
		}
	}
	t, err := tree.FromTar(r, size, Limits)
	if err != nil || t.Len() > indexedMembers {
		return t, err
	}
	return t, st.Record(indexKind, key, membersOf(t))
}

func membersOf(t *tree.Tree) []member {
	members := make([]member, t.Len())
	for i, e := range t.Entries() {
		offset, _ := tree.Offset(e)
		members[i] = member{e.Path, e.Kind, e.Mode, e.UID, e.GID, e.Link, e.Size, e.SHA256, offset}
	}
	return members
}

func fromMembers(members []member, r io.ReaderAt, size int64) (*tree.Tree, error) {
	entries := make([]tree.Entry, len(members))
	for i, m := range members {
		entries[i] = tree.Entry{Path: m.Path, Kind: m.Kind, Mode: m.Mode, UID: m.UID, GID: m.GID, Link: m.Link, Size: m.Size, SHA256: m.SHA256}
		if m.Kind == tree.File {
			if m.Offset <= 0 || m.Size < 0 || m.Size > size-m.Offset {
				return nil, fmt.Errorf("%s: its place in the layer is wrong", m.Path)
			}
			entries[i].Content = tree.Section(r, m.Offset, m.Size)
		}
	}
	return tree.New(entries)
}
