package trials

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/bench/internal/recorded"
)

func TestReadConformance(t *testing.T) {
	t.Parallel()
	got, err := readConformance([]byte(`<testsuites><testsuite><testcase name="b" status="passed"/><testcase name="c" status="skipped"/></testsuite>` +
		`<testsuite><testcase name="a" status="failure"/><testcase name="d" status="error"/></testsuite></testsuites>`))
	want := recorded.Conformance{Passed: 1, Failed: 2, Skipped: 1, Left: []string{"c", "failed: a", "failed: d"}}
	if err != nil || !cmp.Equal(want, got) {
		t.Errorf("%v, %s", err, cmp.Diff(want, got))
	}
	for _, wrong := range []string{"", "<testsuites/>", `<testsuites><testsuite><testcase name="c" status="skipped"/></testsuite></testsuites>`} {
		if got, err := readConformance([]byte(wrong)); err == nil {
			t.Errorf("%q is read as %+v", wrong, got)
		}
	}
}

// TestSeed compares what a repository is filled with to the names of its content.
func TestSeed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := seed(dir, 3); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(filepath.Join(dir, "index.json"))
	if err != nil {
		t.Fatal(err)
	}
	var list struct{ Manifests []entry }
	if err := json.Unmarshal(raw, &list); err != nil || len(list.Manifests) != 3 {
		t.Fatalf("%s, %v", raw, err)
	}
	for _, e := range list.Manifests {
		content, err := os.ReadFile(filepath.Join(dir, "blobs", "sha256", e.Digest[len("sha256:"):]))
		if err != nil || "sha256:"+sumOf(content) != e.Digest || len(content) != e.Size {
			t.Errorf("%s: %d bytes, %v", e.Digest, len(content), err)
		}
	}
}
