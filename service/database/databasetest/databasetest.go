// Package databasetest opens databases for tests: SQLite, and a PostgreSQL server of the test's
// own.
package databasetest

import (
	"context"
	"crypto/rand"
	"strings"
	"testing"

	"ampoule/internal/postgres"
	"ampoule/service/database"
)

// Open opens a database until the test ends.
func Open(t testing.TB, o database.Options) *database.DB {
	t.Helper()
	db, err := database.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

// Cluster is a PostgreSQL server for tests.
type Cluster struct{ *postgres.Cluster }

// Start starts one: see [postgres.Start].
func Start(ctx context.Context, settings ...string) (*Cluster, error) {
	c, err := postgres.Start(ctx, settings...)
	return &Cluster{c}, err
}

// Database makes a database for a test, and returns its address.
func (c *Cluster) Database(t testing.TB) string {
	t.Helper()
	name := "t" + strings.ToLower(rand.Text()[:10])
	if err := c.Create(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	return c.URL(name)
}
