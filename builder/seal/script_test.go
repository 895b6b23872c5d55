package seal

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"ampoule/builder/relocate"
)

// patchelf stands for the real one: a file's second line is what it needs, its third
// its RPATH; a change is written behind them.
const patchelf = `#!/bin/sh
case "$1" in
--print-needed) sed -n 2p "$2" | tr ' ' '\n' ;;
--print-rpath) sed -n 3p "$2" ;;
*) for last; do :; done; echo "$1 $2 $3" >> "$last" ;;
esac
`

// What a file does not find by its own RPATH it is to find in the tree's lib.
func TestFindCarried(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) string {
		t.Helper()
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return file
	}
	module := relocate.Module()
	code, err := module.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	write(module.Path, string(code), 0o644)
	write("install.py", string(installScript), 0o644)
	write("bin/patchelf", patchelf, 0o755)
	write("tree/site/x.libs/libx.so.1", "", 0o644)
	t.Setenv("PATH", filepath.Join(dir, "bin")+":"+os.Getenv("PATH"))
	for name, c := range map[string]struct{ needed, rpath, want string }{
		"finds all":        {"libc.so.6 libx.so.1", "$ORIGIN/../x.libs", ""},
		"glibc alone":      {"libc.so.6 libm.so.6", "", ""},
		"lacks one":        {"libx.so.1 libstdc++.so.6", "$ORIGIN/../x.libs", "--force-rpath --set-rpath $ORIGIN/../x.libs:$ORIGIN/../../lib"},
		"has none":         {"libstdc++.so.6", "", "--force-rpath --set-rpath $ORIGIN/../../lib"},
		"has that already": {"libstdc++.so.6", "$ORIGIN/../../lib", ""},
	} {
		file := write("tree/site/x/m.so", fmt.Sprintf("\x7fELF\n%s\n%s\n", c.needed, c.rpath), 0o644)
		cmd := exec.Command("python3", "-c", "import sys; sys.path.insert(0, sys.argv[1]); import install; install.find_carried(*sys.argv[2:])", dir, file, filepath.Join(dir, "tree/lib"))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", name, err, out)
		}
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.TrimSpace(strings.SplitN(string(data), "\n", 4)[3]); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
