package store

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"

	"ampoule/system"
)

const (
	// idFile holds the store's ids, one for each place where it was opened.
	idFile = "id"
	// machineFile names the machine's installation (machine-id(5)). Containers may have none.
	machineFile = "/etc/machine-id"
	// maxPlaces bounds how many places are remembered.
	maxPlaces = 16
)

// placed is the id that a store has in one place.
type placed struct {
	Place string `json:"place"`
	ID    string `json:"id"`
}

var idForm = regexp.MustCompile(`^[0-9a-f]{16}$`)

// ID names this store among all that one sandbox engine serves. It is drawn, and holds for
// the place of the store's directory: a copy, wherever it is, gets another one; a
// directory that was renamed keeps it.
func (s *Store) ID(ctx context.Context) (string, error) {
	unlock, err := s.Lock(ctx, "id")
	if err != nil {
		return "", fmt.Errorf("naming the store: %w", err)
	}
	defer unlock()
	id, found, err := s.KnownID()
	if err != nil || found {
		return id, err
	}
	place, err := s.location()
	if err != nil {
		return "", fmt.Errorf("naming the store: %w", err)
	}
	var drawn [8]byte
	// crypto/rand's Read never fails.
	_, _ = rand.Read(drawn[:])
	id = hex.EncodeToString(drawn[:])
	all := append([]placed{{place, id}}, s.readIDs()...)
	if err := s.writeIDs(all[:min(len(all), maxPlaces)]); err != nil {
		return "", fmt.Errorf("naming the store: %w", spaceError(s.dir, err))
	}
	return id, nil
}

// KnownID is the id that [Store.ID] gave in this place before, if it did.
func (s *Store) KnownID() (string, bool, error) {
	place, err := s.location()
	if err != nil {
		return "", false, fmt.Errorf("naming the store: %w", err)
	}
	all := s.readIDs()
	i := slices.IndexFunc(all, func(p placed) bool { return p.Place == place && idForm.MatchString(p.ID) })
	if i < 0 {
		return "", false, nil
	}
	return all[i].ID, true, nil
}

// readIDs reads the ids. A file that cannot be read has none: others are drawn.
func (s *Store) readIDs() []placed {
	text, err := os.ReadFile(filepath.Join(s.dir, idFile))
	var all []placed
	if err != nil || json.Unmarshal(text, &all) != nil {
		return nil
	}
	return all
}

func (s *Store) writeIDs(all []placed) error {
	text, err := json.Marshal(all)
	if err != nil {
		return err
	}
	return s.replace(filepath.Join(s.dir, idFile), append(text, '\n'), true)
}

// location tells the store's directory from every copy of it: by its inode and the time when
// that was made, which no copy can be given, or its device where the file system keeps no
// such time; and by the machine, since a copied disk has the same of both.
func (s *Store) location() (string, error) {
	from, err := system.OriginOf(s.dir)
	if err != nil {
		return "", err
	}
	born := fmt.Sprintf("device %d:%d", from.Major, from.Minor)
	if from.Dated {
		born = fmt.Sprintf("born %d.%09d", from.Born.Sec, from.Born.Nsec)
	}
	machine, err := os.ReadFile(machineFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
		return "", err
	}
	return fmt.Sprintf("inode %d, %s, machine %s", from.Inode, born, bytes.TrimSpace(machine)), nil
}
