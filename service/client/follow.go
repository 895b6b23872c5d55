package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"ampoule/builder/progress"
	"ampoule/service/problem"
	"ampoule/service/wire"
)

// Progress follows what a build tells while it runs, hands each event to see, and returns the build
// when it has ended. A connection that is lost is made again, from where it ended.
func (c *Client) Progress(ctx context.Context, id string, see func(progress.Event)) (wire.Build, error) {
	return c.follow(ctx, id, "progress", nil, func(data []byte) error {
		var e progress.Event
		if err := json.Unmarshal(data, &e); err != nil {
			return err
		}
		see(e)
		return nil
	})
}

// FollowLog writes a build's log as it grows, or that of one step, and returns the build when it has
// ended.
func (c *Client) FollowLog(ctx context.Context, id, step string, w io.Writer) (wire.Build, error) {
	q := url.Values{}
	if step != "" {
		q.Set("step", step)
	}
	return c.follow(ctx, id, "log", q, func(data []byte) error {
		var line wire.Line
		if err := json.Unmarshal(data, &line); err != nil {
			return err
		}
		_, err := io.WriteString(w, line.Text)
		if err != nil {
			return &sinkError{err}
		}
		return nil
	})
}

// sinkError says that what was read could not be written here.
type sinkError struct{ error }

// Unwrap returns the cause.
func (e *sinkError) Unwrap() error { return e.error }

// idle is how long a stream may send nothing, not even the server's sign of life.
const idle = time.Minute

// errSilent ends a stream that is silent.
var errSilent = errors.New("the server sends nothing any more")

// follow reads one of a build's streams to its end.
func (c *Client) follow(ctx context.Context, id, stream string, q url.Values, see func(data []byte) error) (wire.Build, error) {
	k := call{method: http.MethodGet, path: "/v1/builds/" + url.PathEscape(id) + "/" + stream + "/stream", query: q, header: map[string]string{"Accept": "text/event-stream"}}
	delay := firstWait
	for n := 1; ; n++ {
		before := k.header["Last-Event-ID"]
		b, done, err := c.read(ctx, k, see)
		if done || err != nil {
			return b, err
		}
		if ctx.Err() != nil {
			return wire.Build{}, context.Cause(ctx)
		}
		if before != k.header["Last-Event-ID"] {
			n, delay = 0, firstWait
		}
		if n >= tries*2 {
			return wire.Build{}, &awayError{c.base.String(), errSilent}
		}
		if err := c.wait(ctx, delay); err != nil {
			return wire.Build{}, err
		}
		delay = min(2*delay, 10*time.Second)
	}
}

// read reads a stream until it ends, and notes in the call where to resume. Done says that the build
// has ended. An error is one that another try does not help against.
func (c *Client) read(ctx context.Context, k call, see func(data []byte) error) (_ wire.Build, done bool, _ error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	resp, err := c.do(ctx, k)
	if err != nil {
		return wire.Build{}, false, err
	}
	defer resp.Body.Close()
	watch := time.AfterFunc(idle, func() { cancel(errSilent) })
	defer watch.Stop()
	events := bufio.NewReaderSize(resp.Body, 64<<10)
	for {
		e, err := readEvent(events)
		if err != nil {
			return wire.Build{}, false, nil // it is made again
		}
		watch.Reset(idle)
		switch e.name {
		case "":
		case "end":
			var b wire.Build
			if err := json.Unmarshal(e.data, &b); err != nil {
				return b, false, &awayError{c.base.String(), fmt.Errorf("reading the end of a stream: %w", err)}
			}
			return b, true, nil
		case "error":
			var p problem.Problem
			if err := json.Unmarshal(e.data, &p); err != nil {
				return wire.Build{}, false, &awayError{c.base.String(), fmt.Errorf("reading the end of a stream: %w", err)}
			}
			return wire.Build{}, false, p.Err(nil)
		default:
			if err := see(e.data); err != nil {
				return wire.Build{}, false, err
			}
			if e.id != "" {
				k.header["Last-Event-ID"] = e.id
			}
		}
	}
}

// event is one server-sent event (HTML, "Server-sent events"). A comment has no name.
type event struct {
	id, name string
	data     []byte
}

// maxEvent bounds an event, in bytes.
const maxEvent = 4 << 20

func readEvent(r *bufio.Reader) (event, error) {
	var e event
	size := 0
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return event{}, err
		}
		size += len(line)
		if size > maxEvent {
			return event{}, errors.New("an event is too large")
		}
		line = strings.TrimRight(line, "\r\n")
		if line == "" {
			return e, nil
		}
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch field {
		case "id":
			e.id = value
		case "event":
			e.name = value
		case "data":
			e.data = append(e.data, value...)
		}
	}
}
