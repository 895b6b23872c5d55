package client

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"ampoule/faults"
)

// Actions carries requests with ID tokens of GitHub Actions: a job that may have them (permissions:
// id-token: write) needs no token of the service. Each counts for minutes; another one is asked for before it ends.
type Actions struct {
	// URL and Token are what the job is given to ask with, as ACTIONS_ID_TOKEN_REQUEST_URL and _TOKEN.
	URL, Token string
	// Audience is what the service calls itself in its access file.
	Audience string
	// Next carries the requests; nil is the usual transport.
	Next http.RoundTripper

	mu    sync.Mutex
	given string
	until time.Time
}

const (
	// early is how long before its end a token is not used any more.
	early = time.Minute
	// maxGiven bounds the answer to who asks for a token, in bytes.
	maxGiven = 64 << 10
)

// RoundTrip implements http.RoundTripper.
func (a *Actions) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != "https" && !isLoopback(r.URL.Hostname()) {
		return nil, faults.New(faults.Usage, "use https", "the job's ID token would cross the network to %s in plain http", r.URL.Host)
	}
	token, err := a.token(r)
	if err != nil {
		return nil, fmt.Errorf("asking GitHub for an ID token: %w", err)
	}
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+token)
	return a.next().RoundTrip(r)
}

func (a *Actions) next() http.RoundTripper {
	if a.Next == nil {
		return http.DefaultTransport
	}
	return a.Next
}

// token gives a token that counts for some time yet.
func (a *Actions) token(of *http.Request) (string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.given != "" && time.Now().Before(a.until) {
		return a.given, nil
	}
	at, err := url.Parse(a.URL)
	if err != nil {
		return "", errors.New("ACTIONS_ID_TOKEN_REQUEST_URL is no address")
	}
	query := at.Query()
	query.Set("audience", a.Audience)
	at.RawQuery = query.Encode()
	req, err := http.NewRequestWithContext(of.Context(), http.MethodGet, at.String(), nil)
	if err != nil {
		return "", err
	}
	req.Header.Set("Authorization", "Bearer "+a.Token)
	req.Header.Set("Accept", "application/json")
	resp, err := a.next().RoundTrip(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	var answer struct {
		Value string `json:"value"`
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxGiven))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errors.New(resp.Status)
	}
	if err == nil {
		err = json.Unmarshal(data, &answer)
	}
	if err == nil && answer.Value == "" {
		err = errors.New("the answer has none")
	}
	if err != nil {
		return "", err
	}
	a.given, a.until = answer.Value, endOf(answer.Value).Add(-early)
	return a.given, nil
}

// endOf is when a token says that it ends; the zero time where it does not.
func endOf(token string) time.Time {
	_, rest, _ := strings.Cut(token, ".")
	payload, _, _ := strings.Cut(rest, ".")
	data, err := base64.RawURLEncoding.DecodeString(payload)
	var said struct {
		Expires int64 `json:"exp"`
	}
	if err != nil || json.Unmarshal(data, &said) != nil || said.Expires == 0 {
		return time.Time{}
	}
	return time.Unix(said.Expires, 0)
}
