// Package logs keeps what builds of the service tell while they run: bytes that are only
// appended to, read from any offset, by as many as want to.
package logs

import (
	"bytes"
	"context"
	"fmt"
	"regexp"

	"ampoule/faults"
	"ampoule/service/database"
)

// Stream is one of a build's logs.
type Stream string

// The streams.
const (
	// Output has lines for people: "STEP | TEXT".
	Output Stream = "output"
	// Progress has a line of JSON for each event of the build's feed.
	Progress Stream = "progress"
)

// MaxBytes bounds a stream. What comes behind is dropped, and a line says so.
const MaxBytes = 64 << 20

// MaxRead bounds what one read gives.
const MaxRead = 1 << 20

// Chunk is a part of a stream.
type Chunk struct {
	// Offset is where Data begins, Next where it ends, in bytes from the beginning.
	Offset int64
	Data   []byte
	Next   int64
	// End says that the build has ended and this is the last of the stream.
	End bool
}

// Store keeps streams. A stream that nothing was appended to is empty.
type Store interface {
	// Append adds to the end of a stream, within a transaction that is committed if it returns nil:
	// what was found there, such as who may write, still holds when the bytes are added. One writer
	// appends to a stream at a time.
	Append(ctx context.Context, tx database.Tx, build string, stream Stream, data []byte) error
	// Read reads from an offset, max bytes at most. At the end it gives nothing. An offset
	// behind the end is an [*OffsetError].
	Read(ctx context.Context, build string, stream Stream, offset int64, limit int) ([]byte, error)
	// Remove removes all streams of a build.
	Remove(ctx context.Context, build string) error
}

// OffsetError says that a stream has no such offset.
type OffsetError struct{ Offset, Size int64 }

func (e *OffsetError) Error() string {
	return fmt.Sprintf("the log has %d bytes: there is nothing at offset %d", e.Size, e.Offset)
}

// Kind says whose turn it is.
func (*OffsetError) Kind() faults.Kind { return faults.NotFound }

// StreamError says that there is no stream of that name.
type StreamError struct{ Stream Stream }

func (e *StreamError) Error() string { return fmt.Sprintf("there is no log %.40q", string(e.Stream)) }

// Kind says whose turn it is.
func (*StreamError) Kind() faults.Kind { return faults.NotFound }

var idForm = regexp.MustCompile(`^[a-z0-9]{1,64}$`)

// check refuses what names no stream.
func check(build string, stream Stream) error {
	if stream != Output && stream != Progress || !idForm.MatchString(build) {
		return &StreamError{stream}
	}
	return nil
}

// separator stands between a step and its line.
const separator = " | "

// Line is a line of [Output].
func Line(step, text string) string { return step + separator + text + "\n" }

// Step gives the lines of one step, without its name. Data begins and ends with whole lines.
func Step(data []byte, step string) []byte {
	var found []byte
	for line := range bytes.SplitAfterSeq(data, []byte("\n")) {
		if rest, ok := bytes.CutPrefix(line, []byte(step+separator)); ok {
			found = append(found, rest...)
		}
	}
	return found
}
