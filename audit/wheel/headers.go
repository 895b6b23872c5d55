package wheel

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// The signatures and sizes of a zip's records (APPNOTE 6.3.9, 4.3.7 to 4.3.16).
const (
	localSignature     = "PK\x03\x04"
	directorySignature = "PK\x01\x02"
	endSignature       = "PK\x05\x06"
	end64Signature     = "PK\x06\x06"
	locSignature       = "PK\x06\x07"

	localSize     = 30
	directorySize = 46
	endSize       = 22
	end64Size     = 56
	locSize       = 20
	maxComment    = 1<<16 - 1
)

// Extra fields of members (APPNOTE 4.5.3, 4.6.9).
const (
	extra64   = 0x0001
	extraPath = 0x7075
)

// Bits of a member's flags (APPNOTE 4.4.4). A refused one says that the content is
// encrypted or a patch, or that the names are.
const (
	flagDescriptor = 1 << 3
	flagUTF8       = 1 << 11
	flagsRefused   = 1<<0 | 1<<5 | 1<<6 | 1<<13
)

// in32 stands where a number of 32 bits is in an extra field, with 64.
const in32 = 1<<32 - 1

func unsound(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrArchive}, args...)...)
}

// directory is where a zip's central directory stands, and how many members it says that
// it has.
type directory struct {
	offset, size int64
	members      uint64
}

// findDirectory reads the end records. The directory must end where they begin and the
// file where they end: programs that look for either in other ways then find the same.
func findDirectory(r io.ReaderAt, size int64) (directory, error) {
	tail := make([]byte, min(size, endSize+maxComment+locSize))
	if _, err := r.ReadAt(tail, size-int64(len(tail))); err != nil && !errors.Is(err, io.EOF) {
		return directory{}, fmt.Errorf("reading wheel file: %w", err)
	}
	i := bytes.LastIndex(tail, []byte(endSignature))
	if i < 0 || len(tail)-i < endSize {
		return directory{}, unsound("no end of central directory")
	}
	end := tail[i:]
	if int(binary.LittleEndian.Uint16(end[20:])) != len(end)-endSize {
		return directory{}, unsound("there is something behind the end of the central directory")
	}
	d := directory{
		offset:  int64(binary.LittleEndian.Uint32(end[16:])),
		size:    int64(binary.LittleEndian.Uint32(end[12:])),
		members: uint64(binary.LittleEndian.Uint16(end[10:])),
	}
	at := size - int64(len(end))
	if i >= locSize && string(tail[i-locSize:i-locSize+4]) == locSignature {
		wide, start, err := directory64(r, tail[i-locSize:i], at-locSize)
		if err != nil {
			return directory{}, err
		}
		if !agree(d.offset, wide.offset, in32) || !agree(d.size, wide.size, in32) || !agree(int64(d.members), int64(wide.members), 1<<16-1) {
			return directory{}, unsound("the end of the central directory and its ZIP64 form disagree")
		}
		d, at = wide, start
	}
	if d.offset < 0 || d.size < 0 || d.offset > at || d.size != at-d.offset {
		return directory{}, unsound("directory of %d bytes at %d, which does not end where its end records begin", d.size, d.offset)
	}
	return d, nil
}

// agree reports whether a field says what the wider one of another record says, or that
// it is there.
func agree(narrow, wide, deferred int64) bool { return narrow == wide || narrow == deferred }

// directory64 reads the ZIP64 end record that a locator at a place names. It stands
// right before the locator.
func directory64(r io.ReaderAt, locator []byte, at int64) (directory, int64, error) {
	start := at - end64Size
	if start < 0 || binary.LittleEndian.Uint64(locator[8:]) != uint64(start) {
		return directory{}, 0, unsound("no ZIP64 end right before its locator")
	}
	record := make([]byte, end64Size)
	if _, err := r.ReadAt(record, start); err != nil || string(record[:4]) != end64Signature ||
		binary.LittleEndian.Uint64(record[4:]) != end64Size-12 {
		return directory{}, 0, unsound("no ZIP64 end at %d", start)
	}
	return directory{
		offset:  int64(binary.LittleEndian.Uint64(record[48:])),
		size:    int64(binary.LittleEndian.Uint64(record[40:])),
		members: binary.LittleEndian.Uint64(record[32:]),
	}, start, nil
}

// header is what one of its headers says of a member.
type header struct {
	name                     string
	flags, method            uint16
	crc                      uint32
	compressed, size, offset uint64
	extra                    []byte
}

// checkHeaders compares the central directory, by which installers read a wheel, with the
// headers before the members, by which others read it as a stream: they must say the
// same. The members must fill the file from its beginning to the directory, one behind
// the other: nothing is in it that one way of reading finds and another does not, and no
// two share bytes, which is how small files unpack to endless ones.
func checkHeaders(r io.ReaderAt, d directory) error {
	data := make([]byte, d.size)
	if _, err := r.ReadAt(data, d.offset); err != nil {
		return fmt.Errorf("reading wheel file: %w", err)
	}
	var headers []header
	for len(data) > 0 {
		h, rest, err := directoryHeader(data)
		if err != nil {
			return err
		}
		headers, data = append(headers, h), rest
	}
	if uint64(len(headers)) != d.members {
		return unsound("a directory of %d members says that it has %d", len(headers), d.members)
	}
	slices.SortFunc(headers, func(a, b header) int { return cmp.Compare(a.offset, b.offset) })
	at := uint64(0)
	for i, h := range headers {
		if h.offset != at {
			return unsound("%q begins at %d, and what stands before it ends at %d: members share bytes, or bytes belong to none", h.name, h.offset, at)
		}
		next := uint64(d.offset)
		if i+1 < len(headers) {
			next = headers[i+1].offset
		}
		end, err := checkLocal(r, h, next)
		if err != nil {
			return err
		}
		at = end
	}
	if at != uint64(d.offset) {
		return unsound("the members end at %d, and the directory begins at %d", at, d.offset)
	}
	return nil
}

// directoryHeader reads the first header of a central directory.
func directoryHeader(data []byte) (header, []byte, error) {
	if len(data) < directorySize || string(data[:4]) != directorySignature {
		return header{}, nil, unsound("no header where the central directory has one")
	}
	names, extras, comments := int(binary.LittleEndian.Uint16(data[28:])), int(binary.LittleEndian.Uint16(data[30:])), int(binary.LittleEndian.Uint16(data[32:]))
	end := directorySize + names + extras + comments
	if len(data) < end {
		return header{}, nil, unsound("the central directory is cut")
	}
	h := header{
		name:  string(data[directorySize : directorySize+names]),
		flags: binary.LittleEndian.Uint16(data[8:]), method: binary.LittleEndian.Uint16(data[10:]),
		crc:        binary.LittleEndian.Uint32(data[16:]),
		compressed: uint64(binary.LittleEndian.Uint32(data[20:])), size: uint64(binary.LittleEndian.Uint32(data[24:])),
		offset: uint64(binary.LittleEndian.Uint32(data[42:])),
		extra:  data[directorySize+names : directorySize+names+extras],
	}
	if err := widen(&h, &h.size, &h.compressed, &h.offset); err != nil {
		return header{}, nil, err
	}
	return h, data[end:], checkForm(h)
}

// checkForm refuses what readers of zip files understand in several ways, or not at all.
func checkForm(h header) error {
	switch {
	case h.flags&flagsRefused != 0:
		return unsound("%q is encrypted, or a patch", h.name)
	case h.method != 0 && h.method != 8:
		return unsound("%q is compressed by method %d: wheels have stored and deflated members", h.name, h.method)
	case h.flags&flagUTF8 != 0 && !utf8.ValidString(h.name), h.flags&flagUTF8 == 0 && strings.ContainsFunc(h.name, func(r rune) bool { return r > 0x7f }):
		return unsound("the name %q is not UTF-8, or does not say so", h.name)
	case strings.HasSuffix(h.name, "/") && (h.size != 0 || h.compressed != 0 && h.method == 0):
		return unsound("%q is a directory with content", h.name)
	}
	_, two, err := extraField(h.extra, extraPath)
	if err == nil && two {
		return unsound("%q has a second name", h.name)
	}
	return err
}

// widen fills in those of a member's numbers that are in its ZIP64 field.
func widen(h *header, numbers ...*uint64) error {
	field, there, err := extraField(h.extra, extra64)
	if err != nil {
		return err
	}
	for _, n := range numbers {
		if *n != in32 || !there {
			continue
		}
		if len(field) < 8 {
			return unsound("%q has a ZIP64 field that is cut", h.name)
		}
		*n, field = binary.LittleEndian.Uint64(field), field[8:]
	}
	return nil
}

// extraField finds the extra field of a kind. Two of a kind are an error, and so is one
// that is longer than what is there.
func extraField(extra []byte, kind uint16) (field []byte, found bool, err error) {
	for len(extra) >= 4 {
		n := int(binary.LittleEndian.Uint16(extra[2:]))
		if n > len(extra)-4 {
			return nil, false, unsound("an extra field is cut")
		}
		if binary.LittleEndian.Uint16(extra) == kind {
			if found {
				return nil, false, unsound("two extra fields %#04x", kind)
			}
			field, found = extra[4:4+n], true
		}
		extra = extra[4+n:]
	}
	return field, found, nil
}

// checkLocal compares the header before a member with the directory's, and returns where
// the member ends. What comes next, at a place, tells how long its data descriptor is.
func checkLocal(r io.ReaderAt, h header, next uint64) (uint64, error) {
	fixed := make([]byte, localSize)
	if _, err := r.ReadAt(fixed, int64(h.offset)); err != nil || string(fixed[:4]) != localSignature {
		return 0, unsound("no header before %q", h.name)
	}
	names, extras := int(binary.LittleEndian.Uint16(fixed[26:])), int(binary.LittleEndian.Uint16(fixed[28:]))
	rest := make([]byte, names+extras)
	if _, err := r.ReadAt(rest, int64(h.offset)+localSize); err != nil {
		return 0, unsound("no header before %q", h.name)
	}
	local := header{
		name:  string(rest[:names]),
		flags: binary.LittleEndian.Uint16(fixed[6:]), method: binary.LittleEndian.Uint16(fixed[8:]),
		crc:        binary.LittleEndian.Uint32(fixed[14:]),
		compressed: uint64(binary.LittleEndian.Uint32(fixed[18:])), size: uint64(binary.LittleEndian.Uint32(fixed[22:])),
		extra: rest[names:],
	}
	if err := widen(&local, &local.size, &local.compressed); err != nil {
		return 0, err
	}
	later := h.flags&flagDescriptor != 0
	same := func(local, directory uint64) bool { return local == directory || later && local == 0 }
	if local.name != h.name || local.flags != h.flags || local.method != h.method ||
		!same(uint64(local.crc), uint64(h.crc)) || !same(local.compressed, h.compressed) || !same(local.size, h.size) {
		return 0, unsound("the header before %q and the directory disagree (%q)", h.name, local.name)
	}
	end := h.offset + localSize + uint64(names+extras) + h.compressed
	if end < h.offset || end > next {
		return 0, unsound("%q is longer than its place: members share bytes", h.name)
	}
	if later {
		return checkDescriptor(r, h, end, next)
	}
	return end, nil
}

// descriptor begins a data descriptor (APPNOTE 4.3.9), if its writer put that there.
const descriptor = "PK\x07\x08"

// checkDescriptor compares the numbers behind a member with the directory's.
func checkDescriptor(r io.ReaderAt, h header, at, next uint64) (uint64, error) {
	n := next - at
	if n != 12 && n != 16 && n != 20 && n != 24 {
		return 0, unsound("no data descriptor behind %q", h.name)
	}
	data := make([]byte, n)
	if _, err := r.ReadAt(data, int64(at)); err != nil {
		return 0, fmt.Errorf("reading wheel file: %w", err)
	}
	if n == 16 || n == 24 {
		if string(data[:4]) != descriptor {
			return 0, unsound("no data descriptor behind %q", h.name)
		}
		data = data[4:]
	}
	compressed, size := uint64(binary.LittleEndian.Uint32(data[4:])), uint64(binary.LittleEndian.Uint32(data[len(data)-4:]))
	if len(data) == 20 {
		compressed, size = binary.LittleEndian.Uint64(data[4:]), binary.LittleEndian.Uint64(data[12:])
	}
	if binary.LittleEndian.Uint32(data) != h.crc || compressed != h.compressed || size != h.size {
		return 0, unsound("the data descriptor behind %q and the directory disagree", h.name)
	}
	return next, nil
}
