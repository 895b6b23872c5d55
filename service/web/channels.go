package web

import (
	"context"
	"net/http"
	"strings"

	"ampoule/artifact"
	"ampoule/faults"
)

// ChannelsPage is what the list of channels shows.
type ChannelsPage struct{ Channels []Channel }

func (p *Pages) channelsPage(e *exchange) error {
	all, err := p.Channels.Channels(e.Context())
	if err != nil {
		return err
	}
	body := ChannelsPage{}
	for _, c := range all {
		if e.who.May(Read, c.Repository, "") {
			body.Channels = append(body.Channels, c)
		}
	}
	return e.render(http.StatusOK, "channels", "channels", body)
}

// OneChannel is what the page of a channel shows.
type OneChannel struct {
	Channel
	Followers              []Host
	MayPromote, MayApprove bool
}

// channelRef reads REPOSITORY:CHANNEL.
func channelRef(text string) (repository, name string, err error) {
	i := strings.LastIndexByte(text, ':')
	if i < 0 || !isName(text[:i]) || !artifact.IsChannel(text[i+1:]) {
		return "", "", missing("a channel " + text)
	}
	return text[:i], text[i+1:], nil
}

func (p *Pages) channelPage(e *exchange) error {
	body, err := p.oneChannel(e)
	if err != nil {
		return err
	}
	return e.render(http.StatusOK, "channel", "channels", body)
}

func (p *Pages) oneChannel(e *exchange) (OneChannel, error) {
	repository, name, err := channelRef(e.PathValue("ref"))
	if err == nil {
		err = e.may(Read, repository, "")
	}
	if err != nil {
		return OneChannel{}, err
	}
	c, err := p.Channels.Channel(e.Context(), repository, name)
	if err != nil {
		return OneChannel{}, err
	}
	body := OneChannel{
		Channel:    c,
		MayPromote: c.Writable && e.who.May(Promote, repository, name),
		MayApprove: c.Writable && e.who.May(Approve, repository, name),
	}
	hosts, err := p.Fleet.Hosts(e.Context())
	for _, h := range hosts {
		if h.Channel == c.Ref() {
			// It has not heard of it yet.
			if h.State == HostCurrent && h.Digest != c.Digest {
				h.State, h.Wanted = HostBehind, c.Digest
			}
			body.Followers = append(body.Followers, h)
		}
	}
	return body, err
}

// move does what a form wants of a channel. What cannot be done is shown on the channel's page.
func (p *Pages) move(scope Scope, do func(ctx context.Context, by Identity, m Move) (done string, err error)) func(*exchange) error {
	return func(e *exchange) error {
		repository, name, err := channelRef(e.PathValue("ref"))
		if err == nil {
			err = e.may(Read, repository, "")
		}
		if err == nil {
			err = e.may(scope, repository, name)
		}
		if err != nil {
			return err
		}
		m := Move{repository, name, e.PostForm.Get("digest"), e.PostForm.Get("from"), strings.TrimSpace(e.PostForm.Get("reason"))}
		if !artifact.IsDigest(m.Digest) {
			return faults.New(faults.Usage, "", "%.80q is no digest", m.Digest)
		}
		done, err := do(e.Context(), e.who, m)
		if err == nil {
			e.redirect(linkPath("channels", repository+":"+name) + "?done=" + done)
			return nil
		}
		if faults.Of(err) == faults.Unknown {
			return err
		}
		body, again := p.oneChannel(e)
		if again != nil {
			return err
		}
		e.refused = err
		problem := problemOf(err)
		return e.renderWith(problem.Status, "channel", view{Section: "channels", Problem: &problem, Body: body})
	}
}

func (p *Pages) promote(ctx context.Context, by Identity, m Move) (string, error) {
	return "promoted", p.Channels.Promote(ctx, by, m)
}

func (p *Pages) rollback(ctx context.Context, by Identity, m Move) (string, error) {
	if m.Reason == "" {
		return "", faults.New(faults.Usage, "say why, for those who read the history", "a reason is missing")
	}
	return "rolled", p.Channels.Rollback(ctx, by, m)
}

func (p *Pages) approve(ctx context.Context, by Identity, m Move) (string, error) {
	return "approved", p.Channels.Approve(ctx, by, m)
}
