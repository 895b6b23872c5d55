package server

import (
	"net/http"
	"time"
)

// Entry is a request that was answered. It has no secret, and nothing of a query.
type Entry struct {
	// Time is when the answer was given, in UTC.
	Time time.Time `json:"time"`
	// Client is the address of who asked, Token and TokenID are those of the token that
	// allowed it; both are empty for what nobody needs a token for.
	Client  string `json:"client"`
	Token   string `json:"token,omitempty"`
	TokenID string `json:"tokenId,omitempty"`
	Method  string `json:"method"`
	Host    string `json:"host"`
	Path    string `json:"path"`
	Status  int    `json:"status"`
	// Received and Sent are the sizes of the bodies, in bytes.
	Received int64 `json:"received"`
	Sent     int64 `json:"sent"`
	// Seconds is what it took.
	Seconds float64 `json:"seconds"`
	Agent   string  `json:"agent,omitempty"`
}

// note tells of a request.
func (h *Handler) note(r *http.Request, a *Answer, by user, began time.Time) {
	if h.Note == nil {
		return
	}
	now := time.Now()
	h.Note(Entry{
		Time: now.UTC(), Client: h.Client(r), Token: by.token.Name, TokenID: by.token.ID, Method: r.Method, Host: r.Host, Path: r.URL.Path,
		Status: a.Status(), Received: max(r.ContentLength, 0), Sent: a.Sent(), Seconds: now.Sub(began).Seconds(), Agent: r.UserAgent(),
	})
}

// Answer notes what is answered, and gives up on who takes nothing of it.
type Answer struct {
	http.ResponseWriter
	status int
	sent   int64
}

// Watch notes what is answered to a request. It gives up on clients that send nothing of a body, or
// take nothing of an answer, for a minute; one that is slow may be as slow as it is.
func Watch(w http.ResponseWriter, r *http.Request) *Answer {
	control := http.NewResponseController(w)
	if r.ContentLength != 0 {
		// A handler may refuse the request and read nothing: then net/http reads the body, before it answers.
		_ = control.SetReadDeadline(time.Now().Add(headerTime))
	}
	r.Body = &steady{ReadCloser: r.Body, control: control}
	return &Answer{ResponseWriter: w}
}

// Status is the answer's so far; 200 where none was given.
func (a *Answer) Status() int {
	if a.status == 0 {
		return http.StatusOK
	}
	return a.status
}

// Sent is how much of a body was written, in bytes.
func (a *Answer) Sent() int64 { return a.sent }

// Begun reports whether something of the answer was written.
func (a *Answer) Begun() bool { return a.status != 0 }

// WriteHeader implements http.ResponseWriter.
func (a *Answer) WriteHeader(status int) {
	if a.status == 0 && status >= http.StatusOK {
		a.status = status
	}
	a.patience()
	a.ResponseWriter.WriteHeader(status)
}

// patience gives the client time to take what is written next.
func (a *Answer) patience() {
	// Where there are no deadlines, in tests, nothing is bounded.
	_ = http.NewResponseController(a.ResponseWriter).SetWriteDeadline(time.Now().Add(silence))
}

// Write implements http.ResponseWriter.
func (a *Answer) Write(p []byte) (int, error) {
	if a.status == 0 {
		a.status = http.StatusOK
	}
	a.patience()
	n, err := a.ResponseWriter.Write(p)
	a.sent += int64(n)
	return n, err
}

// Unwrap serves [http.ResponseController].
func (a *Answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }
