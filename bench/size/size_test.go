package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestSize measures a small repository as a work tree and as its commit, which has one file
// less.
func TestSize(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	for name, text := range map[string]string{
		"a/a.go":          "package a\n\nfunc one() {}\n\nfunc Three() {\n\tone()\n}\n",
		"b/b.go":          "package b\n\ntype OneError struct{}\n\nfunc (*OneError) Error() string { return \"\" }\n\ntype hidden struct{}\n\nfunc (hidden) Error() string { return \"\" }\n\nfunc (hidden) Is(error) bool {\n\treturn false\n}\n",
		"b/b_test.go":     "package b\n\nfunc twenty() {\n" + strings.Repeat("\n", 20) + "}\n",
		"a/testdata/x.go": "no Go",
		"README.md":       "text\n",
	} {
		put(t, name, text)
	}
	for _, args := range [][]string{{"init", "-q"}, {"add", "."}, {"-c", "user.name=x", "-c", "user.email=x@example.com", "commit", "-q", "-m", "all"}} {
		if out, err := exec.CommandContext(t.Context(), "git", args...).CombinedOutput(); err != nil {
			t.Fatalf("git %q: %v\n%s", args, err, out)
		}
	}
	put(t, "new.txt", "not added yet")
	want := figures{Files: 5, Packages: 2, Lines: 20, Largest: "b 13", Functions: 5, Median: 1, P90: 3, Max: 3, Longest: "b/b.go Is", Errors: 1}
	for what, files := range map[string]int{".": 6, "HEAD": 5} {
		got, err := sizeOf(t.Context(), what)
		want.Files = files
		// Lines of equal length are in the order of the files, which git sorts.
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", what, err, diff)
		}
	}
	if _, err := sizeOf(t.Context(), "no-such-commit"); err == nil {
		t.Error("what is not there has a size")
	}
	var out strings.Builder
	if err := run(t.Context(), []string{"HEAD", "."}, &out); err != nil || !strings.Contains(out.String(), "HEAD") || strings.Count(out.String(), "\n") != 10 {
		t.Errorf("%v:\n%s", err, out.String())
	}
}

func put(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
