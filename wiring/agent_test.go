package wiring

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"ampoule/agent"
	"ampoule/config"
	"ampoule/faults"
)

// A registry that sends a byte now and then is not silent, and is given up all the same.
func TestSlowRegistry(t *testing.T) {
	t.Parallel()
	slow := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		for req.Context().Err() == nil {
			_, _ = w.Write([]byte(" "))
			w.(http.Flusher).Flush()
			time.Sleep(10 * time.Millisecond)
		}
	}))
	t.Cleanup(slow.Close)
	parts, err := Open(config.Place{Store: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = parts.Close() })
	f := &followed{parts: parts, set: agent.Settings{Repository: strings.TrimPrefix(slow.URL, "http://") + "/web", Channel: "prod"}, patience: 300 * time.Millisecond}
	if err := f.open(); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	_, err = f.Head(t.Context())
	if err == nil || faults.Of(err) != faults.Remote || !strings.Contains(err.Error(), "did not give the log of channel "+f.set.Follows()+" within 300ms") {
		t.Errorf("%v", err)
	}
	if took := time.Since(begun); took > 20*time.Second {
		t.Errorf("it took %s", took)
	}
}
