package seal

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/audit"
	"ampoule/faults"
	"ampoule/packaging"
	"ampoule/tree"
)

const (
	lib  = "lib/python3.13/"
	site = lib + "site-packages/"
)

func newTree(t testing.TB, entries ...tree.Entry) *tree.Tree {
	t.Helper()
	made, err := tree.New(entries)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// files makes a file of each path, whose content is the path.
func files(paths ...string) []tree.Entry {
	entries := make([]tree.Entry, len(paths))
	for i, p := range paths {
		entries[i] = tree.FileEntry(p, 0o644, []byte(p))
	}
	return entries
}

// distribution makes files below site-packages, and the .dist-info directory that records them.
func distribution(info string, paths ...string) []tree.Entry {
	var record strings.Builder
	entries := make([]tree.Entry, 0, len(paths)+1)
	for _, p := range paths {
		fmt.Fprintf(&record, "%s,,\n", p)
		entries = append(entries, files(path.Join(site, p))...)
	}
	fmt.Fprintf(&record, "%s/RECORD,,\n", info)
	return append(entries, tree.FileEntry(site+info+"/RECORD", 0o644, []byte(record.String())))
}

// owners lists what is no directory with its owner, or with "-".
func owners(tr *tree.Tree) []string {
	list := []string{}
	for _, e := range tr.Entries() {
		if e.Kind != tree.Dir {
			list = append(list, strings.Replace(e.Path, site, "site/", 1)+": "+orDash(e.Owner))
		}
	}
	return list
}

func orDash(owner string) string {
	if owner == "" {
		return "-"
	}
	return owner
}

func TestOwn(t *testing.T) {
	t.Parallel()
	entries := slices.Concat(
		distribution("Zope.Interface__x-1.0.dist-info", "zope/a.py", "../../../bin/zope", "both/one.py", "zope/_v/six.py", "zope/_v/six-1.dist-info/METADATA"),
		distribution("b-2.dist-info", "both/two.py", "both/d"),
		files(site+"zope/__pycache__/a.cpython-313.pyc", site+"zope/__pycache__/a.cpython-313.opt-1.pyc", site+"zope/__pycache__/stray.cpython-313.pyc",
			site+"zope/a.pyc", site+"both/d/inside.py", "lib/other/c-1.dist-info/x"),
	)
	entries = slices.DeleteFunc(entries, func(e tree.Entry) bool { return e.Path == site+"both/d" })
	// What a distribution vendors is its own, whatever stands in there.
	entries = append(entries,
		tree.FileEntry(site+"zope/_v/six-1.dist-info/RECORD", 0o644, []byte("six.py,,\n../a.py,,\n")),
		tree.FileEntry("lib/other/c-1.dist-info/RECORD", 0o644, []byte("x,,\n")))
	got, err := own(newTree(t, entries...))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"bin/zope: wheel:zope-interface-x",
		"lib/other/c-1.dist-info/RECORD: -",
		"lib/other/c-1.dist-info/x: -",
		"site/Zope.Interface__x-1.0.dist-info/RECORD: wheel:zope-interface-x",
		"site/b-2.dist-info/RECORD: wheel:b",
		"site/both/d/inside.py: -",
		"site/both/one.py: wheel:zope-interface-x",
		"site/both/two.py: wheel:b",
		"site/zope/__pycache__/a.cpython-313.opt-1.pyc: wheel:zope-interface-x",
		"site/zope/__pycache__/a.cpython-313.pyc: wheel:zope-interface-x",
		"site/zope/__pycache__/stray.cpython-313.pyc: -",
		"site/zope/_v/six-1.dist-info/METADATA: wheel:zope-interface-x",
		"site/zope/_v/six-1.dist-info/RECORD: -",
		"site/zope/_v/six.py: wheel:zope-interface-x",
		"site/zope/a.py: wheel:zope-interface-x",
		"site/zope/a.pyc: -",
	}
	if diff := cmp.Diff(want, owners(got)); diff != "" {
		t.Errorf("owners (-want +got):\n%s", diff)
	}
	if e, _ := got.Lookup(site + "both/d"); e.Owner != "" {
		t.Errorf("a directory belongs to %s", e.Owner)
	}
}

func TestOwnRefuses(t *testing.T) {
	t.Parallel()
	for _, record := range []string{"a,b\n", "\"a,,\n", "a,md5=x,1\n", "a,,x\n", ",,\n"} {
		e := tree.FileEntry(site+"a-1.dist-info/RECORD", 0o644, []byte(record))
		if _, err := own(newTree(t, e)); err == nil || !strings.Contains(err.Error(), e.Path) {
			t.Errorf("RECORD %q: %v", record, err)
		}
		e.Content = tree.Bytes("other")
		if _, err := own(newTree(t, e)); err == nil {
			t.Error("a RECORD that is not what its hash says is read")
		}
	}
}

// FuzzOwn: whatever a RECORD holds, own changes nothing but owners, and those of
// exactly the files that the RECORD lists.
func FuzzOwn(f *testing.F) {
	for _, record := range []string{
		"a.py,,\na-1.dist-info/RECORD,,\n", "../../../bin/a,sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU,0\n",
		"\"a.py\",,\r\n\r\n", "/a.py,,\n", "..,,\n", ".//a.py,,\n", "a.py,,\n\"", "\x00,,\n", "__pycache__/a.cpython-313.pyc,,\n",
	} {
		f.Add([]byte(record))
	}
	others := files(site+"a.py", site+"__pycache__/a.cpython-313.pyc", site+"b.py", "bin/a", "a.py")
	f.Fuzz(func(t *testing.T, data []byte) {
		before := newTree(t, append(slices.Clone(others), tree.FileEntry(site+"a-1.dist-info/RECORD", 0o644, data))...)
		after, err := own(before)
		rows, parseErr := packaging.ParseRecord(data)
		if (err == nil) != (parseErr == nil) {
			t.Fatalf("own: %v; RECORD: %v", err, parseErr)
		}
		if err != nil {
			return
		}
		if after.Hash() != before.Hash() {
			t.Error("the tree changed")
		}
		listed := map[string]bool{}
		for _, row := range rows {
			listed[path.Join(site, row.Path)] = true
		}
		listed[site+"__pycache__/a.cpython-313.pyc"] = listed[site+"a.py"]
		for _, e := range after.Entries() {
			owned := e.Owner == "wheel:a"
			if owned != (listed[e.Path] && e.Kind == tree.File) || !owned && e.Owner != "" {
				t.Errorf("%s belongs to %q; listed: %t", e.Path, e.Owner, listed[e.Path])
			}
		}
	})
}

func TestSourceOf(t *testing.T) {
	t.Parallel()
	for p, want := range map[string]string{
		"a/__pycache__/b.cpython-313.pyc":        "a/b.py",
		"a/__pycache__/b.cpython-313t.opt-2.pyc": "a/b.py",
		"__pycache__/b.c.cpython-313.pyc":        "b.c.py",
		"a/__pycache__/b.py":                     "a/__pycache__/b.py",
		"a/b.cpython-313.pyc":                    "a/b.cpython-313.pyc",
		"a/b.cpython-313-x86_64-linux-gnu.so":    "a/b.cpython-313-x86_64-linux-gnu.so",
		"a":                                      "a",
	} {
		if got := sourceOf(p); got != want {
			t.Errorf("sourceOf(%q) = %q, want %q", p, got, want)
		}
	}
}

// bundled is an interpreter that brings pip.
func bundled(t *testing.T) *tree.Tree {
	t.Helper()
	return newTree(t, slices.Concat(
		files("bin/python3.13", lib+"os.py", site+"README.txt", site+"pip/__pycache__/old.cpython-313.pyc", site+"shared/mine.py"),
		distribution("pip-24.0.dist-info", "pip/old.py", "pip/_internal/deep/x.py", "../../../bin/pip", "shared/pip.py"),
		[]tree.Entry{{Path: lib + "empty", Kind: tree.Dir, Mode: 0o755}})...)
}

func TestMerge(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		installed []Wheel
		wheels    []tree.Entry
		want      []string
	}{
		"a wheel beside the interpreter's pip": {
			[]Wheel{{Name: "b"}}, distribution("b-1.dist-info", "b.py"),
			[]string{
				"bin/pip: interpreter", "bin/python3.13: interpreter", "lib/python3.13/os.py: interpreter", "site/README.txt: interpreter",
				"site/b-1.dist-info/RECORD: wheel:b", "site/b.py: wheel:b",
				"site/pip-24.0.dist-info/RECORD: interpreter", "site/pip/__pycache__/old.cpython-313.pyc: interpreter",
				"site/pip/_internal/deep/x.py: interpreter", "site/pip/old.py: interpreter",
				"site/shared/mine.py: interpreter", "site/shared/pip.py: interpreter",
			},
		},
		"a wheel that replaces it": {
			[]Wheel{{Name: "pip"}}, distribution("pip-25.1.dist-info", "pip/new.py", "../../../bin/pip"),
			[]string{
				"bin/pip: wheel:pip", "bin/python3.13: interpreter", "lib/python3.13/os.py: interpreter", "site/README.txt: interpreter",
				"site/pip-25.1.dist-info/RECORD: wheel:pip", "site/pip/new.py: wheel:pip", "site/shared/mine.py: interpreter",
			},
		},
		"no wheels": {
			nil, nil,
			owners(bundled(t).Map(func(e tree.Entry) tree.Entry {
				e.Owner = audit.OwnerInterpreter
				return e
			})),
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := merge(Parts{Interpreter: bundled(t), Wheels: laid(t, c.installed, c.wheels), Installed: c.installed})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, owners(got)); diff != "" {
				t.Errorf("owners (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff([]string{lib + "empty"}, empty(got)); diff != "" {
				t.Errorf("empty directories (-want +got):\n%s", diff)
			}
		})
	}
}

// laid is what one wheel installs, or none.
func laid(t *testing.T, wheels []Wheel, entries []tree.Entry) *tree.Tree {
	t.Helper()
	var installed []*tree.Tree
	if len(wheels) > 0 {
		installed = append(installed, newTree(t, entries...))
	}
	settled, err := Settle(installed, wheels, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := settled.Lay()
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// empty lists the directories that have nothing in them.
func empty(tr *tree.Tree) []string {
	dirs := map[string]bool{}
	for _, e := range tr.Entries() {
		if e.Kind == tree.Dir {
			dirs[e.Path] = true
		}
		delete(dirs, path.Dir(e.Path))
	}
	return slices.Sorted(maps.Keys(dirs))
}

// TestMergeRefuses: a wheel takes no file of the interpreter's, in whatever way.
func TestMergeRefuses(t *testing.T) {
	t.Parallel()
	for want, e := range map[string]tree.Entry{
		"bin/python3.13 of b.whl":          files("bin/python3.13")[0],
		"lib/python3.13/os.py of b.whl":    {Path: lib + "os.py", Kind: tree.Symlink, Link: "x"},
		"lib/python3.13/os.py of a wheel ": files(lib + "os.py/x")[0],
		"lib/python3.13/empty of b.whl":    files(lib + "empty")[0],
	} {
		rel := strings.Repeat("../", 3) + e.Path
		wheels := append(distribution("b-1.dist-info", rel), e)
		wheels = slices.Delete(wheels, 0, 1)
		_, err := merge(Parts{Interpreter: bundled(t), Wheels: laid(t, []Wheel{{Name: "b"}}, wheels), Installed: []Wheel{{Name: "b", File: "b.whl"}}})
		if err == nil || !strings.HasPrefix(err.Error(), "sealing: "+want) || !strings.Contains(err.Error(), "would take the place of a file of ") {
			t.Errorf("a wheel with %s: %v", e.Path, err)
		}
	}
}

// TestMergeRefusesShadow: a wheel's library in lib is not one that others were linked with.
func TestMergeRefusesShadow(t *testing.T) {
	t.Parallel()
	root := newTree(t, files(gnu+"libz.so.1", "usr/lib/libold.so.1")...)
	for name, refused := range map[string]bool{"libz.so.1": true, "libold.so.1": true, "libown.so.1": false, "cmake/libz.so.1": false} {
		wheels := append(distribution("b-1.dist-info", "../../"+name), files("lib/"+name)...)
		wheels = slices.Delete(wheels, 0, 1)
		_, err := merge(Parts{Interpreter: bundled(t), Wheels: laid(t, []Wheel{{Name: "b"}}, wheels), Installed: []Wheel{{Name: "b", File: "b.whl"}}, Root: root})
		if (err != nil) != refused {
			t.Errorf("lib/%s: %v", name, err)
		}
		if refused && (faults.Of(err) != faults.Refused || len(faults.Hints(err)) != 1 ||
			!strings.Contains(err.Error(), "lib/"+name+" of b.whl would take the place of a file of usr/lib") || !strings.HasSuffix(err.Error(), name)) {
			t.Errorf("lib/%s: %v", name, err)
		}
	}
}
