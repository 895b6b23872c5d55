package seal

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	auditelf "ampoule/audit/elf"
	"ampoule/tree"
)

// icuData matches the library that is ICU's data; the number is the version, which all of its
// names have in them.
var icuData = regexp.MustCompile(`^lib/libicudata\.so\.([0-9]+)$`)

// lessICU leaves out of ICU's data what no file of a tree can ask for. It is 30 MB: languages,
// collations, time zones. Debian's libxml2, which lxml needs, calls ICU to convert encodings,
// which takes a sixth of that. What else could ask is looked at: if one file uses more of ICU
// than its converters, or the library is not of a known form, it is carried whole.
func lessICU(t *tree.Tree) (*tree.Tree, error) {
	at := slices.IndexFunc(t.Entries(), func(e tree.Entry) bool { return e.Owner == OwnerNative && icuData.MatchString(e.Path) })
	if at < 0 {
		return t, nil
	}
	library := t.Entries()[at]
	version := icuData.FindStringSubmatch(library.Path)[1]
	only, err := convertsOnly(t.Entries(), version)
	if err != nil || !only {
		return t, err
	}
	data, err := library.ReadAll()
	if err != nil {
		return nil, err
	}
	less, ok := withoutItems(data, "icudt"+version+"_dat", isConverter)
	if !ok {
		return t, nil
	}
	return t.With(library.Replace(less))
}

// isConverter reports whether an item of ICU's data is a conversion table, or the table of
// their names.
func isConverter(name string) bool {
	return strings.HasSuffix(name, ".cnv") || path.Base(name) == "cnvalias.icu"
}

// convertsOnly reports whether files use nothing of ICU but its converters, and of its
// libraries have the one with these and the data alone.
func convertsOnly(files []tree.Entry, version string) (bool, error) {
	common, data := "libicuuc.so."+version, "libicudata.so."+version
	offered := map[string]bool{}
	var users []tree.Entry
	for _, e := range files {
		isELF := false
		if e.Kind == tree.File {
			var err error
			if isELF, err = startsAsELF(e); err != nil {
				return false, err
			}
		}
		switch base := path.Base(e.Path); {
		case !isELF:
		case base == common || base == data:
			read, err := readELF(e)
			if err != nil {
				return false, err
			}
			for _, s := range read.Symbols {
				if s.Exported() {
					offered[s.Name] = true
				}
			}
		case strings.HasPrefix(base, "libicu"):
			return false, nil
		default:
			users = append(users, e)
		}
	}
	for _, e := range users {
		read, err := readELF(e)
		if err != nil {
			continue // the gate tells of it
		}
		if slices.ContainsFunc(read.Symbols, func(s auditelf.Symbol) bool {
			return !s.Defined && offered[s.Name] && !converts(strings.TrimSuffix(s.Name, "_"+version))
		}) {
			return false, nil
		}
	}
	return len(offered) > 0, nil
}

// converts reports whether a function of ICU asks for conversion tables alone (ucnv.h, ucnv_err.h).
func converts(function string) bool {
	return (strings.HasPrefix(function, "ucnv_") || strings.HasPrefix(function, "UCNV_")) && function != "ucnv_getDisplayName"
}

func readELF(e tree.Entry) (*auditelf.File, error) {
	data, err := e.ReadAll()
	if err != nil {
		return nil, err
	}
	read, err := auditelf.Read(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", e.Path, err)
	}
	return read, nil
}

// le is the byte order of what is read here.
var le = binary.LittleEndian

// withoutItems gives a library whose symbol is a package of ICU's data without the items that
// are not wanted. The package has a read-only section of its own, at the end of a segment;
// everything behind it moves up by whole pages. Ok is false of a library of another form.
func withoutItems(data []byte, symbol string, wanted func(name string) bool) (less []byte, ok bool) {
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil || f.Class != elf.ELFCLASS64 || f.ByteOrder != le {
		return nil, false
	}
	symbols, err := f.DynamicSymbols()
	at := slices.IndexFunc(symbols, func(s elf.Symbol) bool { return s.Name == symbol })
	table := f.Section(".dynsym")
	if err != nil || at < 0 || table == nil || int(symbols[at].Section) >= len(f.Sections) {
		return nil, false
	}
	c := cut{data: data, section: f.Sections[symbols[at].Section]}
	if c.section.Type != elf.SHT_PROGBITS || c.section.Addr != symbols[at].Value || !c.findSegment(f) {
		return nil, false
	}
	items, ok := packageWithout(data[c.section.Offset:c.end()], wanted)
	if !ok {
		return nil, false
	}
	c.shrink = (c.section.Size - uint64(len(items))) &^ (c.align - 1)
	less = slices.Concat(data[:c.section.Offset], items, make([]byte, c.section.Size-c.shrink-uint64(len(items))), data[c.end():])
	c.moveSegments(less)
	c.moveSections(less)
	// The null symbol is none of the list.
	const sizeOfSymbol, sizeAt = 24, 16
	le.PutUint64(less[table.Offset+uint64(at+1)*sizeOfSymbol+sizeAt:], c.section.Size-c.shrink)
	return less, c.shrink > 0
}

// cut is a library out of which a part of a section is taken.
type cut struct {
	data    []byte
	section *elf.Section
	// segment is the loaded one that the section ends, align the largest of all.
	segment elf.ProgHeader
	align   uint64
	// shrink is how much goes, in bytes: whole pages.
	shrink uint64
}

// end is the offset behind the section.
func (c *cut) end() uint64 { return c.section.Offset + c.section.Size }

// Offsets in the headers of 64-bit ELF files (System V ABI, "Object Files").
const (
	phoff, shoff             = 0x20, 0x28
	phentsize, phnum         = 0x36, 0x38
	shentsize, shnum         = 0x3a, 0x3c
	pOffset, pFilesz, pMemsz = 8, 32, 40
	shAddr, shOffset, shSize = 16, 24, 32
)

// findSegment finds the segment, and reports whether taking out of it is safe: behind the
// section it has zeros, such as the end of .eh_frame, and the headers of sections stand after it.
func (c *cut) findSegment(f *elf.File) bool {
	c.align = 1
	found := false
	for _, p := range f.Progs {
		from, to := p.Off, p.Off+p.Filesz
		switch {
		case p.Type == elf.PT_LOAD && from <= c.section.Offset && c.end() <= to && to <= uint64(len(c.data)):
			c.segment, found = p.ProgHeader, len(bytes.Trim(c.data[c.end():to], "\x00")) == 0 && p.Filesz == p.Memsz
		case from < c.end() && to > c.section.Offset:
			return false
		}
		if p.Type == elf.PT_LOAD {
			c.align = max(c.align, p.Align)
		}
	}
	return found && c.align&(c.align-1) == 0 && le.Uint64(c.data[phoff:]) < c.section.Offset && le.Uint64(c.data[shoff:]) >= c.end()
}

// moveSegments writes where segments are now. Their addresses stay.
func (c *cut) moveSegments(out []byte) {
	at, size := le.Uint64(out[phoff:]), uint64(le.Uint16(out[phentsize:]))
	for range le.Uint16(out[phnum:]) {
		header := out[at : at+size]
		switch offset := le.Uint64(header[pOffset:]); {
		case offset == c.segment.Off && le.Uint64(header[pFilesz:]) == c.segment.Filesz:
			lower(header[pFilesz:], c.shrink)
			lower(header[pMemsz:], c.shrink)
		case offset >= c.end():
			lower(header[pOffset:], c.shrink)
		}
		at += size
	}
}

// moveSections writes where sections are now: those behind the one that was cut, in its
// segment, have another address, too.
func (c *cut) moveSections(out []byte) {
	lower(out[shoff:], c.shrink)
	at, size := le.Uint64(out[shoff:]), uint64(le.Uint16(out[shentsize:]))
	for range le.Uint16(out[shnum:]) {
		header := out[at : at+size]
		switch offset, addr := le.Uint64(header[shOffset:]), le.Uint64(header[shAddr:]); {
		case offset == c.section.Offset && addr == c.section.Addr:
			lower(header[shSize:], c.shrink)
		case offset >= c.end():
			lower(header[shOffset:], c.shrink)
			if addr > c.section.Addr && addr < c.segment.Vaddr+c.segment.Memsz {
				lower(header[shAddr:], c.shrink)
			}
		}
		at += size
	}
}

// lower subtracts from a number in a header.
func lower(field []byte, by uint64) { le.PutUint64(field, le.Uint64(field)-by) }

// packageWithout gives a package of ICU's data without the items that are not wanted (ICU's
// udatamem and ucmndata: a header, then a table of names and offsets from the table's start,
// sorted by name, then the items in that order, each at a multiple of 16).
func packageWithout(data []byte, wanted func(name string) bool) ([]byte, bool) {
	const magic, format, alignment = "\xda\x27", "CmnD", 16
	if len(data) < 32 || string(data[2:4]) != magic || data[8] != 0 || string(data[12:16]) != format {
		return nil, false
	}
	header := int(le.Uint16(data))
	if header%alignment != 0 || header+4 > len(data) {
		return nil, false
	}
	table := data[header:]
	items, ok := itemsOf(table)
	if !ok {
		return nil, false
	}
	kept := slices.DeleteFunc(items, func(i item) bool { return !wanted(i.name) })
	out := le.AppendUint32(slices.Clone(data[:header]), uint32(len(kept)))
	var names, contents []byte
	named := 4 + 8*len(kept)
	for _, i := range kept {
		names = append(append(names, i.name...), 0)
	}
	begin := named + len(names)
	begin += -begin & (alignment - 1)
	at := named
	for _, i := range kept {
		out = le.AppendUint32(le.AppendUint32(out, uint32(at)), uint32(begin+len(contents)))
		at += len(i.name) + 1
		contents = append(contents, i.data...)
		contents = append(contents, make([]byte, -len(contents)&(alignment-1))...)
	}
	out = append(out, names...)
	out = append(out, make([]byte, header+begin-len(out))...)
	out = append(out, contents...)
	return out, len(kept) > 0 && len(out) < len(data)
}

// maxItemName is above the longest name of an item, in bytes.
const maxItemName = 256

// item is one of a package of ICU's data.
type item struct {
	name string
	data []byte
}

// itemsOf reads the items of a package from its table of contents on.
func itemsOf(table []byte) ([]item, bool) {
	n := int(le.Uint32(table))
	if n <= 0 || n > (len(table)-4)/8 {
		return nil, false
	}
	items := make([]item, n)
	end := len(table)
	for i := n - 1; i >= 0; i-- {
		name, at := int(le.Uint32(table[4+8*i:])), int(le.Uint32(table[8+8*i:]))
		if name >= len(table) || at > end {
			return nil, false
		}
		text, _, ok := bytes.Cut(table[name:min(len(table), name+maxItemName)], []byte{0})
		if !ok {
			return nil, false
		}
		items[i], end = item{string(text), table[at:end]}, at
	}
	return items, true
}
