package elf

// Symbol is one dynamic symbol.
type Symbol struct {
	Name string
	// Defined says that this file defines it.
	Defined bool
	// Weak says that its binding is weak; Local that the loader never binds to it.
	Weak, Local bool
	// Type is STT_*: 1 data, 2 code, 6 thread-local.
	Type uint8
	// Version is the version defined or required; empty without one.
	Version string
	// Hidden says that only references that name the version bind to it.
	Hidden bool
	// Index is what DT_VERSYM has for it, without the bit that says Hidden: 1 is no version, 2
	// the file's first.
	Index uint16
}

// Exported reports whether other files can bind to the symbol.
func (s Symbol) Exported() bool { return s.Defined && !s.Local }

const (
	// maxSymbols is more than ten times what the largest known libraries have.
	maxSymbols = 1 << 22
	// undefinedIndex is SHN_UNDEF.
	undefinedIndex = 0
)

// symbols reads the dynamic symbols.
func (img *image) symbols(f *File, dyn entries, strs stringTable, versions map[uint16]string) error {
	if !dyn.has(tagSymTab) {
		return nil
	}
	count, err := img.symbolCount(dyn)
	if err != nil || count <= 1 {
		return err
	}
	table, err := img.window(dyn.last[tagSymTab], count*symbolSize, "DT_SYMTAB")
	if err != nil {
		return err
	}
	var versym *window
	if dyn.has(tagVerSym) {
		if versym, err = img.window(dyn.last[tagVerSym], count*2, "DT_VERSYM"); err != nil {
			return err
		}
	}
	for i := uint64(1); i < count; i++ {
		b, err := table.at(i*symbolSize, symbolSize)
		if err != nil {
			return err
		}
		name, err := strs.at(uint64(le.Uint32(b)), "DT_SYMTAB")
		if err != nil {
			return err
		}
		bind := b[4] >> 4
		s := Symbol{Name: name, Defined: le.Uint16(b[6:]) != undefinedIndex, Weak: bind == 2, Type: b[4] & 15}
		s.Local = bind == 0 || s.Defined && !f.Hashed
		if versym != nil {
			b, err := versym.at(i*2, 2)
			if err != nil {
				return err
			}
			v := le.Uint16(b)
			s.Index, s.Hidden = v&0x7fff, v&0x8000 != 0
			s.Version = versions[s.Index]
		}
		f.add(s, img.each)
	}
	return nil
}

// symbolCount finds how many dynamic symbols there are, which only the hash
// tables say. A DT_GNU_HASH without entries says nothing about undefined
// symbols, and without a hash table nothing does; then the relocations tell which are used.
func (img *image) symbolCount(dyn entries) (uint64, error) {
	var count uint64
	var err error
	switch {
	case dyn.has(tagHash):
		count, err = img.countHash(dyn.last[tagHash])
	case dyn.has(tagGNUHash):
		count, err = img.countGNUHash(dyn)
	default:
		count, err = img.countRelocated(dyn)
	}
	if err != nil {
		return 0, err
	}
	if count > maxSymbols {
		return 0, malformed("%d symbols", count)
	}
	return count, nil
}

// countHash reads nchain of DT_HASH: the number of symbols (gABI, chapter 5).
func (img *image) countHash(addr uint64) (uint64, error) {
	head, err := img.mapped(addr, 8, "DT_HASH")
	if err != nil {
		return 0, err
	}
	buckets, chain := uint64(le.Uint32(head)), uint64(le.Uint32(head[4:]))
	if _, err := img.offset(addr, 8+4*(buckets+chain), "DT_HASH"); err != nil {
		return 0, err
	}
	return chain, nil
}

// countGNUHash follows the last chain of DT_GNU_HASH to its end.
func (img *image) countGNUHash(dyn entries) (uint64, error) {
	addr := dyn.last[tagGNUHash]
	head, err := img.mapped(addr, 16, "DT_GNU_HASH")
	if err != nil {
		return 0, err
	}
	nbuckets, first, bloom := uint64(le.Uint32(head)), uint64(le.Uint32(head[4:])), uint64(le.Uint32(head[8:]))
	at := addr + 16 + bloom*8
	buckets, err := img.window(at, nbuckets*4, "DT_GNU_HASH buckets")
	if err != nil {
		return 0, err
	}
	var last uint64
	for i := range nbuckets {
		b, err := buckets.at(i*4, 4)
		if err != nil {
			return 0, err
		}
		last = max(last, uint64(le.Uint32(b)))
	}
	if last == 0 {
		used, err := img.countRelocated(dyn)
		return max(first, used), err
	}
	if last < first {
		return 0, malformed("DT_GNU_HASH: bucket %d before the first hashed symbol %d", last, first)
	}
	return img.chainEnd(at+nbuckets*4, last, first)
}

// chainEnd finds the number of symbols, given where the chains start and the
// index of a symbol in the last chain. The lowest bit of a hash ends a chain.
func (img *image) chainEnd(chains, index, first uint64) (uint64, error) {
	addr := chains + (index-first)*4
	room := img.rest(addr) &^ 3
	for room > 0 {
		n := min(room, 1<<16)
		part, err := img.mapped(addr, n, "DT_GNU_HASH chain")
		if err != nil {
			return 0, err
		}
		for i := 0; i < len(part); i += 4 {
			index++
			if le.Uint32(part[i:])&1 != 0 {
				return index, nil
			}
		}
		addr, room = addr+n, room-n
	}
	return 0, malformed("DT_GNU_HASH: chain without end")
}

// countRelocated returns one more than the highest symbol index that a
// relocation names.
func (img *image) countRelocated(dyn entries) (uint64, error) {
	var count uint64
	err := img.relocations(dyn, func(r relocation) { count = max(count, uint64(r.symbol)+1) })
	return count, err
}
