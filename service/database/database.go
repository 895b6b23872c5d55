// Package database opens the service's database: SQLite in a directory of one process, or
// PostgreSQL of several. One text of SQL serves both. Migrations are part of the program and
// run when it opens the database.
package database

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Options say which database.
type Options struct {
	// Dir is the data directory; SQLite's file is in it, and its lock.
	Dir string
	// URL is postgres://…; empty is SQLite in Dir.
	URL string
	// Ahead is how far the database's clock is taken to be ahead, for tests: nothing may compare
	// its time with a process's.
	Ahead time.Duration
}

// Engine names a kind of database.
type Engine string

// The engines.
const (
	SQLite     Engine = "sqlite"
	PostgreSQL Engine = "postgresql"
)

// DB is an open database. Its methods may be called from several goroutines.
//
// SQL has placeholders $1, $2 …, and words in braces that each engine has its own text for:
// {now} is the database's time in microseconds since 1970, {bytes} the type of bytes,
// {lock} locks the rows that a SELECT finds, {skip} does so and passes over locked ones.
type DB struct {
	engine Engine
	words  *strings.Replacer
	ahead  string
	// pool is PostgreSQL's. One SQLite connection writes, a few others read beside it.
	pool        *pgxpool.Pool
	write, read *sql.DB
	dir         string
	unlock      func()
}

// Open opens the database, which is made where it is missing, and brings it to this program's
// version. A data directory that another process has open is a [*LockedError]; a server that
// does not answer is an [*UnavailableError].
func Open(ctx context.Context, o Options) (_ *DB, err error) {
	db := &DB{ahead: fmt.Sprintf(" + (%d)", o.Ahead.Microseconds())}
	if o.URL == "" {
		err = db.openSQLite(ctx, o.Dir)
	} else {
		err = db.openPostgres(ctx, o.URL)
	}
	if err == nil {
		err = db.migrate(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// Close ends all connections.
func (db *DB) Close() error {
	var err error
	if db.pool != nil {
		db.pool.Close()
	}
	for _, one := range []*sql.DB{db.read, db.write} {
		if one != nil {
			err = errors.Join(err, one.Close())
		}
	}
	if db.unlock != nil {
		db.unlock()
		db.unlock = nil
	}
	return err
}

// Engine is the kind of database.
func (db *DB) Engine() Engine { return db.engine }

// Dir is the data directory that SQLite is in; empty with PostgreSQL.
func (db *DB) Dir() string { return db.dir }

// Pool is PostgreSQL's pool of connections; nil with SQLite.
func (db *DB) Pool() *pgxpool.Pool { return db.pool }

// Writer is SQLite's connection that writes; nil with PostgreSQL.
func (db *DB) Writer() *sql.DB { return db.write }

// Ping asks the database for anything.
func (db *DB) Ping(ctx context.Context) error {
	return db.Read(ctx, func(ctx context.Context, q Querier) error {
		var one int
		return q.QueryRow(ctx, "SELECT 1").Scan(&one)
	})
}

// Now is the database's time.
func (db *DB) Now(ctx context.Context) (time.Time, error) {
	var micros int64
	err := db.Read(ctx, func(ctx context.Context, q Querier) error {
		return q.QueryRow(ctx, "SELECT {now}").Scan(&micros)
	})
	return Time(micros), err
}

// Time is a time of the database.
func Time(micros int64) time.Time { return time.UnixMicro(micros).UTC() }

// ErrNoRows says that a row was wanted and there is none, of either engine.
var ErrNoRows = sql.ErrNoRows

// Row is one row, or none: then Scan returns [ErrNoRows].
type Row interface{ Scan(dest ...any) error }

// Rows are read one by one, and then closed.
type Rows interface {
	Next() bool
	Scan(dest ...any) error
	Err() error
	Close()
}

// Querier reads.
type Querier interface {
	Query(ctx context.Context, sql string, args ...any) (Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) Row
}

// Tx is a transaction.
type Tx interface {
	Querier
	// Exec returns how many rows it changed.
	Exec(ctx context.Context, sql string, args ...any) (int64, error)
	// OnCommit has something called when the transaction is committed.
	OnCommit(do func())
	// Postgres and SQLite are the engine's own transaction; nil of the other engine.
	Postgres() pgx.Tx
	SQLite() *sql.Tx
}

// tries is how often a transaction is begun that met another one.
const tries = 10

// Write runs a transaction. It is committed if do returns nil. What the engine ended because
// it met another transaction is run again: do may be called several times.
func (db *DB) Write(ctx context.Context, do func(context.Context, Tx) error) error {
	var err error
	for range tries {
		err = db.writeOnce(ctx, do)
		if !isConflict(err) || ctx.Err() != nil {
			break
		}
	}
	return convert(err)
}

func (db *DB) writeOnce(ctx context.Context, do func(context.Context, Tx) error) error {
	var after []func()
	var err error
	if db.pool != nil {
		err = pgx.BeginFunc(ctx, db.pool, func(tx pgx.Tx) error {
			return do(ctx, &pgTx{pgQuerier{tx, db.words}, tx, &after})
		})
	} else {
		err = db.writeSQLite(ctx, func(tx *sql.Tx) error {
			return do(ctx, &liteTx{liteQuerier{tx, db.words}, tx, &after})
		})
	}
	if err != nil {
		return err
	}
	for _, f := range after {
		f()
	}
	return nil
}

func (db *DB) writeSQLite(ctx context.Context, do func(*sql.Tx) error) error {
	tx, err := db.write.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := do(tx); err != nil {
		return errors.Join(err, ignoreDone(tx.Rollback()))
	}
	return tx.Commit()
}

// ignoreDone is nil for a transaction that its context has ended.
func ignoreDone(err error) error {
	if errors.Is(err, sql.ErrTxDone) {
		return nil
	}
	return err
}

// Read reads outside of a transaction: each query sees what is committed then.
func (db *DB) Read(ctx context.Context, do func(context.Context, Querier) error) error {
	if db.pool != nil {
		return convert(do(ctx, pgQuerier{db.pool, db.words}))
	}
	return convert(do(ctx, liteQuerier{db.read, db.words}))
}

// Get reads one row; found is false where there is none.
func Get(ctx context.Context, q Querier, sql string, args []any, dest ...any) (found bool, err error) {
	err = q.QueryRow(ctx, sql, args...).Scan(dest...)
	if errors.Is(err, ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

// Each reads all rows.
func Each(ctx context.Context, q Querier, sql string, args []any, scan func(Row) error) error {
	rows, err := q.Query(ctx, sql, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return fmt.Errorf("reading a row: %w", err)
		}
	}
	return rows.Err()
}
