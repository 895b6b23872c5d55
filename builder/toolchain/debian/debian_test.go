package debian_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/ulikunitz/xz"

	"ampoule/builder/sandbox"
	"ampoule/builder/toolchain/debian"
	"ampoule/builder/toolchain/debian/debtest"
)

func parse(t testing.TB, text string) ([]debian.Stanza, error) {
	t.Helper()
	var out []debian.Stanza
	err := debian.Stanzas(strings.NewReader(text), func(s debian.Stanza) error {
		out = append(out, s)
		return nil
	})
	return out, err
}

func TestStanzas(t *testing.T) {
	t.Parallel()
	got, err := parse(t, "\nPackage: a\nDescription: short\n long\n .\nTag:\n x\n \n\n\nPackage:b")
	if err != nil {
		t.Fatal(err)
	}
	want := []debian.Stanza{
		{{Name: "Package", Value: "a"}, {Name: "Description", Value: "short\n long\n ."}, {Name: "Tag", Value: "\n x"}},
		{{Name: "Package", Value: "b"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got := got[0].String(); got != "Package: a\nDescription: short\n long\n .\nTag:\n x\n\n" {
		t.Errorf("String: %q", got)
	}
	if got := got[0].Get("tAG"); got != "x" {
		t.Errorf("Get: %q", got)
	}
}

func TestStanzasRefuses(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ text, want string }{
		"continuation first": {" x\n", "line 1"},
		"no colon":           {"Package: a\nnothing\n", "line 2"},
		"space in name":      {"Two words: a\n", "not a field"},
		"long line":          {"Package: a\nB: " + strings.Repeat("x", 2<<20), "line 2"},
		"long stanza":        {"Package: a\n" + strings.Repeat("B: "+strings.Repeat("x", 1<<19)+"\n", 9), "exceeds the limit"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := parse(t, test.text); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %q", err, test.want)
			}
		})
	}
}

func TestStanzaWith(t *testing.T) {
	t.Parallel()
	s := debian.Stanza{{Name: "A", Value: "1"}, {Name: "B", Value: "2"}}
	if diff := cmp.Diff(debian.Stanza{{Name: "A", Value: "3"}, {Name: "B", Value: "2"}}, s.With("a", "3")); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(debian.Stanza{{Name: "B", Value: "2"}, {Name: "C", Value: "4"}}, s.Without("A").With("C", "4")); diff != "" {
		t.Error(diff)
	}
	if s.Get("A") != "1" {
		t.Error("With changed its receiver")
	}
}

const control = "Package: zlib1g\nVersion: 1:1.2\nArchitecture: amd64\nDescription: x\n y\n"

func TestControl(t *testing.T) {
	t.Parallel()
	for _, ending := range []string{"", ".gz", ".xz", ".zst"} {
		t.Run("control.tar"+ending, func(t *testing.T) {
			t.Parallel()
			got, err := debian.Control(bytes.NewReader(debtest.Deb(t, control, ending)))
			if err != nil {
				t.Fatal(err)
			}
			if got.String() != control+"\n" {
				t.Errorf("control %q", got)
			}
		})
	}
}

func TestControlRefuses(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		deb  []byte
		want string
	}{
		"no ar":            {[]byte("PK\x03\x04"), "not an ar archive"},
		"truncated":        {debtest.Deb(t, control, ".xz")[:100], "EOF"},
		"no control":       {debtest.Ar("debian-binary", []byte("2.0\n"), "data.tar", []byte{}), "no control.tar"},
		"compression":      {debtest.Ar("control.tar.lz", []byte("x")), "unknown compression"},
		"two stanzas":      {debtest.Deb(t, control+"\n"+control, ""), "2 stanzas"},
		"no version":       {debtest.Deb(t, "Package: a\nArchitecture: all\n", ""), "no Version"},
		"large control":    {debtest.Deb(t, control+"X:"+strings.Repeat("\n x", 1<<19), ".gz"), "exceeds the limit"},
		"large dictionary": {debtest.Ar("control.tar.xz", largeDictionary(t)), "exceeds the limit"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := debian.Control(bytes.NewReader(test.deb)); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %q", err, test.want)
			}
		})
	}
}

// largeDictionary makes xz that asks for 128 MiB.
func largeDictionary(t testing.TB) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := xz.WriterConfig{DictCap: 128 << 20}.NewWriter(&out)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestMissingTool(t *testing.T) {
	t.Parallel()
	_, err := debian.Tool("no-such-program-here", "its-package")
	var missing *debian.MissingToolError
	if !errors.As(err, &missing) || !errors.Is(err, sandbox.ErrUnavailable) {
		t.Fatalf("error %v", err)
	}
	if !strings.Contains(missing.Hint(), "its-package") {
		t.Errorf("hint %q", missing.Hint())
	}
}

func FuzzStanzas(f *testing.F) {
	f.Add("Package: a\nDescription: b\n c\n\nPackage: d\n")
	f.Add("A:\n b\n\t\n:\n")
	f.Fuzz(func(t *testing.T, text string) {
		first, err := parse(t, text)
		if err != nil {
			return
		}
		var b strings.Builder
		for _, s := range first {
			b.WriteString(s.String())
		}
		second, err := parse(t, b.String())
		if err != nil {
			t.Fatalf("its own spelling %q: %v", b.String(), err)
		}
		if diff := cmp.Diff(first, second); diff != "" {
			t.Errorf("%q: %s", text, diff)
		}
	})
}

func FuzzControl(f *testing.F) {
	for _, ending := range []string{"", ".gz", ".xz", ".zst"} {
		f.Add(debtest.Deb(f, control, ending))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := debian.Control(bytes.NewReader(data))
		if err == nil && (s.Get("Package") == "" || s.Get("Version") == "" || s.Get("Architecture") == "") {
			t.Errorf("control without an identity: %q", s)
		}
	})
}
