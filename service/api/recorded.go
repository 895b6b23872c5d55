package api

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"ampoule/faults"
	"ampoule/registry/channel"
	"ampoule/registry/server"
	"ampoule/registry/tokens"
	"ampoule/service/access"
	"ampoule/service/journal"
	"ampoule/service/problem"
	"ampoule/service/trail"
	"ampoule/service/wire"
)

// Trail is the audit log; [*trail.Log] is one.
type Trail interface {
	Conclude(ctx context.Context, action, target string, cause error) error
	Begin(ctx context.Context, action, target string, details map[string]string) (end func(error) error, err error)
	List(ctx context.Context, f trail.Filter, after string, limit int) (trail.Page, error)
}

// callerName is who sends a request, as far as it is known. Streams ask again while they last.
type callerName struct{ name atomic.Pointer[string] }

func (c *callerName) set(name string) { c.name.Store(&name) }

func (c *callerName) String() string {
	if name := c.name.Load(); name != nil {
		return *name
	}
	return ""
}

// Registry serves a registry beside the API, at /v2/. It is in the access log with its callers. What they
// write and remove is in the audit log; it is on disk before. What cannot be written there is told.
func Registry(registry http.RoundTripper, guard *access.Guard, c server.Config, log *trail.Log, tell func(error)) http.Handler {
	c.Known = func(r *http.Request, t tokens.Token) {
		if x := exchangeOf(r.Context()); x != nil {
			x.caller.set(t.Name)
		}
	}
	c.Note = func(e server.Entry) {
		what, changes := registryActions[e.Method]
		if !changes || e.TokenID == "" || !strings.Contains(e.Path, "/manifests/") {
			return // content that no manifest names is nothing yet
		}
		entry := trail.Entry{Who: trail.Who{Name: e.Token, ID: e.TokenID}, Action: what, Target: e.Path, Client: e.Client, Result: trail.Done}
		switch {
		case e.Status >= http.StatusInternalServerError:
			entry.Result, entry.Message = trail.Failed, http.StatusText(e.Status)
		case e.Status >= http.StatusBadRequest:
			entry.Result, entry.Message = trail.Refused, http.StatusText(e.Status)
		}
		if err := log.Write(context.Background(), entry); err != nil {
			tell(err)
		}
	}
	return server.New(registry, guard.Tokens(), c)
}

// registryActions say what is done to a registry by which method.
var registryActions = map[string]string{http.MethodPut: "registry-write", http.MethodDelete: "registry-delete"}

// watching returns a context in which it is noted who asks, whoever finds it out: for the access log, the
// audit log and the caller's rate.
func (s *Server) watching(ctx context.Context, r *http.Request, x *exchange) context.Context {
	about := &trail.Request{ID: x.id, Client: s.Guard.Client(r)}
	return access.Watched(trail.In(ctx, about), func(c access.Caller) error {
		x.caller.set(c.Name)
		about.By(trail.Who{Name: c.Name, ID: c.ID, Issuer: c.Issuer, Subject: c.Subject})
		if wait := s.callers.take(c.ID); wait > 0 {
			return tooMany(wait)
		}
		return nil
	})
}

func tooMany(wait time.Duration) error {
	return problem.Later(http.StatusTooManyRequests, wait, faults.Refused, "send fewer requests", "too many requests came from this caller")
}

// unrecorded are operations whose requests have a body and change nothing that somebody answers for: a
// host's report has a signature, and is kept by itself.
var unrecorded = []string{"plan", "audit-wheel", "report"}

// changes reports whether an operation belongs into the audit log.
func changes(op *huma.Operation) bool {
	return op.Method != http.MethodGet && op.Method != http.MethodHead && !slices.Contains(unrecorded, op.OperationID)
}

// conclude writes what came of a change into the audit log, unless that was done with the change. It
// returns the error that the caller is told.
func (s *Server) conclude(ctx context.Context, op *huma.Operation, cause error) error {
	if s.Trail == nil || !changes(op) {
		return cause
	}
	target := op.Path
	if x := exchangeOf(ctx); x != nil {
		target = x.request.URL.Path
	}
	if err := s.Trail.Conclude(ctx, op.OperationID, target, cause); err != nil {
		journal.Of(ctx).WithError(err).Error("a change is not in the audit log")
		if cause == nil {
			return fmt.Errorf("the change is made, and is not in the audit log: %w", err)
		}
	}
	return cause
}

// audited notes a change that somebody asked for.
func (s *Server) audited(ctx context.Context, action string, fields journal.Fields) {
	journal.Of(ctx).WithFields(fields).WithField("audit", action).Info("changed")
	details := map[string]string{}
	for name, value := range fields {
		details[name] = fmt.Sprint(value)
	}
	trail.Tell(ctx, details)
}

// Promotions are what stands between whoever promotes and the writer of channels, for the API and the
// pages alike.
type Promotions struct {
	Promoter
	// Trust says whether a digest may be promoted that builds of this service have published.
	Trust func(ctx context.Context, digest string) (known, trusted bool, err error)
	// Channels are those of the registry.
	Channels func(ctx context.Context) (Channels, error)
	// Trail gets an entry before a channel is written; optional.
	Trail Trail
}

// Write implements [Promoter]. It writes a channel between the beginning and the end of its entry in the
// audit log.
func (p Promotions) Write(ctx context.Context, n channel.Name, caller string, m channel.Move) (*channel.Log, error) {
	if p.Trail == nil {
		return p.write(ctx, n, caller, m)
	}
	details := map[string]string{"recipe": n.Repository, "channel": n.Channel, "digest": m.Digest, "from": m.From, "reason": m.Reason}
	if m.BreakGlass {
		details["glass"] = "broken"
	}
	end, err := p.Trail.Begin(ctx, string(m.Action), n.String(), details)
	if err != nil {
		return nil, err
	}
	log, err := p.write(ctx, n, caller, m)
	if noted := end(err); noted != nil {
		journal.Of(ctx).WithError(noted).Error("the end of a change is not in the audit log")
	}
	return log, err
}

// write refuses to have a channel name a digest that this service has built for callers alone who are
// not trusted.
func (p Promotions) write(ctx context.Context, n channel.Name, caller string, m channel.Move) (*channel.Log, error) {
	if m.Action != channel.Promote && m.Action != channel.Restart {
		return p.Promoter.Write(ctx, n, caller, m)
	}
	digest, err := p.digest(ctx, n.Repository, m)
	if err != nil {
		return nil, err
	}
	m.Digest = digest
	known, trusted, err := p.Trust(ctx, digest)
	if err != nil {
		return nil, err
	}
	if known && !trusted {
		return nil, faults.New(faults.Refused, "have it built by a trusted caller", "%s was built for callers who are not trusted", digest)
	}
	return p.Promoter.Write(ctx, n, caller, m)
}

// digest is what a channel is to name. Where another channel says it, it is read once: what is looked at
// is what is promoted.
func (p Promotions) digest(ctx context.Context, repository string, m channel.Move) (string, error) {
	if m.Digest != "" || m.From == "" || p.Channels == nil {
		return m.Digest, nil
	}
	all, err := p.Channels(ctx)
	if err != nil {
		return "", err
	}
	from, err := all.Open(repository, m.From)
	if err != nil {
		return "", err
	}
	log, err := from.Read(ctx)
	if err != nil {
		return "", err
	}
	return log.Current()
}

func (s *Server) addTrail() {
	add(s, needs(tokens.Admin), get("list-audit", "/v1/audit", "Lists who has asked for which change, the newest first", adminTag), s.listTrail)
}

type trailInput struct {
	Caller string    `query:"caller" maxLength:"300" doc:"A caller's name or ID"`
	Action string    `query:"action" maxLength:"64" doc:"What was asked for, such as promote"`
	Target string    `query:"target" maxLength:"500" doc:"What it is about, such as a build or team/web:prod; or a recipe"`
	Result string    `query:"result" enum:"done,refused,failed,begun"`
	Since  time.Time `query:"since" doc:"At this time or later"`
	Until  time.Time `query:"until" doc:"Before this time"`
	After  string    `query:"after" maxLength:"200" doc:"Continues a list: what its answer has as next"`
	Limit  int       `query:"limit" minimum:"1" maximum:"500" default:"50"`
}

type trailOutput struct{ Body wire.Audit }

func (s *Server) listTrail(ctx context.Context, caller access.Caller, in *trailInput) (*trailOutput, error) {
	if err := ofAll(caller); err != nil {
		return nil, err
	}
	if s.Trail == nil {
		return nil, missing("audit log")
	}
	page, err := s.Trail.List(ctx, trail.Filter{Caller: in.Caller, Action: in.Action, Target: in.Target, Result: trail.Result(in.Result), Since: in.Since, Until: in.Until}, in.After, in.Limit)
	if err != nil {
		return nil, err
	}
	out := &trailOutput{wire.Audit{Entries: []wire.AuditEntry{}, Next: page.Next}}
	for _, e := range page.Entries {
		out.Body.Entries = append(out.Body.Entries, wire.AuditEntry{
			ID: e.ID, Time: e.Time, Caller: e.Name, CallerID: e.Who.ID, Issuer: e.Issuer, Subject: e.Subject, Action: e.Action, Target: e.Target,
			Details: e.Details, Client: e.Client, Request: e.Request, Result: string(e.Result), Message: e.Message,
		})
	}
	return out, nil
}
