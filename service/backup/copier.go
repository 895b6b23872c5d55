package backup

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"ampoule/faults"
	"ampoule/service/database"
)

// Names in the registry of a store.
const (
	blobsDir      = "blobs"
	uploadsDir    = "_uploads"
	registryLock  = "lock"
	inputsKind    = "inputs"
	tokensKind    = "registry-token"
	storeFormat   = "format"
	mostOfALine   = 1 << 20
	secretFile    = 0o600
	secretDir     = 0o700
	hexDigits     = 2 * sha256.Size
	copyAtOnce    = 1 << 20
	sumsSeparator = "  "
)

// file is one file of a backup.
type file struct{ path, sum string }

// copier copies files below a directory, and notes what they were.
type copier struct {
	//nolint:containedctx // it is one call's
	ctx context.Context
	to  string

	files   []file
	has     map[string]bool
	bytes   int64
	damaged []string
}

// database copies SQLite's file.
func (c *copier) database(data string) error {
	if err := os.MkdirAll(c.to, secretDir); err != nil {
		return err
	}
	path := filepath.Join(c.to, database.File)
	if err := database.Snapshot(c.ctx, data, path); err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	sum, n, err := c.pour(io.Discard, f)
	if err == nil {
		c.note(database.File, sum, n)
	}
	return err
}

// store copies what a store keeps that nobody makes again: of the kinds that are wanted, but never
// which files stay for builds, since they are not in the backup.
func (c *copier) store(dir string, wanted func(kind string) bool) error {
	return c.tree(dir, storeDir, func(name string, d fs.DirEntry) bool {
		if parts := strings.Split(name, "/"); len(parts) > 1 {
			return parts[1] != inputsKind && wanted(parts[1])
		}
		return name == recordsDir || name == storeFormat && !d.IsDir() && !c.has[filepath.Join(storeDir, name)]
	})
}

// registry copies lists before the content that they name: whatever a list names was in place when
// it was copied.
func (c *copier) registry(dir, as string) error {
	inBlobs := func(name string) bool { return strings.Contains("/"+name+"/", "/"+blobsDir+"/") }
	err := c.tree(dir, as, func(name string, d fs.DirEntry) bool {
		return name != registryLock && d.Name() != uploadsDir && !inBlobs(name)
	})
	if err != nil {
		return err
	}
	return c.tree(dir, as, func(name string, d fs.DirEntry) bool {
		return d.Name() != uploadsDir && (d.IsDir() || inBlobs(name))
	})
}

// tree copies what is wanted below a directory; nil wants all. What is removed meanwhile is not
// copied. Names are separated by slashes.
func (c *copier) tree(from, as string, wanted func(name string, d fs.DirEntry) bool) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		name, err := filepath.Rel(from, path)
		switch {
		case err != nil || name == ".":
			return err
		case wanted != nil && !wanted(filepath.ToSlash(name), d) && d.IsDir():
			return fs.SkipDir
		case wanted != nil && !wanted(filepath.ToSlash(name), d), d.IsDir():
			return nil
		case !d.Type().IsRegular():
			return faults.New(faults.Machine, "", "%s is no plain file: it cannot be part of a backup", path)
		}
		err = c.file(path, filepath.Join(as, name))
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
}

// file copies one file.
func (c *copier) file(from, as string) (err error) {
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	var in io.Reader = f
	if strings.HasPrefix(filepath.ToSlash(as), logsDir+"/") {
		if in, err = wholeLines(f); err != nil {
			return err
		}
	}
	to := filepath.Join(c.to, as)
	if err := os.MkdirAll(filepath.Dir(to), secretDir); err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, secretFile)
	if err != nil {
		return err
	}
	sum, n, err := c.pour(out, in)
	if err := errors.Join(err, out.Close()); err != nil {
		return fmt.Errorf("copying %s: %w", from, err)
	}
	if isBlob(as) && filepath.Base(as) != sum {
		c.damaged = append(c.damaged, from)
	}
	c.note(as, sum, n)
	return nil
}

// isBlob reports whether a file of a registry has its sha256 for a name.
func isBlob(path string) bool {
	return len(filepath.Base(path)) == hexDigits && filepath.Base(filepath.Dir(path)) == "sha256"
}

// pour copies bytes, until the context ends.
func (c *copier) pour(to io.Writer, from io.Reader) (sum string, n int64, err error) {
	hash := sha256.New()
	to = io.MultiWriter(to, hash)
	for {
		if err := c.ctx.Err(); err != nil {
			return "", n, context.Cause(c.ctx)
		}
		one, err := io.CopyN(to, from, copyAtOnce)
		n += one
		if errors.Is(err, io.EOF) {
			return hex.EncodeToString(hash.Sum(nil)), n, nil
		}
		if err != nil {
			return "", n, err
		}
	}
}

func (c *copier) note(path, sum string, n int64) {
	if c.has == nil {
		c.has = map[string]bool{}
	}
	c.files, c.has[path], c.bytes = append(c.files, file{filepath.ToSlash(path), sum}), true, c.bytes+n
}

// wholeLines reads a log up to its last line's end: what follows is being written.
func wholeLines(f *os.File) (io.Reader, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	size := info.Size()
	tail := make([]byte, min(size, mostOfALine))
	if _, err := f.ReadAt(tail, size-int64(len(tail))); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	size -= int64(len(tail) - 1 - bytes.LastIndexByte(tail, '\n'))
	return io.NewSectionReader(f, 0, size), nil
}
