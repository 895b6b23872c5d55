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
	"slices"
	"strings"
)

// maxRecord is the largest record in bytes. Records say where content is; they are
// not content.
const maxRecord = 16 << 20

// recordPrefix begins the first line of a record's file. The sha256 of all that follows
// that line stands behind it.
const recordPrefix = "ampoule record 2 sha256:"

// recordExt ends the names of the files of records.
const recordExt = ".json"

// record is what a record's file says below its first line.
type record struct {
	Kind string `json:"kind"`
	Key  string `json:"key"`
	// Content is all content that the value names.
	Content []string        `json:"content,omitempty"`
	Value   json.RawMessage `json:"value"`
}

// Namer is a value of a record that names content of the store. A string that is a sha256
// names that content without being one.
type Namer interface {
	// Content gives the sha256 of each content. Empty texts are left out.
	Content() []string
}

// ContentOf is the content that a value names, as [Store.Record] notes it: that of a [Namer],
// or a text that is itself a sha256.
func ContentOf(v any) []string {
	var named []string
	switch v := v.(type) {
	case Namer:
		named = v.Content()
	case string:
		if CheckSum(v) == nil {
			named = []string{v}
		}
	}
	return slices.DeleteFunc(slices.Clone(named), func(sum string) bool { return sum == "" })
}

// Record remembers v, as JSON, under a kind and a key. It replaces what was there.
// A kind is a word of lower-case letters, digits and "-"; a key is any text. It leaves
// it to the system when the bytes reach the disk: a record that a crash of the machine
// loses or tears is made again.
func (s *Store) Record(kind, key string, v any) error { return s.record(recordsDir, kind, key, v) }

// RecordDurably is [Store.Record] for what nobody makes again. It returns once the
// record is on the disk. No collection removes it or content that it names, and when it
// is damaged that is an error. A kind is recorded by one of the two methods, never by both.
func (s *Store) RecordDurably(kind, key string, v any) error { return s.record(keptDir, kind, key, v) }

func (s *Store) record(area, kind, key string, v any) error {
	path, err := s.recordPath(area, kind, key)
	if err != nil {
		return err
	}
	value, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("recording %s %q: %w", kind, key, err)
	}
	text, err := record{Kind: kind, Key: key, Content: ContentOf(v), Value: value}.file()
	if err == nil {
		err = s.pin(path)
	}
	if err == nil {
		err = s.replace(path, text, area == keptDir)
	}
	if err != nil {
		return fmt.Errorf("recording %s %q: %w", kind, key, spaceError(s.dir, err))
	}
	return nil
}

// file is the text of a record's file.
func (r record) file() ([]byte, error) {
	body, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(body)
	text := append([]byte(recordPrefix+hex.EncodeToString(sum[:])+"\n"), body...)
	if len(text) > maxRecord {
		return nil, fmt.Errorf("%d bytes are more than the limit of %d", len(text), maxRecord)
	}
	return text, nil
}

// parseRecord reads the text of a record's file. The error says what is wrong with it.
func parseRecord(text []byte) (record, error) {
	head, body, ok := bytes.Cut(text, []byte("\n"))
	want, begins := bytes.CutPrefix(head, []byte(recordPrefix))
	if !ok || !begins {
		return record{}, errors.New("it is torn")
	}
	if sum := sha256.Sum256(body); string(want) != hex.EncodeToString(sum[:]) {
		return record{}, errors.New("its checksum is wrong")
	}
	var r record
	if err := json.Unmarshal(body, &r); err != nil {
		return record{}, err
	}
	if len(r.Value) == 0 {
		return record{}, errors.New("it has no value")
	}
	return r, nil
}

// readRecord reads the record at a path, which must be the one of its kind and key.
// What is wrong with the record is a [*RecordError].
func (s *Store) readRecord(path string) (record, fs.FileInfo, error) {
	f, err := os.Open(path)
	if err != nil {
		return record{}, nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return record{}, nil, err
	}
	text, err := io.ReadAll(io.LimitReader(f, maxRecord+1))
	if err != nil {
		return record{}, nil, err
	}
	r, err := parseRecord(text)
	if err == nil {
		err = s.checkPlace(path, r)
	}
	if err != nil {
		return record{}, info, &RecordError{Path: path, Err: err}
	}
	return r, info, nil
}

// checkPlace compares the path of a record with the one that its kind and key have.
func (s *Store) checkPlace(path string, r record) error {
	area := recordsDir
	if s.isKept(path) {
		area = keptDir
	}
	if want, err := s.recordPath(area, r.Kind, r.Key); err != nil || want != path {
		return errors.New("it has the name of another record")
	}
	return nil
}

// isKept reports whether the path is one of a record that nobody makes again.
func (s *Store) isKept(path string) bool {
	return strings.HasPrefix(path, filepath.Join(s.dir, keptDir)+string(filepath.Separator))
}

// Lookup finds what was remembered under a kind and a key, and decodes it into v.
// A damaged record counts as absent where it can be made again; one of
// [Store.RecordDurably] is a [*RecordError]. One that does not fit v is an error.
func (s *Store) Lookup(kind, key string, v any) (bool, error) {
	for _, area := range []string{recordsDir, keptDir} {
		path, err := s.recordPath(area, kind, key)
		if err != nil {
			return false, err
		}
		found, err := s.lookup(path, v)
		if err != nil {
			return false, fmt.Errorf("looking up %s %q: %w", kind, key, err)
		}
		if found {
			return true, nil
		}
	}
	return false, nil
}

func (s *Store) lookup(path string, v any) (bool, error) {
	if err := s.pin(path); err != nil {
		return false, err
	}
	r, info, err := s.readRecord(path)
	var damaged *RecordError
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.As(err, &damaged) && !s.isKept(path):
		return false, nil
	case err != nil:
		return false, err
	}
	used(path, info)
	return true, json.Unmarshal(r.Value, v)
}

// Records visits what is remembered under a kind, as [Store.Lookup] would find it.
func (s *Store) Records(kind string, visit func(key string, value json.RawMessage) error) error {
	for _, area := range []string{recordsDir, keptDir} {
		path, err := s.recordPath(area, kind, "")
		if err != nil {
			return err
		}
		err = eachIn(filepath.Dir(filepath.Dir(path)), 1, func(dir string, entry fs.DirEntry) error {
			r, _, err := s.readRecord(filepath.Join(dir, entry.Name()))
			var damaged *RecordError
			switch {
			case errors.As(err, &damaged) && area == recordsDir:
				return nil
			case err != nil:
				return ignoreMissing(err)
			}
			return visit(r.Key, r.Value)
		})
		if err := ignoreMissing(err); err != nil {
			return fmt.Errorf("reading records of %s: %w", kind, err)
		}
	}
	return nil
}

// Forget removes what was remembered under a kind and a key, if anything was.
func (s *Store) Forget(kind, key string) error {
	for _, area := range []string{recordsDir, keptDir} {
		path, err := s.recordPath(area, kind, key)
		if err != nil {
			return err
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("forgetting %s %q: %w", kind, key, err)
		}
	}
	return nil
}

func (s *Store) recordPath(area, kind, key string) (string, error) {
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789-"
	if kind == "" || strings.TrimLeft(kind, letters) != "" {
		return "", fmt.Errorf("record kind %q: it must have lower-case letters, digits and \"-\" only", kind)
	}
	sum := sha256.Sum256([]byte(key))
	name := hex.EncodeToString(sum[:])
	return filepath.Join(s.dir, area, kind, name[:2], name+recordExt), nil
}

// replace puts a file in place whole.
//
//nolint:contextcheck // nobody else has the name that it locks: it never waits
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
