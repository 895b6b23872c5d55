package api

import (
	"context"
	"net/http"
	"net/url"
	"slices"

	"ampoule/faults"
	"ampoule/registry/tokens"
	"ampoule/service/access"
	"ampoule/service/journal"
	"ampoule/service/webhooks"
	"ampoule/service/wire"
)

// Webhooks keeps what is sent to receivers; a [*webhooks.Outbox] does.
type Webhooks interface {
	Hooks() []webhooks.Hook
	Last(ctx context.Context, hook string, most int) ([]webhooks.Delivery, error)
	Again(ctx context.Context, hook, id string) (webhooks.Delivery, error)
}

func (s *Server) addWebhooks() {
	const tag = "webhooks"
	add(s, needs(tokens.Admin), get("list-webhooks", "/v1/webhooks", "Lists the webhooks with their last deliveries", tag), s.listWebhooks)
	add(s, needs(tokens.Admin), post("redeliver", "/v1/webhooks/{webhook}/deliveries/{delivery}/redeliver", "Sends a delivery again", tag, http.StatusAccepted), s.redeliver)
}

type webhooksInput struct {
	Last int `query:"last" minimum:"0" maximum:"1000" default:"20" doc:"How many deliveries of each to give"`
}

type webhooksOutput struct{ Body wire.Webhooks }

func (s *Server) listWebhooks(ctx context.Context, caller access.Caller, in *webhooksInput) (*webhooksOutput, error) {
	if err := ofAll(caller); err != nil {
		return nil, err
	}
	if s.Webhooks == nil {
		return nil, missing("webhooks")
	}
	out := &webhooksOutput{wire.Webhooks{Webhooks: []wire.Webhook{}}}
	for _, h := range s.Webhooks.Hooks() {
		one := wire.Webhook{Name: h.Name, URL: hostOf(h.URL), Match: h.Match, Events: []string{}, Deliveries: []wire.Delivery{}}
		for _, event := range h.Events {
			one.Events = append(one.Events, string(event))
		}
		last, err := s.Webhooks.Last(ctx, h.Name, in.Last)
		if err != nil {
			return nil, err
		}
		for _, d := range last {
			one.Deliveries = append(one.Deliveries, delivery(d))
		}
		out.Body.Webhooks = append(out.Body.Webhooks, one)
	}
	return out, nil
}

// hostOf is an address up to its host: the path of a receiver is often a secret.
func hostOf(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	return u.Scheme + "://" + u.Host
}

func delivery(d webhooks.Delivery) wire.Delivery {
	return wire.Delivery{
		ID: d.ID, Event: d.Event, Type: string(d.Type), Name: d.Name, State: string(d.State), Attempts: d.Attempts, Created: d.Created, Due: d.Due, Tried: d.Tried,
		Status: d.Status, Message: d.Message,
	}
}

type redeliverInput struct {
	Webhook  string `path:"webhook" maxLength:"64" doc:"The webhook's name"`
	Delivery string `path:"delivery" maxLength:"64" doc:"The delivery's ID"`
}

type deliveryOutput struct{ Body wire.Delivery }

func (s *Server) redeliver(ctx context.Context, caller access.Caller, in *redeliverInput) (*deliveryOutput, error) {
	if err := ofAll(caller); err != nil {
		return nil, err
	}
	if s.Webhooks == nil {
		return nil, missing("webhooks")
	}
	if !slices.ContainsFunc(s.Webhooks.Hooks(), func(h webhooks.Hook) bool { return h.Name == in.Webhook }) {
		return nil, faults.New(faults.NotFound, "GET /v1/webhooks lists them", "there is no webhook %.80q", in.Webhook)
	}
	d, err := s.Webhooks.Again(ctx, in.Webhook, in.Delivery)
	if err != nil {
		return nil, err
	}
	s.audited(ctx, "redeliver", journal.Fields{"webhook": in.Webhook, "delivery": in.Delivery})
	return &deliveryOutput{delivery(d)}, nil
}
