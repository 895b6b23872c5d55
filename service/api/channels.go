package api

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"ampoule/artifact"
	"ampoule/config"
	"ampoule/registry/channel"
	"ampoule/registry/tokens"
	"ampoule/service/access"
	"ampoule/service/journal"
	"ampoule/service/problem"
	"ampoule/service/wire"
)

// Promoter writes the logs of channels, by the promotion key that this server holds, for callers. What
// rules and policy forbid is an error of kind Refused.
type Promoter interface {
	Write(ctx context.Context, n channel.Name, caller string, m channel.Move) (*channel.Log, error)
}

// Approver attaches to artifacts that callers approve of them, by the server's key for that. It
// returns the artifact's reference and the key's ID.
type Approver interface {
	Approve(ctx context.Context, n channel.Name, caller, digest string) (ref, key string, err error)
}

// Desk looks at channels as a whole.
type Desk interface {
	// Names are the channels that there are.
	Names(ctx context.Context) ([]channel.Name, error)
	// Check looks whether all is there that a channel may go back to.
	Check(ctx context.Context, n channel.Name, last int) ([]channel.Checked, error)
}

const channelsTag = "channels"

func (s *Server) addChannels() {
	const at = "/v1/channels/{channel}"
	add(s, needs(tokens.Read), get("list-channels", "/v1/channels", "Lists the channels, each with its last entry", channelsTag), s.listChannels)
	add(s, needs(tokens.Read), get("get-channel", at, "Says what a channel names, and how it came to that", channelsTag), s.getChannel)
	add(s, needs(tokens.Read), get("resolve-channel", at+"/resolve", "Says what a channel names, unless that must not be used, or nobody has said so for too long", channelsTag), s.resolveChannel)
	add(s, needs(tokens.Read), get("check-channel", at+"/check", "Looks whether all is there that a channel may go back to", channelsTag), s.checkTargets)
	add(s, needs(tokens.Promote), post("promote", at+"/promote", "Has a channel name a digest", channelsTag, http.StatusOK), s.promote)
	for _, w := range []struct {
		action  channel.Action
		summary string
	}{
		{channel.Rollback, "Has a channel name a digest again that it has named before"},
		{channel.Revoke, "Says that a digest is not to be used any more, for good"},
		{channel.Freeze, "Stops promotions to a channel"},
		{channel.Unfreeze, "Lets promotions to a channel go on"},
		{channel.Refresh, "Says that a channel has not changed"},
	} {
		verb := string(w.action)
		id := verb
		if w.action != channel.Rollback && w.action != channel.Revoke {
			id += "-channel"
		}
		add(s, needs(tokens.Promote), post(id, at+"/"+verb, w.summary, channelsTag, http.StatusOK), s.moved(w.action))
	}
	add(s, needs(tokens.Promote), post("restart-channel", at+"/restart", "Vouches for a log in which a key does not count any more", channelsTag, http.StatusOK), s.restart)
	add(s, needs(tokens.Approve), post("approve", at+"/approve", "Approves that a channel names a digest", channelsTag, http.StatusOK), s.approve)
}

// ChannelPath names a channel.
type ChannelPath struct {
	Channel string `path:"channel" maxLength:"32" doc:"The channel's name, such as prod"`
}

// ChannelQuery names its repository.
type ChannelQuery struct {
	ChannelPath
	Name string `query:"name" required:"true" maxLength:"255" doc:"The repository's name"`
}

type channelInput struct {
	ChannelQuery
	Last       int  `query:"last" minimum:"0" maximum:"100000" default:"50" doc:"How many entries to give"`
	Unverified bool `query:"unverified" doc:"Give the entries as they are, whoever wrote them, of a log that is refused"`
}

type channelOutput struct{ Body wire.Channel }

// checkChannel refuses names that no channel can have, and callers who may not do it.
func checkChannel(caller access.Caller, verb tokens.Verb, name, of string) error {
	switch {
	case !isName(name):
		return wrongParameter("name", name, "a repository's names, such as team/web")
	case !artifact.IsChannel(of):
		return wrongParameter("channel", of, "a channel's names, such as prod")
	}
	return caller.Require(verb, name, of)
}

// openChannel opens a channel that the caller may read.
func (s *Server) openChannel(ctx context.Context, caller access.Caller, name, of string) (*channel.Channel, error) {
	if err := checkChannel(caller, tokens.Read, name, of); err != nil {
		return nil, err
	}
	if s.Channels == nil {
		return nil, missing("trust root, which channels need")
	}
	all, err := s.Channels(ctx)
	if err != nil {
		return nil, err
	}
	return all.Open(name, of)
}

func (s *Server) getChannel(ctx context.Context, caller access.Caller, in *channelInput) (*channelOutput, error) {
	c, err := s.openChannel(ctx, caller, in.Name, in.Channel)
	if err != nil {
		return nil, err
	}
	if in.Unverified {
		entries, err := c.Unverified(ctx)
		return &channelOutput{wire.Channel{Name: in.Name, Channel: in.Channel, Entries: lastEntries(entries, in.Last)}}, err
	}
	log, err := c.Read(ctx)
	if err != nil {
		return nil, err
	}
	if len(log.Entries) == 0 {
		_, err := log.Current()
		return nil, err
	}
	return &channelOutput{s.channel(log, in.Last)}, nil
}

// channel is a verified log as it goes over the wire, with its last entries.
func (s *Server) channel(log *channel.Log, last int) wire.Channel {
	c := wire.Channel{
		Name: log.Repository, Channel: log.Channel, Verified: true, Names: log.Digest, Since: log.Since, Accepted: log.Accepted, Revoked: log.Revoked,
		Frozen: log.Frozen, Entries: lastEntries(log.Entries, last),
	}
	if log.Digest != "" {
		c.Ref = s.shown(log.Repository, log.Digest)
	}
	c.Digest, _ = log.Current() // empty where it is revoked
	return c
}

// lastEntries are the last entries of a log, the last one first.
func lastEntries(entries []channel.Signed, last int) []wire.ChannelEntry {
	all := []wire.ChannelEntry{}
	for _, e := range slices.Backward(entries) {
		if len(all) == last {
			break
		}
		one := wire.ChannelEntry{
			Seq: e.Sequence, Hash: e.Hash, Previous: e.Previous, Time: e.At, Action: string(e.Action), Digest: e.Digest, From: e.From, By: e.Who, SignedBy: e.By,
			Reason: e.Reason, BreakGlass: e.BreakGlass, PassedOver: e.PassedOver, Evidence: e.Evidence,
		}
		if e.Rule != nil {
			one.Rules = e.Rule.Version
		}
		for _, a := range e.Approvals {
			one.ApprovedBy = append(one.ApprovedBy, a.Person)
		}
		all = append(all, one)
	}
	return all
}

type channelsInput struct {
	Name string `query:"name" maxLength:"255" doc:"Only those of this repository"`
}

type channelsOutput struct{ Body wire.Channels }

// listChannels reads each channel that the caller may read. One whose log is refused says why.
func (s *Server) listChannels(ctx context.Context, caller access.Caller, in *channelsInput) (*channelsOutput, error) {
	if s.Channels == nil || s.Desk == nil {
		return nil, missing("trust root, which channels need")
	}
	names, err := s.Desk.Names(ctx)
	if err != nil {
		return nil, err
	}
	all, err := s.Channels(ctx)
	if err != nil {
		return nil, err
	}
	out := &channelsOutput{wire.Channels{Channels: []wire.Channel{}}}
	for _, n := range names {
		if in.Name != "" && n.Repository != in.Name || !caller.May(tokens.Read, n.Repository, "") {
			continue
		}
		c, err := all.Open(n.Repository, n.Channel)
		if err != nil {
			return nil, err
		}
		log, err := c.Read(ctx)
		var refused *channel.LogError
		switch {
		case errors.As(err, &refused):
			out.Body.Channels = append(out.Body.Channels, wire.Channel{Name: n.Repository, Channel: n.Channel, Refused: err.Error(), Entries: []wire.ChannelEntry{}})
		case err != nil:
			return nil, err
		case len(log.Entries) > 0:
			out.Body.Channels = append(out.Body.Channels, s.channel(log, 1))
		}
	}
	return out, nil
}

type resolveInput struct {
	ChannelQuery
	MaxStale string `query:"max-stale" maxLength:"16" doc:"How old the last entry may be, such as 1h or 2d"`
}

func (s *Server) resolveChannel(ctx context.Context, caller access.Caller, in *resolveInput) (*channelOutput, error) {
	var most time.Duration
	if in.MaxStale != "" {
		var err error
		if most, err = config.ParseDuration(in.MaxStale); err != nil || most == 0 {
			return nil, wrongParameter("max-stale", in.MaxStale, "durations, such as 1h or 2d")
		}
	}
	c, err := s.openChannel(ctx, caller, in.Name, in.Channel)
	if err != nil {
		return nil, err
	}
	log, err := c.Read(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := log.Current(); err != nil {
		return nil, err
	}
	if err := log.CheckFresh(time.Now(), most); err != nil {
		return nil, err
	}
	return &channelOutput{s.channel(log, 1)}, nil
}

type checkInput struct {
	ChannelQuery
	Last int `query:"last" minimum:"1" maximum:"100" default:"5" doc:"How many of the digests that the channel has named last"`
}

type checkOutput struct{ Body wire.ChannelCheck }

// checks is a place for each look at all blobs of a channel's digests.
var checks = make(chan struct{}, 2)

func (s *Server) checkTargets(ctx context.Context, caller access.Caller, in *checkInput) (*checkOutput, error) {
	if err := checkChannel(caller, tokens.Read, in.Name, in.Channel); err != nil {
		return nil, err
	}
	if s.Desk == nil {
		return nil, missing("trust root, which channels need")
	}
	select {
	case checks <- struct{}{}:
		defer func() { <-checks }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	found, err := s.Desk.Check(ctx, channel.Name{Repository: in.Name, Channel: in.Channel}, in.Last)
	if err != nil {
		return nil, err
	}
	out := &checkOutput{wire.ChannelCheck{Name: in.Name, Channel: in.Channel, Targets: []wire.ChannelTarget{}}}
	for _, t := range found {
		out.Body.Targets = append(out.Body.Targets, wire.ChannelTarget{
			Digest: t.Digest, Current: t.Current, Manifests: t.Parts.Manifests, Blobs: t.Parts.Blobs, Bytes: t.Parts.Bytes, Problems: t.Problems,
		})
	}
	return out, nil
}

type promotion struct {
	Name       string `json:"name" maxLength:"255" doc:"The repository's name"`
	Digest     string `json:"digest,omitempty" pattern:"^(sha256:[0-9a-f]{64})?$" doc:"What to name; empty takes what from names"`
	From       string `json:"from,omitempty" maxLength:"32" doc:"A channel that must name the digest now"`
	Reason     string `json:"reason,omitempty" maxLength:"1000" doc:"For people"`
	BreakGlass bool   `json:"breakGlass,omitempty" doc:"Pass over that the channel is frozen, and what its rules want; wants a reason, and the scope admin"`
}

type promoteInput struct {
	ChannelPath
	Body promotion
}

func (s *Server) promote(ctx context.Context, caller access.Caller, in *promoteInput) (*channelOutput, error) {
	p := in.Body
	if err := s.mayWrite(caller, p.Name, in.Channel); err != nil {
		return nil, err
	}
	if p.Digest == "" && p.From == "" {
		return nil, lacking("body.digest", "name a digest, or in from a channel that names one")
	}
	return s.write(ctx, caller, in.Channel, p.Name, channel.Move{Action: channel.Promote, Digest: p.Digest, From: p.From, Reason: p.Reason, BreakGlass: p.BreakGlass})
}

type restarting struct {
	Name       string `json:"name" maxLength:"255" doc:"The repository's name"`
	Digest     string `json:"digest" pattern:"^sha256:[0-9a-f]{64}$" doc:"What the channel names from then on"`
	Reason     string `json:"reason" minLength:"1" maxLength:"1000" doc:"For people: what happened"`
	BreakGlass bool   `json:"breakGlass,omitempty" doc:"Pass over what the channel's rules want"`
}

type restartInput struct {
	ChannelPath
	Body restarting
}

// restart is an administrator's: it vouches for whatever the log has.
func (s *Server) restart(ctx context.Context, caller access.Caller, in *restartInput) (*channelOutput, error) {
	b := in.Body
	if err := s.mayWrite(caller, b.Name, in.Channel); err != nil {
		return nil, err
	}
	if err := caller.Require(tokens.Admin, b.Name, ""); err != nil {
		return nil, err
	}
	return s.write(ctx, caller, in.Channel, b.Name, channel.Move{Action: channel.Restart, Digest: b.Digest, Reason: b.Reason, BreakGlass: b.BreakGlass})
}

type movement struct {
	Name   string `json:"name" maxLength:"255" doc:"The repository's name"`
	Digest string `json:"digest,omitempty" pattern:"^(sha256:[0-9a-f]{64})?$" doc:"Of rollback and revoke: the digest; a rollback without one goes to the digest before"`
	Reason string `json:"reason,omitempty" maxLength:"1000" doc:"For people; revoke and freeze must have one"`
}

type movementInput struct {
	ChannelPath
	Body movement
}

// moved is the handler of an action.
func (s *Server) moved(action channel.Action) func(context.Context, access.Caller, *movementInput) (*channelOutput, error) {
	return func(ctx context.Context, caller access.Caller, in *movementInput) (*channelOutput, error) {
		b := in.Body
		if err := s.mayWrite(caller, b.Name, in.Channel); err != nil {
			return nil, err
		}
		needsReason := action == channel.Revoke || action == channel.Freeze
		takesDigest := action == channel.Rollback || action == channel.Revoke
		switch {
		case needsReason && strings.TrimSpace(b.Reason) == "":
			return nil, lacking("body.reason", "say why, for those who read the history")
		case action == channel.Revoke && b.Digest == "":
			return nil, lacking("body.digest", "name what is revoked")
		case !takesDigest && b.Digest != "":
			return nil, lacking("body.digest", "it is about the channel, whatever that names")
		}
		return s.write(ctx, caller, in.Channel, b.Name, channel.Move{Action: action, Digest: b.Digest, Reason: b.Reason})
	}
}

// lacking says what is wrong with a field of a body.
func lacking(field, what string) error {
	return problem.OfRequest(http.StatusUnprocessableEntity, "validation failed", problem.Field{Location: field, What: what})
}

type approving struct {
	Name   string `json:"name" maxLength:"255" doc:"The repository's name"`
	Digest string `json:"digest" pattern:"^sha256:[0-9a-f]{64}$" doc:"What is approved"`
}

type approveInput struct {
	ChannelPath
	Body approving
}

type approveOutput struct{ Body wire.Approval }

// approve signs for the caller: the rules say which person that is.
func (s *Server) approve(ctx context.Context, caller access.Caller, in *approveInput) (*approveOutput, error) {
	b := in.Body
	if err := checkChannel(caller, tokens.Approve, b.Name, in.Channel); err != nil {
		return nil, err
	}
	if s.Approver == nil {
		return nil, missing("key that approves; `ampoule channel approve` does it, by a key of yours")
	}
	fields := journal.Fields{"recipe": b.Name, "channel": in.Channel, "digest": b.Digest}
	ref, key, err := s.Approver.Approve(ctx, channel.Name{Repository: b.Name, Channel: in.Channel}, caller.Name, b.Digest)
	if err != nil {
		s.audited(ctx, "approve refused", fields)
		return nil, err
	}
	s.audited(ctx, "approve", fields)
	return &approveOutput{wire.Approval{Ref: ref, Key: key, Caller: caller.Name}}, nil
}

// signedReason has the entry say who asked: the key is the server's.
func signedReason(caller access.Caller, reason string) string {
	if reason == "" {
		return "by token " + caller.Name
	}
	return reason + " (by token " + caller.Name + ")"
}

// mayWrite refuses who may not write a channel, and what this server cannot do.
func (s *Server) mayWrite(caller access.Caller, name, of string) error {
	if err := checkChannel(caller, tokens.Promote, name, of); err != nil {
		return err
	}
	if s.Promoter == nil {
		return missing("promotion key")
	}
	return nil
}

// write adds an entry to a channel for a caller who may.
func (s *Server) write(ctx context.Context, caller access.Caller, of, name string, m channel.Move) (*channelOutput, error) {
	if m.BreakGlass {
		if err := caller.Require(tokens.Admin, name, ""); err != nil {
			return nil, err
		}
		if strings.TrimSpace(m.Reason) == "" {
			return nil, lacking("body.reason", "say why the rules are passed over")
		}
	}
	m.Reason = signedReason(caller, m.Reason)
	fields := journal.Fields{"recipe": name, "channel": of, "digest": m.Digest}
	log, err := s.Promoter.Write(ctx, channel.Name{Repository: name, Channel: of}, caller.Name, m)
	if err != nil {
		s.audited(ctx, string(m.Action)+" refused", fields)
		return nil, err
	}
	if log == nil {
		return nil, errors.New("the channel's log was written and is not known")
	}
	fields["digest"] = log.Digest
	if m.Digest != "" {
		fields["digest"] = m.Digest
	}
	s.audited(ctx, string(m.Action), fields)
	return &channelOutput{s.channel(log, 1)}, nil
}
