package layers

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"ampoule/packaging"
	"ampoule/tree"
)

const (
	// largeDist is the size in bytes from which a distribution gets a layer of its
	// own. Of 94 distributions measured, those above it hold 97 % of the bytes.
	largeDist = 1 << 20
	// tailBins is the number of layers that the other distributions share. It is
	// part of the digest: another number moves every small distribution.
	tailBins = 12
	// maxParts leaves a place for one base layer among 64. Docker's own bound is 125.
	maxParts = 63
	// fixedParts are native, interpreter and metadata.
	fixedParts = 3
	// maxLarge is how many distributions can have a layer of their own.
	maxLarge = maxParts - fixedParts - tailBins
)

// Names of parts, which are also owners in the tree.
const (
	native      = "native"
	interpreter = "interpreter"
	metadata    = "metadata"
	// app is the part of first-party code.
	app         = "app"
	rest        = "rest"
	wheelPrefix = "wheel:"
	tailPrefix  = "tail-"
)

// Part is the share of a tree that becomes one layer.
type Part struct {
	// Name says what it holds: "interpreter", "wheel:NAME" and so on.
	Name string
	// Tree holds the part's entries at their places in the whole tree, with all
	// directories above them as the whole tree has them.
	Tree *tree.Tree
}

// Split shares a tree's entries out by [tree.Entry.Owner]: "native" and
// "interpreter" have a part each; so has each of the largest distributions (owner
// "wheel:NAME") of at least 1 MiB; the others go into 12 bins by the hash of their
// normalised name (PEP 503), so that adding one moves no other; first-party code, given by
// its normalised names, is "app"; whatever has
// another owner is "metadata". Parts come in the order of their layers, what changes
// most rarely first, since what is below is pulled and unpacked first; parts without
// entries are left out.
func Split(t *tree.Tree, own ...string) []Part {
	mine := map[string]bool{}
	for _, name := range own {
		mine[wheelPrefix+name] = true
	}
	return split(t, mine, partOf, native, interpreter, wheelPrefix, tailPrefix, app, metadata)
}

// SplitCoarsely shares a tree's entries out to as few parts as keep the large ones
// apart: the interpreter, which other trees share, each of the largest distributions,
// "native", and "rest".
func SplitCoarsely(t *tree.Tree) []Part {
	return split(t, nil, func(owner string, large map[string]bool) string {
		if owner == interpreter || owner == native || large[owner] {
			return owner
		}
		return rest
	}, interpreter, wheelPrefix, native, rest)
}

// split shares entries out to the parts that partOf names, in the order of their kinds. Those
// of the owners that are mine are one part, whatever partOf says.
func split(t *tree.Tree, mine map[string]bool, partOf func(owner string, large map[string]bool) string, kinds ...string) []Part {
	large := largeDists(t, mine)
	paths := map[string]map[string]bool{}
	for _, e := range t.Entries() {
		name := app
		if !mine[e.Owner] {
			name = partOf(e.Owner, large)
		}
		if paths[name] == nil {
			paths[name] = map[string]bool{}
		}
		for p := e.Path; p != "."; p = path.Dir(p) {
			paths[name][p] = true
		}
	}
	compare := func(a, b string) int {
		return cmp.Or(cmp.Compare(slices.Index(kinds, kindOf(a)), slices.Index(kinds, kindOf(b))), cmp.Compare(a, b))
	}
	var parts []Part
	for _, name := range slices.SortedFunc(maps.Keys(paths), compare) {
		keep := paths[name]
		parts = append(parts, Part{Name: name, Tree: t.Select(func(e tree.Entry) bool { return keep[e.Path] })})
	}
	return parts
}

// largeDists returns the owners that get a part of their own, the biggest first
// where there are too many. Those that are mine have one already.
func largeDists(t *tree.Tree, mine map[string]bool) map[string]bool {
	sizes := map[string]int64{}
	for _, e := range t.Entries() {
		if strings.HasPrefix(e.Owner, wheelPrefix) && !mine[e.Owner] {
			sizes[e.Owner] += e.Size
		}
	}
	owners := slices.SortedFunc(maps.Keys(sizes), func(a, b string) int {
		return cmp.Or(cmp.Compare(sizes[b], sizes[a]), cmp.Compare(a, b))
	})
	most := maxLarge
	if len(mine) > 0 {
		most-- // its place is that of the application
	}
	large := map[string]bool{}
	for _, owner := range owners[:min(len(owners), most)] {
		if sizes[owner] >= largeDist {
			large[owner] = true
		}
	}
	return large
}

func partOf(owner string, large map[string]bool) string {
	dist, isWheel := strings.CutPrefix(owner, wheelPrefix)
	switch {
	case isWheel && large[owner]:
		return owner
	case isWheel:
		return fmt.Sprintf(tailPrefix+"%02d", bin(dist))
	case owner == native || owner == interpreter:
		return owner
	default:
		return metadata
	}
}

func bin(dist string) uint32 {
	sum := sha256.Sum256([]byte(packaging.NormalName(dist)))
	return binary.BigEndian.Uint32(sum[:4]) % tailBins
}

// kindOf is what parts of one kind have in their order instead of their names.
func kindOf(part string) string {
	for _, prefix := range []string{wheelPrefix, tailPrefix} {
		if strings.HasPrefix(part, prefix) {
			return prefix
		}
	}
	return part
}
