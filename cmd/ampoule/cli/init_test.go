package cli

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"ampoule/builder/toolchain"
	"ampoule/recipes"
	"ampoule/recipes/suggest"
)

// What the default toolchain has needs no line in a recipe, in each suite.
func TestInitLeavesOutTheDefaultToolchain(t *testing.T) {
	t.Parallel()
	for _, suite := range []string{"bullseye", "bookworm", "trixie"} {
		dir := t.TempDir()
		installs := append(slices.Clone(toolchain.Packages(recipes.Python{Version: "3.13.5"}, suite)), "libxyz-dev")
		dockerfile := "FROM python:3.13-slim-" + suite + "\nRUN apt-get install " + strings.Join(installs, " ") + "\n"
		if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(dockerfile), 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := suggest.Recipe(dir, suggest.Options{})
		if err != nil {
			t.Fatal(err)
		}
		r, err := recipes.ParseRecipe("ampoule.yaml", s.Recipe)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(r.Toolchain.Packages, []string{"libxyz-dev"}) || len(r.Runtime.Libraries) > 0 || len(s.Left) > 0 {
			t.Errorf("%s:\n%s\n%v", suite, s.Recipe, s.Left)
		}
	}
}

// A file that is replaced is whole and readable by all, or what it was, and nothing else is left.
func TestReplaceFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "ampoule.lock")
	look := func(want string, mode os.FileMode) {
		t.Helper()
		info, err := os.Stat(path)
		if err != nil || info.Mode() != mode {
			t.Errorf("its mode is %v, want %v: %v", info.Mode(), mode, err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != want {
			t.Errorf("it holds %q, want %q: %v", got, want, err)
		}
		if all, err := os.ReadDir(dir); err != nil || len(all) != 1 {
			t.Errorf("the directory has %v: %v", all, err)
		}
	}
	if err := os.WriteFile(path, []byte("before"), 0o600); err != nil {
		t.Fatal(err)
	}
	broken := io.MultiReader(bytes.NewReader([]byte("half")), iotest.ErrReader(io.ErrUnexpectedEOF))
	if err := replaceBy(path, broken); err == nil {
		t.Error("a reader that breaks is no error")
	}
	look("before", 0o600)
	if err := replaceFile(path, []byte("after")); err != nil {
		t.Fatal(err)
	}
	look("after", 0o644)
	if err := os.Mkdir(filepath.Join(dir, "taken"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := replaceFile(filepath.Join(dir, "taken"), nil); err == nil {
		t.Error("a directory is replaced")
	}
	if err := os.Remove(filepath.Join(dir, "taken")); err != nil {
		t.Fatal(err)
	}
	look("after", 0o644)
}
