package audit

import (
	"encoding/binary"
	"path"
	"strings"
	"testing"

	"ampoule/tree"
)

// pyc is the beginning of bytecode of Python 3.MINOR.
func pyc(minor int) []byte {
	return append(binary.LittleEndian.AppendUint16(nil, magics[minor]), "\r\n\x00\x00\x00\x00........"...)
}

// victim is a distribution "victim" for the specimens' interpreter, with files by their paths
// in site-packages.
func victim(t *testing.T, files map[string][]byte) []tree.Entry {
	t.Helper()
	var entries []tree.Entry
	for name, data := range files {
		entries = append(entries, tree.FileEntry(site+name, 0o644, data))
	}
	return installed("victim", entries...)
}

func TestModules(t *testing.T) {
	t.Parallel()
	compiled := func(source string, flags ...string) []byte {
		return readAll(t, fromFile(t, "x", shop.build(t, "m.so", source, append([]string{"-shared"}, flags...)...)))
	}
	const asks = "int PyList_New(void); "
	spam := compiled(asks + "int PyInit_spam(void) { return PyList_New(); }")
	eggs := compiled(asks + "int PyInit_eggs(void) { return PyList_New(); }")
	none := compiled(asks + "int initialise(void) { return PyList_New(); }")
	library := compiled("int answer(void) { return 42; }")
	object := readAll(t, fromFile(t, "x", shop.build(t, "m.o", "int PyInit_spam(void) { return 0; }", "-r")))
	text := func(s string) []byte { return []byte(s) }
	symbol := func(severity, file, name string) []string {
		return []string{severity + " modules " + site + file + ": symbol PyInit_" + name}
	}
	content := func(severity, file, is string) []string {
		return []string{severity + " modules " + site + file + ": content " + is}
	}
	for name, c := range map[string]struct {
		files map[string][]byte
		want  []string
	}{
		"a module":                             {map[string][]byte{"spam" + suffix: spam}, nil},
		"a module in a package":                {map[string][]byte{"a/b/spam.abi3.so": spam}, nil},
		"a package":                            {map[string][]byte{"spam/__init__" + suffix: spam}, nil},
		"a package with the wrong function":    {map[string][]byte{"spam/__init__" + suffix: eggs}, symbol("refuse", "spam/__init__"+suffix, "spam")},
		"renamed":                              {map[string][]byte{"spam" + suffix: eggs}, symbol("refuse", "spam"+suffix, "spam")},
		"renamed, without a suffix of its own": {map[string][]byte{"spam.so": eggs}, symbol("refuse", "spam.so", "spam")},
		"without its function":                 {map[string][]byte{"spam" + suffix: none}, symbol("refuse", "spam"+suffix, "spam")},
		"without it, in a package":             {map[string][]byte{"a/spam" + suffix: none}, symbol("refuse", "a/spam"+suffix, "spam")},
		"a name that is not ASCII":             {map[string][]byte{"größe" + suffix: compiled("int PyInitU_gre_6ka8i(void) { return 0; }")}, nil},
		"a name that is not ASCII, not coded":  {map[string][]byte{"größe" + suffix: compiled("int PyInit_groesse(void) { return 0; }")}, []string{"refuse modules " + site + "größe" + suffix + ": symbol PyInitU_gre_6ka8i"}},
		"a library":                            {map[string][]byte{"a/libanswer.so": library, "answer.so": library}, nil},
		"a library, named as a module":         {map[string][]byte{"libanswer" + suffix: library}, symbol("warn", "libanswer"+suffix, "libanswer")},
		"a library that is imported":           {map[string][]byte{"a/answer.so": library, "a/__init__.py": text("from . import answer\n")}, symbol("refuse", "a/answer.so", "answer")},
		"a library that is imported in a try":  {map[string][]byte{"a/answer.so": library, "a/__init__.py": text("try:\n    from . import answer\nexcept ImportError:\n    pass\n")}, nil},
		"a library that ctypes loads":          {map[string][]byte{"a/answer.so": none, "a/__init__.py": text("import ctypes\nlib = ctypes.CDLL('answer.so')\n")}, nil},
		"a module that its package finds":      {map[string][]byte{"a/all" + suffix: eggs, "a/__init__.py": text("from importlib.machinery import ExtensionFileLoader\nExtensionFileLoader('a.eggs', 'all.so')\n")}, symbol("warn", "a/all"+suffix, "all")},
		"shadowed by a package":                {map[string][]byte{"spam" + suffix: eggs, "spam/__init__.py": nil}, symbol("warn", "spam"+suffix, "spam")},
		"shadowed by a better suffix":          {map[string][]byte{"spam.so": eggs, "spam" + suffix: spam}, symbol("warn", "spam.so", "spam")},
		"where nothing imports":                {map[string][]byte{"victim.libs/spam" + suffix: none, "a/lib-x" + suffix: none}, nil},
		"empty":                                {map[string][]byte{"spam" + suffix: nil}, content("refuse", "spam"+suffix, "an empty file")},
		"a pointer of Git LFS":                 {map[string][]byte{"a/spam" + suffix: text("version https://git-lfs.github.com/spec/v1\n")}, content("refuse", "a/spam"+suffix, "a pointer of Git LFS*")},
		"a page of an error":                   {map[string][]byte{"spam.abi3.so": text("\n<!DOCTYPE html><html>404")}, content("refuse", "spam.abi3.so", "an HTML page")},
		"text":                                 {map[string][]byte{"spam.so": text("see elsewhere\n")}, content("refuse", "spam.so", "text")},
		"zeros":                                {map[string][]byte{"spam.so": make([]byte, 4000)}, content("refuse", "spam.so", "zeros")},
		"a Mach-O file":                        {map[string][]byte{"spam" + suffix: text("\xcf\xfa\xed\xfe\x07\x00\x00\x01")}, content("refuse", "spam"+suffix, "a Mach-O file*")},
		"a PE file":                            {map[string][]byte{"spam" + suffix: text("MZ\x90\x00")}, content("refuse", "spam"+suffix, "a PE file*")},
		"another system's, in a package":       {map[string][]byte{"a/mac/spam.so": text("\xcf\xfa\xed\xfe\x07\x00\x00\x01")}, content("warn", "a/mac/spam.so", "a Mach-O file*")},
		"another system's, imported":           {map[string][]byte{"a/spam.so": text("\xcf\xfa\xed\xfe\x07\x00\x00\x01"), "a/__init__.py": text("from .spam import (  # all\n    eggs,\n)\n")}, content("refuse", "a/spam.so", "a Mach-O file*")},
		"a linker script":                      {map[string][]byte{"a/libspam.so": text("/* GNU ld script */\nINPUT(libspam.so.1)\n")}, nil},
		"a linker script, imported":            {map[string][]byte{"a/libspam.so": text("INPUT(libspam.so.1)\n"), "a/__init__.py": text("import a.libspam as x\n")}, content("refuse", "a/libspam.so", "a linker script")},
		"an object": {map[string][]byte{"spam" + suffix: object}, []string{
			"refuse loader " + site + "spam" + suffix + ": PT_DYNAMIC none", "refuse loader " + site + "spam" + suffix + ": PT_LOAD none",
			"refuse loader " + site + "spam" + suffix + ": e_type ET_REL", "refuse modules " + site + "spam" + suffix + ": e_type 1",
		}},
		"bytecode":                             {map[string][]byte{"a/__init__.pyc": pyc(13), "b.pyc": pyc(13)}, nil},
		"bytecode of another Python":           {map[string][]byte{"spam.pyc": pyc(12)}, []string{"refuse modules " + site + "spam.pyc: magic number bytecode of Python 3.12"}},
		"a package's, of another Python":       {map[string][]byte{"a/b/__init__.pyc": pyc(9)}, []string{"refuse modules " + site + "a/b/__init__.pyc: magic number bytecode of Python 3.9"}},
		"of another Python, imported":          {map[string][]byte{"a/__init__.py": text("import os, a.b\n"), "a/b.pyc": pyc(9)}, []string{"refuse modules " + site + "a/b.pyc: magic number bytecode of Python 3.9"}},
		"of another Python, data perhaps":      {map[string][]byte{"a/__init__.py": nil, "a/data/b.pyc": pyc(9)}, []string{"warn modules " + site + "a/data/b.pyc: magic number bytecode of Python 3.9"}},
		"of another Python, beside its source": {map[string][]byte{"spam.py": nil, "spam.pyc": pyc(9)}, nil},
		"bytecode that is none":                {map[string][]byte{"spam.pyc": text("<html>")}, []string{"refuse modules " + site + "spam.pyc: magic number no bytecode"}},
		"bytecode that is cut":                 {map[string][]byte{"spam.pyc": pyc(13)[:9]}, []string{"refuse modules " + site + "spam.pyc: magic number cut"}},
		"a cache of another Python":            {map[string][]byte{"spam.py": nil, "__pycache__/spam.cpython-39.pyc": pyc(9)}, nil},
		"a cache with a wrong number":          {map[string][]byte{"spam.py": nil, "__pycache__/spam.cpython-313.pyc": pyc(9)}, []string{"warn modules " + site + "__pycache__/spam.cpython-313.pyc: magic number bytecode of Python 3.9"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			expect(t, judge(t, subject(t, victim(t, c.files)...)), c.want...)
		})
	}
}

// Of a wheel for any Python it is not known which will load bytecode, and where no
// interpreter is named the tags say for which it must be.
func TestModulesWithoutInterpreter(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		tag, file string
		data      []byte
		want      string
	}{
		"for any Python":         {"py3-none-any", "spam.pyc", pyc(9), "undecided modules /SITE/spam.pyc: magic number bytecode of Python 3.9"},
		"for its Python":         {"cp39-none-any", "spam.pyc", pyc(9), ""},
		"for another":            {"cp311-none-any", "spam.pyc", pyc(9), "refuse modules /SITE/spam.pyc: magic number bytecode of Python 3.9"},
		"a module that is none":  {"cp311-cp311-linux_x86_64", "spam.cpython-311-x86_64-linux-gnu.so", nil, "refuse modules /SITE/spam.cpython-311-x86_64-linux-gnu.so: content an empty file"},
		"one of another system":  {"cp311-cp311-macosx_11_0_arm64", "spam.abi3.so", []byte("\xcf\xfa\xed\xfe"), ""},
		"one of a later CPython": {"cp315-abi3t-linux_x86_64", "spam.abi3t.so", []byte("x"), "refuse modules /SITE/spam.abi3t.so: content text"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			info := site + "victim-1.0.dist-info/"
			e := tree.FileEntry(site+c.file, 0o644, c.data)
			place := Place{Tree: newTree(t, tagged(t, e, c.tag)...), Site: strings.TrimSuffix(site, "/"), Alone: true}
			var want []string
			if c.want != "" {
				want = append(want, strings.Replace(c.want, "/SITE/", "/"+site, 1))
			}
			if got := inspected(t, "modules", nil, place); strings.Join(got, "\n") != strings.Join(want, "\n") {
				t.Errorf("of %s: %q, want %q", info, got, want)
			}
		})
	}
}

// Files for other machines are data, unless import would load them.
func TestForeignFilesAreData(t *testing.T) {
	t.Parallel()
	other := func(at string, class byte, machine uint16) tree.Entry {
		data := readAll(t, in(t, "x", extension(t, "spam")))
		data[4] = class
		binary.LittleEndian.PutUint16(data[18:], machine)
		return tree.FileEntry(site+at, 0o755, data)
	}
	const class64, class32, aarch64, x86 = 2, 1, 183, 3
	interpreter := fromFile(t, "bin/python3.13", interpreter(t))
	for name, c := range map[string]struct {
		e    tree.Entry
		want string
	}{
		"a program":                       {other("victim/linux/manager", class64, aarch64), "warn isa"},
		"a program of 32 bits":            {other("victim/linux/manager", class32, x86), "warn parse"},
		"a library of 32 bits":            {other("victim/attach_x86.so", class32, x86), "warn parse"},
		"a module of 32 bits":             {other("spam"+suffix, class32, x86), "refuse parse"},
		"a module":                        {other("spam"+suffix, class64, aarch64), "refuse isa"},
		"a module in a package":           {other("victim/spam.so", class64, aarch64), "refuse isa"},
		"a program that installers place": {other("victim-1.0.data/scripts/manager", class64, aarch64), "refuse isa"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			interpreter.Owner = OwnerInterpreter
			config := sysconfigOf()
			config.Owner = OwnerInterpreter
			place := Place{
				Tree:        newTree(t, append(installed("victim", c.e), interpreter, config)...),
				Interpreter: "bin/python3.13", Site: strings.TrimSuffix(site, "/"), Alone: true,
			}
			severity, check, _ := strings.Cut(c.want, " ")
			got := inspected(t, check, rootfs(t, "mid"), place)
			if len(got) != 1 || !strings.HasPrefix(got[0], severity+" ") || !strings.Contains(got[0], path.Base(c.e.Path)) {
				t.Errorf("%q, want %s", got, c.want)
			}
		})
	}
}
