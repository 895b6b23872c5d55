// Package records keeps records in the service's database, for processes that share no disk. Where
// the database is SQLite, the store has them: its files can be read beside the process that has the
// database open.
package records

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"ampoule/registry/tokens"
	"ampoule/service/database"
)

// Records are records in a database.
type Records struct{ db *database.DB }

var _ tokens.Records = Records{}

// In returns the records of a database.
func In(db *database.DB) Records { return Records{db} }

// patience bounds how long the database may take. Callers of a store have no context either.
const patience = 10 * time.Second

func bounded() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), patience)
}

// RecordDurably writes a record, in the place of one that has its kind and key.
func (r Records) RecordDurably(kind, key string, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("writing record %s %s: %w", kind, key, err)
	}
	ctx, cancel := bounded()
	defer cancel()
	err = r.db.Write(ctx, func(ctx context.Context, tx database.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO records (kind, record_key, value) VALUES ($1, $2, $3)
			ON CONFLICT (kind, record_key) DO UPDATE SET value = excluded.value`, kind, key, string(text))
		return err
	})
	if err != nil {
		return fmt.Errorf("writing record %s %s: %w", kind, key, err)
	}
	return nil
}

// Lookup reads a record, and reports whether there is one.
func (r Records) Lookup(kind, key string, v any) (found bool, err error) {
	err = r.each(kind, `SELECT record_key, value FROM records WHERE kind = $1 AND record_key = $2`, []any{kind, key}, func(_ string, value json.RawMessage) error {
		found = true
		return json.Unmarshal(value, v)
	})
	return found, err
}

// Records visits all records of a kind, by key, until visit returns an error.
func (r Records) Records(kind string, visit func(key string, value json.RawMessage) error) error {
	return r.each(kind, `SELECT record_key, value FROM records WHERE kind = $1 ORDER BY record_key`, []any{kind}, visit)
}

func (r Records) each(kind, query string, args []any, visit func(key string, value json.RawMessage) error) error {
	type one struct{ key, value string }
	var all []one
	ctx, cancel := bounded()
	defer cancel()
	err := r.db.Read(ctx, func(ctx context.Context, q database.Querier) error {
		all = nil
		rows, err := q.Query(ctx, query, args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var o one
			if err := rows.Scan(&o.key, &o.value); err != nil {
				return err
			}
			all = append(all, o)
		}
		return rows.Err()
	})
	if err != nil {
		return fmt.Errorf("reading records %s: %w", kind, err)
	}
	for _, o := range all {
		if err := visit(o.key, json.RawMessage(o.value)); err != nil {
			return err
		}
	}
	return nil
}
