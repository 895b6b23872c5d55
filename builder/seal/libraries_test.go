package seal

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/artifact"
	"ampoule/audit"
	"ampoule/faults"
	"ampoule/tree"
)

// namedRoot is a file system with libmagic, introspection, fontconfig and their data.
func namedRoot(t *testing.T) *tree.Tree {
	t.Helper()
	return newTree(t, append(files("usr/lib/file/magic.mgc", "usr/lib/file/other", "usr/share/doc/libmagic1/copyright",
		"usr/lib/x86_64-linux-gnu/girepository-1.0/GLib-2.0.typelib", "usr/share/fontconfig/conf.avail/10-x.conf", "usr/share/fonts/truetype/a.ttf",
		"usr/bin/file", "usr/share/magic/mime"),
		link("lib", "usr/lib"), link("usr/share/misc/magic.mgc", "../../lib/file/magic.mgc"),
		shared(t, gnu+"libmagic.so.1.0.0", "libz.so.1"), link(gnu+"libmagic.so.1", "libmagic.so.1.0.0"), link(gnu+"libmagic.so", "libmagic.so.1.0.0"),
		shared(t, gnu+"libz.so.1"), shared(t, gnu+"libodd-2.so"), shared(t, gnu+"libc.so.6"), tree.FileEntry(gnu+"libscript.so", 0o644, []byte("INPUT(libx.so.1)")),
		tree.FileEntry("etc/fonts/fonts.conf", 0o644, []byte("<fontconfig>\n\t<dir>/usr/share/fonts</dir>\n</fontconfig>\n")),
		link("etc/fonts/conf.d/10-x.conf", "/usr/share/fontconfig/conf.avail/10-x.conf"), link("etc/fonts/conf.d/gone.conf", "/nowhere"))...)
}

// Packages of that file system, as dpkg lists them.
var (
	magicPackage = Package{"libmagic1", true, []string{"lib/x86_64-linux-gnu/libmagic.so.1", "lib/x86_64-linux-gnu/libmagic.so.1.0.0", "usr/share/doc/libmagic1/copyright"}}
	magicData    = Package{"libmagic-mgc", false, []string{"usr/lib/file", "usr/lib/file/magic.mgc", "usr/share/misc/magic.mgc"}}
	typelibs     = Package{"gir1.2-glib-2.0", true, []string{gnu + "girepository-1.0/GLib-2.0.typelib"}}
	fonts        = Package{"fontconfig-config", false, []string{"etc/fonts/fonts.conf", "etc/fonts/conf.d/10-x.conf", "usr/share/fonts/truetype/a.ttf"}}
)

func TestCarryNamed(t *testing.T) {
	t.Parallel()
	root := namedRoot(t)
	base := newTree(t, interpreter(t))
	for name, c := range map[string]struct {
		packages []Package
		host     []string
		want     []string
	}{
		"none":         {nil, nil, nil},
		"with data":    {[]Package{magicPackage, magicData}, nil, []string{"lib/libmagic.so.1", artifact.VariablesFile, "share/misc/magic.mgc"}},
		"of the host":  {[]Package{magicPackage}, []string{"libmagic.so.1"}, nil},
		"data alone":   {[]Package{typelibs}, nil, []string{"lib/girepository-1.0/GLib-2.0.typelib", artifact.VariablesFile}},
		"glibc's":      {[]Package{{"x", true, []string{gnu + "libc.so.6", gnu + "libodd-2.so"}}}, nil, []string{"lib/libodd-2.so"}},
		"a link of it": {[]Package{{"libmagic-dev", true, []string{gnu + "libmagic.so"}}, magicPackage}, nil, []string{"lib/libmagic.so -> libmagic.so.1", "lib/libmagic.so.1"}},
		"links lead to files": {[]Package{{"libfontconfig1", false, nil}, fonts}, nil, []string{
			"etc/fonts/conf.d/10-x.conf", "etc/fonts/fonts.conf", artifact.VariablesFile, "share/fonts/truetype/a.ttf"}},
	} {
		got, _, err := carryNamed(base, Libraries{Packages: c.packages, Root: root}, c.host)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if diff := cmp.Diff(append([]string{"bin/python3.13"}, c.want...), paths(got)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		for _, e := range got.Entries() {
			if e.Path != "bin/python3.13" && e.Kind != tree.Dir && e.Owner != OwnerNative {
				t.Errorf("%s: %s is of %q", name, e.Path, e.Owner)
			}
		}
	}
}

func TestCarryNamedWritesVariables(t *testing.T) {
	t.Parallel()
	got, told, err := carryNamed(newTree(t, interpreter(t)), Libraries{Packages: []Package{typelibs, fonts, magicPackage, magicData}, Root: namedRoot(t)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for at, want := range map[string]string{
		artifact.VariablesFile: "MAGIC own share/misc/magic.mgc\nGI_TYPELIB_PATH first lib/girepository-1.0\nFONTCONFIG_PATH missing etc/fonts /etc/fonts/fonts.conf\n",
		"etc/fonts/fonts.conf": "<fontconfig>\n\t<dir prefix=\"relative\">../../share/fonts</dir>\n\t<dir>/usr/share/fonts</dir>\n</fontconfig>\n",
	} {
		e, _ := got.Lookup(at)
		if data, err := e.ReadAll(); err != nil || string(data) != want {
			t.Errorf("%s: %v\n%s", at, err, cmp.Diff(want, string(data)))
		}
	}
	if len(told) > 0 {
		t.Errorf("told: %q", told)
	}
	// What the libraries of the tree need comes along as for any other file.
	with, err := carryLibraries(got, Parts{Root: namedRoot(t)}, nil)
	if _, ok := with.Lookup("lib/libz.so.1"); err != nil || !ok {
		t.Errorf("libz.so.1 is carried: %t, %v", ok, err)
	}
}

func TestCarryNamedTellsWhatStays(t *testing.T) {
	t.Parallel()
	p := magicPackage
	p.Files = append([]string{"usr/share/magic/mime", "usr/lib/file/other"}, p.Files...)
	_, told, err := carryNamed(newTree(t, interpreter(t)), Libraries{Packages: []Package{p}, Root: namedRoot(t)}, nil)
	want := []string{
		"libmagic1 has files in /usr/lib/file that the tree does not carry: its libraries look for them there alone",
		"libmagic1 has files in /usr/share/magic that the tree does not carry: its libraries look for them there alone",
	}
	if diff := cmp.Diff(want, told); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

func TestCarryNamedRefuses(t *testing.T) {
	t.Parallel()
	root := namedRoot(t)
	own := shared(t, "lib/libmagic.so.1", "libown.so.1")
	own.Owner = audit.OwnerWheel + "magic-bin"
	_, _, err := carryNamed(newTree(t, interpreter(t), own), Libraries{Packages: []Package{magicPackage}, Root: root}, nil)
	want := "sealing: lib/libmagic.so.1 of the Debian package libmagic1 would take the place of a file of wheel:magic-bin"
	if err == nil || err.Error() != want || faults.Of(err) != faults.Refused {
		t.Errorf("a library that the tree has: %v", err)
	}
	for name, c := range map[string]struct {
		p          Package
		said, hint string
	}{
		"programs":  {p: Package{"file", true, []string{"usr/bin/file"}}, said: "it has programs: file", hint: "runtime.container.base"},
		"documents": {p: Package{"docs", true, []string{"usr/share/doc/x"}}, said: "no shared library", hint: "libmagic1"},
		"a script":  {p: Package{"libx-dev", true, []string{gnu + "libscript.so"}}, said: "no shared library", hint: "libmagic1"},
	} {
		err := Libraries{Packages: []Package{c.p}, Root: root}.Check()
		var none *NoLibraryError
		if !errors.As(err, &none) || !strings.Contains(err.Error(), c.said) || !strings.Contains(none.Hint(), c.hint) || faults.Of(err) != faults.Input {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A dependency may have nothing.
	if err := (Libraries{Packages: []Package{{"docs", false, []string{"usr/share/doc/x"}}}, Root: root}).Check(); err != nil {
		t.Error(err)
	}
}

// No wheel says what variables the tree sets.
func TestMergeKeepsVariables(t *testing.T) {
	t.Parallel()
	wheel := tree.FileEntry(artifact.VariablesFile, 0o644, []byte("LD_PRELOAD own x\n"))
	wheel.Owner = audit.OwnerWheel + "evil"
	_, err := merge(Parts{Interpreter: newTree(t, interpreter(t)), Wheels: newTree(t, wheel), Installed: []Wheel{{Name: "evil", File: "evil.whl"}}, Root: &tree.Tree{}})
	if err == nil || !strings.Contains(err.Error(), artifact.VariablesFile+" of evil.whl") {
		t.Errorf("got %v", err)
	}
}
