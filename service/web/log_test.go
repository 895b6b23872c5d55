package web_test

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ampoule/service/web"
	"ampoule/service/web/webtest"
)

func TestLogPages(t *testing.T) {
	t.Parallel()
	v := visit(t, webtest.Example(), webtest.TokenAll)
	log := "/builds/" + webtest.Running + "/log"
	lines := func(body string) (n int, first, last string) {
		all := strings.Split(body, `<li id="L`)[1:]
		if len(all) == 0 {
			return 0, "", ""
		}
		number := func(text string) string { n, _, _ := strings.Cut(text, `"`); return n }
		return len(all), number(all[0]), number(all[len(all)-1])
	}
	for _, test := range []struct {
		query       string
		n           int
		first, last string
		want, not   string
	}{
		{"", 1000, "1401", "2400", "Earlier lines", "Later lines"},
		{"?from=1", 1000, "1", "1000", "Later lines", "Earlier lines"},
		{"?from=900", 1000, "900", "1899", "Earlier lines", "data-log="},
		{"?from=2000", 401, "2000", "2400", "data-log=", "Later lines"},
		{"?from=9000", 0, "", "", "data-log=", "Later lines"},
		{"?q=arraytypes_2399", 1000, "1401", "2400", "1 line has", "Jump to the error"},
	} {
		_, body := v.get(log + test.query)
		if n, first, last := lines(body); n != test.n || first != test.first || last != test.last {
			t.Errorf("%q: %d lines from %s to %s, want %d from %s to %s", test.query, n, first, last, test.n, test.first, test.last)
		}
		if !strings.Contains(body, test.want) || strings.Contains(body, test.not) {
			t.Errorf("%q: %q is missing, or %q is there", test.query, test.want, test.not)
		}
	}
}

func TestCleanLines(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"plain": "plain", "a\tb\r\n": "a\tb", "10%\r55%\r100%\r": "100%", "\x1b[1;31mred\x1b[0m": "red",
		"\x1b]8;;http://x.example\x07link\x1b]8;;\x07": "link", "a\x00b\x07c": "abc", "\xff\xfe": "\uFFFD", "x\u202ey": "xy", strings.Repeat("z", 5000): strings.Repeat("z", 4096) + " …",
	} {
		if got := web.CleanLine(text); got != want {
			t.Errorf("%.40q becomes %.40q, want %.40q", text, got, want)
		}
	}
}

func TestLooksWrong(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"main.c:4:1: error: expected ';'": true, "fatal error: Python.h: No such file": true, "Traceback (most recent call last):": true,
		"make: *** [Makefile:5: all] Error 1": true, "Error: pg_config executable not found.": true, "ModuleNotFoundError: No module named 'x'": true, "E: Unable to locate package": true,
		"compiling errors.c": false, "0 errors": false, "-Werror": false, "error_handler.o": false,
		"wheel x==1 | error: subprocess-exited-with-error": true, "wheel errors==1 | ok": false,
	} {
		if got := web.LooksWrong(text); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}

// sent is one event of a stream.
type sent struct{ event, id, data string }

// stream reads the events of an address until their end, or until enough says so.
func (v *visitor) stream(path, last string, enough func(sent) bool) []sent {
	v.t.Helper()
	ctx, cancel := context.WithTimeout(v.t.Context(), 20*time.Second)
	defer cancel()
	req, _ := http.NewRequestWithContext(ctx, http.MethodGet, v.server.URL+path, nil)
	req.Header.Set("Accept", "text/event-stream")
	if last != "" {
		req.Header.Set("Last-Event-ID", last)
	}
	answer := v.do(req)
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK || answer.Header.Get("Content-Type") != "text/event-stream; charset=utf-8" {
		v.t.Fatalf("%s: %s", path, answer.Status)
	}
	var all []sent
	var now sent
	in := bufio.NewScanner(answer.Body)
	in.Buffer(nil, 4<<20)
	for in.Scan() {
		name, value, _ := strings.Cut(in.Text(), ": ")
		switch {
		case name == "event":
			now.event = value
		case name == "id":
			now.id = value
		case name == "data":
			now.data += value + "\n"
		case in.Text() == "" && now.event != "":
			all = append(all, now)
			if enough != nil && enough(now) {
				return all
			}
			now = sent{}
		}
	}
	if ctx.Err() != nil {
		v.t.Fatalf("%s: the stream did not end; %d events", path, len(all))
	}
	return all
}

// TestFollowLog wants a visitor who is cut off and comes back to miss nothing, and to get nothing
// twice.
func TestFollowLog(t *testing.T) {
	t.Parallel()
	s := webtest.Example()
	v := visit(t, s, webtest.TokenAll)
	path := "/builds/" + webtest.Waiting + "/log/events"
	const rounds = 50
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range rounds {
			s.Write(webtest.Waiting, fmt.Sprintf("line %d begins", i))
			s.Write(webtest.Waiting, fmt.Sprintf(" and ends %d\n", i))
		}
		s.Write(webtest.Waiting, "without an end")
		s.Change(webtest.Waiting, func(b *web.Build) { b.State = web.Done })
	}()
	var got strings.Builder
	last := "0-0"
	for ended := false; !ended; {
		for _, e := range v.stream(path, last, func(e sent) bool { return e.event == "lines" }) {
			ended = ended || e.event == "end"
			got.WriteString(e.data)
			if e.id != "" {
				last = e.id
			}
		}
	}
	<-done
	for i := range rounds {
		if n := strings.Count(got.String(), fmt.Sprintf(`<a href="#L%d">%d</a><span>line %d begins and ends %d</span>`, i+1, i+1, i, i)); n != 1 {
			t.Errorf("line %d came %d times", i, n)
		}
	}
	if !strings.Contains(got.String(), "<span>without an end</span>") {
		t.Error("the last line is missing")
	}
}

func TestFollowBuild(t *testing.T) {
	t.Parallel()
	s := webtest.Example()
	v := visit(t, s, webtest.TokenAll)
	first := true
	all := v.stream("/builds/"+webtest.Running+"/events", "", func(e sent) bool {
		if first {
			first = false
			s.Change(webtest.Running, func(b *web.Build) { b.State, b.Finished, b.Ref = web.Done, webtest.Now, "web@"+webtest.Digest(20) })
		}
		return false
	})
	events := []string{}
	for _, e := range all {
		events = append(events, e.event)
	}
	if diff := cmp.Diff([]string{"state", "state", "end"}, events); diff != "" {
		t.Fatalf("events (-want +got):\n%s", diff)
	}
	if !strings.Contains(all[0].data, "state-building") || !strings.Contains(all[1].data, "state-done") || strings.Contains(all[1].data, "/cancel") || strings.Contains(all[1].data, "<html") {
		t.Errorf("the states are %s", all)
	}
}

// TestRevokedStream wants a stream to end when its token does not count any more.
func TestRevokedStream(t *testing.T) {
	t.Parallel()
	s := webtest.Example()
	c := s.Config()
	c.Beat = 20 * time.Millisecond
	for _, path := range []string{"/builds/events", "/builds/" + webtest.Running + "/events", "/builds/" + webtest.Running + "/log/events"} {
		t.Run(path, func(t *testing.T) {
			v := visitPages(t, c, webtest.TokenRead)
			v.stream(path, "", func(sent) bool { s.Revoke(webtest.TokenRead); return false })
			if status, _ := v.get("/builds"); status != http.StatusSeeOther {
				t.Errorf("status %d", status)
			}
		})
		s = webtest.Example()
		beat := c.Beat
		c = s.Config()
		c.Beat = beat
	}
}

// TestClosing wants streams to end when the service stops.
func TestClosing(t *testing.T) {
	t.Parallel()
	c := webtest.Example().Config()
	closing := make(chan struct{})
	c.Closing = func(context.Context) <-chan struct{} { return closing }
	v := visitPages(t, c, webtest.TokenRead)
	time.AfterFunc(50*time.Millisecond, func() { close(closing) })
	v.stream("/builds/events", "", nil)
	v.stream("/builds/"+webtest.Running+"/log/events", "", nil)
}
