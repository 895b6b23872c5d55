package api

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"ampoule/agent/reports"
	"ampoule/contents"
	"ampoule/faults"
	"ampoule/registry"
	"ampoule/registry/channel"
	"ampoule/registry/tokens"
	"ampoule/service/access"
	"ampoule/service/deployments"
	"ampoule/service/hosts"
	"ampoule/service/journal"
	"ampoule/service/problem"
	"ampoule/service/wire"
)

// Hosts keeps what hosts report; a [*hosts.Book] does.
type Hosts interface {
	Parse(ctx context.Context, body []byte) (reports.Report, error)
	Put(ctx context.Context, r reports.Report, body []byte) (changed bool, err error)
	List(ctx context.Context) ([]hosts.Reported, error)
	Host(ctx context.Context, name string) (roots, history []hosts.Reported, err error)
	Forget(ctx context.Context, name string) error
}

const hostsTag = "hosts"

func (s *Server) addHosts() {
	add(s, needs(tokens.Read), huma.Operation{
		OperationID: "report", Method: http.MethodPost, Path: "/v1/reports", Summary: "Takes a host's report", Tags: []string{hostsTag},
		Description: "The body is a report as ampoule agent signs it: a DSSE envelope of an in-toto statement. It counts where the host's key has signed it. " +
			"The token reads the channel's repository. The same report again changes nothing; one that is older than the last one is refused with 409.",
		RequestBody:  &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{jsonType: {Schema: &huma.Schema{Type: "object"}}}},
		MaxBodyBytes: reports.MaxBytes, SkipValidateBody: true,
		Errors: []int{http.StatusConflict, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType},
	}, s.report)
	add(s, needs(tokens.Read), get("list-hosts", "/v1/hosts", "Lists the hosts, by their last reports", hostsTag), s.listHosts)
	add(s, needs(tokens.Read), get("get-host", "/v1/hosts/{host}", "Says what a host runs, and has run", hostsTag), s.getHost)
	add(s, needs(tokens.Admin), huma.Operation{
		OperationID: "forget-host", Method: http.MethodDelete, Path: "/v1/hosts/{host}", Summary: "Forgets what a host has reported, which is gone", Tags: []string{hostsTag},
		Errors: []int{http.StatusNotFound}, DefaultStatus: http.StatusNoContent,
	}, s.forgetHost)
	add(s, needs(tokens.Read), get("deployments", "/v1/deployments", "Says which channels and hosts hold something", hostsTag), s.deployments)
}

type reportInput struct {
	RawBody []byte `contentType:"application/json"`
}

type reportedOutput struct{ Body wire.Reported }

// report takes a report. Who may read the channel's repository may bring one: whose it is, its
// signature says.
func (s *Server) report(ctx context.Context, caller access.Caller, in *reportInput) (*reportedOutput, error) {
	if s.Reports == nil {
		return nil, missing("list of hosts whose reports count")
	}
	r, err := s.Reports.Parse(ctx, in.RawBody)
	if err != nil {
		return nil, err
	}
	if err := caller.Require(tokens.Read, s.own(r).Repository, ""); err != nil {
		return nil, err
	}
	changed, err := s.Reports.Put(ctx, r, in.RawBody)
	if err != nil {
		return nil, err
	}
	if changed {
		journal.Of(ctx).WithFields(journal.Fields{"host": r.Host, "channel": r.Channel, "state": string(r.State), "digest": r.Digest}).Info("a host reported something new")
	}
	return &reportedOutput{wire.Reported{Host: r.Host, Changed: changed}}, nil
}

// own is the channel of a report, as this server names it.
func (s *Server) own(r reports.Report) channel.Name {
	var n channel.Name
	n.Repository, n.Channel = r.Follows()
	if s.OwnName != nil {
		n.Repository = s.OwnName(n.Repository)
	}
	return n
}

// host is a report as it goes over the wire.
func (s *Server) host(r hosts.Reported) wire.Host {
	n := s.own(r.Report)
	return wire.Host{
		Host: r.Host, Name: n.Repository, Channel: n.Channel, Root: r.Root, State: string(r.State), Why: r.Why, Digest: r.Digest, Since: r.Since,
		Wanted: r.Wanted, Failed: r.Failed, Reported: r.Time, Received: r.Received, Silent: r.Silent, Refused: r.Refused,
	}
}

type hostsInput struct {
	Name    string `query:"name" maxLength:"255" doc:"Only those that follow a channel of this repository"`
	Channel string `query:"channel" maxLength:"32" doc:"Only those that follow a channel of this name"`
	State   string `query:"state" enum:"follows,waits,deploys,fell-back,blind,alarmed" doc:"Only those in this state"`
}

type hostsOutput struct{ Body wire.Hosts }

func (s *Server) listHosts(ctx context.Context, caller access.Caller, in *hostsInput) (*hostsOutput, error) {
	all, err := s.readable(ctx, caller)
	if err != nil {
		return nil, err
	}
	out := &hostsOutput{wire.Hosts{Hosts: []wire.Host{}}}
	for _, r := range all {
		h := s.host(r)
		if (in.Name == "" || in.Name == h.Name) && (in.Channel == "" || in.Channel == h.Channel) && (in.State == "" || in.State == h.State) {
			out.Body.Hosts = append(out.Body.Hosts, h)
		}
	}
	return out, nil
}

// readable are the last reports that a caller may read.
func (s *Server) readable(ctx context.Context, caller access.Caller) ([]hosts.Reported, error) {
	if s.Reports == nil {
		return nil, missing("list of hosts whose reports count")
	}
	all, err := s.Reports.List(ctx)
	return s.mayRead(caller, all), err
}

func (s *Server) mayRead(caller access.Caller, all []hosts.Reported) []hosts.Reported {
	return slices.DeleteFunc(all, func(r hosts.Reported) bool { return !caller.May(tokens.Read, s.own(r.Report).Repository, "") })
}

// HostPath names a host.
type HostPath struct {
	Host string `path:"host" maxLength:"64" doc:"The host's name"`
}

type hostOutput struct{ Body wire.OneHost }

func (s *Server) getHost(ctx context.Context, caller access.Caller, in *HostPath) (*hostOutput, error) {
	if s.Reports == nil {
		return nil, missing("list of hosts whose reports count")
	}
	roots, history, err := s.Reports.Host(ctx, in.Host)
	if err != nil {
		return nil, err
	}
	roots, history = s.mayRead(caller, roots), s.mayRead(caller, history)
	if len(roots) == 0 {
		return nil, faults.New(faults.NotFound, "", "host %.80q has reported nothing", in.Host)
	}
	out := &hostOutput{wire.OneHost{Host: in.Host, Roots: []wire.Host{}, History: []wire.Host{}}}
	for _, r := range roots {
		out.Body.Roots = append(out.Body.Roots, s.host(r))
	}
	for _, r := range history {
		out.Body.History = append(out.Body.History, s.host(r))
	}
	return out, nil
}

func (s *Server) forgetHost(ctx context.Context, caller access.Caller, in *HostPath) (*struct{}, error) {
	if err := ofAll(caller); err != nil {
		return nil, err
	}
	if s.Reports == nil {
		return nil, missing("list of hosts whose reports count")
	}
	if err := s.Reports.Forget(ctx, in.Host); err != nil {
		return nil, err
	}
	s.audited(ctx, "forget host", journal.Fields{"host": in.Host})
	return &struct{}{}, nil
}

type deploymentsInput struct {
	Digest       string   `query:"digest" pattern:"^(sha256:[0-9a-f]{64})?$" doc:"Who holds this digest"`
	Distribution string   `query:"distribution" maxLength:"255" doc:"Who holds this distribution, as NAME or NAME==VERSION"`
	Library      string   `query:"library" maxLength:"255" doc:"Who holds this carried library, or files of this Debian package"`
	What         string   `query:"what" maxLength:"255" doc:"Any of these"`
	Channel      []string `query:"channel" maxItems:"100" doc:"Channels to look at beside those that hosts follow, as NAME:CHANNEL"`
}

// wanted is what is asked for; nothing is everything.
func (in deploymentsInput) wanted() (deployments.Wanted, error) {
	given := cmp.Or(in.Digest, in.Distribution, in.Library, in.What)
	n := 0
	for _, text := range []string{in.Digest, in.Distribution, in.Library, in.What} {
		if text != "" {
			n++
		}
	}
	what, err := deployments.Parse(given)
	switch {
	case n > 1:
		return what, problem.OfRequest(http.StatusUnprocessableEntity, "ask for one of digest, distribution, library and what")
	case err != nil:
		return what, problem.OfRequest(http.StatusUnprocessableEntity, err.Error())
	case in.Distribution != "":
		what = what.Of(deployments.Distribution)
	case in.Library != "":
		what = what.Of(deployments.Library)
	}
	return what, nil
}

type deploymentsOutput struct{ Body wire.Deployments }

// searches is a place for each search at a time: it reads the bills of materials of many digests.
var searches = make(chan struct{}, 2)

func (s *Server) deployments(ctx context.Context, caller access.Caller, in *deploymentsInput) (*deploymentsOutput, error) {
	what, err := in.wanted()
	if err != nil {
		return nil, err
	}
	select {
	case searches <- struct{}{}:
		defer func() { <-searches }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	look := &deployments.Search{Wanted: what, Bill: s.ownBill}
	look.Begin()
	found, err := s.counting(ctx, caller, look)
	if err != nil {
		return nil, err
	}
	names, err := readableChannels(caller, append(deployments.FollowedBy(found), in.Channel...))
	if err != nil {
		return nil, err
	}
	look.Hosts(ctx, found)
	if len(names) > 0 {
		if err := s.lookInto(ctx, look, names); err != nil {
			return nil, err
		}
	}
	return &deploymentsOutput{look.End()}, nil
}

// counting are the reports that count and the caller may read, whose channels have this server's own
// names; others are noted.
func (s *Server) counting(ctx context.Context, caller access.Caller, look *deployments.Search) ([]reports.Report, error) {
	if s.Reports == nil {
		return nil, nil
	}
	all, err := s.readable(ctx, caller)
	if err != nil {
		return nil, err
	}
	var found []reports.Report
	for _, r := range all {
		if r.Refused != "" {
			look.Unknown("report of host %s: %s", r.Host, r.Refused)
			continue
		}
		r.Channel = s.own(r.Report).String()
		found = append(found, r.Report)
	}
	return found, nil
}

// readableChannels refuses channels that the caller may not read.
func readableChannels(caller access.Caller, names []string) ([]string, error) {
	for _, name := range names {
		i := strings.LastIndexByte(name, ':')
		if i <= 0 {
			return nil, wrongParameter("channel", name, "channels, such as web:prod")
		}
		if err := caller.Require(tokens.Read, name[:i], ""); err != nil {
			return nil, err
		}
	}
	return names, nil
}

// errOtherRegistry says that something is not in the registry of this server.
var errOtherRegistry = faults.New(faults.NotFound, "", "it is in another registry, and this server looks into its own alone")

// ownBill gives bills of materials of this server's registry: reports name others, too, and no request
// has this server ask there.
func (s *Server) ownBill(ctx context.Context, ref string) ([]byte, error) {
	name, digest, _ := strings.Cut(ref, "@")
	if s.OwnName != nil {
		name = s.OwnName(name)
	}
	if registry.HasHost(name) {
		return nil, errOtherRegistry
	}
	if s.Source == nil {
		return nil, missing("registry")
	}
	return contents.Bill(ctx, s.Source, s.Reference(name, digest))
}

// lookInto reads channels of this server's registry, and of those that its rules name.
func (s *Server) lookInto(ctx context.Context, look *deployments.Search, names []string) error {
	if s.Channels == nil {
		look.Unknown("channels: this server has no trust root, so nothing says whom to believe")
		return nil
	}
	all, err := s.Channels(ctx)
	if err != nil {
		return err
	}
	look.Open = func(repository, name string) (*channel.Channel, error) {
		if !isName(repository) {
			return nil, errOtherRegistry
		}
		return all.Open(repository, name)
	}
	look.Channels(ctx, names)
	return nil
}
