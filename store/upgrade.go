package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"

	"ampoule/system"
)

// Version 1 had records without a checksum, all in one directory, and a file in the
// directory of locks that those who used the store shared.
const usersLock1 = "users"

// The kinds of records of version 1 that nobody makes again.
const (
	inputsKind1 = "inputs"
	idKind1     = "store-id"
)

// record1 is a record of version 1.
type record1 struct {
	Kind  string          `json:"kind"`
	Key   string          `json:"key"`
	Value json.RawMessage `json:"value"`
}

// upgrade brings a store of version 1 to this one. Records that can be made again cannot
// show that they are what was written, so they go; the others stay. It may be killed and
// begun again.
func (s *Store) upgrade() error {
	users, err := os.OpenFile(filepath.Join(s.dir, locksDir, usersLock1), os.O_RDONLY, 0)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err == nil {
		defer users.Close()
		if err := system.TryLockFile(users, system.Exclusive); errors.Is(err, system.ErrHeld) {
			return olderInUse(s.dir)
		} else if err != nil {
			return err
		}
	}
	for _, area := range []string{string(Tmp), keptDir} {
		if err := os.MkdirAll(filepath.Join(s.dir, area), 0o755); err != nil {
			return err
		}
	}
	if err := s.upgradeInputs(); err != nil {
		return fmt.Errorf("keeping records: %w", err)
	}
	if err := s.upgradeID(); err != nil {
		return fmt.Errorf("keeping the store's id: %w", err)
	}
	return removeTree(filepath.Join(s.dir, recordsDir))
}

// upgradeInputs moves the records of inputs that stay. One that cannot be read is moved as
// it is: whoever looks for it is told.
func (s *Store) upgradeInputs() error {
	err := eachIn(filepath.Join(s.dir, recordsDir, inputsKind1), 1, func(dir string, entry fs.DirEntry) error {
		path := filepath.Join(dir, entry.Name())
		to := filepath.Join(s.dir, keptDir, inputsKind1, filepath.Base(dir), entry.Name())
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		var old record1
		if json.Unmarshal(text, &old) == nil {
			r := record{Kind: old.Kind, Key: old.Key, Content: sumsIn1(old), Value: old.Value}
			if s.checkPlace(to, r) == nil {
				if text, err = r.file(); err != nil {
					return err
				}
			}
		}
		return s.replace(to, text, true)
	})
	return ignoreMissing(err)
}

var sumForm1 = regexp.MustCompile(`\b[0-9a-f]{64}\b`)

// sumsIn1 are the hashes in a record's value but its key's: what version 1 took for the
// content that it names.
func sumsIn1(r record1) []string {
	var sums []string
	for _, sum := range sumForm1.FindAllString(string(r.Value), -1) {
		if "sha256:"+sum != r.Key {
			sums = append(sums, sum)
		}
	}
	return sums
}

// upgradeID keeps the id, which images in the sandbox engine have in their names.
func (s *Store) upgradeID() error {
	path, err := s.recordPath(recordsDir, idKind1, "")
	if err != nil {
		return err
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return ignoreMissing(err)
	}
	var old record1
	var id string
	if json.Unmarshal(text, &old) != nil || json.Unmarshal(old.Value, &id) != nil || !idForm.MatchString(id) {
		// Another one is drawn.
		return nil
	}
	place, err := s.location()
	if err != nil {
		return err
	}
	return s.writeIDs([]placed{{Place: place, ID: id}})
}
