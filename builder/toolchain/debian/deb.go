package debian

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
	"github.com/ulikunitz/xz/lzma"
)

// The bounds of a binary package's control part.
const (
	maxControlArchive = 64 << 20
	maxControlMembers = 4096
	maxControl        = 1 << 20
	maxArMembers      = 16
)

const arMagic = "!<arch>\n"

// Control returns the control stanza of a binary package (deb(5)): an ar archive
// of debian-binary, control.tar with or without compression, and data.tar, which
// is not read.
func Control(r io.Reader) (Stanza, error) {
	name, member, err := controlMember(r)
	if err != nil {
		return nil, fmt.Errorf("reading package: %w", err)
	}
	unpacked, closer, err := decompress(name, member)
	if err != nil {
		return nil, fmt.Errorf("reading package: %s: %w", name, err)
	}
	defer closer()
	data, err := controlFile(io.LimitReader(unpacked, maxControlArchive))
	if err != nil {
		return nil, fmt.Errorf("reading package: %s: %w", name, err)
	}
	return oneStanza(data)
}

// oneStanza reads control data that has exactly one stanza.
func oneStanza(data []byte) (Stanza, error) {
	var found []Stanza
	err := Stanzas(bytes.NewReader(data), func(s Stanza) error {
		found = append(found, s)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading package: %w", err)
	}
	if len(found) != 1 {
		return nil, fmt.Errorf("reading package: control has %d stanzas", len(found))
	}
	for _, name := range []string{"Package", "Version", "Architecture"} {
		if found[0].Get(name) == "" {
			return nil, fmt.Errorf("reading package: control has no %s", name)
		}
	}
	return found[0], nil
}

// controlMember finds the control archive among the first members.
func controlMember(r io.Reader) (string, io.Reader, error) {
	magic := make([]byte, len(arMagic))
	if _, err := io.ReadFull(r, magic); err != nil || string(magic) != arMagic {
		return "", nil, errors.New("not an ar archive")
	}
	for range maxArMembers {
		name, size, err := arHeader(r)
		if err != nil {
			return "", nil, err
		}
		if name == "control.tar" || strings.HasPrefix(name, "control.tar.") {
			return name, io.LimitReader(r, size), nil
		}
		if strings.HasPrefix(name, "data.tar") {
			break
		}
		if _, err := io.CopyN(io.Discard, r, size+size%2); err != nil {
			return "", nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return "", nil, errors.New("no control.tar")
}

// arHeader reads one member's header: name, time, owner, group, mode, size, each
// in decimal or octal padded with spaces, and two closing bytes.
func arHeader(r io.Reader) (string, int64, error) {
	var hdr [60]byte
	if _, err := io.ReadFull(r, hdr[:]); err != nil {
		return "", 0, fmt.Errorf("ar header: %w", err)
	}
	if hdr[58] != '`' || hdr[59] != '\n' {
		return "", 0, errors.New("ar header: wrong closing bytes")
	}
	size, err := strconv.ParseInt(strings.TrimRight(string(hdr[48:58]), " "), 10, 64)
	if err != nil || size < 0 || size > 1<<40 {
		return "", 0, fmt.Errorf("ar header: wrong size %q", hdr[48:58])
	}
	return strings.TrimSuffix(strings.TrimRight(string(hdr[:16]), " "), "/"), size, nil
}

// decompress unpacks a stream by its name's ending. The function returned frees what it took.
func decompress(name string, r io.Reader) (io.Reader, func(), error) {
	switch path.Ext(name) {
	case ".tar":
		return r, func() {}, nil
	case ".gz":
		z, err := gzip.NewReader(r)
		return z, func() {}, err
	case ".xz":
		z, err := newXZ(r)
		return z, func() {}, err
	case ".zst":
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxControlArchive))
		if err != nil {
			return nil, nil, err
		}
		return z, z.Close, nil
	default:
		return nil, nil, errors.New("unknown compression")
	}
}

// newXZ unpacks xz, whose reader takes as much memory as the data asks for.
func newXZ(r io.Reader) (io.Reader, error) {
	buffered := bufio.NewReader(r)
	// A stream's header has 12 bytes, a block's at most 1024.
	head, err := buffered.Peek(12 + 1024)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if err := checkDictionary(head); err != nil {
		return nil, err
	}
	return xz.ReaderConfig{DictCap: lzma.MinDictCap, SingleStream: true}.NewReader(buffered)
}

// checkDictionary refuses xz whose first block asks for too large a dictionary or
// has other filters than LZMA2 (The .xz File Format, sections 3.1 and 5.3.1).
func checkDictionary(head []byte) error {
	const lzma2 = 0x21
	if len(head) < 14 {
		return io.ErrUnexpectedEOF
	}
	flags, rest := head[13], head[14:]
	if flags&3 != 0 {
		return errors.New("xz with several filters")
	}
	for _, bit := range []byte{0x40, 0x80} {
		// The compressed and the uncompressed size, where they are told.
		if flags&bit == 0 {
			continue
		}
		_, n := binary.Uvarint(rest)
		if n <= 0 {
			return errors.New("xz block header: wrong size")
		}
		rest = rest[n:]
	}
	if len(rest) < 3 || rest[0] != lzma2 || rest[1] != 1 {
		return errors.New("xz without LZMA2")
	}
	size, err := lzma.DecodeDictCap(rest[2])
	if err != nil {
		return err
	}
	if size > maxControlArchive {
		return fmt.Errorf("xz dictionary of %d bytes: %w", size, ErrLimit)
	}
	return nil
}

// controlFile returns the file "control" of a control archive.
func controlFile(r io.Reader) ([]byte, error) {
	tr := tar.NewReader(r)
	for range maxControlMembers {
		hdr, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil, errors.New("no file control")
		}
		if err != nil {
			return nil, err
		}
		if path.Clean(hdr.Name) != "control" || hdr.Typeflag != tar.TypeReg {
			continue
		}
		if hdr.Size > maxControl {
			return nil, fmt.Errorf("control of %d bytes: %w", hdr.Size, ErrLimit)
		}
		return io.ReadAll(tr)
	}
	return nil, fmt.Errorf("more than %d members: %w", maxControlMembers, ErrLimit)
}
