//go:build postgres

package webhooks

import (
	"context"
	"fmt"
	"os"
	"testing"

	"ampoule/service/database"
	"ampoule/service/database/databasetest"
)

// cluster is the server of all tests of the package.
var cluster *databasetest.Cluster

func TestMain(m *testing.M) {
	var err error
	if cluster, err = databasetest.Start(context.Background()); err != nil {
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
