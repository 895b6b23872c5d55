package elf

import "io"

// References is what the loader has to find for a file's relocations: a symbol that none of
// them names is never looked for.
type References struct {
	// Names are the names of the symbols that relocations refer to. The value says that all of
	// them are calls, which the loader may leave until they are made.
	Names map[string]bool
	// OwnTLS says that code reaches thread-local memory of this very file at a distance from
	// the thread pointer that is the same in all threads: it must be in the static block.
	OwnTLS bool
}

// relocation is one entry of a relocation table.
type relocation struct {
	symbol, kind uint32
	// call says that it is in DT_JMPREL.
	call bool
}

// Types of relocations that store a distance from the thread pointer (x86-64 psABI, 4.4; ELF
// for the Arm 64-bit Architecture, 5.7).
const (
	relTPOff64X8664   = 18
	relTPRel64AArch64 = 1030
)

// ReadReferences reads the relocations of a file that [Read] has read without an error.
func ReadReferences(r io.ReaderAt, size int64) (*References, error) {
	img := &image{r: r, size: uint64(size)}
	var h Header
	table, err := img.header(&h)
	if err != nil {
		return nil, err
	}
	segments, err := img.segments(table)
	if err != nil {
		return nil, err
	}
	refs := &References{Names: map[string]bool{}}
	dyn, strs, ok, err := img.dynamicSection(segments)
	if err != nil || !ok || !dyn.has(tagSymTab) {
		return refs, err
	}
	static := uint32(relTPOff64X8664)
	if h.Machine == AArch64 {
		static = relTPRel64AArch64
	}
	// Of each symbol: 1 is a call, 2 anything else.
	used := map[uint32]uint8{}
	tls := map[uint32]bool{}
	err = img.relocations(dyn, func(r relocation) {
		if r.kind == static {
			tls[r.symbol] = true
		}
		if r.call {
			used[r.symbol] |= 1
		} else {
			used[r.symbol] |= 2
		}
	})
	if err != nil {
		return nil, err
	}
	refs.OwnTLS = tls[0]
	delete(used, 0)
	for index, how := range used {
		raw, err := img.mapped(dyn.last[tagSymTab]+uint64(index)*symbolSize, symbolSize, "DT_SYMTAB")
		if err != nil {
			return nil, err
		}
		name, err := strs.at(uint64(le.Uint32(raw)), "DT_SYMTAB")
		if err != nil {
			return nil, err
		}
		refs.OwnTLS = refs.OwnTLS || tls[index] && le.Uint16(raw[6:]) != undefinedIndex
		lazily, seen := refs.Names[name]
		refs.Names[name] = how == 1 && (lazily || !seen)
	}
	return refs, nil
}

// relocations calls a function with each entry of the tables of relocations: of data, and of
// calls.
func (img *image) relocations(dyn entries, do func(relocation)) error {
	for _, t := range []struct {
		addr, size uint64
		call       bool
	}{{tagRela, tagRelaSize, false}, {tagJmpRel, tagPltRelSz, true}} {
		addr, left := dyn.last[t.addr], dyn.last[t.size]
		if !dyn.has(t.addr) {
			continue
		}
		if _, err := img.offset(addr, left, "relocations"); err != nil {
			return err
		}
		for left >= relaSize {
			n := min(left/relaSize, 4096) * relaSize
			part, err := img.mapped(addr, n, "relocations")
			if err != nil {
				return err
			}
			for ; len(part) > 0; part = part[relaSize:] {
				info := le.Uint64(part[8:])
				do(relocation{uint32(info >> 32), uint32(info), t.call})
			}
			addr, left = addr+n, left-n
		}
	}
	return nil
}
