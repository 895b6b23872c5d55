// Package recorded keeps what was measured: a JSON file for each kind of result,
// written whole after each result, so that a run which was cut short goes on.
package recorded

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// maxBytes limits a file of results.
const maxBytes = 16 << 20

// Result is something measured that has a name.
type Result interface{ Key() string }

// Book is a file of results with distinct names.
type Book[R Result] struct {
	path    string
	results []R
}

// Open reads the book at path; one that is not there is empty. An unknown key, or
// two results of one name, is an error.
func Open[R Result](path string) (*Book[R], error) {
	b := &Book[R]{path: path}
	data, err := read(path)
	if errors.Is(err, fs.ErrNotExist) {
		return b, nil
	}
	if err == nil {
		err = decode(data, &b.results)
	}
	if err != nil {
		return nil, fmt.Errorf("reading results %s: %w", path, err)
	}
	b.sort()
	for i := 1; i < len(b.results); i++ {
		if key := b.results[i].Key(); key == b.results[i-1].Key() {
			return nil, fmt.Errorf("reading results %s: %q is in it twice", path, key)
		}
	}
	return b, nil
}

// read reads a file that is not too long to be one of results.
func read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxBytes+1))
	if err == nil && len(data) > maxBytes {
		err = fmt.Errorf("it is longer than %d bytes", maxBytes)
	}
	return data, err
}

// decode refuses keys that nothing reads, and what stands behind the value.
func decode(data []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something stands behind the results")
	}
	return nil
}

func (b *Book[R]) sort() {
	slices.SortFunc(b.results, func(x, y R) int { return cmp.Compare(x.Key(), y.Key()) })
}

// All gives the results, sorted by name.
func (b *Book[R]) All() []R { return slices.Clone(b.results) }

// Get gives the result of that name.
func (b *Book[R]) Get(key string) (R, bool) {
	for _, r := range b.results {
		if r.Key() == key {
			return r, true
		}
	}
	var none R
	return none, false
}

// Put takes a result in, in the place of one of its name, and writes the book. The
// file is seen whole, as it was before or after.
func (b *Book[R]) Put(r R) error {
	b.results = append(slices.DeleteFunc(b.results, func(old R) bool { return old.Key() == r.Key() }), r)
	b.sort()
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	err := enc.Encode(b.results)
	if err == nil {
		err = replace(b.path, text.Bytes())
	}
	if err != nil {
		return fmt.Errorf("writing results %s: %w", b.path, err)
	}
	return nil
}

// replace writes a file by rename, and makes the directory that it is in.
func replace(path string, data []byte) (err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(0o644)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
