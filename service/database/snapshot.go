package database

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"syscall"

	"modernc.org/sqlite"
	sqlitelib "modernc.org/sqlite/lib"

	"ampoule/faults"
)

// RestoringDir is the directory of a data directory in which a backup is put back. While it is
// there the data directory is not whole, and no process opens it.
const RestoringDir = "restoring"

// LockFile is what the process locks that has a data directory open.
const LockFile = lockFile

// Hold locks a data directory, as the process does that has it open, until release. If there is
// such a process the error is a [*LockedError].
func Hold(dir string) (release func(), err error) { return lock(filepath.Join(dir, lockFile)) }

// checkWhole refuses a data directory that is being put back.
func checkWhole(dir string) error {
	_, err := os.Lstat(filepath.Join(dir, RestoringDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("opening the data directory: %w", err)
	}
	return &UnfinishedError{Dir: dir}
}

// UnfinishedError says that a backup was not put back to the end.
type UnfinishedError struct{ Dir string }

func (e *UnfinishedError) Error() string {
	return fmt.Sprintf("a backup was being put back into %s, and that did not end", e.Dir)
}

// Kind says whose turn it is.
func (*UnfinishedError) Kind() faults.Kind { return faults.Machine }

// Hint says what to do.
func (*UnfinishedError) Hint() string {
	return "remove all that is in the directory, and run `ampoule admin restore` again"
}

// Snapshot writes a copy of the database of a data directory into a new file, as it is at one
// moment. Another process may have the directory open, and go on reading and writing.
func Snapshot(ctx context.Context, dir, to string) (err error) {
	db, err := openFile(filepath.Join(dir, File), 1)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	// VACUUM INTO reads in one transaction (SQLite's manual, lang_vacuum).
	if _, err := db.ExecContext(ctx, "VACUUM INTO ?", to); err != nil {
		return fmt.Errorf("copying the database: %w", spaceError(err))
	}
	return os.Chmod(to, 0o600)
}

// spaceError says of SQLite's error for a full disk that it is one.
func spaceError(err error) error {
	var lite *sqlite.Error
	if errors.As(err, &lite) && lite.Code()&0xff == sqlitelib.SQLITE_FULL {
		return errors.Join(err, syscall.ENOSPC)
	}
	return err
}

// OpenSnapshot opens a file of [Snapshot], to be read. One that is damaged is an error.
func OpenSnapshot(ctx context.Context, path string) (*DB, error) {
	values := url.Values{"immutable": {"1"}, "mode": {"ro"}}
	read, err := sqlOpen(path, values, 1)
	if err != nil {
		return nil, err
	}
	db := &DB{engine: SQLite, words: sqliteWords(""), read: read}
	if err := db.checkIntegrity(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("opening the database %s: %w", path, err), db.Close())
	}
	return db, nil
}

// checkIntegrity reads all of SQLite's file.
func (db *DB) checkIntegrity(ctx context.Context) error {
	return db.Read(ctx, func(ctx context.Context, q Querier) error {
		return Each(ctx, q, "PRAGMA integrity_check(1)", nil, func(from Row) error {
			var said string
			if err := from.Scan(&said); err != nil || said == "ok" {
				return err
			}
			return faults.New(faults.Machine, "", "it is damaged: %s", said)
		})
	})
}
