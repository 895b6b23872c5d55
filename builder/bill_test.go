package builder

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/builder/layers"
	"ampoule/builder/sandbox"
	"ampoule/builder/seal"
	"ampoule/recipes"
	"ampoule/sbom"
	"ampoule/store"
	"ampoule/tree"
)

// Each build writes what the artifact is made of, with the digest in it.
func TestBuildWritesBill(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	got, err := w.build()
	if err != nil {
		t.Fatal(err)
	}
	if len(w.bills) != 1 || !strings.Contains(string(w.bills[0]), got.Digest) {
		t.Fatalf("%d bills of materials: %s", len(w.bills), w.bills)
	}
	d, err := sbom.Read(w.bills[0])
	if err != nil {
		t.Fatal(err)
	}
	var sources []string
	for _, i := range d.Inputs() {
		sources = append(sources, i.Kind+" "+i.Name+" "+i.Version+" "+i.SHA256)
	}
	slices.Sort(sources)
	want := []string{"generic cpython 3.13.5 " + w.lock.Python.SHA256, "pypi demo 1.0 " + w.lock.Dists[0].SHA256}
	if diff := cmp.Diff(want, sources); diff != "" {
		t.Errorf("sources (-want +got):\n%s", diff)
	}
}

// A carried file is of the package whose file it is, and not of another one with the same
// content; one that several files were made of is of what they are of.
func TestOrigins(t *testing.T) {
	t.Parallel()
	file := func(p, text string) tree.Entry { return tree.FileEntry(p, 0o644, []byte(text)) }
	made := func(entries ...tree.Entry) *tree.Tree {
		whole, err := tree.New(entries)
		if err != nil {
			t.Fatal(err)
		}
		return whole
	}
	stanza := func(name string) string {
		return "Package: " + name + "\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1\n\n"
	}
	root := made(
		file("usr/lib/libz.so.1.2", "z"), file("usr/lib/copy.so", "z"), file("usr/lib/renamed-here.so", "r"), file("usr/share/ca-certificates/mozilla/a.crt", "a"),
		file("var/lib/dpkg/status", stanza("zlib1g")+stanza("other")+stanza("ca-certificates")),
		file("var/lib/dpkg/info/zlib1g:amd64.list", "/usr/lib/libz.so.1.2\n"), file("var/lib/dpkg/info/other.list", "/usr/lib/copy.so\n/usr/lib/renamed-here.so\n"),
		file("var/lib/dpkg/info/ca-certificates.list", "/usr/share/ca-certificates/mozilla/a.crt\n"),
	)
	native := made(
		file("lib/libz.so.1.2", "z"), tree.Entry{Path: "lib/libz.so", Kind: tree.Symlink, Link: "libz.so.1.2"}, file("lib/librenamed.so.1", "r"),
		file("lib/libunknown.so.1", "u"), file("lib/libchanged.so.1", "changed"), file("share/ca-certificates/ca-bundle.crt", "bundle"),
	).Map(func(e tree.Entry) tree.Entry {
		e.Owner = "native"
		return e
	})
	own := file("lib/python3.13/z", "z")
	own.Owner = "interpreter"
	sealed, err := native.With(own)
	if err != nil {
		t.Fatal(err)
	}
	was, _ := root.Lookup("usr/lib/renamed-here.so")
	found, err := origins(&seal.Sealed{Tree: sealed, Sources: map[string]string{"lib/libchanged.so.1": was.SHA256}}, []*tree.Tree{root})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for p, of := range found {
		got[p] = of.Name
	}
	want := map[string]string{"lib/libz.so.1.2": "zlib1g", "lib/libz.so": "zlib1g", "lib/librenamed.so.1": "other", "lib/libchanged.so.1": "other", "share/ca-certificates/ca-bundle.crt": "ca-certificates"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("origins (-want +got):\n%s", diff)
	}
}

// Where the layers of two wheels lie over each other, dpkg's status is that of the upper one. What
// the lower one's packages brought is known by the image that its wheel was built in.
func TestOriginsBelowOtherLayers(t *testing.T) {
	t.Parallel()
	st, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	layer := func(names ...string) sandbox.Layer {
		var status string
		var entries []tree.Entry
		for _, name := range names {
			file := "/usr/lib/" + name + ".so.1"
			status += "Package: " + name + "\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1\n\n"
			entries = append(entries, tree.FileEntry(file[1:], 0o644, []byte(name)), tree.FileEntry("var/lib/dpkg/info/"+name+".list", 0o644, []byte(file+"\n")))
		}
		whole, err := tree.New(append(entries, tree.FileEntry("var/lib/dpkg/status", 0o644, []byte(status))))
		if err != nil {
			t.Fatal(err)
		}
		made, err := layers.Save(t.Context(), st, whole, "")
		if err != nil {
			t.Fatal(err)
		}
		return made
	}
	base := sandbox.Image{Config: sandbox.Config{Architecture: "amd64"}, Layers: []sandbox.Layer{layer("libc6")}}
	one, two := layer("libc6", "libone"), layer("libc6", "libtwo")
	open := layers.Open(st)
	defer func() {
		if err := open.Close(); err != nil {
			t.Error(err)
		}
	}()
	above, err := rootsOf(t.Context(), open, []sandbox.Image{base.With(one, two)})
	if err != nil {
		t.Fatal(err)
	}
	own, err := rootsOf(t.Context(), open, []sandbox.Image{base.With(one), base.With(two), base.With(one)})
	if err != nil || len(own) != 2 {
		t.Fatalf("%d file systems, %v", len(own), err)
	}
	sealed, err := tree.New([]tree.Entry{tree.FileEntry("lib/libone.so.1", 0o644, []byte("libone")), tree.FileEntry("lib/libtwo.so.1", 0o644, []byte("libtwo"))})
	if err != nil {
		t.Fatal(err)
	}
	sealed = sealed.Map(func(e tree.Entry) tree.Entry {
		e.Owner = seal.OwnerNative
		return e
	})
	for name, c := range map[string]struct {
		roots []*tree.Tree
		want  map[string]string
	}{
		"above alone":    {above, map[string]string{"lib/libtwo.so.1": "libtwo"}},
		"with their own": {slices.Concat(above, own), map[string]string{"lib/libone.so.1": "libone", "lib/libtwo.so.1": "libtwo"}},
	} {
		found, err := origins(&seal.Sealed{Tree: sealed}, c.roots)
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		for p, of := range found {
			got[p] = of.Name
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// What is installed is no ingredient, and what every wheel adds is one.
func TestIngredients(t *testing.T) {
	t.Parallel()
	l := &recipes.Lock{
		Base: recipes.LockedBase{Suite: "bookworm"}, Toolchain: []string{"gcc"}, Requirements: []string{"demo==1.0"},
		Debian: map[string]recipes.Suite{"bookworm": {{Name: "gcc", Version: "12"}, {Name: "libpq-dev", Version: "15"}, {Name: "coreutils", Version: "9"}}},
		Dists: []recipes.Dist{
			{Name: "demo", Version: "1.0", File: "demo-1.0.tar.gz", Build: &recipes.BuildSet{Packages: []string{"libpq-dev"}, Crates: []recipes.Crate{{Name: "pyo3", Version: "1"}}}},
			{Name: "setuptools", Version: "80", File: "setuptools-80-py3-none-any.whl"},
		},
	}
	var got []string
	for _, i := range ingredients(l) {
		got = append(got, i.Kind+" "+i.Name)
	}
	if diff := cmp.Diff([]string{"cargo pyo3", "pypi setuptools", "deb gcc", "deb libpq-dev"}, got); diff != "" {
		t.Errorf("ingredients (-want +got):\n%s", diff)
	}
}
