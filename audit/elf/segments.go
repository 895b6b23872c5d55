package elf

import (
	"bytes"
)

// The sizes of 64-bit structures, in bytes.
const (
	headerSize  = 64
	segmentSize = 56
	dynSize     = 16
	symbolSize  = 24
	relaSize    = 24
)

// Limits that no real file comes near.
const (
	maxSegments = 1024
	maxInterp   = 4096
)

// SegmentType is p_type.
type SegmentType uint32

// The segment types that are told apart.
const (
	Load        SegmentType = 1
	DynamicSeg  SegmentType = 2
	Interp      SegmentType = 3
	NoteSeg     SegmentType = 4
	GNUEHFrame  SegmentType = 0x6474e550
	GNUStack    SegmentType = 0x6474e551
	GNURelro    SegmentType = 0x6474e552
	GNUProperty SegmentType = 0x6474e553
	HeadersSeg  SegmentType = 6
	TLSSeg      SegmentType = 7
)

// Segment is a program header.
type Segment struct {
	Type SegmentType
	// Flags is p_flags: 1 executable, 2 writable, 4 readable.
	Flags uint32
	// Offset and FileSize are where the file has it, Addr and MemSize where memory has it.
	Offset, FileSize, Addr, MemSize uint64
	// Align is p_align.
	Align uint64
}

// table is where the program headers are.
type table struct {
	offset uint64
	count  int
}

// header reads the file header.
func (img *image) header(h *Header) (table, error) {
	ident, err := img.bytes(0, min(img.size, headerSize), "file header")
	if err != nil {
		return table{}, err
	}
	if len(ident) < 20 || string(ident[:4]) != Magic {
		return table{}, malformed("no ELF header")
	}
	h.Class, h.Order = Class(ident[4]), Order(ident[5])
	if h.Class != Class32 && h.Class != Class64 || h.Order != LittleEndian && h.Order != BigEndian || ident[6] != 1 {
		return table{}, malformed("class %d, byte order %d, version %d", ident[4], ident[5], ident[6])
	}
	half := le.Uint16
	if h.Order == BigEndian {
		half = func(b []byte) uint16 { return uint16(b[0])<<8 | uint16(b[1]) }
	}
	h.Type, h.Machine = Type(half(ident[16:])), Machine(half(ident[18:]))
	h.OSABI, h.ABIVersion = ident[7], ident[8]
	h.Padded = !bytes.Equal(ident[9:16], make([]byte, 7))
	if h.Class != Class64 || h.Order != LittleEndian {
		return table{}, unsupportedError{*h}
	}
	if len(ident) < headerSize {
		return table{}, malformed("file header of %d bytes", len(ident))
	}
	h.Version, h.MachineFlags = le.Uint32(ident[20:]), le.Uint32(ident[48:])
	t := table{offset: le.Uint64(ident[32:]), count: int(le.Uint16(ident[56:]))}
	if t.count > maxSegments {
		return table{}, malformed("%d program headers", t.count)
	}
	if entry := le.Uint16(ident[54:]); t.count > 0 && entry != segmentSize {
		return table{}, malformed("program headers of %d bytes", entry)
	}
	return t, nil
}

// unsupportedError wraps ErrUnsupported.
type unsupportedError struct{ h Header }

func (e unsupportedError) Error() string {
	return ErrUnsupported.Error() + ": " + e.h.String() + "; only 64-bit little-endian files are read"
}

func (e unsupportedError) Unwrap() error { return ErrUnsupported }

// segments reads the program headers. Loaded segments must be in the file, but for the
// rest of a page, in ascending order and apart, as gABI demands: overlapping ones would
// let the loader see other bytes than this reader.
func (img *image) segments(t table) ([]Segment, error) {
	raw, err := img.bytes(t.offset, uint64(t.count)*segmentSize, "program headers")
	if err != nil {
		return nil, err
	}
	list := make([]Segment, t.count)
	for i := range list {
		b := raw[i*segmentSize:]
		s := Segment{
			Type: SegmentType(le.Uint32(b)), Flags: le.Uint32(b[4:]),
			Offset: le.Uint64(b[8:]), Addr: le.Uint64(b[16:]),
			FileSize: le.Uint64(b[32:]), MemSize: le.Uint64(b[40:]), Align: le.Uint64(b[48:]),
		}
		list[i] = s
		if s.Type == Load {
			if err := img.addLoad(s); err != nil {
				return nil, err
			}
		}
	}
	return list, nil
}

func (img *image) addLoad(s Segment) error {
	// The kernel maps whole pages, and reads what lies behind the end of the file in its last
	// page as zeros. Pages behind that cannot be touched.
	if end := pageUp(img.size); s.Offset > end || s.FileSize > end-s.Offset {
		return malformed("segment of %d bytes at %d in a file of %d", s.FileSize, s.Offset, img.size)
	}
	if size := max(s.FileSize, s.MemSize); s.Addr+size < s.Addr || s.Addr+size > 1<<63 {
		return malformed("segment of %d bytes at address %#x, %d of them in the file", s.MemSize, s.Addr, s.FileSize)
	}
	if n := len(img.loads); n > 0 && s.Addr < img.loads[n-1].Addr+img.loads[n-1].MemSize {
		return malformed("segment at address %#x overlaps or precedes the one before it", s.Addr)
	}
	img.loads = append(img.loads, s)
	return nil
}

// interp reads PT_INTERP, which only the kernel looks at, of programs.
func (img *image) interp(f *File) error {
	for _, s := range f.Segments {
		if s.Type != Interp {
			continue
		}
		if s.FileSize > maxInterp {
			return malformed("PT_INTERP of %d bytes", s.FileSize)
		}
		b, err := img.bytes(s.Offset, s.FileSize, "PT_INTERP")
		if err != nil {
			return err
		}
		name, _, ok := bytes.Cut(b, []byte{0})
		if !ok {
			return malformed("PT_INTERP without end")
		}
		f.Interp = string(name)
	}
	return nil
}
