package api

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ampoule/registry/server"
	"ampoule/service/builds"
	"ampoule/service/logs"
)

// pipes is a listener whose connections are in memory: with them minutes pass in no time.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error { p.once.Do(func() { close(p.done) }); return nil }

func (p *pipes) Addr() net.Addr { return loopback }

// loopback is where the server takes connections.
var loopback = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80}

// local is a connection of this machine.
type local struct{ net.Conn }

func (local) LocalAddr() net.Addr  { return loopback }
func (local) RemoteAddr() net.Addr { return loopback }

// dial sends the beginning of a request.
func (p *pipes) dial(t *testing.T, text string) net.Conn {
	t.Helper()
	here, there := net.Pipe()
	p.conns <- local{there}
	if _, err := here.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	return here
}

// in serves a rig's API within a bubble, over a queue of its own.
func (r *rig) in(t *testing.T, test func(p *pipes, q *memory, s *Server)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		c, q := r.server.Config, newMemory()
		c.Queue, c.Closing = q, ctx
		s, p := New(c), &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
		served := server.Bounded(s)
		ended := make(chan error, 1)
		go func() { ended <- served.Serve(p) }()
		test(p, q, s)
		cancel()
		if err := served.Close(); err != nil {
			t.Error(err)
		}
		<-ended
	})
}

// Clients that send half a header or half a body, and such as take nothing of a stream any more, are
// given up. They keep no place from others.
func TestSlowClients(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	secret := r.token("ci", "build:*")
	const host = "Host: localhost\r\n"
	authorized := host + "Authorization: Bearer " + secret + "\r\n"
	within := func(what string, began time.Time, least, most time.Duration) {
		t.Helper()
		if took := time.Since(began); took < least || took > most {
			t.Errorf("%s: given up after %s", what, took)
		}
	}
	r.in(t, func(p *pipes, _ *memory, _ *Server) {
		began := time.Now()
		c := p.dial(t, "GET /v1/version HTTP/1.1\r\nHos")
		_, _ = io.Copy(io.Discard, c)
		within("half a header", began, 5*time.Second, 15*time.Second)

		began = time.Now()
		c = p.dial(t, "POST /v1/builds HTTP/1.1\r\n"+authorized+"Content-Type: application/gzip\r\nContent-Length: 1000\r\n\r\nhalf a body")
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil || resp.StatusCode != http.StatusRequestTimeout {
			t.Errorf("half a body: %v, %v", resp, err)
		}
		c.Close()
		within("half a body", began, 50*time.Second, 70*time.Second)

		began = time.Now()
		c = p.dial(t, "POST /v1/builds HTTP/1.1\r\n"+host+"Content-Length: 1000\r\n\r\nwithout a token")
		resp, err = http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil || resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("half a body that nobody reads: %v, %v", resp, err)
		}
		c.Close()
		within("half a body that nobody reads", began, 5*time.Second, 15*time.Second)
	})
	r.in(t, func(p *pipes, q *memory, s *Server) {
		q.builds = []builds.Build{{ID: "b1", Recipe: "web", State: builds.Building}}
		q.logs[logs.Output] = bytes.Repeat([]byte("step | line\n"), 1000)
		began := time.Now()
		c := p.dial(t, "GET /v1/builds/b1/log/stream HTTP/1.1\r\n"+authorized+"\r\n")
		if _, err := http.ReadResponse(bufio.NewReaderSize(c, 16), nil); err != nil {
			t.Fatal(err)
		}
		// It takes nothing of the body. The connection is open.
		for len(s.streams) > 0 && time.Since(began) < time.Hour {
			time.Sleep(time.Second)
		}
		within("a stream that nobody reads", began, 50*time.Second, 70*time.Second)
		c.Close()
	})
}

// taker is who follows a stream.
type taker struct {
	*httptest.ResponseRecorder
	lines int
	bad   error
	ended bool
}

// Write takes one message, whole, as streams write them.
func (t *taker) Write(p []byte) (int, error) {
	text := string(p)
	switch {
	case strings.Contains(text, "event: end\n"):
		t.ended = true
	case strings.Contains(text, "event: line\n"):
		want := fmt.Sprintf("step | line %04d\\n", t.lines)
		for strings.Contains(text, want) {
			t.lines++
			want = fmt.Sprintf("step | line %04d\\n", t.lines)
		}
	}
	return len(p), t.bad
}

// Flush does nothing.
func (*taker) Flush() {}

// Thousands follow one log while it grows: each gets every line, in order, and the end. Nothing is
// left of them.
func TestThousandsFollow(t *testing.T) {
	t.Parallel()
	const followers, lines = 2500, 40
	r := newRig(t, nil)
	secret := r.token("ci", "read:*")
	r.queue.builds = []builds.Build{{ID: "b1", Recipe: "web", State: builds.Building}}
	r.queue.chunk = 1 << 10
	all := make([]*taker, followers)
	var following sync.WaitGroup
	for i := range all {
		all[i] = &taker{ResponseRecorder: httptest.NewRecorder()}
		following.Go(func() {
			ctx := context.WithValue(t.Context(), http.LocalAddrContextKey, loopback)
			req := httptest.NewRequestWithContext(ctx, http.MethodGet, "http://localhost/v1/builds/b1/log/stream", nil)
			req.Header.Set("Authorization", "Bearer "+secret)
			r.server.ServeHTTP(all[i], req)
		})
	}
	for n := range lines {
		r.queue.change(func() {
			r.queue.logs[logs.Output] = fmt.Appendf(r.queue.logs[logs.Output], "step | line %04d\n", n)
		})
	}
	r.queue.change(func() { r.queue.ended, r.queue.builds[0].State = true, builds.Failed })
	following.Wait()
	for i, f := range all {
		if f.lines != lines || !f.ended || f.Code != http.StatusOK {
			t.Fatalf("follower %d: status %d, %d lines of %d, ended %t", i, f.Code, f.lines, lines, f.ended)
		}
	}
	if len(r.server.streams) != 0 {
		t.Errorf("%d streams are left", len(r.server.streams))
	}
}
