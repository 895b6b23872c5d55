package wheel

import (
	"archive/zip"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/klauspost/compress/flate"

	"ampoule/packaging"
)

// WithFile writes a wheel file anew with one more file in its .dist-info directory, and
// lists it in RECORD (PEP 427). All other members are copied as they are compressed; the
// result depends on nothing but the wheel and the file.
func WithFile(w io.Writer, r io.ReaderAt, size int64, name string, data []byte) error {
	z, err := Open(r, size, DefaultLimits)
	if err != nil {
		return fmt.Errorf("adding %s to a wheel: %w", name, err)
	}
	out := zip.NewWriter(w)
	// Its output is pinned by go.mod, as that of layers is.
	out.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) { return flate.NewWriter(w, flate.DefaultCompression) })
	var record *zip.File
	for _, f := range z.File {
		dir, base, ok := strings.Cut(f.Name, "/")
		if ok && base == "RECORD" && strings.HasSuffix(dir, ".dist-info") {
			record = f
			continue
		}
		if ok && base == name && strings.HasSuffix(dir, ".dist-info") {
			continue // it is written anew
		}
		if err := copyMember(out, f); err != nil {
			return fmt.Errorf("adding %s to a wheel: %w", name, err)
		}
	}
	if record == nil {
		return fmt.Errorf("adding %s to a wheel: %w: no RECORD", name, ErrArchive)
	}
	rows, err := readMember(record)
	if err != nil {
		return fmt.Errorf("adding %s to a wheel: %w", name, err)
	}
	info, _, _ := strings.Cut(record.Name, "/")
	sum := sha256.Sum256(data)
	row := fmt.Sprintf("%s/%s,sha256=%s,%d\n", info, name, base64.RawURLEncoding.EncodeToString(sum[:]), len(data))
	var listed strings.Builder
	self := ""
	for line := range strings.Lines(string(rows)) {
		switch {
		case strings.HasPrefix(line, info+"/"+name+","):
		case strings.HasPrefix(line, record.Name+","):
			self = line
		default:
			listed.WriteString(line)
		}
	}
	if self == "" {
		return fmt.Errorf("adding %s to a wheel: %w: RECORD does not list itself", name, ErrArchive)
	}
	listed.WriteString(row + self)
	for _, file := range []struct {
		name string
		data []byte
	}{{info + "/" + name, data}, {record.Name, []byte(listed.String())}} {
		member, err := out.CreateHeader(&zip.FileHeader{Name: file.name, Method: zip.Deflate, Modified: epoch})
		if err == nil {
			_, err = member.Write(file.data)
		}
		if err != nil {
			return fmt.Errorf("adding %s to a wheel: %w", name, err)
		}
	}
	return out.Close()
}

// epoch is the time of the files that are written, which zip has no earlier than 1980.
var epoch = time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)

func copyMember(out *zip.Writer, f *zip.File) error {
	raw, err := f.OpenRaw()
	if err != nil {
		return err
	}
	header := f.FileHeader
	member, err := out.CreateRaw(&header)
	if err == nil {
		_, err = io.Copy(member, raw)
	}
	return err
}

func readMember(f *zip.File) (_ []byte, err error) {
	if f.UncompressedSize64 > packaging.MaxRecord {
		return nil, fmt.Errorf("%w: %s has %d bytes", ErrArchive, f.Name, f.UncompressedSize64)
	}
	r, err := f.Open()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	return io.ReadAll(r)
}
