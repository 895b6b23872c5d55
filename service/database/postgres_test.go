//go:build postgres

package database_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"

	"ampoule/faults"
	"ampoule/service/database"
	"ampoule/service/database/databasetest"
)

func TestMain(m *testing.M) {
	cluster, err := databasetest.Start(context.Background())
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	engines["postgresql"] = func(t testing.TB) database.Options { return database.Options{URL: cluster.Database(t)} }
	code := m.Run()
	if err := cluster.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// A server that goes away is told as that, and what follows works when it is back.
func TestServerAway(t *testing.T) {
	t.Parallel()
	own, err := databasetest.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := own.Stop(); err != nil {
			t.Error(err)
		}
	})
	db := databasetest.Open(t, database.Options{URL: own.URL("postgres")})
	if err := db.Write(t.Context(), add("a")); err != nil {
		t.Fatal(err)
	}
	for _, crash := range []bool{false, true} {
		if err := own.Halt(crash); err != nil {
			t.Fatal(err)
		}
		var away *database.UnavailableError
		for range 3 {
			if err := db.Ping(t.Context()); !errors.As(err, &away) || faults.Of(err) != faults.Remote {
				t.Errorf("crash %t: %v", crash, err)
			}
		}
		if err := own.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		// A connection of the pool may be of the time before.
		var ping error
		for range 10 {
			if ping = db.Ping(t.Context()); ping == nil {
				break
			}
		}
		if ping != nil || count(t, db) != 1 {
			t.Errorf("crash %t, after: %v", crash, ping)
		}
	}
}
