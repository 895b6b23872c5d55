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

// Limits that no real file comes near.
const (
	maxDynamic = 1 << 16 // entries
	maxNeeded  = 4096    // DT_NEEDED, DT_AUXILIARY and DT_FILTER together
	maxStrings = 1 << 27 // bytes of DT_STRTAB
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
}

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
	seg, ok, err := img.dynamicSegment(f.Segments)
	if err != nil || !ok {
		return err
	}
	f.Dynamic = true
	dyn, err := img.entries(seg)
	if err != nil {
		return err
	}
	strs, err := img.strings(dyn)
	if err != nil {
		return err
	}
	if err := f.link(dyn, strs); err != nil {
		return err
	}
	versions, err := img.versions(f, dyn, strs)
	if err != nil {
		return err
	}
	return img.symbols(f, dyn, strs, versions)
}

// dynamicSegment finds PT_DYNAMIC. The loader reads it where it is mapped, other
// tools where the file has it: a file in which the two differ is refused.
func (img *image) dynamicSegment(segments []Segment) (Segment, bool, error) {
	var found *Segment
	for i, s := range segments {
		if s.Type != DynamicSeg {
			continue
		}
		if found != nil {
			return Segment{}, false, malformed("two PT_DYNAMIC segments")
		}
		found = &segments[i]
	}
	if found == nil {
		return Segment{}, false, nil
	}
	offset, err := img.offset(found.Addr, found.FileSize, "PT_DYNAMIC")
	if err != nil {
		return Segment{}, false, err
	}
	if offset != found.Offset {
		return Segment{}, false, malformed("PT_DYNAMIC is mapped from %d, not from %d as it says", offset, found.Offset)
	}
	return *found, true, nil
}

func (img *image) entries(s Segment) (entries, error) {
	dyn := entries{last: map[uint64]uint64{}}
	if s.FileSize/dynSize > maxDynamic {
		return dyn, malformed("dynamic section of %d bytes", s.FileSize)
	}
	raw, err := img.bytes(s.Offset, s.FileSize, "dynamic section")
	if err != nil {
		return dyn, err
	}
	for ; len(raw) >= dynSize; raw = raw[dynSize:] {
		tag, value := le.Uint64(raw), le.Uint64(raw[8:])
		switch tag {
		case tagNull:
			return dyn, nil
		case tagNeeded, tagAuxiliary, tagFilter:
			if dyn.lists = append(dyn.lists, entry{tag, value}); len(dyn.lists) > maxNeeded {
				return dyn, malformed("more than %d needed libraries", maxNeeded)
			}
		default:
			dyn.last[tag] = value
		}
	}
	return dyn, malformed("dynamic section without end")
}

// table of strings, with a budget for what is read from it: names may share
// bytes, and a hostile file could make every symbol share one huge name.
type stringTable struct {
	data   string
	budget *int
}

func (img *image) strings(dyn entries) (stringTable, error) {
	size := dyn.last[tagStrSize]
	if size > maxStrings {
		return stringTable{}, malformed("string table of %d bytes", size)
	}
	if size == 0 {
		return stringTable{budget: new(int)}, nil
	}
	data, err := img.text(dyn.last[tagStrTab], size, "DT_STRTAB")
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
	if *s.budget -= end + 1; *s.budget < 0 {
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
