package sources

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"

	"ampoule/service/access"
	"ampoule/service/access/issuers"
	"ampoule/service/trail"
	"ampoule/service/web"
)

// Logins are a guard's issuers, as the pages have them.
type Logins struct {
	*issuers.Issuers
	Guard interface {
		Person(r *http.Request, p issuers.Person) (access.Caller, error)
	}
}

// Ways lists by whom people log in.
func (l Logins) Ways() []web.Way {
	var all []web.Way
	for _, w := range l.Issuers.Ways() {
		all = append(all, web.Way(w))
	}
	return all
}

// Begin says where a browser goes.
func (l Logins) Begin(ctx context.Context, way, back string) (to, kept string, err error) {
	to, flow, err := l.Issuers.Begin(ctx, way, back)
	if err != nil {
		return "", "", err
	}
	data, err := json.Marshal(flow)
	return to, string(data), err
}

// Finish has the issuer say who comes back.
func (l Logins) Finish(ctx context.Context, way, back, kept string, a web.LoginAnswer) (string, error) {
	var flow issuers.Flow
	if kept != "" {
		if err := json.Unmarshal([]byte(kept), &flow); err != nil {
			return "", fmt.Errorf("reading what was kept of a login: %w", err)
		}
	}
	person, err := l.Issuers.Finish(ctx, way, back, flow, issuers.Answer(a))
	if err != nil {
		return "", err
	}
	return person.Encode()
}

// Person says who has logged in.
func (l Logins) Person(r *http.Request, person string) (web.Identity, error) {
	p, err := issuers.DecodePerson(person)
	if err != nil {
		return web.Identity{}, errors.Join(web.ErrUnknown, err)
	}
	caller, err := l.Guard.Person(r, p)
	if err != nil {
		return web.Identity{}, err
	}
	return identity(caller), nil
}

// Trail is the audit log as the pages show it.
type Trail struct {
	Log interface {
		List(ctx context.Context, f trail.Filter, after string, limit int) (trail.Page, error)
	}
}

// Changes lists entries.
func (t Trail) Changes(ctx context.Context, f web.ChangeFilter) (web.ChangePage, error) {
	page, err := t.Log.List(ctx, trail.Filter{Caller: f.Caller, Action: f.Action, Target: f.Target, Result: trail.Result(f.Result)}, f.Before, f.Limit)
	if err != nil {
		return web.ChangePage{}, err
	}
	shown := web.ChangePage{Next: page.Next}
	for _, e := range page.Entries {
		c := web.Change{
			Time: e.Time, Caller: e.Name, CallerID: e.Who.ID, Issuer: e.Issuer, Subject: e.Subject, Action: e.Action, Target: e.Target,
			Client: e.Client, Request: cmp.Or(e.Request, "none"), Result: web.ChangeResult(e.Result), Message: e.Message,
		}
		for _, name := range slices.Sorted(maps.Keys(e.Details)) {
			c.Details = append(c.Details, web.Detail{Name: name, Value: e.Details[name]})
		}
		shown.Changes = append(shown.Changes, c)
	}
	return shown, nil
}
