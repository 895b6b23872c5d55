package cpython

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// pythonSays runs code in front of one of our parts and behind it, with the host's Python, which
// these tests need as the other tests of scripts do. The tree stands at root.
func pythonSays(t *testing.T, root, before, part, after string, env ...string) string {
	t.Helper()
	program := "import os, sys\nsys.base_prefix = " + "sys.argv[1]\n" + before + part + after
	cmd := exec.CommandContext(t.Context(), "python3", "-I", "-c", program, root)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH")}, env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return strings.TrimSpace(string(out))
}

// treeWith makes files with their content.
func treeWith(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, content := range files {
		at := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestFindLibrary(t *testing.T) {
	t.Parallel()
	root := treeWith(t, map[string]string{
		"lib/libmagic.so.1": "", "lib/libicu.so.9": "", "lib/libicu.so.10.2": "", "lib/libdev.so": "", "lib/libodd.so.x": "", "lib/libstdc++.so.6": "",
	})
	const native = "def find_library(name):\n    'told'\n    return 'native ' + name\n"
	for name, want := range map[string]string{
		"magic": "libmagic.so.1", "icu": "libicu.so.10.2", "dev": "libdev.so", "odd": "native odd", "stdc++": "libstdc++.so.6",
		"magi": "native magi", "c": "native c", ".*": "native .*",
	} {
		if got := pythonSays(t, root, native, string(hostCtypes), "\nprint(find_library("+`"`+name+`"`+"))\n"); got != want {
			t.Errorf("find_library(%q) is %q, want %q", name, got, want)
		}
	}
	if got := pythonSays(t, root+"/nowhere", native, string(hostCtypes), "\nprint(find_library('magic'), find_library.__doc__)\n"); got != "native magic told" {
		t.Errorf("without lib: %q", got)
	}
}

func TestCarriedData(t *testing.T) {
	t.Parallel()
	root := treeWith(t, map[string]string{
		"share/ampoule/variables": "MAGIC own share/misc/magic.mgc\nGI_TYPELIB_PATH first lib/girepository-1.0\nTHERE missing etc/a /\nGONE missing etc/b /nowhere/at/all\n",
	})
	const show = "\nprint(*(os.environ.get(n, '-').replace(sys.base_prefix, 'TREE') for n in ('MAGIC', 'GI_TYPELIB_PATH', 'THERE', 'GONE')))\n"
	for name, c := range map[string]struct {
		root, want string
		env        []string
	}{
		"nothing set":         {root, "TREE/share/misc/magic.mgc TREE/lib/girepository-1.0 - TREE/etc/b", nil},
		"set":                 {root, "/m TREE/lib/girepository-1.0:/x /y /z", []string{"MAGIC=/m", "GI_TYPELIB_PATH=/x", "THERE=/y", "GONE=/z"}},
		"set to nothing":      {root, " TREE/lib/girepository-1.0 - TREE/etc/b", []string{"MAGIC="}},
		"a tree without data": {t.TempDir(), "- - - -", nil},
	} {
		if got := pythonSays(t, c.root, "", string(hostSite[strings.Index(string(hostSite), "# Added by Ampoule: libraries"):]), show, c.env...); got != strings.TrimSpace(c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
	// A child process finds it there, once.
	if got := pythonSays(t, root, "", string(hostSite[strings.Index(string(hostSite), "def _carried_data"):])+"\n_carried_data()", show); !strings.Contains(got, " TREE/lib/girepository-1.0 ") {
		t.Errorf("twice: %q", got)
	}
}
