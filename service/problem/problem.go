// Package problem carries errors over HTTP: as problem details (RFC 9457) whose status, kind and
// exit code come from the one table of package faults, and back into errors that a program ends
// with as if they were its own.
package problem

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"ampoule/address"
	"ampoule/faults"
	"ampoule/recipes"
)

// MediaType is that of a problem in JSON (RFC 9457, 3).
const MediaType = "application/problem+json"

// typePrefix begins the type of each problem; the kind's name ends it.
const typePrefix = "urn:ampoule:fault:"

// most is how many faults of files, and how many of a request, one problem tells.
const most = 100

// Problem is an error as it goes over HTTP.
type Problem struct { //nolint:errname // RFC 9457 calls it a problem
	Type   string `json:"type" doc:"Names the kind of the fault: urn:ampoule:fault:KIND"`
	Title  string `json:"title" doc:"What the kind means"`
	Status int    `json:"status" doc:"The status of the answer"`
	Detail string `json:"detail" doc:"What went wrong, where and why"`
	// Instance names the request in the server's log.
	Instance string   `json:"instance,omitempty" doc:"Names the request, as the server's log does: urn:ampoule:request:ID"`
	Kind     string   `json:"kind" doc:"Whose turn it is: internal, interrupted, usage, input, refused, not-found, machine, remote, build or undecided"`
	ExitCode int      `json:"exitCode" doc:"What the program ampoule ends with after such an error"`
	Hints    []string `json:"hints,omitempty" doc:"What to do about it"`
	// Faults are of files that people wrote.
	Faults []Fault `json:"faults,omitempty" doc:"What is wrong in files that were submitted, by their names in the archive"`
	// Fields are of the request itself.
	Fields []Field `json:"fields,omitempty" doc:"What is wrong with the request"`
	// RetryAfter is in seconds.
	RetryAfter int `json:"retryAfter,omitempty" doc:"How many seconds to wait before the request is sent again"`

	// cause stays on the server, challenge becomes a header.
	cause     error
	challenge string
}

// Fault is one thing that is wrong in a submitted file.
type Fault struct {
	File   string `json:"file,omitempty"`
	Line   int    `json:"line,omitempty"`
	Column int    `json:"column,omitempty"`
	What   string `json:"what"`
	Hint   string `json:"hint,omitempty"`
}

// Field is one thing that is wrong in a request, such as body.name.
type Field struct {
	Location string `json:"location,omitempty"`
	What     string `json:"what"`
}

// httpError is an error that HTTP has a status of its own for.
type httpError struct {
	error
	status int
	retry  time.Duration
}

// Unwrap returns the error, which has the kind.
func (e *httpError) Unwrap() error { return e.error }

// Status is that of the answer.
func (e *httpError) Status() int { return e.status }

// RetryAfter is how long to wait; 0 says nothing about it.
func (e *httpError) RetryAfter() time.Duration { return e.retry }

// New makes an error with a status of its own, otherwise as [faults.New] does.
func New(status int, kind faults.Kind, hint, format string, args ...any) error {
	return &httpError{error: faults.New(kind, hint, format, args...), status: status}
}

// Later says that the same request may succeed after some time (RFC 9110, 10.2.3).
func Later(status int, wait time.Duration, kind faults.Kind, hint, format string, args ...any) error {
	return &httpError{error: faults.New(kind, hint, format, args...), status: status, retry: wait}
}

// Of makes the problem that an error is. What nobody foresaw is told in general words: its text
// may say more of the server than its callers should know, and stays in [Problem.Cause].
func Of(err error) *Problem {
	var p *Problem
	if errors.As(err, &p) {
		return p
	}
	kind := faults.Of(err)
	p = ofKind(kind)
	p.cause = err
	var status interface{ Status() int }
	if errors.As(err, &status) {
		p.Status = status.Status()
	}
	var retry interface{ RetryAfter() time.Duration }
	if errors.As(err, &retry) && retry.RetryAfter() > 0 {
		p.RetryAfter = int((retry.RetryAfter() + time.Second - 1) / time.Second)
	}
	var challenge interface{ Challenge() string }
	if errors.As(err, &challenge) {
		p.challenge = challenge.Challenge()
	}
	if kind == faults.Unknown {
		p.Detail = "the server met a fault that nobody foresaw; its log has the request with the reason"
		return p
	}
	p.Detail = address.Redact(err.Error())
	for _, hint := range faults.Hints(err) {
		p.Hints = append(p.Hints, address.Redact(hint))
	}
	var wrong recipes.Faults
	if errors.As(err, &wrong) {
		for _, f := range wrong[:min(len(wrong), most)] {
			p.Faults = append(p.Faults, Fault{f.File, f.Line, f.Column, f.What, f.Hint})
		}
	}
	return p
}

func ofKind(kind faults.Kind) *Problem {
	return &Problem{Type: typePrefix + kind.String(), Title: kind.Means(), Status: kind.Status(), Kind: kind.String(), ExitCode: kind.Code()}
}

// OfRequest makes the problem of a request that is not in the form that a route takes.
func OfRequest(status int, detail string, fields ...Field) *Problem {
	kind := faults.Usage
	switch {
	case status == http.StatusNotFound:
		kind = faults.NotFound
	case status >= http.StatusInternalServerError:
		kind = faults.Unknown
	}
	p := ofKind(kind)
	p.Status, p.Detail, p.Fields = status, detail, fields[:min(len(fields), most)]
	return p
}

// Cause is the error that the problem was made of; nil where it came over HTTP.
func (p *Problem) Cause() error { return p.cause }

// Error is what went wrong.
func (p *Problem) Error() string { return p.Detail }

// GetStatus is the status of the answer, for huma.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType makes the type of an answer that of a problem, for huma.
func (*Problem) ContentType(string) string { return MediaType }

// GetHeaders are the headers of the answer, for huma.
func (p *Problem) GetHeaders() http.Header {
	h := http.Header{}
	if p.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(p.RetryAfter))
	}
	if p.challenge != "" {
		h.Set("WWW-Authenticate", p.challenge)
	}
	return h
}

// Write answers a request with the problem.
func (p *Problem) Write(w http.ResponseWriter) {
	for name, values := range p.GetHeaders() {
		w.Header()[name] = values
	}
	w.Header().Set("Content-Type", MediaType)
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // who is gone is told nothing
}

// Err is the problem as an error of the program that it came to: of the same kind and exit code,
// with the same hints, and [recipes.Faults] where files are wrong. Place gives a file's name at
// the caller by its name in the archive; nil leaves names as they are.
func (p *Problem) Err(place func(file string) string) error {
	if len(p.Faults) > 0 {
		wrong := make(recipes.Faults, len(p.Faults))
		for i, f := range p.Faults {
			file := f.File
			if place != nil && file != "" {
				file = place(file)
			}
			wrong[i] = recipes.Fault{File: file, Line: f.Line, Column: f.Column, What: f.What, Hint: f.Hint}
		}
		return wrong
	}
	kind, known := faults.Named(p.Kind)
	if !known {
		kind = faults.Remote
	}
	e := &remoteError{problem: p, kind: kind}
	for _, hint := range p.Hints {
		e.hints = append(e.hints, faults.New(kind, hint, "%s", p.Detail))
	}
	return e
}

// remoteError is an error that a server told.
type remoteError struct {
	problem *Problem
	kind    faults.Kind
	hints   []error
}

// Error is what the server said, with what is wrong with the request.
func (e *remoteError) Error() string {
	text := e.problem.Detail
	for _, f := range e.problem.Fields {
		if f.Location != "" {
			text += fmt.Sprintf("\n%s: %s", f.Location, f.What)
		} else {
			text += "\n" + f.What
		}
	}
	if e.kind == faults.Unknown && e.problem.Instance != "" {
		text += " (" + e.problem.Instance + ")"
	}
	return text
}

// Kind says whose fault it is.
func (e *remoteError) Kind() faults.Kind { return e.kind }

// Unwrap returns an error for each hint.
func (e *remoteError) Unwrap() []error { return e.hints }

// Status is that of the answer.
func (e *remoteError) Status() int { return e.problem.Status }

// RetryAfter is how long to wait; 0 says nothing about it.
func (e *remoteError) RetryAfter() time.Duration {
	return time.Duration(e.problem.RetryAfter) * time.Second
}
