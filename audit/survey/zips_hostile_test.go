package survey

import (
	"archive/zip"
	"bytes"
	"errors"
	"io/fs"
	"strings"
	"testing"
	"time"

	"ampoule/tree"
)

// packRaw makes an archive of members with any name and mode, in their order.
func packRaw(t testing.TB, members ...*zip.FileHeader) string {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, m := range members {
		text := m.Comment
		m.Comment, m.Method = "", zip.Deflate
		w, err := z.CreateHeader(m)
		if err == nil {
			_, err = w.Write([]byte(text))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// memberNamed is a member; its comment is its content.
func memberNamed(name, text string, mode fs.FileMode) *zip.FileHeader {
	h := &zip.FileHeader{Name: name, Comment: text}
	h.SetMode(mode)
	return h
}

// Archives that were made to reach out, or to keep an audit busy, end soon: what no file system
// could have of them is told.
func TestHostilePrograms(t *testing.T) {
	t.Parallel()
	main := memberNamed("__main__.py", "", 0o644)
	for what, c := range map[string]struct {
		text string
		left int
	}{
		"paths that lead out":       {packRaw(t, main, memberNamed("../x.py", "", 0o644), memberNamed("/etc/passwd", "", 0o644), memberNamed("a/../../x.so", "\x7fELF", 0o644)), 3},
		"a link":                    {packRaw(t, main, memberNamed("x.so", "/etc/passwd", 0o777|fs.ModeSymlink)), 1},
		"a pipe":                    {packRaw(t, main, memberNamed("x.so", "", 0o644|fs.ModeNamedPipe)), 1},
		"a name twice":              {packRaw(t, main, memberNamed("x.py", "a", 0o644), memberNamed("x.py", "b", 0o644)), 1},
		"a file below a file":       {packRaw(t, main, memberNamed("x", "a", 0o644), memberNamed("x/y.so", "\x7fELF", 0o644)), 1},
		"a hundred directories":     {packRaw(t, main, memberNamed(strings.Repeat("d/", 100)+"x.so", "\x7fELF", 0o644)), 0},
		"control codes in its name": {packRaw(t, main, memberNamed("a\x1b[2J\n.so", "\x7fELF", 0o644)), 0},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			begin := time.Now()
			r, err := Look(t.Context(), Target{Files: machine(t, map[string]string{"d/app.pyz": c.text}), Path: "/d/app.pyz"})
			if took := time.Since(begin); err != nil || took > maxTime {
				t.Fatalf("%v after %s", err, took)
			}
			left := 0
			for _, u := range r.Unlooked {
				left += u.Count
			}
			if left != c.left {
				t.Errorf("not looked at: %+v", r.Unlooked)
			}
			var text bytes.Buffer
			if err := r.WriteText(&text, TextOptions{Warnings: true}); err != nil || strings.ContainsAny(text.String(), "\x00\x1b") {
				t.Errorf("%v, %q", err, text.String())
			}
		})
	}
	bomb := packRaw(t, main, memberNamed("x.so", "\x7fELF"+strings.Repeat("\x00", 100<<20), 0o644))
	r, err := Look(t.Context(), Target{Files: machine(t, map[string]string{"d/bomb.pyz": bomb}), Path: "/d/bomb.pyz"})
	var unreadable *UnreadableError
	if !errors.As(err, &unreadable) {
		t.Errorf("a bomb: %+v, %v", r, err)
	}
}

// FuzzProgram audits archives of anything: it is an error, or a report.
func FuzzProgram(f *testing.F) {
	f.Add([]byte(packRaw(f, memberNamed("__main__.py", "", 0o644), memberNamed("x.so", "\x7fELF", 0o644))))
	f.Add([]byte("#!/usr/bin/python3\n" + packRaw(f, memberNamed("PEX-INFO", "{}", 0o644), memberNamed(".deps/a-1.0-py3-none-any.whl/a-1.0.dist-info/METADATA", "Name: a\nVersion: 1.0\n", 0o644))))
	f.Add([]byte(packRaw(f, memberNamed("environment.json", "{}", 0o644), memberNamed("site-packages/a.py", "", 0o644))))
	f.Fuzz(func(t *testing.T, data []byte) {
		files, err := tree.New([]tree.Entry{tree.FileEntry("app.pyz", 0o755, data)})
		if err != nil {
			t.Fatal(err)
		}
		r, err := Look(t.Context(), Target{Files: NewImage(files), Path: "/app.pyz"})
		if err == nil && len(r.Units)+len(r.Unread)+len(r.Unlooked) == 0 {
			t.Error("a report of nothing")
		}
	})
}

// FuzzFinder follows the literals of finders of anything.
func FuzzFinder(f *testing.F) {
	f.Add(finderOf("{'spam': '/src/spam'}"))
	f.Add("install({'a': '/src/a/__init__.py'}, \"/src/b\\\\c\", '/', '/proc', '/srv/..')")
	f.Fuzz(func(t *testing.T, text string) {
		files, err := tree.New([]tree.Entry{
			tree.FileEntry("lib/python3.13/site-packages/x.pth", 0o644, []byte("import __editable___x_finder\n")),
			tree.FileEntry("lib/python3.13/site-packages/__editable___x_finder.py", 0o644, []byte(text)),
			tree.FileEntry("src/a/__init__.py", 0o644, nil), tree.FileEntry("src/spam.so", 0o644, []byte("\x7fELF")),
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Look(t.Context(), Target{Files: NewImage(files), Path: "/lib"}); err != nil {
			t.Error(err)
		}
	})
}
