package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"ampoule/system"
)

// Damage is a file of the store that is not what it must be.
type Damage struct {
	Path string `json:"path"`
	// What says what is wrong.
	What string `json:"what"`
	// Lost says that it cannot be made or fetched again: a repair leaves it.
	Lost bool `json:"lost,omitempty"`
}

// Checked is what a look at all files of a part of the store gives.
type Checked struct {
	Part
	Damages []Damage
}

// Check reads all content and all records. With repair true it removes what is damaged
// and can be fetched or made again.
func (s *Store) Check(ctx context.Context, repair bool) (Checked, error) {
	c := checker{store: s, repair: repair}
	err := eachIn(filepath.Join(s.dir, contentDir), 1, func(dir string, entry fs.DirEntry) error {
		return c.content(ctx, filepath.Join(dir, entry.Name()))
	})
	for _, area := range []string{recordsDir, keptDir} {
		if err == nil {
			err = eachIn(filepath.Join(s.dir, area), 2, func(dir string, entry fs.DirEntry) error {
				return c.record(ctx, filepath.Join(dir, entry.Name()))
			})
		}
	}
	if err != nil {
		return c.out, fmt.Errorf("verifying the store: %w", err)
	}
	return c.out, nil
}

type checker struct {
	store  *Store
	repair bool
	out    Checked
}

func (c *checker) count(path string) error {
	info, err := os.Lstat(path)
	if err == nil {
		c.out.Files++
		c.out.Bytes += info.Size()
	}
	return ignoreMissing(err)
}

func (c *checker) content(ctx context.Context, path string) error {
	sum := filepath.Base(path)
	if CheckSum(sum) != nil || path != c.store.Path(sum) {
		c.out.Damages = append(c.out.Damages, Damage{Path: path, What: "nothing leads to it"})
		if c.repair {
			return removeTree(path)
		}
		return nil
	}
	if err := c.count(path); err != nil {
		return err
	}
	err := c.store.Verify(ctx, sum)
	var wrong *MismatchError
	switch {
	case errors.Is(err, ErrNotFound):
		return nil
	case !errors.As(err, &wrong):
		return err
	}
	c.out.Damages = append(c.out.Damages, Damage{Path: wrong.Path, What: "its sha256 is " + wrong.Got})
	if c.repair {
		_, err = c.store.Whole(ctx, sum)
		return err
	}
	return nil
}

// record looks at one record: at itself, and at whether the content is there that it names.
func (c *checker) record(ctx context.Context, path string) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	if err := c.count(path); err != nil {
		return err
	}
	what, state, err := c.store.faultOf(path)
	if err != nil || what == "" {
		return err
	}
	kept := c.store.isKept(path)
	c.out.Damages = append(c.out.Damages, Damage{Path: path, What: what, Lost: kept})
	if !c.repair || kept {
		return nil
	}
	// A build may have made it again meanwhile.
	leave, err := c.store.enter(ctx, system.Exclusive)
	if err != nil {
		return err
	}
	defer leave()
	if stateOf(path) != state {
		return nil
	}
	return ignoreMissing(os.Remove(path))
}

// faultOf says what is wrong with a record, if anything is, and gives the state of the
// file that was looked at.
func (s *Store) faultOf(path string) (what string, state fileState, err error) {
	state = stateOf(path)
	r, _, err := s.readRecord(path)
	var damaged *RecordError
	switch {
	case errors.As(err, &damaged):
		return damaged.Err.Error(), state, nil
	case err != nil:
		return "", state, ignoreMissing(err)
	}
	for _, sum := range r.Content {
		if CheckSum(sum) != nil {
			return fmt.Sprintf("it names %q as content", sum), state, nil
		}
		if _, err := os.Lstat(s.Path(sum)); errors.Is(err, fs.ErrNotExist) {
			return "it names content that is not there: " + sum, state, nil
		}
	}
	return "", state, nil
}
