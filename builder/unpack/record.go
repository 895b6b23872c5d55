package unpack

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"ampoule/tree"
)

// record writes RECORD: a row for each file but bytecode, sorted by path, hashes and sizes
// of the files as they are installed ("Recording installed projects").
func (w *Wheel) record(files map[string]tree.Entry, self string) []byte {
	// As RECORD has them, the order of paths is another one.
	rows := make(map[string]tree.Entry, len(files))
	for p, e := range files {
		if strings.Contains(p, "__pycache__/") {
			continue
		}
		row, err := filepath.Rel(w.site, p)
		if err != nil {
			panic("unpack: " + err.Error()) // both are paths in the tree
		}
		rows[row] = e
	}
	var out bytes.Buffer
	for _, row := range slices.Sorted(maps.Keys(rows)) {
		e := rows[row]
		out.WriteString(quoted(row))
		if e.Path == self || w.unhashed[e.Path] {
			out.WriteString(",,\n")
			continue
		}
		sum, err := hex.DecodeString(e.SHA256)
		if err != nil {
			panic("unpack: the hash of an entry is not in hex: " + e.SHA256)
		}
		fmt.Fprintf(&out, ",sha256=%s,%d\n", base64.RawURLEncoding.EncodeToString(sum), e.Size)
	}
	return out.Bytes()
}

// quoted is a field of CSV, as Python's csv writes it.
func quoted(field string) string {
	if !strings.ContainsAny(field, "\",\r\n") {
		return field
	}
	return `"` + strings.ReplaceAll(field, `"`, `""`) + `"`
}
