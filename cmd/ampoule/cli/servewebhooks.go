package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/sirupsen/logrus"

	"ampoule/agent/reports"
	"ampoule/builder/progress"
	"ampoule/faults"
	"ampoule/registry/channel"
	"ampoule/service/builds"
	"ampoule/service/channels"
	"ampoule/service/database"
	"ampoule/service/journal"
	"ampoule/service/webhooks"
	"ampoule/wiring"
)

// buildEvent is what receivers are told of a build.
type buildEvent struct {
	Build   string        `json:"build"`
	Kind    string        `json:"kind"`
	State   string        `json:"state"`
	Recipe  string        `json:"recipe"`
	Key     string        `json:"key"`
	Digest  string        `json:"digest,omitempty"`
	Caller  string        `json:"caller"`
	Failure *failureEvent `json:"failure,omitempty"`
	Created time.Time     `json:"created"`
	Started time.Time     `json:"started,omitzero"`
	Ended   time.Time     `json:"ended"`
}

type failureEvent struct {
	Kind    string `json:"kind"`
	Message string `json:"message"`
	Stage   string `json:"stage,omitempty"`
	Task    string `json:"task,omitempty"`
}

// channelEvent is what receivers are told of an entry of a channel's log.
type channelEvent struct {
	Name       string    `json:"name"`
	Channel    string    `json:"channel"`
	Sequence   int       `json:"sequence"`
	Action     string    `json:"action"`
	Digest     string    `json:"digest"`
	From       string    `json:"from,omitempty"`
	By         string    `json:"by"`
	Reason     string    `json:"reason,omitempty"`
	ApprovedBy []string  `json:"approvedBy,omitempty"`
	BreakGlass bool      `json:"breakGlass,omitempty"`
	Time       time.Time `json:"time"`
}

// approvalEvent is what receivers are told of a digest that waits for people.
type approvalEvent struct {
	Name    string `json:"name"`
	Channel string `json:"channel"`
	Digest  string `json:"digest"`
	Count   int    `json:"count"`
}

// hostEvent is what receivers are told of a host that went back.
type hostEvent struct {
	Host    string            `json:"host"`
	Name    string            `json:"name"`
	Channel string            `json:"channel"`
	Root    string            `json:"root"`
	Digest  string            `json:"digest,omitempty"`
	Wanted  string            `json:"wanted,omitempty"`
	Why     string            `json:"why,omitempty"`
	Failed  map[string]string `json:"failed,omitempty"`
	Time    string            `json:"time"`
}

// buildEnded has receivers told of builds, in the transactions that end them.
func buildEnded(out *webhooks.Outbox) func(ctx context.Context, tx database.Tx, b builds.Build) error {
	return func(ctx context.Context, tx database.Tx, b builds.Build) error {
		data := buildEvent{
			Build: b.ID, Kind: string(b.Kind), State: string(b.State), Recipe: b.Recipe, Key: b.Key, Caller: b.Caller,
			Created: b.Created, Started: b.Started, Ended: b.Ended,
		}
		if b.Result != nil {
			data.Digest = b.Result.Digest
		}
		refused := false
		if f := b.Failure; f != nil {
			data.Failure = &failureEvent{f.Kind, f.Message, f.Stage, f.Task}
			refused = f.FaultKind() == faults.Refused && f.Stage == progress.StageGate.String()
		}
		e := webhooks.Event{Type: webhooks.BuildEnded, Name: b.Recipe, Subject: b.ID, Time: b.Ended, Data: data}
		if err := out.Add(ctx, tx, e); err != nil || !refused {
			return err
		}
		e.Type = webhooks.VerdictRefused
		return out.Add(ctx, tx, e)
	}
}

// approvalWanted is the event that a digest waits for approvals, once under the same rules.
func approvalWanted(n channel.Name, digest, rules string, count int, at time.Time) webhooks.Event {
	return webhooks.Event{
		Type: webhooks.ApprovalWanted, Name: n.Repository, Subject: n.Channel + " " + digest + " " + rules, Time: at,
		Data: approvalEvent{n.Repository, n.Channel, digest, count},
	}
}

// tell has receivers told of hosts, and of promotions that approvals are missing to.
func (f *fleet) tell() {
	if f.outbox == nil {
		return
	}
	if f.book != nil {
		f.book.FellBack = func(ctx context.Context, tx database.Tx, r reports.Report) error {
			repository, name := r.Follows()
			repository = f.own(repository)
			at, _ := time.Parse(time.RFC3339, r.Time) // a report has a time
			return f.outbox.Add(ctx, tx, webhooks.Event{
				Type: webhooks.HostFellBack, Name: repository, Subject: fmt.Sprintf("%s %s %s %s %d", r.Host, r.Channel, r.Root, r.Time, r.Count), Time: at,
				Data: hostEvent{r.Host, repository, name, r.Root, r.Digest, r.Wanted, r.Why, r.Failed, r.Time},
			})
		}
	}
	if f.desk != nil {
		f.desk.Wanting = func(ctx context.Context, n channel.Name, e *channel.ApprovalsError) {
			if err := f.outbox.AddOne(ctx, approvalWanted(n, e.Digest, e.Rules, e.Want, time.Now())); err != nil {
				journal.Of(ctx).WithError(err).Warn("noting that approvals are wanted")
			}
		}
	}
}

// moved has receivers told of an entry of a channel's log.
func (f *fleet) moved(ctx context.Context, tx database.Tx, e channels.Entry) error {
	data := channelEvent{
		Name: e.Repository, Channel: e.Channel, Sequence: e.Sequence, Action: string(e.Action), Digest: e.Digest, From: e.From, By: e.Who, Reason: e.Reason,
		BreakGlass: e.BreakGlass, Time: e.At,
	}
	for _, a := range e.Approvals {
		data.ApprovedBy = append(data.ApprovedBy, a.Person)
	}
	// Who refreshes says that nothing has happened.
	if e.Action != channel.Refresh {
		err := f.outbox.Add(ctx, tx, webhooks.Event{Type: webhooks.ChannelMoved, Name: e.Repository, Subject: e.Hash, Time: e.At, Data: data})
		if err != nil {
			return err
		}
	}
	for _, next := range e.Next {
		n := channel.Name{Repository: e.Repository, Channel: next.Channel}
		if err := f.outbox.Add(ctx, tx, approvalWanted(n, e.Digest, next.Rules, next.Count, e.At)); err != nil {
			return err
		}
	}
	return nil
}

// senders are what sends what happens, as long as a context lasts.
func (f *fleet) senders(db *database.DB, w *wiring.Parts, names func(ctx context.Context) ([]channel.Name, error), log *logrus.Logger) []func(context.Context) {
	if f.outbox == nil {
		return nil
	}
	sender := webhooks.NewSender(f.outbox, w.Reach, "ampoule/"+thisVersion().Version, logrus.NewEntry(log))
	all := []func(context.Context){sender.Run}
	if f.desk == nil || names == nil {
		return all
	}
	follower := channels.NewFollower(f.desk, db, names, f.moved)
	return append(all, follower.Run)
}
