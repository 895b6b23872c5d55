// Package profiles holds the training profiles that ship with Ampoule: recipes of the catalogue, and those
// that `ampoule init` writes, name them. A shipped profile is what any other one is: its hash says which
// it is, and it is compared with the build that it is for.
package profiles

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/klauspost/compress/zstd"
)

// files has each profile under the name of its sha256, compressed.
//
//go:embed *.tar.zst
var files embed.FS

const ext = ".tar.zst"

// Configure are the flags that all shipped profiles are for. Others may stand beside them that only say what is
// linked of the objects.
var Configure = []string{"--enable-optimizations", "--with-lto"}

// Build is what a profile was trained for.
type Build struct {
	// Version is CPython's, Suite the Debian release whose GCC compiles it.
	Version, Suite string
	// Shared says that there is a libpython, whose code may be anywhere in memory: its functions have other
	// shapes.
	Shared bool
}

// shipped has the profiles' sha256.
var shipped = map[Build]string{
	{"3.13.15", "bookworm", false}: "f0e40fd1c006f2ae285b5b973ae1795ac69a34a71be8ea2686a71a190bfdff00",
	{"3.13.5", "bookworm", false}:  "2e848b79d97ac3fe4bbf2ec64b15221f57c6948838bbd98b37c777641cb4c451",
	{"3.13.5", "bookworm", true}:   "bce184f391fe17937ee7eb5fbda82b90792614dad35dc2107f0bb827de4dfc5a",
}

// For gives the profile of a build, as a recipe names it; false if none ships.
func For(b Build) (profile string, ok bool) {
	sum, ok := shipped[b]
	if !ok {
		return "", false
	}
	return "sha256:" + sum, true
}

// Shipped gives profiles by their sha256.
type Shipped struct{}

// String names the place for a person.
func (Shipped) String() string { return "the profiles that ship with Ampoule" }

// Open gives the profile of that sha256, in hex. One that does not ship is an [fs.ErrNotExist].
func (Shipped) Open(_ context.Context, sum string) (io.ReadCloser, error) {
	f, err := files.Open(sum + ext)
	if err != nil {
		return nil, err
	}
	z, err := zstd.NewReader(f, zstd.WithDecoderConcurrency(1))
	if err != nil {
		return nil, fmt.Errorf("reading shipped profile %s: %w", sum, err)
	}
	return opened{z.IOReadCloser(), f}, nil
}

// opened is a profile that is being read.
type opened struct {
	io.ReadCloser
	file fs.File
}

// Close ends reading.
func (o opened) Close() error {
	err := o.ReadCloser.Close()
	return errors.Join(err, o.file.Close())
}
