package channel

import (
	"context"
	"fmt"

	"ampoule/artifact"
)

// Head asks what the log's tag names, in one small request: where tags do not move, what the last
// numbered tag names that follows those that were seen here, in a few. An equal answer is an
// equal log; nothing of it is verified, and nothing may be done by it alone. It is empty where there
// is no log.
func (c *Channel) Head(ctx context.Context) (string, error) {
	head, err := c.repo.Named(ctx, artifact.ChannelTag(c.name))
	if err != nil {
		return "", fmt.Errorf("asking for channel %s: %w", c, err)
	}
	if head != "" || c.repo.IsOwn() {
		return head, nil
	}
	last := 1
	err = c.withSeen(ctx, func(known seen, _ func(seen) error) error {
		last = max(last, known.Sequence)
		return nil
	})
	for err == nil {
		var named string
		named, err = c.repo.Named(ctx, artifact.ChannelNumberTag(c.name, last))
		if named == "" {
			break
		}
		head = named
		last++
	}
	if err != nil {
		return "", fmt.Errorf("asking for channel %s: %w", c, err)
	}
	return head, nil
}
