package ci

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ampoule/faults"
)

func TestOpen(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		environ []string
		want    string
	}{
		{"", nil, "shell"},
		{"", []string{"GITHUB_ACTIONS=true"}, "github"},
		{"", []string{"GITHUB_ACTIONS=true", "GITHUB_ACTIONS=false"}, "shell"},
		{"shell", []string{"GITHUB_ACTIONS=true"}, "shell"},
		{"", []string{"GITLAB_CI=true", "CI=true"}, "gitlab"},
		{"", []string{"BUILDKITE=true"}, "buildkite"},
		{"", []string{"JENKINS_URL=http://jenkins.example/"}, "jenkins"},
	} {
		got, err := Open(c.name, Place{Environ: c.environ})
		if err != nil || got.Name() != c.want {
			t.Errorf("%q in %q: %v, %v", c.name, c.environ, got, err)
		}
	}
	if _, err := Open("travis", Place{}); faults.Of(err) != faults.Usage {
		t.Errorf("an unknown system: %v", err)
	}
}

// obeyed lists the commands that GitHub's runner obeys in a log, as actions/runner does:
// lines end at "\r" and "\n", white space before "::" counts for nothing, "##[" begins a
// command anywhere, and stopped commands wait for the token.
func obeyed(log string) []string {
	var commands []string
	token := ""
	for _, line := range strings.FieldsFunc(log, func(r rune) bool { return r == '\n' || r == '\r' }) {
		line = strings.TrimSpace(line)
		at := strings.Index(line, "##[")
		switch {
		case token != "" && line == "::"+token+"::":
			token = ""
		case token != "" || !strings.HasPrefix(line, "::") && at < 0:
		case strings.HasPrefix(line, "::stop-commands::"):
			token = strings.TrimPrefix(line, "::stop-commands::")
		default:
			commands = append(commands, line)
		}
	}
	if token != "" {
		commands = append(commands, "and all that follows is ignored")
	}
	return commands
}

var at = time.Unix(1_700_000_000, 0)

func TestForeignTextOnGitHub(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	l := NewLog(&out, newGitHub(Place{}), nil, func() time.Time { return at })
	l.Begin("python3 -m pytest\n::set-env name=A::b")
	first := out.String()
	// It may have read the log so far.
	_, old, _ := strings.Cut(first, "::stop-commands::")
	old, _, _ = strings.Cut(old, "\n")
	for _, piece := range []string{
		"::error::x\n", "  ::add-mask::e\n", "\r::set-output name=digest::sha256:bad\r", "#", "#", "[error]x\n",
		"::" + old + "::\n::warning::after a token of before\n", "::stop-commands::x\n::x::\n::error::y\n", "no end of the line",
	} {
		if _, err := l.Write([]byte(piece)); err != nil {
			t.Fatal(err)
		}
	}
	l.Annotate(Annotation{Level: Failure, File: "a,b:c.py", Line: 3, Column: 4, Message: "100%\n::error::z"})
	l.End()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"::group::python3 -m pytest ::set-env name=A::b",
		"::error file=a%2Cb%3Ac.py,line=3,col=4::100%25%0A::error::z",
		"::endgroup::",
	}
	if diff := cmp.Diff(want, obeyed(out.String())); diff != "" {
		t.Errorf("commands that are obeyed (-want +got):\n%s\n%s", diff, &out)
	}
	if !strings.Contains(out.String(), "no end of the line\n::ampoule-") || strings.Contains(out.String(), "##[") {
		t.Errorf("%s", &out)
	}
}

// The filter replaces what comes in pieces of any size.
func TestFilter(t *testing.T) {
	t.Parallel()
	rules := []Replacement{{From: "secret", To: "*"}, {From: "secret-long", To: "+"}, {From: "::", To: ": :"}, {From: "--- ", To: " --- ", AtLineStart: true}}
	for text, want := range map[string]string{
		"":                         "",
		"a secret":                 "a *",
		"secret-long secret-lo":    "+ *-lo",
		"sesecret secre":           "se* secre",
		":::":                      ": ::",
		"--- a\n--- b --- \r--- c": " --- a\n --- b --- \r --- c",
		"secretsecret-long":        "*+",
	} {
		for size := 1; size <= len(text)+1; size++ {
			var out strings.Builder
			f := newFilter(&out, rules)
			for piece := range slices.Chunk([]byte(text), size) {
				if n, err := f.Write(piece); n != len(piece) || err != nil {
					t.Fatal(n, err)
				}
			}
			if err := f.flush(); err != nil || out.String() != want {
				t.Errorf("%q in pieces of %d: %q, want %q", text, size, &out, want)
			}
		}
	}
}

func TestSecrets(t *testing.T) {
	t.Parallel()
	environ := []string{
		"API_TOKEN=hunter22", "DEPLOY_KEY=-----BEGIN-----\nline of it\n", "SHORT_TOKEN=abc", "TOKEN_FILE=/run/secret",
		"DATABASE_URL=postgres://me:correcthorse@db/x", "MONKEY=business", "HOME=/home/someone", "A_PASSWORD=hunter22",
	}
	want := []string{"-----BEGIN-----", "correcthorse", "hunter22", "line of it"}
	if diff := cmp.Diff(want, Secrets(environ)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	var out, beside bytes.Buffer
	l := NewLog(&out, newGitHub(Place{}), Secrets(environ), func() time.Time { return at })
	l.Begin("run --token hunter22")
	for _, piece := range []string{"hunt", "er22\n", "-----BEGIN-----\nline of it\n", "postgres://me:correcthorse@db\n"} {
		l.Write([]byte(piece))
	}
	l.Annotate(Annotation{Level: Failure, Message: "hunter22"})
	l.Close()
	b := l.Beside(&beside)
	b.Write([]byte("hunter"))
	b.Write([]byte("22"))
	b.Close()
	for _, secret := range want {
		if strings.Contains(out.String()+beside.String(), secret) {
			t.Errorf("%q is shown:\n%s\n%s", secret, &out, &beside)
		}
	}
	if beside.String() != "***" {
		t.Errorf("beside: %q", &beside)
	}
}

func TestGitHubFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	output, summary := filepath.Join(dir, "output"), filepath.Join(dir, "summary")
	if err := os.WriteFile(output, []byte("before=1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	g := newGitHub(Place{Environ: []string{"GITHUB_OUTPUT=" + output, "GITHUB_STEP_SUMMARY=" + summary}})
	values := []Value{{"digest", "sha256:0"}, {"ref", "a\nevil=1"}}
	if err := g.Export(context.Background(), values); err != nil {
		t.Fatal(err)
	}
	if err := g.Summarize(context.Background(), "# x\n"); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{output: "before=1\ndigest=sha256:0\nref=a evil=1\n", summary: "# x\n"} {
		if got, err := os.ReadFile(file); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", file, got, err)
		}
	}
	if err := newGitHub(Place{Environ: []string{"GITHUB_OUTPUT=" + dir}}).Export(context.Background(), values); err == nil {
		t.Error("an output that cannot be written is no error")
	}
	if err := newGitHub(Place{}).Export(context.Background(), values); err != nil {
		t.Errorf("no output: %v", err)
	}
}

func TestMountOf(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ workspace, at, want string }{
		{"/checkout/x", "", "/checkout/x:/checkout/x"},
		{"/checkout/x/../y", "/srv/", "/checkout/y:/srv"},
		{"/", "", ""}, {"/usr/src/app", "", ""}, {"/opt", "", ""}, {"/opt/ampoule/x", "", ""}, {"/x", "srv", ""}, {"/x:y", "", ""},
		{"/usr/src/app", "/src", "/usr/src/app:/src"}, {"/opt/ampoules", "", "/opt/ampoules:/opt/ampoules"},
	} {
		m, err := MountOf(c.workspace, c.at)
		if c.want == "" && (faults.Of(err) != faults.Usage || len(faults.Hints(err)) != 1) || c.want != "" && (err != nil || m.Bind() != c.want) {
			t.Errorf("%s at %q: %v, %v", c.workspace, c.at, m, err)
		}
	}
	m := Mount{"/checkout/x", "/srv"}
	for dir, want := range map[string]string{"/checkout/x": "/srv", "/checkout/x/a/b": "/srv/a/b", "/checkout/xy": "/srv", "/": "/srv"} {
		if got, err := m.Inside(dir); err != nil || got != want {
			t.Errorf("%s is %s, %v", dir, got, err)
		}
	}
}

// What programs do to a copy stays there, but for the reports; links are copied as links.
func TestCopy(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "src"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "src", "run.sh"), []byte("x"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/nowhere", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	m, remove, err := Mount{dir, "/srv"}.Copy()
	if err != nil || m.Source == dir || m.Target != "/srv" {
		t.Fatal(m, err)
	}
	info, err := os.Stat(filepath.Join(m.Source, "src", "run.sh"))
	if err != nil || info.Mode().Perm()&0o100 == 0 {
		t.Errorf("%v, %v", info, err)
	}
	if link, err := os.Readlink(filepath.Join(m.Source, "link")); err != nil || link != "/nowhere" {
		t.Errorf("link to %q, %v", link, err)
	}
	for _, name := range []string{"out/report.xml", "made"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(m.Source, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(m.Source, name), []byte("<testsuite/>"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := TakeReports(m.Source, dir, []Report{{File: "out/report.xml"}}); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "out", "report.xml")); err != nil || string(got) != "<testsuite/>" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "made")); err == nil {
		t.Error("the checkout was changed")
	}
	if err := TakeReports(m.Source, dir, []Report{{File: "link"}}); err == nil {
		t.Error("a report is a link out of the workspace")
	}
	if err := remove(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(m.Source); err == nil {
		t.Error("the copy stays")
	}
}
