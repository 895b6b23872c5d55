package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Every row of the table of faults names the test that does it.
func TestFaultsHaveTests(t *testing.T) {
	t.Parallel()
	root := filepath.Join("..", "..")
	text, err := os.ReadFile(filepath.Join(root, "docs", "faults.md"))
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("`([a-z/]+)` (Test[A-Za-z]+(?:, Test[A-Za-z]+)*)")
	rows := 0
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| what happens") {
			continue
		}
		rows++
		cells := strings.Split(strings.Trim(line, "| "), " | ")
		found := named.FindAllStringSubmatch(cells[len(cells)-1], -1)
		if found == nil {
			t.Errorf("no test is named: %s", line)
		}
		for _, m := range found {
			for name := range strings.SplitSeq(m[2], ", ") {
				if !hasTest(t, filepath.Join(root, filepath.FromSlash(m[1])), name) {
					t.Errorf("%s has no %s", m[1], name)
				}
			}
		}
	}
	if rows < 40 {
		t.Errorf("%d rows", rows)
	}
}

// Whatever docs/security.md says was tried has a test that exists, somewhere.
func TestTriesHaveTests(t *testing.T) {
	t.Parallel()
	root := filepath.Join("..", "..")
	text, err := os.ReadFile(filepath.Join(root, "docs", "security.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, tried, found := strings.Cut(string(text), "\n## Tried against it\n")
	if !found {
		t.Fatal("docs/security.md tells of no tries")
	}
	tests := allTests(t, root)
	for _, name := range regexp.MustCompile(`\b(?:Test|Fuzz)[A-Z]\w+`).FindAllString(tried, -1) {
		if !tests[name] {
			t.Errorf("there is no %s", name)
		}
	}
	if rows := strings.Count(tried, "\n| ") - 2*strings.Count(tried, "\n| tried"); rows < 100 {
		t.Errorf("%d tries", rows)
	}
}

// allTests are the names of all tests and fuzzers.
func allTests(t *testing.T, root string) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	declared := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range declared.FindAllSubmatch(text, -1) {
			names[string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func hasTest(t *testing.T, dir, name string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), "\nfunc "+name+"(") {
			return true
		}
	}
	return false
}
