package locking

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"ampoule/builder/sandbox"
	"ampoule/faults"
)

// onHost runs the relay's script on this machine, with a port that is free.
type onHost struct {
	sandbox.Sandbox
	port   int
	script string
}

func newOnHost(t *testing.T) *onHost {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	script, err := filepath.Abs("relay.pl")
	if err != nil {
		t.Fatal(err)
	}
	return &onHost{port: l.Addr().(*net.TCPAddr).Port, script: script}
}

func (h *onHost) Exec(ctx context.Context, step sandbox.Step) error {
	cmd := exec.CommandContext(ctx, step.Args[0], h.script, strconv.Itoa(h.port)) //nolint:gosec // it is perl
	cmd.Stdout, cmd.Stderr = step.Stdout, step.Stderr
	// As an engine does, it leaves a read that has begun to itself.
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	go func() { io.Copy(stdin, step.Stdin); stdin.Close() }()
	return cmd.Wait()
}

func (h *onHost) get(t *testing.T, client *http.Client, path string) ([]byte, error) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d%s", h.port, path), nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	return io.ReadAll(response.Body)
}

// handled serves a handler.
type handled struct{ http.Handler }

func (h handled) Serve(ctx context.Context, l net.Listener) {
	s := http.Server{Handler: h, ReadHeaderTimeout: time.Minute, ErrorLog: log.New(io.Discard, "", 0)}
	stop := context.AfterFunc(ctx, func() { s.Close() })
	defer stop()
	s.Serve(l)
}

// Many connections at once, with answers of all sizes, one that is cut off, and one whose
// reader goes away.
func TestRelay(t *testing.T) {
	t.Parallel()
	h := newOnHost(t)
	gone := make(chan struct{})
	content := bytes.Repeat([]byte("0123456789abcdef"), 1<<17)
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch size := strings.Trim(r.URL.Path, "/"); size {
		case "cut":
			w.Header().Set("Content-Length", "100")
			w.Write([]byte("x"))
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		case "slow":
			w.Write([]byte("x"))
			w.(http.Flusher).Flush()
			<-r.Context().Done()
			close(gone)
		default:
			n, err := strconv.Atoi(size)
			if err != nil {
				t.Error(err)
			}
			w.Write(content[:n])
		}
	})
	var stderr bytes.Buffer
	r, err := startRelay(t.Context(), h, handled{handler}, &stderr)
	if err != nil {
		t.Fatal(err, stderr.String())
	}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 4}}
	defer client.CloseIdleConnections()
	var all sync.WaitGroup
	for i := range 40 {
		all.Go(func() {
			want := content[:i*i*1000]
			if got, err := h.get(t, client, fmt.Sprintf("/%d", len(want))); err != nil || !bytes.Equal(got, want) {
				t.Errorf("got %d bytes of %d, %v", len(got), len(want), err)
			}
		})
	}
	all.Wait()
	if _, err := h.get(t, client, "/cut"); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("an answer that is cut off gives %v", err)
	}
	hasty := &http.Client{Timeout: 200 * time.Millisecond}
	if _, err := h.get(t, hasty, "/slow"); err == nil {
		t.Error("an answer that does not end has ended")
	}
	<-gone
	if err := r.stop(); err != nil || stderr.Len() > 0 {
		t.Errorf("it ends with %v: %s", err, stderr.String())
	}
	if _, err := h.get(t, &http.Client{}, "/1"); err == nil {
		t.Error("the port is still open")
	}
}

// ending is a sandbox whose steps end at once.
type ending struct {
	sandbox.Sandbox
	code int
	says string
}

func (e ending) Exec(_ context.Context, step sandbox.Step) error {
	io.WriteString(step.Stdout, e.says)
	if e.code == 0 {
		return nil
	}
	return &sandbox.ExitError{Args: step.Args, Code: e.code}
}

func TestRelayDoesNotStart(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		ending
		want string
		kind faults.Kind
	}{
		"no perl":  {ending{code: 127}, "the base has no perl", faults.Input},
		"a fault":  {ending{code: 98}, "starting the relay to the sources", faults.Build},
		"silence":  {ending{}, "it does not open its port", faults.Unknown},
		"no frame": {ending{says: "\x00\x00\x00\x01\xff\xff\xff\xffx"}, "it does not open its port", faults.Unknown},
	} {
		r, err := startRelay(t.Context(), c.ending, handled{http.NotFoundHandler()}, io.Discard)
		if r != nil || err == nil || !strings.Contains(err.Error(), c.want) || faults.Of(err) != c.kind {
			t.Errorf("%s: got %v, kind %d", name, err, faults.Of(err))
		}
	}
}
