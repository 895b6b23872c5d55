package sources

import (
	"context"
	"time"

	"ampoule/agent/reports"
	"ampoule/service/hosts"
	"ampoule/service/web"
)

// Reports gives what pages show of hosts: by a list of reports, and the name that the service has for a
// repository that a host names.
func Reports(list func(ctx context.Context) ([]hosts.Reported, error), own func(repository string) string) func(ctx context.Context) ([]web.Host, error) {
	return func(ctx context.Context) ([]web.Host, error) {
		all, err := list(ctx)
		if err != nil {
			return nil, err
		}
		shown := make([]web.Host, 0, len(all))
		for _, r := range all {
			shown = append(shown, host(r, own))
		}
		return shown, nil
	}
}

// host is a report for pages.
func host(r hosts.Reported, own func(repository string) string) web.Host {
	h := web.Host{Name: r.Host, Digest: r.Digest, Wanted: r.Wanted, Reported: r.Received, Message: r.Why, State: stateOf(r)}
	repository, channel := r.Follows()
	h.Channel = own(repository) + ":" + channel
	h.Since, _ = time.Parse(time.RFC3339, r.Since) // none, or not known
	if r.Refused != "" {
		h.Message = "its report does not count any more: " + r.Refused
	}
	return h
}

// stateOf is how a host stands to its channel.
func stateOf(r hosts.Reported) web.HostState {
	switch {
	case r.Refused != "":
		return web.HostFailed
	case r.Silent:
		return web.HostSilent
	}
	switch r.State {
	case reports.Waits:
		return web.HostBehind
	case reports.Deploys:
		return web.HostWatching
	case reports.FellBack:
		return web.HostFellBack
	case reports.Blind:
		return web.HostStale
	case reports.Alarmed:
		return web.HostFailed
	case reports.Follows:
	}
	return web.HostCurrent
}
