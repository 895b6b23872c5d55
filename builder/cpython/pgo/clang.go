package pgo

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"

	"ampoule/tree"
)

// ClangData is the one file of counts that clang reads for CPython: its Makefile names it so.
const ClangData = "code.profclangd"

// The form of clang's profiles (LLVM's "Instrumentation Profile Format" and its llvm/ProfileData/InstrProf.h):
// 64-bit words in little-endian order. A header of magic, version, a word that is not used, the kind of hash, and
// where the hash table's own header is. That has the number of buckets, the number of names, and where each bucket
// begins. A bucket is a number of entries, in 16 bits, and the entries: a hash, the lengths of name and counts, and
// both. What follows the table has no part in what is read here.
const (
	indexedMagic = 0x8169666f72706cff
	// The high byte of a version says what counted: none of these bits, if that was the front end of the compiler.
	indexedKinds = 0xff << 56
	// oldestIndexed is the version that clang 11 writes.
	oldestIndexed = 5
	headerBytes   = 5 * 8
)

// mostIndexed bounds the file, in bytes. That of CPython 3.13 has a few MB.
const mostIndexed = 64 << 20

// readIndexed reads a profile of clang's that has size bytes, and returns of how many names of functions it has counts.
// What is no such file, or not the whole of one, is an error.
func readIndexed(r io.ReaderAt, size int64) (functions int, err error) {
	t := &indexed{r: r, size: size}
	if t.word(0) != indexedMagic && t.err == nil {
		return 0, errors.New("it has no counts of clang's")
	}
	version := t.word(8)
	switch {
	case t.err != nil:
		return 0, t.err
	case version&indexedKinds != 0:
		return 0, errors.New("it was not counted by the compiler's front end, as CPython's Makefile asks for")
	case version < oldestIndexed:
		return 0, fmt.Errorf("its version is %d, and %d is the oldest that is read", version, oldestIndexed)
	}
	at := t.offset(4 * 8)
	buckets, names := t.word(at), t.word(at+8)
	if t.err == nil && (buckets > uint64(size)/8 || names > uint64(size)) {
		return 0, errTruncated
	}
	found := uint64(0)
	for i := range int64(buckets) {
		found += t.bucket(t.offset(at + 16 + 8*i))
		// Buckets may be one and the same: what is too much ends it.
		if t.err != nil || found > names {
			break
		}
	}
	if t.err == nil && found != names {
		return 0, fmt.Errorf("it lists %d functions and has %d", names, found)
	}
	return int(names), t.err
}

// indexed reads words until the first fault.
type indexed struct {
	r    io.ReaderAt
	size int64
	err  error
}

func (t *indexed) read(at int64, b []byte) {
	if t.err != nil {
		return
	}
	if at < 0 || at > t.size-int64(len(b)) {
		t.err = errTruncated
		return
	}
	if _, err := t.r.ReadAt(b, at); err != nil {
		t.err = err
	}
}

func (t *indexed) word(at int64) uint64 {
	var b [8]byte
	t.read(at, b[:])
	return binary.LittleEndian.Uint64(b[:])
}

// offset is a word that says where something is; an empty bucket is at 0.
func (t *indexed) offset(at int64) int64 {
	word := t.word(at)
	if word > math.MaxInt64 {
		t.err = errTruncated
		return 0
	}
	return int64(word)
}

// bucket counts the entries of a bucket, which must all be there.
func (t *indexed) bucket(at int64) uint64 {
	if at == 0 {
		return 0
	}
	if at < headerBytes && t.err == nil {
		t.err = errors.New("its functions begin in its header")
	}
	var count [2]byte
	t.read(at, count[:])
	entries := binary.LittleEndian.Uint16(count[:])
	at += 2
	for range entries {
		name, counts := t.word(at+8), t.word(at+16)
		if t.err == nil && (name > uint64(t.size) || counts > uint64(t.size) || at+24 > t.size-int64(name)-int64(counts)) {
			t.err = errTruncated
		}
		if t.err != nil {
			return 0
		}
		at += 24 + int64(name) + int64(counts)
	}
	return uint64(entries)
}

// newClang makes a profile of what clang counted, in one file for all objects.
func newClang(about About, counts *tree.Tree) (*Profile, error) {
	p := &Profile{About: about}
	for _, e := range counts.Entries() {
		if e.Kind == tree.File {
			p.data = append(p.data, e)
		}
	}
	if len(p.data) != 1 {
		return nil, misfit("%d files were counted into, and clang counts into %s", len(p.data), ClangData)
	}
	var err error
	if p.About.Functions, err = p.readFunctions(); err != nil {
		return nil, err
	}
	if p.About.Functions == 0 {
		return nil, errNothingCounted
	}
	return p, p.check()
}

// checkFunctions compares the counts with what the profile says of itself.
func (p *Profile) checkFunctions() error {
	if len(p.data) != 1 || p.data[0].Path != ClangData {
		return misfit("clang counts into %s, and it has %d files", ClangData, len(p.data))
	}
	functions, err := p.readFunctions()
	switch {
	case err != nil:
		return err
	case functions != p.About.Functions:
		return misfit("it lists counts for %d functions and has those for %d", p.About.Functions, functions)
	case functions == 0:
		return errNoCounts
	}
	return nil
}

func (p *Profile) readFunctions() (int, error) {
	e := p.data[0]
	if e.Size > mostIndexed {
		return 0, misfit("%s has %d bytes; %d are the most", e.Path, e.Size, mostIndexed)
	}
	content, err := e.ReadAll()
	if err != nil {
		return 0, fmt.Errorf("reading profile: %w", err)
	}
	functions, err := readIndexed(bytes.NewReader(content), int64(len(content)))
	if err != nil {
		return 0, misfit("%s: %w", e.Path, err)
	}
	return functions, nil
}
