package layers

import (
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
	var members []member
	if known, err := st.Lookup(indexKind, sum, &members); err == nil && known {
		return fromMembers(members, r)
	}
	t, err := tree.FromTar(r, size, Limits)
	if err != nil {
		return nil, err
	}
	return t, st.Record(indexKind, sum, membersOf(t))
}

func membersOf(t *tree.Tree) []member {
	members := make([]member, t.Len())
	for i, e := range t.Entries() {
		offset, _ := tree.Offset(e)
		members[i] = member{e.Path, e.Kind, e.Mode, e.UID, e.GID, e.Link, e.Size, e.SHA256, offset}
	}
	return members
}

func fromMembers(members []member, r io.ReaderAt) (*tree.Tree, error) {
	entries := make([]tree.Entry, len(members))
	for i, m := range members {
		entries[i] = tree.Entry{Path: m.Path, Kind: m.Kind, Mode: m.Mode, UID: m.UID, GID: m.GID, Link: m.Link, Size: m.Size, SHA256: m.SHA256}
		if m.Kind == tree.File {
			entries[i].Content = tree.Section(r, m.Offset, m.Size)
		}
	}
	return tree.New(entries)
}
