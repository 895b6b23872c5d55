package queue

import (
	"context"
	"iter"
	"time"

	"ampoule/service/database"
	"ampoule/service/logs"
)

// ReadLog reads a part of a build's log. Without a build the error is a
// [*builds.NotFoundError].
func (q *Queue) ReadLog(ctx context.Context, id string, stream logs.Stream, offset int64, limit int) (logs.Chunk, error) {
	// The state before the bytes: the log of a build that has ended is complete.
	b, err := q.Get(ctx, id)
	if err != nil {
		return logs.Chunk{}, err
	}
	data, err := q.logs.Read(ctx, id, stream, offset, limit)
	if err != nil {
		return logs.Chunk{}, err
	}
	return logs.Chunk{
		Offset: offset, Data: data, Next: offset + int64(len(data)), End: b.State.Terminal() && len(data) < min(limit, logs.MaxRead),
	}, nil
}

// lookLog is how often a log is looked at that nobody has told of.
const lookLog = 500 * time.Millisecond

// FollowLog gives a build's log from an offset, what comes too, until the build has ended. The
// last chunk has End, and may be empty. A database that is away is waited for. Followers share the data of
// chunks: none changes it.
func (q *Queue) FollowLog(ctx context.Context, id string, stream logs.Stream, offset int64) iter.Seq2[logs.Chunk, error] {
	return func(yield func(logs.Chunk, error) bool) {
		changed, leave := q.hub.watch(logTopic(id))
		defer leave()
		var away outage
		for {
			chunk, err := q.readShared(ctx, id, stream, offset)
			if away.over(ctx, err) {
				continue
			}
			if err != nil {
				yield(logs.Chunk{}, err)
				return
			}
			offset = chunk.Next
			if (len(chunk.Data) > 0 || chunk.End) && !yield(chunk, nil) || chunk.End {
				return
			}
			if len(chunk.Data) > 0 {
				continue
			}
			if err := waitFor(ctx, changed, untilLook()); err != nil {
				yield(logs.Chunk{}, err)
				return
			}
		}
	}
}

// appendLog adds to the log of the lease's build, and wakes who follows it in this process. As
// all that a worker writes it is refused when the lease has ended: the log is another worker's
// then, whose lease cannot begin while this one appends.
func (l *Lease) appendLog(ctx context.Context, stream logs.Stream, data []byte) error {
	err := l.change(ctx, "writing the log of", func(ctx context.Context, tx database.Tx, r *row) error {
		return l.q.logs.Append(ctx, tx, r.ID, stream, data)
	})
	if err == nil {
		l.q.hub.grown(l.Build.ID)
	}
	return err
}
