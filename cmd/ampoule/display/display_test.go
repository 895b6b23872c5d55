package display

import (
	"bytes"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ampoule/builder/progress"
)

// at is an event with its time.
func at(when time.Time, e progress.Event) progress.Event {
	e.Time = when
	return e
}

var noon = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

func TestPlain(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	d := start(&out, styleOf(Plain), fixed(80, 24), time.Now)
	for i, e := range []progress.Event{
		{Kind: progress.Started, Stage: progress.StageFetch, Task: "flask.whl"},
		{Kind: progress.Advanced, Stage: progress.StageFetch, Task: "flask.whl", Done: 1, Total: 2, Unit: progress.Items},
		{Kind: progress.Done, Stage: progress.StageFetch, Task: "flask.whl"},
		{Kind: progress.Done, Stage: progress.StageToolchain, Reused: true},
		{Kind: progress.Started, Stage: progress.StageWheel, Task: "greenlet"},
		{Kind: progress.Told, Stage: progress.StageWheel, Task: "greenlet", Message: "one\ntwo\x1b[2J\n"},
		{Kind: progress.Failed, Stage: progress.StageWheel, Task: "greenlet", Message: "exit code 1", Log: "/logs/greenlet.log"},
		{Kind: progress.Warned, Message: "an exception ends soon"},
	} {
		d.Observe(at(noon.Add(time.Duration(i)*1500*time.Millisecond), e))
	}
	d.Close()
	d.Observe(progress.Event{Kind: progress.Warned, Message: "too late"})
	want := `    0.0  start fetch flask.whl
    3.0  done  fetch flask.whl in 3.0s, 2 items
    4.5  ready toolchain
    6.0  start wheel greenlet
    7.5  note: wheel greenlet: one
         two\x1b[2J
    9.0  fail  wheel greenlet in 3.0s, log: /logs/greenlet.log
   10.5  warning: an exception ends soon
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("output (-want +got):\n%s", diff)
	}
}

// A program reads each event as it was told, one in a line.
func TestJSON(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	d := start(&out, styleOf(JSON), fixed(80, 24), time.Now)
	event := progress.Event{Time: noon, Seq: 7, Build: "b1", Kind: progress.Advanced, Stage: progress.StageFetch, Task: "a\nb", Done: 3, Total: 9, Unit: progress.Bytes}
	d.Observe(event)
	event = progress.Event{Time: noon, Seq: 8, Build: "b1", Kind: progress.Done, Stage: progress.StageFetch, Task: "a\nb", Reused: true}
	d.Observe(event)
	event = progress.Event{Time: noon, Seq: 9, Build: "b1", Kind: progress.Waiting, Stage: progress.StageWheel, Task: "x==1", Holder: &other}
	d.Observe(event)
	d.Close()
	want := `{"time":"2026-05-04T12:00:00Z","seq":7,"build":"b1","kind":"advanced","stage":"fetch","task":"a\nb","done":3,"total":9,"unit":"bytes"}
{"time":"2026-05-04T12:00:00Z","seq":8,"build":"b1","kind":"done","stage":"fetch","task":"a\nb","reused":true}
{"time":"2026-05-04T12:00:00Z","seq":9,"build":"b1","kind":"waiting","stage":"wheel","task":"x==1","holder":{"build":"b2","recipe":"web","process":4711,"host":"ci-3","since":"2026-05-04T11:57:55Z"}}
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
}

// other is a build that one waits for.
var other = progress.Holder{Build: "b2", Recipe: "web", Process: 4711, Host: "ci-3", Since: noon.Add(-125 * time.Second)}

// Who is waited for is shown when the waiting begins, and as long as it lasts.
func TestWaiting(t *testing.T) {
	t.Parallel()
	told := func(i int, kind progress.Kind, h *progress.Holder) progress.Event {
		return at(noon.Add(time.Duration(i)*time.Second), progress.Event{Kind: kind, Stage: progress.StageWheel, Task: "x==1", Holder: h})
	}
	p, live := &plain{}, &terminal{}
	var lines strings.Builder
	for _, e := range []progress.Event{
		told(0, progress.Started, nil), told(1, progress.Waiting, &other), told(2, progress.Waiting, &progress.Holder{Process: 5, Host: "a\x1b[2J"}),
		told(3, progress.Waiting, &progress.Holder{}), told(4, progress.Waiting, nil),
		told(5, progress.Waiting, &progress.Holder{Build: "b2", Recipe: "web", Process: 7, Since: noon, Has: progress.Memory, Step: "wheel-scipy"}),
		told(6, progress.Waiting, &progress.Holder{Has: progress.Processors, Step: "a\x1b[2J"}), told(7, progress.Waiting, &progress.Holder{Has: progress.Processors}),
	} {
		lines.WriteString(p.event(e))
	}
	want := `    0.0  start wheel x==1
    1.0  wait  wheel x==1 for build b2 of web, process 4711 on ci-3, begun 2m06s ago
    2.0  wait  wheel x==1 for process 5 on a\x1b[2J
    3.0  wait  wheel x==1 for another process
    4.0  wait  wheel x==1 for another process
    5.0  wait  wheel x==1 for memory: wheel-scipy of build b2 of web has most, begun 5.0s ago
    6.0  wait  wheel x==1 for processors: a\x1b[2J has most
    7.0  wait  wheel x==1 for processors
`
	if diff := cmp.Diff(want, lines.String()); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
	shown := func(e progress.Event) string {
		live.event(e)
		return strings.Join(strings.Fields(uncoloured(strings.Join(live.live(noon.Add(10*time.Second), 100, 24), ""))), " ")
	}
	for _, step := range []struct {
		event progress.Event
		want  string
	}{
		{told(0, progress.Started, nil), "⠋ wheel x==1 10s"},
		{told(1, progress.Waiting, &other), "⠋ wheel x==1 waits for build b2 of web, process 4711 on ci-3, begun 2m15s ago 10s"},
		{told(2, progress.Resumed, nil), "⠋ wheel x==1 10s"},
		{told(3, progress.Done, nil), ""},
	} {
		if got := shown(step.event); got != step.want {
			t.Errorf("after %s: %q, want %q", step.event.Kind, got, step.want)
		}
	}
}

func TestTerminalLive(t *testing.T) {
	t.Parallel()
	s := &terminal{}
	s.event(at(noon, progress.Event{Kind: progress.Started, Stage: progress.StageFetch, Task: "Python-3.13.5.tar.xz"}))
	s.event(at(noon, progress.Event{Kind: progress.Advanced, Stage: progress.StageFetch, Task: "Python-3.13.5.tar.xz", Done: 5 << 20, Total: 10 << 20, Unit: progress.Bytes}))
	s.event(at(noon, progress.Event{Kind: progress.Started, Stage: progress.StageWheel, Task: "日本語\x1b[2J\r"}))
	later := noon.Add(75 * time.Second)
	want := []string{
		"⠋ fetch Python-3.13.5.tar.xz  ━━━━━━━━━━──────────  5.0 MiB/10.0 MiB      1m15s",
		`⠋ wheel 日本語\x1b[2J\r                                                   1m15s`,
	}
	var got []string
	for _, line := range s.live(later, 80, 24) {
		if w := textWidth(line); w != 79 {
			t.Errorf("line %q is %d columns wide, not 79", line, w)
		}
		got = append(got, uncoloured(line))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("live lines (-want +got):\n%s", diff)
	}
}

func TestTerminalLinesFit(t *testing.T) {
	t.Parallel()
	s := &terminal{}
	for i := range 30 {
		task := strings.Repeat("長い", i)
		s.event(at(noon, progress.Event{Kind: progress.Started, Stage: progress.StageWheel, Task: task}))
		s.event(at(noon, progress.Event{Kind: progress.Advanced, Stage: progress.StageWheel, Task: task, Done: int64(i), Total: 30}))
	}
	for _, width := range []int{1, 2, 5, 9, 20, 59, 60, 61, 200} {
		for _, height := range []int{1, 3, 10, 100} {
			lines := s.live(noon.Add(time.Hour), width, height)
			if len(lines) > max(1, min(maxLive, height-2)) {
				t.Errorf("%d×%d: %d live lines", width, height, len(lines))
			}
			for _, line := range lines {
				if textWidth(line) >= width && width > 1 {
					t.Errorf("%d×%d: line %q is %d columns wide", width, height, line, textWidth(line))
				}
			}
		}
	}
	lines := s.live(noon, 80, 10)
	if got, want := uncoloured(lines[len(lines)-1]), "  … and 23 more"; got != want {
		t.Errorf("last line %q, want %q", got, want)
	}
}

func TestTerminalEnds(t *testing.T) {
	t.Parallel()
	s := &terminal{}
	s.event(at(noon, progress.Event{Kind: progress.Started, Stage: progress.StageWheel, Task: "a"}))
	s.event(at(noon, progress.Event{Kind: progress.Started, Stage: progress.StageWheel, Task: "b"}))
	later := noon.Add(12 * time.Second)
	got := uncoloured(s.event(at(later, progress.Event{Kind: progress.Done, Stage: progress.StageWheel, Task: "a"})) +
		s.event(at(later, progress.Event{Kind: progress.Failed, Stage: progress.StageWheel, Task: "b", Log: "/l"})) +
		s.event(at(later, progress.Event{Kind: progress.Done, Stage: progress.StageSeal, Reused: true})))
	if diff := cmp.Diff("✓ wheel a  12s\n✗ wheel b  12s, log: /l\n✓ seal  ready\n", got); diff != "" {
		t.Errorf("ends (-want +got):\n%s", diff)
	}
	if lines := s.live(later, 80, 24); len(lines) != 0 {
		t.Errorf("live lines after the end: %q", lines)
	}
}

func TestParts(t *testing.T) {
	t.Parallel()
	for mode, want := range map[Mode]string{
		Plain: "    0.0  start fetch\n    9.0  done  fetch big.tar in 8.0s\n   12.0  fail  fetch bad.whl in 1.0s\n" +
			"   13.0  done  fetch in 13s, 7.0 MiB\n   14.0  start fetch late.whl\n",
		TTY: "✓ fetch big.tar  8.0s\n✗ fetch bad.whl  1.0s\n✓ fetch  13s, 7.0 MiB\n",
	} {
		s := styleOf(mode)
		var got strings.Builder
		for i, e := range []progress.Event{
			0:  {Kind: progress.Started, Stage: progress.StageFetch},
			1:  {Kind: progress.Started, Stage: progress.StageFetch, Task: "big.tar"},
			2:  {Kind: progress.Started, Stage: progress.StageFetch, Task: "small.whl"},
			3:  {Kind: progress.Done, Stage: progress.StageFetch, Task: "small.whl"},
			9:  {Kind: progress.Done, Stage: progress.StageFetch, Task: "big.tar"},
			10: {Kind: progress.Advanced, Stage: progress.StageFetch, Done: 7 << 20, Total: 7 << 20, Unit: progress.Bytes},
			11: {Kind: progress.Started, Stage: progress.StageFetch, Task: "bad.whl"},
			12: {Kind: progress.Failed, Stage: progress.StageFetch, Task: "bad.whl"},
			13: {Kind: progress.Done, Stage: progress.StageFetch},
			14: {Kind: progress.Started, Stage: progress.StageFetch, Task: "late.whl"},
		} {
			got.WriteString(uncoloured(s.event(at(noon.Add(time.Duration(i)*time.Second), e))))
		}
		if diff := cmp.Diff(want, got.String()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", mode, diff)
		}
	}
}

// TestDisplayTakesLiveLinesAway checks what stays on a terminal after Close.
func TestDisplayTakesLiveLinesAway(t *testing.T) {
	t.Parallel()
	out := &notifying{first: make(chan struct{})}
	d := start(out, styleOf(TTY), fixed(80, 24), time.Now)
	d.Observe(progress.Event{Kind: progress.Started, Stage: progress.StageSeal})
	<-out.first
	d.Close()
	d.Close()
	text := out.String()
	if !strings.Contains(text, "seal") {
		t.Errorf("the running task was not shown: %q", text)
	}
	if !strings.HasSuffix(text, "\x1b[1A\r\x1b[J") {
		t.Errorf("the live line was not taken away: %q", text)
	}
}

func TestErase(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		drawn []int
		width int
		want  string
	}{
		{nil, 80, ""},
		{[]int{79, 10}, 80, "\x1b[2A\r\x1b[J"},
		{[]int{79, 10, 0}, 40, "\x1b[4A\r\x1b[J"},
	} {
		if got := erase(tt.drawn, tt.width); got != tt.want {
			t.Errorf("erase(%v, %d) = %q, want %q", tt.drawn, tt.width, got, tt.want)
		}
	}
}

func TestClean(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ in, want, wantLines string }{
		{"a\tb", "a b", "a b"},
		{"a\nb", `a\nb`, "a\nb"},
		{"\x1b]0;title\x07", `\x1b]0;title\a`, `\x1b]0;title\a`},
		{"\u009b2J", `\u009b2J`, `\u009b2J`},
		{"abc\u202etxt.exe", `abc\u202etxt.exe`, `abc\u202etxt.exe`},
		{"\xff\xfe�é日", `\xff\xfe�é日`, `\xff\xfe�é日`},
	} {
		if got := Clean(tt.in, false); got != tt.want {
			t.Errorf("Clean(%q, false) = %q, want %q", tt.in, got, tt.want)
		}
		if got := Clean(tt.in, true); got != tt.wantLines {
			t.Errorf("Clean(%q, true) = %q, want %q", tt.in, got, tt.wantLines)
		}
	}
}

func FuzzClean(f *testing.F) {
	f.Add("plain\x1b[2J\r\n\u009b")
	f.Fuzz(func(t *testing.T, s string) {
		clean := Clean(s, false)
		for _, r := range clean {
			if r < 0x20 || r >= 0x7f && r < 0xa0 {
				t.Fatalf("Clean(%q) = %q holds a control character", s, clean)
			}
		}
		if w := textWidth(fit(clean, 20)); w > 20 {
			t.Fatalf("fit(%q, 20) is %d columns wide", clean, w)
		}
	})
}

func TestWrap(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ text, want string }{
		{"", ""},
		{"one two three", "  one two\n  three"},
		{"/a/path/that/is/whole of it", "  /a/path/that/is/whole\n  of it"},
		{"日本 日本", "  日本\n  日本"},
		{"… … … …", "  … … … …"},
	} {
		if got := Wrap(c.text, "  ", 10); got != c.want {
			t.Errorf("%q: %q, want %q", c.text, got, c.want)
		}
	}
	if got := Columns(&bytes.Buffer{}); got != defaultWidth {
		t.Errorf("columns of what is no terminal: %d", got)
	}
}

func TestDuration(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		-time.Second: "0.0s", 440 * time.Millisecond: "0.4s", 9949 * time.Millisecond: "9.9s",
		9960 * time.Millisecond: "9s", 59900 * time.Millisecond: "59s", time.Minute: "1m00s",
		3*time.Minute + 5*time.Second: "3m05s", time.Hour + 2*time.Minute: "1h02m",
	} {
		if got := Duration(d); got != want {
			t.Errorf("Duration(%v) = %q, want %q", d, got, want)
		}
	}
}

func TestSize(t *testing.T) {
	t.Parallel()
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 5 << 20: "5.0 MiB", 3 << 40: "3.0 TiB"} {
		if got := Size(n); got != want {
			t.Errorf("Size(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestParseMode(t *testing.T) {
	t.Parallel()
	for _, m := range Modes() {
		if got, err := ParseMode(string(m)); err != nil || got != m {
			t.Errorf("ParseMode(%q) = %q, %v", m, got, err)
		}
	}
	if _, err := ParseMode("fancy"); err == nil {
		t.Error("ParseMode accepts fancy")
	}
}

func fixed(width, height int) func() (int, int) {
	return func() (int, int) { return width, height }
}

// uncoloured leaves the colours out.
func uncoloured(s string) string {
	for _, sgr := range []string{red, green, yellow, faint, plainS} {
		s = strings.ReplaceAll(s, sgr, "")
	}
	return s
}

// notifying is a buffer that closes first with its first bytes.
type notifying struct {
	mu    sync.Mutex
	buf   bytes.Buffer
	once  sync.Once
	first chan struct{}
}

func (n *notifying) Write(p []byte) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.once.Do(func() { close(n.first) })
	return n.buf.Write(p)
}

func (n *notifying) String() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.buf.String()
}

// TestNoSecrets checks that no form of progress shows user names and passwords of addresses.
func TestNoSecrets(t *testing.T) {
	t.Parallel()
	for _, mode := range []Mode{Plain, JSON, TTY} {
		var out bytes.Buffer
		d := start(&out, styleOf(mode), fixed(80, 24), func() time.Time { return noon })
		for _, kind := range []progress.Kind{progress.Started, progress.Told, progress.Warned, progress.Failed} {
			d.Observe(progress.Event{
				Kind: kind, Stage: progress.StageFetch, Task: "https://user:hun/hunter2@host.example/x",
				Message: `Get "https://user:hun@hunter2@host.example/x": no`,
			})
		}
		d.Close()
		if strings.Contains(out.String(), "hunter2") || !strings.Contains(out.String(), "host.example") {
			t.Errorf("%v: %s", mode, out.String())
		}
	}
}

// Which runes are wide is Unicode's to say, not a table's of our own.
func TestRuneWidth(t *testing.T) {
	t.Parallel()
	for r, want := range map[rune]int{
		'a': 1, 'é': 1, '…': 1, 'ｱ': 1, '界': 2, 'Ａ': 2, '한': 2, '✅': 2, '🚀': 2, '\U0001fa79': 2, '\u0301': 0, '\u200b': 0,
	} {
		if got := runeWidth(r); got != want {
			t.Errorf("%+q takes %d columns, want %d", r, got, want)
		}
	}
}
