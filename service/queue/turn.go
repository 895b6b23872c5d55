package queue

import (
	"context"
	"database/sql"
	"fmt"

	"ampoule/service/builds"
)

// turn is the number by which a new build is ordered among those of its platform and priority.
// Callers take turns: a caller's builds have ascending numbers, and its first one has that of
// the build which comes next now. So a hundred builds of one caller let another one's pass after
// each of them, and nobody saves up turns by waiting (start-time fair queueing, Goyal et al., 1996,
// with builds as the unit).
//
// Only what is queued now counts: what was cancelled costs its caller nothing. The caller's row is
// locked, so that two of its builds have two numbers.
func (s *submitting) turn(ctx context.Context, priority builds.Priority) (int64, error) {
	var next, own sql.NullInt64
	err := s.tx.QueryRow(ctx, `SELECT
		(SELECT turn FROM builds WHERE state = 'queued' AND platform = $1 AND priority = $2 ORDER BY turn LIMIT 1),
		(SELECT max(turn) FROM builds WHERE state = 'queued' AND caller = $3 AND platform = $1 AND priority = $2)`,
		s.s.Platform, priority, s.caller.Name).Scan(&next, &own)
	if err != nil {
		return 0, fmt.Errorf("looking for a turn of %s: %w", s.caller.Name, err)
	}
	turn := next.Int64
	if own.Valid {
		turn = max(turn, own.Int64+1)
	}
	return turn, nil
}
