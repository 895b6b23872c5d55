package web

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"ampoule/faults"
)

// keyBytes is how long a key is.
const keyBytes = 32

// OpenKey reads the key that seals sessions from a file, which is made where it is missing. Of
// several processes that make it at once, all get the same.
func OpenKey(file string) ([]byte, error) {
	key, err := readKey(file)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	if err := makeKey(file); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("making the pages' key: %w", err)
	}
	return readKey(file)
}

func readKey(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("reading the pages' key: %w", err)
	}
	defer f.Close()
	key, err := io.ReadAll(io.LimitReader(f, keyBytes+1))
	if err != nil {
		return nil, fmt.Errorf("reading the pages' key: %w", err)
	}
	if len(key) != keyBytes {
		return nil, faults.New(faults.Input, "remove it, and another one is made: everybody logs in again", "%s is no key of the pages: it has not %d bytes", file, keyBytes)
	}
	return key, nil
}

// makeKey writes a new key. It appears whole, or not at all.
func makeKey(file string) (err error) {
	f, err := os.CreateTemp(filepath.Dir(file), ".pages-key-*") // for its owner alone
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(f.Name())) }()
	key := make([]byte, keyBytes)
	_, _ = rand.Read(key) // it never fails
	_, err = f.Write(key)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Link(f.Name(), file)
}
