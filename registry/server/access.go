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
func (h *Handler) note(r *http.Request, a *answer, by user, began time.Time) {
	if h.Note == nil {
		return
	}
	status := a.status
	if status == 0 {
		status = http.StatusOK
	}
	now := time.Now()
	h.Note(Entry{
		Time: now.UTC(), Client: h.Client(r), Token: by.token.Name, TokenID: by.token.ID, Method: r.Method, Host: r.Host, Path: r.URL.Path,
		Status: status, Received: max(r.ContentLength, 0), Sent: a.sent, Seconds: now.Sub(began).Seconds(), Agent: r.UserAgent(),
	})
}

// answer notes what is answered, and gives up on who takes nothing of it.
type answer struct {
	http.ResponseWriter
	status int
	sent   int64
}

// WriteHeader implements http.ResponseWriter.
func (a *answer) WriteHeader(status int) {
	if a.status == 0 && status >= http.StatusOK {
		a.status = status
	}
	a.patience()
	a.ResponseWriter.WriteHeader(status)
}

// patience gives the client time to take what is written next.
func (a *answer) patience() {
	// Where there are no deadlines, in tests, nothing is bounded.
	_ = http.NewResponseController(a.ResponseWriter).SetWriteDeadline(time.Now().Add(silence))
}

// Write implements http.ResponseWriter.
func (a *answer) Write(p []byte) (int, error) {
	if a.status == 0 {
		a.status = http.StatusOK
	}
	a.patience()
	n, err := a.ResponseWriter.Write(p)
	a.sent += int64(n)
	return n, err
}

// Unwrap serves [http.ResponseController].
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }
