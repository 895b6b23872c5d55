package database

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/riverdriver/riversqlite"
	"github.com/riverqueue/river/rivermigrate"
)

// files are the migrations, one for both engines. They add: a program of the version before
// works beside this one on the same database.
//
//go:embed migrations/*.sql
var files embed.FS

// migrationLock is the number of PostgreSQL's advisory lock that those who migrate hold.
const migrationLock = 0x616d706f756c65

// migration is one file.
type migration struct {
	version int
	name    string
	text    string
}

// migrations reads all, by version. A file is NNNN_name.sql.
func migrations(from fs.FS) ([]migration, error) {
	names, err := fs.Glob(from, "migrations/*.sql")
	if err != nil {
		return nil, err
	}
	var all []migration
	for _, path := range names {
		text, err := fs.ReadFile(from, path)
		if err != nil {
			return nil, err
		}
		name := strings.TrimSuffix(strings.TrimPrefix(path, "migrations/"), ".sql")
		number, _, _ := strings.Cut(name, "_")
		version, err := strconv.Atoi(number)
		if err != nil {
			return nil, fmt.Errorf("migration %s: its name has no number", path)
		}
		all = append(all, migration{version, name, string(text)})
	}
	slices.SortFunc(all, func(a, b migration) int { return a.version - b.version })
	return all, nil
}

// migrate brings the database to this program's version. Of several processes one does, and
// the others wait.
func (db *DB) migrate(ctx context.Context) error {
	all, err := migrations(files)
	if err != nil {
		return err
	}
	if db.pool == nil {
		return db.migrateAll(ctx, all)
	}
	conn, err := db.pool.Acquire(ctx)
	if err != nil {
		return convert(err)
	}
	defer conn.Release()
	if _, err := conn.Exec(ctx, "SELECT pg_advisory_lock($1)", migrationLock); err != nil {
		return fmt.Errorf("locking the database's migrations: %w", convert(err))
	}
	defer func() {
		// A connection that cannot unlock is broken, and its lock is gone.
		_, _ = conn.Exec(context.WithoutCancel(ctx), "SELECT pg_advisory_unlock($1)", migrationLock)
	}()
	return db.migrateAll(ctx, all)
}

func (db *DB) migrateAll(ctx context.Context, all []migration) error {
	for _, m := range all {
		if err := db.apply(ctx, m); err != nil {
			return fmt.Errorf("migrating the database with %s: %w", m.name, err)
		}
	}
	if err := db.migrateRiver(ctx); err != nil {
		return fmt.Errorf("migrating the queue's tables: %w", convert(err))
	}
	return nil
}

// apply runs one migration, once.
func (db *DB) apply(ctx context.Context, m migration) error {
	return db.Write(ctx, func(ctx context.Context, tx Tx) error {
		_, err := tx.Exec(ctx, "CREATE TABLE IF NOT EXISTS migrations (version INTEGER PRIMARY KEY, name TEXT NOT NULL, at BIGINT NOT NULL)")
		if err != nil {
			return err
		}
		n, err := tx.Exec(ctx, "INSERT INTO migrations (version, name, at) VALUES ($1, $2, {now}) ON CONFLICT (version) DO NOTHING", m.version, m.name)
		if err != nil || n == 0 {
			return err
		}
		_, err = tx.Exec(ctx, m.text)
		return err
	})
}

// migrateRiver makes River's own tables.
func (db *DB) migrateRiver(ctx context.Context) error {
	if db.pool != nil {
		m, err := rivermigrate.New(riverpgxv5.New(db.pool), nil)
		if err != nil {
			return err
		}
		_, err = m.Migrate(ctx, rivermigrate.DirectionUp, nil)
		return err
	}
	m, err := rivermigrate.New(riversqlite.New(db.write), nil)
	if err != nil {
		return err
	}
	_, err = m.Migrate(ctx, rivermigrate.DirectionUp, nil)
	return err
}
