package index

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"ampoule/bench/internal/drive"
	"ampoule/bench/internal/index/indextest"
)

// python is a program that answers as an interpreter with pip does.
func python(t *testing.T, settings, builtin string) drive.Program {
	t.Helper()
	script := "#!/bin/sh\ncase \"$*\" in\n'-m pip config list') cat <<'EOF'\n" + settings + "\nEOF\n;;\n-c*) echo '" + builtin + "' ;;\n*) exit 9 ;;\nesac\n"
	path := filepath.Join(t.TempDir(), "python")
	if err := os.WriteFile(path, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	// Started through the shell, no other test's fork can hold the script open for writing.
	return drive.Program{Path: "sh", Args: []string{path}}
}

func TestFind(t *testing.T) {
	t.Parallel()
	const builtin = "https://builtin.example/simple"
	for settings, want := range map[string]string{
		"global.cert='/a.pem'":                        builtin,
		"global.index-url='https://one.example/root'": "https://one.example/root",
		":env:.index-url='https://two.example/'\nglobal.index-url='https://one.example/'": "https://two.example/",
		"global.extra-index-url='https://more.example/'":                                  builtin,
	} {
		x, err := Find(t.Context(), python(t, settings, builtin))
		if err != nil || x.root.String() != want {
			t.Errorf("%s: %v, %v; want %s", settings, x, err, want)
		}
	}
	if _, err := Find(t.Context(), python(t, "", "http://user:secret%@index.example")); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("an address that is none: %v", err)
	}
}

// serving is an index with pages.
func serving(t *testing.T, pages map[string]string) *Index {
	t.Helper()
	server := indextest.Serve(t, pages)
	x, err := Find(t.Context(), python(t, "global.index-url='"+server.URL+"/simple/'", ""))
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func TestFiles(t *testing.T) {
	t.Parallel()
	x := serving(t, map[string]string{
		"/simple/my-shop/": `{"files": [
			{"filename": "my_shop-1.0.tar.gz", "url": "../../files/1.0", "requires-python": ">=3.9", "yanked": false},
			{"filename": "my_shop-1.1.tar.gz", "url": "https://files.example/1.1", "yanked": "it was broken"}, {"filename": "my_shop-1.2.tar.gz", "url": "/1.2", "yanked": true}]}`,
		"/files/1.0":     indextest.Sdist(t, "my_shop-1.0/pyproject.toml", "[build-system]\nrequires = ['flit_core']\n"),
		"/simple/html/":  "<a>",
		"/simple/down/":  "",
		"/simple/wrong/": `{"files": [`,
	})
	files, err := x.Files(t.Context(), "My.Shop")
	if err != nil {
		t.Fatal(err)
	}
	want := []File{{Name: "my_shop-1.0.tar.gz", RequiresPython: ">=3.9"}, {Name: "my_shop-1.1.tar.gz", Yanked: true}, {Name: "my_shop-1.2.tar.gz", Yanked: true}}
	if diff := cmp.Diff(want, files, cmpopts.IgnoreUnexported(File{})); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	requires, err := x.BuildRequires(t.Context(), files[0])
	if diff := cmp.Diff([]string{"flit_core"}, requires); diff != "" || err != nil {
		t.Errorf("%v, requires (-want +got):\n%s", err, diff)
	}
	if _, err := x.BuildRequires(t.Context(), File{Name: "gone-1.tar.gz", url: x.root.JoinPath("gone")}); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("an sdist that is gone: %v", err)
	}
	if files, err := x.Files(t.Context(), "nowhere"); err != nil || len(files) > 0 {
		t.Errorf("a project that is not there: %v, %v", files, err)
	}
	for project, want := range map[string]string{"html": "not with JSON", "down": "502", "wrong": "unexpected EOF"} {
		if _, err := x.Files(t.Context(), project); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", project, err, want)
		}
	}
}

func TestBuildRequires(t *testing.T) {
	t.Parallel()
	const top, inner = "a-1/pyproject.toml", "a-1/vendored/pyproject.toml"
	for name, c := range map[string]struct {
		files []string
		want  []string
		wrong string
	}{
		"declared":      {files: []string{inner, "[build-system]\nrequires = ['x']\n", top, "[build-system]\nrequires = ['cython<3', 'numpy']\n"}, want: []string{"cython<3", "numpy"}},
		"a dot":         {files: []string{"./" + top, "[build-system]\nrequires = []\n"}, want: []string{}},
		"no such file":  {files: []string{"a-1/setup.py", ""}, want: legacy},
		"no such table": {files: []string{top, "[project]\nname = 'a'\n"}, want: legacy},
		"no requires":   {files: []string{top, "[build-system]\nbuild-backend = 'a'\n"}, wrong: "has no requires"},
		"no TOML":       {files: []string{top, "["}, wrong: "its pyproject.toml"},
		"too long":      {files: []string{top, strings.Repeat("#", maxProject+1)}, wrong: "more than"},
	} {
		got, err := buildRequires(strings.NewReader(indextest.Sdist(t, c.files...)))
		if c.wrong != "" {
			if err == nil || !strings.Contains(err.Error(), c.wrong) {
				t.Errorf("%s: %v, want %q", name, err, c.wrong)
			}
			continue
		}
		if diff := cmp.Diff(c.want, got); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", name, err, diff)
		}
	}
	whole := indextest.Sdist(t, top, "[build-system]\nrequires = []\n")
	for _, data := range []string{"", "PK", whole[:len(whole)/2]} {
		if _, err := buildRequires(strings.NewReader(data)); err == nil {
			t.Errorf("%d bytes are taken for an sdist", len(data))
		}
	}
}
