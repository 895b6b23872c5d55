package cpython

import (
	"context"
	"debug/elf"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/builder/sandbox"
	"ampoule/faults"
	"ampoule/recipes"
)

func TestConfigureArgs(t *testing.T) {
	t.Parallel()
	const shared, static, libraryObjects = "--enable-shared", staticLibpythonFlag, "LINK_PYTHON_OBJS=$(LIBRARY_OBJS)"
	for name, c := range map[string]struct {
		flags, knows, configure, make []string
	}{
		"nothing":      {nil, nil, []string{"--prefix=/opt/a"}, nil},
		"static":       {[]string{"--with-lto"}, []string{static}, []string{"--prefix=/opt/a", "--with-lto"}, nil},
		"shared":       {[]string{shared}, []string{static}, []string{"--prefix=/opt/a", shared}, nil},
		"embed":        {[]string{shared, static, "--with-lto"}, []string{shared}, []string{"--prefix=/opt/a", shared, "--with-lto"}, []string{libraryObjects}},
		"embed, 3.15":  {[]string{static, shared}, []string{shared, static}, []string{"--prefix=/opt/a", static, shared}, nil},
		"order counts": {[]string{"--b", "--a"}, nil, []string{"--prefix=/opt/a", "--b", "--a"}, nil},
	} {
		spec := Spec{Prefix: "opt/a", Configure: slices.Clone(c.flags), Knows: c.knows}
		configure, makeArgs := configureArgs(spec)
		if diff := cmp.Diff(c.configure, configure); diff != "" {
			t.Errorf("%s: configure (-want +got):\n%s", name, diff)
		}
		if diff := cmp.Diff(c.make, makeArgs); diff != "" {
			t.Errorf("%s: make (-want +got):\n%s", name, diff)
		}
		if diff := cmp.Diff(c.flags, spec.Configure); diff != "" {
			t.Errorf("%s: the caller's flags changed (-want +got):\n%s", name, diff)
		}
	}
}

func specimen() Spec {
	return Spec{
		Version: "3.13.5", Source: "ab", Configure: []string{"--enable-shared", staticLibpythonFlag}, Knows: []string{"--enable-shared"},
		Prefix: "opt/ampoule", Toolchain: sandbox.Image{Layers: []sandbox.Layer{{DiffID: "sha256:1"}, {DiffID: "sha256:2"}}},
	}
}

// What a recipe says of the compiler, the level and flags reaches configure as variables, in one order.
func TestVariables(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spec Spec
		want []string
	}{
		"nothing":        {Spec{}, []string{}},
		"gcc-13":         {Spec{Compiler: "gcc-13"}, []string{"CC=gcc-13", "CXX=g++-13"}},
		"clang":          {Spec{Compiler: "clang"}, []string{"CC=clang", "CXX=clang++", "LLVM_AR=/usr/bin/llvm-ar", "LLVM_PROFDATA=/usr/bin/llvm-profdata"}},
		"clang-19":       {Spec{Compiler: "clang-19"}, []string{"CC=clang-19", "CXX=clang++-19", "LLVM_AR=/usr/bin/llvm-ar-19", "LLVM_PROFDATA=/usr/bin/llvm-profdata-19"}},
		"BOLT":           {Spec{Configure: []string{"--enable-bolt"}}, []string{"LLVM_BOLT=/usr/lib/llvm-19/bin/llvm-bolt", "MERGE_FDATA=/usr/lib/llvm-19/bin/merge-fdata"}},
		"a level":        {Spec{CPU: "x86-64-v3"}, []string{"CFLAGS=-march=x86-64-v3", "LDFLAGS=-Wl,-z,x86-64-v3"}},
		"level and flag": {Spec{CPU: "x86-64-v2", Env: map[string]string{"OPT": "-O2", "CFLAGS": "-g0"}}, []string{"CFLAGS=-march=x86-64-v2 -g0", "LDFLAGS=-Wl,-z,x86-64-v2", "OPT=-O2"}},
	} {
		if got := variables(c.spec); !slices.Equal(got, c.want) {
			t.Errorf("%s: configure is told %q", name, got)
		}
	}
}

// At a fixed address, executables alone are linked otherwise: no library is made of objects that cannot
// be in one.
func TestNoPIE(t *testing.T) {
	t.Parallel()
	const link, compile = "LINKCC=$(PURIFY) $(CC) -no-pie -Wl,--disable-new-dtags,-rpath,'$$ORIGIN/../lib'", "CFLAGSFORSHARED=-fno-pie"
	for name, c := range map[string]struct{ flags, want []string }{
		"static":       {nil, []string{link, compile}},
		"at link time": {[]string{"--with-lto"}, []string{link}},
		"embed":        {[]string{"--enable-shared", staticLibpythonFlag}, []string{"LINK_PYTHON_OBJS=$(LIBRARY_OBJS)", link}},
	} {
		if _, got := configureArgs(Spec{Configure: c.flags, NoPIE: true}); !slices.Equal(got, c.want) {
			t.Errorf("%s: make is told %q", name, got)
		}
	}
}

// The host's make, which runs itself as CPython's does, links by these arguments: the search path that
// finish.py wants is there already, at a fixed address.
func TestNoPIELinks(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	const makefile = "CC=gcc\nLINKCC=$(PURIFY) $(CC)\nall:\n\t$(MAKE) inner\ninner:\n\t$(MAKE) python\npython: python.c\n\t$(LINKCC) $(CFLAGSFORSHARED) -o $@ $<\n"
	for name, text := range map[string]string{"Makefile": makefile, "python.c": "int main(void) { return 0; }\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "make", append([]string{"-C", dir}, noPIE(Spec{})...)...)
	if told, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, told)
	}
	f, err := elf.Open(filepath.Join(dir, "python"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	paths, err := f.DynString(elf.DT_RPATH)
	if f.Type != elf.ET_EXEC || !slices.Equal(paths, []string{"$ORIGIN/../lib"}) || err != nil {
		t.Errorf("the executable is %s and searches %q, %v", f.Type, paths, err)
	}
}

func TestKey(t *testing.T) {
	t.Parallel()
	if n := reflect.TypeFor[Spec]().NumField(); n != 13 {
		t.Errorf("Spec has %d fields: the cases below must say of each whether it decides", n)
	}
	seen := map[string]string{Key(specimen()): "the specimen"}
	for name, change := range map[string]func(*Spec){
		"version":       func(s *Spec) { s.Version = "3.13.6" },
		"source":        func(s *Spec) { s.Source = "ac" },
		"fewer flags":   func(s *Spec) { s.Configure = s.Configure[:1] },
		"no flags":      func(s *Spec) { s.Configure = nil },
		"more flags":    func(s *Spec) { s.Configure = append(s.Configure, "--with-lto") },
		"another order": func(s *Spec) { s.Configure = append([]string{"--with-lto"}, s.Configure...) },
		"prefix":        func(s *Spec) { s.Prefix = "opt/other" },
		"a layer":       func(s *Spec) { s.Toolchain.Layers[1].DiffID = "sha256:3" },
		"fewer layers":  func(s *Spec) { s.Toolchain.Layers = s.Toolchain.Layers[:1] },
		"their order": func(s *Spec) {
			s.Toolchain.Layers[0], s.Toolchain.Layers[1] = s.Toolchain.Layers[1], s.Toolchain.Layers[0]
		},
		"a profile":       func(s *Spec) { s.Profile = "ad" },
		"a fixed place":   func(s *Spec) { s.NoPIE = true },
		"a compiler":      func(s *Spec) { s.Compiler = "clang" },
		"its version":     func(s *Spec) { s.Compiler = "clang-19" },
		"a level":         func(s *Spec) { s.CPU = "x86-64-v3" },
		"flags":           func(s *Spec) { s.Env = map[string]string{"CFLAGS_NODIST": "-fno-plt"} },
		"a linked module": func(s *Spec) { s.Builtin = []string{"_json"} },
		"embed by flags":  func(s *Spec) { s.Knows = append(s.Knows, staticLibpythonFlag) },
	} {
		spec := specimen()
		change(&spec)
		key := Key(spec)
		if other, ok := seen[key]; ok {
			t.Errorf("%s gives the key of %s", name, other)
		}
		seen[key] = name
	}
	for name, change := range map[string]func(*Spec){
		"nothing":                        func(*Spec) {},
		"a known flag that is not given": func(s *Spec) { s.Knows = append(s.Knows, "--with-lto") },
		"the packages of compilers":      func(s *Spec) { s.Compilers = []string{"gcc-12=1"} },
		"what else the image says":       func(s *Spec) { s.Toolchain.Config.Labels = map[string]string{"a": "b"} },
		"where a layer is": func(s *Spec) {
			s.Toolchain.Layers[0].Open = func(context.Context) (io.ReadCloser, error) { return nil, errors.New("elsewhere") }
		},
	} {
		spec := specimen()
		change(&spec)
		if Key(spec) != Key(specimen()) {
			t.Errorf("%s changes the key", name)
		}
	}
}

// The rules of BOLT are in the keys of recipes that it arranges for, and in no others.
func TestRules(t *testing.T) {
	t.Parallel()
	optimised := []string{"--enable-optimizations"}
	bolt := append(optimised, "--enable-bolt")
	for _, p := range []recipes.Python{{}, {Configure: optimised, Profile: "sha256:ad"}, {Configure: bolt}} {
		if got := Rules(p); got != "" {
			t.Errorf("%+v has rules %s", p, got)
		}
	}
	if Rules(recipes.Python{Configure: bolt, Profile: "sha256:ad"}) == "" {
		t.Error("BOLT's counts are used without rules")
	}
}

func TestCheckModules(t *testing.T) {
	t.Parallel()
	i := &Interpreter{Modules: map[string]string{
		"_ssl": "missing", "math": "yes", "nis": "disabled", "_scproxy": "n/a", "_ctypes": "broken: no libffi.so.8", "_odd": "missing",
	}}
	err := i.CheckModules([]string{"_odd", "unknown"})
	if faults.Of(err) != faults.Build {
		t.Fatalf("error %v", err)
	}
	want := "standard extension modules were not built:" +
		"\n    _ctypes (broken: no libffi.so.8), which needs the Debian package libffi-dev" +
		"\n    _ssl (missing), which needs the Debian package libssl-dev"
	if err.Error() != want {
		t.Errorf("Error() = %q, want %q", err, want)
	}
	const hint = "add the packages to toolchain.packages, or say that the modules may be missing: python.optional: [_ctypes, _ssl]"
	if got := faults.Hints(err); !slices.Equal(got, []string{hint}) {
		t.Errorf("hints %q, want %q", got, hint)
	}
	if err := i.CheckModules([]string{"_odd", "_ssl", "_ctypes"}); err != nil {
		t.Errorf("all missing ones are optional: %v", err)
	}
	if got := missingModules(map[string]string{"_odd": "missing"}).Error(); got != "standard extension modules were not built:\n    _odd (missing)" {
		t.Errorf("a module of no known package: %q", got)
	}
}

func TestMinorVersion(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]string{"3.13.5": "3.13", "3.14.0rc1": "3.14", "3.13": "3.13", "3": "3"} {
		if got := MinorVersion(version); got != want {
			t.Errorf("MinorVersion(%q) = %q, want %q", version, got, want)
		}
	}
}

// TestRecordForm: what an older build recorded must be readable.
func TestRecordForm(t *testing.T) {
	t.Parallel()
	data, err := json.Marshal(record{"l", "d", map[string]string{"m": "yes"}})
	if want := `{"Layer":"l","Debug":"d","Modules":{"m":"yes"}}`; string(data) != want || err != nil {
		t.Errorf("%s, %v; want %s", data, err, want)
	}
}
