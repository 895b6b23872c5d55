package drive

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ampoule/builder/progress"
)

// script makes a program of shell commands.
func script(t *testing.T, text string) Program {
	t.Helper()
	path := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return Program{Path: "sh", Args: []string{path}}
}

const told = `
echo '{"time":"2026-05-04T12:00:00Z","kind":"started","stage":"wheel","task":"a==1"}' >&2
echo '{"time":"2026-05-04T12:00:01Z","kind":"started","stage":"wheel","task":"b==2"}' >&2
echo '{"time":"2026-05-04T12:00:02Z","kind":"advanced","stage":"wheel","task":"b==2","done":1}' >&2
echo '{"time":"2026-05-04T12:00:04Z","kind":"done","stage":"wheel","task":"a==1"}' >&2
echo '{"time":"2026-05-04T12:00:05Z","kind":"done","stage":"wheel","task":"b==2","reused":true}' >&2
`

func TestRun(t *testing.T) {
	t.Parallel()
	p := script(t, told+`echo "result $1 $2 $WORD"; echo 'a message' >&2; printf '{"no": "event"}' >&2`)
	p.Env = []string{"WORD=w"}
	var shown bytes.Buffer
	p.Show = &shown
	run, err := p.With("x").Run(t.Context(), "y")
	if err != nil {
		t.Fatal(err)
	}
	if run.Out != "result x y w" || len(run.Events) != 4 || run.Wall <= 0 || run.PeakBytes < 1<<20 {
		t.Errorf("run %+v", run)
	}
	want := "a message\n{\"no\": \"event\"}"
	if run.Messages != want || shown.String() != want {
		t.Errorf("messages %q, shown %q", run.Messages, shown.String())
	}
	for task, want := range map[string]time.Duration{"a==1": 4 * time.Second, "b==2": 0, "c": 0} {
		if got := run.Took("wheel", task); got != want {
			t.Errorf("Took(wheel, %q) = %v, want %v", task, got, want)
		}
	}
	if n := run.Reused("wheel"); n != 1 {
		t.Errorf("%d are reused", n)
	}
}

func TestFailure(t *testing.T) {
	t.Parallel()
	p := script(t, told+`
echo '{"time":"2026-05-04T12:00:05Z","kind":"failed","stage":"seal"}' >&2
echo '{"time":"2026-05-04T12:00:06Z","kind":"failed","stage":"gate"}' >&2
echo 'gate: refused' >&2; echo 'error: one' >&2; echo 'error: two' >&2; exit 4`)
	_, err := p.Run(t.Context())
	var failure *FailureError
	if !errors.As(err, &failure) {
		t.Fatalf("error %v", err)
	}
	if diff := cmp.Diff(&FailureError{Program: "sh", Code: 4, Stage: "seal", Message: "one"}, failure); diff != "" {
		t.Errorf("failure (-want +got):\n%s", diff)
	}
	data := `echo '{"schema":"ampoule.failure/v1","kind":"input","code":3,"what":"no index has it","hint":"spell it"}' >&2; exit 3`
	run, err := script(t, data).Run(t.Context())
	if err == nil || !strings.HasSuffix(err.Error(), "code 3: no index has it") || run.Messages != "error: no index has it\nhint: spell it\n" {
		t.Errorf("a failure as data: %v, %q", err, run.Messages)
	}
	if _, err := script(t, "echo first >&2; echo last >&2; exit 1").Run(t.Context()); err == nil || !strings.HasSuffix(err.Error(), "code 1: last") {
		t.Errorf("error %v", err)
	}
	if _, err := (Program{Path: filepath.Join(t.TempDir(), "none")}).Run(t.Context()); err == nil || errors.As(err, &failure) {
		t.Errorf("a missing program: %v", err)
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	t.Parallel()
	cause := errors.New("enough")
	ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, cause) // by then the trap is set
	defer cancel()
	run, err := script(t, "trap 'echo cleaned; exit 0' TERM; while :; do sleep 0.05; done").Run(ctx)
	if !errors.Is(err, cause) || run.Out != "cleaned" {
		t.Errorf("error %v, output %q", err, run.Out)
	}
}

func TestMessagesAreBounded(t *testing.T) {
	t.Parallel()
	l := &listener{}
	l.Write(bytes.Repeat([]byte("x"), 3*maxLine))
	l.Write([]byte("\n"))
	for range 2 * maxMessages {
		l.Write([]byte("y\n"))
	}
	l.Write([]byte("last\n"))
	if got := l.messages.String(); len(got) > maxMessages || !strings.HasSuffix(got, "y\nlast\n") || cap(l.line) > 2*maxLine {
		t.Errorf("%d bytes of messages, %d of a line", len(got), cap(l.line))
	}
}

// TestTook has tasks that overlap, one within another, and one apart from them.
func TestTook(t *testing.T) {
	t.Parallel()
	at := func(s int) time.Time { return time.Date(2026, 5, 4, 12, 0, s, 0, time.UTC) }
	event := func(s int, kind progress.Kind, task string) Event {
		return Event{at(s), progress.Event{Kind: kind, Stage: progress.StageWheel, Task: task}}
	}
	run := Run{Events: []Event{
		event(0, progress.Started, "a"), event(1, progress.Started, "b"), event(2, progress.Started, "c"),
		event(3, progress.Done, "b"), event(5, progress.Done, "a"), event(7, progress.Done, "c"),
		event(20, progress.Started, "d"), event(21, progress.Done, "d"),
		event(30, progress.Started, "e"), event(40, progress.Failed, "e"),
	}}
	for _, tt := range []struct {
		tasks []string
		want  int
	}{{nil, 8}, {[]string{"a", "b"}, 5}, {[]string{"b", "d"}, 3}, {[]string{"e"}, 0}} {
		if got := run.Took("wheel", tt.tasks...); got != time.Duration(tt.want)*time.Second {
			t.Errorf("Took(%q) = %v, want %d s", tt.tasks, got, tt.want)
		}
	}
	if got := run.Took("interpreter"); got != 0 {
		t.Errorf("another stage took %v", got)
	}
}

func FuzzListener(f *testing.F) {
	f.Add([]byte(`{"kind":"done","stage":"x"}`+"\nmessage\n"), 3)
	f.Fuzz(func(t *testing.T, data []byte, cut int) {
		whole, parts := &listener{}, &listener{}
		whole.Write(data)
		cut = max(0, min(cut, len(data)))
		parts.Write(data[:cut])
		parts.Write(data[cut:])
		whole.end()
		parts.end()
		if whole.messages.String() != parts.messages.String() || len(whole.events) != len(parts.events) {
			t.Errorf("%q cut at %d is read otherwise", data, cut)
		}
	})
}
