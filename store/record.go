package store

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// maxRecord is the largest record in bytes. Records say where content is; they are
// not content.
const maxRecord = 16 << 20

// record is the file of a record.
type record struct {
	Kind  string          `json:"kind"`
	Key   string          `json:"key"`
	Value json.RawMessage `json:"value"`
}

// Record remembers v, as JSON, under a kind and a key. It replaces what was there.
// A kind is a word of lower-case letters, digits and "-"; a key is any text. It leaves
// it to the system when the bytes reach the disk: a record that a crash of the machine
// loses or tears is made again.
func (s *Store) Record(kind, key string, v any) error { return s.record(kind, key, v, false) }

// RecordDurably is [Store.Record] for what nobody makes again: it returns once the
// record is on the disk.
func (s *Store) RecordDurably(kind, key string, v any) error { return s.record(kind, key, v, true) }

func (s *Store) record(kind, key string, v any, durably bool) error {
	path, err := s.recordPath(kind, key)
	if err != nil {
		return err
	}
	value, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("recording %s %q: %w", kind, key, err)
	}
	text, err := json.Marshal(record{Kind: kind, Key: key, Value: value})
	if err != nil {
		return fmt.Errorf("recording %s %q: %w", kind, key, err)
	}
	if len(text) > maxRecord {
		return fmt.Errorf("recording %s %q: %d bytes are more than the limit of %d", kind, key, len(text), maxRecord)
	}
	if err := s.replace(path, text, durably); err != nil {
		return fmt.Errorf("recording %s %q: %w", kind, key, spaceError(s.dir, err))
	}
	return nil
}

// Lookup finds what was remembered under a kind and a key, and decodes it into v.
// Records can be made again, so one that is torn (a crash of the machine can do
// that) counts as absent. One that does not fit v is an error.
func (s *Store) Lookup(kind, key string, v any) (bool, error) {
	path, err := s.recordPath(kind, key)
	if err != nil {
		return false, err
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("looking up %s %q: %w", kind, key, err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxRecord+1))
	if err != nil {
		return false, fmt.Errorf("looking up %s %q: %w", kind, key, err)
	}
	var r record
	if json.Unmarshal(text, &r) != nil || r.Kind != kind || r.Key != key || len(r.Value) == 0 {
		return false, nil
	}
	if info, err := f.Stat(); err == nil {
		used(path, info)
	}
	if err := json.NewDecoder(bytes.NewReader(r.Value)).Decode(v); err != nil {
		return false, fmt.Errorf("looking up %s %q: %w", kind, key, err)
	}
	return true, nil
}

// Records visits what is remembered under a kind, as [Store.Lookup] would find it.
func (s *Store) Records(kind string, visit func(key string, value json.RawMessage) error) error {
	path, err := s.recordPath(kind, "")
	if err != nil {
		return err
	}
	err = eachIn(filepath.Dir(filepath.Dir(path)), 1, func(dir string, entry fs.DirEntry) error {
		text, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		if err != nil {
			return ignoreMissing(err)
		}
		var r record
		if json.Unmarshal(text, &r) != nil || r.Kind != kind || len(r.Value) == 0 {
			return nil
		}
		return visit(r.Key, r.Value)
	})
	if err := ignoreMissing(err); err != nil {
		return fmt.Errorf("reading records of %s: %w", kind, err)
	}
	return nil
}

// Forget removes what was remembered under a kind and a key, if anything was.
func (s *Store) Forget(kind, key string) error {
	path, err := s.recordPath(kind, key)
	if err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forgetting %s %q: %w", kind, key, err)
	}
	return nil
}

func (s *Store) recordPath(kind, key string) (string, error) {
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789-"
	if kind == "" || strings.TrimLeft(kind, letters) != "" {
		return "", fmt.Errorf("record kind %q: it must have lower-case letters, digits and \"-\" only", kind)
	}
	sum := sha256.Sum256([]byte(key))
	name := hex.EncodeToString(sum[:])
	return filepath.Join(s.dir, recordsDir, kind, name[:2], name+".json"), nil
}

// replace puts a file in place whole.
func (s *Store) replace(path string, text []byte, durably bool) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	// Its lock tells a sweep that the writer lives.
	f, err := openLocked(context.Background(), filepath.Join(s.Dir(Tmp), writerPrefix+rand.Text()))
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err = f.Write(text); err == nil {
		err = f.Chmod(0o644)
	}
	if err == nil && durably {
		err = f.Sync()
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.RemoveAll(f.Name()))
	}
	// The directories above may be new.
	for ; durably && dir != filepath.Dir(s.dir); dir = filepath.Dir(dir) {
		if err := syncDir(dir); err != nil {
			return err
		}
	}
	return nil
}
