package api

import (
	"context"
	"errors"
	"net/http"
	"slices"

	"ampoule/artifact"
	"ampoule/registry/channel"
	"ampoule/registry/tokens"
	"ampoule/service/access"
	"ampoule/service/journal"
	"ampoule/service/problem"
	"ampoule/service/wire"
)

// Promoter writes the logs of channels, by the promotion key that this server holds. What rules and
// policy forbid is an error of kind Refused.
type Promoter interface {
	Promote(ctx context.Context, repository, channel string, p channel.Promotion) (*channel.Log, error)
	Rollback(ctx context.Context, repository, channel, digest, reason string) (*channel.Log, error)
	Revoke(ctx context.Context, repository, channel, digest, reason string) (*channel.Log, error)
}

const channelsTag = "channels"

func (s *Server) addChannels() {
	add(s, needs(tokens.Read), get("get-channel", "/v1/channels/{channel}", "Says what a channel names, and how it came to that", channelsTag), s.getChannel)
	add(s, needs(tokens.Promote), post("promote", "/v1/channels/{channel}/promote", "Has a channel name a digest", channelsTag, http.StatusOK), s.promote)
	add(s, needs(tokens.Promote), post("rollback", "/v1/channels/{channel}/rollback", "Has a channel name a digest again that it has named before", channelsTag, http.StatusOK), s.rollback)
	add(s, needs(tokens.Promote), post("revoke", "/v1/channels/{channel}/revoke", "Says that a digest is not to be used any more, for good", channelsTag, http.StatusOK), s.revoke)
}

// ChannelPath names a channel.
type ChannelPath struct {
	Channel string `path:"channel" maxLength:"32" doc:"The channel's name, such as prod"`
}

type channelInput struct {
	ChannelPath
	Name string `query:"name" required:"true" maxLength:"255" doc:"The repository's name"`
	Last int    `query:"last" minimum:"0" maximum:"1000" default:"50" doc:"How many entries to give"`
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

func (s *Server) getChannel(ctx context.Context, caller access.Caller, in *channelInput) (*channelOutput, error) {
	if err := checkChannel(caller, tokens.Read, in.Name, in.Channel); err != nil {
		return nil, err
	}
	if s.Channels == nil {
		return nil, missing("trust root, which channels need")
	}
	all, err := s.Channels(ctx)
	if err != nil {
		return nil, err
	}
	c, err := all.Open(in.Name, in.Channel)
	if err != nil {
		return nil, err
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
	c := wire.Channel{Name: log.Repository, Channel: log.Channel, Entries: []wire.ChannelEntry{}}
	if digest, err := log.Current(); err == nil {
		c.Digest, c.Ref = digest, s.shown(log.Repository, digest)
	}
	for _, e := range slices.Backward(log.Entries) {
		if len(c.Entries) == last {
			break
		}
		c.Entries = append(c.Entries, wire.ChannelEntry{Seq: e.Sequence, Time: e.At, Action: string(e.Action), Digest: e.Digest, By: e.Who, Reason: e.Reason})
	}
	return c
}

type promotion struct {
	Name       string `json:"name" maxLength:"255" doc:"The repository's name"`
	Digest     string `json:"digest,omitempty" pattern:"^(sha256:[0-9a-f]{64})?$" doc:"What to name; empty takes what from names"`
	From       string `json:"from,omitempty" maxLength:"32" doc:"A channel that must name the digest now"`
	Reason     string `json:"reason,omitempty" maxLength:"1000" doc:"For people"`
	BreakGlass bool   `json:"breakGlass,omitempty" doc:"Pass over what the rules want; then the reason is needed. It takes the scope admin"`
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
	if p.BreakGlass {
		if err := caller.Require(tokens.Admin, p.Name, ""); err != nil {
			return nil, err
		}
	}
	reason := signedReason(caller, p.Reason)
	log, err := s.Promoter.Promote(ctx, p.Name, in.Channel, channel.Promotion{Digest: p.Digest, From: p.From, Reason: reason, BreakGlass: p.BreakGlass})
	return s.wrote(ctx, "promote", in.Channel, p.Name, p.Digest, log, err)
}

// signedReason has the entry say who asked: the key is the server's.
func signedReason(caller access.Caller, reason string) string {
	if reason == "" {
		return "by token " + caller.Name
	}
	return reason + " (by token " + caller.Name + ")"
}

type movement struct {
	Name   string `json:"name" maxLength:"255" doc:"The repository's name"`
	Digest string `json:"digest,omitempty" pattern:"^(sha256:[0-9a-f]{64})?$" doc:"The digest; a rollback without one goes to the digest before"`
	Reason string `json:"reason" minLength:"1" maxLength:"1000" doc:"For people"`
}

type movementInput struct {
	ChannelPath
	Body movement
}

func (s *Server) rollback(ctx context.Context, caller access.Caller, in *movementInput) (*channelOutput, error) {
	if err := s.mayWrite(caller, in.Body.Name, in.Channel); err != nil {
		return nil, err
	}
	log, err := s.Promoter.Rollback(ctx, in.Body.Name, in.Channel, in.Body.Digest, signedReason(caller, in.Body.Reason))
	return s.wrote(ctx, "rollback", in.Channel, in.Body.Name, in.Body.Digest, log, err)
}

func (s *Server) revoke(ctx context.Context, caller access.Caller, in *movementInput) (*channelOutput, error) {
	if err := s.mayWrite(caller, in.Body.Name, in.Channel); err != nil {
		return nil, err
	}
	if in.Body.Digest == "" {
		return nil, problem.OfRequest(http.StatusUnprocessableEntity, "validation failed", problem.Field{Location: "body.digest", What: "name what is revoked"})
	}
	log, err := s.Promoter.Revoke(ctx, in.Body.Name, in.Channel, in.Body.Digest, signedReason(caller, in.Body.Reason))
	return s.wrote(ctx, "revoke", in.Channel, in.Body.Name, in.Body.Digest, log, err)
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

func (s *Server) wrote(ctx context.Context, action, of, name, digest string, log *channel.Log, err error) (*channelOutput, error) {
	fields := journal.Fields{"recipe": name, "channel": of, "digest": digest}
	if err != nil {
		s.audited(ctx, action+" refused", fields)
		return nil, err
	}
	if log == nil {
		return nil, errors.New("the channel's log was written and is not known")
	}
	s.audited(ctx, action, fields)
	return &channelOutput{s.channel(log, 1)}, nil
}
