package ci

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// markers are what each system takes for its own in a log: GitLab as its converter of logs
// scans for it, Buildkite as its agent does.
var markers = map[string]*regexp.Regexp{
	"gitlab":    regexp.MustCompile(`section_(?:start|end):\d+:[A-Za-z0-9_.-]+`),
	"buildkite": regexp.MustCompile("(?m)^(?:---|\\+\\+\\+|~~~)\\s.*$|^\\^\\^\\^\\s+\\+\\+\\+|\x1b]133[789];|\x1b_bk;"),
	"jenkins":   regexp.MustCompile("\x1b\\[8mha:"),
}

// What programs print is no marker of any system, in pieces of any size, and those of the
// log itself stay.
func TestForeignTextOnOtherSystems(t *testing.T) {
	t.Parallel()
	foreign := "\x1b[0Ksection_start:1:evil\r\x1b[0Kx\nsection_end:1:ampoule_1\r\n--- evil\n+++ evil\r--- evil\n~~~ evil\n^^^ +++\n" +
		"\x1b]1338;url='http://x';\x07\x1b]1339;url=x\x07\x1b]1337;File=x\x07\x1b_bk;t=1\x07\x1b[8mha:AAAA\x1b[0m"
	for name, marker := range markers {
		for _, size := range []int{1, 3, len(foreign)} {
			s, err := Open(name, Place{})
			if err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			l := NewLog(&out, s, nil, func() time.Time { return at })
			l.Begin("tests\n--- evil")
			own := len(marker.FindAllString(out.String(), -1))
			for rest := foreign; rest != ""; rest = rest[min(size, len(rest)):] {
				l.Write([]byte(rest[:min(size, len(rest))]))
			}
			before := out.Len()
			l.Write([]byte("\nplain"))
			if found := marker.FindAllString(out.String(), -1); len(found) != own {
				t.Errorf("%s, pieces of %d: %q", name, size, found)
			}
			if err := l.Close(); err != nil || before == 0 || !strings.Contains(out.String(), "plain") {
				t.Errorf("%s: %v\n%s", name, err, &out)
			}
		}
	}
}

func TestParts(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"gitlab":    "\x1b[0Ksection_start:1700000000:ampoule_1[collapsed=false]\r\x1b[0Kone\n\x1b[0Ksection_end:1700000000:ampoule_1\r\x1b[0K\n\x1b[0Ksection_start:1700000000:ampoule_2[collapsed=false]\r\x1b[0Ktwo\n\x1b[0Ksection_end:1700000000:ampoule_2\r\x1b[0K\n",
		"buildkite": "--- one\n--- two\n",
		"jenkins":   "== one\n== two\n",
		"shell":     "== one\n== two\n",
	} {
		s, err := Open(name, Place{})
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		l := NewLog(&out, s, nil, func() time.Time { return at })
		l.Begin("one")
		l.Begin("two")
		l.End()
		l.Annotate(Annotation{Level: Failure, Message: "x"})
		l.Close()
		if out.String() != want {
			t.Errorf("%s: %q", name, &out)
		}
	}
}

func TestExportOnOtherSystems(t *testing.T) {
	t.Parallel()
	values := []Value{{"digest", "sha256:0\nx"}, {"key", "sha256:1"}}
	for name, variable := range map[string]string{"gitlab": "CI_PROJECT_DIR", "jenkins": "WORKSPACE"} {
		dir := t.TempDir()
		file := filepath.Join(dir, "ampoule.env")
		for _, place := range []Place{{Environ: []string{variable + "=" + dir}}, {}} {
			s, err := Open(name, place)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Export(context.Background(), values); err != nil {
				t.Error(err)
			}
		}
		if got, err := os.ReadFile(file); err != nil || string(got) != "AMPOULE_DIGEST=sha256:0 x\n" {
			t.Errorf("%s: %q, %v", name, got, err)
		}
		s, _ := Open(name, Place{Environ: []string{variable + "=" + file}})
		if err := s.Export(context.Background(), values); err == nil {
			t.Errorf("%s: a file that cannot be written is no error", name)
		}
	}
	var calls []string
	away := errors.New("no agent")
	var err error
	b := newBuildkite(Place{Run: func(_ context.Context, input, program string, args ...string) error {
		calls = append(calls, program+" "+strings.Join(args, " ")+" < "+input)
		return err
	}})
	if err := errors.Join(b.Export(context.Background(), values), b.Summarize(context.Background(), "# x")); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"buildkite-agent meta-data set ampoule-digest < sha256:0 x", "buildkite-agent meta-data set ampoule-key < sha256:1",
		"buildkite-agent annotate --context ampoule --append < # x",
	}
	if diff := cmp.Diff(want, calls); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	err = away
	if !errors.Is(b.Export(context.Background(), values), away) || !errors.Is(b.Summarize(context.Background(), "x"), away) {
		t.Error("an agent that fails is no error")
	}
}
