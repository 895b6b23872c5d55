package web

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"time"

	"ampoule/faults"
)

// Trail is the service's audit log.
type Trail interface {
	Changes(ctx context.Context, f ChangeFilter) (ChangePage, error)
}

// ChangeFilter chooses entries of the audit log; empty fields choose all.
type ChangeFilter struct {
	Caller, Action, Target string
	Result                 ChangeResult
	// Before continues a list: the Next of the page before.
	Before string
	Limit  int
}

// ChangePage is a part of the audit log, the newest entry first.
type ChangePage struct {
	Changes []Change
	Next    string
}

// Change is an entry of the audit log.
type Change struct {
	Time time.Time
	// Caller and CallerID are who asked; Issuer and Subject say who knows them, where that is an
	// issuer.
	Caller, CallerID, Issuer, Subject string
	Action, Target                    string
	// Details are names and values, in order.
	Details []Detail
	// Client is the address that it came from, Request the request in the service's log.
	Client, Request string
	Result          ChangeResult
	// Message says why it was not done.
	Message string
}

// Detail is a name and its value.
type Detail struct{ Name, Value string }

// ChangeResult is what came of a change.
type ChangeResult string

// The results.
const (
	ChangeDone    ChangeResult = "done"
	ChangeRefused ChangeResult = "refused"
	ChangeFailed  ChangeResult = "failed"
	ChangeBegun   ChangeResult = "begun"
)

// ChangeResults lists all results.
func ChangeResults() []ChangeResult {
	return []ChangeResult{ChangeDone, ChangeRefused, ChangeFailed, ChangeBegun}
}

// changesShown is how many entries a page has.
const changesShown = 50

// ChangesPage is what the page of the audit log shows.
type ChangesPage struct {
	Filter  ChangeFilter
	Results []ChangeResult
	Changes []Change
	// Next is the address of the next page.
	Next string
}

// Filtered reports whether the list has not all entries.
func (c ChangesPage) Filtered() bool {
	return c.Filter.Caller != "" || c.Filter.Action != "" || c.Filter.Target != "" || c.Filter.Result != "" || c.Filter.Before != ""
}

// mayAll reports whether somebody administers all names: what belongs to none is theirs alone.
func mayAll(who Identity) bool { return who.May(Admin, "*", "") }

func (p *Pages) changesPage(e *exchange) error {
	switch {
	case p.Trail == nil:
		return missing("the audit log")
	case !mayAll(e.who):
		return denied(e.who, Admin, "everything")
	}
	q := e.URL.Query()
	f := ChangeFilter{
		Caller: q.Get("caller"), Action: q.Get("action"), Target: q.Get("target"), Result: ChangeResult(q.Get("result")), Before: q.Get("before"), Limit: changesShown,
	}
	if f.Result != "" && !slices.Contains(ChangeResults(), f.Result) {
		return faults.New(faults.Usage, "", "%.80q is no result of a change", f.Result)
	}
	page, err := p.Trail.Changes(e.Context(), f)
	if err != nil {
		return err
	}
	body := ChangesPage{Filter: f, Results: ChangeResults(), Changes: page.Changes}
	if page.Next != "" {
		values := url.Values{"before": {page.Next}}
		for name, value := range map[string]string{"caller": f.Caller, "action": f.Action, "target": f.Target, "result": string(f.Result)} {
			if value != "" {
				values.Set(name, value)
			}
		}
		body.Next = "/audit?" + values.Encode()
	}
	return e.render(http.StatusOK, "audit", "audit", body)
}
