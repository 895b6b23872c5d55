package seal

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/artifact"
	"ampoule/audit"
	"ampoule/tree"
)

func link(p, target string) tree.Entry {
	return tree.Entry{Path: p, Kind: tree.Symlink, Mode: fs.ModePerm, Link: target}
}

// paths lists what is no directory, links with their target.
func paths(tr *tree.Tree) []string {
	list := []string{}
	for _, e := range tr.Entries() {
		switch e.Kind {
		case tree.File:
			list = append(list, e.Path)
		case tree.Symlink:
			list = append(list, e.Path+" -> "+e.Link)
		}
	}
	return list
}

func TestCarryData(t *testing.T) {
	t.Parallel()
	root := newTree(t, append(files(
		"usr/share/zoneinfo/Europe/Berlin", "usr/share/zoneinfo/right/UTC", "usr/share/zoneinfo/posix/UTC", "usr/share/zoneinfo/righteous",
		"lib/terminfo/x/xterm", "usr/lib/terminfo/x/xterm", "usr/lib/terminfo/v/vt100", "usr/share/doc/x", "usr/share/zoneinfo-other"),
		link("usr/share/zoneinfo/UTC", "Etc/UTC"), link("usr/share/zoneinfo/localtime", "/etc/localtime"),
		tree.FileEntry(certificates+"/b.crt", 0o644, []byte("B\n\n")), tree.FileEntry(certificates+"/a.crt", 0o644, []byte("A")))...)
	got, err := carryData(newTree(t, files("bin/x")...), root)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"bin/x", caBundle, "share/terminfo/v/vt100", "share/terminfo/x/xterm",
		"share/zoneinfo/Europe/Berlin", "share/zoneinfo/UTC -> Etc/UTC", "share/zoneinfo/righteous",
	}
	if diff := cmp.Diff(want, paths(got)); diff != "" {
		t.Errorf("data (-want +got):\n%s", diff)
	}
	for p, want := range map[string]string{caBundle: "A\nB\n", "share/terminfo/x/xterm": "lib/terminfo/x/xterm"} {
		e, _ := got.Lookup(p)
		if data, err := e.ReadAll(); string(data) != want || err != nil || e.Owner != OwnerNative {
			t.Errorf("%s of %q has %q, %v; want %q", p, e.Owner, data, err, want)
		}
	}
	none, err := carryData(newTree(t, files("bin/x")...), &tree.Tree{})
	if err != nil || none.Len() != 2 {
		t.Errorf("of a root without data: %v, %v", none.Entries(), err)
	}
}

// compiled compiles C source to an ELF file at a path. The host's gcc is a
// requirement of these tests; they use nothing of its libc.
func compiled(t *testing.T, p, source string, flags ...string) tree.Entry {
	t.Helper()
	out := filepath.Join(t.TempDir(), filepath.Base(p))
	cmd := exec.Command("gcc", append([]string{"-x", "c", "-", "-x", "none", "-nostdlib", "-fPIC", "-Wl,--no-as-needed", "-o", out}, flags...)...)
	cmd.Stdin = strings.NewReader(source)
	if output, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("compiling %s: %v\n%s", p, err, output)
	}
	data, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return tree.FileEntry(p, 0o755, data)
}

// shared compiles a shared library that needs others, which need not exist, and
// has its name as soname.
func shared(t *testing.T, p string, needs ...string) tree.Entry {
	t.Helper()
	flags := []string{"-shared", "-Wl,-soname," + filepath.Base(p)}
	for _, name := range needs {
		stub := filepath.Join(t.TempDir(), name)
		e := compiled(t, name, "", "-shared", "-Wl,-soname,"+name)
		data, err := e.ReadAll()
		if err == nil {
			err = os.WriteFile(stub, data, 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
		flags = append(flags, stub)
	}
	return compiled(t, p, "", flags...)
}

// interpreter is an executable that holds the runtime and finds what is carried.
func interpreter(t *testing.T) tree.Entry {
	t.Helper()
	return compiled(t, "bin/python3.13", "int _PyRuntime; int main(void) { return 0; }",
		"-Wl,-e,main", "-rdynamic", "-Wl,--disable-new-dtags,-rpath,$ORIGIN/../lib")
}

const gnu = "usr/lib/x86_64-linux-gnu/"

func TestCarryLibraries(t *testing.T) {
	t.Parallel()
	tr := newTree(t, interpreter(t),
		shared(t, site+"a.so", "libpq.so.5", "libhost.so.1", "libc.so.6", "libown.so.1"), shared(t, "lib/libown.so.1"))
	root := newTree(t, link("lib", "usr/lib"), link(gnu+"libpq.so.5", "libpq.so.5.15"),
		shared(t, gnu+"libpq.so.5.15", "libssl.so.3", "libc.so.6"), shared(t, gnu+"libssl.so.3"),
		shared(t, gnu+"libc.so.6"), shared(t, gnu+"libown.so.1"), shared(t, gnu+"libunused.so.1"))
	_, err := carryLibraries(tr, Parts{Root: root}, nil)
	var missing *MissingLibraryError
	want := "shared libraries are neither in the tree nor in the toolchain: libhost.so.1, needed by " + site + "a.so"
	if !errors.As(err, &missing) || err.Error() != want {
		t.Errorf("error %v, want %q", err, want)
	} else if !strings.Contains(missing.Hint(), "packages.NAME.build") {
		t.Errorf("Hint() = %q", missing.Hint())
	}
	plugins := shared(t, gnu+"graphviz/libhost.so.1", "libssl.so.3")
	// What the loader finds by itself does not come from there.
	private, err := root.With(plugins, shared(t, gnu+"graphviz/libssl.so.3", "libown.so.1"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := carryLibraries(tr, Parts{Root: private}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if e, ok := got.Lookup("lib/libhost.so.1"); !ok || e.SHA256 != plugins.SHA256 {
		t.Errorf("lib/libhost.so.1 of a private directory: %+v", e)
	}
	want3, _ := root.Lookup(gnu + "libssl.so.3")
	if e, ok := got.Lookup("lib/libssl.so.3"); !ok || e.SHA256 != want3.SHA256 {
		t.Errorf("lib/libssl.so.3 comes from the private directory: %+v", e)
	}
	if private, err = private.With(shared(t, gnu+"other/libhost.so.1")); err != nil {
		t.Fatal(err)
	}
	if _, err := carryLibraries(tr, Parts{Root: private}, nil); !errors.As(err, &missing) {
		t.Errorf("two private directories have the library: %v", err)
	}
	for _, host := range [][]string{{"libhost.so.1"}, {"libhost.so.1", "libssl.so.3"}, {"libhost.so.1", "libssl.so.3", "libpq.so.5"}} {
		got, err := carryLibraries(tr, Parts{Root: root}, host)
		if err != nil {
			t.Fatal(err)
		}
		for name, from := range map[string]string{"libpq.so.5": "libpq.so.5.15", "libssl.so.3": "libssl.so.3"} {
			e, ok := got.Lookup("lib/" + name)
			if slices.Contains(host, name) {
				if ok {
					t.Errorf("the host has %q, and %s is carried", host, name)
				}
				continue
			}
			original, _ := root.Lookup(gnu + from)
			if e.SHA256 != original.SHA256 || e.Kind != tree.File || e.Owner != OwnerNative {
				t.Errorf("%s: carried %t, %s of %q", name, ok, e.SHA256, e.Owner)
			}
		}
		for _, name := range []string{"libc.so.6", "libunused.so.1", "libhost.so.1"} {
			if _, ok := got.Lookup("lib/" + name); ok {
				t.Errorf("%s is carried", name)
			}
		}
		own, _ := tr.Lookup("lib/libown.so.1")
		if e, _ := got.Lookup("lib/libown.so.1"); e.Owner != own.Owner {
			t.Error("the tree's own library was replaced")
		}
	}
	// What another module has loaded before is not missing.
	provided := Parts{Root: root, Providers: []audit.Provider{{Libraries: []string{site + "torch/*.so"}, Files: []string{site + "a.so"}}}}
	if tr, err = tr.With(shared(t, site+"torch/libhost.so.1.so")); err != nil {
		t.Fatal(err)
	}
	if _, err := carryLibraries(tr, provided, nil); err == nil {
		t.Error("a library of another soname is taken for the missing one")
	}
	provided.Providers[0].Libraries = []string{"lib/libhost*"}
	if tr, err = tr.With(compiled(t, "lib/libhost-1.so", "", "-shared", "-Wl,-soname,libhost.so.1")); err != nil {
		t.Fatal(err)
	}
	if _, err := carryLibraries(tr, provided, nil); err != nil {
		t.Errorf("a library that is provided: %v", err)
	}
	if _, err := carryLibraries(newTree(t, files("bin/x")...), Parts{Root: root}, nil); !errors.Is(err, audit.ErrNoInterpreter) {
		t.Errorf("without an interpreter: %v", err)
	}
}

func TestPipLock(t *testing.T) {
	t.Parallel()
	for dir, tr := range map[string]*tree.Tree{
		"lib/python3.13":  newTree(t, files("lib/os.py", "lib/python3.12/site-packages/os.py", "lib/python3.13/os.py")...),
		"lib/python3.13t": newTree(t, files("lib/python3.13t/os.py")...),
	} {
		entries := pipLock(Parts{Name: "web"}, tr)
		if len(entries) != 2 || entries[0].Path != dir+"/EXTERNALLY-MANAGED" || entries[1].Path != "pip.conf" {
			t.Fatalf("entries %+v", entries)
		}
		for i, wants := range [][]string{
			// PEP 668: a section with the key Error, whose further lines are indented.
			{"[externally-managed]\nError=", `artifact "web"`, "\n To try something out"},
			{"[global]\n", "only-binary = :all:\n", "require-hashes = true\n", "no-cache-dir = true\n"},
		} {
			data, err := entries[i].ReadAll()
			if err != nil || entries[i].Owner != OwnerMetadata || entries[i].Mode != 0o644 {
				t.Errorf("%+v, %v", entries[i], err)
			}
			for _, want := range wants {
				if !strings.Contains(string(data), want) {
					t.Errorf("%s lacks %q:\n%s", entries[i].Path, want, data)
				}
			}
		}
	}
}

// TestPipObeys asks the host's Python to read both files as pip does.
func TestPipObeys(t *testing.T) {
	t.Parallel()
	entries := pipLock(Parts{Name: "web"}, newTree(t, files(lib+"os.py")...))
	for i, c := range []struct{ code, want string }{
		{"c['externally-managed']['Error'].split('\\n')[-1]", "To try something out, make a virtual environment: python3 -m venv DIR"},
		{"sorted(c['global'].items())", "[('no-cache-dir', 'true'), ('only-binary', ':all:'), ('require-hashes', 'true')]"},
	} {
		data, err := entries[i].ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("python3", "-I", "-c", "import configparser, sys\nc = configparser.ConfigParser(interpolation=None)\nc.read_file(sys.stdin)\nprint("+c.code+")")
		cmd.Stdin = strings.NewReader(string(data))
		out, err := cmd.CombinedOutput()
		if got := strings.TrimSuffix(string(out), "\n"); got != c.want || err != nil {
			t.Errorf("%s: %q, %v; want %q", entries[i].Path, got, err, c.want)
		}
	}
}

func TestNormalize(t *testing.T) {
	t.Parallel()
	entry := func(p string, kind tree.Kind, mode fs.FileMode) tree.Entry {
		return tree.Entry{Path: p, Kind: kind, Mode: mode, UID: 1, GID: 2, Owner: "kept"}
	}
	got := normalize(newTree(t,
		entry("d", tree.Dir, 0o700|fs.ModeSticky), entry("x", tree.File, 0o500|fs.ModeSetuid), entry("group", tree.File, 0o610), entry("r", tree.File, 0o666),
		entry("secret", tree.File, 0), entry("l", tree.Symlink, 0o644)))
	for p, want := range map[string]fs.FileMode{"d": 0o755, "x": 0o755, "group": 0o755, "r": 0o644, "secret": 0o644, "l": 0o777} {
		if e, _ := got.Lookup(p); e.Mode != want || e.UID != 0 || e.GID != 0 || e.Owner != "kept" {
			t.Errorf("%s: mode %v, owner %d:%d, of %q; want mode %v", p, e.Mode, e.UID, e.GID, e.Owner, want)
		}
	}
}

func TestMetadata(t *testing.T) {
	t.Parallel()
	print := audit.Fingerprint{Version: "3.13.5", SOABI: "cpython-313", Link: audit.LinkStatic, Implementation: "cpython", Suffixes: []string{".so"},
		FreeThreaded: true, Compiler: "GCC 12.2.0", Versions: map[string]string{"GCC": "3.0"}, LinkFlags: map[string]string{"LDSHARED": "gcc -shared"}}
	e, err := metadata(record(Parts{
		Name: "web", Python: "3.13.5", InterpreterKey: "k", Toolchain: []string{"sha256:1"},
		Installed: []Wheel{{Name: "b", Version: "1", File: "b-1.whl", SHA256: "s", Sdist: "d", Key: "w"}, {Name: "a", Version: "2", File: "a.whl", SHA256: "t"}},
	}, print))
	if err != nil {
		t.Fatal(err)
	}
	data, err := e.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var got any
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"name": "web",
		"python": map[string]any{
			"version": "3.13.5", "key": "k", "toolchain": []any{"sha256:1"}, "fingerprintDigest": print.Digest(),
			"fingerprint": map[string]any{
				"version": "3.13.5", "soabi": "cpython-313", "ext_suffix": "", "machine": "", "link": "static", "libpython": nil,
				"exports": 0.0, "exports_sha256": "", "glibc": "", "implementation": "cpython", "suffixes": []any{".so"}, "versions": map[string]any{"GCC": "3.0"},
				"debug": false, "free_threaded": true, "enable_shared": false, "compiler": "GCC 12.2.0", "link_flags": map[string]any{"LDSHARED": "gcc -shared"},
			},
		},
		"wheels": []any{
			map[string]any{"name": "b", "version": "1", "file": "b-1.whl", "sha256": "s", "sdist": "d", "key": "w"},
			map[string]any{"name": "a", "version": "2", "file": "a.whl", "sha256": "t"},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("metadata (-want +got):\n%s", diff)
	}
	if e.Path != artifact.RecordFile || e.Owner != OwnerMetadata || !strings.HasSuffix(string(data), "}\n") {
		t.Errorf("entry %+v ends with %q", e, data[len(data)-2:])
	}
}

// parts are those of a whole small artifact, owned by the sandbox's user.
func parts(t *testing.T) Parts {
	t.Helper()
	owned := func(entries ...tree.Entry) *tree.Tree {
		return newTree(t, entries...).Map(func(e tree.Entry) tree.Entry {
			e.UID, e.GID = 1000, 1000
			if e.Kind == tree.File {
				e.Mode = 0o600 | e.Mode&0o111
			}
			return e
		})
	}
	return Parts{
		Interpreter: owned(append(files(lib+"os.py"), interpreter(t), link("bin/python3", "python3.13"),
			tree.FileEntry("include/python3.13/patchlevel.h", 0o644, []byte("#define PY_VERSION \"3.13.5\"\n")),
			tree.FileEntry(lib+"_sysconfigdata__linux_.py", 0o644, []byte("build_time_vars = {'SOABI': 'cpython-313', 'EXT_SUFFIX': '.cpython-313.so'}\n")))...),
		Wheels:    owned(append(distribution("a-1.dist-info", "a.py"), shared(t, site+"b.so", "libpq.so.5"))...),
		Installed: []Wheel{{Name: "a", Version: "1", File: "a-1-py3-none-any.whl"}},
		Root:      newTree(t, append(files("usr/share/zoneinfo/UTC"), shared(t, gnu+"libpq.so.5"))...),
		Finish:    func([]tree.Entry) ([]tree.Entry, error) { return nil, nil },
		Name:      "web", Python: "3.13.5", InterpreterKey: "k",
	}
}

func TestSeal(t *testing.T) {
	t.Parallel()
	p := parts(t)
	got, err := Seal(p, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"bin/python3 -> python3.13", "bin/python3.13", "include/python3.13/patchlevel.h", "lib/libpq.so.5",
		lib + "EXTERNALLY-MANAGED", lib + "_sysconfigdata__linux_.py", lib + "os.py",
		site + "a-1.dist-info/RECORD", site + "a.py", site + "b.so",
		"pip.conf", "share/ampoule/artifact.json", "share/zoneinfo/UTC",
	}
	if diff := cmp.Diff(want, paths(got.Tree)); diff != "" {
		t.Errorf("tree (-want +got):\n%s", diff)
	}
	if got.Tree.Hash() != normalize(got.Tree).Hash() {
		t.Error("the tree is not in its normal form")
	}
	for _, e := range got.Tree.Entries() {
		if e.UID != 0 || e.GID != 0 {
			t.Errorf("%s is of %d:%d", e.Path, e.UID, e.GID)
		}
	}
	if f := got.Record.Python.Fingerprint; f.Version != "3.13.5" || f.SOABI != "cpython-313" || f.Link != audit.LinkStatic {
		t.Errorf("fingerprint %+v", f)
	}
	e, _ := got.Tree.Lookup(artifact.RecordFile)
	if data, err := e.ReadAll(); err != nil || !strings.Contains(string(data), got.Record.Python.FingerprintDigest) {
		t.Errorf("metadata %s, %v", data, err)
	}
	again, err := Seal(p, nil)
	if err != nil || again.Tree.Hash() != got.Tree.Hash() {
		t.Errorf("sealed again: %v", err)
	}
}

func TestSealRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spoil func(*testing.T, *Parts)
		want  string
	}{
		"library":     {func(t *testing.T, p *Parts) { p.Root = newTree(t) }, "libpq.so.5, needed by " + site + "b.so"},
		"conflict":    {func(t *testing.T, p *Parts) { p.Wheels = newTree(t, files(lib+"os.py")...) }, "os.py of a wheel that does not list it would take the place of a file of interpreter"},
		"measurement": {func(t *testing.T, p *Parts) { p.Interpreter = newTree(t, interpreter(t)) }, "measuring the interpreter: "},
		"certificate": {func(t *testing.T, p *Parts) { p.Root = newTree(t, link(certificates+"/a.crt", "b")) }, "a.crt: not a file"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := parts(t)
			c.spoil(t, &p)
			if got, err := Seal(p, nil); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, %v; want %q", got, err, c.want)
			}
		})
	}
}
