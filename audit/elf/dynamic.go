package elf

import (
	"strings"
)

// Flag1PIE and Flag1NoDefaultLib are bits of DT_FLAGS_1: a position-independent
// executable; a file for whose dependencies the loader skips the default directories.
const (
	Flag1PIE          = 0x08000000
	Flag1NoDefaultLib = 0x00000800
)

// Flag1NoOpen and Flag1Now are bits of DT_FLAGS_1: dlopen refuses the file; its symbols are
// bound when it is loaded, as FlagNow of DT_FLAGS says, too. FlagStaticTLS of that one says
// that the file has thread-local memory at fixed distances (gABI, chapter 5).
const (
	Flag1NoOpen   = 0x00000040
	Flag1Now      = 0x00000001
	FlagNow       = 0x00000008
	FlagStaticTLS = 0x00000010
)

// Limits that no real file comes near.
const (
	maxDynamic = 1 << 16 // entries
	maxNeeded  = 4096    // DT_NEEDED, DT_AUXILIARY and DT_FILTER together
	maxStrings = 1 << 27 // bytes of DT_STRTAB
	maxUnsized = 1 << 24 // bytes of a DT_STRTAB that does not say its size
	maxPath    = 1 << 16 // bytes of a name or search path in the dynamic section
)

// Linking is what the dynamic section says about other files.
type Linking struct {
	// Soname is DT_SONAME; empty without one.
	Soname string
	// Needed, Auxiliary and Filter name libraries, in order.
	Needed, Auxiliary, Filter []string
	// RPath and RunPath are DT_RPATH and DT_RUNPATH as they stand; nil without one.
	RPath, RunPath *string
	// Flags and Flags1 are DT_FLAGS and DT_FLAGS_1.
	Flags, Flags1 uint64
	// TextRel says that DT_TEXTREL is there.
	TextRel bool
	// BindNow says that DT_BIND_NOW is there: the older form of FlagNow.
	BindNow bool
}

// Tables is what the dynamic section says about a file's own tables.
type Tables struct {
	// Relr says that DT_RELR is there: relocations that loaders before glibc 2.36 do not know.
	Relr bool
	// Hashed says that there is a hash table, by which alone the loader finds symbols.
	Hashed bool
	// Versioned says that DT_VERSYM is there: each symbol has a version, if only that of none.
	Versioned bool
	// RelaEntry and PltRel are DT_RELAENT and DT_PLTREL; 0 where they are missing.
	RelaEntry, PltRel uint64
	// BloomWords is how many words the filter of DT_GNU_HASH has; 0 without one.
	BloomWords uint32
}

// RelaEntrySize and PltRelRela are the only DT_RELAENT and DT_PLTREL of 64-bit files of the
// machines that Python runs on.
const (
	RelaEntrySize = relaSize
	PltRelRela    = tagRela
)

// The dynamic tags that are read.
const (
	tagNull      = 0
	tagNeeded    = 1
	tagHash      = 4
	tagStrTab    = 5
	tagSymTab    = 6
	tagRela      = 7
	tagRelaSize  = 8
	tagStrSize   = 10
	tagSymEnt    = 11
	tagSoname    = 14
	tagRPath     = 15
	tagRelaEnt   = 9
	tagPltRel    = 20
	tagBindNow   = 24
	tagRelr      = 36
	tagTextRel   = 22
	tagJmpRel    = 23
	tagPltRelSz  = 2
	tagRunPath   = 29
	tagFlags     = 30
	tagGNUHash   = 0x6ffffef5
	tagVerSym    = 0x6ffffff0
	tagFlags1    = 0x6ffffffb
	tagVerDef    = 0x6ffffffc
	tagVerDefNum = 0x6ffffffd
	tagVerNeed   = 0x6ffffffe
	tagVerNdNum  = 0x6fffffff
	tagAuxiliary = 0x7ffffffd
	tagFilter    = 0x7fffffff
)

// entries is a dynamic section: of tags that may come once the last one counts,
// as in glibc; lists keeps those that may come often, in order.
type entries struct {
	last  map[uint64]uint64
	lists []entry
}

type entry struct{ tag, value uint64 }

func (e entries) has(tag uint64) bool { _, ok := e.last[tag]; return ok }

// dynamic reads PT_DYNAMIC and all that it points to.
func (img *image) dynamic(f *File) error {
	dyn, strs, ok, err := img.dynamicSection(f.Segments)
	if err != nil || !ok {
		return err
	}
	f.Dynamic = true
	if err := f.link(dyn, strs); err != nil {
		return err
	}
	versions, err := img.versions(f, dyn, strs)
	if err != nil {
		return err
	}
	if dyn.has(tagGNUHash) {
		head, err := img.mapped(dyn.last[tagGNUHash], 16, "DT_GNU_HASH")
		if err != nil {
			return err
		}
		f.BloomWords = le.Uint32(head[8:])
	}
	return img.symbols(f, dyn, strs, versions)
}

// dynamicSection reads the entries of PT_DYNAMIC and the strings that they refer to.
func (img *image) dynamicSection(segments []Segment) (dyn entries, strs stringTable, ok bool, err error) {
	addr, ok, err := dynamicAddr(segments)
	if err != nil || !ok {
		return dyn, strs, false, err
	}
	if dyn, err = img.entries(addr); err != nil {
		return dyn, strs, false, err
	}
	strs, err = img.strings(dyn)
	return dyn, strs, err == nil, err
}

// dynamicAddr finds where PT_DYNAMIC is mapped: the loader looks at nothing else of it,
// but takes one without bytes in the file, as files of debug information have it, for none.
func dynamicAddr(segments []Segment) (addr uint64, ok bool, err error) {
	for _, s := range segments {
		if s.Type != DynamicSeg {
			continue
		}
		if ok && s.Addr != addr {
			return 0, false, malformed("two PT_DYNAMIC segments")
		}
		addr, ok = s.Addr, s.FileSize > 0
	}
	return addr, ok, nil
}

// entries reads the dynamic section at an address, up to its end, as the loader does
// whatever its size is said to be.
func (img *image) entries(addr uint64) (entries, error) {
	dyn := entries{last: map[uint64]uint64{}}
	if _, err := img.offset(addr, dynSize, "PT_DYNAMIC"); err != nil {
		return dyn, err
	}
	for n := 0; n < maxDynamic; {
		size := min(img.rest(addr), 1<<12) / dynSize * dynSize
		if size == 0 {
			break
		}
		raw, err := img.mapped(addr, size, "dynamic section")
		if err != nil {
			return dyn, err
		}
		for addr += size; len(raw) >= dynSize; raw = raw[dynSize:] {
			n++
			if le.Uint64(raw) == tagNull {
				return dyn, nil
			}
			if err := dyn.add(entry{le.Uint64(raw), le.Uint64(raw[8:])}); err != nil {
				return dyn, err
			}
		}
	}
	if s, ok := img.segmentAt(addr - 1); ok && s.MemSize > s.FileSize && addr >= s.fileEnd() {
		return dyn, nil // zeros follow, and so an end
	}
	return dyn, malformed("dynamic section without end")
}

func (e *entries) add(one entry) error {
	switch one.tag {
	case tagNeeded, tagAuxiliary, tagFilter:
		e.lists = append(e.lists, one)
		if len(e.lists) > maxNeeded {
			return malformed("more than %d needed libraries", maxNeeded)
		}
	default:
		e.last[one.tag] = one.value
	}
	return nil
}

// table of strings, with a budget for what is read from it: names may share
// bytes, and a hostile file could make every symbol share one huge name.
type stringTable struct {
	data   string
	budget *int
}

// strings reads DT_STRTAB. The loader does not look at its size: where that is absurd, the
// table goes to the end of its segment.
func (img *image) strings(dyn entries) (stringTable, error) {
	if !dyn.has(tagStrTab) {
		return stringTable{budget: new(int)}, nil
	}
	addr, size := dyn.last[tagStrTab], dyn.last[tagStrSize]
	switch rest := img.rest(addr); {
	case size == 0 || size > rest:
		size = min(rest, maxUnsized)
	case size > maxStrings:
		return stringTable{}, malformed("string table of %d bytes", size)
	}
	data, err := img.text(addr, size, "DT_STRTAB")
	if err != nil {
		return stringTable{}, err
	}
	budget := 64*len(data) + 1<<20
	return stringTable{data: data, budget: &budget}, nil
}

func (s stringTable) at(offset uint64, what string) (string, error) {
	if offset >= uint64(len(s.data)) {
		return "", malformed("%s: name at %d in a string table of %d bytes", what, offset, len(s.data))
	}
	end := strings.IndexByte(s.data[offset:], 0)
	if end < 0 {
		return "", malformed("%s: name without end", what)
	}
	*s.budget -= end + 1
	if *s.budget < 0 {
		return "", malformed("%s: names longer than the string table can hold", what)
	}
	return s.data[offset : offset+uint64(end)], nil
}

// path reads a name or search path of the dynamic section. It has nothing of the table,
// which may go.
func (s stringTable) path(offset uint64, what string) (string, error) {
	p, err := s.at(offset, what)
	if err == nil && len(p) > maxPath {
		err = malformed("%s of %d bytes", what, len(p))
	}
	return strings.Clone(p), err
}

// link fills in what the dynamic section says about other files.
func (f *File) link(dyn entries, strs stringTable) error {
	for _, e := range dyn.lists {
		list, what := &f.Needed, "DT_NEEDED"
		switch e.tag {
		case tagAuxiliary:
			list, what = &f.Auxiliary, "DT_AUXILIARY"
		case tagFilter:
			list, what = &f.Filter, "DT_FILTER"
		}
		name, err := strs.path(e.value, what)
		if err != nil {
			return err
		}
		*list = append(*list, name)
	}
	f.Flags, f.Flags1, f.TextRel = dyn.last[tagFlags], dyn.last[tagFlags1], dyn.has(tagTextRel)
	f.BindNow, f.Relr, f.Versioned = dyn.has(tagBindNow), dyn.has(tagRelr), dyn.has(tagVerSym)
	f.Hashed = dyn.has(tagHash) || dyn.has(tagGNUHash)
	f.RelaEntry, f.PltRel = dyn.last[tagRelaEnt], dyn.last[tagPltRel]
	single := func(tag uint64, what string) (*string, error) {
		if !dyn.has(tag) {
			return nil, nil
		}
		p, err := strs.path(dyn.last[tag], what)
		return &p, err
	}
	soname, err := single(tagSoname, "DT_SONAME")
	if err != nil {
		return err
	}
	if soname != nil {
		f.Soname = *soname
	}
	if f.RPath, err = single(tagRPath, "DT_RPATH"); err != nil {
		return err
	}
	f.RunPath, err = single(tagRunPath, "DT_RUNPATH")
	return err
}
