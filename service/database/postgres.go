package database

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// connectTime bounds how long a connection may take.
const connectTime = 10 * time.Second

func postgresWords(ahead string) *strings.Replacer {
	return strings.NewReplacer(
		"{now}", "((extract(epoch FROM clock_timestamp()) * 1000000)::bigint"+ahead+")",
		"{bytes}", "BYTEA", "{lock}", "FOR UPDATE", "{skip}", "FOR UPDATE SKIP LOCKED",
	)
}

func (db *DB) openPostgres(ctx context.Context, url string) error {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		// The error may repeat the password.
		return &URLError{}
	}
	if config.ConnConfig.ConnectTimeout == 0 {
		config.ConnConfig.ConnectTimeout = connectTime
	}
	db.engine, db.words = PostgreSQL, postgresWords(db.ahead)
	if db.pool, err = pgxpool.NewWithConfig(ctx, config); err != nil {
		return fmt.Errorf("opening the database: %w", convert(err))
	}
	return db.Ping(ctx)
}

// pgRunner is a pool, a connection, or a transaction.
type pgRunner interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

type pgQuerier struct {
	pgRunner
	words *strings.Replacer
}

// Query implements [Querier].
func (q pgQuerier) Query(ctx context.Context, text string, args ...any) (Rows, error) {
	rows, err := q.pgRunner.Query(ctx, q.words.Replace(text), args...)
	return rows, err
}

// QueryRow implements [Querier].
func (q pgQuerier) QueryRow(ctx context.Context, text string, args ...any) Row {
	return pgRow{q.pgRunner.QueryRow(ctx, q.words.Replace(text), args...)}
}

type pgRow struct{ pgx.Row }

// Scan implements [Row].
func (r pgRow) Scan(dest ...any) error {
	err := r.Row.Scan(dest...)
	if errors.Is(err, pgx.ErrNoRows) {
		return ErrNoRows
	}
	return err
}

type pgTx struct {
	pgQuerier
	tx    pgx.Tx
	after *[]func()
}

// Exec implements [Tx].
func (t *pgTx) Exec(ctx context.Context, text string, args ...any) (int64, error) {
	tag, err := t.tx.Exec(ctx, t.words.Replace(text), args...)
	return tag.RowsAffected(), err
}

// OnCommit implements [Tx].
func (t *pgTx) OnCommit(do func()) { *t.after = append(*t.after, do) }

// Postgres implements [Tx].
func (t *pgTx) Postgres() pgx.Tx { return t.tx }

// SQLite implements [Tx].
func (*pgTx) SQLite() *sql.Tx { return nil }

// PostgreSQL's codes for a transaction that met another one, and for two rows of one key:
// appendix A of its manual.
const (
	serializationFailure = "40001"
	deadlockDetected     = "40P01"
	// A class: the server stops, or starts.
	operatorIntervention = "57P"
	// Classes: connections, and resources such as the disk.
	connectionException   = "08"
	insufficientResources = "53"
	diskFull              = "53100"
)

// isConflict reports whether a transaction may succeed when it is run again.
func isConflict(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && (pg.Code == serializationFailure || pg.Code == deadlockDetected)
}

// convert gives an error of the engine its kind.
func convert(err error) error {
	if err == nil {
		return nil
	}
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		for _, class := range []string{operatorIntervention, connectionException, insufficientResources} {
			if strings.HasPrefix(pg.Code, class) {
				return &UnavailableError{err, pg.Code == diskFull}
			}
		}
		return err
	}
	if isFull(err) {
		return &UnavailableError{err, true}
	}
	var connect *pgconn.ConnectError
	// A connection that broke before is told of in pgx's own words; nothing was sent on it.
	if errors.As(err, &connect) || isBroken(err) || pgconn.SafeToRetry(err) || errors.Is(err, pgconn.ErrConnClosed) {
		return &UnavailableError{Err: err}
	}
	return err
}
