//go:build !race

// The race detector keeps several words for each word of memory: what is measured here is measured
// without it.

package survey

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"runtime"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"ampoule/audit"
)

// maxMemory is the bound within which anything is refused or judged.
const maxMemory = 256 << 20

// TestHostile audits files that were made to break readers: each is refused, or judged,
// within bounds of memory and time.
func TestHostile(t *testing.T) {
	sound := dist(module(t, ""), tag)
	name := "spam-1.0-" + tag + ".whl"
	changed := func(change func([]byte) []byte) string {
		files := maps.Clone(sound)
		mod := change([]byte(files["spam"+suffix]))
		return pack(t, dist(mod, tag))
	}
	whole := pack(t, sound)
	for _, c := range []struct {
		what, wheel string
		// refused is part of the one finding that is wanted; empty means that nothing is refused.
		refused string
	}{
		{"a bomb", bomb(t, 256<<20), "times as many"},
		{"60 MiB of zeros, which any wheel may have", bomb(t, 60<<20), "RECORD does not list the file"},
		{"99,000 members", manyMembers(t, 99_000), ""},
		{"110,000 members", manyMembers(t, 110_000), "more than 100000 members"},
		{"300,000 members", manyMembers(t, 300_000), "directory of"},
		{"a wheel in a wheel", pack(t, distOf("spam", tag, "", map[string]string{"spam/inner-1.0-" + tag + ".whl": whole})), ""},
		{"a wheel for a module", pack(t, dist([]byte(whole), tag)), "a zip file"},
		{"a path that leaves", pack(t, together(sound, map[string]string{"../../etc/passwd": "x"})), "leaves the wheel"},
		{"an absolute path", pack(t, together(sound, map[string]string{"/etc/passwd": "x"})), "leaves the wheel"},
		{"two members of one path", duplicate(t, sound), "Two members have this path"},
		{"a truncated archive", whole[:len(whole)/2], "not a sound zip file"},
		{"an empty file", "", "not a sound zip file"},
		{"a RECORD that lies", pack(t, together(sound, map[string]string{"spam" + suffix: "changed"})), "not the one that RECORD lists"},
		{"a RECORD of many lines", pack(t, together(sound, map[string]string{"spam-1.0.dist-info/RECORD": strings.Repeat("a,,\n", 2_000_000)})), "more than 500000 lines"},
		{"ELF without section headers", changed(func(b []byte) []byte { clear(b[0x28:0x30]); clear(b[0x3c:0x40]); return b }), ""},
		{"ELF with absurd offsets", changed(func(b []byte) []byte { binary.LittleEndian.PutUint64(b[0x20:], 1<<62); return b }), "cannot be read as one"},
		{"ELF with absurd counts", changed(func(b []byte) []byte { binary.LittleEndian.PutUint16(b[0x38:], 0xffff); return b }), "cannot be read as one"},
		{"ELF that is cut off", changed(func(b []byte) []byte { return b[:100] }), "cannot be read as one"},
		{"big-endian ELF", changed(func(b []byte) []byte { b[5] = 2; return b }), "only 64-bit little-endian"},
		{"32-bit ELF", changed(func(b []byte) []byte { b[4] = 1; return b }), "only 64-bit little-endian"},
	} {
		t.Run(c.what, func(t *testing.T) {
			m := machine(t, map[string]string{"d/" + name: c.wheel})
			begin := time.Now()
			var r *Report
			var err error
			peak := peakOf(func() { r, err = Look(t.Context(), Target{Files: m, Path: "/d", Against: "/usr"}) })
			if took := time.Since(begin); err != nil || took > maxTime || peak > maxMemory {
				t.Fatalf("%v; %s, %d MiB", err, took, peak>>20)
			}
			told := ""
			for _, f := range r.Units[0].Findings {
				if f.Severity == audit.Refuse {
					told += f.Cause + " " + f.Value + "\n"
				}
			}
			if c.refused == "" && told != "" || !strings.Contains(told, c.refused) {
				t.Errorf("refused: %.400q, want %q", told, c.refused)
			}
			var text bytes.Buffer
			if err := r.WriteText(&text, TextOptions{Warnings: true}); err != nil || strings.ContainsAny(text.String(), "\x00\x1b\x7f") {
				t.Errorf("the text form: %v, %.200q", err, text.String())
			}
		})
	}
}

// peakOf is how much the heap grows while something runs, at most, in bytes. Little of it is
// garbage, as in the program, which asks for a soft limit: otherwise chance says how much there is.
func peakOf(work func()) int64 {
	defer debug.SetGCPercent(debug.SetGCPercent(25))
	var before, now runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var peak atomic.Int64
	done, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-done:
				return
			case <-time.After(5 * time.Millisecond):
				runtime.ReadMemStats(&now)
				peak.Store(max(peak.Load(), int64(now.HeapInuse)-int64(before.HeapInuse)))
			}
		}
	}()
	work()
	close(done)
	<-stopped
	return peak.Load()
}

// zipped makes an archive by hand.
func zipped(t *testing.T, write func(*zip.Writer) error) string {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	if err := write(z); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// bomb is a wheel with a member of so many zeros.
func bomb(t *testing.T, size int64) string {
	t.Helper()
	return zipped(t, func(z *zip.Writer) error {
		for name, text := range dist(module(t, ""), tag) {
			w, err := z.Create(name)
			if err == nil {
				_, err = io.WriteString(w, text)
			}
			if err != nil {
				return err
			}
		}
		w, err := z.Create("zeros")
		if err == nil {
			_, err = io.CopyN(w, zeros{}, size)
		}
		return err
	})
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// manyMembers is a wheel with so many empty files.
func manyMembers(t *testing.T, n int) string {
	t.Helper()
	const empty = "sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU"
	var record strings.Builder
	files := dist(module(t, ""), tag)
	record.WriteString(files["spam-1.0.dist-info/RECORD"])
	return zipped(t, func(z *zip.Writer) error {
		for i := range n {
			name := fmt.Sprintf("spam_data/%06d", i)
			if _, err := z.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Store}); err != nil {
				return err
			}
			fmt.Fprintf(&record, "%s,%s,0\n", name, empty)
		}
		files["spam-1.0.dist-info/RECORD"] = record.String()
		for name, text := range files {
			w, err := z.Create(name)
			if err == nil {
				_, err = io.WriteString(w, text)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// duplicate is a wheel that has its module twice.
func duplicate(t *testing.T, files map[string]string) string {
	t.Helper()
	return zipped(t, func(z *zip.Writer) error {
		for range 2 {
			for name, text := range files {
				w, err := z.Create(name)
				if err == nil {
					_, err = io.WriteString(w, text)
				}
				if err != nil {
					return err
				}
			}
		}
		return nil
	})
}
