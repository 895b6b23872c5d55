package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"ampoule/agent/reports"
	"ampoule/faults"
	"ampoule/registry/trust/keys"
	"ampoule/system"
)

const (
	// pushTime bounds one request to a service.
	pushTime = 30 * time.Second
	// pushPause is how long after a failure a report is pushed again; it doubles each time, up to
	// maxBackoff.
	pushPause = 5 * time.Second
	// pushEnd is how long the end of an agent waits for a report that is on its way.
	pushEnd = 5 * time.Second
	// maxToken bounds a file with a token, maxProblem what is read of an answer, both in bytes.
	maxToken   = 4 << 10
	maxProblem = 64 << 10
	// spoolName is the file with the report that the service has not taken yet.
	spoolName = "report.json"
)

// Service is a [Reporter] that pushes signed reports to a service (ampoule serve). The agent never
// waits for it: the last report is kept in a file until the service has taken it, and is pushed
// again after pauses, also by a later process. What came before it is not pushed any more: a report
// says all. Its fields are set before it is used.
type Service struct {
	// URL is the service's address, TokenFile the file with the token, which is read for each push.
	URL, TokenFile string
	// Host is this host's name, and By its key. Root is where the releases are.
	Host string
	By   keys.Signer
	Root string
	// Tell is told, for people, that a report could not be pushed, once for each reason.
	Tell func(text string)

	// wait waits between two tries; nil waits by the clock. Tests set it.
	wait func(ctx context.Context, d time.Duration) error

	mu      sync.Mutex
	pending []byte
	wake    chan struct{}
	idle    chan struct{}
	stop    context.CancelFunc
	ended   chan struct{}
}

func (s *Service) spoolFile() string { return filepath.Join(s.Root, dirName, spoolName) }

// Begin pushes in the background until [Service.End]: first what an earlier process has left.
func (s *Service) Begin(ctx context.Context) {
	s.wake, s.idle, s.ended = make(chan struct{}, 1), make(chan struct{}, 1), make(chan struct{})
	left, err := os.ReadFile(s.spoolFile())
	if err == nil && len(left) <= reports.MaxBytes {
		_ = s.give(left, nil) // it is kept
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.tell("reading the report that was not pushed: %v", err)
	}
	// The agent ends when its context does; what is on its way then has a moment more.
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.stop = stop
	go s.run(run)
}

// End waits a moment for what is on its way, and ends the pushing.
func (s *Service) End() {
	if s.stop == nil {
		return
	}
	timer := time.NewTimer(pushEnd)
	defer timer.Stop()
	for s.next() != nil {
		select {
		case <-s.idle:
			continue
		case <-timer.C:
			s.tell("the last report was not pushed to %s; the next agent of this root does it", s.URL)
		}
		break
	}
	s.stop()
	<-s.ended
	s.stop = nil
}

// Report implements [Reporter]. As long as no digest is known there is nothing to say. It returns when
// the report is on this host's disk.
func (s *Service) Report(ctx context.Context, j *Journal, now time.Time) error {
	r := reportOf(j, s.Host, s.Root, now)
	if r.Subject() == "" {
		return nil
	}
	data, err := r.Sign(ctx, s.By)
	if err != nil {
		return err
	}
	return s.give(data, func() error {
		file := s.spoolFile()
		if err := system.WriteFile(file, data, 0o600); err != nil {
			return fmt.Errorf("keeping the report until it is pushed: %w", err)
		}
		return nil
	})
}

// give has a report pushed, in the place of the one before. It is kept first; where that fails it is
// pushed all the same.
func (s *Service) give(data []byte, keep func() error) (err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if keep != nil {
		err = keep()
	}
	s.pending = data
	select {
	case s.wake <- struct{}{}:
	default:
	}
	return err
}

// next is what is to be pushed; nil where nothing is.
func (s *Service) next() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pending
}

// taken notes that the service has a report, unless there is a newer one.
func (s *Service) taken(data []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !bytes.Equal(s.pending, data) {
		return nil
	}
	s.pending = nil
	select {
	case s.idle <- struct{}{}:
	default:
	}
	if err := os.Remove(s.spoolFile()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forgetting the report that was pushed: %w", err)
	}
	return nil
}

// run pushes what there is until the context ends.
func (s *Service) run(ctx context.Context) {
	defer close(s.ended)
	told, pause := "", pushPause
	for {
		data := s.next()
		if data == nil {
			select {
			case <-s.wake:
				continue
			case <-ctx.Done():
				return
			}
		}
		after, err := s.push(ctx, data)
		if err == nil {
			err = s.taken(data)
		}
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			if told != "" {
				s.tell("reports come to %s again", s.URL)
			}
			told, pause = "", pushPause
			continue
		}
		if err.Error() != told {
			told = err.Error()
			s.tell("%s", told)
		}
		if s.sleep(ctx, max(spread(pause), min(after, longest))) != nil {
			return
		}
		pause = min(2*pause, maxBackoff)
	}
}

// spread is a time, a fifth more or less: many hosts lose a service at the same moment.
func spread(d time.Duration) time.Duration {
	return d + time.Duration((rand.Float64()-0.5)*0.4*float64(d)) //nolint:gosec // no secret
}

func (s *Service) sleep(ctx context.Context, d time.Duration) error {
	if s.wait != nil {
		return s.wait(ctx, d)
	}
	return sleep(ctx, d)
}

func (s *Service) tell(format string, args ...any) {
	if s.Tell != nil {
		s.Tell(fmt.Sprintf(format, args...))
	}
}

// pusher asks services. A token goes nowhere but where it was configured for.
var pusher = &http.Client{Timeout: pushTime, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

// push sends one report. After is how long the service wants to be left alone.
func (s *Service) push(ctx context.Context, data []byte) (after time.Duration, err error) {
	token, err := s.token()
	if err != nil {
		return 0, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(s.URL, "/")+"/v1/reports", bytes.NewReader(data))
	if err != nil {
		return 0, fmt.Errorf("pushing the report: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := pusher.Do(req)
	if err != nil {
		return 0, faults.New(faults.Remote, "", "pushing the report: %w", err)
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
		return 0, nil
	case http.StatusConflict:
		// The service has a newer one: of another process of this root, or of before the clock was set.
		s.tell("%s has a newer report of this host than %s", s.URL, problemOf(resp))
		return 0, nil
	}
	seconds, _ := strconv.Atoi(resp.Header.Get("Retry-After"))
	return time.Duration(seconds) * time.Second, faults.New(faults.Remote, "", "pushing the report: %s answers %s", s.URL, problemOf(resp))
}

// token reads the token.
func (s *Service) token() (string, error) {
	f, err := os.Open(s.TokenFile)
	if err != nil {
		return "", fmt.Errorf("reading the token of %s: %w", s.URL, err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxToken))
	if err != nil {
		return "", fmt.Errorf("reading the token of %s: %w", s.URL, err)
	}
	token := strings.TrimSpace(string(text))
	if token == "" || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", faults.New(faults.Input, "it is one line, as `ampoule token create` prints it", "%s has no token", s.TokenFile)
	}
	return token, nil
}

// problemOf is what an answer says is wrong: its status, and the detail of its problem (RFC 9457).
func problemOf(resp *http.Response) string {
	var p struct {
		Detail string `json:"detail"`
	}
	text := resp.Status
	if data, err := io.ReadAll(io.LimitReader(resp.Body, maxProblem)); err == nil && json.Unmarshal(data, &p) == nil && p.Detail != "" {
		text += ": " + p.Detail
	}
	return text
}

// Reporters are several.
type Reporters []Reporter

// Report implements [Reporter]: each gets the report, whatever becomes of the others.
func (r Reporters) Report(ctx context.Context, j *Journal, now time.Time) error {
	var failed []error
	for _, one := range r {
		failed = append(failed, one.Report(ctx, j, now))
	}
	return errors.Join(failed...)
}

// background are those that work beside the agent.
type background interface {
	Begin(ctx context.Context)
	End()
}

// Begin begins those that work beside the agent.
func (r Reporters) Begin(ctx context.Context) {
	for _, one := range r {
		if b, ok := one.(background); ok {
			b.Begin(ctx)
		}
	}
}

// End ends them.
func (r Reporters) End() {
	for _, one := range r {
		if b, ok := one.(background); ok {
			b.End()
		}
	}
}
