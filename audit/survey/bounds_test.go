package survey

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ampoule/tree"
)

// What is beyond a bound is told, and is never a pass.
func TestBounds(t *testing.T) {
	t.Parallel()
	sound := dist(module(t, ""), tag)
	wheel := pack(t, sound)
	name := "spam-1.0-" + tag + ".whl"
	many := map[string]string{"a/" + name: wheel, "b/" + name: wheel, "c/d/" + name: wheel}
	environment := under("usr/lib/python3.13/site-packages", sound)
	for what, c := range map[string]struct {
		files map[string]string
		bound func(*bounds)
		want  string
		units int
	}{
		"directories":      {many, func(b *bounds) { b.dirs = 2 }, "searches 2 directories at most", 2},
		"names":            {many, func(b *bounds) { b.names = 4 }, "looks at 4 files at most", 1},
		"units":            {many, func(b *bounds) { b.units = 2 }, "judges 2 wheels and directories at most", 2},
		"files of a place": {environment, func(b *bounds) { b.files = 3 }, "more than 3 files are installed in it", 0},
		"paths of a place": {environment, func(b *bounds) { b.paths = 100 }, "take more than 0 MiB", 0},
		// With more, it depends on the order of reading whether a small file is read.
		"bytes":             {environment, func(b *bounds) { b.bytes = 0 }, "an audit reads 0 GiB at most", 1},
		"bytes of a wheel":  {many, func(b *bounds) { b.bytes = 100 }, "an audit reads 0 GiB at most", 0},
		"what is not read":  {map[string]string{"a/x.pth": "", "a/y": "", "http-v2/0/1/2/3/4/a": wheel, "http-v2/0/1/2/3/4/b": wheel, "http-v2/0/1/2/3/4/c": wheel}, func(b *bounds) { b.unread, b.bytes = 1, 0 }, "2 more files and directories", 0},
		"deep directories":  {map[string]string{strings.Repeat("d/", 70) + name: wheel}, func(*bounds) {}, "more than 64 directories deep", 0},
		"deep in a package": {together(environment, map[string]string{"usr/lib/python3.13/site-packages/" + strings.Repeat("d/", 70) + "x.so": ""}), func(*bounds) {}, "more than 64 directories deep", 1},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			m := machine(t, under("d", c.files))
			b := defaultBounds
			c.bound(&b)
			r, err := look(t.Context(), Target{Files: m, Path: "/d"}, b)
			if err != nil || r.Passed || len(r.Units) != c.units {
				t.Fatalf("%+v, %v", r, err)
			}
			if !slices.ContainsFunc(r.Unread, func(u Unread) bool { return strings.Contains(u.Why, c.want) }) {
				t.Errorf("not read: %+v, want %q", r.Unread, c.want)
			}
			if r, err = look(t.Context(), Target{Files: m, Path: "/d"}, defaultBounds); err != nil || len(r.Unread) > 0 && !strings.HasPrefix(what, "deep") && what != "what is not read" {
				t.Errorf("without the bound: %+v, %v", r, err)
			}
		})
	}
}

// A directory that is mounted below itself, and what the kernel makes up wherever it is
// mounted, are not gone into.
func TestTrail(t *testing.T) {
	t.Parallel()
	m := machine(t, map[string]string{"a/b/c": ""})
	way := trail{files: m}
	if !way.enter("a") || !way.enter("a/b") {
		t.Fatal("a directory is not gone into")
	}
	if way.enter("a") {
		t.Error("a directory below itself is gone into")
	}
	way.leave()
	if !way.enter("a/b") {
		t.Error("a directory is not gone into for the second time")
	}
	way = trail{files: Machine("/")}
	if way.enter("proc/self") {
		t.Error("what the kernel makes up is gone into")
	}
	if r, err := Look(t.Context(), Target{Files: Machine("/proc/self"), Path: "/"}); err == nil {
		t.Errorf("what the kernel makes up, under another path: %+v", r)
	}
}

func TestListDir(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "f"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	stop := errors.New("stop")
	if names, err := listDir(dir, func() error { return stop }); !errors.Is(err, stop) {
		t.Errorf("%v, %v", names, err)
	}
	if names, err := listDir(filepath.Join(dir, "f"), func() error { return nil }); err == nil {
		t.Errorf("a file: %v", names)
	}
}

// silent are files of which one never gives a byte, as on a file server that is gone.
type silent struct {
	Files
	file string
	open chan struct{}
}

func (s silent) Lookup(p string) (tree.Entry, bool) {
	e, ok := s.Files.Lookup(p)
	if p == s.file {
		e.Content = silentContent(s)
	}
	return e, ok
}

type silentContent silent

func (s silentContent) Open() (io.ReadCloser, error) {
	<-s.open
	return nil, io.ErrUnexpectedEOF
}

// An audit ends although a read never returns: when it is interrupted, and in the end.
func TestReadThatNeverReturns(t *testing.T) {
	t.Parallel()
	const file = "usr/lib/python3.13/site-packages/spam/data"
	m := machine(t, together(under("usr/lib/python3.13/site-packages", dist(module(t, ""), tag)), map[string]string{file: "x"}))
	files := silent{m, file, make(chan struct{})}
	defer close(files.open)
	stop := errors.New("stop")
	ctx, cancel := context.WithCancelCause(t.Context())
	var stopped time.Time
	timer := time.AfterFunc(50*time.Millisecond, func() { stopped = time.Now(); cancel(stop) })
	defer timer.Stop()
	if r, err := Look(ctx, Target{Files: files, Path: "/usr"}); !errors.Is(err, stop) {
		t.Errorf("interrupted: %+v, %v", r, err)
	} else if took := time.Since(stopped); took > soon {
		t.Errorf("it went on for %s", took)
	}
	v := newSurvey(Target{Files: files, Path: "/usr"}, defaultBounds)
	v.watch(t.Context())
	r, err := v.attended(t.Context(), 200*time.Millisecond)
	var unreadable *UnreadableError
	if !errors.As(err, &unreadable) || !strings.Contains(unreadable.Why, "nothing of it could be read") {
		t.Errorf("in the end: %+v, %v", r, err)
	}
}
