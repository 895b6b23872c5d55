package audit

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"ampoule/audit/elf"
)

// largeWheelOf makes a wheel with so many members of a size, which begin as ELF files do.
func largeWheelOf(t testing.TB, members, size int) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	record := ""
	add := func(name string, data []byte) {
		w, err := z.Create(name)
		if err == nil {
			_, err = w.Write(data)
		}
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(data)
		record += fmt.Sprintf("%s,sha256=%s,%d\n", name, base64.RawURLEncoding.EncodeToString(sum[:]), len(data))
	}
	// Not more compressible than code is: deflate looks back for 32 KiB.
	block := make([]byte, 64<<10)
	random := rand.New(rand.NewPCG(1, 2))
	for i := range block {
		block[i] = byte(random.IntN(16))
	}
	for i := range members {
		data := bytes.Repeat(block, size/len(block))
		copy(data, elf.Magic)
		data[len(elf.Magic)] = byte(i)
		add(fmt.Sprintf("spam/%d.so", i), data)
	}
	add("spam-1.0.dist-info/METADATA", []byte("Metadata-Version: 2.1\nName: spam\nVersion: 1.0\n"))
	add("spam-1.0.dist-info/WHEEL", []byte("Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: py3-none-any\n"))
	record += "spam-1.0.dist-info/RECORD,,\n"
	w, err := z.Create("spam-1.0.dist-info/RECORD")
	if err == nil {
		_, err = w.Write([]byte(record))
	}
	if err == nil {
		err = z.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// Members that are unpacked at a time, in memory and beyond what is kept there, are each
// what RECORD says, and can be read.
func TestLargeWheels(t *testing.T) {
	t.Parallel()
	const members, size = 9, 4 << 20
	data := largeWheelOf(t, members, size)
	w, err := OpenWheel(bytes.NewReader(data), int64(len(data)), "spam-1.0-py3-none-any.whl")
	if err != nil || len(w.Findings) > 0 {
		t.Fatalf("%+v, %v", w.Findings, err)
	}
	defer w.Close()
	if w.exam.inMemory > inMemory || w.exam.onDisk == 0 {
		t.Errorf("%d bytes in memory, %d on disk", w.exam.inMemory, w.exam.onDisk)
	}
	files, err := w.Installed("site")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range files.Entries() {
		if e.Size != size {
			continue
		}
		if data, err := e.ReadAll(); err != nil || !IsELF(data) {
			t.Errorf("%s: %v", e.Path, err)
		}
	}
	// One byte of a member's compressed content is changed.
	broken := slices.Clone(data)
	broken[len(broken)/2] ^= 1
	w, err = OpenWheel(bytes.NewReader(broken), int64(len(broken)), "spam-1.0-py3-none-any.whl")
	if err != nil || len(w.Findings) != 1 || w.Findings[0].Check != "record" {
		t.Errorf("a changed member: %+v, %v", w.Findings, err)
	}
	_ = w.Close()
}

func BenchmarkLargeWheel(b *testing.B) {
	data := largeWheelOf(b, 16, 2<<20)
	b.SetBytes(16 * 2 << 20)
	for b.Loop() {
		w, err := OpenWheel(bytes.NewReader(data), int64(len(data)), "spam-1.0-py3-none-any.whl")
		if err != nil || len(w.Findings) > 0 {
			b.Fatal(w.Findings, err)
		}
		_ = w.Close()
	}
}

// BenchmarkNameSet looks for names in a set as large as the largest libraries'.
func BenchmarkNameSet(b *testing.B) {
	const n = 200_000
	hashes := make([]nameHash, n)
	for i := range hashes {
		hashes[i] = hashName(fmt.Sprintf("_ZN5outer5inner%dEv", i))
	}
	set := newNameSet(hashes)
	b.ReportMetric(float64(8*len(set.slots))/n, "B/name")
	i := 0
	for b.Loop() {
		if i++; !set.has(hashes[i%n]) {
			b.Fatal(i)
		}
	}
}

func TestNameSet(t *testing.T) {
	t.Parallel()
	set := func(names ...string) nameSet {
		var hashes []nameHash
		for _, name := range names {
			hashes = append(hashes, hashName(name))
		}
		return newNameSet(hashes)
	}
	some := set("a", "b", "_c", "a", "")
	for name, want := range map[string]bool{"a": true, "b": true, "_c": true, "": true, "c": false, "_a": false} {
		if got := some.has(hashName(name)); got != want {
			t.Errorf("%q: %t", name, got)
		}
	}
	if some.len != 4 || set().has(hashName("a")) {
		t.Errorf("%d names, or one in none", some.len)
	}
	if n := some.shared(set("b", "_c", "d")); n != 1 {
		t.Errorf("%d names are in both and do not begin with _, want 1", n)
	}
}
