package layers

import (
	"io"

	"ampoule/store"
	"ampoule/tree"
)

const (
	// indexKind is the store's kind of records that say which hash each file of a layer
	// has.
	indexKind = "layer-index"
	// indexedSize is the size in bytes from which a layer's index is kept: a smaller
	// layer is read as quickly as that.
	indexedSize = 8 << 20
	// indexedFiles is how many files are recorded at most: a record is bounded.
	indexedFiles = 100_000
	// indexFormat is raised when the same tar gives another tree.
	indexFormat = 2
)

// index is what is recorded of a layer. It has hashes and nothing else: paths, kinds,
// modes, owners and links are read from the layer itself each time.
type index struct {
	// Tree is the hash of the layer's tree, and says that the hashes belong together.
	Tree  string
	Files []indexed
}

// indexed is a file's content in a layer.
type indexed struct {
	Offset int64  `json:"o"`
	Size   int64  `json:"s"`
	SHA256 string `json:"h"`
}

// readIndexed indexes a layer of size bytes in r, with the hashes of an earlier time where
// there are some. So a large layer is hashed once, and not each time that it is built on.
func readIndexed(st *store.Store, sum string, r io.ReaderAt, size int64) (*tree.Tree, error) {
	if size < indexedSize {
		return tree.FromTar(r, size, Limits)
	}
	key := Key(indexKind, indexFormat, sum)
	var known index
	if found, err := st.Lookup(indexKind, key, &known); err == nil && found {
		// An index that does not give its tree is made anew.
		if t, err := tree.FromKnownTar(r, size, Limits, known.hash()); err == nil && t.Hash() == known.Tree {
			return t, nil
		}
	}
	t, err := tree.FromTar(r, size, Limits)
	if err != nil {
		return nil, err
	}
	if made := indexOf(t); len(made.Files) <= indexedFiles {
		err = st.Record(indexKind, key, made)
	}
	return t, err
}

func indexOf(t *tree.Tree) index {
	made := index{Tree: t.Hash()}
	seen := map[int64]bool{}
	for _, e := range t.Entries() {
		// Of several names of one content, one is enough.
		if offset, ok := tree.Offset(e); ok && !seen[offset] {
			seen[offset] = true
			made.Files = append(made.Files, indexed{offset, e.Size, e.SHA256})
		}
	}
	return made
}

// hash finds the hash of a file of a layer by its place.
func (x index) hash() func(offset, size int64) string {
	hashes := make(map[[2]int64]string, len(x.Files))
	for _, f := range x.Files {
		if store.CheckSum(f.SHA256) == nil {
			hashes[[2]int64{f.Offset, f.Size}] = f.SHA256
		}
	}
	return func(offset, size int64) string { return hashes[[2]int64{offset, size}] }
}
