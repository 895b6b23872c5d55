package audit

import (
	"iter"
	"path"

	"ampoule/tree"
)

// Bounds of what is read of Python code to learn how a distribution uses its files: bytes of
// a file, files, and bytes in all.
const (
	maxSource      = 1 << 20
	maxSourceFiles = 20_000
	maxSourceBytes = 128 << 20
)

// sourcesOf gives the files of Python code that are wanted, with their text. Nothing is run. A
// file that cannot be read is left out: the check record tells of it.
func (x *exam) sourcesOf(wanted func(tree.Entry) bool) iter.Seq2[tree.Entry, string] {
	return func(yield func(tree.Entry, string) bool) {
		files, left := 0, int64(maxSourceBytes)
		for _, e := range x.Tree.Entries() {
			if e.Kind != tree.File || path.Ext(e.Path) != ".py" || e.Size > maxSource || !wanted(e) {
				continue
			}
			files, left = files+1, left-e.Size
			if files > maxSourceFiles || left < 0 {
				return
			}
			if data, err := e.ReadAll(); err == nil && !yield(e, string(data)) {
				return
			}
		}
	}
}

// ownedBy reports of files whether they are a distribution's.
func ownedBy(dist string) func(tree.Entry) bool {
	return func(e tree.Entry) bool { return e.Owner == OwnerWheel+dist }
}
