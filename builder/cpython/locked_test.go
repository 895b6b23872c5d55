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

// A profile is compared with the packages of the compiler that is used.
func TestCompilers(t *testing.T) {
	t.Parallel()
	lock := &recipes.Lock{Base: recipes.LockedBase{Suite: "trixie"}, Debian: map[string]recipes.Suite{}}
	for _, name := range []string{"bolt-18", "bolt-19", "clang-19", "cpp-14", "g++-14", "gcc", "gcc-13", "gcc-14", "llvm-19", "make"} {
		lock.Debian["trixie"] = append(lock.Debian["trixie"], recipes.Deb{Name: name, Version: "1"})
		lock.Toolchain = append(lock.Toolchain, name)
	}
	lock.Debian["trixie"] = append(lock.Debian["trixie"], recipes.Deb{Name: "clang-18", Version: "1"})
	for compiler, want := range map[string][]string{
		"":              {"clang-19=1", "cpp-14=1", "g++-14=1", "gcc-13=1", "gcc-14=1", "llvm-19=1"},
		"gcc-13":        {"gcc-13=1"},
		"gcc-13 BOLT":   {"bolt-19=1", "gcc-13=1"},
		"clang":         {"clang-19=1", "llvm-19=1"},
		"clang-19":      {"clang-19=1", "llvm-19=1"},
		"clang-18 BOLT": {"bolt-18=1"},
	} {
		p := recipes.Python{}
		var bolt bool
		if p.Compiler, _, bolt = strings.Cut(compiler, " "); bolt {
			p.Configure = []string{"--enable-bolt"}
		}
		if got := Compilers(p, lock); !slices.Equal(got, want) {
			t.Errorf("of %q: %q", compiler, got)
		}
	}
}
