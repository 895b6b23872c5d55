package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"ampoule/faults"
	"ampoule/registry/server"
	"ampoule/registry/tokens"
	"ampoule/service/access"
	"ampoule/service/builds"
	"ampoule/service/logs"
	"ampoule/service/problem"
	"ampoule/service/wire"
)

const logsTag = "logs"

func (s *Server) addLogs() {
	text := get("get-log", "/v1/builds/{id}/log", "Gives a part of a build's log", logsTag)
	text.Description = "Lines are STEP | TEXT. The headers Ampoule-Next-Offset and Ampoule-End say where the part ends, and whether it is the last one of a build that has ended."
	add(s, needs(tokens.Read), text, s.getLog)
	add(s, needs(tokens.Read), get("list-events", "/v1/builds/{id}/events", "Lists what has happened to a build", logsTag), s.listEvents)
	add(s, needs(tokens.Read), stream("follow-log", "/v1/builds/{id}/log/stream", "Follows a build's log",
		"Events named line have whole lines; the ID of an event is the offset behind it, by which Last-Event-ID resumes. The event end has the build."), s.followLog)
	add(s, needs(tokens.Read), stream("follow-progress", "/v1/builds/{id}/progress/stream", "Follows what a build tells while it runs",
		"Events named progress have the form that docs/event.schema.json describes; the ID of an event is an offset, by which Last-Event-ID resumes. The event end has the build."), s.followProgress)
	add(s, needs(tokens.Read), stream("follow-events", "/v1/builds/{id}/events/stream", "Follows what happens to a build",
		"Events named event are as list-events has them; their IDs count from 1, and Last-Event-ID resumes behind one. The event end has the build."), s.followEvents)
}

// stream is an operation that answers with server-sent events.
func stream(id, path, summary, text string) huma.Operation {
	op := get(id, path, summary, logsTag)
	op.Description = text + " While nothing happens a comment comes now and then."
	op.Responses = map[string]*huma.Response{"200": {
		Description: "Server-sent events", Content: map[string]*huma.MediaType{"text/event-stream": {Schema: &huma.Schema{Type: "string"}}},
	}}
	return op
}

type logInput struct {
	BuildInput
	Offset int64  `query:"offset" minimum:"0" doc:"Where to begin, in bytes"`
	Limit  int    `query:"limit" minimum:"1" maximum:"1048576" default:"1048576" doc:"How many bytes at most"`
	Step   string `query:"step" maxLength:"255" doc:"Only the lines of this step"`
}

type logOutput struct {
	ContentType string `header:"Content-Type"`
	Next        int64  `header:"Ampoule-Next-Offset"`
	End         bool   `header:"Ampoule-End"`
	Body        []byte
}

const plainText = "text/plain; charset=utf-8"

func (s *Server) getLog(ctx context.Context, caller access.Caller, in *logInput) (*logOutput, error) {
	if _, err := s.find(ctx, caller, in.ID, tokens.Read); err != nil {
		return nil, err
	}
	chunk, err := s.Queue.ReadLog(ctx, in.ID, logs.Output, in.Offset, in.Limit)
	if err != nil {
		return nil, err
	}
	out := &logOutput{ContentType: plainText, Next: chunk.Next, End: chunk.End, Body: chunk.Data}
	if in.Step != "" {
		// A line that is cut at the end belongs to the next part.
		if cut := bytes.LastIndexByte(out.Body, '\n') + 1; !chunk.End && cut > 0 {
			out.Body, out.Next = out.Body[:cut], chunk.Offset+int64(cut)
		}
		out.Body = logs.Step(out.Body, in.Step)
	}
	return out, nil
}

type eventsInput struct {
	BuildInput
	After int64 `query:"after" minimum:"0" doc:"Only what comes behind this number"`
	Limit int   `query:"limit" minimum:"1" maximum:"1000" default:"1000"`
}

type eventsOutput struct{ Body wire.Events }

func (s *Server) listEvents(ctx context.Context, caller access.Caller, in *eventsInput) (*eventsOutput, error) {
	if _, err := s.find(ctx, caller, in.ID, tokens.Read); err != nil {
		return nil, err
	}
	all, err := s.Queue.Events(ctx, in.ID, in.After, in.Limit)
	if err != nil {
		return nil, err
	}
	out := &eventsOutput{wire.Events{Events: []wire.Event{}}}
	for _, e := range all {
		out.Body.Events = append(out.Body.Events, event(e))
	}
	return out, nil
}

func event(e builds.Event) wire.Event {
	return wire.Event{Build: e.Build, Seq: e.Seq, Time: e.Time, What: string(e.What), From: string(e.From), State: string(e.State), Who: e.Who, Message: e.Message}
}

// FollowInput names a build, and where its stream begins.
type FollowInput struct {
	BuildInput
	After  int64  `query:"after" minimum:"0" doc:"Where to begin: the ID of the last event that came"`
	Resume string `header:"Last-Event-ID" maxLength:"20" pattern:"^[0-9]*$" doc:"The same, as browsers send it; it counts before after"`
}

// from is where a stream begins.
func (in FollowInput) from() int64 {
	if n, err := strconv.ParseInt(in.Resume, 10, 64); err == nil {
		return n
	}
	return in.After
}

type followLogInput struct {
	FollowInput
	Step string `query:"step" maxLength:"255" doc:"Only the lines of this step"`
}

func (s *Server) followLog(ctx context.Context, caller access.Caller, in *followLogInput) (*huma.StreamResponse, error) {
	return s.follow(ctx, caller, in.ID, func(ctx context.Context) iter.Seq2[message, error] {
		return lines(s.Queue.FollowLog(ctx, in.ID, logs.Output, in.from()), func(offset int64, text []byte) []message {
			next := offset + int64(len(text))
			if in.Step != "" {
				text = logs.Step(text, in.Step)
			}
			if len(text) == 0 {
				return nil
			}
			return []message{{next, "line", wire.Line{Offset: offset, Next: next, Text: string(bytes.ToValidUTF8(text, []byte("\uFFFD")))}}}
		})
	})
}

func (s *Server) followProgress(ctx context.Context, caller access.Caller, in *FollowInput) (*huma.StreamResponse, error) {
	return s.follow(ctx, caller, in.ID, func(ctx context.Context) iter.Seq2[message, error] {
		return lines(s.Queue.FollowLog(ctx, in.ID, logs.Progress, in.from()), func(offset int64, text []byte) []message {
			var all []message
			for line := range bytes.Lines(text) {
				offset += int64(len(line))
				line = bytes.TrimSpace(line)
				if json.Valid(line) {
					all = append(all, message{offset, "progress", json.RawMessage(line)})
				}
			}
			return all
		})
	})
}

func (s *Server) followEvents(ctx context.Context, caller access.Caller, in *FollowInput) (*huma.StreamResponse, error) {
	return s.follow(ctx, caller, in.ID, func(ctx context.Context) iter.Seq2[message, error] {
		return func(yield func(message, error) bool) {
			for e, err := range s.Queue.Follow(ctx, in.ID, in.from()) {
				if !yield(message{e.Seq, "event", event(e)}, err) || err != nil {
					return
				}
			}
		}
	})
}

// lines gives whole lines of chunks to what makes messages of them, and what is left when there are
// no more. The ID behind a message is that of its last line, so that none is cut where it resumes.
func lines(chunks iter.Seq2[logs.Chunk, error], of func(offset int64, text []byte) []message) iter.Seq2[message, error] {
	return func(yield func(message, error) bool) {
		var rest []byte
		var at int64
		give := func(text []byte) bool {
			for _, m := range of(at, text) {
				if !yield(m, nil) {
					return false
				}
			}
			at += int64(len(text))
			return true
		}
		for chunk, err := range chunks {
			if err != nil {
				yield(message{}, err)
				return
			}
			if len(rest) == 0 {
				at = chunk.Offset
			}
			rest = append(rest, chunk.Data...)
			cut := bytes.LastIndexByte(rest, '\n') + 1
			// Who prints no end of line is heard all the same.
			if cut == 0 && len(rest) >= maxLine {
				cut = len(rest)
			}
			if cut > 0 && !give(rest[:cut]) {
				return
			}
			rest = append([]byte(nil), rest[cut:]...)
		}
		if len(rest) > 0 {
			give(rest)
		}
	}
}

// maxLine bounds a line that is waited for, in bytes.
const maxLine = 256 << 10

// message is one server-sent event. Its ID is at least 1; an older event ID resumes before it.
type message struct {
	id   int64
	name string
	data any
}

const (
	// pulse is how often something is sent while nothing happens: proxies end what is silent.
	pulse = 15 * time.Second
	// recheck is how often it is looked whether the caller's token still counts.
	recheck = 5 * time.Second
	// retryTime is how long browsers wait before they come again, in milliseconds.
	retryTime = 2000
)

// follow answers with a stream of messages about a build, and the build at its end.
func (s *Server) follow(ctx context.Context, caller access.Caller, id string, messages func(context.Context) iter.Seq2[message, error]) (*huma.StreamResponse, error) {
	if _, err := s.find(ctx, caller, id, tokens.Read); err != nil {
		return nil, err
	}
	select {
	case s.streams <- struct{}{}:
	default:
		return nil, problem.Later(http.StatusServiceUnavailable, pulse, faults.Machine, "try again later, or ask for parts of the log", "as many streams are followed as this server gives")
	}
	return &huma.StreamResponse{Body: func(hctx huma.Context) {
		defer func() { <-s.streams }()
		f := &follower{s: s, x: exchangeOf(ctx), id: id}
		f.run(ctx, messages)
	}}, nil
}

// follower is one stream.
type follower struct {
	s  *Server
	x  *exchange
	id string
}

// item is a message on its way, or what ended the messages.
type item struct {
	message message
	err     error
}

func (f *follower) run(ctx context.Context, messages func(context.Context) iter.Seq2[message, error]) {
	ctx, cancel := context.WithCancel(ctx)
	items := make(chan item)
	go func() {
		defer close(items)
		for m, err := range messages(ctx) {
			select {
			case items <- item{m, err}:
			case <-ctx.Done():
				return
			}
		}
	}()
	defer func() {
		cancel()
		for range items { //nolint:revive // it ends the goroutine
		}
	}()
	h := f.x.answer.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no")
	f.x.answer.WriteHeader(http.StatusOK)
	if !f.write(fmt.Appendf(nil, "retry: %d\n\n", retryTime)) {
		return
	}
	pulses, rechecks := time.NewTicker(pulse), time.NewTicker(recheck)
	defer pulses.Stop()
	defer rechecks.Stop()
	for {
		select {
		case it, more := <-items:
			switch {
			case !more:
				f.end(ctx)
				return
			case it.err != nil:
				f.fail(ctx, it.err)
				return
			case !f.send(it.message):
				return
			}
		case <-pulses.C:
			if !f.write([]byte(": nothing new\n\n")) {
				return
			}
		case <-rechecks.C:
			// A database that is away says nothing about the token, and gives nothing to follow.
			if _, err := f.s.Guard.Check(f.x.request, server.SecretOf(f.x.request)); err != nil && faults.Of(err) != faults.Remote {
				// Whoever has a newer ID token goes on with it, and others are told when they try.
				if !access.IsOld(err) {
					f.fail(ctx, err)
				}
				return
			}
		case <-f.s.Closing.Done():
			// The client comes again, to another server or to the next one here.
			return
		case <-ctx.Done():
			return
		}
	}
}

// end sends the build, which has ended.
func (f *follower) end(ctx context.Context) {
	b, err := f.s.Queue.Get(ctx, f.id)
	if err != nil {
		f.fail(ctx, err)
		return
	}
	f.send(message{0, "end", f.s.build(b)})
}

// fail says why the stream ends early.
func (f *follower) fail(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	f.send(message{0, "error", f.s.problem(ctx, err)})
}

// send writes a message, and reports whether the client took it. There is one copy of it: hundreds may
// be on their way.
func (f *follower) send(m message) bool {
	var text bytes.Buffer
	if m.id > 0 {
		fmt.Fprintf(&text, "id: %d\n", m.id)
	}
	text.WriteString("event: " + m.name + "\ndata: ")
	// It ends the line; the empty one behind it ends the event.
	if err := json.NewEncoder(&text).Encode(m.data); err != nil {
		return false
	}
	text.WriteByte('\n')
	return f.write(text.Bytes())
}

func (f *follower) write(text []byte) bool {
	if _, err := f.x.answer.Write(text); err != nil {
		return false
	}
	return http.NewResponseController(f.x.answer).Flush() == nil
}
