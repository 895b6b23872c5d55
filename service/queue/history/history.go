// Package history checks what happened to the builds of a service, by nothing but the events
// that it wrote: that no build was lost, none ran twice at once or ended twice, and no key has
// two digests. It shares no rule with the queue: the states and what may follow them stand here
// a second time.
package history

import (
	"context"
	"fmt"

	"ampoule/service/database"
)

// event is a row of the table "events".
type event struct {
	build             string
	seq, at           int64
	what, from, state string
	fence             int64
	who, message      string
}

// follows says which states may follow one.
var follows = map[string][]string{
	"":           {"queued"},
	"queued":     {"queued", "fetching", "failed", "cancelled"},
	"fetching":   {"fetching", "building", "gating", "publishing", "done", "queued", "failed", "cancelled"},
	"building":   {"building", "gating", "publishing", "done", "queued", "failed", "cancelled"},
	"gating":     {"gating", "publishing", "done", "queued", "failed", "cancelled"},
	"publishing": {"publishing", "done", "queued", "failed", "cancelled"},
}

// row is what the table "builds" says of a build at the end.
type row struct {
	state, key string
	fence, seq int64
}

// checker collects what is wrong.
type checker struct {
	faults []string
	// digests has the digest that was published for each key.
	digests map[string]string
}

func (c *checker) wrong(format string, args ...any) {
	c.faults = append(c.faults, fmt.Sprintf(format, args...))
}

// Check reads the history of all builds, and returns what is wrong with it. Accepted are the IDs
// that callers were told; with settled, every build must have ended.
func Check(ctx context.Context, db *database.DB, accepted []string, settled bool) ([]string, error) {
	rows, events := map[string]row{}, map[string][]event{}
	c := &checker{digests: map[string]string{}}
	err := db.Read(ctx, func(ctx context.Context, q database.Querier) error {
		// The rows first: what happens to a build between the two looks is in its events.
		err := database.Each(ctx, q, "SELECT id, state, build_key, fence, seq FROM builds", nil, func(from database.Row) error {
			var id string
			var r row
			err := from.Scan(&id, &r.state, &r.key, &r.fence, &r.seq)
			rows[id] = r
			return err
		})
		if err != nil {
			return err
		}
		return database.Each(ctx, q, "SELECT build, seq, at, what, from_state, state, fence, who, message FROM events ORDER BY build, seq", nil, func(from database.Row) error {
			var e event
			err := from.Scan(&e.build, &e.seq, &e.at, &e.what, &e.from, &e.state, &e.fence, &e.who, &e.message)
			events[e.build] = append(events[e.build], e)
			return err
		})
	})
	if err != nil {
		return nil, fmt.Errorf("reading the history: %w", err)
	}
	for _, id := range accepted {
		if _, ok := rows[id]; !ok {
			c.wrong("build %s was accepted, and is lost", id)
		}
	}
	for id, r := range rows {
		c.build(id, r, events[id], settled)
	}
	if err := c.publications(ctx, db); err != nil {
		return nil, err
	}
	return c.faults, nil
}

// build checks the events of one build, one after the other.
func (c *checker) build(id string, r row, events []event, settled bool) {
	state, holder := "", ""
	var fence, at int64
	leased := false
	for i, e := range events {
		where := fmt.Sprintf("build %s, event %d (%s)", id, e.seq, e.what)
		if e.seq != int64(i+1) {
			c.wrong("%s: its number should be %d", where, i+1)
		}
		if ended(state) {
			c.wrong("%s: the build has ended as %s", where, state)
		}
		if e.from != state {
			c.wrong("%s: it goes from %q, and the build is %q", where, e.from, state)
		}
		if !contains(follows[state], e.state) {
			c.wrong("%s: %q cannot follow %q", where, e.state, state)
		}
		if e.fence < fence {
			c.wrong("%s: the fence falls from %d to %d", where, fence, e.fence)
		}
		if e.at < at {
			c.wrong("%s: it is older than the event before it", where)
		}
		switch e.what {
		case "leased":
			if leased {
				c.wrong("%s: %s takes it while %s has it", where, e.who, holder)
			}
			if e.fence == fence {
				c.wrong("%s: the fence does not rise", where)
			}
			leased, holder = true, e.who
		case "lost", "released":
			if !leased || e.fence == fence {
				c.wrong("%s: it was not leased, or the fence does not rise", where)
			}
			leased = false
		case "moved", "published":
			if !leased || e.who != holder {
				c.wrong("%s: %s writes, and %s has the lease (%t)", where, e.who, holder, leased)
			}
		case "ended":
			if e.state == "done" && (!leased || e.who != holder) {
				c.wrong("%s: %s ends it, and %s has the lease (%t)", where, e.who, holder, leased)
			}
			if !ended(e.state) {
				c.wrong("%s: the state is %s", where, e.state)
			}
		}
		if e.what == "published" {
			c.publish(where, r.key, e.message)
		}
		state, fence, at = e.state, e.fence, e.at
	}
	c.settle(id, r, events, settled)
}

// settle compares the row with the last of its events.
func (c *checker) settle(id string, r row, events []event, settled bool) {
	if len(events) == 0 {
		c.wrong("build %s has no events", id)
		return
	}
	if last := events[min(int(r.seq), len(events))-1]; last.seq != r.seq || last.state != r.state {
		c.wrong("build %s is %s after %d events, and the last event says %s after %d", id, r.state, r.seq, last.state, last.seq)
	}
	if settled && !ended(r.state) {
		c.wrong("build %s has not ended: it is %s", id, r.state)
	}
}

// publish notes the digest of a key: each has one for ever.
func (c *checker) publish(where, key, digest string) {
	if before, ok := c.digests[key]; ok {
		c.wrong("%s: key %s is published a second time, as %s after %s", where, key, digest, before)
	}
	c.digests[key] = digest
}

// publications compares the rows of keys with the events, and with what done builds say.
func (c *checker) publications(ctx context.Context, db *database.DB) error {
	rows := map[string]string{}
	err := db.Read(ctx, func(ctx context.Context, q database.Querier) error {
		err := database.Each(ctx, q, "SELECT build_key, digest FROM publications", nil, func(from database.Row) error {
			var key, digest string
			err := from.Scan(&key, &digest)
			rows[key] = digest
			return err
		})
		if err != nil {
			return err
		}
		return database.Each(ctx, q, "SELECT b.id, b.build_key, e.message FROM builds b JOIN events e ON e.build = b.id WHERE e.what = 'ended' AND b.state = 'done' AND b.kind = 'build'", nil,
			func(from database.Row) error {
				var id, key, digest string
				err := from.Scan(&id, &key, &digest)
				if rows[key] != digest {
					c.wrong("build %s is done with %s, and key %s has %q", id, digest, key, rows[key])
				}
				return err
			})
	})
	if err != nil {
		return fmt.Errorf("reading publications: %w", err)
	}
	for key, digest := range c.digests {
		if rows[key] != digest {
			c.wrong("key %s was published as %s, and its row has %q", key, digest, rows[key])
		}
	}
	return nil
}

func ended(state string) bool { return state == "done" || state == "failed" || state == "cancelled" }

func contains(list []string, one string) bool {
	for _, s := range list {
		if s == one {
			return true
		}
	}
	return false
}
