package cpython

import (
	"slices"
	"strings"
	"testing"

	"ampoule/builder/fetch"
	"ampoule/recipes"
)

func TestLocked(t *testing.T) {
	t.Parallel()
	if got := Path("opt/ampoule", "3.13.5"); got != "/opt/ampoule/bin/python3.13" {
		t.Errorf("the path is %s", got)
	}
	locked := recipes.LockedPython{Version: "3.99.0", File: "Python-3.99.0.tgz", SHA256: "0", Flags: []string{"--with-magic"}}
	want := fetch.Item{Source: "cpython", Name: "cpython", Version: "3.99.0", File: "Python-3.99.0.tgz", SHA256: "0"}
	if got := Item(locked); got != want {
		t.Errorf("fetched is %+v", got)
	}
	if got := Flags(locked); !slices.Equal(got, locked.Flags) {
		t.Errorf("it knows %q", got)
	}
	// What a known release says counts, whatever its lock does.
	locked.Version = "3.13.5"
	if got := Flags(locked); slices.Contains(got, "--with-magic") || len(got) == 0 {
		t.Errorf("a known release knows %q", got)
	}
}

// A profile is compared with the packages of the compiler that is used, and with those of no other one.
func TestCompilers(t *testing.T) {
	t.Parallel()
	lock := &recipes.Lock{Base: recipes.LockedBase{Suite: "trixie"}, Debian: map[string]recipes.Suite{}}
	lock.Debian["trixie"] = append(lock.Debian["trixie"], recipes.Deb{Name: "clang-18", Version: "1"})
	add := func(version string, names ...string) {
		for _, name := range names {
			lock.Debian["trixie"] = append(lock.Debian["trixie"], recipes.Deb{Name: name, Version: version})
			lock.Toolchain = append(lock.Toolchain, name)
		}
	}
	add("1", "bolt-18", "bolt-19", "clang-19", "cpp-14", "g++-14", "gcc-13", "gcc-14", "llvm-17", "llvm-19", "make")
	expect := func(all map[string][]string) {
		t.Helper()
		for compiler, want := range all {
			p := recipes.Python{}
			var bolt bool
			if p.Compiler, _, bolt = strings.Cut(compiler, " "); bolt {
				p.Configure = []string{"--enable-bolt"}
			}
			if got := Compilers(p, lock); !slices.Equal(got, want) {
				t.Errorf("of %q: %q, want %q", compiler, got, want)
			}
		}
	}
	// Where the toolchain has a compiler of no name without a version, all versions may be it.
	expect(map[string][]string{
		"":      {"cpp-14=1", "g++-14=1", "gcc-13=1", "gcc-14=1"},
		"clang": {"clang-19=1", "llvm-17=1", "llvm-19=1"},
	})
	add("4:14.2.0-1", "gcc")
	add("1:19.0-63", "clang")
	expect(map[string][]string{
		"":              {"cpp-14=1", "g++-14=1", "gcc-14=1"},
		" BOLT":         {"bolt-19=1", "cpp-14=1", "g++-14=1", "gcc-14=1"},
		"gcc":           {"cpp-14=1", "g++-14=1", "gcc-14=1"},
		"gcc-13":        {"gcc-13=1"},
		"gcc-13 BOLT":   {"bolt-19=1", "gcc-13=1"},
		"clang":         {"clang-19=1", "llvm-19=1"},
		"clang-19":      {"clang-19=1", "llvm-19=1"},
		"clang-18 BOLT": {"bolt-18=1"},
	})
}
