// Package stub makes shared libraries with which a program can be loaded, and not run:
// they stand for those that only the machine of a deployment has, such as a driver's.
//
// The format is that of the System V ABI (gABI chapter 5, psABI for x86-64), symbol
// versions that of the Linux Standard Base (LSB Core 5.0, 10.7).
package stub

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"slices"

	"ampoule/audit"
)

// Sizes of what the format has no constant for, in bytes.
const (
	headerSize  = 64
	programSize = 56
	symbolSize  = 24
	dynamicSize = 16
	verdefSize  = 20
	verdauxSize = 8
)

// hash is what [elf.DT_HASH] and versions use (gABI, "Hash Table").
func hash(name string) uint32 {
	var h uint32
	for _, c := range []byte(name) {
		h = h<<4 + uint32(c)
		high := h & 0xf0000000
		h ^= high >> 24
		h &^= high
	}
	return h
}

// Library returns a library for x86-64 with that name, which defines the symbols. Their
// addresses are not executable: a call of one ends by SIGSEGV.
func Library(soname string, symbols []audit.HostSymbol) []byte {
	l := newLibrary(soname, symbols)
	var file layout
	file.at = headerSize + 3*programSize
	hashAt := file.place(l.hashTable())
	symbolsAt := file.place(l.symbolTable())
	stringsAt := file.place(l.strings.data)
	tags := []uint64{
		uint64(elf.DT_SONAME), l.strings.add(soname),
		uint64(elf.DT_HASH), hashAt, uint64(elf.DT_SYMTAB), symbolsAt, uint64(elf.DT_SYMENT), symbolSize,
		uint64(elf.DT_STRTAB), stringsAt, uint64(elf.DT_STRSZ), uint64(len(l.strings.data)),
	}
	if len(l.versions) > 1 {
		tags = append(tags, uint64(elf.DT_VERSYM), file.place(l.versionTable()),
			uint64(elf.DT_VERDEF), file.place(l.definitions()), uint64(elf.DT_VERDEFNUM), uint64(len(l.versions)))
	}
	dynamic := encode(append(tags, uint64(elf.DT_NULL), 0))
	dynamicAt := file.place(dynamic)

	var out bytes.Buffer
	write(&out, elf.Header64{
		Ident: [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
		Type:  uint16(elf.ET_DYN), Machine: uint16(elf.EM_X86_64), Version: uint32(elf.EV_CURRENT),
		Phoff: headerSize, Ehsize: headerSize, Phentsize: programSize, Phnum: 3,
	})
	// The loader writes into the dynamic section of a library: all is writable.
	access := uint32(elf.PF_R | elf.PF_W)
	write(&out, elf.Prog64{Type: uint32(elf.PT_LOAD), Flags: access, Filesz: file.at, Memsz: file.at, Align: 0x1000})
	write(&out, elf.Prog64{
		Type: uint32(elf.PT_DYNAMIC), Flags: access, Off: dynamicAt, Vaddr: dynamicAt, Paddr: dynamicAt,
		Filesz: uint64(len(dynamic)), Memsz: uint64(len(dynamic)), Align: 8,
	})
	// Without it the process would get an executable stack.
	write(&out, elf.Prog64{Type: uint32(elf.PT_GNU_STACK), Flags: access, Align: 16})
	out.Write(file.data)
	return out.Bytes()
}

// library is what the tables are made of.
type library struct {
	symbols []audit.HostSymbol
	// versions are those of the symbols behind the library's own, which is its name. Their
	// numbers in the tables begin with 1.
	versions []string
	strings  table
}

func newLibrary(soname string, symbols []audit.HostSymbol) *library {
	l := &library{symbols: symbols, versions: []string{soname}, strings: table{data: []byte{0}}}
	l.strings.add(soname)
	for _, s := range symbols {
		l.strings.add(s.Name)
		if s.Version != "" && !slices.Contains(l.versions, s.Version) {
			l.versions = append(l.versions, s.Version)
			l.strings.add(s.Version)
		}
	}
	return l
}

// symbolTable begins with the symbol that stands for none.
func (l *library) symbolTable() []byte {
	var out bytes.Buffer
	write(&out, elf.Sym64{})
	for _, s := range l.symbols {
		write(&out, elf.Sym64{
			Name: uint32(l.strings.add(s.Name)), Info: elf.ST_INFO(elf.STB_GLOBAL, elf.STT_FUNC),
			// No section is there to be named: any number but that of undefined symbols will do.
			Shndx: 1, Value: headerSize,
		})
	}
	return out.Bytes()
}

// hashTable has as many chains as there are symbols.
func (l *library) hashTable() []byte {
	n := uint32(len(l.symbols)) + 1
	buckets, chains := make([]uint32, n), make([]uint32, n)
	for i, s := range l.symbols {
		bucket := hash(s.Name) % n
		chains[i+1], buckets[bucket] = buckets[bucket], uint32(i)+1
	}
	return encode(append(append([]uint32{n, n}, buckets...), chains...))
}

// versionTable has the number of each symbol's version.
func (l *library) versionTable() []byte {
	numbers := []uint16{0}
	for _, s := range l.symbols {
		numbers = append(numbers, uint16(1+max(0, slices.Index(l.versions, s.Version))))
	}
	return encode(numbers)
}

// definitions are Elfxx_Verdef structures, each with its Elfxx_Verdaux.
func (l *library) definitions() []byte {
	const base = 1 // VER_FLG_BASE
	var out bytes.Buffer
	for i, name := range l.versions {
		var flags uint16
		next := uint32(verdefSize + verdauxSize)
		if i == 0 {
			flags = base
		}
		if i == len(l.versions)-1 {
			next = 0
		}
		write(&out, []uint16{1, flags, uint16(i) + 1, 1})
		write(&out, []uint32{hash(name), verdefSize, next, uint32(l.strings.add(name)), 0})
	}
	return out.Bytes()
}

// table holds texts that end with a zero byte.
type table struct{ data []byte }

// add returns where a text is in the table.
func (t *table) add(text string) uint64 {
	ended := append([]byte(text), 0)
	if at := bytes.Index(t.data, ended); at >= 0 {
		return uint64(at)
	}
	t.data = append(t.data, ended...)
	return uint64(len(t.data) - len(ended))
}

// layout lays out what follows the headers. File offsets are addresses.
type layout struct {
	data []byte
	at   uint64
}

// place puts a part at the next multiple of 8 bytes, and returns where that is.
func (l *layout) place(part []byte) (at uint64) {
	at = l.at
	l.data = append(l.data, part...)
	l.data = append(l.data, make([]byte, -len(part)&7)...)
	l.at += uint64(len(part)+7) &^ 7
	return at
}

func encode(v any) []byte {
	var out bytes.Buffer
	write(&out, v)
	return out.Bytes()
}

// write writes a value of fixed size: that cannot fail.
func write(out *bytes.Buffer, v any) {
	if err := binary.Write(out, binary.LittleEndian, v); err != nil {
		panic(err)
	}
}
