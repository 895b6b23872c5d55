package database_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"ampoule/faults"
	"ampoule/service/database"
	"ampoule/service/database/databasetest"
)

// engines are the databases that every test runs on; with the tag "postgres" there are two.
var engines = map[string]func(testing.TB) database.Options{
	"sqlite": func(t testing.TB) database.Options { return database.Options{Dir: t.TempDir()} },
}

func onEach(t *testing.T, test func(t *testing.T, o database.Options)) {
	t.Helper()
	t.Parallel()
	for name, options := range engines {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, options(t))
		})
	}
}

// errStop ends a transaction.
var errStop = errors.New("stop")

func count(t *testing.T, db *database.DB) (n int) {
	t.Helper()
	err := db.Read(t.Context(), func(ctx context.Context, q database.Querier) error {
		return q.QueryRow(ctx, "SELECT count(*) FROM callers").Scan(&n)
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func add(name string) func(context.Context, database.Tx) error {
	return func(ctx context.Context, tx database.Tx) error {
		n, err := tx.Exec(ctx, "INSERT INTO callers (name, seen) VALUES ($1, {now})", name)
		if err == nil && n != 1 {
			err = errors.New("no row")
		}
		return err
	}
}

// A transaction is whole or nothing, and tells of itself when it is committed.
func TestWrite(t *testing.T) {
	onEach(t, func(t *testing.T, o database.Options) {
		db := databasetest.Open(t, o)
		told := 0
		write := func(err error) error {
			return db.Write(t.Context(), func(ctx context.Context, tx database.Tx) error {
				tx.OnCommit(func() { told++ })
				if (tx.SQLite() == nil) != (db.Engine() == database.PostgreSQL) || (tx.Postgres() == nil) != (db.Engine() == database.SQLite) {
					t.Error("the engine's own transaction is another one's")
				}
				return errors.Join(add("a")(ctx, tx), err)
			})
		}
		if err := write(errStop); !errors.Is(err, errStop) || count(t, db) != 0 || told != 0 {
			t.Errorf("%v, %d rows, told %d times", err, count(t, db), told)
		}
		if err := write(nil); err != nil || count(t, db) != 1 || told != 1 {
			t.Errorf("%v, %d rows, told %d times", err, count(t, db), told)
		}
		if err := write(nil); err == nil || faults.Of(err) == faults.Remote {
			t.Errorf("a second row of the key: %v", err)
		}
		err := db.Read(t.Context(), func(ctx context.Context, q database.Querier) error {
			found, err := database.Get(ctx, q, "SELECT name FROM callers WHERE name = $1", []any{"b"}, new(string))
			if found {
				t.Error("a row that there is not")
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	})
}

// Writers wait for each other, and readers do not wait.
func TestConcurrentWriters(t *testing.T) {
	onEach(t, func(t *testing.T, o database.Options) {
		db := databasetest.Open(t, o)
		if err := db.Write(t.Context(), add("n")); err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for range 5 {
					err := db.Write(t.Context(), func(ctx context.Context, tx database.Tx) error {
						var seen int64
						if err := tx.QueryRow(ctx, "SELECT seen FROM callers WHERE name = $1 {lock}", "n").Scan(&seen); err != nil {
							return err
						}
						_, err := tx.Exec(ctx, "UPDATE callers SET seen = $1 WHERE name = $2", seen+1, "n")
						return err
					})
					if err != nil {
						t.Error(err)
					}
					count(t, db)
				}
			})
		}
		wg.Wait()
	})
}

// A database that is there is opened as it is; several processes may open it at once.
func TestOpenAgain(t *testing.T) {
	onEach(t, func(t *testing.T, o database.Options) {
		if o.URL != "" {
			var wg sync.WaitGroup
			for range 4 {
				wg.Go(func() {
					db, err := database.Open(t.Context(), o)
					if err != nil {
						t.Errorf("at once: %v", err)
						return
					}
					db.Close()
				})
			}
			wg.Wait()
		}
		db, err := database.Open(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(db.Write(t.Context(), add("a")), db.Close()); err != nil {
			t.Fatal(err)
		}
		again := databasetest.Open(t, o)
		if n := count(t, again); n != 1 {
			t.Errorf("%d rows", n)
		}
	})
}

// A data directory has one process.
func TestLocked(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := databasetest.Open(t, database.Options{Dir: dir})
	_, err := database.Open(t.Context(), database.Options{Dir: dir})
	var locked *database.LockedError
	if !errors.As(err, &locked) || faults.Of(err).Code() != 6 || !strings.Contains(locked.Holder, "process ") {
		t.Errorf("a second one: %v, code %d", err, faults.Of(err).Code())
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	databasetest.Open(t, database.Options{Dir: dir})
}

// What is said of a bad address has no password in it.
func TestBadURL(t *testing.T) {
	t.Parallel()
	for url, kind := range map[string]faults.Kind{
		"postgres://user:canary@host:port/x": faults.Usage,
		"canary":                             faults.Usage,
		"postgres://user:canary@127.0.0.1:1/x?connect_timeout=5":         faults.Remote,
		"postgres://user:canary@/x?host=/nowhere/at/all&sslmode=disable": faults.Remote,
	} {
		_, err := database.Open(t.Context(), database.Options{URL: url})
		if err == nil || faults.Of(err) != kind || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v, %s", url, err, faults.Of(err))
		}
	}
}

// Migrations add: a program of the version before works beside this one.
func TestMigrationsAdd(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("migrations/*.sql")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d migrations, %v", len(files), err)
	}
	form := regexp.MustCompile(`^migrations/[0-9]{4}_[a-z_]+\.sql$`)
	takes := regexp.MustCompile(`(?i)\b(drop|rename|truncate|delete|alter\s+column|set\s+not\s+null)\b`)
	numbers := map[string]bool{}
	for _, file := range files {
		text, err := fs.ReadFile(os.DirFS("."), file)
		if err != nil {
			t.Fatal(err)
		}
		number := filepath.Base(file)[:4]
		if !form.MatchString(file) || numbers[number] {
			t.Errorf("%s: not NNNN_name.sql, or a number twice", file)
		}
		numbers[number] = true
		if found := takes.Find(text); found != nil {
			t.Errorf("%s takes something away: %s", file, found)
		}
	}
}
