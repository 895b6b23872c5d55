// Command gen writes the table of configure flags from CPython source archives:
//
//	go run ./internal/gen -o flags.json Python-3.13.5.tar.xz …
//
// An archive may have any name; the directory in it names its version.
package main

import (
	"archive/tar"
	"bytes"
	"cmp"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/ulikunitz/xz"

	"ampoule/recipes"
)

const maxConfigureBytes = 16 << 20

func main() {
	out := flag.String("o", "flags.json", "file to write")
	flag.Parse()
	if err := write(*out, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func write(out string, archives []string) error {
	if len(archives) == 0 {
		return errors.New("no archive given")
	}
	var table []recipes.PythonRelease
	for _, archive := range archives {
		release, err := read(archive)
		if err != nil {
			return fmt.Errorf("reading %s: %w", archive, err)
		}
		table = append(table, release)
	}
	slices.SortFunc(table, func(a, b recipes.PythonRelease) int { return cmp.Compare(a.Version, b.Version) })
	data, err := json.MarshalIndent(table, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(out, append(data, '\n'), 0o644)
}

func read(archive string) (recipes.PythonRelease, error) {
	data, err := os.ReadFile(archive)
	if err != nil {
		return recipes.PythonRelease{}, err
	}
	unpacked, suffix, err := decompress(data)
	if err != nil {
		return recipes.PythonRelease{}, err
	}
	dir, configure, err := findConfigure(tar.NewReader(unpacked))
	if err != nil {
		return recipes.PythonRelease{}, err
	}
	version, ok := strings.CutPrefix(dir, "Python-")
	flags := recipes.ExtractFlags(configure)
	if !ok || len(flags) == 0 {
		return recipes.PythonRelease{}, fmt.Errorf("%s/configure is not CPython's", dir)
	}
	sum := sha256.Sum256(data)
	return recipes.PythonRelease{Version: version, File: dir + suffix, SHA256: hex.EncodeToString(sum[:]), Flags: flags}, nil
}

// decompress tells the compression by its magic and gives upstream's suffix for it.
func decompress(data []byte) (r io.Reader, suffix string, err error) {
	if bytes.HasPrefix(data, []byte{0x1f, 0x8b}) {
		r, err = gzip.NewReader(bytes.NewReader(data))
		return r, ".tgz", err
	}
	r, err = xz.NewReader(bytes.NewReader(data))
	return r, ".tar.xz", err
}

// findConfigure gives the top directory and the configure script in it.
func findConfigure(r *tar.Reader) (dir string, configure []byte, err error) {
	for {
		header, err := r.Next()
		if err != nil {
			return "", nil, fmt.Errorf("looking for configure: %w", err)
		}
		if dir, file := path.Split(header.Name); file == "configure" && strings.Count(dir, "/") == 1 {
			configure, err := io.ReadAll(io.LimitReader(r, maxConfigureBytes))
			return strings.TrimSuffix(dir, "/"), configure, err
		}
	}
}
