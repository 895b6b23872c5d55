package channel

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"ampoule/artifact"
	"ampoule/registry"
)

// wayKind is the kind of the records of how registries write tags, by a hash of the channel.
const wayKind = "channel-way"

// wayAge is how long it counts what was found out of a registry: its settings may change.
const wayAge = 24 * time.Hour

// wayFound is one record.
type wayFound struct {
	Channel string       `json:"channel"`
	Way     registry.Way `json:"way"`
	// Time is when it was found out, in RFC 3339.
	Time string `json:"time"`
}

// Way finds out how the registry of the channel writes tags, by writing one. What was found less
// than a day ago is remembered, unless it is asked anew. Reading needs none of it.
func (c *Channel) Way(ctx context.Context, anew bool) (registry.Way, error) {
	if c.repo.IsOwn() {
		return c.repo.Probe(ctx, "")
	}
	key := c.memoryKey()
	unlock, err := c.memory.Lock(ctx, wayKind+"-"+key)
	if err != nil {
		return "", err
	}
	defer unlock()
	var known wayFound
	if _, err := c.memory.Lookup(wayKind, key, &known); err != nil {
		return "", fmt.Errorf("remembering how %s is written: %w", c, err)
	}
	now := c.now()
	if at, err := time.Parse(time.RFC3339, known.Time); err == nil && !anew && !at.After(now) && now.Sub(at) < wayAge {
		c.repo.Believe(known.Way)
		return known.Way, nil
	}
	way, err := c.repo.Probe(ctx, artifact.ChannelProbeTag(c.name))
	if err != nil {
		return "", err
	}
	if err := c.memory.RecordDurably(wayKind, key, wayFound{c.String(), way, stamp(now)}); err != nil {
		return "", fmt.Errorf("remembering how %s is written: %w", c, err)
	}
	return way, nil
}

// memoryKey is the key of what is remembered of a channel.
func (c *Channel) memoryKey() string {
	sum := sha256.Sum256([]byte(c.String()))
	return hex.EncodeToString(sum[:])
}

// fetchNumbered reads the log of a registry whose tags do not move: there each entry has a tag of
// its own, with the number of entries that its log has, and the last one counts. It is nil where there
// is none. A number that is missing below the last one was taken away. Only says that there is no
// other log: then the first number may be missing, too.
func (c *Channel) fetchNumbered(ctx context.Context, only bool) ([]Signed, head, error) {
	first, err := c.numbered(ctx, 1)
	if err != nil || !first && !only {
		return nil, head{}, err
	}
	last, err := c.lastNumber(ctx)
	if err != nil || last == 0 {
		return nil, head{}, err
	}
	entries, at, err := c.fetchTag(ctx, artifact.ChannelNumberTag(c.name, last))
	if err == nil && len(entries) != last {
		err = c.refuse(0, fmt.Errorf("the tag %s leads to %d entries", artifact.ChannelNumberTag(c.name, last), len(entries)))
	}
	return entries, at, err
}

// lastNumber finds the highest number of the tags of a log; 0 where there is none.
func (c *Channel) lastNumber(ctx context.Context) (int, error) {
	tags, err := c.repo.Tags(ctx)
	if err != nil {
		return 0, fmt.Errorf("reading channel %s: %w", c, err)
	}
	var numbers []int
	for _, tag := range tags {
		if n, ok := artifact.ChannelNumber(c.name, tag); ok {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	last := 0
	for _, n := range numbers {
		for last++; last < n; last++ {
			if there, err := c.numbered(ctx, last); err != nil || !there {
				return 0, c.gap(last, err)
			}
		}
	}
	// What was written just now may not be listed yet.
	for {
		there, err := c.numbered(ctx, last+1)
		if err != nil {
			return 0, err
		}
		if !there {
			return last, nil
		}
		last++
	}
}

// numbered reports whether there is a tag of a number.
func (c *Channel) numbered(ctx context.Context, n int) (bool, error) {
	named, err := c.repo.Named(ctx, artifact.ChannelNumberTag(c.name, n))
	if err != nil {
		return false, fmt.Errorf("reading channel %s: %w", c, err)
	}
	return named != "", nil
}

func (c *Channel) gap(n int, err error) error {
	if err != nil {
		return err
	}
	return c.refuse(n, fmt.Errorf("its tag %s is gone, and later ones are there", artifact.ChannelNumberTag(c.name, n)))
}

// Exists reports whether there is a log of the channel, or was one when this was last seen. It
// verifies nothing.
func (c *Channel) Exists(ctx context.Context) (bool, error) {
	is := false
	err := c.withSeen(ctx, func(known seen, _ func(seen) error) error {
		is = known.Sequence > 0
		return nil
	})
	if is || err != nil {
		return is, err
	}
	named, err := c.repo.Named(ctx, artifact.ChannelTag(c.name))
	if named != "" || err != nil || c.repo.IsOwn() {
		return named != "", err
	}
	return c.numbered(ctx, 1)
}

// Changed reports whether somebody has written the channel since a log of it was read. It costs one
// request, two while the channel is empty, and verifies nothing.
func (c *Channel) Changed(ctx context.Context, since *Log) (bool, error) {
	if since.head == "" && !c.repo.IsOwn() {
		there, err := c.numbered(ctx, len(since.Entries)+1)
		if there || err != nil || len(since.Entries) > 0 {
			return there, err
		}
	}
	named, err := c.repo.Named(ctx, artifact.ChannelTag(c.name))
	return named != since.head, err
}
