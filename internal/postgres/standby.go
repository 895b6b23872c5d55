package postgres

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"time"
)

// StandbyName is the name that a standby has for its primary, in synchronous_standby_names.
const StandbyName = "standby"

// Standby makes a standby of the cluster's server, which runs, and starts it. Stop is called at the
// end.
func (c *Cluster) Standby(ctx context.Context) (_ *Cluster, err error) {
	dir, err := os.MkdirTemp("", "ampoule-standby-")
	if err != nil {
		return nil, err
	}
	s := &Cluster{dir: dir, settings: c.settings}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Stop())
		}
	}()
	from := fmt.Sprintf("host=%s user=postgres application_name=%s", c.dir, StandbyName)
	if _, err := s.run(ctx, "pg_basebackup", "--pgdata", s.data(), "--dbname", from, "--write-recovery-conf", "--checkpoint", "fast", "--no-sync"); err != nil {
		return nil, err
	}
	return s, s.Run(ctx)
}

// EitherURL is the address of a database that one of two servers has, whichever takes writes.
func (c *Cluster) EitherURL(other *Cluster, name string) string {
	return "postgres://postgres@/" + name + "?" + url.Values{"host": {c.dir + "," + other.dir}, "target_session_attrs": {"read-write"}}.Encode()
}

// Promote makes the server of a standby take writes.
func (c *Cluster) Promote(ctx context.Context) error { return c.do(ctx, "SELECT pg_promote(true)") }

// Cut ends what the standby gets from its primary, and returns when it gets nothing.
func (c *Cluster) Cut(ctx context.Context) error {
	if err := c.Set(ctx, "primary_conninfo", ""); err != nil {
		return err
	}
	return c.until(ctx, "SELECT count(*) = 0 FROM pg_stat_wal_receiver")
}

// Synchronous has the server answer a commit when its standby has it, and returns when that is so.
func (c *Cluster) Synchronous(ctx context.Context) error {
	if err := c.Set(ctx, "synchronous_standby_names", StandbyName); err != nil {
		return err
	}
	return c.until(ctx, "SELECT count(*) = 1 FROM pg_stat_replication WHERE sync_state = 'sync'")
}

// Waits returns when a commit waits for a standby's answer.
func (c *Cluster) Waits(ctx context.Context) error {
	return c.until(ctx, "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
}

// CaughtUp returns when the standby has all that was committed.
func (c *Cluster) CaughtUp(ctx context.Context) error {
	return c.until(ctx, "SELECT count(*) = 1 FROM pg_stat_replication WHERE replay_lsn >= pg_current_wal_lsn()")
}

// Set changes a setting of the server that it reads while it runs.
func (c *Cluster) Set(ctx context.Context, name, value string) error {
	if err := c.do(ctx, fmt.Sprintf("ALTER SYSTEM SET %s = '%s'", name, value)); err != nil {
		return err
	}
	return c.do(ctx, "SELECT pg_reload_conf()")
}

// do runs one statement.
func (c *Cluster) do(ctx context.Context, statement string) error {
	_, err := c.ask(ctx, statement)
	return err
}

// until waits until a query answers true.
func (c *Cluster) until(ctx context.Context, query string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		if is, err := c.ask(ctx, query); is == "t" || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w", query, ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}
