package apt

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/builder/toolchain/debian"
	"ampoule/builder/toolchain/debian/debtest"
	"ampoule/recipes"
)

const output = `Reading package lists...
NOTE: This is only a simulation!
The following NEW packages will be installed:
  gcc
Remv libold [1.0]
Purg libolder
Inst libc6 [2.36-9] (2.36-10 Debian:12.1/stable [amd64])
Inst gcc (4:12.2.0-3 Debian:12.15/oldstable [amd64])
Inst tzdata (2024a-0+deb12u1 Debian:12.15/oldstable, Debian:12-updates/oldstable-updates [all]) []
Conf gcc (4:12.2.0-3 Debian:12.15/oldstable [amd64])
`

func TestParsePlan(t *testing.T) {
	t.Parallel()
	want := plan{
		added:   []identity{{"gcc", "4:12.2.0-3", "amd64"}, {"tzdata", "2024a-0+deb12u1", "all"}},
		changes: []string{"libold 1.0 → none", "libolder → none", "libc6 2.36-9 → 2.36-10"},
	}
	got := parsePlan([]byte(output))
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(plan{}, identity{})); diff != "" {
		t.Error(diff)
	}
}

func FuzzParsePlan(f *testing.F) {
	f.Add([]byte(output))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, id := range parsePlan(data).added {
			if id.name == "" || id.version == "" || id.arch == "" {
				t.Errorf("incomplete %+v", id)
			}
		}
	})
}

var sum = strings.Repeat("ab", 32)

func testIndex(t *testing.T, list string) *index {
	t.Helper()
	x := newIndex()
	if err := debian.Stanzas(strings.NewReader(list), x.add); err != nil {
		t.Fatal(err)
	}
	return x
}

func TestIndex(t *testing.T) {
	t.Parallel()
	other := strings.Repeat("cd", 32)
	x := testIndex(t, "Package: openssl\nVersion: 3\nArchitecture: amd64\nFilename: pool/main/o/a.deb\nSHA256: "+sum+"\nDescription: long\nDepends: libc6\n\n"+
		"Package: openssl\nVersion: 3\nArchitecture: amd64\nFilename: pool/updates/main/o/a.deb\nSHA256: "+other+"\n")
	got, ok := x.find(identity{"openssl", "3", "amd64"})
	if !ok {
		t.Fatal("not found")
	}
	// The first list counts, and descriptions are no part of what apt needs.
	want := listed{
		deb: recipes.Deb{Name: "openssl", Version: "3", Arch: "amd64", File: "pool/main/o/a.deb", SHA256: sum},
		stanza: debian.Stanza{
			{Name: "Package", Value: "openssl"}, {Name: "Version", Value: "3"}, {Name: "Architecture", Value: "amd64"}, {Name: "Depends", Value: "libc6"},
		},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(listed{})); diff != "" {
		t.Error(diff)
	}
}

func TestIndexRefuses(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"no version":    "Package: a\nArchitecture: all\nFilename: a.deb\nSHA256: " + sum,
		"no hash":       "Package: a\nVersion: 1\nArchitecture: all\nFilename: a.deb",
		"short hash":    "Package: a\nVersion: 1\nArchitecture: all\nFilename: a.deb\nSHA256: abcd",
		"capital hash":  "Package: a\nVersion: 1\nArchitecture: all\nFilename: a.deb\nSHA256: " + strings.ToUpper(sum),
		"leaving":       "Package: a\nVersion: 1\nArchitecture: all\nFilename: ../a.deb\nSHA256: " + sum,
		"absolute file": "Package: a\nVersion: 1\nArchitecture: all\nFilename: /a.deb\nSHA256: " + sum,
		"no file":       "Package: a\nVersion: 1\nArchitecture: all\nSHA256: " + sum,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := debian.Stanzas(strings.NewReader(text), newIndex().add); err == nil {
				t.Error("no error")
			}
		})
	}
}

func TestNearest(t *testing.T) {
	t.Parallel()
	var list strings.Builder
	for _, name := range []string{"libpq-dev", "libssl-dev", "pkgconf", "g++", "exim4"} {
		list.WriteString("Package: " + name + "\nVersion: 1\nArchitecture: amd64\nFilename: f.deb\nSHA256: " + sum)
		if name == "exim4" {
			list.WriteString("\nProvides: mail-transport-agent, other (= 1)")
		}
		list.WriteString("\n\n")
	}
	x := testIndex(t, list.String())
	for name, want := range map[string]string{
		"pq": "libpq-dev", "libpq": "libpq-dev", "libsll-dev": "libssl-dev", "pkgconfig": "pkgconf",
		"mail-transport-agent": "exim4", "other": "exim4", "LIBSSL-dev": "libssl-dev", "entirely-unlike": "",
	} {
		if got := x.nearest(name); got != want {
			t.Errorf("nearest %s: %q, want %q", name, got, want)
		}
	}
}

func TestDistance(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"abc", "", 3}, {"", "ab", 2}, {"kitten", "sitting", 3}, {"gcc", "g++", 2}} {
		if got := distance(test.a, test.b); got != test.want {
			t.Errorf("%q %q: %d, want %d", test.a, test.b, got, test.want)
		}
	}
}

func TestNotFound(t *testing.T) {
	t.Parallel()
	missing := []string{"The repository 'file:/x nosuch Release' does not have a Release file."}
	for name, test := range map[string]struct {
		err  RunError
		want bool
	}{
		"404":      {RunError{Messages: missing, stdout: "Err:2 x\n  404  Not Found [IP: ::1]\n"}, true},
		"file":     {RunError{Messages: missing, stdout: "  File not found - /x/dists (2: No such file or directory)\n"}, true},
		"refusal":  {RunError{Messages: missing, stdout: "  403  Forbidden\n"}, false},
		"one file": {RunError{Messages: []string{"Failed to fetch x"}, stdout: "  404  Not Found\n"}, false},
	} {
		if got := test.err.notFound(); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestMessages(t *testing.T) {
	t.Parallel()
	got := messages([]byte("x\nThe following packages have unmet dependencies:\n a : Depends: b\n"),
		[]byte("N: note\nE: Failed to fetch https://me:secret@mirror.example/debian/x  404\n"))
	want := []string{"Failed to fetch https://***@mirror.example/debian/x  404", "a : Depends: b"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got := messages(bytes.Repeat([]byte("unmet dependencies:\n"), 50), nil); len(got) != maxMessages+1 {
		t.Errorf("%d messages", len(got))
	}
}

func TestOpenRefusesSuite(t *testing.T) {
	t.Parallel()
	for _, suite := range []string{"", "../x", "bookworm main", "bookworm-security", "Bookworm"} {
		if _, err := Open(t.Context(), t.TempDir(), suite, Mirrors{}); err == nil || !strings.Contains(err.Error(), "not the name") {
			t.Errorf("suite %q: %v", suite, err)
		}
	}
}

// oneDeb is [Debs] with one package.
type oneDeb []byte

func (d oneDeb) OpenDeb(context.Context, recipes.Deb) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(d)), nil
}

func TestStanzas(t *testing.T) {
	t.Parallel()
	r := &Resolver{index: testIndex(t, "Package: a\nVersion: 2\nArchitecture: all\nFilename: a.deb\nDepends: listed\nSHA256: "+sum)}
	debs := oneDeb(debtest.Deb(t, "Package: a\nVersion: 2\nArchitecture: all\nDepends: packed\n", ".xz"))
	deb := recipes.Deb{Name: "a", Version: "2", Arch: "all", SHA256: sum}
	rebuilt := deb
	rebuilt.SHA256 = strings.Repeat("00", 32)
	for _, test := range []struct {
		deb  recipes.Deb
		want string
	}{{deb, "listed"}, {rebuilt, "packed"}} {
		got, err := r.Stanzas(t.Context(), []recipes.Deb{test.deb}, debs)
		if err != nil {
			t.Fatal(err)
		}
		if got[0].Get("Depends") != test.want {
			t.Errorf("depends on %q, want %q", got[0].Get("Depends"), test.want)
		}
	}
	gone := recipes.Deb{Name: "b", Version: "1", Arch: "all"}
	if _, err := r.Stanzas(t.Context(), []recipes.Deb{gone}, debs); err == nil || !strings.Contains(err.Error(), "it is a 2 all") {
		t.Errorf("another package: %v", err)
	}
}

func TestHints(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		err  error
		want string
	}{
		{&UnknownError{Name: "x", Suite: "bookworm", Nearest: "y"}, "did you mean y?"},
		{&UnknownError{Name: "x", Suite: "bookworm"}, "may differ"},
		{&ChangeError{}, "--upgrade"},
		{&SuiteError{}, "suite"},
	} {
		var hint interface{ Hint() string }
		if !errors.As(test.err, &hint) || !strings.Contains(hint.Hint(), test.want) {
			t.Errorf("%T: no hint %q", test.err, test.want)
		}
	}
}
