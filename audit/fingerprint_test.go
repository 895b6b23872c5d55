package audit

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/tree"
)

// prefix is what an interpreter installs beside its executable.
func prefix(more ...tree.Entry) []tree.Entry {
	return append(more,
		tree.FileEntry("include/python3.13/patchlevel.h", 0o644, []byte("#define PY_MAJOR_VERSION 3\n/* and */\n#define PY_VERSION      \t\"3.13.5\"\n")),
		tree.FileEntry("lib/python3.13/_sysconfigdata__linux_x86_64-linux-gnu.py", 0o644,
			[]byte("build_time_vars = {'EXT_SUFFIX': '.cpython-313-x86_64-linux-gnu.so',\n 'SOABI': 'cpython-313-x86_64-linux-gnu'}\n")))
}

func TestMeasure(t *testing.T) {
	t.Parallel()
	static, shared, library := in(t, "bin", interpreter(t)), in(t, "bin", sharedInterpreter(t)), in(t, "lib", libpython313(t))
	base := Fingerprint{
		Implementation: "cpython", Version: "3.13.5", SOABI: "cpython-313-x86_64-linux-gnu", ExtSuffix: ".cpython-313-x86_64-linux-gnu.so",
		Suffixes: []string{".cpython-313-x86_64-linux-gnu.so", ".abi3.so", ".so"}, Versions: map[string]string{}, LinkFlags: map[string]string{},
		Machine: "x86-64", Exports: 4, Glibc: "2.2.5",
		// Of "PyInit__builtin\nPyList_New\n_PyRuntime\n_PyX\n".
		ExportsSHA256: "eecdf03248f021434bec982f7de82996521c5e939f3194a93118de6eb2941b87",
	}
	own := &Libpython{Soname: soname313, SHA256: library.SHA256}
	tests := []struct {
		name    string
		entries []tree.Entry
		link    string
		lib     *Libpython
	}{
		{"static", prefix(static), LinkStatic, nil},
		{"shared", prefix(shared, library), LinkShared, own},
		{"static beside a library", prefix(static, library), LinkStatic, own},
	}
	digests := map[string]bool{}
	for _, tt := range tests {
		got, err := Measure(newTree(t, tt.entries...))
		if err != nil {
			t.Fatal(err)
		}
		want := base
		want.Link, want.Libpython = tt.link, tt.lib
		if tt.link == LinkShared {
			want.Glibc = "" // its libpython requires none
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
		digests[got.Digest()] = true
	}
	if len(digests) != len(tests) {
		t.Errorf("%d digests of %d link modes", len(digests), len(tests))
	}
}

func TestMeasureErrors(t *testing.T) {
	t.Parallel()
	for name, entries := range map[string][]tree.Entry{
		"shared without its library": prefix(in(t, "bin", sharedInterpreter(t))),
		"no headers":                 prefix(in(t, "bin", interpreter(t)))[:2],
		"a script":                   prefix(tree.FileEntry("bin/python3.13", 0o755, []byte("#!/bin/sh\n"))),
		"two sysconfigs": prefix(in(t, "bin", interpreter(t)),
			tree.FileEntry("lib/python3.13/_sysconfigdata__linux_x_.py", 0o644, nil)),
	} {
		if _, err := Measure(newTree(t, entries...)); !errors.Is(err, ErrMeasure) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Measure(newTree(t)); !errors.Is(err, ErrNoInterpreter) {
		t.Errorf("no interpreter: %v", err)
	}
}

func TestFindInstallation(t *testing.T) {
	t.Parallel()
	file := func(name, content string) tree.Entry { return tree.FileEntry(name, 0o755, []byte(content)) }
	threaded := newTree(t, file("bin/python3.13", "x"), file("bin/python3.13t", "x"), file("bin/python3.13-config", "y"), file("lib/python3.13t/os.py", ""))
	got, err := findInstallation(threaded, "")
	if err != nil {
		t.Fatal(err)
	}
	want := installation{exe: "bin/python3.13t", version: "3.13", flags: "t", lib: "lib/python3.13t", site: "lib/python3.13t/site-packages"}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got.soname() != "libpython3.13t.so.1.0" {
		t.Errorf("soname %s", got.soname())
	}
	if _, err := findInstallation(newTree(t, file("bin/python3.13", "x"), file("bin/python3.12", "y")), ""); !errors.Is(err, ErrNoInterpreter) {
		t.Errorf("two interpreters: %v", err)
	}
}
