package pgo

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// The form of a .gcda file, from GCC's gcc/gcov-io.h: 32-bit words in the byte order of
// the machine that wrote it. A header of magic, version, stamp and checksum; records of
// a tag, a length and as many bytes; a zero tag at the end. A length below zero is that of
// counters that are all zero, and are not written.
const (
	gcdaMagic = 0x67636461
	// The lengths of records are bytes from this version of GCC on, and words before.
	bytesSince = 12
)

// mostRecord bounds one record, in bytes.
const mostRecord = 64 << 20

var errTruncated = errors.New("it ends in the middle of a record")

// readCounts reads a .gcda file of size bytes from its beginning to its end, and returns the
// version of GCC that wrote it, such as 12.2. What is no such file, or not the whole
// of one, is an error.
func readCounts(r io.Reader, size int64) (version string, err error) {
	words := &wordReader{r: bufio.NewReader(io.LimitReader(r, size))}
	magic, letters := words.next(), words.next()
	if words.err == nil && magic != gcdaMagic {
		return "", errors.New("it has no counts of GCC's")
	}
	major, minor, err := gccVersion(letters)
	if err != nil {
		return "", err
	}
	if major < bytesSince {
		return "", fmt.Errorf("it is of GCC %d, and %d is the oldest whose counts are read", major, bytesSince)
	}
	words.next() // the stamp
	words.next() // the checksum
	for words.err == nil {
		tag := words.next()
		if words.err != nil {
			break
		}
		if tag == 0 {
			return fmt.Sprintf("%d.%d", major, minor), words.end()
		}
		words.skip(int32(words.next()))
	}
	return "", words.err
}

// gccVersion reads a version as GCC writes it into a word (gcc/gcov-io.h): a letter and a
// digit for the major version, a digit for the minor one.
func gccVersion(word uint32) (major, minor int, err error) {
	var text [4]byte
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
	r   *bufio.Reader
	err error
}

func (w *wordReader) next() uint32 {
	var word [4]byte
	if w.err != nil {
		return 0
	}
	if _, err := io.ReadFull(w.r, word[:]); err != nil {
		w.fail(err)
	}
	return binary.LittleEndian.Uint32(word[:])
}

// skip passes over a record's content.
func (w *wordReader) skip(length int32) {
	if w.err != nil || length <= 0 {
		return
	}
	if length > mostRecord {
		w.err = fmt.Errorf("a record has %d bytes; %d are the most", length, mostRecord)
		return
	}
	if _, err := io.CopyN(io.Discard, w.r, int64(length)); err != nil {
		w.fail(err)
	}
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
