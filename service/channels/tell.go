package channels

import (
	"context"
	"errors"
	"time"

	"ampoule/registry/channel"
	"ampoule/registry/channel/rules"
	"ampoule/service/database"
	"ampoule/service/journal"
)

// Entry is an entry that was added to a channel's log, by this service or by somebody else.
type Entry struct {
	channel.Name
	channel.Signed
	// Next are the channels that the digest could come into then, whose rules want approvals first.
	Next []Next
}

// Next is a channel whose rule takes what another one names, when people have approved.
type Next struct {
	Channel string
	// Count is how many people must approve. Rules is the hash of the rules.
	Count int
	Rules string
}

// Follower tells of each entry that channels get, once, whoever writes it. The logs are the truth: the
// database has no more than up to which entry was told. Its fields are set before it is used.
type Follower struct {
	Desk *Desk
	DB   *database.DB
	// Names are the channels that there are.
	Names func(ctx context.Context) ([]channel.Name, error)
	// Tell is told of an entry, in the transaction that notes that it was.
	Tell func(ctx context.Context, tx database.Tx, e Entry) error

	wake  chan struct{}
	began time.Time
	// heads are what the tags of logs named that were read.
	heads map[channel.Name]string
}

// followEvery is how often logs are looked at that nobody here has written: a small request each.
const followEvery = 30 * time.Second

// NewFollower makes a follower that looks whenever the desk has written.
func NewFollower(d *Desk, db *database.DB, names func(ctx context.Context) ([]channel.Name, error), tell func(ctx context.Context, tx database.Tx, e Entry) error) *Follower {
	f := &Follower{Desk: d, DB: db, Names: names, Tell: tell, wake: make(chan struct{}, 1), began: time.Now(), heads: map[channel.Name]string{}}
	d.Wrote = func() {
		select {
		case f.wake <- struct{}{}:
		default:
		}
	}
	return f
}

// Run follows until the context ends.
func (f *Follower) Run(ctx context.Context) {
	ticker := time.NewTicker(followEvery)
	defer ticker.Stop()
	before := ""
	for {
		err := f.Look(ctx)
		// What stays wrong is told once.
		if err != nil && ctx.Err() == nil && err.Error() != before {
			journal.Of(ctx).WithError(err).Warn("following channels")
		}
		before = ""
		if err != nil {
			before = err.Error()
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-f.wake:
		}
	}
}

// Look tells of what is new.
func (f *Follower) Look(ctx context.Context) error {
	names, err := f.Names(ctx)
	if err != nil {
		return err
	}
	all, err := f.Desk.Channels(ctx)
	if err != nil {
		return err
	}
	in, unruled := all.Rules()
	failed := []error{unruled}
	for _, n := range names {
		c, err := all.Open(n.Repository, n.Channel)
		if err == nil {
			err = f.look(ctx, n, c, in)
		}
		failed = append(failed, err)
	}
	return errors.Join(failed...)
}

func (f *Follower) look(ctx context.Context, n channel.Name, c *channel.Channel, in *rules.Rules) error {
	head, err := c.Head(ctx)
	if err != nil || head != "" && head == f.heads[n] {
		return err
	}
	log, err := c.Read(ctx)
	if err != nil {
		return err
	}
	if len(log.Entries) == 0 {
		return nil
	}
	if err := f.tell(ctx, n, log, in); err != nil {
		return err
	}
	f.heads[n] = head
	return nil
}

// tell tells of the entries that were not told, in one transaction.
func (f *Follower) tell(ctx context.Context, n channel.Name, log *channel.Log, in *rules.Rules) error {
	return f.DB.Write(ctx, func(ctx context.Context, tx database.Tx) error {
		first := f.firstOf(log)
		_, err := tx.Exec(ctx, "INSERT INTO channel_told (repository, channel, sequence) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING", n.Repository, n.Channel, first)
		if err != nil {
			return err
		}
		var told int
		err = tx.QueryRow(ctx, "SELECT sequence FROM channel_told WHERE repository = $1 AND channel = $2 {lock}", n.Repository, n.Channel).Scan(&told)
		if err != nil || told >= len(log.Entries) {
			return err
		}
		for _, e := range log.Entries[told:] {
			if err := f.Tell(ctx, tx, Entry{n, e, nextOf(n, e, in)}); err != nil {
				return err
			}
		}
		_, err = tx.Exec(ctx, "UPDATE channel_told SET sequence = $3 WHERE repository = $1 AND channel = $2", n.Repository, n.Channel, len(log.Entries))
		return err
	})
}

// firstOf is behind which entry of a log that was never seen is told: what is older than this process
// is no news.
func (f *Follower) firstOf(log *channel.Log) int {
	first := 0
	for _, e := range log.Entries {
		if e.At.Before(f.began.Truncate(time.Second)) {
			first = e.Sequence
		}
	}
	return first
}

// nextOf are the channels that take what an entry has a channel name, when people have approved.
func nextOf(n channel.Name, e channel.Signed, in *rules.Rules) []Next {
	names := e.Action == channel.Promote || e.Action == channel.Rollback || e.Action == channel.Restart
	if in == nil || !names {
		return nil
	}
	var all []Next
	for _, rule := range in.Channels {
		want, _ := rule.Approvals.Wanted()
		if decides, ok := in.Rule(rule.Name, n.Repository); rule.From != n.Channel || want == 0 || !ok || decides.From != rule.From {
			continue
		}
		all = append(all, Next{rule.Name, want, in.Hash()})
	}
	return all
}
