package ci

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ampoule/faults"
)

const digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func TestTested(t *testing.T) {
	t.Parallel()
	passed := Record{Schema: RecordSchema, Name: "web", Digest: digest, Passed: true, Runs: []Ran{{Command: []string{"x"}}}}
	failed, none, other := passed, passed, passed
	failed.Runs = []Ran{{Command: []string{"x"}, Code: 1}}
	none.Runs = nil
	other.Schema = "ampoule.verdict/v1"
	for name, c := range map[string]struct {
		digest string
		file   []byte
		want   string
		kind   faults.Kind
	}{
		"nothing":           {},
		"a digest":          {digest: digest, want: digest},
		"a reference":       {digest: "web@" + digest, want: digest},
		"no digest":         {digest: "web:latest", kind: faults.Usage},
		"a record":          {file: passed.Encode(), want: digest},
		"of failed tests":   {file: failed.Encode(), kind: faults.Refused},
		"of no tests":       {file: none.Encode(), kind: faults.Refused},
		"of another schema": {file: other.Encode(), kind: faults.Input},
		"no JSON":           {file: []byte("{"), kind: faults.Input},
	} {
		file := ""
		if c.file != nil {
			file = filepath.Join(t.TempDir(), "record.json")
			if err := os.WriteFile(file, c.file, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		got, err := Tested(c.digest, file)
		if got != c.want || (err != nil) != (c.kind != faults.Unknown) || err != nil && faults.Of(err) != c.kind {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

func TestMarkdownHasNoForeignMarkup(t *testing.T) {
	t.Parallel()
	r := Record{Name: "web", Digest: digest, Runs: []Ran{{Command: []string{"x|y", "`![a](http://x)", "<img src=x>", "@team\n# h"}, Code: 2}}}
	text := r.Markdown()
	for _, bad := range []string{"x|y", "`!", "![a]", "<img", "@team", "\n# h", "http://"} {
		if strings.Contains(text, bad) {
			t.Errorf("%q is in:\n%s", bad, text)
		}
	}
	if !strings.Contains(text, "| failed: 2 | <code>") || !strings.HasPrefix(text, "### failed: ") {
		t.Errorf("%s", text)
	}
}

func TestReadReports(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	since := time.Now()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("good.xml", `<?xml version="1.0"?><testsuites><testsuite><testcase name="a"/><testcase name="b"><failure message="x">failure</failure></testcase>`+
		`<testcase name="c"><error/></testcase><testcase><skipped/></testcase><system-out><failure/></system-out></testsuite></testsuites>`+"\n")
	write("html.xml", "<html></html>")
	write("cut.xml", "<testsuite><testcase>")
	write("empty.xml", "")
	write("old.xml", "<testsuite/>")
	if err := os.Chtimes(filepath.Join(dir, "old.xml"), since, since.Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "out.xml")); err != nil {
		t.Fatal(err)
	}
	got, err := ReadReports(dir, []string{"./good.xml"}, since)
	if err != nil {
		t.Fatal(err)
	}
	got[0].SHA256 = strings.Repeat("x", len(got[0].SHA256)-60)
	if diff := cmp.Diff([]Report{{"good.xml", "xxxx", 4, 1, 1, 1}}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for file, want := range map[string]string{
		"none.xml": "no such file", "html.xml": `its root is "html"`, "cut.xml": "unexpected EOF", "empty.xml": "it is empty", "old.xml": "it is older than this run",
		"out.xml": "escapes", "../x": "escapes", ".": "it is no file",
	} {
		_, err := ReadReports(dir, []string{file, "good.xml"}, since)
		if faults.Of(err) != faults.Input || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", file, err)
		}
	}
}

func TestReadRecordMissing(t *testing.T) {
	t.Parallel()
	if _, err := ReadRecord(filepath.Join(t.TempDir(), "tested.json")); faults.Of(err) != faults.Input || !strings.Contains(strings.Join(faults.Hints(err), ""), "ampoule ci run --record") {
		t.Errorf("%v", err)
	}
}
