package database

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5"
	"modernc.org/sqlite"

	"ampoule/system"
)

const (
	// File is SQLite's file in the data directory, and lockFile what is locked while a process
	// has it open.
	File     = "service.db"
	lockFile = "service.lock"
	// readers is how many connections read beside the one that writes.
	readers = 4
)

func sqliteWords(ahead string) *strings.Replacer {
	return strings.NewReplacer(
		"{now}", "(CAST(unixepoch('subsec') * 1000000 AS INTEGER)"+ahead+")",
		"{bytes}", "BLOB", "{lock}", "", "{skip}", "",
	)
}

func (db *DB) openSQLite(ctx context.Context, dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("opening the database: %w", err)
	}
	unlock, err := lock(filepath.Join(dir, lockFile))
	if err != nil {
		return err
	}
	db.dir, db.unlock = dir, unlock
	if err := checkWhole(dir); err != nil {
		return err
	}
	db.engine, db.words = SQLite, sqliteWords(db.ahead)
	path := filepath.Join(dir, File)
	// What is committed is on disk: an answer that a build was accepted holds after a power loss.
	if db.write, err = openFile(path, 1, "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)"); err != nil {
		return err
	}
	if err := db.write.PingContext(ctx); err != nil {
		return fmt.Errorf("opening the database %s: %w", path, err)
	}
	db.read, err = openFile(path, readers, "query_only(1)")
	return err
}

func openFile(path string, connections int, pragmas ...string) (*sql.DB, error) {
	return sqlOpen(path, url.Values{"_txlock": {"immediate"}, "_pragma": append([]string{"busy_timeout(10000)"}, pragmas...)}, connections)
}

func sqlOpen(path string, values url.Values, connections int) (*sql.DB, error) {
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+"?"+values.Encode())
	if err != nil {
		return nil, fmt.Errorf("opening the database %s: %w", path, err)
	}
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	return db, nil
}

// lock takes a lock that ends with the process at the latest.
func lock(path string) (func(), error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking the data directory: %w", err)
	}
	err = system.TryLockFile(f, system.Exclusive)
	if errors.Is(err, system.ErrHeld) {
		holder, _ := io.ReadAll(io.LimitReader(f, 100))
		f.Close()
		return nil, &LockedError{Dir: filepath.Dir(path), Holder: strings.TrimSpace(string(holder))}
	}
	if err == nil {
		err = f.Truncate(0)
	}
	if err == nil {
		_, err = fmt.Fprintf(f, "process %d\n", os.Getpid())
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("locking the data directory: %w", err)
	}
	return func() { _ = system.CloseLocked(f) }, nil // the lock ends with the process at the latest
}

// sqlRunner is a database or a transaction.
type sqlRunner interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

type liteQuerier struct {
	run   sqlRunner
	words *strings.Replacer
}

// Query implements [Querier].
func (q liteQuerier) Query(ctx context.Context, text string, args ...any) (Rows, error) {
	rows, err := q.run.QueryContext(ctx, q.words.Replace(text), args...)
	if err != nil {
		return nil, err
	}
	return liteRows{rows}, nil
}

// QueryRow implements [Querier].
func (q liteQuerier) QueryRow(ctx context.Context, text string, args ...any) Row {
	return q.run.QueryRowContext(ctx, q.words.Replace(text), args...)
}

type liteRows struct{ *sql.Rows }

// Close implements [Rows].
func (r liteRows) Close() {
	// Err tells what went wrong.
	_ = r.Rows.Close()
}

type liteTx struct {
	liteQuerier
	tx    *sql.Tx
	after *[]func()
}

// Exec implements [Tx].
func (t *liteTx) Exec(ctx context.Context, text string, args ...any) (int64, error) {
	done, err := t.tx.ExecContext(ctx, t.words.Replace(text), args...)
	if err != nil {
		return 0, err
	}
	return done.RowsAffected()
}

// OnCommit implements [Tx].
func (t *liteTx) OnCommit(do func()) { *t.after = append(*t.after, do) }

// Postgres implements [Tx].
func (*liteTx) Postgres() pgx.Tx { return nil }

// SQLite implements [Tx].
func (t *liteTx) SQLite() *sql.Tx { return t.tx }

// isBroken reports whether a connection ended in the middle.
func isBroken(err error) bool {
	var network net.Error
	return errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) || errors.As(err, &network)
}

// SQLite's primary codes for a full disk, and for what else a disk refuses: https://sqlite.org/rescode.html.
const (
	codeFull  = 13
	codeIO    = 10
	codeIOSHM = codeIO | 19<<8 // SQLITE_IOERR_SHMSIZE: the index of the log cannot grow
)

// isFull reports whether SQLite had no room to write.
func isFull(err error) bool {
	var lite *sqlite.Error
	if !errors.As(err, &lite) {
		return errors.Is(err, syscall.ENOSPC)
	}
	return lite.Code()&0xff == codeFull || lite.Code() == codeIOSHM
}
