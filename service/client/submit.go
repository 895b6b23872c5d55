package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"ampoule/faults"
	"ampoule/recipes"
	"ampoule/service/submission"
	"ampoule/service/wire"
)

// Wishes are what a submission says beside its archive.
type Wishes struct {
	// Force builds although the key is published; Groups are built beside the artifact.
	Force  bool
	Groups []string
	Labels []string
	// Priority is greater for what begins first; Limit is the longest time, 0 the server's own.
	Priority int
	Limit    time.Duration
	// Upgrade, UpgradeNames and KeepGoing are a lock's.
	Upgrade      bool
	UpgradeNames []string
	KeepGoing    bool
}

func (w Wishes) common() url.Values {
	q := url.Values{}
	for _, label := range w.Labels {
		q.Add("label", label)
	}
	if w.Priority != 0 {
		q.Set("priority", strconv.Itoa(w.Priority))
	}
	if w.Limit > 0 {
		q.Set("limit", strconv.Itoa(int(w.Limit/time.Second)))
	}
	return q
}

func list(q url.Values, name string, values []string) {
	joined := ""
	for i, v := range values {
		if i > 0 {
			joined += ","
		}
		joined += v
	}
	if joined != "" {
		q.Set(name, joined)
	}
}

func flag(q url.Values, name string, set bool) {
	if set {
		q.Set(name, "true")
	}
}

// SubmitBuild submits a build. It is sent again where an answer is lost: the server knows it by its
// idempotency key.
func (c *Client) SubmitBuild(ctx context.Context, a submission.Archive, w Wishes) (wire.Submitted, error) {
	q := w.common()
	flag(q, "force", w.Force)
	list(q, "group", w.Groups)
	return c.submit(ctx, "/v1/builds", q, a)
}

// SubmitLock submits the making of a lock.
func (c *Client) SubmitLock(ctx context.Context, a submission.Archive, w Wishes) (wire.Submitted, error) {
	q := w.common()
	flag(q, "upgrade", w.Upgrade)
	flag(q, "keep-going", w.KeepGoing)
	list(q, "upgrade-name", w.UpgradeNames)
	return c.submit(ctx, "/v1/locks", q, a)
}

func (c *Client) submit(ctx context.Context, path string, q url.Values, a submission.Archive) (s wire.Submitted, err error) {
	err = c.ask(ctx, c.sending(path, q, a, map[string]string{wire.IdempotencyHeader: newKey()}), &s)
	return s, placed(err, a.Place)
}

func (*Client) sending(path string, q url.Values, a submission.Archive, header map[string]string) call {
	if header == nil {
		header = map[string]string{}
	}
	header["Content-Type"] = submission.MediaTypes()[0]
	return call{method: http.MethodPost, path: path, query: q, body: a.Data, header: header}
}

// Plan says what a build would do.
func (c *Client) Plan(ctx context.Context, a submission.Archive) (p wire.Plan, err error) {
	err = c.ask(ctx, c.sending("/v1/plans", nil, a, nil), &p)
	return p, placed(err, a.Place)
}

// placed names files of faults as the caller knows them.
func placed(err error, place func(string) string) error {
	wrong, ok := err.(recipes.Faults) //nolint:errorlint // it comes as it is
	if !ok {
		return err
	}
	for i := range wrong {
		if wrong[i].File != "" {
			wrong[i].File = place(wrong[i].File)
		}
	}
	return wrong
}

// Outcome is how a build ended: nil where it is done, else an error of the same kind and with the
// same hints as a local build would have ended with. Place gives the caller's name of a file of the
// archive; it may be nil.
func Outcome(b wire.Build, place func(string) string) error {
	f := b.Failure
	if f == nil {
		return nil
	}
	if len(f.Faults) > 0 {
		wrong := make(recipes.Faults, len(f.Faults))
		for i, one := range f.Faults {
			wrong[i] = recipes.Fault{File: one.File, Line: one.Line, Column: one.Column, What: one.What, Hint: one.Hint}
		}
		if place == nil {
			return wrong
		}
		return placed(wrong, place)
	}
	kind, known := faults.Named(f.Kind)
	if !known {
		kind = faults.Remote
	}
	message := f.Message
	if b.State == "cancelled" {
		message = "build " + b.ID + " was " + message // it says by whom
	}
	err := faults.New(kind, "", "%s", message)
	for i := len(f.Hints) - 1; i >= 0; i-- {
		err = faults.New(kind, f.Hints[i], "%w", err)
	}
	return err
}
