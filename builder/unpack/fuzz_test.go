package unpack

import (
	"bytes"
	"errors"
	"io"
	"path"
	"regexp"
	"strings"
	"testing"

	"ampoule/builder/unpack/unpacktest"
	"ampoule/tree"
)

// maxFuzzed bounds what is read of a fuzzed wheel, in bytes.
const maxFuzzed = 1 << 20

// FuzzOpen: whatever a wheel is, it is refused by an error of one kind, or what it installs
// lies where wheels may have files and has the content that RECORD says.
func FuzzOpen(f *testing.F) {
	for _, h := range honest {
		f.Add(h.file, unpacktest.Wheel(f, h.file, h.members...))
	}
	for _, h := range hostile {
		if data := unpacktest.Wheel(f, h.file, h.members...); len(data) < 8<<10 {
			f.Add(h.file, data)
		}
	}
	f.Fuzz(func(t *testing.T, file string, data []byte) {
		w, err := Open(bytes.NewReader(data), int64(len(data)), file, built)
		var refused *RefusedError
		if err != nil {
			if !errors.As(err, &refused) {
				t.Errorf("unclassified error: %v", err)
			}
			return
		}
		tr, err := w.Tree(nil)
		if err != nil {
			if !errors.As(err, &refused) {
				t.Errorf("unclassified error: %v", err)
			}
			return
		}
		for _, e := range tr.Entries() {
			checkPlace(t, e, w.info)
			if e.Kind != tree.File || e.Size > maxFuzzed {
				continue
			}
			if _, err := e.ReadAll(); err != nil && Check(bytes.NewReader(data), int64(len(data)), file) == nil {
				t.Errorf("%s cannot be read, and the wheel is sound: %v", e.Path, err)
			}
		}
	})
}

// places matches where wheels may have files.
var places = regexp.MustCompile(`^(lib/python3\.13/site-packages|bin|include|share|etc|man|opt|lib/cmake|lib/pkgconfig|lib/lib[^/]*)(/|$)`)

// checkPlace wants an entry to lie where a wheel may have files.
func checkPlace(t *testing.T, e tree.Entry, info string) {
	t.Helper()
	if e.Kind == tree.Dir {
		return
	}
	if e.Kind != tree.File || tree.CheckPath(e.Path) != nil || !places.MatchString(e.Path) || e.UID != 0 || e.Mode != 0o644 && e.Mode != 0o755 {
		t.Errorf("it installs %s, %v, %v", e.Path, e.Kind, e.Mode)
	}
	if dir := path.Dir(e.Path); strings.HasSuffix(dir, ".dist-info") && path.Dir(dir) == built.Site && path.Base(dir) != info {
		t.Errorf("it installs %s", e.Path)
	}
	if strings.HasPrefix(e.Path, "bin/python") || e.Path == "bin/sh" {
		if interpreters.MatchString(strings.SplitN(e.Path, "/", 3)[1]) {
			t.Errorf("it installs %s", e.Path)
		}
	}
}

// FuzzEntryPoints: whatever entry_points.txt has, scripts are files in bin whose code is an
// import and a call.
func FuzzEntryPoints(f *testing.F) {
	f.Add("[console_scripts]\na = b:c.d [e]\n[gui_scripts]\nf=g:h\n")
	for _, h := range hostile {
		for _, m := range h.members {
			if strings.HasSuffix(m.Name, "entry_points.txt") {
				f.Add(m.Text)
			}
		}
	}
	body := regexp.MustCompile(`(?s)^#![^\n]*\n# -\*- coding: utf-8 -\*-\nimport re\nimport sys\nfrom [\pL\pN\pM_.]+ import [\pL\pN\pM_]+\nif __name__ == '__main__':\n    sys.argv\[0\] = [^\n]*\n    sys.exit\([\pL\pN\pM_.]+\(\)\)\n$`)
	f.Fuzz(func(t *testing.T, lines string) {
		data := unpacktest.Wheel(t, evil, text("INFO/entry_points.txt", lines))
		w, err := Open(bytes.NewReader(data), int64(len(data)), evil, built)
		if err != nil {
			return
		}
		for p, e := range w.Entries {
			name, isScript := strings.CutPrefix(p, "bin/")
			if !isScript {
				continue
			}
			r, err := e.Content.Open()
			if err != nil {
				t.Fatal(err)
			}
			script, err := io.ReadAll(r)
			if err != nil || !plainFile(name) || !body.Match(script) {
				t.Errorf("%q has %q, %v", name, script, err)
			}
		}
	})
}
