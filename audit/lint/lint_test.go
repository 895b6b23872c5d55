package lint

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/audit/internal/specimen"
	"ampoule/tree"
)

// entry is a member of a wheel.
func entry(name string, data []byte) tree.Entry {
	e := tree.FileEntry(name, 0o644, data)
	e.Content = tree.Section(bytes.NewReader(data), 0, int64(len(data)))
	return e
}

const info = "spam-1.0.dist-info/"

// wheelOf is a wheel that has what any has, and more files by path; a text that is empty
// leaves a file out.
func wheelOf(tags string, files map[string]string) Wheel {
	all := map[string]string{
		info + "WHEEL":    "Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: " + tags + "\n",
		info + "METADATA": "Metadata-Version: 2.1\nName: spam\nVersion: 1.0\n",
		info + "RECORD":   "x",
	}
	for name, text := range files {
		all[name] = text
	}
	w := Wheel{Name: "spam-1.0-" + tags + ".whl"}
	for name, text := range all {
		w.Files = append(w.Files, entry(name, []byte(text)))
	}
	return w
}

func check(t *testing.T, w Wheel) *Report {
	t.Helper()
	r, err := Check(w)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// rulesOf names the rules that have something to say.
func rulesOf(r *Report) []string {
	names := []string{}
	for _, n := range r.Notes {
		names = append(names, n.Rule)
	}
	return names
}

// filesOf are the files that a rule names.
func filesOf(r *Report, rule string) []string {
	for _, n := range r.Notes {
		if n.Rule == rule {
			return n.Files
		}
	}
	return nil
}

// library compiles a shared library that has functions, each of a version: "f@V_1". It
// returns the file's path.
func library(t *testing.T, soname string, functions ...string) string {
	t.Helper()
	var source, script strings.Builder
	source.WriteString("int lib;\n")
	versions := map[string][]string{}
	for _, f := range functions {
		name, version, _ := strings.Cut(f, "@")
		source.WriteString("void " + name + "(void) {}\n")
		versions[version] = append(versions[version], name)
	}
	for version, names := range versions {
		if version != "" {
			script.WriteString(version + " { global: " + strings.Join(names, "; ") + "; };\n")
		}
	}
	flags := []string{"-shared", "-fPIC", "-Wl,-soname," + soname}
	if script.Len() > 0 {
		file := filepath.Join(t.TempDir(), "map")
		if err := os.WriteFile(file, []byte(script.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		flags = append(flags, "-Wl,--version-script="+file)
	}
	return specimen.Compile(t, source.String(), flags...)
}

// module compiles an extension module that calls functions, linked to libraries and with
// more flags.
func module(t *testing.T, name string, calls []string, flags ...string) string {
	t.Helper()
	var source strings.Builder
	for _, c := range calls {
		source.WriteString("void " + c + "(void);\n")
	}
	source.WriteString("void *PyInit_" + name + "(void) {")
	for _, c := range calls {
		source.WriteString(c + "();")
	}
	source.WriteString(" return 0; }")
	return read(t, specimen.Compile(t, source.String(), append([]string{"-shared", "-fPIC"}, flags...)...))
}

func read(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestRulesAreSorted(t *testing.T) {
	t.Parallel()
	names := []string{}
	for _, r := range Rules() {
		names = append(names, r.Name)
		if !HasRule(r.Name) || r.Reason == "" || r.Level != Fault && r.Level != Advice {
			t.Errorf("rule %+v", r)
		}
	}
	if !slices.IsSorted(names) || len(names) != len(levels) {
		t.Errorf("rules %v", names)
	}
	if HasRule("nonsense") {
		t.Error("there is a rule of any name")
	}
}

func TestWithout(t *testing.T) {
	t.Parallel()
	r := check(t, wheelOf("py3-none-any", map[string]string{"spam/__init__.py": "spam = 1", "spam/__pycache__/x.pyc": "c", "README": "r"}))
	if diff := cmp.Diff([]string{"bytecode", "toplevel-file"}, rulesOf(r)); diff != "" || r.Faults() != 2 {
		t.Fatalf("%d faults; rules (-want +got):\n%s", r.Faults(), diff)
	}
	r.Without([]string{"bytecode"})
	if diff := cmp.Diff([]string{"toplevel-file"}, rulesOf(r)); diff != "" || r.Faults() != 1 {
		t.Errorf("%d faults; rules (-want +got):\n%s", r.Faults(), diff)
	}
}

// TestUnsound reads what is no wheel: there is less to say of it, and no fault of the program.
func TestUnsound(t *testing.T) {
	t.Parallel()
	for name, w := range map[string]Wheel{
		"no name":       {Name: "spam.whl", Files: []tree.Entry{entry("spam/__init__.py", []byte("x"))}},
		"nothing":       {Name: "spam-1.0-py3-none-any.whl"},
		"no metadata":   {Name: "spam-1.0-py3-none-any.whl", Files: []tree.Entry{entry(info+"METADATA", []byte("\x00\xff")), entry(info+"WHEEL", []byte(": :"))}},
		"half a module": wheelOf("cp313-cp313-manylinux_2_17_x86_64", map[string]string{"spam.cpython-313-x86_64-linux-gnu.so": "\x7fELF\x02\x01\x01"}),
		"odd tags":      {Name: "spam-1.0-cp313-cp313-manylinux_2_x.manylinux_._linux_.whl", Files: []tree.Entry{entry("a/b.py", []byte("x"))}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if r := check(t, w); r.Modules == nil || r.Notes == nil {
				t.Errorf("report %+v", r)
			}
		})
	}
}

func FuzzCheck(f *testing.F) {
	f.Add("spam-1.0-py3-none-any.whl", "spam/__init__.py", "x", "spam")
	f.Add("spam-1.0-cp313-cp313-manylinux_2_17_x86_64.whl", "spam-1.0.data/purelib/spam.so", "\x7fELF", "a.b/c")
	f.Fuzz(func(t *testing.T, name, member, data, declared string) {
		w := wheelOf("cp39-abi3-linux_x86_64", map[string]string{info + "top_level.txt": declared, info + "WHEEL": data})
		w.Name = name
		if tree.CheckPath(member) == nil {
			w.Files = append(w.Files, entry(member, []byte(data)))
		}
		if _, err := Check(w); err != nil {
			t.Error(err)
		}
	})
}

// specimenOf compiles a shared object without a module in it, and returns its path.
func specimenOf(t *testing.T, source string, flags ...string) string {
	t.Helper()
	if !slices.Contains(flags, "-static-pie") {
		flags = append(flags, "-shared")
	}
	return specimen.Compile(t, source, append(flags, "-fPIC")...)
}

// file writes a file of a name that a linker can be given.
func file(t *testing.T, name, data string) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(p, []byte(data), 0o644); err != nil {
		t.Fatal(err)
	}
	return p
}
