package queue

import (
	"context"
	"fmt"

	"ampoule/service/builds"
	"ampoule/service/database"
	"ampoule/service/trail"
)

// recordSubmission writes a submission into the audit log, in its transaction.
func recordSubmission(ctx context.Context, tx database.Tx, a builds.Accepted, retryOf string) error {
	action := "submit-" + string(a.Build.Kind)
	if retryOf != "" {
		action = "retry-build"
	}
	details := map[string]string{"recipe": a.Build.Recipe, "key": a.Build.Key, "of": retryOf}
	switch {
	case a.Published:
		details["became"] = "what was published"
	case a.Joined:
		details["became"] = "a build that was there"
	}
	return trail.Note(ctx, tx, action, a.Build.ID, details)
}

// Trust says whether a digest may be promoted that builds of this service have published: known is false
// for one that none has.
func (q *Queue) Trust(ctx context.Context, digest string) (known, trusted bool, err error) {
	err = q.db.Read(ctx, func(ctx context.Context, query database.Querier) error {
		known, trusted = false, false
		return database.Each(ctx, query, "SELECT trusted FROM publications WHERE digest = $1", []any{digest}, func(from database.Row) error {
			var one bool
			err := from.Scan(&one)
			known, trusted = true, trusted || one
			return err
		})
	})
	if err != nil {
		return false, false, fmt.Errorf("asking who had %s built: %w", digest, err)
	}
	return known, trusted, nil
}
