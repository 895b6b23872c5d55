//go:build !race

package locking

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ampoule/builder/locking/sources"
	"ampoule/faults"
	"ampoule/recipes"
)

// manyInTar is a tar with one member too many. It lacks its end: the limit comes first.
func manyInTar(t *testing.T) []byte {
	t.Helper()
	return gzipped(bytes.Repeat(tarOf(t, member{name: "a-1/x"})[:512], sources.MaxMembers+1))
}

// manyInZip is a zip with one member too many.
func manyInZip(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for i := range sources.MaxMembers + 1 {
		if _, err := z.CreateHeader(&zip.FileHeader{Name: fmt.Sprintf("a-1/%d", i)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// An sdist that unpacks to more than anybody needs is given up, and at once when the
// locking is interrupted.
func TestSdistBombs(t *testing.T) {
	t.Parallel()
	zeros := strings.Repeat("\x00", 66<<20)
	for name, c := range map[string]struct {
		file, want string
		archive    []byte
	}{
		"too many members of a zip":  {"a-1.zip", "more than 200000 members", manyInZip(t)},
		"a zip of zeros":             {"a-1.zip", "times as many", zipOf(t, member{name: "a-1/zeros", text: zeros})},
		"too many members of a tar":  {"a-1.tar.gz", "more than 200000 members", manyInTar(t)},
		"a pyproject.toml of zeros":  {"a-1.tar.gz", "has more than", gzipped(tarOf(t, member{name: "a-1/pyproject.toml", text: zeros}))},
		"a PKG-INFO of zeros":        {"a-1.tar.gz", "has more than", gzipped(tarOf(t, member{name: "a-1/PKG-INFO", text: zeros}))},
		"a tar that is cut off":      {"a-1.tar.gz", "EOF", gzipped(tarOf(t, member{name: "a-1/x", text: zeros})[:5<<20])},
		"a member that claims 1 EiB": {"a-1.tar.gz", "EOF", gzipped(claims(t, 1<<60))},
	} {
		_, err := topFiles(t.Context(), openSdist(t, c.archive), c.file, "pyproject.toml", "PKG-INFO")
		if faults.Of(err) != faults.Input || !strings.HasPrefix(err.Error(), "reading "+c.file+": ") || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		stop := errors.New("stop")
		cancel(stop)
		if _, err := topFiles(ctx, openSdist(t, c.archive), c.file, "pyproject.toml"); !errors.Is(err, stop) {
			t.Errorf("%s, interrupted: %v", name, err)
		}
		if _, err := readCargo(ctx, openSdist(t, c.archive), c.file); !errors.Is(err, stop) {
			t.Errorf("%s, interrupted while crates are looked for: %v", name, err)
		}
	}
}

// Whatever is looked for in a source archive, the walk through it has the same limits.
func TestEverySourceIsBounded(t *testing.T) {
	t.Parallel()
	const want = "more than 200000 members"
	inTar := manyInTar(t)
	for file, archive := range map[string][]byte{"a-1.tar.gz": inTar, "a-1.tgz": inTar, "a-1.zip": manyInZip(t)} {
		name := filepath.Join(t.TempDir(), file)
		if err := os.WriteFile(name, archive, 0o600); err != nil {
			t.Fatal(err)
		}
		for what, read := range map[string]func(*os.File) error{
			"top files": func(f *os.File) error { _, err := topFiles(t.Context(), f, file, "PKG-INFO"); return err },
			"crates":    func(f *os.File) error { _, err := readCargo(t.Context(), f, file); return err },
			"manifests": func(f *os.File) error { _, err := readSkeleton(t.Context(), f, file); return err },
		} {
			f, err := os.Open(name)
			if err != nil {
				t.Fatal(err)
			}
			if err := read(f); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s of %s: %v", what, file, err)
			}
			f.Close()
		}
	}
	st := openStore(t)
	source := recipes.LockedPython{File: "Python-3.99.0.tgz", SHA256: put(t, st, string(inTar))}
	if _, err := readConfigure(t.Context(), st, source); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("CPython's source: %v", err)
	}
}

// claims is a tar whose one member says that it is of so many bytes.
func claims(t *testing.T, size int64) []byte {
	t.Helper()
	whole := tarOf(t, member{name: "a-1/x", text: "x"})
	// GNU's form of large numbers: a set bit, then big-endian (tar(5)).
	field := whole[124:136]
	clear(field)
	field[0] = 0x80
	for i := range 8 {
		field[11-i] = byte(size >> (8 * i))
	}
	sum := 0
	copy(whole[148:156], "        ")
	for _, b := range whole[:512] {
		sum += int(b)
	}
	copy(whole[148:156], fmt.Sprintf("%06o\x00 ", sum))
	return whole
}

// A Cargo.lock has a limit, and all of an sdist have one.
func TestLongCargoLocks(t *testing.T) {
	t.Parallel()
	many := make([]member, maxCargoLocks/maxCargoLock+1)
	for i := range many {
		many[i] = member{name: fmt.Sprintf("a-1/%d/Cargo.lock", i), text: strings.Repeat(" ", maxCargoLock)}
	}
	for name, c := range map[string]struct {
		file    string
		archive []byte
		want    string
	}{
		"one too long":  {"a-1.zip", zipOf(t, member{name: "a-1/Cargo.lock", text: strings.Repeat(" ", maxCargoLock+1)}), "is too long"},
		"together long": {"a-1.tgz", gzipped(tarOf(t, many...)), "is too long"},
		"a zip bomb":    {"a-1.zip", zipOf(t, many...), "times as many"},
	} {
		if _, err := readCargo(t.Context(), openSdist(t, c.archive), c.file); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}
