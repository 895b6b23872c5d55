package pgo

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
)

// The form of a .gcda file, from GCC's gcc/gcov-io.h: 32-bit words in the byte order of
// the machine that wrote it. A header of magic, version, stamp and checksum; records of
// a tag, a length and as many bytes; a zero tag at the end. A length below zero is that of
// counters that are all zero, and are not written.
const (
	gcdaMagic = 0x67636461
	// From this version of GCC on the lengths of records are bytes, and words before. Since then
	// the header has a checksum.
	bytesSince = 12
	// oldestGCC is the oldest version whose files are read.
	oldestGCC = 10
)

const wordSize = 4

// mostRecord bounds one record, in bytes.
const mostRecord = 64 << 20

var errTruncated = errors.New("it ends in the middle of a record")

// record is one record of a .gcda file.
type record struct {
	tag uint32
	// length is in bytes; below zero, it is that of counters that are all zero.
	length int32
	// body is as long as a length above zero says.
	body []byte
}

// header is what stands before the records.
type header struct {
	// version is that of GCC, such as 12.2, and letters is how it stands in the file.
	version string
	letters uint32
	// checksum is of the functions' shapes; 0 where GCC wrote none.
	checksum uint32
	// unit is what lengths count, in bytes.
	unit int32
}

// readCounts reads a .gcda file of size bytes from its beginning to its end, and returns the
// version of GCC that wrote it, such as 12.2. What is no such file, or not the whole
// of one, is an error.
func readCounts(r io.Reader, size int64) (version string, err error) {
	h, err := readRecords(r, size, func(record) error { return nil })
	return h.version, err
}

// readRecords reads a .gcda file as [readCounts] does, and gives each record but the one at the end
// to a function.
func readRecords(r io.Reader, size int64, each func(record) error) (header, error) {
	words := &wordReader{r: bufio.NewReader(io.LimitReader(r, size)), left: size}
	h, err := words.header()
	if err != nil {
		return header{}, err
	}
	for {
		rec := record{tag: words.next()}
		if words.err != nil {
			return header{}, words.err
		}
		if rec.tag == 0 {
			if err := words.end(); err != nil {
				return header{}, err
			}
			return h, nil
		}
		rec.length = words.length(h.unit)
		rec.body = words.body(rec.length)
		if words.err != nil {
			return header{}, words.err
		}
		if err := each(rec); err != nil {
			return header{}, err
		}
	}
}

// gccVersion reads a version as GCC writes it into a word (gcc/gcov-io.h): a letter and a
// digit for the major version, a digit for the minor one.
func gccVersion(word uint32) (major, minor int, err error) {
	var text [wordSize]byte
	binary.BigEndian.PutUint32(text[:], word)
	for _, c := range text[1:3] {
		if c < '0' || c > '9' {
			return 0, 0, fmt.Errorf("its version is %q", text)
		}
	}
	if text[0] < 'A' || text[0] > 'Z' {
		return 0, 0, fmt.Errorf("its version is %q", text)
	}
	return int(text[0]-'A')*10 + int(text[1]-'0'), int(text[2] - '0'), nil
}

// wordReader reads words until the first fault.
type wordReader struct {
	r *bufio.Reader
	// left is how many bytes may follow.
	left int64
	err  error
}

func (w *wordReader) header() (header, error) {
	magic, letters := w.next(), w.next()
	if w.err == nil && magic != gcdaMagic {
		return header{}, errors.New("it has no counts of GCC's")
	}
	major, minor, err := gccVersion(letters)
	if err != nil {
		return header{}, err
	}
	if major < oldestGCC {
		return header{}, fmt.Errorf("it is of GCC %d, and %d is the oldest whose counts are read", major, oldestGCC)
	}
	w.next() // the stamp: another one in each compilation
	h := header{version: fmt.Sprintf("%d.%d", major, minor), letters: letters, unit: wordSize}
	if major >= bytesSince {
		h.unit, h.checksum = 1, w.next()
	}
	return h, w.err
}

// length reads that of a record, in bytes.
func (w *wordReader) length(unit int32) int32 {
	n := int32(w.next())
	if n > math.MaxInt32/unit || n < math.MinInt32/unit {
		w.err = cmp.Or(w.err, fmt.Errorf("a record has the length %d", n))
	}
	return n * unit
}

func (w *wordReader) next() uint32 {
	var word [wordSize]byte
	if w.err != nil {
		return 0
	}
	n, err := io.ReadFull(w.r, word[:])
	w.left -= int64(n)
	if err != nil {
		w.fail(err)
	}
	return binary.LittleEndian.Uint32(word[:])
}

// body reads a record's content.
func (w *wordReader) body(length int32) []byte {
	switch {
	case w.err != nil || length <= 0:
		return nil
	case length > mostRecord:
		w.err = fmt.Errorf("a record has %d bytes; %d are the most", length, mostRecord)
		return nil
	case int64(length) > w.left:
		// Told before as much memory is taken.
		w.err = errTruncated
		return nil
	}
	body := make([]byte, length)
	n, err := io.ReadFull(w.r, body)
	w.left -= int64(n)
	if err != nil {
		w.fail(err)
	}
	return body
}

// end makes sure that nothing stands behind the end.
func (w *wordReader) end() error {
	_, err := w.r.ReadByte()
	switch {
	case err == nil:
		return errors.New("something stands behind its end")
	case errors.Is(err, io.EOF):
		return nil
	}
	return err
}

func (w *wordReader) fail(err error) {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = errTruncated
	}
	w.err = err
}
