package sources

import (
	"context"
	"time"

	"ampoule/registry/trust/keys"
	"ampoule/service/builds"
	"ampoule/service/web"
)

// Service is what a service has, and the pages are to show.
type Service struct {
	Queue interface {
		Queue
		Workers(ctx context.Context) ([]builds.Worker, error)
	}
	Guard    Checker
	Registry Published
	// List is nil where the registry cannot be listed. Platform is the one that is looked into.
	List     Listed
	Platform string
	// Reference is how an artifact is found in the registry; nil is NAME@DIGEST.
	Reference func(name, digest string) string
	// Keys are those whose signatures are told by name, as they are now; may be nil.
	Keys func(ctx context.Context) map[string]keys.Public
	// Channels are nil where the service knows no trust root. Their artifacts and fleet are the
	// service's own.
	Channels *Channels
	// Temp is a directory for files that need not outlive a request.
	Temp string
	// Hosts gives the hosts by their reports; nil where there are none.
	Hosts func(ctx context.Context) ([]web.Host, error)
}

// Config is the part of the pages' configuration that says what they show.
func (s Service) Config() web.Config {
	all := &Builds{Queue: s.Queue, Inputs: InputsOf(s.Temp)}
	artifacts := &Artifacts{From: s.Registry, List: s.List, Done: all.Published, Reference: s.Reference, Platform: s.Platform, Keys: s.Keys}
	fleet := &Fleet{Queue: s.Queue, Reports: s.Hosts}
	var channels web.Channels = NoChannels{}
	if s.Channels != nil {
		c := *s.Channels
		c.Artifacts, c.Fleet = artifacts, fleet
		if c.Now == nil {
			c.Now = time.Now
		}
		channels = &c
	}
	return web.Config{
		Builds: all, Logs: all, Artifacts: artifacts, Channels: channels, Fleet: fleet,
		Recipes: &Recipes{Builds: all, Artifacts: artifacts, Channels: channels}, Access: Access{s.Guard},
	}
}
