package queue

import (
	"context"
	"fmt"
	"time"

	"ampoule/service/logs"
)

// readTime bounds one read for several followers.
const readTime = 30 * time.Second

// followRead is how much of a log a follower gets at a time, in bytes. Whoever sends it has several
// copies of it, and there are hundreds.
const followRead = 32 << 10

// readShared reads a part of a log once for all followers of this process who want it now: five
// hundred who follow one log are one reader of the database.
func (q *Queue) readShared(ctx context.Context, id string, stream logs.Stream, offset int64) (logs.Chunk, error) {
	flight := q.reads.DoChan(fmt.Sprintf("%s %s %d", id, stream, offset), func() (any, error) {
		// It is for all who ask: none ends it alone.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readTime)
		defer cancel()
		return q.ReadLog(ctx, id, stream, offset, followRead)
	})
	select {
	case <-ctx.Done():
		return logs.Chunk{}, context.Cause(ctx)
	case read := <-flight:
		chunk, _ := read.Val.(logs.Chunk) // it is nothing else
		return chunk, read.Err
	}
}

// untilLook is how long a follower of a log waits that nobody wakes. All wake at the same time, so that
// they share what is read.
func untilLook() time.Duration { return time.Until(time.Now().Truncate(lookLog).Add(lookLog)) }
