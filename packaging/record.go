package packaging

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Limits of RECORD, far above those of the largest wheels known.
const (
	// MaxRecord is in bytes.
	MaxRecord = 16 << 20
	// MaxRecordRows is the number of files in one RECORD.
	MaxRecordRows = 500_000
)

// ErrRecord is wrapped by errors about a RECORD that breaks its format.
var ErrRecord = errors.New("malformed RECORD")

// RecordRow is one line of RECORD ("Recording installed projects", PyPA specifications; PEP 376).
type RecordRow struct {
	// Path is as it stands: slash-separated, relative to the directory that holds
	// the .dist-info directory, or absolute.
	Path string
	// Hash is the zero value when the row has none.
	Hash RecordHash
	// Size is in bytes; -1 when the row has none.
	Size int64
	// Line is where it stands, from 1.
	Line int
}

// ParseRecord reads a RECORD: CSV of path, hash and size. A hash is as [ParseRecordHash] has it.
func ParseRecord(data []byte) ([]RecordRow, error) {
	if len(data) > MaxRecord {
		return nil, fmt.Errorf("%w: %d bytes, more than %d", ErrRecord, len(data), MaxRecord)
	}
	r := csv.NewReader(bytes.NewReader(data))
	r.FieldsPerRecord = 3
	r.ReuseRecord = true
	var rows []RecordRow
	for {
		fields, err := r.Read()
		if errors.Is(err, io.EOF) {
			return rows, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrRecord, err)
		}
		line, _ := r.FieldPos(0)
		if len(rows) == MaxRecordRows {
			return nil, fmt.Errorf("%w: more than %d lines", ErrRecord, MaxRecordRows)
		}
		row, err := parseRow(fields)
		if err != nil {
			return nil, fmt.Errorf("%w: line %d: %w", ErrRecord, line, err)
		}
		row.Line = line
		rows = append(rows, row)
	}
}

func parseRow(fields []string) (RecordRow, error) {
	row := RecordRow{Path: strings.Clone(fields[0]), Size: -1}
	if row.Path == "" || strings.ContainsAny(row.Path, "\x00\r\n") {
		return row, fmt.Errorf("path %q", row.Path)
	}
	if fields[1] != "" {
		var err error
		if row.Hash, err = ParseRecordHash(fields[1]); err != nil {
			return row, err
		}
	}
	if fields[2] != "" {
		size, err := strconv.ParseInt(fields[2], 10, 64)
		if err != nil || size < 0 {
			return row, fmt.Errorf("size %q", fields[2])
		}
		row.Size = size
	}
	return row, nil
}

// WithoutRows gives a RECORD without the rows of some paths; the others stay as they are.
func WithoutRows(record []byte, gone func(path string) bool) ([]byte, error) {
	rows, err := ParseRecord(record)
	if err != nil {
		return nil, err
	}
	left := map[int]bool{}
	for _, row := range rows {
		left[row.Line] = gone(row.Path)
	}
	var out []byte
	line := 0
	// No path has the end of a line in it, so that each row is one line.
	for text := range bytes.Lines(record) {
		line++
		if !left[line] {
			out = append(out, text...)
		}
	}
	return out, nil
}
