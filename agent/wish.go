package agent

import (
	"fmt"
	"slices"
	"time"

	"ampoule/registry/channel"
)

// wish is what a log has a host do at a time.
type wish struct {
	Target
	// later is when a promotion that is there becomes the host's; zero where none is.
	later time.Time
}

// wishOf finds what a log has a host run that follows promotions so much later than they were
// made. Going back, and beginning anew, count at once; a revoked digest counts never: what the
// channel named before it does. A host that runs nothing follows the last promotion at once, and
// one that runs what is promoted follows that already.
//
// So a wave sees the channel as it was, without what was gone back from meanwhile.
func wishOf(l *channel.Log, delay time.Duration, current string, now time.Time) wish {
	var w wish
	if current == "" {
		delay = 0
	}
	for _, e := range slices.Backward(l.Entries) {
		switch e.Action {
		case channel.Promote, channel.Rollback, channel.Restart:
		default:
			continue
		}
		_, revoked := l.Revoked[e.Digest]
		due := e.At.Add(delay)
		switch {
		case revoked:
		case e.Action == channel.Promote && due.After(now) && e.Digest != current:
			w.later = due
		default:
			w.Target = Target{e.Digest, e.Sequence}
			return w
		}
		if e.Action == channel.Restart {
			break // what was before it does not count
		}
	}
	return w
}

// stale is why a log is too old to act by; empty where it is not.
func stale(l *channel.Log, most time.Duration, now time.Time) string {
	if most == 0 || len(l.Entries) == 0 {
		return ""
	}
	last := l.Entries[len(l.Entries)-1]
	return staleSince(last.At, most, now)
}

// staleSince is as stale, of the time of the last entry.
func staleSince(last time.Time, most time.Duration, now time.Time) string {
	if most == 0 || last.IsZero() || now.Sub(last) <= most {
		return ""
	}
	return fmt.Sprintf("its last entry was written at %s, and may be %s old", last.UTC().Format(time.RFC3339), most)
}
