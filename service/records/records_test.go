package records

import (
	"errors"
	"testing"
	"time"

	"ampoule/registry/tokens"
	"ampoule/service/database"
)

// Tokens in a database are what they are in a store.
func TestTokens(t *testing.T) {
	t.Parallel()
	db, err := database.Open(t.Context(), database.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	book, other := tokens.Open(In(db)), tokens.Open(In(db))
	if any, err := book.Any(); any || err != nil {
		t.Errorf("a new database has tokens: %v, %v", any, err)
	}
	scope, err := tokens.ParseScope("build:team/*")
	if err != nil {
		t.Fatal(err)
	}
	_, secret, err := book.Create("ci", []tokens.Scope{scope}, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := other.Check(secret); err != nil || got.Name != "ci" || len(got.Scopes) != 1 || got.Scopes[0] != scope {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := other.Revoke("ci"); err != nil {
		t.Fatal(err)
	}
	if _, err := book.Check(secret); !errors.Is(err, tokens.ErrRevoked) {
		t.Errorf("after it was revoked: %v", err)
	}
	if _, err := book.Check("ampoule_abcdefghij_x"); !errors.Is(err, tokens.ErrUnknown) {
		t.Errorf("%v", err)
	}
	if all, err := other.List(); err != nil || len(all) != 1 {
		t.Errorf("%v, %v", all, err)
	}
	if any, err := book.Any(); !any || err != nil {
		t.Errorf("%v, %v", any, err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := book.Check(secret); err == nil || errors.Is(err, tokens.ErrUnknown) {
		t.Errorf("a database that is away: %v", err)
	}
}
