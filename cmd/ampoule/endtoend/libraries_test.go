//go:build docker

package endtoend

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// loads uses libraries that Python code loads by name, each with its data: libmagic with its
// database, GLib with its description, fontconfig with fonts. It prints where their data is.
const loads = `
import ctypes, os, sys
import gi, magic, psycopg
found = magic.from_buffer(b"%PDF-1.4\n")
assert found.startswith("PDF document"), found
assert psycopg.pq.version() > 150000
gi.require_version("GLib", "2.0")
from gi.repository import GLib
assert GLib.MAJOR_VERSION == 2
fontconfig = ctypes.CDLL("libfontconfig.so.1")
fontconfig.FcConfigGetFonts.restype = ctypes.POINTER(ctypes.c_int)
fontconfig.FcConfigGetFonts.argtypes = [ctypes.c_void_p, ctypes.c_int]
assert fontconfig.FcInit()
assert fontconfig.FcConfigGetFonts(None, 0)[0] > 0, "there are no fonts"
mapped = {line.split()[-1] for line in open("/proc/self/maps") if ".so" in line} if os.path.exists("/proc/self/maps") else set()
for name in ("libmagic", "libpq", "libgirepository", "libfontconfig"):
    for path in mapped:
        if os.path.basename(path).startswith(name):
            assert path.startswith(os.path.realpath(sys.base_prefix) + "/lib/"), path
print(os.environ["MAGIC"])
`

// Libraries that are loaded by name, and their data, are found in the container, in an installed
// tree on a root file system that has none of them, and where the tree is moved to. The three
// recreated cases, of libmagic, libpq and typelibs, are one recipe here: nothing in it names
// their libraries. That they are found is what its own tests, which the gate has run, say too.
func TestLibrariesByName(t *testing.T) {
	beside(t)
	a := build(t, filepath.Join("testdata", "libraries"))
	if out := ampoule(t, "run", a.ref, "--", "-c", loads); out != "/opt/ampoule/share/misc/magic.mgc" {
		t.Errorf("in the container MAGIC is %q", out)
	}
	root := t.TempDir()
	copyRootfs(t, "bookworm", root)
	ampoule(t, "install", a.ref, "--root", filepath.Join(root, "srv", "app"))
	// Nothing is mounted: without /proc the loader does not know where the executable is, and
	// what libpq needs itself is found by libpq's own search path.
	out, err := exec.CommandContext(t.Context(), "chroot", root, "/srv/app/current/bin/python3", "-c", loads).CombinedOutput()
	if err != nil || !strings.HasSuffix(strings.TrimSpace(string(out)), "/share/misc/magic.mgc") {
		t.Errorf("on a bare root: %v\n%s", err, out)
	}
	// What somebody has set stays.
	out, err = exec.CommandContext(t.Context(), "chroot", root, "/usr/bin/env", "MAGIC=/mine", "/srv/app/current/bin/python3", "-c", "import os; print(os.environ['MAGIC'])").CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != "/mine" {
		t.Errorf("MAGIC that is set became %s, %v", out, err)
	}
}
