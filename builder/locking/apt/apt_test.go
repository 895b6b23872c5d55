package apt

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
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
		"no version":              "Package: a\nArchitecture: all\nFilename: a.deb\nSHA256: " + sum,
		"no hash":                 "Package: a\nVersion: 1\nArchitecture: all\nFilename: a.deb",
		"short hash":              "Package: a\nVersion: 1\nArchitecture: all\nFilename: a.deb\nSHA256: abcd",
		"capital hash":            "Package: a\nVersion: 1\nArchitecture: all\nFilename: a.deb\nSHA256: " + strings.ToUpper(sum),
		"leaving":                 "Package: a\nVersion: 1\nArchitecture: all\nFilename: ../a.deb\nSHA256: " + sum,
		"absolute file":           "Package: a\nVersion: 1\nArchitecture: all\nFilename: /a.deb\nSHA256: " + sum,
		"name as a path":          "Package: ../a\nVersion: 1\nArchitecture: all\nFilename: a.deb\nSHA256: " + sum,
		"name as an option":       "Package: -oDir=/\nVersion: 1\nArchitecture: all\nFilename: a.deb\nSHA256: " + sum,
		"name with a space":       "Package: a b\nVersion: 1\nArchitecture: all\nFilename: a.deb\nSHA256: " + sum,
		"name with control codes": "Package: a\x1b[2J\nVersion: 1\nArchitecture: all\nFilename: a.deb\nSHA256: " + sum,
		"endless name":            "Package: " + strings.Repeat("a", 1000) + "\nVersion: 1\nArchitecture: all\nFilename: a.deb\nSHA256: " + sum,
		"version as a path":       "Package: a\nVersion: 1/../../x\nArchitecture: all\nFilename: a.deb\nSHA256: " + sum,
		"architecture as a path":  "Package: a\nVersion: 1\nArchitecture: ../x\nFilename: a.deb\nSHA256: " + sum,
		"endless line":            "Package: a\nDescription: " + strings.Repeat("x", 2<<20),
		"endless stanza":          "Package: a\n" + strings.Repeat("X: "+strings.Repeat("x", 1000)+"\n", 5000),
		"too many stanzas":        strings.Repeat("Package: a\nVersion: 1\nArchitecture: all\nFilename: a.deb\nSHA256: "+sum+"\n\n", 500_001),
		"no file":                 "Package: a\nVersion: 1\nArchitecture: all\nSHA256: " + sum,
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
		"copied":   {RunError{Messages: missing, stdout: "  Failed to stat - stat (2: No such file or directory)\n"}, true},
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
		{&SuiteError{Suite: "bookworm-security", Part: "security"}, `without = ["security"]`},
		{&SuiteError{Suite: "bookworm-updates", Part: "updates"}, `without = ["updates"]`},
		{&RunError{Messages: []string{"x"}, stdout: "Err:1 x\n  302  Found [IP: ::1]\n"}, "redirects"},
		{&RunError{Messages: []string{"open (13: Permission denied)"}}, "readable"},
	} {
		var hint interface{ Hint() string }
		if !errors.As(test.err, &hint) || !strings.Contains(hint.Hint(), test.want) {
			t.Errorf("%T: no hint %q", test.err, test.want)
		}
	}
}

// scripted is a root whose apt-get is a script, run as whoever runs the test.
func scripted(t *testing.T, script string) root {
	t.Helper()
	setpriv, err := debian.Tool("setpriv", "util-linux")
	if err != nil {
		t.Fatal(err)
	}
	r := root{dir: t.TempDir(), as: user{setpriv: setpriv}}
	r.apt = r.path("apt-get")
	if err := r.makeDirs(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(r.apt, []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
	return r
}

// A lock is without a part of a suite only where the configuration says so.
func TestMissingParts(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		lacks    string
		mirrors  Mirrors
		want     string
		sources  int
		security bool
	}{
		"all are there":              {"none", Mirrors{Archive: []string{"http://a.example"}, Security: []string{"http://s.example"}}, "", 3, true},
		"no security":                {"security", Mirrors{Archive: []string{"http://a.example"}, Security: []string{"http://s.example"}}, "bookworm-security", 0, false},
		"no mirror of it":            {"none", Mirrors{Archive: []string{"http://a.example"}}, "bookworm-security", 0, false},
		"no updates":                 {"updates", Mirrors{Archive: []string{"http://a.example"}, Security: []string{"http://s.example"}}, "bookworm-updates", 0, false},
		"no security, as it is said": {"security", Mirrors{Archive: []string{"http://a.example"}, Without: []string{"security"}}, "", 2, false},
		"no updates, as it is said":  {"updates", Mirrors{Archive: []string{"http://a.example"}, Security: []string{"http://s.example"}, Without: []string{"updates"}}, "", 2, true},
	} {
		r := scripted(t, `if grep -q -- "-`+test.lacks+` main" etc/sources.list; then
	echo "Err:1 x"; echo "  404  Not Found"; echo "E: The repository 'x' does not have a Release file." >&2; exit 100
fi
`)
		err := r.update(t.Context(), "bookworm", test.mirrors)
		var missing *SuiteError
		if errors.As(err, &missing) != (test.want != "") || missing != nil && missing.Suite != test.want {
			t.Errorf("%s: %v", name, err)
		}
		if test.want != "" {
			if missing != nil && !strings.Contains(missing.Hint(), "without") {
				t.Errorf("%s: the hint is %q", name, missing.Hint())
			}
			continue
		}
		data, err := os.ReadFile(r.path("etc/sources.list"))
		if n := strings.Count(string(data), "deb ["); err != nil || n != test.sources || strings.Contains(string(data), "s.example") != test.security {
			t.Errorf("%s: sources are %q, %v", name, data, err)
		}
	}
}

// What apt-get prints is bounded, and so is what it gets of the environment.
func TestCommandIsBounded(t *testing.T) {
	r := scripted(t, "exec yes")
	if _, err := r.run(t.Context()); err == nil || !strings.Contains(err.Error(), "bytes of output") {
		t.Errorf("endless output: %v", err)
	}
	r = scripted(t, "env")
	t.Setenv("AMPOULE_SECRET", "x")
	r.network.Proxies = []string{"https_proxy=http://me:secret@proxy.example"}
	for _, network := range []bool{false, true} {
		out, err := r.apply(t.Context(), network)
		if text := string(out); err != nil || strings.Contains(text, "AMPOULE_SECRET") || strings.Contains(text, "proxy") != network {
			t.Errorf("network %t: %q, %v", network, text, err)
		}
	}
}

// No default of apt's, of whichever version, decides what is trusted.
func TestConfigTrustsNothing(t *testing.T) {
	t.Parallel()
	config := root{dir: "/r"}.config()
	for _, want := range []string{
		`APT::Get::AllowUnauthenticated "false";`, `Acquire::AllowInsecureRepositories "false";`, `Acquire::AllowWeakRepositories "false";`,
		`Acquire::AllowDowngradeToInsecureRepositories "false";`, `Acquire::http::AllowRedirect "false";`, `Acquire::https::AllowRedirect "false";`,
		`Acquire::EnableSrvRecords "false";`, `Acquire::Check-Date "true";`, `Acquire::MaxReleaseFileSize "10000000";`, `Acquire::https::Verify-Peer "true";`,
	} {
		if !strings.Contains(config, want) {
			t.Errorf("the configuration does not have %s", want)
		}
	}
	if strings.Contains(config, "APT::Sandbox::User") {
		t.Error("apt is told who its methods run as: all of it is to be nobody")
	}
}
