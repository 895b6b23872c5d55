package survey

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ampoule/audit"
	"ampoule/packaging"
)

// pipPython is the machine's Python, with pip.
type pipPython struct{ Exe, Version, Suffix, Tag string }

func findPython(t *testing.T) pipPython {
	t.Helper()
	const program = `import json, os, sys, sysconfig
v = "%d.%d" % sys.version_info[:2]
print(json.dumps({"Exe": os.path.realpath(sys.executable), "Version": v, "Suffix": sysconfig.get_config_var("EXT_SUFFIX"), "Tag": "cp" + v.replace(".", "")}))`
	out, err := exec.CommandContext(t.Context(), "python3", "-I", "-c", program).Output()
	var p pipPython
	if err = errors.Join(err, json.Unmarshal(out, &p)); err != nil {
		t.Fatal(err)
	}
	return p
}

// pipModule compiles a module that this machine's Python can import; name is its last one,
// more is C before it, and call what its function calls.
func pipModule(t *testing.T, name, more, call string, flags ...string) string {
	t.Helper()
	// The layout of a PyModuleDef, without Python's headers.
	source := more + `
extern void *PyModule_Create2(void *, int);
static struct { long refs; void *type, *init; long index; void *copy; const char *name, *doc; long size; void *rest[5]; } def = {1, 0, 0, 0, 0, "` + name + `", 0, -1};
void *` + name + `(void) { ` + call + ` return PyModule_Create2(&def, 1013); }`
	dir := t.TempDir()
	file, out := filepath.Join(dir, "x.c"), filepath.Join(dir, "out")
	if err := os.WriteFile(file, []byte(source), 0o644); err != nil {
		t.Fatal(err)
	}
	args := append([]string{"-shared", "-fPIC", "-O1", "-o", out, file}, flags...)
	if told, err := exec.CommandContext(t.Context(), "gcc", args...).CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v\n%s", err, told)
	}
	data, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// published is a wheel as somebody publishes it.
type published struct {
	// file is the wheel's name, "spam-1.0-TAGS.whl"; files are what is in it beside
	// .dist-info, header WHEEL's text (none leaves the file out), METADATA likewise.
	file, header, metadata string
	files                  map[string]string
	// row makes the hash that RECORD has of content.
	row func(content string) string
	// imports is what is imported.
	imports string
	// warned are checks that have to warn.
	warned []string
}

func (p published) pack(t *testing.T) string {
	t.Helper()
	files := maps.Clone(p.files)
	const info = "spam-1.0.dist-info/"
	for name, text := range map[string]string{"WHEEL": p.header, "METADATA": p.metadata} {
		if text != "" {
			files[info+name] = text
		}
	}
	record := info + "RECORD,,\n"
	for name, text := range files {
		record += fmt.Sprintf("%s,%s,%d\n", name, p.row(text), len(text))
	}
	files[info+"RECORD"] = record
	return pack(t, files)
}

// hashedBy makes hashes of RECORD.
func hashedBy(algorithm string, encoding *base64.Encoding) func(string) string {
	return func(content string) string {
		made := packaging.RecordHash{Algorithm: algorithm}.New()
		made.Write([]byte(content))
		return algorithm + "=" + encoding.EncodeToString(made.Sum(nil))
	}
}

const wheelHeader = "Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: false\nTag: "

// publishedWheels are wheels of the kinds that people have.
func publishedWheels(t *testing.T, python pipPython) map[string]published {
	linux := python.Tag + "-" + python.Tag + "-linux_x86_64"
	base := func(change func(*published)) published {
		p := published{
			file: "spam-1.0-" + linux + ".whl", header: wheelHeader + linux + "\n",
			metadata: "Metadata-Version: 2.1\nName: spam\nVersion: 1.0\n", imports: "spam",
			row: hashedBy("sha256", base64.RawURLEncoding),
		}
		change(&p)
		return p
	}
	spam, eggs := pipModule(t, "PyInit_spam", "", ""), pipModule(t, "PyInit_eggs", "", "")
	newer := pipModule(t, "PyInit_spam", "#include <pthread.h>\nstatic void *f(void *x) { return x; }", "pthread_t t; pthread_create(&t, 0, f, 0); pthread_join(t, 0);")
	hidden := pipModule(t, "PyInit_spam", "", "", "-fvisibility=hidden")
	mangled := pipModule(t, "_Z11PyInit_spamv", "", "")
	library := pipModule(t, "start", "int answer(void) { return 42; }", "", "-Wl,--exclude-libs,ALL")
	plain := string(compile(t, "int answer(void) { return 42; }", "-shared", "-fPIC"))
	object := string(compile(t, "int PyInit_spam;", "-r"))
	native := func(data string) published {
		return base(func(p *published) { p.files = map[string]string{"spam" + python.Suffix: data} })
	}
	with := func(p published, change func(*published)) published { change(&p); return p }
	files := func(files map[string]string, imports string) published {
		return base(func(p *published) { p.files, p.imports = files, imports })
	}
	named := func(file, header string, warned ...string) published {
		return with(native(spam), func(p *published) { p.file, p.header, p.warned = file, header, warned })
	}
	recorded := func(algorithm string, encoding *base64.Encoding, warned ...string) published {
		return with(native(spam), func(p *published) { p.row, p.warned = hashedBy(algorithm, encoding), warned })
	}
	own := map[string]string{"a": python.Suffix, "b": ".abi3.so", "c": ".so"}
	all := map[string]published{
		"a module": native(spam), "without .abi3": files(map[string]string{"spam.so": spam}, "spam"),
		// What is under a module's name.
		"a pointer of Git LFS":         native("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n"),
		"an empty file":                native(""),
		"a page of an error":           native("<!DOCTYPE html>\n<html><title>404</title></html>\n"),
		"a Mach-O file":                native("\xcf\xfa\xed\xfe\x07\x00\x00\x01" + strings.Repeat("\x00", 4000)),
		"a PE file":                    native("MZ" + strings.Repeat("\x00", 4000)),
		"zeros":                        native(strings.Repeat("\x00", 4000)),
		"an archive":                   native("!<arch>\n"),
		"an object":                    native(object),
		"a module that is cut":         native(spam[:len(spam)/2]),
		"text by the plainest suffix":  files(map[string]string{"spam.so": "text\n"}, "spam"),
		"text beside a better module":  files(map[string]string{"spam.so": "text\n", "spam" + python.Suffix: spam}, "spam"),
		"text beside a package":        files(map[string]string{"spam" + python.Suffix: "text\n", "spam/__init__.py": ""}, "spam"),
		"text before a source":         files(map[string]string{"spam" + python.Suffix: "text\n", "spam.py": ""}, "spam"),
		"another system's in a folder": with(files(map[string]string{"spam/__init__.py": "", "spam/mac/fast.so": "\xcf\xfa\xed\xfe"}, "spam, spam.mac"), func(p *published) { p.warned = []string{"modules"} }),
		"a linker script":              files(map[string]string{"spam/__init__.py": "", "spam/libx.so": "INPUT(libx.so.1)\n"}, "spam"),
		"a linker script, imported":    files(map[string]string{"spam/__init__.py": "from . import libx\n", "spam/libx.so": "INPUT(libx.so.1)\n"}, "spam"),
		// The function that import calls.
		"another module's":                 native(eggs),
		"a function that is not exported":  native(hidden),
		"a function of C++":                native(mangled),
		"a package":                        files(map[string]string{"spam/__init__" + python.Suffix: spam}, "spam"),
		"a package with another's":         files(map[string]string{"spam/__init__" + python.Suffix: eggs}, "spam"),
		"a name that is not ASCII":         files(map[string]string{"spam/__init__.py": "", "spam/größe" + python.Suffix: pipModule(t, "PyInitU_gre_6ka8i", "extern void *PyModuleDef_Init(void *);", "def.size = 0; return PyModuleDef_Init(&def);")}, "spam.größe"),
		"a name that is not ASCII, plain":  files(map[string]string{"größe" + python.Suffix: pipModule(t, "PyInit_groesse", "", "")}, "größe"),
		"a library for ctypes":             with(files(map[string]string{"spam/__init__.py": "import ctypes, os\nctypes.CDLL(os.path.dirname(__file__) + '/fast.so').answer()\n", "spam/fast.so": plain}, "spam"), func(*published) {}),
		"a library named as a module":      with(files(map[string]string{"spam.py": "import ctypes\nctypes.CDLL(__file__[:-7] + 'libspam" + python.Suffix + "').answer()\n", "libspam" + python.Suffix: plain}, "spam"), func(p *published) { p.warned = []string{"modules"} }),
		"a library that is imported":       files(map[string]string{"spam/__init__.py": "from .fast import answer\n", "spam/fast.so": plain}, "spam"),
		"a library with Python, by ctypes": files(map[string]string{"spam/__init__.py": "import ctypes, os\nctypes.PyDLL(os.path.dirname(__file__) + '/fast" + python.Suffix + "').answer()\n", "spam/fast" + python.Suffix: library}, "spam"),
		"several modules in one": files(map[string]string{"spam/__init__.py": `import os, sys
from importlib.machinery import ExtensionFileLoader
from importlib.util import module_from_spec, spec_from_file_location
path = os.path.dirname(__file__) + "/everything` + python.Suffix + `"
module_from_spec(spec_from_file_location("eggs", path, loader=ExtensionFileLoader("eggs", path)))
`, "spam/everything" + python.Suffix: eggs}, "spam"),
		// Bytecode.
		"bytecode of another Python":     files(map[string]string{"spam.pyc": "\x42\x0d\r\n" + strings.Repeat("\x00", 40)}, "spam"),
		"bytecode beside a source":       files(map[string]string{"spam.py": "", "spam.pyc": "\x42\x0d\r\n"}, "spam"),
		"bytecode that is cut":           files(map[string]string{"spam/__init__.pyc": "\x42\x0d"}, "spam"),
		"another Python's, below a data": with(files(map[string]string{"spam/__init__.py": "", "spam/data/x.pyc": "\x42\x0d\r\n" + strings.Repeat("\x00", 40)}, "spam"), func(p *published) { p.warned = []string{"modules"} }),
		// Names and tags.
		"linux inside":            named("spam-1.0-"+python.Tag+"-"+python.Tag+"-manylinux_2_17_x86_64.whl", wheelHeader+linux+"\n", "tags"),
		"tags in another order":   named("spam-1.0-"+python.Tag+"-"+python.Tag+"-manylinux_2_17_x86_64.manylinux2014_x86_64.whl", wheelHeader+python.Tag+"-"+python.Tag+"-manylinux2014_x86_64\nTag: "+python.Tag+"-"+python.Tag+"-manylinux_2_17_x86_64\n"),
		"a compressed tag inside": named("spam-1.0-"+python.Tag+"-"+python.Tag+"-manylinux_2_17_x86_64.manylinux2014_x86_64.whl", wheelHeader+python.Tag+"-"+python.Tag+"-manylinux2014_x86_64.manylinux_2_17_x86_64\n"),
		"another Python's name":   named("spam-1.0-cp38-cp38-linux_x86_64.whl", wheelHeader+linux+"\n"),
		"another Python's inside": named("spam-1.0-"+linux+".whl", wheelHeader+"cp38-cp38-linux_x86_64\n", "tags"),
		"another machine's name":  named("spam-1.0-"+python.Tag+"-"+python.Tag+"-linux_aarch64.whl", wheelHeader+linux+"\n"),
		"a name for any":          named("spam-1.0-py3-none-any.whl", wheelHeader+"py3-none-any\n", "tags"),
		"py2.py3": with(files(map[string]string{"spam.py": ""}, "spam"), func(p *published) {
			p.file, p.header, p.warned = "spam-1.0-py2.py3-none-any.whl", wheelHeader+"py3-none-any\n", []string{"tags"}
		}),
		"py2.py3, as one": with(files(map[string]string{"spam.py": ""}, "spam"), func(p *published) {
			p.file, p.header = "spam-1.0-py2.py3-none-any.whl", wheelHeader+"py2.py3-none-any\n"
		}),
		"no tags inside": named("spam-1.0-"+linux+".whl", "Wheel-Version: 1.0\n"),
		"a purelib":      named("spam-1.0-"+linux+".whl", strings.Replace(wheelHeader, "false", "true", 1)+linux+"\n", "tags"),
		"a newer glibc than its tag": with(native(newer), func(p *published) {
			p.file, p.header, p.warned = "spam-1.0-"+python.Tag+"-"+python.Tag+"-manylinux2014_x86_64.whl", wheelHeader+python.Tag+"-"+python.Tag+"-manylinux2014_x86_64\n", []string{"platform"}
		}),
		"musl's name": named("spam-1.0-"+python.Tag+"-"+python.Tag+"-musllinux_1_1_x86_64.whl", wheelHeader+linux+"\n"),
		// What installers read.
		"no WHEEL":              named("spam-1.0-"+linux+".whl", ""),
		"a WHEEL of version 2":  named("spam-1.0-"+linux+".whl", "Wheel-Version: 2.0\nTag: "+linux+"\n"),
		"a WHEEL of no version": named("spam-1.0-"+linux+".whl", "Tag: "+linux+"\n"),
		"a later WHEEL":         named("spam-1.0-"+linux+".whl", "Wheel-Version: 1.9\nTag: "+linux+"\n"),
		"no METADATA":           with(native(spam), func(p *published) { p.metadata = "" }),
		"another version":       with(native(spam), func(p *published) { p.metadata = "Metadata-Version: 2.1\nName: spam\nVersion: 2.0\n" }),
		"another form of it":    with(native(spam), func(p *published) { p.metadata = "Metadata-Version: 2.1\nName: Spam\nVersion: v1.0.0\n" }),
		// RECORD.
		"sha512": recorded("sha512", base64.RawURLEncoding), "sha384": recorded("sha384", base64.RawURLEncoding), "sha224": recorded("sha224", base64.RawURLEncoding),
		"blake2b": recorded("blake2b", base64.RawURLEncoding), "sha3": recorded("sha3_256", base64.RawURLEncoding), "padding": recorded("sha256", base64.URLEncoding),
		"the other alphabet": recorded("sha256", base64.StdEncoding), "md5": recorded("md5", base64.RawURLEncoding, "record"), "sha1": recorded("sha1", base64.RawURLEncoding, "record"),
	}
	for what, suffix := range own {
		all["a module by suffix "+what] = files(map[string]string{"spam/__init__.py": "from . import _fast\n", "spam/_fast" + suffix: pipModule(t, "PyInit__fast", "", "")}, "spam")
	}
	return all
}

// pipInstalls installs each wheel into a directory of its own, from the wheel's directory in
// place of an index, and returns those that pip took. One process does all: starting pip takes longer than what it does.
func pipInstalls(t *testing.T, python pipPython, into map[string]string) map[string]bool {
	t.Helper()
	const program = `import json, os, sys
from pip._internal.cli.main import main
out = os.dup(1)
os.dup2(2, 1)
took = {w: main(["install", "-qqq", "--no-index", "--no-deps", "--no-compile", "--disable-pip-version-check", "--target", d, "--find-links", os.path.dirname(w), "spam"]) == 0 for w, d in json.load(sys.stdin).items()}
os.write(out, json.dumps(took).encode())`
	list, err := json.Marshal(into)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), python.Exe, "-I", "-c", program)
	cmd.Stdin = strings.NewReader(string(list))
	cmd.Env = append(os.Environ(), "PIP_CONFIG_FILE=/dev/null", "PIP_ROOT_USER_ACTION=ignore")
	took := map[string]bool{}
	out, err := cmd.Output()
	if err = errors.Join(err, json.Unmarshal(out, &took)); err != nil {
		t.Fatal(err)
	}
	return took
}

// TestPipAndPythonDecide installs wheels with the machine's pip and imports what is in them
// with its Python: the audit refuses those wheels that fail, and the environments in which
// the import does, and no others.
func TestPipAndPythonDecide(t *testing.T) {
	t.Parallel()
	python := findPython(t)
	dir := t.TempDir()
	into := map[string]string{}
	all := publishedWheels(t, python)
	place := map[string]string{}
	for i, what := range slices.Sorted(maps.Keys(all)) {
		at := filepath.Join(dir, fmt.Sprint(i))
		place[what] = at
		site := filepath.Join(at, "venv/lib/python"+python.Version+"/site-packages")
		err := errors.Join(os.MkdirAll(site, 0o755), os.MkdirAll(filepath.Join(at, "venv/bin"), 0o755),
			os.WriteFile(filepath.Join(at, "venv/pyvenv.cfg"), []byte("home = "+filepath.Dir(python.Exe)+"\nversion = "+python.Version+"\n"), 0o644),
			os.Symlink(python.Exe, filepath.Join(at, "venv/bin/python3")),
			os.WriteFile(filepath.Join(at, all[what].file), []byte(all[what].pack(t)), 0o644))
		if err != nil {
			t.Fatal(err)
		}
		into[filepath.Join(at, all[what].file)] = site
	}
	took := pipInstalls(t, python, into)
	for what, p := range all {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(place[what], p.file)
			venv := filepath.Join(place[what], "venv")
			works, said := took[file], ""
			if works {
				out, err := exec.CommandContext(t.Context(), filepath.Join(venv, "bin/python3"), "-I", "-c", "import "+p.imports).CombinedOutput()
				works, said = err == nil, string(out)
			}
			warned := verdict(t, Target{Files: Machine("/"), Path: file, Against: python.Exe}, works, said)
			for _, check := range p.warned {
				if !slices.Contains(warned, check) {
					t.Errorf("%s does not warn: %q", check, warned)
				}
			}
			if took[file] {
				verdict(t, Target{Files: Machine("/"), Path: venv}, works, said)
			}
		})
	}
}

// verdict audits a target that works or not, and returns the checks that warn.
func verdict(t *testing.T, target Target, works bool, said string) []string {
	t.Helper()
	r, err := Look(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	var warned []string
	var refused []string
	for _, u := range r.Units {
		for _, f := range u.Findings {
			switch f.Severity {
			case audit.Refuse:
				refused = append(refused, fmt.Sprintf("%s %s: %s %s: %s", f.Check, f.File, f.Field, f.Value, f.Cause))
			case audit.Warn:
				warned = append(warned, f.Check)
			default:
				t.Errorf("%s: %s: %+v", target.Path, f.Severity, f)
			}
		}
	}
	if works != (len(refused) == 0) {
		t.Errorf("%s works: %t (%s), refused: %q", target.Path, works, strings.TrimSpace(said), refused)
	}
	return warned
}
