package sandboxtest

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"ampoule/builder/sandbox"
	"ampoule/tree"
)

// bigFile is the size of a file that does not fit into any buffer.
const bigFile = 3<<20 + 17

// exported reads what a sandbox exports, and checks the form of its paths.
func exported(t *testing.T, b sandbox.Sandbox, dir string) *tree.Tree {
	t.Helper()
	r, err := b.Export(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	for tr := tar.NewReader(bytes.NewReader(data)); ; {
		hdr, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if name := strings.TrimSuffix(hdr.Name, "/"); tree.CheckPath(name) != nil {
			t.Errorf("%s: path %q", dir, hdr.Name)
		}
	}
	got, err := tree.FromTar(bytes.NewReader(data), int64(len(data)), tree.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// describe makes a line of each entry: kind, mode, owner, path, and what it holds.
func describe(tr *tree.Tree) []string {
	var lines []string
	for _, e := range tr.Entries() {
		what := e.SHA256
		if e.Kind == tree.Symlink {
			what = e.Link
		}
		lines = append(lines, fmt.Sprintf("%d %v %d:%d %s %s", e.Kind, e.Mode, e.UID, e.GID, e.Path, what))
	}
	return lines
}

func (s *suite) testFiles(t *testing.T) {
	b := s.start(t, sandbox.Unprivileged)
	long := strings.Repeat("long-name/", 30)
	headers := []*tar.Header{
		{Name: "bin/", Mode: 0o755},
		{Name: "bin/tool", Mode: 0o755, Uid: 7, Gid: 8},
		{Name: "bin/again", Linkname: "bin/tool", Mode: 0o755, Uid: 7, Gid: 8},
		{Name: "bin/setuid", Mode: 0o4755},
		{Name: "empty/", Mode: 0o711, Uid: 1000, Gid: 1000},
		{Name: "secret", Mode: 0o600},
		{Name: "big", Mode: 0o444},
		{Name: "ünïcode ☃", Mode: 0o644},
		{Name: "link", Typeflag: tar.TypeSymlink, Linkname: "bin/tool", Mode: 0o777},
		{Name: "dangling", Typeflag: tar.TypeSymlink, Linkname: "/no/where", Mode: 0o777},
		{Name: long, Mode: 0o755},
		{Name: long + "file", Mode: 0o640, Uid: 1 << 20},
	}
	data := Tar(t, headers, map[string]string{
		"bin/tool": "tool", "bin/setuid": "setuid", "secret": "secret", "ünïcode ☃": "snow",
		"big": strings.Repeat("x", bigFile), long + "file": "deep",
	})
	if err := b.Import(t.Context(), "/opt/made/for/it", bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	want, err := tree.FromTar(bytes.NewReader(data), int64(len(data)), tree.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(describe(want), describe(exported(t, b, "/opt/made/for/it"))); diff != "" {
		t.Errorf("tree (-imported +exported):\n%s", diff)
	}
	made, _ := exported(t, b, "/opt").Lookup("made/for")
	if made.Kind != tree.Dir || made.Mode != 0o755 || made.UID != sandbox.UID || made.GID != sandbox.GID {
		t.Errorf("the directory that was made is %+v", made)
	}
}

func (s *suite) testFilesAndSteps(t *testing.T) {
	b := s.start(t, sandbox.Unprivileged)
	data := Tar(t, []*tar.Header{{Name: "./", Mode: 0o755, Uid: 1000, Gid: 1000}, {Name: "in", Mode: 0o644}}, map[string]string{"in": "imported"})
	if err := b.Import(t.Context(), "/home", bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	if got := Output(t, b, "cat", "/home/in"); got != "imported" {
		t.Errorf("a step reads %q", got)
	}
	Output(t, b, "write", "/home/out", "written")
	e, ok := exported(t, b, "/home").Lookup("out")
	if !ok {
		t.Fatal("what a step wrote is not exported")
	}
	text, err := e.ReadAll()
	if err != nil || string(text) != "written" || e.UID != sandbox.UID || e.GID != sandbox.GID {
		t.Errorf("a step wrote %q as %d:%d, %v", text, e.UID, e.GID, err)
	}
}

func (s *suite) testImportMerges(t *testing.T) {
	b := s.start(t, sandbox.Unprivileged)
	for _, part := range [][]*tar.Header{
		{{Name: "d/", Mode: 0o700}, {Name: "d/kept", Mode: 0o644}, {Name: "d/changed", Mode: 0o644}},
		{{Name: "d/changed", Mode: 0o600}, {Name: "d/new", Mode: 0o644}},
	} {
		if err := b.Import(t.Context(), "/tmp/merged", bytes.NewReader(Tar(t, part, nil))); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for _, e := range exported(t, b, "/tmp/merged").Entries() {
		got = append(got, fmt.Sprintf("%s %v", e.Path, e.Mode))
	}
	want := []string{"d -rwx------", "d/changed -rw-------", "d/kept -rw-r--r--", "d/new -rw-r--r--"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("tree (-want +got):\n%s", diff)
	}
	if parent, ok := exported(t, b, "/").Lookup("tmp"); !ok || parent.Mode.Perm() != 0o777 || parent.Mode&fs.ModeSticky == 0 {
		t.Errorf("a directory that was there is now %v", parent.Mode)
	}
}

func (s *suite) testImportRefuses(t *testing.T) {
	b := s.start(t, sandbox.Unprivileged)
	whole := Tar(t, []*tar.Header{{Name: "file", Mode: 0o644}}, map[string]string{"file": strings.Repeat("x", 2000)})
	broken := errors.New("the source broke")
	for name, test := range map[string]struct {
		dir  string
		r    io.Reader
		want error
	}{
		"cut in a file":      {"/tmp", bytes.NewReader(whole[:1000]), io.ErrUnexpectedEOF},
		"without end mark":   {"/tmp", bytes.NewReader(whole[:512+2048]), io.ErrUnexpectedEOF},
		"empty":              {"/tmp", strings.NewReader(""), io.ErrUnexpectedEOF},
		"broken source":      {"/tmp", io.MultiReader(bytes.NewReader(whole[:1000]), iotest.ErrReader(broken)), broken},
		"not a tar":          {"/tmp", strings.NewReader(strings.Repeat("no tar ", 300)), tar.ErrHeader},
		"path leaves":        {"/tmp", bytes.NewReader(Tar(t, []*tar.Header{{Name: "../out"}}, nil)), nil},
		"hard link leaves":   {"/tmp", bytes.NewReader(Tar(t, []*tar.Header{{Name: "in", Linkname: "../bin/probe"}}, nil)), nil},
		"relative dir":       {"tmp", bytes.NewReader(whole), nil},
		"unclean dir":        {"/tmp/../etc", bytes.NewReader(whole), nil},
		"dir below a file":   {"/bin/probe/dir", bytes.NewReader(whole), nil},
		"dir that is a file": {"/bin/probe", bytes.NewReader(whole), nil},
	} {
		err := b.Import(t.Context(), test.dir, test.r)
		if err == nil || test.want != nil && !errors.Is(err, test.want) {
			t.Errorf("%s: got %v, want an error wrapping %v", name, err, test.want)
		}
	}
	r := strings.NewReader(string(whole) + strings.Repeat("\x00", 1<<20))
	if err := b.Import(t.Context(), "/tmp", r); err != nil || r.Len() != 0 {
		t.Errorf("a padded tar: %v, %d bytes left", err, r.Len())
	}
}

func (s *suite) testExport(t *testing.T) {
	b := s.start(t, sandbox.Unprivileged)
	if r, err := b.Export(t.Context(), "/no/such/dir"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing directory: got %v, %v, want ErrNotExist", r, err)
	}
	for _, dir := range []string{"/bin/probe", "bin", "/bin/"} {
		if r, err := b.Export(t.Context(), dir); err == nil {
			t.Errorf("%s was exported", dir)
			r.Close()
		}
	}
	if got := exported(t, b, "/srv"); got.Len() != 0 {
		t.Errorf("an empty directory has %v", describe(got))
	}
	r, err := b.Export(t.Context(), "/")
	if err != nil {
		t.Fatal(err)
	}
	closed := make(chan error, 1)
	go func() { closed <- r.Close() }()
	select {
	case err := <-closed:
		if err != nil {
			t.Errorf("closing an export that was not read: %v", err)
		}
	case <-time.After(patience):
		t.Error("closing an export that was not read hangs")
	}
}

func (s *suite) testExportRoot(t *testing.T) {
	b := s.start(t, sandbox.Unprivileged)
	Output(t, b, "write", "/tmp/new", "text")
	var got []string
	for _, e := range exported(t, b, "/").Entries() {
		got = append(got, e.Path)
	}
	want := []string{
		"bin", "bin/cat", "bin/probe", "bin/sh", "bin/sleep", "etc", "etc/passwd", "sbin", "srv",
		"tmp", "tmp/new", "usr", "usr/bin", "usr/bin/env",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("paths (-want +got):\n%s", diff)
	}
}

func (s *suite) testChanges(t *testing.T) {
	b := s.start(t, sandbox.Unprivileged)
	// What is listed may be more than what changed: engines touch directories.
	first, gone, err := b.Changes(t.Context())
	if err != nil || len(gone) > 0 {
		t.Errorf("at first: %v, %v, %v", first, gone, err)
	}
	if err := b.Import(t.Context(), "/srv/made", bytes.NewReader(Tar(t, []*tar.Header{{Name: "in", Mode: 0o644}}, nil))); err != nil {
		t.Fatal(err)
	}
	Output(t, b, "write", "/tmp/out", "text")
	there, gone, err := b.Changes(t.Context())
	if err != nil || len(gone) > 0 {
		t.Errorf("gone is %v, %v", gone, err)
	}
	there = slices.DeleteFunc(there, func(p string) bool { return slices.Contains(first, p) })
	if diff := cmp.Diff([]string{"srv", "srv/made", "srv/made/in", "tmp", "tmp/out"}, there); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
}
