//go:build docker

package apt

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/builder/toolchain/debian"
	"ampoule/recipes"
)

// archive is a flat repository of made-up packages; apt reads no package to resolve.
var archive = []string{
	"libc6 2", "base-files 1\nEssential: yes\nDepends: libc6", "usr-is-merged 1", "apt 1",
	"libx 2", "libx-dev 2\nDepends: libx (= 2), libc6\nRecommends: extra", "extra 1", "lonely 1\nDepends: libc6",
	"rival 1\nConflicts: lonely", "broken 1\nDepends: nothing-has-this",
}

// open makes a resolver over the archive, by this machine's apt-get.
func open(t *testing.T) *Resolver {
	t.Helper()
	repository := t.TempDir()
	var list strings.Builder
	for _, p := range archive {
		name, rest, _ := strings.Cut(p, " ")
		fmt.Fprintf(&list, "Package: %s\nVersion: %s\nArchitecture: amd64\nMaintainer: x\nDescription: x\nFilename: pool/%s.deb\nSize: 1\nSHA256: %s\n\n", name, rest, name, sum)
	}
	if err := os.WriteFile(filepath.Join(repository, "Packages"), []byte(list.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	root, err := newRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := root.setSources([]string{"deb [trusted=yes] file:" + repository + " ./"}); err != nil {
		t.Fatal(err)
	}
	if _, err := root.run(t.Context(), "update"); err != nil {
		t.Fatal(err)
	}
	x, err := root.index(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return &Resolver{root: root, suite: "made-up", index: x}
}

func names(debs []recipes.Deb) []string {
	var out []string
	for _, d := range debs {
		out = append(out, d.Name)
	}
	return out
}

func installed(lines ...string) []debian.Stanza {
	var out []debian.Stanza
	for _, line := range lines {
		name, version, _ := strings.Cut(line, " ")
		out = append(out, debian.Stanza{
			{Name: "Package", Value: name}, {Name: "Version", Value: version}, {Name: "Architecture", Value: "amd64"},
			{Name: "Maintainer", Value: "x"}, {Name: "Description", Value: "x"},
		})
	}
	return out
}

func TestResolve(t *testing.T) {
	t.Parallel()
	r := open(t)
	for _, test := range []struct {
		name      string
		installed []debian.Stanza
		want      []string
		added     []string
	}{
		{"nothing installed", nil, nil, []string{"base-files", "libc6", "usr-is-merged"}},
		{"wanted beside essential", nil, []string{"libx-dev"}, []string{"base-files", "libc6", "libx", "libx-dev", "usr-is-merged"}},
		{"on what is installed", installed("libc6 2"), []string{"libx-dev"}, []string{"libx", "libx-dev"}},
		{"installed in an older version", installed("libc6 2", "libx 1"), []string{"libx"}, nil},
		{"older dependency is enough", installed("libc6 1"), []string{"lonely"}, []string{"lonely"}},
	} {
		got, err := r.Resolve(t.Context(), test.installed, test.want)
		if err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		if diff := cmp.Diff(test.added, names(got)); diff != "" {
			t.Errorf("%s: %s", test.name, diff)
		}
	}
}

func TestResolveRefuses(t *testing.T) {
	t.Parallel()
	r := open(t)
	var unknown *UnknownError
	if _, err := r.Resolve(t.Context(), nil, []string{"libx-dve"}); !errors.As(err, &unknown) || unknown.Nearest != "libx-dev" {
		t.Errorf("unknown package: %v", err)
	}
	var change *ChangeError
	_, err := r.Resolve(t.Context(), installed("libc6 2", "libx 1"), []string{"libx-dev"})
	if !errors.As(err, &change) {
		t.Fatalf("upgrade: %v", err)
	}
	if diff := cmp.Diff([]string{"libx 1 → 2"}, change.Changes); diff != "" {
		t.Error(diff)
	}
	if _, err := r.Resolve(t.Context(), installed("libc6 2", "lonely 1"), []string{"rival"}); !errors.As(err, &change) {
		t.Errorf("removal: %v", err)
	}
	var run *RunError
	if _, err := r.Resolve(t.Context(), nil, []string{"broken"}); !errors.As(err, &run) || !strings.Contains(err.Error(), "nothing-has-this") {
		t.Errorf("unmet dependency: %v", err)
	}
}

func TestHostConfigurationStaysOut(t *testing.T) {
	t.Parallel()
	r := open(t)
	out, err := r.root.run(t.Context(), "indextargets", "--format", "$(SOURCESENTRY)")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		if !strings.HasPrefix(line, r.root.dir) {
			t.Errorf("a source from elsewhere: %s", line)
		}
	}
}

func TestMissingSuite(t *testing.T) {
	t.Parallel()
	root, err := newRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	_, err = root.updateOne(t.Context(), "nosuch", []string{"file:" + t.TempDir()})
	var missing *SuiteError
	if !errors.As(err, &missing) {
		t.Errorf("a mirror without the suite: %v", err)
	}
}
