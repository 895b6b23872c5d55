package web

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"ampoule/faults"
)

// Times of streams.
const (
	// streamWrite is how long a visitor may take for one event.
	streamWrite = 30 * time.Second
	// usualBeat is how often a stream shows that it lives, and asks whether its token counts.
	usualBeat = 15 * time.Second
	// streamPause is the least time between two states of one page.
	streamPause = 400 * time.Millisecond
)

// stream sends server-sent events (HTML standard, section 9.2).
type stream struct {
	e  *exchange
	rc *http.ResponseController
	// mu lets one event be written at a time.
	mu sync.Mutex
}

// stream begins to send events. From here on an error can be told by the end alone.
func (e *exchange) stream() (*stream, error) {
	s := &stream{e: e, rc: http.NewResponseController(e.w)}
	h := e.w.Header()
	h.Set("Content-Type", "text/event-stream; charset=utf-8")
	// Proxies such as nginx keep answers back otherwise.
	h.Set("X-Accel-Buffering", "no")
	e.w.WriteHeader(http.StatusOK)
	return s, s.write("retry: 2000\n\n")
}

func (s *stream) write(text string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	// What offers no deadline, such as a recorder, writes without one.
	_ = s.rc.SetWriteDeadline(time.Now().Add(streamWrite))
	if _, err := s.e.w.Write([]byte(text)); err != nil {
		return err
	}
	return s.rc.Flush()
}

// send sends one event; an empty id leaves the visitor's as it is.
func (s *stream) send(event, id, data string) error {
	var b strings.Builder
	fmt.Fprintf(&b, "event: %s\n", event)
	if id != "" {
		fmt.Fprintf(&b, "id: %s\n", id)
	}
	for line := range strings.SplitSeq(strings.ReplaceAll(data, "\r", ""), "\n") {
		fmt.Fprintf(&b, "data: %s\n", line)
	}
	b.WriteByte('\n')
	return s.write(b.String())
}

// beat shows that the stream lives, and ends it where its token counts no more.
func (s *stream) beat() error {
	if _, err := s.e.identity(); err != nil {
		return err
	}
	return s.write(": alive\n\n")
}

// keep shows that a stream lives until its context ends, and ends it where its token counts no
// more, or the service stops.
func (s *stream) keep(ctx context.Context, stop func()) {
	defer stop()
	beat := time.NewTicker(s.e.pages.Beat)
	defer beat.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.e.pages.Closing(ctx):
			return
		case <-beat.C:
			if s.beat() != nil {
				return
			}
		}
	}
}

// live sends a part of a page each time that something has changed, until draw says that it was
// the last time.
func (e *exchange) live(changed <-chan struct{}, draw func() (text string, last bool, err error)) error {
	text, last, err := draw()
	if err != nil {
		return err
	}
	s, err := e.stream()
	if err != nil {
		return nil // nobody is there any more
	}
	beat := time.NewTicker(e.pages.Beat)
	defer beat.Stop()
	shown := ""
	for {
		if text != shown {
			if err := s.send("state", "", text); err != nil {
				return nil
			}
			shown = text
		}
		if last {
			_ = s.send("end", "", "")
			return nil
		}
		if !s.wait(changed, beat.C) {
			return nil
		}
		if text, last, err = draw(); err != nil {
			return nil
		}
	}
}

// wait waits for a change, and reports whether the stream goes on.
func (s *stream) wait(changed <-chan struct{}, beat <-chan time.Time) bool {
	ctx := s.e.Context()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-s.e.pages.Closing(ctx):
			return false
		case <-beat:
			if s.beat() != nil {
				return false
			}
		case _, ok := <-changed:
			if !ok {
				return false
			}
			select { // what else changes now is the same change
			case <-time.After(streamPause):
				return true
			case <-ctx.Done():
				return false
			}
		}
	}
}

// part renders a template of a page by itself.
func (e *exchange) part(page, name string, body any) (string, error) {
	var b bytes.Buffer
	v := view{Who: e.who, Known: e.known, Form: e.form, Now: e.pages.Now(), Body: body}
	if err := e.pages.templates[page].ExecuteTemplate(&b, name, v); err != nil {
		return "", fmt.Errorf("rendering %s of page %s: %w", name, page, err)
	}
	return strings.Map(visible, b.String()), nil
}

// missing is the error about something that is not there.
func missing(what string) error { return faults.New(faults.NotFound, "", "%s: not found", what) }
