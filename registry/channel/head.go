package channel

import (
	"context"
	"fmt"
	"slices"
	"strings"

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

// Names lists the channels that a repository has a log of, by its tags: sorted. Whether anybody may
// believe the logs it does not say.
func Names(ctx context.Context, repo interface {
	Tags(ctx context.Context) ([]string, error)
}) ([]string, error) {
	tags, err := repo.Tags(ctx)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, tag := range tags {
		log, _, numbered := strings.Cut(tag, ".")
		name, ok := artifact.ChannelOfLog(log)
		if numbered {
			_, ok = artifact.ChannelNumber(name, tag)
		}
		if ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}
