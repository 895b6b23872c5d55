package agent

import (
	"context"
	"time"

	"ampoule/agent/reports"
	"ampoule/registry/trust/keys"
)

// Directory is a [Reporter] that writes signed reports into a directory.
type Directory struct {
	Path string
	// Host is this host's name, and By its key.
	Host string
	By   keys.Signer
	// Root is where the releases are.
	Root string
}

// Report implements [Reporter]. As long as no digest is known there is nothing to say.
func (d Directory) Report(ctx context.Context, j *Journal, now time.Time) error {
	r := reportOf(j, d.Host, d.Root, now)
	if r.Subject() == "" {
		return nil
	}
	data, err := r.Sign(ctx, d.By)
	if err != nil {
		return err
	}
	return r.Write(d.Path, data)
}

// reportOf is a journal as a report.
func reportOf(j *Journal, host, root string, now time.Time) reports.Report {
	r := reports.Report{
		Host: host, Channel: j.Channel, Root: root, Count: j.Reports, Time: Stamp(now), State: j.State,
		Digest: j.Active, Since: Stamp(j.Since), Wanted: j.Wanted.Digest, Sequence: j.Wanted.Sequence, Entry: Stamp(j.Entry), Why: j.Alarm,
	}
	if j.Phase != Idle && j.State != reports.Alarmed || r.State == "" {
		r.State = reports.Deploys
	}
	for digest, q := range j.Quarantined {
		if r.Failed == nil {
			r.Failed = map[string]string{}
		}
		r.Failed[digest] = q.Why
	}
	return r
}

// Stamp is a time as reports have it; empty where there is none.
func Stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Truncate(time.Second).Format(time.RFC3339)
}
