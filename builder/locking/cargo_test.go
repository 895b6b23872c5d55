package locking

import (
	"archive/tar"
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/builder/locking/sources"
	"ampoule/faults"
	"ampoule/recipes"
)

var (
	sumA = strings.Repeat("a", 64)
	sumB = strings.Repeat("b", 64)
)

const registryOfTest = "registry+https://git.example" + publicRegistry

// cargoLock is a Cargo.lock of the newest format with these packages.
func cargoLock(packages ...string) string {
	return "version = 4\n" + strings.Join(packages, "")
}

func locked(name, version, source, sum string) string {
	text := fmt.Sprintf("[[package]]\nname = %q\nversion = %q\n", name, version)
	if source != "" {
		text += fmt.Sprintf("source = %q\n", source)
	}
	if sum != "" {
		text += fmt.Sprintf("checksum = %q\n", sum)
	}
	return text
}

func TestParseCargoLock(t *testing.T) {
	t.Parallel()
	libc := recipes.Crate{Name: "libc", Version: "0.2.1", SHA256: sumA}
	ours := locked("ours", "0.1.0", "", "")
	for name, c := range map[string]struct {
		text string
		want []recipes.Crate
	}{
		"empty": {"", []recipes.Crate{}},
		"sorted": {
			cargoLock(ours, locked("syn", "2.0.0", registryOfTest, sumB), locked("libc", "0.2.1", registryOfTest, sumA), locked("syn", "1.0.0", registryOfTest, sumA)),
			[]recipes.Crate{libc, {Name: "syn", Version: "1.0.0", SHA256: sumA}, {Name: "syn", Version: "2.0.0", SHA256: sumB}},
		},
		"format 1": {
			"[root]\nname = \"ours\"\nversion = \"0.1.0\"\n" + ours + locked("libc", "0.2.1", registryOfTest, "") +
				fmt.Sprintf("[metadata]\n\"checksum libc 0.2.1 (%s)\" = %q\n", registryOfTest, sumA),
			[]recipes.Crate{libc},
		},
		"format 2":   {ours + locked("libc", "0.2.1", registryOfTest, sumA) + "dependencies = [\"syn\"]\n", []recipes.Crate{libc}},
		"format 3":   {"version = 3\n" + locked("libc", "0.2.1", registryOfTest, sumA), []recipes.Crate{libc}},
		"twice":      {cargoLock(locked("libc", "0.2.1", registryOfTest, sumA), locked("libc", "0.2.1", registryOfTest, sumA)), []recipes.Crate{libc}},
		"build part": {cargoLock(locked("z", "1.0.0-rc.1+a.2", registryOfTest, sumA)), []recipes.Crate{{Name: "z", Version: "1.0.0-rc.1+a.2", SHA256: sumA}}},
	} {
		got, err := parseCargoLock([]byte(c.text))
		if diff := cmp.Diff(c.want, got); diff != "" || err != nil {
			t.Errorf("%s: %v %s", name, err, diff)
		}
	}
}

func TestParseCargoLockRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		text string
		want []string
		hint bool
	}{
		"all at once": {
			cargoLock(locked("one", "1.0.0", "git+https://git.example/one?rev=1#2", ""), locked("two", "2.0.0", "registry+https://git.example/index", sumA)),
			[]string{"crate one 1.0.0: it comes from a git", "crate two 2.0.0: it comes from another registry"}, true,
		},
		"sparse":         {cargoLock(locked("one", "1.0.0", "sparse+https://index.example/", sumA)), []string{"another registry"}, true},
		"no checksum":    {cargoLock(locked("one", "1.0.0", registryOfTest, "")), []string{"one 1.0.0: Cargo.lock has no sha256"}, true},
		"no sha256":      {cargoLock(locked("one", "1.0.0", registryOfTest, "<none>")), []string{"no sha256"}, true},
		"two contents":   {cargoLock(locked("one", "1.0.0", registryOfTest, sumA), locked("one", "1.0.0", registryOfTest, sumB)), []string{"different sha256"}, true},
		"name":           {cargoLock(locked("../one", "1.0.0", registryOfTest, sumA)), []string{"no crate"}, false},
		"version":        {cargoLock(locked("one", "1.0/2", registryOfTest, sumA)), []string{"no crate"}, false},
		"long version":   {cargoLock(locked("one", "1.0.0-"+strings.Repeat("1", 100), registryOfTest, sumA)), []string{"no crate"}, false},
		"newer":          {"version = 5\n", []string{"format is 5"}, false},
		"no TOML":        {"[[package]\n", []string{"toml"}, false},
		"another format": {"version = \"4\"\n", []string{"toml"}, false},
	} {
		got, err := parseCargoLock([]byte(c.text))
		if err == nil {
			t.Errorf("%s: %v", name, got)
			continue
		}
		for _, want := range c.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %q", name, err, want)
			}
		}
		if (faults.Of(err) == faults.Input) != c.hint || c.hint && len(faults.Hints(err)) == 0 {
			t.Errorf("%s: hint of %v", name, err)
		}
	}
}

func openSdist(t testing.TB, archive []byte) *os.File {
	t.Helper()
	name := filepath.Join(t.TempDir(), "archive")
	if err := os.WriteFile(name, archive, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

const (
	maturinBuild = "[build-system]\nrequires = [\"maturin>=1,<2\"]\nbuild-backend = \"maturin\"\n"
	setuptools   = "[build-system]\nrequires = [\"setuptools\", \"Setuptools_Rust[x] ; python_version > '3'\"]\n"
)

func TestCargoLocks(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		pyproject string
		files     []string
		want      []string
		needs     bool
	}{
		"top":            {maturinBuild, []string{"Cargo.toml", "Cargo.lock"}, []string{"Cargo.lock"}, true},
		"vendored":       {maturinBuild, []string{"Cargo.toml", "Cargo.lock", "include/cargo/cc/Cargo.toml", "include/cargo/cc/Cargo.lock"}, []string{"Cargo.lock"}, true},
		"no lock":        {setuptools, []string{"Cargo.toml", "tests/Cargo.lock"}, nil, true},
		"workspace":      {maturinBuild + "[tool.maturin]\nmanifest-path = \"src/rust/Cargo.toml\"\n", []string{"Cargo.toml", "Cargo.lock", "src/rust/Cargo.toml", "src/rust/cffi/Cargo.toml"}, []string{"Cargo.lock"}, true},
		"beside":         {maturinBuild + "[tool.maturin]\nmanifest-path = \"./py/Cargo.toml\"\n", []string{"Cargo.toml", "py/Cargo.toml", "py/Cargo.lock", "cli/Cargo.lock"}, []string{"py/Cargo.lock"}, true},
		"both":           {maturinBuild + "[tool.maturin]\nmanifest-path = \"py/Cargo.toml\"\n", []string{"Cargo.lock", "py/Cargo.toml", "py/Cargo.lock"}, []string{"Cargo.lock", "py/Cargo.lock"}, true},
		"setuptools":     {setuptools + "[[tool.setuptools-rust.ext-modules]]\ntarget = \"x\"\npath = \"src/_x/Cargo.toml\"\n", []string{"src/_x/Cargo.toml", "src/_x/Cargo.lock"}, []string{"src/_x/Cargo.lock"}, true},
		"default path":   {setuptools + "[[tool.setuptools-rust.bins]]\ntarget = \"x\"\n", []string{"Cargo.toml", "Cargo.lock"}, []string{"Cargo.lock"}, true},
		"in setup.py":    {setuptools, []string{"src/rust/Cargo.toml", "src/rust/Cargo.lock", "src/rust/x/Cargo.toml", "tests/Cargo.toml", "tests/Cargo.lock"}, []string{"src/rust/Cargo.lock"}, true},
		"only examples":  {setuptools, []string{"examples/x/Cargo.toml", "examples/x/Cargo.lock"}, nil, false},
		"not built":      {"[build-system]\nrequires = [\"setuptools\", \"maturin-import-hook\"]\n", []string{"Cargo.toml", "Cargo.lock"}, nil, false},
		"table only":     {"[build-system]\nrequires = [\"setuptools\"]\n[tool.maturin]\nmanifest-path = \"Cargo.toml\"\n", []string{"Cargo.toml", "Cargo.lock"}, nil, false},
		"no pyproject":   {"", []string{"Cargo.toml", "Cargo.lock"}, nil, false},
		"nothing":        {maturinBuild, nil, nil, false},
		"named and gone": {maturinBuild + "[tool.maturin]\nmanifest-path = \"Cargo.toml\"\n", nil, nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			members := []member{{name: "a-1/pyproject.toml", text: c.pyproject}}
			for _, file := range c.files {
				members = append(members, member{name: "./a-1/" + file, text: cargoLock()})
			}
			for file, archive := range map[string][]byte{"a-1.tar.gz": gzipped(tarOf(t, members...)), "a-1.zip": zipOf(t, members...)} {
				got, err := readCargo(t.Context(), openSdist(t, archive), file)
				if needs := len(got.manifests) > 0; err != nil || needs != c.needs || got.lacksLock() != (needs && c.want == nil) {
					t.Errorf("%s: %+v, %v", file, got, err)
				}
				if diff := cmp.Diff(c.want, slices.Sorted(maps.Keys(got.locks))); diff != "" {
					t.Errorf("%s: %s", file, diff)
				}
			}
		})
	}
}

func TestCargoLocksRefuses(t *testing.T) {
	t.Parallel()
	outside := func(manifest string) []byte {
		return gzipped(tarOf(t, member{name: "a-1/pyproject.toml", text: maturinBuild + "[tool.maturin]\nmanifest-path = \"" + manifest + "\"\n"}))
	}
	for name, c := range map[string]struct {
		file    string
		archive []byte
		want    string
	}{
		"other kind": {"a-1.tar.bz2", nil, "not an sdist that is known"},
		"no gzip":    {"a-1.tar.gz", []byte("x"), "reading a-1.tar.gz"},
		"no zip":     {"a-1.zip", []byte("x"), "reading a-1.zip"},
		"no TOML":    {"a-1.zip", zipOf(t, member{name: "a-1/pyproject.toml", text: "["}), "reading pyproject.toml"},
		"above":      {"a-1.tgz", outside("../Cargo.toml"), "is not in the sdist"},
		"absolute":   {"a-1.tgz", outside("/etc/Cargo.toml"), "is not in the sdist"},
	} {
		if _, err := readCargo(t.Context(), openSdist(t, c.archive), c.file); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func TestSdistCrates(t *testing.T) {
	t.Parallel()
	build := member{name: "a-1/pyproject.toml", text: maturinBuild + "[tool.maturin]\nmanifest-path = \"py/Cargo.toml\"\n"}
	lock := func(name, text string) member { return member{name: "a-1/" + name, text: text} }
	read := func(members ...member) ([]recipes.Crate, error) {
		build, err := readCargo(t.Context(), openSdist(t, gzipped(tarOf(t, members...))), "a-1.tar.gz")
		if err != nil {
			t.Fatal(err)
		}
		return build.crates()
	}
	one, two := locked("one", "1.0.0", registryOfTest, sumA), locked("two", "1.0.0", registryOfTest, sumA)
	got, err := read(build, lock("Cargo.lock", cargoLock(two, one)), lock("py/Cargo.lock", cargoLock(one)))
	want := []recipes.Crate{{Name: "one", Version: "1.0.0", SHA256: sumA}, {Name: "two", Version: "1.0.0", SHA256: sumA}}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Error(err, diff)
	}
	for want, members := range map[string][]member{
		"different sha256":                      {build, lock("Cargo.lock", cargoLock(one)), lock("py/Cargo.lock", cargoLock(locked("one", "1.0.0", registryOfTest, sumB)))},
		"reading a-1.tar.gz: its py/Cargo.lock": {build, lock("py/Cargo.lock", cargoLock(locked("one", "1.0.0", "git+x", "")))},
	} {
		_, err := read(members...)
		if faults.Of(err) != faults.Input || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	// A link is not followed: it is as if it were not there.
	linked, err := readCargo(t.Context(), openSdist(t, gzipped(tarOf(t, build, member{"a-1/py/Cargo.lock", "/etc/passwd", tar.TypeSymlink}))), "a-1.tar.gz")
	if err != nil || !linked.lacksLock() {
		t.Errorf("a link: %+v, %v", linked, err)
	}
	if got, err := read(member{name: "a-1/pyproject.toml"}, lock("Cargo.lock", "[")); len(got) > 0 || err != nil {
		t.Errorf("without cargo: %v, %v", got, err)
	}
}

func FuzzParseCargoLock(f *testing.F) {
	f.Add([]byte(cargoLock(locked("ours", "0.1.0", "", ""), locked("libc", "0.2.1", registryOfTest, sumA))))
	f.Add([]byte(locked("libc", "0.2.1", registryOfTest, "") + fmt.Sprintf("[metadata]\n\"checksum libc 0.2.1 (%s)\" = %q\n", registryOfTest, sumA)))
	f.Add([]byte(cargoLock(locked("one", "1.0.0", "git+https://git.example/one", ""))))
	f.Fuzz(func(t *testing.T, data []byte) {
		crates, err := parseCargoLock(data)
		if err != nil {
			return
		}
		for i, c := range crates {
			if file := c.Name + "-" + c.Version + ".crate"; filepath.Base(file) != file || len(c.SHA256) != 64 {
				t.Errorf("crate %v", c)
			}
			if i > 0 && crates[i-1].Name == c.Name && crates[i-1].Version == c.Version {
				t.Errorf("crate %v is there twice", c)
			}
		}
	})
}

func FuzzCargoFiles(f *testing.F) {
	members := []member{{name: "a-1/pyproject.toml", text: maturinBuild}, {name: "a-1/Cargo.toml"}, {name: "a-1/Cargo.lock", text: cargoLock()}}
	f.Add(tarOf(f, members...))
	f.Fuzz(func(t *testing.T, data []byte) {
		var found cargoFiles
		if err := found.read(sources.CPython(t.Context(), bytes.NewReader(gzipped(data)), "a-1.tgz")); err != nil {
			return
		}
		manifests, err := found.manifests(nil)
		if err != nil {
			return
		}
		for name := range found.locks(manifests) {
			if filepath.Base(name) != "Cargo.lock" {
				t.Errorf("%q is no Cargo.lock", name)
			}
		}
	})
}

// Manifests may be anywhere, and every walk up from one ends.
func FuzzManifests(f *testing.F) {
	f.Add("py/Cargo.toml", "Cargo.lock")
	f.Add("./../x", "x/Cargo.lock")
	f.Fuzz(func(t *testing.T, manifest, lock string) {
		found := cargoFiles{
			pyproject: []byte(maturinBuild + "[tool.maturin]\nmanifest-path = '" + manifest + "'\n"),
			tomls:     []string{manifest}, lockFiles: map[string][]byte{lock: nil},
		}
		manifests, err := found.manifests(nil)
		if err != nil {
			return
		}
		for name := range found.locks(manifests) {
			if name != lock {
				t.Errorf("manifests %q find %q", manifests, name)
			}
		}
	})
}
