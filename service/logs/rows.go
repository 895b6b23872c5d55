package logs

import (
	"context"
	"fmt"

	"ampoule/service/database"
)

// Rows keeps streams in the database: where workers and API share no disk.
type Rows struct{ DB *database.DB }

var _ Store = Rows{}

// sizeOf is where the stream ends, as SQL: where its last part does. Only that is read.
const sizeOf = "SELECT coalesce((SELECT start_at + length(data) FROM log_parts WHERE build = $1 AND stream = $2 ORDER BY start_at DESC LIMIT 1), 0)"

// Append implements [Store].
func (r Rows) Append(ctx context.Context, tx database.Tx, build string, stream Stream, data []byte) error {
	if err := check(build, stream); err != nil || len(data) == 0 {
		return err
	}
	var size int64
	err := tx.QueryRow(ctx, sizeOf, build, stream).Scan(&size)
	if err == nil {
		_, err = tx.Exec(ctx, "INSERT INTO log_parts (build, stream, start_at, data) VALUES ($1, $2, $3, $4)", build, stream, size, data)
	}
	if err != nil {
		return fmt.Errorf("writing log of build %s: %w", build, err)
	}
	return nil
}

// Read implements [Store].
func (r Rows) Read(ctx context.Context, build string, stream Stream, offset int64, limit int) ([]byte, error) {
	if err := check(build, stream); err != nil {
		return nil, err
	}
	limit = min(max(limit, 0), MaxRead)
	var found []byte
	err := r.DB.Read(ctx, func(ctx context.Context, q database.Querier) error {
		var size int64
		if err := q.QueryRow(ctx, sizeOf, build, stream).Scan(&size); err != nil {
			return err
		}
		if offset < 0 || offset >= size {
			return behind(offset, size)
		}
		// The part that the offset lies in is the last that does not begin behind it.
		rows, err := q.Query(ctx, `SELECT start_at, data FROM log_parts WHERE build = $1 AND stream = $2 AND start_at < $4 AND start_at >=
			(SELECT max(start_at) FROM log_parts WHERE build = $1 AND stream = $2 AND start_at <= $3) ORDER BY start_at`, build, stream, offset, offset+int64(limit))
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() && len(found) < limit {
			var start int64
			var data []byte
			if err := rows.Scan(&start, &data); err != nil {
				return err
			}
			found = append(found, data[max(0, offset-start):]...)
		}
		return rows.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("reading log of build %s: %w", build, err)
	}
	return found[:min(len(found), limit)], nil
}

// Remove implements [Store].
func (r Rows) Remove(ctx context.Context, build string) error {
	err := r.DB.Write(ctx, func(ctx context.Context, tx database.Tx) error {
		_, err := tx.Exec(ctx, "DELETE FROM log_parts WHERE build = $1", build)
		return err
	})
	if err != nil {
		return fmt.Errorf("removing logs of build %s: %w", build, err)
	}
	return nil
}
