package queue

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"ampoule/faults"
	"ampoule/service/database"
)

// partBytes is how long a part of an archive is in the database.
const partBytes = 1 << 20

// ArchiveError says that an archive is not there.
type ArchiveError struct{ Sum string }

func (e *ArchiveError) Error() string { return "there is no archive " + e.Sum }

// Kind says whose turn it is.
func (*ArchiveError) Kind() faults.Kind { return faults.NotFound }

// PutArchive keeps what was submitted, or a lock that was made, where every worker finds it by
// its sha256. It comes into the database when all of it is here, and whole. Whoever calls it
// bounds the size; in memory there is little of it.
func (q *Queue) PutArchive(ctx context.Context, from io.Reader) (sum string, size int64, err error) {
	s, hash := &spool{dir: q.config.Temp}, sha256.New()
	defer func() { err = errors.Join(err, s.Close()) }()
	if size, err = io.Copy(io.MultiWriter(s, hash), from); err != nil {
		return "", 0, fmt.Errorf("reading an archive: %w", err)
	}
	sum = hex.EncodeToString(hash.Sum(nil))
	if fresh, err := q.isFresh(ctx, sum); fresh || err != nil {
		return sum, size, err
	}
	err = q.db.Write(ctx, func(ctx context.Context, tx database.Tx) error {
		n, err := tx.Exec(ctx, "INSERT INTO archives (sum, size, used) VALUES ($1, $2, {now}) ON CONFLICT (sum) DO NOTHING", sum, size)
		if err != nil {
			return err
		}
		if n == 0 {
			_, err := tx.Exec(ctx, "UPDATE archives SET used = {now} WHERE sum = $1", sum)
			return err
		}
		return putParts(ctx, tx, sum, s)
	})
	if err != nil {
		return "", 0, fmt.Errorf("keeping archive %s: %w", sum, err)
	}
	return sum, size, nil
}

// freshFor is how long an archive that was put need not be noted again: far less than what nobody
// names is kept for.
const freshFor = strayFor / 24

// isFresh reports whether an archive is there that was put not long ago: what many submit at once is
// written once.
func (q *Queue) isFresh(ctx context.Context, sum string) (fresh bool, err error) {
	err = q.db.Read(ctx, func(ctx context.Context, query database.Querier) error {
		var used, now int64
		found, err := database.Get(ctx, query, "SELECT used, {now} FROM archives WHERE sum = $1", []any{sum}, &used, &now)
		fresh = found && now-used < freshFor.Microseconds()
		return err
	})
	if err != nil {
		return false, fmt.Errorf("looking for archive %s: %w", sum, err)
	}
	return fresh, nil
}

// putParts writes the parts of an archive. One of them is in memory at a time.
func putParts(ctx context.Context, tx database.Tx, sum string, s *spool) error {
	piece := make([]byte, min(partBytes, s.size))
	for part := int64(0); part*partBytes < s.size; part++ {
		piece = piece[:min(partBytes, s.size-part*partBytes)]
		if _, err := s.ReadAt(piece, part*partBytes); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, "INSERT INTO archive_parts (sum, part, data) VALUES ($1, $2, $3)", sum, part, piece); err != nil {
			return err
		}
	}
	return nil
}

// errDamaged says that the database gave other bytes than it was given.
var errDamaged = errors.New("its bytes are not those that were put")

// OpenArchive reads an archive, whose hash is compared first; without one the error is an
// [*ArchiveError].
func (q *Queue) OpenArchive(ctx context.Context, sum string) (io.ReadCloser, error) {
	s, hash := &spool{dir: q.config.Temp}, sha256.New()
	err := q.readParts(ctx, sum, io.MultiWriter(s, hash))
	switch {
	case isNoRow(err):
		err = &ArchiveError{sum}
	case err == nil && hex.EncodeToString(hash.Sum(nil)) != sum:
		err = errDamaged
	}
	if err != nil {
		return nil, fmt.Errorf("opening archive %s: %w", sum, errors.Join(err, s.Close()))
	}
	return s.reader(), nil
}

// readParts writes all of an archive.
func (q *Queue) readParts(ctx context.Context, sum string, to io.Writer) error {
	return q.db.Read(ctx, func(ctx context.Context, query database.Querier) error {
		var size int64
		if err := query.QueryRow(ctx, "SELECT size FROM archives WHERE sum = $1", sum).Scan(&size); err != nil {
			return err
		}
		return database.Each(ctx, query, "SELECT data FROM archive_parts WHERE sum = $1 ORDER BY part", []any{sum}, func(from database.Row) error {
			var part []byte
			if err := from.Scan(&part); err != nil {
				return err
			}
			_, err := to.Write(part)
			return err
		})
	})
}
