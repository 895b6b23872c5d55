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

	"ampoule/recipes"
)

// files has each profile under the name of its sha256, compressed.
//
//go:embed *.tar.zst
var files embed.FS

const ext = ".tar.zst"

// Configure are the flags that all shipped profiles are for. Others may stand beside them that only say what is
// linked of the objects.
var Configure = []string{"--enable-optimizations", "--with-lto"}

// Builtin are the modules that shipped profiles have linked in, if they have any: those that bring no library and that
// programs lean on.
var Builtin = []string{
	"_asyncio", "_bisect", "_contextvars", "_csv", "_datetime", "_elementtree", "_heapq", "_json", "_opcode", "_pickle", "_posixsubprocess", "_queue", "_random", "_socket", "_statistics",
	"_struct", "_zoneinfo", "array", "cmath", "fcntl", "grp", "math", "mmap", "pyexpat", "resource", "select", "termios",
}

// InitialExec is a flag of the compiler that optimised shared interpreters have in CFLAGS_NODIST: code of a libpython
// finds a thread's variables without a call. A program that loads such a library later needs room for them in what glibc has put
// aside (rtld.optional_static_tls): they have 25 bytes.
const InitialExec = "-ftls-model=initial-exec"

// Build is what a profile was trained for.
type Build struct {
	// Version is CPython's, Suite the Debian release whose compiler compiles it: Compiler as a recipe names
	// it, or GCC if it is empty.
	Version, Suite, Compiler string
	// Mode is the link mode. The code of a libpython may be anywhere in memory, so its functions have other
	// shapes. BOLT counts in what is linked, so each mode has a profile of its own with it.
	Mode recipes.LinkMode
	// Bolt says that --enable-bolt stands beside [Configure], and that the profile has what BOLT counted.
	Bolt bool
	// Builtin says that the modules of [Builtin] are linked in.
	Builtin bool
	// InitialExec says that [InitialExec] is among the compiler's flags.
	InitialExec bool
}

// shipped has the profiles' sha256.
var shipped = map[Build]string{
	{Version: "3.11.2", Suite: "bullseye", Mode: recipes.Static}:                                             "068817aaa93174340497ad3b563b68c25d98c1f40a8c4349837e68fc3a936720",
	{Version: "3.13.15", Suite: "bookworm", Mode: recipes.Static}:                                            "f0e40fd1c006f2ae285b5b973ae1795ac69a34a71be8ea2686a71a190bfdff00",
	{Version: "3.13.15", Suite: "trixie", Mode: recipes.Static}:                                              "a1af57d6c6880a1b0e964b68f1d31e7421b0686b5cdd76789dbafc6e75292721",
	{Version: "3.13.5", Suite: "bookworm", Mode: recipes.Static}:                                             "2e848b79d97ac3fe4bbf2ec64b15221f57c6948838bbd98b37c777641cb4c451",
	{Version: "3.13.5", Suite: "bookworm", Mode: recipes.Shared}:                                             "bce184f391fe17937ee7eb5fbda82b90792614dad35dc2107f0bb827de4dfc5a",
	{Version: "3.13.5", Suite: "bookworm", Mode: recipes.Embed}:                                              "bce184f391fe17937ee7eb5fbda82b90792614dad35dc2107f0bb827de4dfc5a",
	{Version: "3.13.5", Suite: "trixie", Mode: recipes.Static}:                                               "a75660a2ea37b5e1b029fcb1f3ef37a9bd346a95a5f2f4d63e691cf13bc89614",
	{Version: "3.13.5", Suite: "trixie", Mode: recipes.Static, Bolt: true}:                                   "23d2e3606f613d936e756a1f7e5261a433327a32b577e9e3e7749a3d94eff748",
	{Version: "3.13.5", Suite: "trixie", Mode: recipes.Static, Bolt: true, Builtin: true}:                    "e300a02386219451a18ed873ba7215c0b5bac0fe601684485569a7ef04925ee9",
	{Version: "3.13.5", Suite: "trixie", Mode: recipes.Shared, Bolt: true, Builtin: true, InitialExec: true}: "61b3a52eaf99d551f9fb4a79cd0d976d8ecd46751bdd3e8d63315a92ea1e9b50",
	{Version: "3.13.5", Suite: "trixie", Mode: recipes.Embed, Bolt: true, Builtin: true}:                     "2ff4fc52353e98cf89658e8da4b3c15a90183909dbe32698937357b1a0e0b50a",
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
