package weigh

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ampoule/bench/internal/drive"
)

// lay writes files below a new directory; a text that begins with "-> " is a link.
func lay(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if target, link := strings.CutPrefix(text, "-> "); link {
			err = os.Symlink(target, file)
		} else {
			err = os.WriteFile(file, []byte(text), 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestAll(t *testing.T) {
	t.Parallel()
	root := lay(t, map[string]string{"a": "12345", "d/b": "123", "d/c.pyc": "1234567", "l": "-> a"})
	for bytecode, want := range map[bool]int64{true: 15, false: 8} {
		if got, err := All(root, bytecode); got != want || err != nil {
			t.Errorf("All(%v) = %d, %v; want %d", bytecode, got, err, want)
		}
	}
	if _, err := All(filepath.Join(root, "none"), true); err == nil {
		t.Error("weighs what is not there")
	}
}

// TestOwn has shells in the place of everything native: they need the C library,
// which this tree says to have. What only a distribution needs is what it needs
// beside that: the fake library of another name.
func TestOwn(t *testing.T) {
	t.Parallel()
	shell, err := os.ReadFile("/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	native := string(shell)
	// The same file with another soname, of the same length, in its strings.
	other := strings.ReplaceAll(native, "libc.so.6", "libx.so.6")
	const site = "lib/python3.13/site-packages/"
	files := map[string]string{
		"bin/python3.13": native, "bin/python3": "-> python3.13", "bin/tool": "1234",
		"lib/libc.so.6": "-> libc-2.so", "lib/libc-2.so": native, "lib/libx.so.6": native, "lib/libz.so.1": "not of them",
		site + "foo/__init__.py": "12", site + "foo/a.cpython-313.pyc": "12345", site + "bar.so": other, site + "baz.so": native,
		site + "Foo_Bar-1.0.dist-info/RECORD": "foo/__init__.py,,2\n\"foo/a.cpython-313.pyc\",,\n../../../bin/tool,,4\n",
		site + "bar-1.0.dist-info/RECORD":     "bar.so,,\n",
		site + "baz-1.0.dist-info/RECORD":     "baz.so,,\n",
		site + "lost-1.0.dist-info/RECORD":    "gone.py,,\n",
	}
	root, size := lay(t, files), int64(len(native))
	for names, want := range map[string]int64{
		"": 0, "foo-bar": 6, "bar": 2 * size, "baz": size, "foo-bar bar baz": 3*size + 6,
	} {
		if got, err := Own(root, strings.Fields(names)); got != want || err != nil {
			t.Errorf("Own(%q) = %d, %v; want %d", names, got, err, want)
		}
	}
	for name, want := range map[string]string{"none": "not installed", "lost": "gone.py"} {
		if _, err := Own(root, []string{name}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Own(t.TempDir(), nil); err == nil {
		t.Error("weighs what is no tree")
	}
}

func TestPlatforms(t *testing.T) {
	t.Parallel()
	tags, err := platforms("2.36")
	if err != nil || tags[0] != "manylinux_2_36_x86_64" || tags[len(tags)-1] != "manylinux1_x86_64" ||
		!slices.Contains(tags, "manylinux2014_x86_64") || slices.Contains(tags, "manylinux_2_37_x86_64") {
		t.Errorf("%v, %q", err, tags)
	}
	for _, glibc := range []string{"", "3.1", "2.x", "2.4", "1.36"} {
		if tags, err := platforms(glibc); err == nil {
			t.Errorf("glibc %q takes %q", glibc, tags)
		}
	}
}

func TestPublished(t *testing.T) {
	t.Parallel()
	root := lay(t, map[string]string{"pip": `
for last; do :; done
while [ "$1" != --target ]; do shift; done
case $last in
	six==1) mkdir -p "$2" && printf 12345 >"$2/six.py" && printf 1 >"$2/six.pyc" ;;
	none==1) echo "ERROR: No matching distribution found for $last" >&2; exit 1 ;;
	away==1) echo "WARNING: Retrying (Retry(total=4" >&2; echo "ERROR: No matching distribution found for $last" >&2; exit 1 ;;
	*) echo "ERROR: disk full" >&2; exit 2 ;;
esac`})
	pip := drive.Program{Path: "sh", Args: []string{filepath.Join(root, "pip")}, Show: io.Discard}
	target := Target{Python: "3.13.5", Glibc: "2.36"}
	for name, want := range map[string]struct {
		size   int64
		ok, is bool
	}{
		"six": {5, true, true}, "none": {0, false, true}, "away": {}, "other": {},
	} {
		size, ok, err := Published(t.Context(), pip, target, name, "1")
		if size != want.size || ok != want.ok || (err == nil) != want.is {
			t.Errorf("%s: %d, %v, %v", name, size, ok, err)
		}
	}
	if _, _, err := Published(t.Context(), pip, Target{Python: "3.13.5"}, "six", "1"); err == nil {
		t.Error("takes a target without glibc")
	}
}
