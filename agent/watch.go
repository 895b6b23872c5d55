package agent

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"ampoule/faults"
)

// saveEvery is how often the journal is told how long a release was watched.
const saveEvery = 10 * time.Second

// watch looks at the host until the release has been well for long enough. What a process before
// this one has seen counts. That the channel wants something else is errMoved.
func (a *Agent) watch(ctx context.Context) error {
	w, d := a.Settings.Watch, a.journal.Deployment
	saved, polled := d.Watched, d.Watched
	for first := true; w.For > 0; first = false {
		if !first {
			if err := a.wait(ctx, w.Every); err != nil {
				return err
			}
			d.Watched += w.Every
		}
		err := a.look(ctx, d.Digest)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		d.Failed++
		if err == nil {
			d.Failed = 0
		}
		switch {
		case d.Failed >= w.Failures:
			return fmt.Errorf("it is not well: %d looks have failed, the last one: %w", d.Failed, err)
		case err == nil && d.Watched >= w.For:
			return nil
		}
		if d.Watched-saved >= saveEvery {
			saved = d.Watched
			if err := a.save(); err != nil {
				a.tell("%v", err) // what it has seen is seen again after a crash
			}
		}
		if d.Watched-polled >= a.Settings.Poll {
			polled = d.Watched
			if a.moved(ctx) {
				return errMoved
			}
		}
	}
	return nil
}

// moved reports whether the channel wants something else than what is being watched. What cannot
// be read, or is too old, says nothing.
func (a *Agent) moved(ctx context.Context) bool {
	j, now := a.journal, a.Now()
	head, err := a.Channel.Head(ctx)
	if err != nil || head != "" && head == j.Head && (j.Later.IsZero() || now.Before(j.Later)) {
		return false
	}
	l, err := a.Channel.Read(ctx)
	if err != nil || stale(l, a.Settings.MaxStale, now) != "" {
		return false
	}
	w := wishOf(l, a.Settings.Delay, j.Deployment.Digest, now)
	if w.Digest == "" || w.Digest == j.Deployment.Digest {
		j.Head, j.Later = head, w.later
		return false
	}
	return true
}

// comesUp waits until one look is good, for as long as a watch would find out that none is.
func (a *Agent) comesUp(ctx context.Context) error {
	w := a.Settings.Watch
	for try := 1; w.For > 0; try++ {
		err := a.look(ctx, a.journal.Deployment.Back)
		if err == nil {
			return nil
		}
		if try >= w.Failures {
			return err
		}
		if err := a.wait(ctx, w.Every); err != nil {
			return err
		}
	}
	return nil
}

// look looks once whether the host is well.
func (a *Agent) look(ctx context.Context, digest string) error {
	w := a.Settings.Watch
	if len(w.Command) > 0 {
		return a.runProgram(ctx, a.command(w.Command, w.Timeout, digest))
	}
	within, cancel := context.WithTimeout(ctx, w.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(within, http.MethodGet, w.URL, nil)
	if err != nil {
		return fmt.Errorf("asking %s: %w", w.URL, err)
	}
	resp, err := healthClient.Do(req)
	if err != nil {
		if within.Err() != nil && ctx.Err() == nil {
			return faults.New(faults.Machine, "", "asking %s: it did not answer within %s", w.URL, w.Timeout)
		}
		return faults.New(faults.Machine, "", "asking %s: %w", w.URL, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return faults.New(faults.Machine, "", "asking %s: %w", w.URL, err)
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return faults.New(faults.Machine, "", "asking %s: it answered %s %.200q", w.URL, resp.Status, text)
	}
	return nil
}

// maxAnswer bounds what is read of an answer, in bytes.
const maxAnswer = 64 << 10

// healthClient asks programs of this host: without a proxy, on a connection of each look's own,
// since the program behind it changes. A redirect is an answer that is not good.
var healthClient = &http.Client{
	Transport:     &http.Transport{DisableKeepAlives: true},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}
