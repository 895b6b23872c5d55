package trials

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"
)

func TestReadAttack(t *testing.T) {
	t.Parallel()
	got, err := readAttack([]byte(`{"latencies":{"99th":1500000000,"max":2},"requests":1001,"throughput":420.5,"success":0.999,"status_codes":{"0":1,"202":1000},"errors":["no targets to attack"]}`))
	if err != nil || got.Latencies.P99 != 1.5e9 || got.Requests != 1001 || got.Throughput != 420.5 || got.Codes["202"] != 1000 {
		t.Errorf("%+v, %v", got, err)
	}
	for _, wrong := range []string{"", "{}", "no report"} {
		if got, err := readAttack([]byte(wrong)); err == nil {
			t.Errorf("%q is read as %+v", wrong, got)
		}
	}
}

// A follower has what the stream's lines say, and knows when something is missing.
func TestFollowMany(t *testing.T) {
	t.Parallel()
	text := "one | first\none | \"second\"\n"
	stream := "retry: 2000\n\nid: 12\nevent: line\ndata: {\"text\":\"one | first\\n\"}\n\n: nothing new\n\nid: 27\nevent: line\ndata: {\"text\":\"one | \\\"second\\\"\\n\"}\n\n"
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get("Authorization") != "Bearer secret":
			w.WriteHeader(http.StatusUnauthorized)
		case r.URL.Path == "/cut":
			fmt.Fprint(w, stream)
		case r.URL.Path == "/error":
			fmt.Fprint(w, stream+"event: error\ndata: {\"title\":\"gone\"}\n\n")
		default:
			fmt.Fprint(w, stream+"event: end\ndata: {\"state\":\"done\"}\n\n")
		}
	}))
	defer s.Close()
	for _, f := range followMany(t.Context(), 3, s.URL+"/whole", "secret") {
		if f.err != nil || f.sum != sumOf([]byte(text)) || f.size != int64(len(text)) {
			t.Errorf("%+v", f)
		}
	}
	for path, says := range map[string]string{"/cut": "broke off", "/error": "gone"} {
		if f := follow(t.Context(), s.URL+path, "secret"); f.err == nil || f.sum != "" || !strings.Contains(f.err.Error(), says) {
			t.Errorf("%s: %+v", path, f)
		}
	}
	if f := follow(t.Context(), s.URL, "another"); f.err == nil {
		t.Errorf("%+v", f)
	}
}

// What a process takes is read of the kernel.
func TestWeigh(t *testing.T) {
	t.Parallel()
	pid := os.Getpid()
	before, err := processTime(pid)
	if err != nil {
		t.Fatal(err)
	}
	for began := time.Now(); time.Since(began) < 100*time.Millisecond; {
	}
	after, err := processTime(pid)
	if err != nil || after <= before || ownTime() <= 0 {
		t.Errorf("%s after %s, %v", after, before, err)
	}
	peak, err := peakMemory(pid)
	if err != nil || peak < 1 || peak > 10_000 {
		t.Errorf("%d MiB, %v", peak, err)
	}
	if _, err := processTime(-1); err == nil {
		t.Error("no process has taken something")
	}
}
