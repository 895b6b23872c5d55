//go:build !race

package survey

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"ampoule/audit"
)

// symbolsELF makes a shared object with n symbols, each with a name of its own, that it
// defines or asks for.
func symbolsELF(n int, defined bool) []byte {
	const headers, dynamic = 64 + 2*56, 5*16 + 16
	strs := bytes.NewBuffer([]byte{0})
	table := make([]byte, (n+1)*24)
	for i := range n {
		s := table[(i+1)*24:]
		binary.LittleEndian.PutUint32(s, uint32(strs.Len()))
		s[4] = 1 << 4
		if defined {
			s[6] = 1
		}
		fmt.Fprintf(strs, "_ZN5outer5inner%07dEv\x00", i)
	}
	hash := make([]byte, 8+4*(n+2))
	binary.LittleEndian.PutUint32(hash, 1)
	binary.LittleEndian.PutUint32(hash[4:], uint32(n+1))
	at := uint64(headers + dynamic)
	hashAt, tableAt := at, at+uint64(len(hash))
	strsAt := tableAt + uint64(len(table))
	size := strsAt + uint64(strs.Len())
	var b bytes.Buffer
	le := func(values ...any) {
		for _, v := range values {
			_ = binary.Write(&b, binary.LittleEndian, v)
		}
	}
	b.WriteString("\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00")
	le(uint16(3), uint16(62), uint32(1), uint64(0), uint64(64), uint64(0), uint32(0), uint16(64), uint16(56), uint16(2), uint16(64), uint16(0), uint16(0))
	le(uint32(1), uint32(5), uint64(0), uint64(0), uint64(0), size, size, uint64(4096))
	le(uint32(2), uint32(4), uint64(headers), uint64(headers), uint64(headers), uint64(dynamic), uint64(dynamic), uint64(8))
	le(uint64(4), hashAt, uint64(5), strsAt, uint64(6), tableAt, uint64(10), uint64(strs.Len()), uint64(11), uint64(24), uint64(0), uint64(0))
	b.Write(hash)
	b.Write(table)
	b.Write(strs.Bytes())
	return b.Bytes()
}

// TestHugeSymbolTables audits files whose symbols alone would take all memory.
func TestHugeSymbolTables(t *testing.T) {
	for what, c := range map[string]struct {
		symbols, files int
		defined        bool
		// refused and unread are what is told; both are empty if nothing is.
		refused, unread string
	}{
		"many that it defines":          {600_000, 1, true, "", ""},
		"more than it may ask for":      {300_000, 1, false, "", "it asks for symbols whose names take more than"},
		"more than a place may ask for": {100_000, 6, false, "", "its files have symbols whose names take more than"},
	} {
		t.Run(what, func(t *testing.T) {
			files := map[string]string{}
			elf := string(symbolsELF(c.symbols, c.defined))
			for i := range c.files {
				// Of each file the names differ in the namespace alone.
				files[fmt.Sprintf("big/lib%d.so", i)] = strings.ReplaceAll(elf, "5outer", fmt.Sprintf("5oute%d", i))
			}
			m := machine(t, under(site, distOf("big", tag, "", files)))
			var r *Report
			var err error
			peak := peakOf(func() { r, err = Look(t.Context(), Target{Files: m, Path: "/" + site, Against: "/usr"}) })
			if err != nil || peak > maxMemory {
				t.Fatalf("%v; %d MiB", err, peak>>20)
			}
			told := ""
			for _, u := range r.Units {
				for _, f := range u.Findings {
					if f.Severity == audit.Refuse {
						told += f.Cause + " " + f.Value + "\n"
					}
				}
			}
			if c.refused == "" && told != "" || !strings.Contains(told, c.refused) {
				t.Errorf("refused: %.400q, want %q", told, c.refused)
			}
			if unread := fmt.Sprint(r.Unread); c.unread == "" && len(r.Unread) > 0 || !strings.Contains(unread, c.unread) {
				t.Errorf("not read: %.400q, want %q", unread, c.unread)
			}
		})
	}
}
