// Package elf reads of ELF files what the dynamic loader acts on: the segments,
// the dynamic section, dynamic symbols, symbol versions and notes.
//
// It goes by program headers only. Section headers may be stripped or lie while
// the loader still honours DT_NEEDED, so they are never looked at. Sizes, counts
// and offsets are checked against the file before anything is allocated: absurd
// values are errors wrapping [ErrFormat], never panics. Sources: the System V gABI,
// chapters 4 and 5, its GNU extensions in the Linux Standard Base 5.0, chapter
// 11, and, where they are silent, what glibc's elf/dl-load.c does.
package elf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Magic is what every ELF file starts with.
const Magic = "\x7fELF"

// ErrFormat is wrapped by errors about files that are not sound ELF files.
var ErrFormat = errors.New("malformed ELF file")

// ErrUnsupported is wrapped by errors about sound headers of a class or byte
// order that this package does not read further.
var ErrUnsupported = errors.New("unsupported ELF file")

// Class is EI_CLASS.
type Class uint8

// The classes.
const (
	Class32 Class = 1
	Class64 Class = 2
)

func (c Class) String() string {
	switch c {
	case Class32:
		return "32-bit"
	case Class64:
		return "64-bit"
	}
	return fmt.Sprintf("class %d", uint8(c))
}

// Order is EI_DATA.
type Order uint8

// The byte orders.
const (
	LittleEndian Order = 1
	BigEndian    Order = 2
)

func (o Order) String() string {
	switch o {
	case LittleEndian:
		return "little-endian"
	case BigEndian:
		return "big-endian"
	}
	return fmt.Sprintf("byte order %d", uint8(o))
}

// Type is e_type.
type Type uint16

// The types that are told apart.
const (
	Relocatable Type = 1
	Executable  Type = 2
	Shared      Type = 3
	Core        Type = 4
)

// Machine is e_machine.
type Machine uint16

// The machines that have a name here.
const (
	X86     Machine = 3
	ARM     Machine = 40
	X8664   Machine = 62
	AArch64 Machine = 183
	RISCV   Machine = 243
)

func (m Machine) String() string {
	switch m {
	case X86:
		return "i386"
	case ARM:
		return "arm"
	case X8664:
		return "x86-64"
	case AArch64:
		return "aarch64"
	case RISCV:
		return "riscv"
	}
	return fmt.Sprintf("machine %d", uint16(m))
}

// Header identifies a file.
type Header struct {
	Class   Class
	Order   Order
	Type    Type
	Machine Machine
	// MachineFlags is e_flags.
	MachineFlags uint32
	// OSABI and ABIVersion are EI_OSABI and EI_ABIVERSION, Version is e_version.
	OSABI, ABIVersion uint8
	Version           uint32
	// Padded says that bytes of e_ident that must be zero are not.
	Padded bool
}

func (h Header) String() string { return fmt.Sprintf("%s %s %s", h.Class, h.Order, h.Machine) }

// File is what was read of one ELF file.
type File struct {
	Header
	// Segments are the program headers, in order.
	Segments []Segment
	// Interp is PT_INTERP's path; empty without one.
	Interp string
	// Dynamic says that there is a dynamic section.
	Dynamic bool
	Linking
	Tables
	// Symbols are the dynamic symbols, without the null symbol.
	Symbols []Symbol
	// Needs are the versions required of other files (DT_VERNEED).
	Needs []Need
	// Defines are the names of the versions defined here (DT_VERDEF), the base
	// version, which is the file's own name, left out.
	Defines []string
	// Notes are the PT_NOTE entries, as far as they can be read: the loader passes over
	// others.
	Notes []Note
}

// IsExecutable tells executables, position-independent ones too, from libraries.
func (f *File) IsExecutable() bool {
	if f.Type == Executable {
		return true
	}
	return f.Type == Shared && (f.Flags1&Flag1PIE != 0 || f.Interp != "" && f.Soname == "")
}

// le is the byte order of every file that is read beyond its header.
var le = binary.LittleEndian

// image is a file with its segments.
type image struct {
	r     io.ReaderAt
	size  uint64
	loads []Segment
	// each, if it is not nil, is given the symbols instead of the file.
	each func(Symbol)
}

// Read reads an ELF file of size bytes. Files of another class than 64-bit or
// another byte order than little-endian give their header and an error wrapping
// [ErrUnsupported]; unsound ones an error wrapping [ErrFormat].
func Read(r io.ReaderAt, size int64) (*File, error) { return ReadEach(r, size, nil) }

// ReadEach is [Read], but hands the symbols to a function, one by one, and keeps none of
// them. Whoever keeps a part of a symbol's text must clone it: it is one of the file's table.
func ReadEach(r io.ReaderAt, size int64, each func(Symbol)) (*File, error) {
	if size < 0 {
		return nil, malformed("negative size")
	}
	img := &image{r: r, size: uint64(size), each: each}
	f := &File{}
	table, err := img.header(&f.Header)
	if err != nil {
		return f, err
	}
	if f.Segments, err = img.segments(table); err != nil {
		return f, err
	}
	noInterp := img.interp(f)
	f.Notes = img.notes(f.Segments)
	if err := img.dynamic(f); err != nil {
		return f, err
	}
	if !f.IsExecutable() && errors.Is(noInterp, ErrFormat) {
		noInterp = nil // the loader does not look at a library's
	}
	return f, noInterp
}

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrFormat, fmt.Sprintf(format, args...))
}

// bytes reads n bytes at a file offset.
func (img *image) bytes(offset, n uint64, what string) ([]byte, error) {
	if offset > img.size || n > img.size-offset {
		return nil, malformed("%s: %d bytes at %d in a file of %d", what, n, offset, img.size)
	}
	buf := make([]byte, n)
	if _, err := io.ReadFull(io.NewSectionReader(img.r, int64(offset), int64(n)), buf); err != nil {
		return nil, fmt.Errorf("reading %s: %w", what, err)
	}
	return buf, nil
}

// pageSize is the smallest that a machine of those that Linux knows here has, in bytes.
const pageSize = 4096

// pageUp is the end of the page that an address or offset ends in.
func pageUp(n uint64) uint64 { return (n + pageSize - 1) &^ (pageSize - 1) }

// segmentAt finds the segment whose pages hold an address: the loader maps whole pages, and
// each segment over those before it.
func (img *image) segmentAt(addr uint64) (Segment, bool) {
	for i := len(img.loads) - 1; i >= 0; i-- {
		s := img.loads[i]
		if addr >= s.Addr&^(pageSize-1) && addr < s.fileEnd() {
			return s, true
		}
	}
	return Segment{}, false
}

// fileEnd is the address up to which a segment's memory comes from the file: the rest of
// the last page does, too, unless the loader clears it for what is not in the file.
func (s Segment) fileEnd() uint64 {
	if s.MemSize > s.FileSize {
		return s.Addr + s.FileSize
	}
	return pageUp(s.Addr + s.FileSize)
}

// offset finds where the file holds the n bytes that are mapped at an address.
func (img *image) offset(addr, n uint64, what string) (uint64, error) {
	s, ok := img.segmentAt(addr)
	switch at := s.Offset + addr - s.Addr; {
	case !ok || n > s.fileEnd()-addr:
	case addr < s.Addr && s.Addr-addr > s.Offset: // before the file's start
	default:
		return at, nil
	}
	return 0, malformed("%s: no segment of the file holds %d bytes at address %#x", what, n, addr)
}

// mapped reads the n bytes that are mapped at an address.
func (img *image) mapped(addr, n uint64, what string) ([]byte, error) {
	offset, err := img.offset(addr, n, what)
	if err != nil {
		return nil, err
	}
	return img.bytes(offset, n, what)
}

// rest returns how many bytes of the file are mapped from an address to the end
// of its segment.
func (img *image) rest(addr uint64) uint64 {
	s, ok := img.segmentAt(addr)
	if !ok {
		return 0
	}
	at, err := img.offset(addr, 0, "")
	if err != nil || at > img.size {
		return 0
	}
	return min(s.fileEnd()-addr, img.size-at)
}
