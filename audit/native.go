package audit

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"ampoule/audit/elf"
	"ampoule/audit/wheel"
)

// NativeMembers lists the members of a wheel file of size bytes that hold ELF code,
// whatever their names are, sorted. A file beyond [wheel.DefaultLimits] is an error.
func NativeMembers(r io.ReaderAt, size int64) ([]string, error) {
	z, err := wheel.Open(r, size, wheel.DefaultLimits)
	if err != nil {
		return nil, fmt.Errorf("reading wheel: %w", err)
	}
	var native []string
	for _, f := range z.File {
		content, err := f.Open()
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", printable(f.Name), err)
		}
		var magic [4]byte
		_, err = io.ReadFull(content, magic[:])
		content.Close()
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		case err != nil:
			return nil, fmt.Errorf("reading %s: %w", printable(f.Name), err)
		case string(magic[:]) == elf.Magic:
			native = append(native, f.Name)
		}
	}
	slices.Sort(native)
	return native, nil
}
