package locking

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/builder/progress/progresstest"
	"ampoule/faults"
	"ampoule/recipes"
	"ampoule/tree"
)

// crate puts a crate of a version into the mirror of crates, with a line in its index.
func (w *world) crate(name, version, manifest, rust string) recipes.Crate {
	w.t.Helper()
	stem := name + "-" + version
	archive := gzipped(tarOf(w.t, member{name: stem + "/Cargo.toml", text: "[package]\nname = \"" + name + "\"\n" + manifest}))
	index := filepath.Join(w.crates, "index", name[:2], name[2:4])
	if err := errors.Join(os.MkdirAll(index, 0o755), os.WriteFile(filepath.Join(w.crates, stem+".crate"), archive, 0o600)); err != nil {
		w.t.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(index, name), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		w.t.Fatal(err)
	}
	defer f.Close()
	sum := put(w.t, openStore(w.t), string(archive))
	if _, err := fmt.Fprintf(f, "{\"name\":%q,\"vers\":%q,\"cksum\":%q,\"rust_version\":%q,\"yanked\":false}\n", name, version, sum, rust); err != nil {
		w.t.Fatal(err)
	}
	return recipes.Crate{Name: name, Version: version, SHA256: sum}
}

const bareManifest = "[package]\nname = \"demo\"\n\n[dependencies]\nregex = \"1\"\n"

// bareWorld has an sdist of Rust without a Cargo.lock, and a cargo that takes the newest regex
// which the index has.
func bareWorld(t *testing.T, recipe string, more ...member) (*world, *recipes.RequirementSet, Options) {
	t.Helper()
	w := newWorld(t)
	w.recipeWith(recipe)
	w.cargo = newOnHost(t)
	w.crate("regex", "1.10.0", "edition = \"2021\"\n", "1.65")
	w.crate("regex", "1.11.1", "edition = \"2021\"\nrust-version = \"1.65\"\n", "1.65")
	const stem = "demo-1.0/"
	members := append([]member{
		{name: stem + "pyproject.toml", text: "[build-system]\nrequires = [\"maturin>=1\"]\n"}, {name: stem + "Cargo.toml", text: bareManifest},
		{name: stem + "src/lib.rs", text: "compile_error!();"}, {name: stem + "build.rs", text: "fn main() {}"},
		{name: stem + ".cargo/config.toml", text: "[build]\nrustc = \"./evil\"\n"},
	}, more...)
	sdist := w.file("demo", "demo-1.0.tar.gz", string(gzipped(tarOf(t, members...))))
	w.chosen = func(files *tree.Tree, index func(string) string) (string, string) {
		for _, e := range files.Entries() {
			if e.Kind == tree.File && e.Path != "Cargo.toml" && (!strings.HasSuffix(e.Path, ".rs") || e.Size > 0) {
				t.Errorf("cargo sees %s of %d bytes", e.Path, e.Size)
			}
		}
		lines := strings.Split(strings.TrimSpace(index("re/ge/regex")), "\n")
		newest := lines[len(lines)-1]
		field := func(name string) string {
			_, rest, _ := strings.Cut(newest, "\""+name+"\":\"")
			value, _, _ := strings.Cut(rest, "\"")
			return value
		}
		return "# Written by cargo.\n" + cargoLock(locked("demo", "0.0.0", "", ""), locked("regex", field("vers"), registryOfTest, field("cksum"))), ""
	}
	w.knows(map[string][]indexFile{"demo==1.0": {sdist}, "maturin==1.9": {w.file("maturin", "maturin-1.9-py3-none-manylinux_2_17_x86_64.whl", "program")}})
	reqs := requirements("demo==1.0")
	packages := append(slices.Clone(rust), "patch")
	opts := w.pinnedBefore(reqs, "demo", recipes.BuildSet{Packages: packages, CargoLocks: []recipes.CargoLock{{}}})
	debs := opts.Previous.Debian["bookworm"]
	for i := range debs {
		debs[i].Version = "1.85.0+dfsg3-1~deb12u3"
	}
	return w, reqs, opts
}

// An sdist that brings no Cargo.lock gets one, which cargo writes for its manifests, and which
// stays as it is until something that decides it moves.
func TestCargoLockIsChosen(t *testing.T) {
	t.Parallel()
	w, reqs, opts := bareWorld(t, "")
	got, err := w.build(reqs, opts)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.CargoLocks) != 1 || got.CargoLocks[0].File != "Cargo.lock" || len(got.Crates) != 1 || got.Crates[0].Version != "1.11.1" {
		t.Fatalf("locks %+v, crates %v", got.CargoLocks, got.Crates)
	}
	if !slices.Equal(got.Packages, slices.Sorted(slices.Values(append(slices.Clone(rust), "patch")))) || !w.st.Has(got.Crates[0].SHA256) {
		t.Errorf("packages %q, crate is there: %t", got.Packages, w.st.Has(got.Crates[0].SHA256))
	}
	sdist := w.index["demo"][0]
	was := &recipes.Lock{Base: opts.Previous.Base, Debian: opts.Previous.Debian, Answers: opts.Previous.Answers, Dists: []recipes.Dist{{
		Name: "demo", Version: "1.0", File: sdist.Filename, SHA256: sdist.Hashes["sha256"], Build: &got,
	}}}
	w.crate("regex", "1.12.0", "", "")
	moved, err := w.build(reqs, Options{Previous: was, UpgradeNames: []string{"demo"}})
	if err != nil || moved.Crates[0].Version != "1.12.0" {
		t.Errorf("with --upgrade=demo: %+v, %v", moved.Crates, err)
	}
	p := w.start(reqs, Options{Previous: was})
	if _, kept := p.previousCrates(was.Dists[0]); !kept {
		t.Error("pins that are what they were are not kept")
	}
	// Whatever else of its build changes, crates stay.
	w.recipeWith("pure: [other]\n")
	if again, err := w.build(reqs, Options{Previous: was}); err != nil || cmp.Diff(got.CargoLocks, again.CargoLocks) != "" || cmp.Diff(got.Crates, again.Crates) != "" {
		t.Errorf("locked again: %+v, %v", again, err)
	}
	w.recipeWith("packages: {demo: {crates: [regex==1.10.0]}}\n")
	p = w.start(reqs, Options{Previous: was})
	if _, kept := p.previousCrates(was.Dists[0]); kept {
		t.Error("another pin of a crate moves nothing")
	}
}

// A crate is held to the version that the recipe names, and a pin that holds nothing is told.
func TestCratesAreHeld(t *testing.T) {
	t.Parallel()
	w, reqs, opts := bareWorld(t, "packages: {demo: {crates: [regex==1.10.0]}}\n")
	if held, err := w.build(reqs, opts); err != nil || held.Crates[0].Version != "1.10.0" {
		t.Errorf("held: %+v, %v", held.Crates, err)
	}
	w, reqs, opts = bareWorld(t, "packages: {demo: {crates: [regex==1.10.0, libc==0.2.1]}}\n")
	_, err := w.build(reqs, opts)
	checkFault(t, err, "ampoule.yaml:6:43: building demo==1.0 takes no crate libc of a version that is compatible with 0.2.1", "remove it, or write a version that is compatible with the one that is required")
}

// What keeps cargo from choosing is told, with what can be done.
func TestCargoLockIsNotChosen(t *testing.T) {
	t.Parallel()
	type change = func(*world, *Options)
	for name, c := range map[string]struct {
		more   []member
		change change
		kind   faults.Kind
		want   string
		hint   string
	}{
		"cargo refuses": {nil, func(w *world, _ *Options) {
			w.chosen = func(*tree.Tree, func(string) string) (string, string) {
				return "", "error: no matching package named `regex`"
			}
		}, faults.Input, "cargo cannot choose its crates:\nerror: no matching package", "packages: {demo: {crates: [CRATE==VERSION]}}"},
		"an index that fails": {nil, func(w *world, _ *Options) {
			if err := errors.Join(os.RemoveAll(filepath.Join(w.crates, "index"))); err != nil {
				w.t.Fatal(err)
			}
			w.chosen = func(_ *tree.Tree, index func(string) string) (string, string) {
				return "", "error: " + index("re/ge/regex") + "400"
			}
		}, faults.Unknown, "none of its mirrors is an index", "sparse index"},
		"crates from git": {nil, func(w *world, _ *Options) {
			w.chosen = func(*tree.Tree, func(string) string) (string, string) {
				return cargoLock(locked("one", "1.0.0", "git+https://git.example/one#2", "")), ""
			}
		}, faults.Input, "crate one 1.0.0: it comes from a git", "choose another version"},
		"git in a manifest": {[]member{{name: "demo-1.0/Cargo.toml", text: "[target.'cfg(unix)'.dev-dependencies]\none = {git = \"https://git.example\"}\n[patch.crates-io]\ntwo = {git = \"x\"}\n[dependencies.three]\nregistry = \"own\"\n"}}, nil,
			faults.Input, "crate one: it comes from a git", "choose another version"},
		"another edition": {nil, func(w *world, _ *Options) { w.crate("regex", "1.13.0", "edition = \"2027\"\n", "1.99") },
			faults.Input, "crate regex 1.13.0 is of edition 2027", "packages:\n  demo:\n    crates: [regex==1.11.1]"},
		"a lock that is too long": {nil, func(w *world, _ *Options) {
			w.chosen = func(*tree.Tree, func(string) string) (string, string) {
				return strings.Repeat("#", recipes.MaxCargoLock+1), ""
			}
		}, faults.Input, "wrote one of 1048577 bytes", "choose another version"},
		"no crate": {nil, func(w *world, _ *Options) {
			w.chosen = func(*tree.Tree, func(string) string) (string, string) {
				sum := put(w.t, w.st, "no archive")
				return cargoLock(locked("regex", "1.0.0", registryOfTest, sum)), ""
			}
		}, faults.Input, "reading crate regex-1.0.0", "crates: [CRATE==VERSION]"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, reqs, opts := bareWorld(t, "", c.more...)
			if c.change != nil {
				c.change(w, &opts)
			}
			_, err := w.build(reqs, opts)
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(strings.Join(faults.Hints(err), "\n"), c.hint) {
				t.Fatalf("got %v\nhints %q", err, faults.Hints(err))
			}
			if c.kind != faults.Unknown && faults.Of(err) != c.kind {
				t.Errorf("it is of kind %v", faults.Of(err))
			}
		})
	}
}

// A crate that states a newer Rust is told, and no more: it may be for another platform.
func TestNewerRustIsTold(t *testing.T) {
	t.Parallel()
	w, reqs, opts := bareWorld(t, "")
	w.crate("regex", "1.13.0", "edition = \"2021\"\nrust-version = \"1.90\"\n", "1.90")
	r := progresstest.New()
	p := w.start(reqs, opts)
	if err := p.lockDists(r.Context(t.Context())); err != nil {
		t.Fatal(err)
	}
	if told := strings.Join(messages(r), "\n"); !strings.Contains(told, "crate regex 1.13.0 is for Rust 1.90") || !strings.Contains(told, "newer Rust than the 1.85 of bookworm") || !strings.Contains(told, "crates: [regex==1.11.1]") {
		t.Errorf("told: %s", told)
	}
}

// Where cargo is not asked, pins of crates do nothing, and that is told.
func TestCratesOfASdistWithALock(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.recipeWith("packages: {demo: {crates: [itoa==1.0.14]}}\n")
	sdist, _ := w.rustSdist("demo", "a crate", "maturin>=1")
	w.knows(map[string][]indexFile{"demo==1.0": {sdist}})
	_, err := w.build(requirements("demo==1.0"), Options{})
	checkFault(t, err, "ampoule.yaml:6:19: demo-1.0.tar.gz brings the Cargo.lock that its build takes", "remove crates, or choose another version of demo")
}

// A patch that changes what cargo would read is refused: cargo reads the sdist.
func TestPatchesOfManifests(t *testing.T) {
	t.Parallel()
	w, reqs, opts := bareWorld(t, "packages: {demo: {patches: [a.patch]}}\n")
	reqs.Patches = map[string][]byte{"a.patch": []byte("--- a/Cargo.toml\n+++ b/py/Cargo.toml\n@@ -1 +1 @@\n-a\n+b\n")}
	_, err := w.build(reqs, opts)
	if faults.Of(err) != faults.Input || !strings.Contains(err.Error(), "a.patch changes Cargo.toml") {
		t.Errorf("got %v", err)
	}
}

func TestMinorOfRust(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int{"1.85.0+dfsg3-1~deb12u3": 85, "2:1.70": 70, "1.65": 65, "": -1, "2.0": -1, "1.x": -1, "1.85beta": 85} {
		got, ok := minorOfRust(text)
		if ok != (want >= 0) || ok && got != want {
			t.Errorf("%q: %d, %t", text, got, ok)
		}
	}
}

// Manifests are foreign: whatever stands there, what is refused is refused by name.
func FuzzDirectCrates(f *testing.F) {
	f.Add([]byte(bareManifest))
	f.Add([]byte("[workspace.dependencies]\na = {git = \"x\"}\n[replace]\n\"b:1\" = {git = \"y\"}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, err := range directCrates("Cargo.toml", data) {
			if err.Error() == "" {
				t.Error("an error without a text")
			}
		}
	})
}
