package channel

import (
	"context"
	"fmt"

	"ampoule/artifact"
)

// Head asks what the log's tag names, in one small request. An equal answer is an equal log;
// nothing of it is verified, and nothing may be done by it alone. It is empty where there is no
// such tag: no log, or one that lies under other tags.
func (c *Channel) Head(ctx context.Context) (string, error) {
	head, err := c.repo.Named(ctx, artifact.ChannelTag(c.name))
	if err != nil {
		return "", fmt.Errorf("asking for channel %s: %w", c, err)
	}
	return head, nil
}
