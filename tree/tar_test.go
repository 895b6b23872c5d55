package tree

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ampoule/internal/basetime"
)

// member is one member of a tar; text is its content.
type member struct {
	tar.Header
	text string
}

func regular(name, text string) member {
	return member{tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644}, text}
}

func special(kind byte, name, linkname string) member {
	return member{tar.Header{Typeflag: kind, Name: name, Linkname: linkname, Mode: 0o755}, ""}
}

func makeTar(t testing.TB, members ...member) []byte {
	t.Helper()
	var buf bytes.Buffer
	tw := tar.NewWriter(&buf)
	for _, m := range members {
		m.Size = int64(len(m.text))
		err := tw.WriteHeader(&m.Header)
		if err == nil {
			_, err = io.WriteString(tw, m.text)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func fromTar(data []byte, limits Limits) (*Tree, error) {
	return FromTar(bytes.NewReader(data), int64(len(data)), limits)
}

func TestFromTar(t *testing.T) {
	t.Parallel()
	old := regular("twice", "old")
	old.Mode = 0o600
	owned := regular("./b/owned", "o")
	owned.Uid, owned.Gid, owned.Mode = 5, 6, 0o4755
	got, err := fromTar(makeTar(t,
		special(tar.TypeDir, "./", ""), member{tar.Header{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"comment": "x"}}, ""},
		old, owned, regular("/abs", "a"), special(tar.TypeLink, "hard", "./b/owned"), special(tar.TypeSymlink, "soft", "/any/where"),
		special(tar.TypeLink, "softer", "soft"), special(tar.TypeChar, "dev/null", ""), special(tar.TypeBlock, "dev/sda", ""),
		special(tar.TypeFifo, "dev/pipe", ""), regular("twice", "newer"), regular("long/"+strings.Repeat("x", 300), "l")), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"abs", "b/", "b/owned", "hard", "long/", "long/" + strings.Repeat("x", 300), "soft -> /any/where", "softer -> /any/where", "twice"}
	if diff := cmp.Diff(want, paths(got)); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
	for p, want := range map[string]string{"twice": "newer", "hard": "o", "b/owned": "o", "abs": "a"} {
		e, _ := got.Lookup(p)
		if data, err := e.ReadAll(); string(data) != want || err != nil || e.Size != int64(len(want)) {
			t.Errorf("%s has %q, %v, size %d; want %q", p, data, err, e.Size, want)
		}
	}
	for _, p := range []string{"b/owned", "hard"} {
		if e, _ := got.Lookup(p); e.UID != 5 || e.GID != 6 || e.Mode != 0o755|os.ModeSetuid {
			t.Errorf("%s is of %d:%d with mode %v", p, e.UID, e.GID, e.Mode)
		}
	}
	if e, _ := got.Lookup("twice"); e.Mode != 0o644 {
		t.Errorf("of two members with one path the mode of the first counts: %v", e.Mode)
	}
}

func TestFromTarRefuses(t *testing.T) {
	t.Parallel()
	whole := makeTar(t, regular("a", strings.Repeat("text", 1000)))
	sparse := makeTar(t, regular("sparse", "x"))
	sparse[156] = tar.TypeGNUSparse
	copy(sparse[257:], "ustar  \x00")
	resum(sparse[:512])
	unknown := makeTar(t, regular("odd", ""))
	unknown[156] = 'V'
	resum(unknown[:512])
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"path that leaves":        {makeTar(t, regular("a/../../b", "")), `"a/../../b" leaves the tree`},
		"dots inside":             {makeTar(t, regular("a/../b", "")), `"a/../b" leaves the tree`},
		"hard link that leaves":   {makeTar(t, regular("a", ""), special(tar.TypeLink, "b", "../a")), `"../a" leaves the tree`},
		"hard link to nothing":    {makeTar(t, special(tar.TypeLink, "b", "a"), regular("a", "")), "b: hard link to a, which is not there"},
		"hard link to directory":  {makeTar(t, special(tar.TypeDir, "a", ""), special(tar.TypeLink, "b", "a")), "b: hard link to a, which is not there"},
		"below a file":            {makeTar(t, regular("a", ""), regular("a/b", "")), "a/b: its parent a is not a directory"},
		"below a link":            {makeTar(t, special(tar.TypeSymlink, "a", "/etc"), regular("a/b", "")), "a/b: its parent a is not a directory"},
		"cut in the content":      {whole[:1000], "reading tar: a: unexpected EOF"},
		"cut in the header":       {whole[:100], "reading tar: unexpected EOF"},
		"no tar":                  {bytes.Repeat([]byte("no tar "), 200), "reading tar: archive/tar: invalid tar header"},
		"sparse file":             {sparse, "sparse"},
		"member of unknown kind":  {unknown, "odd: members of kind 'V' are not supported"},
		"contents after the stop": {append(make([]byte, 1024), whole...), ""},
	} {
		got, err := fromTar(c.data, Limits{})
		switch {
		case c.want == "" && (err != nil || got.Len() != 0):
			t.Errorf("%s: %v, %v", name, got, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: error %v, want %q", name, err, c.want)
		}
	}
}

// resum corrects a header's checksum.
func resum(header []byte) {
	copy(header[148:156], "        ")
	sum := 0
	for _, b := range header {
		sum += int(b)
	}
	for i := range 6 {
		header[153-i] = byte('0' + sum>>(3*i)&7)
	}
	header[154], header[155] = 0, ' '
}

// TestSparse reads what GNU tar makes of a file with a hole.
func TestSparse(t *testing.T) {
	t.Parallel()
	for _, data := range sparseTars(t) {
		if got, err := fromTar(data, Limits{}); err == nil || !strings.Contains(err.Error(), "hole: sparse files are not supported") {
			t.Errorf("a file with a hole gives %v, %v", got, err)
		}
	}
}

func sparseTars(t testing.TB) [][]byte {
	t.Helper()
	var all [][]byte
	for _, name := range []string{"gnu", "pax"} {
		data, err := os.ReadFile(filepath.Join("testdata", "sparse-"+name+".tar"))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, data)
	}
	return all
}

func TestLimits(t *testing.T) {
	t.Parallel()
	data := makeTar(t, regular("a", "123"), special(tar.TypeDir, "d", ""), regular("b", "45"), special(tar.TypeFifo, "p", ""))
	for _, c := range []struct {
		limits Limits
		ok     bool
	}{
		{Limits{}, true}, {Limits{Entries: 4, Bytes: 5}, true},
		{Limits{Entries: 3}, false}, {Limits{Bytes: 4}, false},
	} {
		if _, err := fromTar(data, c.limits); (err == nil) != c.ok || err != nil && !errors.Is(err, ErrLimit) {
			t.Errorf("with %+v: %v", c.limits, err)
		}
	}
	// Each hard link is a file as large as the first.
	data = makeTar(t, regular("a", "123"), special(tar.TypeLink, "b", "a"), special(tar.TypeSymlink, "c", "a"), special(tar.TypeLink, "d", "c"))
	for bytes, ok := range map[int64]bool{5: false, 6: true} {
		if _, err := fromTar(data, Limits{Bytes: bytes}); (err == nil) != ok || err != nil && !errors.Is(err, ErrLimit) {
			t.Errorf("with hard links and %d bytes: %v", bytes, err)
		}
	}
}

func TestWriteTar(t *testing.T) {
	t.Parallel()
	var first, second bytes.Buffer
	tr, err := everything(t).With(link("zz", "./a/..//b/"))
	if err != nil {
		t.Fatal(err)
	}
	at := basetime.Of(t).In(time.FixedZone("", 3600)).Add(6)
	for _, buf := range []*bytes.Buffer{&first, &second} {
		if err := tr.WriteTar(buf, "opt/ampoule", at); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("written twice, the bytes differ")
	}
	var names []string
	for r := tar.NewReader(&first); ; {
		hdr, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if !hdr.ModTime.Equal(at.Truncate(time.Second)) || hdr.Uname != "" || hdr.Gname != "" || !hdr.AccessTime.IsZero() {
			t.Errorf("%s: time %s, names %q %q", hdr.Name, hdr.ModTime, hdr.Uname, hdr.Gname)
		}
		names = append(names, hdr.Name)
	}
	want := []string{
		"opt/", "opt/ampoule/", "opt/ampoule/bin/", "opt/ampoule/bin/tool", "opt/ampoule/empty", "opt/ampoule/etc/",
		"opt/ampoule/etc/name \"quoted\"\n", "opt/ampoule/lib64", "opt/ampoule/tmp/", "opt/ampoule/zz", "opt/ampoule/ü",
	}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("members (-want +got):\n%s", diff)
	}
	back, err := fromTar(second.Bytes(), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if got := back.Sub("opt/ampoule").Hash(); got != tr.Hash() {
		t.Errorf("read back, the tree is %s, not %s", got, tr.Hash())
	}
}

func TestWriteTarRefuses(t *testing.T) {
	t.Parallel()
	gone := errors.New("gone")
	for name, content := range map[string]broken{
		"short": {text: "tex"}, "long": {text: "texts"}, "other": {text: "TEXT"}, "gone": {err: gone},
	} {
		e := file("name", "text")
		e.Content = content
		// Another entry follows: a file that is too short is noticed there too.
		err := newTree(t, e, file("next", "")).WriteTar(io.Discard, "", Time)
		if err == nil || content.err != nil && !errors.Is(err, gone) {
			t.Errorf("content that is %s: %v", name, err)
		}
	}
}

// FuzzFromTar: whatever the bytes are, nothing panics, the limits hold, and a tree
// that is read is valid, readable and the same after it was written and read again.
func FuzzFromTar(f *testing.F) {
	f.Add(makeTar(f, regular("a/b", "text"), special(tar.TypeSymlink, "l", "a"), special(tar.TypeLink, "h", "a/b"), regular("a/b", "twice")))
	f.Add(makeTar(f, regular(strings.Repeat("long", 100), ""), special(tar.TypeDir, "ü\n", ""), regular("../x", "")))
	f.Add(makeTar(f, regular("a", strings.Repeat("x", 1000)), special(tar.TypeLink, "b", "a"), special(tar.TypeLink, "c", "a"), special(tar.TypeLink, "d", "b"), special(tar.TypeLink, "e", "a")))
	for _, data := range sparseTars(f) {
		f.Add(data)
	}
	limits := Limits{Entries: 100, Bytes: 4 << 10}
	f.Fuzz(func(t *testing.T, data []byte) {
		data = bytes.Clone(data)
		for block := data; len(block) >= 512; block = block[512:] {
			// A wrong checksum would hide everything behind it.
			if bytes.HasPrefix(block[257:], []byte("ustar")) {
				resum(block[:512])
			}
		}
		tr, err := fromTar(data, limits)
		if err != nil {
			return
		}
		var size int64
		for _, e := range tr.Entries() {
			if err := CheckPath(e.Path); err != nil {
				t.Error(err)
			}
			if e.Kind == File {
				if _, err := e.ReadAll(); err != nil {
					t.Error(err)
				}
				size += e.Size
			}
			tr.Resolve(e.Path)
		}
		if size > limits.Bytes {
			t.Errorf("%q have %d bytes", paths(tr), size)
		}
		if _, err := New(tr.Entries()); err != nil {
			t.Error(err)
		}
		var buf bytes.Buffer
		if err := tr.WriteTar(&buf, "", Time); err != nil {
			t.Fatal(err)
		}
		again, err := fromTar(buf.Bytes(), Limits{})
		if err != nil {
			t.Fatal(err)
		}
		if again.Hash() != tr.Hash() {
			t.Errorf("read back, the tree is\n%q, not\n%q", paths(again), paths(tr))
		}
	})
}
