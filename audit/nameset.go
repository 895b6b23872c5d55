package audit

import (
	"hash/maphash"
	"math/bits"
	"strings"
)

// nameSet is a set of symbols' names, by their hashes: a library can have hundreds of
// thousands of names, and nobody asks for most of them. Two names of a set are taken for one
// with a chance of 1 in 2^62, whatever they are: the seed is each process's own.
type nameSet struct {
	// slots is a table with open addressing, 0 where it is empty.
	slots []uint64
	len   int
}

// nameHash is a hash of a name, never 0. Its lowest bit says that the name begins with "_".
type nameHash uint64

const (
	reservedBit nameHash = 1 << iota
	usedBit
)

var nameSeed = maphash.MakeSeed()

func hashName(name string) nameHash {
	h := nameHash(maphash.String(nameSeed, name))&^reservedBit | usedBit
	if strings.HasPrefix(name, "_") {
		h |= reservedBit
	}
	return h
}

// newNameSet makes a set of hashes.
func newNameSet(hashes []nameHash) nameSet {
	if len(hashes) == 0 {
		return nameSet{}
	}
	// A table that is three quarters full has the next empty slot near.
	n := nameSet{slots: make([]uint64, len(hashes)+len(hashes)/3+1)}
	for _, h := range hashes {
		if i, ok := n.slot(h); !ok {
			n.slots[i] = uint64(h)
			n.len++
		}
	}
	return n
}

// slot finds where a hash is, or where it belongs.
func (n nameSet) slot(h nameHash) (int, bool) {
	at, _ := bits.Mul64(uint64(h), uint64(len(n.slots)))
	for i := int(at); ; {
		switch n.slots[i] {
		case uint64(h):
			return i, true
		case 0:
			return i, false
		}
		i++
		if i == len(n.slots) {
			i = 0
		}
	}
}

// has reports whether a name is in the set, by its hash.
func (n nameSet) has(h nameHash) bool {
	if n.len == 0 {
		return false
	}
	_, ok := n.slot(h)
	return ok
}

// shared counts the names that are in both sets and do not begin with "_".
func (n nameSet) shared(other nameSet) int {
	count := 0
	for _, slot := range n.slots {
		h := nameHash(slot)
		if h != 0 && h&reservedBit == 0 && other.has(h) {
			count++
		}
	}
	return count
}
