package channel

import (
	"context"
	"fmt"

	"ampoule/faults"
)

// Name names a channel of a repository.
type Name struct{ Repository, Channel string }

// String is REPOSITORY:CHANNEL.
func (n Name) String() string { return name(n.Repository, n.Channel) }

// Move is what somebody wants of a channel.
type Move struct {
	Action Action
	// Digest is what the action is about. A promotion without one takes what From names, a rollback
	// the digest before; those about the channel itself have none.
	Digest string
	// From is a channel that must name the digest now; of promotions alone.
	From string
	// Reason is for people. BreakGlass passes over what rules want, of promotions and restarts.
	Reason     string
	BreakGlass bool
}

// Do adds the entry that a move wants.
func (w *Writer) Do(ctx context.Context, m Move) (*Log, error) {
	switch m.Action {
	case Promote:
		return w.Promote(ctx, Promotion{Digest: m.Digest, From: m.From, Reason: m.Reason, BreakGlass: m.BreakGlass})
	case Rollback:
		return w.Rollback(ctx, m.Digest, m.Reason)
	case Revoke:
		return w.Revoke(ctx, m.Digest, m.Reason)
	case Freeze:
		return w.Freeze(ctx, m.Reason)
	case Unfreeze:
		return w.Unfreeze(ctx, m.Reason)
	case Refresh:
		return w.Refresh(ctx)
	case Restart:
		return w.Restart(ctx, m.Digest, m.Reason, m.BreakGlass)
	default:
		return nil, faults.New(faults.Usage, "", "%.40q is nothing that a channel does: want one of %s", string(m.Action), fmt.Sprint(Actions()))
	}
}
