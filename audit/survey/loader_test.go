package survey

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"ampoule/audit"
)

// systemPython is the interpreter that modules are imported with: the system's own.
func systemPython(t *testing.T) (exe, version string) {
	t.Helper()
	exe, err := filepath.EvalSymlinks("/usr/bin/python3")
	if err != nil {
		t.Fatalf("the system's Python, which imports what is judged here: %v", err)
	}
	return exe, strings.TrimPrefix(path.Base(exe), "python")
}

// moduleText is a whole module, by the layout of PyModuleDef that all of Python 3 with a GIL
// has: at the top and in the function that makes it there may be more.
const moduleText = `extern void *PyModule_Create2(void *, int);
static struct { long refcnt; void *type, *init; long index; void *copy; const char *name, *doc; long size; void *rest[5]; } def = {1, 0, 0, 0, 0, "spam", 0, -1};
%s
void *PyInit_spam(void) { %s return PyModule_Create2(&def, 1013); }
`

// mason compiles what a test puts into an environment.
type mason struct {
	t   *testing.T
	dir string
	n   int
}

func (m *mason) gcc(name, source string, flags ...string) string {
	m.t.Helper()
	m.n++
	out := filepath.Join(m.dir, fmt.Sprint(m.n), name)
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
		m.t.Fatal(err)
	}
	cmd := exec.CommandContext(m.t.Context(), "gcc", append([]string{"-x", "c", "-", "-x", "none", "-O1", "-fPIC", "-Wl,--no-as-needed", "-o", out}, flags...)...)
	cmd.Stdin = strings.NewReader(source)
	if told, err := cmd.CombinedOutput(); err != nil {
		m.t.Fatalf("gcc: %v\n%s", err, told)
	}
	return out
}

// module compiles a module; at the top and in its function there is more.
func (m *mason) module(top, body string, flags ...string) []byte {
	return m.read(m.gcc("spam.so", fmt.Sprintf(moduleText, top, body), append([]string{"-shared"}, flags...)...))
}

// library compiles a library of that soname and returns its path.
func (m *mason) library(soname, source string, flags ...string) string {
	return m.gcc(soname, source, append([]string{"-shared", "-Wl,-soname," + soname}, flags...)...)
}

// script writes a version script and returns the flag for it.
func (m *mason) script(text string) string {
	m.n++
	file := filepath.Join(m.dir, fmt.Sprint(m.n)+".map")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		m.t.Fatal(err)
	}
	return "-Wl,--version-script=" + file
}

func (m *mason) read(file string) []byte {
	m.t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		m.t.Fatal(err)
	}
	return data
}

// trial is a package that is imported and judged: m.spam of it, if nothing else is said.
type trial struct {
	// files are below the package's directory; text that begins with "-> " is a link. One
	// that begins with ../ is beside the package.
	files map[string][]byte
	// requires are lines of its METADATA.
	requires []string
	// code is what is run; NAME stands for the package.
	code string
	// check is one that must tell of it; empty where nothing may refuse it.
	check string
	// says is a part of what all findings about it say.
	says string
}

// only is a trial of one module.
func only(module []byte, check string) trial {
	return trial{files: map[string][]byte{"spam.so": module}, check: check}
}

// trialSite is a virtual environment of the system's Python with a distribution for each
// trial, t000 and on in the order of their names.
type trialSite struct {
	dir, site string
	names     []string
}

func build(t *testing.T, trials map[string]trial) trialSite {
	t.Helper()
	exe, version := systemPython(t)
	dir := t.TempDir()
	env := trialSite{dir: dir, site: filepath.Join(dir, "lib", "python"+version, "site-packages"), names: slices.Sorted(maps.Keys(trials))}
	digits := "cp" + strings.ReplaceAll(version, ".", "")
	tag := digits + "-" + digits + "-linux_" + map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[runtime.GOARCH]
	write := func(p string, data []byte) {
		err := os.MkdirAll(filepath.Dir(p), 0o755)
		if link, ok := strings.CutPrefix(string(data), "-> "); ok && err == nil {
			err = os.Symlink(link, p)
		} else if err == nil {
			err = os.WriteFile(p, data, 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(dir, "pyvenv.cfg"), []byte("home = "+filepath.Dir(exe)+"\nversion = "+version+"\n"))
	write(filepath.Join(dir, "bin", "python"+version), []byte("-> "+exe))
	for i, name := range env.names {
		dist, tr := fmt.Sprintf("t%03d", i), trials[name]
		files := map[string]string{}
		if tr.files["__init__.py"] == nil {
			files[dist+"/__init__.py"] = ""
		}
		for file, data := range tr.files {
			p := path.Join(dist, file)
			if path.Ext(file) == ".py" {
				data = bytes.ReplaceAll(data, []byte("NAME"), []byte(dist))
			}
			for other := range trials {
				// Of the same length, so that it can stand in a binary.
				data = bytes.ReplaceAll(data, []byte("{"+other+"}"), []byte(env.dist(other)+strings.Repeat("/", len(other)+2-4)))
			}
			if bytes.HasPrefix(data, []byte("-> ")) {
				write(filepath.Join(env.site, p), data)
				continue
			}
			files[p] = string(data)
		}
		metadata := ""
		for _, r := range tr.requires {
			metadata += "Requires-Dist: " + env.dist(r) + "\n"
		}
		for p, text := range distOf(dist, tag, metadata, files) {
			write(filepath.Join(env.site, p), []byte(text))
		}
	}
	return env
}

// dist is the distribution of a trial.
func (e trialSite) dist(name string) string {
	return fmt.Sprintf("t%03d", slices.Index(e.names, name))
}

// importer forks for each module, so that a crash is one module's.
const importer = `
import json, os, signal, sys
told = {}
for name, code in json.load(sys.stdin).items():
    r, w = os.pipe()
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        os.dup2(w, 2)
        os.chdir("/")
        signal.alarm(20)
        try:
            exec(code)
        except BaseException as e:
            os.write(2, ("%s: %s" % (type(e).__name__, e)).encode("utf-8", "replace"))
            os._exit(1)
        os._exit(0)
    os.close(w)
    with os.fdopen(r, "rb") as f:
        text = f.read().decode("utf-8", "replace")
    status = os.waitpid(pid, 0)[1]
    told[name] = "" if status == 0 else "status %#x %s" % (status, text)
json.dump(told, sys.stdout)
`

// imports runs each trial's code and returns what went wrong; empty for what worked.
func (e trialSite) imports(t *testing.T, trials map[string]trial) map[string]string {
	t.Helper()
	_, version := systemPython(t)
	code := map[string]string{}
	for _, name := range e.names {
		text := trials[name].code
		if text == "" {
			text = "import NAME.spam"
		}
		for other := range trials {
			text = strings.ReplaceAll(text, "{"+other+"}", e.dist(other))
		}
		code[name] = strings.ReplaceAll(text, "NAME", e.dist(name))
	}
	in, err := json.Marshal(code)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), filepath.Join(e.dir, "bin", "python"+version), "-c", importer)
	cmd.Stdin = bytes.NewReader(in)
	cmd.Env = []string{"PATH=/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE=1"}
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("importing: %v", err)
	}
	told := map[string]string{}
	if err := json.Unmarshal(out, &told); err != nil {
		t.Fatal(err)
	}
	return told
}

// agree imports every trial and has it judged, and compares the two.
func agree(t *testing.T, trials map[string]trial) {
	t.Helper()
	env := build(t, trials)
	report, err := Look(t.Context(), Target{Files: Machine("/"), Path: env.dir, CPU: "x86-64-v2"})
	if err != nil {
		t.Fatal(err)
	}
	findings := map[string][]audit.Finding{}
	for _, u := range report.Units {
		for _, f := range u.Findings {
			dist, _, _ := strings.Cut(f.Distribution, " ")
			findings[dist] = append(findings[dist], f)
		}
	}
	told := env.imports(t, trials)
	for _, name := range env.names {
		var refused []string
		all := ""
		for _, f := range findings[env.dist(name)] {
			all += fmt.Sprintf("\n  %s %s %s: %s %s: %s %s", f.Severity, f.Check, f.File, f.Field, f.Value, f.Cause, f.Remedy)
			if f.Severity == audit.Refuse {
				refused = append(refused, f.Check)
			}
			if word := recipeWords.FindString(f.Cause + f.Remedy); word != "" {
				t.Errorf("%s: %s tells somebody who has found it of a recipe's %q: %s %s", name, f.Check, word, f.Cause, f.Remedy)
			}
		}
		tr := trials[name]
		switch works := told[name] == ""; {
		case works && len(refused) > 0:
			t.Errorf("%s: it is refused, and works%s", name, all)
		case !works && len(refused) == 0:
			t.Errorf("%s: it passes, and does not work: %s%s", name, told[name], all)
		case works != (tr.check == ""):
			t.Errorf("%s: wanted to be told by %q, and the import said %q%s", name, tr.check, told[name], all)
		case !works && !slices.Contains(refused, tr.check):
			t.Errorf("%s: refused by %v, not by %s%s", name, refused, tr.check, all)
		case !strings.Contains(all, tr.says):
			t.Errorf("%s: nothing says %q%s", name, tr.says, all)
		}
		if testing.Verbose() {
			t.Logf("%s: %s%s", name, told[name], all)
		}
	}
}

// header is a file with bytes of its header changed.
func header(data []byte, at int, values ...byte) []byte {
	changed := slices.Clone(data)
	copy(changed[at:], values)
	return changed
}

// Offsets in a program header.
const (
	atOffset   = 8
	atAddr     = 16
	atFileSize = 32
	atMemSize  = 40
	atAlign    = 48
)

// segment finds the n-th program header of a type.
func segment(t *testing.T, data []byte, kind elf.ProgType, n int) int {
	t.Helper()
	le := binary.LittleEndian
	for i := range int(le.Uint16(data[56:])) {
		at := int(le.Uint64(data[32:])) + i*56
		if elf.ProgType(le.Uint32(data[at:])) != kind {
			continue
		}
		if n == 0 {
			return at
		}
		n--
	}
	t.Fatalf("no %s", kind)
	return 0
}

// with changes eight bytes of the n-th program header of a type.
func with(t *testing.T, data []byte, kind elf.ProgType, n, field int, change func(uint64) uint64) []byte {
	t.Helper()
	changed := slices.Clone(data)
	at := segment(t, changed, kind, n) + field
	binary.LittleEndian.PutUint64(changed[at:], change(binary.LittleEndian.Uint64(changed[at:])))
	return changed
}

func to(value uint64) func(uint64) uint64 { return func(uint64) uint64 { return value } }
func by(more uint64) func(uint64) uint64  { return func(old uint64) uint64 { return old + more } }

// withTag changes the value, or the tag, of a dynamic entry.
func withTag(t *testing.T, data []byte, tag elf.DynTag, value uint64, newTag elf.DynTag) []byte {
	t.Helper()
	le := binary.LittleEndian
	changed := slices.Clone(data)
	at := int(le.Uint64(changed[segment(t, changed, elf.PT_DYNAMIC, 0)+atOffset:]))
	for ; elf.DynTag(le.Uint64(changed[at:])) != tag; at += 16 {
		if le.Uint64(changed[at:]) == 0 && tag != 0 {
			t.Fatalf("no %s", tag)
		}
	}
	le.PutUint64(changed[at:], uint64(newTag))
	le.PutUint64(changed[at+8:], value)
	return changed
}

// TestImportsOfFiles compares what the checks say of files that the loader takes or refuses
// for their own form with imports.
func TestImportsOfFiles(t *testing.T) {
	t.Parallel()
	m := &mason{t: t, dir: t.TempDir()}
	good := m.module("int x; int *p = &x;", "")
	program := func(flags ...string) []byte {
		return m.read(m.gcc("program", "void *PyInit_spam(void) { return 0; } int main(void) { return 0; }", flags...))
	}
	const tls = `__attribute__((tls_model("initial-exec"), aligned(%d))) __thread char big[%d];`
	static := func(align, size int) []byte { return m.module(fmt.Sprintf(tls, align, size), "big[0] = 1;") }
	relr := m.module("int a, b, c, d; int *p[] = {&a, &b, &c, &d};", "", "-Wl,-z,pack-relative-relocs")
	const unknownTag = 0x6ffffef0
	small := m.library("libsmall.so", "__thread int small;")
	trials := map[string]trial{
		"good": only(good, ""),
		// What open_verify looks at.
		"version of the file":             only(header(good, 6, 2), "parse"),
		"OS ABI of FreeBSD":               only(header(good, 7, 9), "loader"),
		"OS ABI of HP-UX":                 only(header(good, 7, 1), "loader"),
		"standalone":                      only(header(good, 7, 0xff), "loader"),
		"OS ABI of GNU":                   only(header(good, 7, 3), ""),
		"GNU, version 3":                  only(header(good, 7, 3, 3), ""),
		"GNU, version 4":                  only(header(good, 7, 3, 4), "loader"),
		"plain ABI, version 7":            only(header(good, 8, 7), "loader"),
		"padding":                         only(header(good, 10, 1), "loader"),
		"e_version":                       only(header(good, 20, 2), "loader"),
		"another machine":                 only(header(good, 18, 183), "isa"),
		"32 bits":                         {files: map[string][]byte{"spam.so": header(good, 4, 1), "__init__.py": []byte("from . import spam\n")}, check: "parse"},
		"big-endian":                      {files: map[string][]byte{"spam.so": header(good, 5, 2), "__init__.py": []byte("from . import spam\n")}, check: "parse"},
		"relocatable":                     only(header(good, 16, 1), "loader"),
		"executable by type":              only(header(good, 16, 2), "loader"),
		"core":                            only(header(good, 16, 4), "loader"),
		"no type":                         only(header(good, 16, 0), "loader"),
		"an unknown type":                 only(header(good, 16, 9), "loader"),
		"program headers of 64":           only(header(good, 54, 64), "parse"),
		"no program headers":              only(header(good, 56, 0, 0), "loader"),
		"size of the header":              only(header(good, 52, 0), ""),
		"flags of the machine":            only(header(good, 48, 7), ""),
		"cut off in the header":           only(good[:40], "parse"),
		"cut off behind the header":       only(good[:64], "parse"),
		"cut off in the middle":           only(good[:len(good)/2], "parse"),
		"cut off in its sections":         only(good[:len(good)-200], ""),
		"without sections":                only(header(header(good, 40, make([]byte, 8)...), 60, 0, 0, 0, 0), ""),
		"a program, position-independent": only(program("-pie"), "loader"),
		"the same, exporting":             only(program("-pie", "-rdynamic"), "loader"),
		"a program, fixed":                only(program("-no-pie"), "loader"),
		"a program, static":               only(program("-static-pie"), "loader"),
		// What the segments are.
		"code off its page":              only(with(t, good, elf.PT_LOAD, 1, atOffset, by(8)), "loader"),
		"code at another address":        only(with(t, good, elf.PT_LOAD, 1, atAddr, by(16)), "loader"),
		"data off its page":              only(with(t, good, elf.PT_LOAD, 3, atAddr, by(0x800)), "parse"),
		"alignment to 16":                only(with(t, good, elf.PT_LOAD, 0, atAlign, to(16)), ""),
		"alignment to 0":                 only(with(t, good, elf.PT_LOAD, 3, atAlign, to(0)), ""),
		"alignment to 64 KiB":            only(with(t, good, elf.PT_LOAD, 0, atAlign, to(0x10000)), ""),
		"alignment that is none":         only(with(t, good, elf.PT_LOAD, 3, atAlign, to(0x1800)), ""),
		"too much memory":                only(with(t, good, elf.PT_LOAD, 3, atMemSize, to(1<<46)), "loader"),
		"more than all memory":           only(with(t, good, elf.PT_LOAD, 3, atMemSize, to(1<<50)), "loader"),
		"more in the file than mapped":   only(with(t, good, elf.PT_LOAD, 3, atFileSize, by(64)), ""),
		"no segment is loaded":           only(noLoads(t, good), "parse"),
		"relro of everything":            only(with(t, with(t, good, elf.PT_GNU_RELRO, 0, atAddr, to(0)), elf.PT_GNU_RELRO, 0, atMemSize, to(1<<40)), "loader"),
		"an executable stack":            only(header(good, segment(t, good, elf.PT_GNU_STACK, 0)+4, 7), ""),
		"no word on the stack":           only(header(good, segment(t, good, elf.PT_GNU_STACK, 0), 0xff, 0xff, 0xff, 0x6f), ""),
		"an interpreter that is cut off": only(header(good, segment(t, good, elf.PT_GNU_STACK, 0), interp(1<<40, 20)...), ""),
		"an interpreter of a library":    only(header(good, segment(t, good, elf.PT_GNU_STACK, 0), interp(64, 20)...), ""),
		"program headers elsewhere":      only(header(good, segment(t, good, elf.PT_GNU_STACK, 0), phdrs(1<<40)...), "loader"),
		// What old tools leave.
		"a note of others' bytes":                   only(header(good, noteAt(t, good), 0x40, 0x50, 0x24, 0, 0, 0, 0, 0), ""),
		"a note with a huge text":                   only(header(good, noteAt(t, good)+4, 0x40, 0x50, 0x24, 0), ""),
		"a note outside of the file":                only(with(t, good, elf.PT_NOTE, 0, atOffset, to(1<<40)), ""),
		"a note longer than the file":               only(with(t, good, elf.PT_NOTE, 0, atFileSize, to(1<<40)), ""),
		"the dynamic section elsewhere in the file": only(with(t, good, elf.PT_DYNAMIC, 0, atOffset, to(64)), ""),
		"the dynamic section too long":              only(with(t, good, elf.PT_DYNAMIC, 0, atFileSize, to(1<<40)), ""),
		"the dynamic section too short":             only(with(t, good, elf.PT_DYNAMIC, 0, atFileSize, to(16)), ""),
		"the dynamic section in the page before":    only(dynamicBefore(t, good), ""),
		"the dynamic section without bytes":         only(with(t, good, elf.PT_DYNAMIC, 0, atFileSize, to(0)), "loader"),
		"no dynamic section":                        only(header(good, segment(t, good, elf.PT_DYNAMIC, 0), 0, 0, 0, 0), "loader"),
		// What the dynamic section says.
		"not to be opened":             only(m.module("", "", "-Wl,-z,nodlopen"), "loader"),
		"never unloaded":               only(m.module("", "", "-Wl,-z,nodelete"), ""),
		"first of all":                 only(m.module("", "", "-Wl,-z,initfirst"), ""),
		"symbols of another size":      only(withTag(t, good, elf.DT_SYMENT, 32, elf.DT_SYMENT), ""),
		"no size of its strings":       only(withTag(t, good, elf.DT_STRSZ, 0, elf.DT_STRSZ), ""),
		"strings longer than the file": only(withTag(t, good, elf.DT_STRSZ, 1<<50, elf.DT_STRSZ), ""),
		"relocations of another size":  only(withTag(t, good, elf.DT_RELAENT, 32, elf.DT_RELAENT), "loader"),
		"relocations of another kind":  only(withTag(t, good, elf.DT_PLTREL, 17, elf.DT_PLTREL), "loader"),
		"the older hash table":         only(m.module("", "", "-Wl,--hash-style=sysv"), ""),
		"both hash tables":             only(m.module("", "", "-Wl,--hash-style=both"), ""),
		"one of two hash tables":       only(withTag(t, m.module("", "", "-Wl,--hash-style=both"), elf.DT_GNU_HASH, 0, unknownTag), ""),
		"packed relocations":           only(relr, ""),
		"packed relocations, unsaid":   only(unmarked(t, relr), "loader"),
		"code that is relocated":       only(m.module("", "", "-Wl,-z,notext"), ""),
		"bound at once":                only(m.module("", "", "-Wl,-z,now"), ""),
		// What thread-local memory takes.
		"a little static memory":    only(static(8, 512), ""),
		"much of the static memory": only(static(8, 1600), ""),
		"more than there is":        only(static(8, 1800), "loader"),
		"1 MiB of it":               only(static(8, 1<<20), "loader"),
		"aligned to a line":         only(static(64, 64), ""),
		"aligned to two lines":      only(static(128, 64), "loader"),
		"1 MiB that is not static":  only(m.module("__thread char big[1 << 20];", "big[0] = 1;"), ""),
		"1 MiB by descriptors":      only(m.module("__thread char big[1 << 20];", "big[0] = 1;", "-mtls-dialect=gnu2"), ""),
		"1 MiB, and another's static": {files: map[string][]byte{
			"spam.so":     m.module(`__thread char big[1 << 20]; extern __thread int small __attribute__((tls_model("initial-exec")));`, "big[0] = small;", small, "-Wl,-rpath,$ORIGIN"),
			"libsmall.so": m.read(small),
		}},
	}
	agree(t, trials)
}

// noLoads is a file without PT_LOAD.
func noLoads(t *testing.T, data []byte) []byte {
	t.Helper()
	for bytes.Contains(data[64:64+56*int(data[56])], []byte{1, 0, 0, 0}) {
		f, err := elf.NewFile(bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(f.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_LOAD })
		if i < 0 {
			break
		}
		data = header(data, 64+56*i, 0)
	}
	return data
}

// programHeader is one of a type, at an offset and address, of a size.
func programHeader(kind elf.ProgType, at, size uint64) []byte {
	h := binary.LittleEndian.AppendUint32(nil, uint32(kind))
	h = binary.LittleEndian.AppendUint32(h, uint32(elf.PF_R))
	for _, v := range []uint64{at, at, at, size, size, 1} {
		h = binary.LittleEndian.AppendUint64(h, v)
	}
	return h
}

func interp(at, size uint64) []byte { return programHeader(elf.PT_INTERP, at, size) }
func phdrs(at uint64) []byte        { return programHeader(elf.PT_PHDR, at, 56) }

// noteAt is where a file has its first note.
func noteAt(t *testing.T, data []byte) int {
	t.Helper()
	return int(binary.LittleEndian.Uint64(data[segment(t, data, elf.PT_NOTE, 0)+atOffset:]))
}

// dynamicBefore is a file whose last PT_LOAD begins behind the dynamic section, in its page.
func dynamicBefore(t *testing.T, data []byte) []byte {
	t.Helper()
	le := binary.LittleEndian
	load, dynamic := segment(t, data, elf.PT_LOAD, 3), segment(t, data, elf.PT_DYNAMIC, 0)
	more := le.Uint64(data[dynamic+atAddr:]) + le.Uint64(data[dynamic+atFileSize:]) - le.Uint64(data[load+atAddr:])
	for _, field := range []int{atOffset, atAddr} {
		data = with(t, data, elf.PT_LOAD, 3, field, by(more))
	}
	for _, field := range []int{atFileSize, atMemSize} {
		data = with(t, data, elf.PT_LOAD, 3, field, by(-more))
	}
	return data
}

// unmarked is a file with packed relocations that does not ask glibc whether it knows them.
func unmarked(t *testing.T, data []byte) []byte {
	t.Helper()
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	names, err := f.Section(".dynstr").Data()
	if err != nil {
		t.Fatal(err)
	}
	needs := f.Section(".gnu.version_r")
	changed := slices.Clone(data)
	entry := func(name string) []byte {
		var e []byte
		e = binary.LittleEndian.AppendUint32(e, sysvHash(name))
		return e
	}
	at := bytes.Index(changed[needs.Offset:needs.Offset+needs.Size], entry("GLIBC_ABI_DT_RELR"))
	name := bytes.Index(names, []byte("GLIBC_2.2.5\x00"))
	if at < 0 || name < 0 {
		t.Fatalf("the version is at %d, the other name at %d", at, name)
	}
	at += int(needs.Offset)
	copy(changed[at:], entry("GLIBC_2.2.5"))
	binary.LittleEndian.PutUint32(changed[at+8:], uint32(name))
	return changed
}

// sysvHash is the hash of a version's name (gABI, chapter 5).
func sysvHash(name string) uint32 {
	var h uint32
	for i := range len(name) {
		h = h<<4 + uint32(name[i])
		h = (h ^ h>>28<<28>>24) &^ (0xf << 28)
	}
	return h
}

// TestImportsOfLibraries compares what the checks say of the libraries and symbols that modules
// need with imports.
func TestImportsOfLibraries(t *testing.T) {
	t.Parallel()
	m := &mason{t: t, dir: t.TempDir()}
	const (
		call    = "int helper(void);"
		helper  = "int helper(void) { return 7; }"
		runpath = "-Wl,--enable-new-dtags,-rpath,"
		rpath   = "-Wl,--disable-new-dtags,-rpath,"
	)
	inner := m.library("libinner.so.1", helper)
	calls := func(flags ...string) []byte { return m.module(call, "helper();", append([]string{inner}, flags...)...) }
	outer := func(flags ...string) string {
		return m.library("libouter.so.1", "int outer(void) { return 1; }", append([]string{inner}, flags...)...)
	}
	plainOuter := outer()
	callsOuter := func(flags ...string) []byte {
		return m.module("int outer(void);", "outer();", append([]string{plainOuter, "-Wl,-rpath-link," + filepath.Dir(inner)}, flags...)...)
	}
	lib, text := m.read(inner), func(s string) []byte { return []byte(s) }
	anl := func(flags ...string) []byte {
		return m.module("", "", append([]string{"-l:libanl.so.1"}, flags...)...)
	}
	trials := map[string]trial{
		"nowhere":                     {files: map[string][]byte{"spam.so": calls()}, check: "closure", says: "auditwheel repair"},
		"beside it, without a path":   {files: map[string][]byte{"spam.so": calls(), "libinner.so.1": lib}, check: "closure"},
		"RUNPATH":                     {files: map[string][]byte{"spam.so": calls(runpath + "$ORIGIN"), "libinner.so.1": lib}},
		"RUNPATH in braces":           {files: map[string][]byte{"spam.so": calls(runpath + "${ORIGIN}/l"), "l/libinner.so.1": lib}},
		"NAME.libs beside it":         {files: map[string][]byte{"spam.so": calls(runpath + "$ORIGIN/spam.libs"), "spam.libs/libinner.so.1": lib}},
		"NAME.libs as auditwheel has": {files: map[string][]byte{"spam.so": calls(runpath + "$ORIGIN/../wide.libs"), "../wide.libs/libinner.so.1": lib}},
		"RUNPATH is not handed on":    {files: map[string][]byte{"spam.so": callsOuter(runpath + "$ORIGIN/l"), "l/libouter.so.1": m.read(plainOuter), "l/libinner.so.1": lib}, check: "closure"},
		"RPATH is":                    {files: map[string][]byte{"spam.so": callsOuter(rpath + "$ORIGIN/l"), "l/libouter.so.1": m.read(plainOuter), "l/libinner.so.1": lib}},
		"RPATH, cut off by a RUNPATH": {files: map[string][]byte{"spam.so": callsOuter(rpath + "$ORIGIN/l"), "l/libouter.so.1": m.read(outer(runpath + "$ORIGIN/none")), "l/libinner.so.1": lib}, check: "closure"},
		"RPATH of a library's own":    {files: map[string][]byte{"spam.so": callsOuter(runpath + "$ORIGIN/l"), "l/libouter.so.1": m.read(outer(rpath + "$ORIGIN")), "l/libinner.so.1": lib}},
		"loaded by a sibling": {files: map[string][]byte{
			"spam.so": m.module("int outer(void); "+call, "outer(); helper();", inner, plainOuter, runpath+"$ORIGIN/l"), "l/libouter.so.1": m.read(plainOuter), "l/libinner.so.1": lib}},
		"NAME.libs in a library, as old auditwheel has": {files: map[string][]byte{
			"spam.so": m.module("int outer(void); "+call, "outer(); helper();", inner, plainOuter, runpath+"$ORIGIN/l"), "l/libouter.so.1": m.read(outer(runpath + "spam.libs")), "l/libinner.so.1": lib}, says: "relative to the working directory"},
		"through links":                        {files: map[string][]byte{"spam.so": calls(runpath + "$ORIGIN"), "libinner.so.1": text("-> l/libinner.so"), "l/libinner.so": text("-> libinner.so.1.2"), "l/libinner.so.1.2": lib}},
		"a link to nothing":                    {files: map[string][]byte{"spam.so": calls(runpath + "$ORIGIN"), "libinner.so.1": text("-> gone")}, check: "closure"},
		"a way through nothing":                {files: map[string][]byte{"spam.so": calls(runpath + "$ORIGIN/x/../l"), "l/libinner.so.1": lib}, check: "closure"},
		"an end that is empty":                 {files: map[string][]byte{"spam.so": calls(runpath + "$ORIGIN:"), "libinner.so.1": lib}},
		"a start that is empty":                {files: map[string][]byte{"spam.so": calls(runpath + ":$ORIGIN"), "libinner.so.1": lib}},
		"nothing but empty ones":               {files: map[string][]byte{"spam.so": calls(runpath + ":"), "libinner.so.1": lib}, check: "closure"},
		"relative":                             {files: map[string][]byte{"spam.so": calls(runpath + "l"), "l/libinner.so.1": lib}, check: "closure"},
		"an absolute one":                      {files: map[string][]byte{"spam.so": calls(runpath + "/nonexistent/lib:$ORIGIN"), "libinner.so.1": lib}},
		"$LIB":                                 {files: map[string][]byte{"spam.so": calls(runpath + "$ORIGIN/$LIB"), "lib/x86_64-linux-gnu/libinner.so.1": lib}},
		"$LIB of another system":               {files: map[string][]byte{"spam.so": calls(runpath + "$ORIGIN/${LIB}"), "lib64/libinner.so.1": lib}, check: "closure"},
		"another word":                         {files: map[string][]byte{"spam.so": calls(runpath + "$ORIGINAL"), "libinner.so.1": lib}, check: "closure"},
		"hwcaps":                               {files: map[string][]byte{"spam.so": calls(runpath + "$ORIGIN"), "glibc-hwcaps/x86-64-v2/libinner.so.1": lib}},
		"hwcaps of nothing":                    {files: map[string][]byte{"spam.so": calls(runpath + "$ORIGIN"), "glibc-hwcaps/x86-64-v9/libinner.so.1": lib}, check: "closure"},
		"the system's":                         {files: map[string][]byte{"spam.so": anl()}},
		"the system's, no default directories": {files: map[string][]byte{"spam.so": anl("-Wl,-z,nodefaultlib")}, check: "closure"},
		"a package of the system's":            {files: map[string][]byte{"spam.so": m.module("", "", m.library("libdmtx.so.0", ""))}, check: "closure", says: "libdmtx0b (Debian)"},
		"another version of one":               {files: map[string][]byte{"spam.so": m.module("", "", m.library("libssl.so.77", ""))}, check: "closure", says: "another version"},
		"CUDA's":                               {files: map[string][]byte{"spam.so": m.module("", "", m.library("libcudart.so.12", ""))}, check: "closure", says: "nvidia-cuda-runtime-cu12"},
		"its own of auditwheel's":              {files: map[string][]byte{"spam.so": m.module("", "", m.library("libjpeg-0a1b2c3d.so.62.3.0", ""), runpath+"$ORIGIN/spam.libs")}, check: "closure", says: "of the wheel itself"},
		"another Python's library":             {files: map[string][]byte{"spam.so": m.module("", "", m.library("libpython3.7m.so.1.0", ""))}, check: "closure", says: "PEP 513"},
		"by a path":                            {files: map[string][]byte{"spam.so": m.module("", "", m.gcc("libbare.so", "int bare;", "-shared"))}},
		"a text by its name":                   {files: map[string][]byte{"spam.so": calls(runpath + "$ORIGIN"), "libinner.so.1": text("INPUT ( libinner.a )")}, check: "closure"},
		"an empty file by its name":            {files: map[string][]byte{"spam.so": calls(runpath + "$ORIGIN"), "libinner.so.1": nil}, check: "closure"},
		"a 32-bit one first":                   {files: map[string][]byte{"spam.so": calls(runpath + "$ORIGIN/a:$ORIGIN"), "a/libinner.so.1": header(lib, 4, 1), "libinner.so.1": lib}},
		"a relocatable one first":              {files: map[string][]byte{"spam.so": calls(runpath + "$ORIGIN/a:$ORIGIN"), "a/libinner.so.1": header(lib, 16, 1), "libinner.so.1": lib}, check: "closure"},
		"one off its pages":                    {files: map[string][]byte{"spam.so": calls(runpath + "$ORIGIN"), "libinner.so.1": with(t, lib, elf.PT_LOAD, 1, atOffset, by(8))}, check: "closure"},
		// What another distribution has.
		"alpha":       {files: map[string][]byte{"__init__.py": text("import ctypes, os\nctypes.CDLL(os.path.join(os.path.dirname(__file__), 'lib', 'libinner.so.1'))\n"), "lib/libinner.so.1": lib}, code: "import NAME"},
		"alpha other": {files: map[string][]byte{"__init__.py": text("import ctypes, os\nctypes.CDLL(os.path.join(os.path.dirname(__file__), 'lib', 'libother.so.1'))\n"), "lib/libother.so.1": m.read(m.library("libother.so.1", "int another(int x) { return x; }"))}, code: "import NAME"},
		"beta":        {requires: []string{"alpha"}, code: "import NAME"},
		"alpha global": {files: map[string][]byte{"__init__.py": text("import ctypes, os\nctypes.CDLL(os.path.join(os.path.dirname(__file__), 'libglobal.so'), mode=ctypes.RTLD_GLOBAL)\n"),
			"libglobal.so": m.read(m.library("libglobal.so", "int everywhere(void) { return 1; }"))}, code: "import NAME"},
		"behind what it requires":        {files: map[string][]byte{"spam.so": calls()}, requires: []string{"alpha"}, code: "import {alpha}, NAME.spam", says: "which the distribution requires, has one"},
		"behind what that requires":      {files: map[string][]byte{"spam.so": calls()}, requires: []string{"beta"}, code: "import {alpha}, NAME.spam"},
		"that lacks the symbol":          {files: map[string][]byte{"spam.so": m.module("int another(const char *); int more(void);", "another(0); more();", m.library("libother.so.1", "int another(void) { return 1; } int more(void) { return 1; }"))}, requires: []string{"alpha other"}, code: "import {alpha other}, NAME.spam", check: "symbols", says: "built for each other"},
		"that lacks what is called late": {files: map[string][]byte{"spam.so": m.module("int more(void); int never(void) { return more(); }", "", m.library("libother.so.1", "int more(void) { return 1; }"))}, requires: []string{"alpha other"}, code: "import {alpha other}, NAME.spam", check: "symbols"},
		"its directory":                  {files: map[string][]byte{"spam.so": calls(runpath + "$ORIGIN/../{alpha}/lib")}, requires: []string{"alpha"}},
		"its directory, where it is not": {files: map[string][]byte{"spam.so": m.module("", "", m.library("libglib-2.0.so.77", ""), runpath+"$ORIGIN/../{alpha}/lib")}, requires: []string{"alpha"}, check: "closure"},
		"what it loads for all":          {files: map[string][]byte{"spam.so": m.module("int everywhere(void);", "everywhere();")}, requires: []string{"alpha global"}, code: "import {alpha global}, NAME.spam", says: "RTLD_GLOBAL"},
		"what nobody loads for all":      {files: map[string][]byte{"spam.so": m.module("int nobody(void);", "nobody();")}, requires: []string{"alpha global"}, code: "import {alpha global}, NAME.spam", check: "symbols"},
		"its own code loads it":          {files: map[string][]byte{"__init__.py": text("import ctypes, os\nctypes.CDLL(os.path.join(os.path.dirname(__file__), 'l', 'libinner.so.1'))\n"), "spam.so": calls(), "l/libinner.so.1": lib}, says: "loads it"},
		"its own module finds it":        {files: map[string][]byte{"__init__.py": text("from .a import spam as first\n"), "a/spam.so": calls(runpath + "$ORIGIN/l"), "a/l/libinner.so.1": lib, "spam.so": calls()}, says: "finds it"},
		// What the package does without.
		"in a try":               {files: map[string][]byte{"__init__.py": text("try:\n    from . import spam\nexcept ImportError:\n    spam = None\n"), "spam.so": calls()}, code: "import NAME", says: "it does without"},
		"in a try, beside tests": {files: map[string][]byte{"__init__.py": text("try:\n    from . import spam\nexcept ImportError:\n    spam = None\n"), "tests/__init__.py": nil, "tests/test_spam.py": text("def test_spam():\n    from NAME import spam\n"), "spam.so": calls()}, code: "import NAME", says: "it does without"},
		"in a try of a function": {files: map[string][]byte{"__init__.py": text("def f():\n    try:\n        # once\n\n        from NAME.spam import f\n    except (OSError, ImportError): return None\nf()\n"), "spam.so": calls()}, code: "import NAME", says: "it does without"},
		"in a try that raises":   {files: map[string][]byte{"__init__.py": text("try:\n    from . import spam\nexcept ImportError as e:\n    if True:\n        raise ImportError('build it') from e\n"), "spam.so": calls()}, code: "import NAME", check: "closure"},
		"in a try for others":    {files: map[string][]byte{"__init__.py": text("try:\n    from . import spam\nexcept (KeyError, ModuleNotFoundError):\n    spam = None\n"), "spam.so": calls()}, code: "import NAME", check: "closure"},
		"in a try and without":   {files: map[string][]byte{"__init__.py": text("try:\n    from . import spam\nexcept ImportError:\n    from . import spam\n"), "spam.so": calls()}, code: "import NAME", check: "closure"},
		"behind a try":           {files: map[string][]byte{"__init__.py": text("try:\n    pass\nexcept ImportError:\n    pass\nfrom . import spam\n"), "spam.so": calls()}, code: "import NAME", check: "closure"},
		"a symbol, in a try":     {files: map[string][]byte{"__init__.py": text("try:\n    import NAME.spam\nexcept:\n    pass\n"), "spam.so": m.module("int nobody_has_it(void);", "nobody_has_it();")}, code: "import NAME", says: "it does without"},
	}
	maps.Copy(trials, symbolTrials(t, m))
	agree(t, trials)
}

// symbolTrials are about symbols and their versions.
func symbolTrials(t *testing.T, m *mason) map[string]trial {
	t.Helper()
	const (
		both = "int plain(void) { return 0; } int other(void) { return 0; }"
		own  = "-Wl,-rpath,$ORIGIN"
		bare = "-nostdlib"
	)
	v1 := m.library("libplain.so.1", both, m.script("P_1 { global: plain; };"))
	none := m.library("libplain.so.1", both)
	asks := func(link, top, body string) []byte { return m.module(top, body, link, own) }
	with := func(module []byte, lib string, check string) trial {
		return trial{files: map[string][]byte{"spam.so": module, "libplain.so.1": m.read(lib)}, check: check}
	}
	hidden := func(version string) string {
		return m.library("libplain.so.1", `asm(".symver old,plain@`+version+`"); int old(void) { return 0; }`, m.script("P_1 { }; P_2 { } P_1; P_3 { } P_2;"))
	}
	const want, calls = "int plain(void);", "plain();"
	less := m.library("libplain.so.1", "int other(void) { return 0; }")
	return map[string]trial{
		"the version":                        with(asks(v1, want, calls), v1, ""),
		"a library without any version":      with(asks(v1, want, calls), m.library("libplain.so.1", both, bare), "versions"),
		"the same, the symbol is not asked":  with(asks(v1, "int other(void);", "other();"), m.library("libplain.so.1", both, bare), ""),
		"a library that only asks for some":  with(asks(v1, want, calls), m.library("libplain.so.1", "int puts(const char *); int plain(void) { return puts(\"\"); }"), ""),
		"another version":                    with(asks(v1, want, calls), m.library("libplain.so.1", both, m.script("P_2 { global: plain; };")), "versions"),
		"the version of another symbol":      with(asks(v1, want, calls), m.library("libplain.so.1", both, m.script("P_1 { global: other; }; P_2 { global: plain; } P_1;")), "symbols"),
		"no version asked for":               with(asks(none, want, calls), v1, ""),
		"no version asked for, first hidden": with(asks(none, want, calls), hidden("P_1"), ""),
		"no version asked for, third hidden": with(asks(none, want, calls), hidden("P_3"), "symbols"),
		"a function that is never called":    with(asks(none, want+" int never(void) { return plain(); }", ""), less, "symbols"),
		"the same, bound lazily by itself":   with(m.module(want+" int never(void) { return plain(); }", "", none, own, "-Wl,-z,lazy"), less, "symbols"),
		"a weak one":                         with(asks(none, "int plain(void) __attribute__((weak)); int never(void) { return plain ? plain() : 0; }", ""), less, ""),
		"data":                               with(asks(none, "extern int table[]; int *p = table;", ""), m.library("libplain.so.1", "int other;"), "symbols"),
		"named, and never referred to":       with(asks(none, "", ""), less, ""),
		"undefined without a reference":      {files: map[string][]byte{"spam.so": m.module("", "", "-Wl,-u,nobody_has_it", "-Wl,-z,undefs")}},
		"of nobody":                          {files: map[string][]byte{"spam.so": m.module("int nobody_has_it(void);", "nobody_has_it();")}, check: "symbols", says: "another release"},
		"of another Python":                  {files: map[string][]byte{"spam.so": m.module("int PyUnicodeUCS4_Decode(void);", "PyUnicodeUCS4_Decode();")}, check: "symbols", says: "another version or build of Python"},
		"of a newer glibc":                   {files: map[string][]byte{"spam.so": m.module(`int newer(void); asm(".symver newer,newer@GLIBC_2.99");`, "newer();", m.library("libc.so.6", "int newer(void) { return 0; }", bare, m.script("GLIBC_2.99 { global: newer; };")))}, check: "versions", says: "lower manylinux tag"},
	}
}

// withDynamic is a program whose DT_DEBUG, which only debuggers look at, is another entry, with
// a text that stands in the place of the longest name of a symbol.
func withDynamic(t *testing.T, data []byte, tag elf.DynTag, text string) []byte {
	t.Helper()
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	table := f.Section(".dynstr")
	names, err := table.Data()
	if err != nil {
		t.Fatal(err)
	}
	longest, at := 0, 0
	for offset, name := 0, []byte(nil); offset < len(names); offset += len(name) + 1 {
		if name, _, _ = bytes.Cut(names[offset:], []byte{0}); len(name) > longest {
			longest, at = len(name), offset
		}
	}
	if longest < len(text) {
		t.Fatalf("no name is as long as %s", text)
	}
	changed := withTag(t, data, elf.DT_DEBUG, uint64(at), tag)
	copy(changed[int(table.Offset)+at:], text+"\x00")
	return changed
}

// The interpreter's search path serves a module if it is an RPATH, and does not if it is a
// RUNPATH; neither excuses what is nowhere.
func TestInterpretersSearchPath(t *testing.T) {
	t.Parallel()
	exe, version := systemPython(t)
	m := &mason{t: t, dir: t.TempDir()}
	inner := m.library("libinner.so.1", "int helper(void) { return 7; }")
	outer := m.library("libouter.so.1", "int helper(void); int outer(void) { return helper(); }", inner)
	for name, tt := range map[string]struct {
		tag       elf.DynTag
		libraries []string
		module    []byte
		works     bool
	}{
		"RUNPATH, nowhere":                                    {elf.DT_RUNPATH, nil, m.module("int helper(void);", "helper();", inner), false},
		"RPATH, nowhere":                                      {elf.DT_RPATH, nil, m.module("int helper(void);", "helper();", inner), false},
		"RUNPATH, where it leads":                             {elf.DT_RUNPATH, []string{inner}, m.module("int helper(void);", "helper();", inner), false},
		"RPATH, where it leads":                               {elf.DT_RPATH, []string{inner}, m.module("int helper(void);", "helper();", inner), true},
		"RPATH, and what that needs":                          {elf.DT_RPATH, []string{inner, outer}, m.module("int outer(void);", "outer();", outer, "-Wl,-rpath-link,"+filepath.Dir(inner)), true},
		"RPATH, the module a RUNPATH":                         {elf.DT_RPATH, []string{inner}, m.module("int helper(void);", "helper();", inner, "-Wl,--enable-new-dtags,-rpath,$ORIGIN/none"), false},
		"RUNPATH, the module an RPATH to another's directory": {elf.DT_RUNPATH, nil, m.module("int helper(void);", "helper();", inner, "-Wl,--disable-new-dtags,-rpath,$ORIGIN/../other"), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			prefix := t.TempDir()
			files := map[string][]byte{
				"bin/python" + version: withDynamic(t, m.read(exe), tt.tag, "$ORIGIN/../lib"),
				"site/spam.so":         tt.module,
			}
			for _, lib := range tt.libraries {
				files["lib/"+filepath.Base(lib)] = m.read(lib)
			}
			config, err := filepath.Glob("/usr/lib/python" + version + "/_sysconfigdata_*.py")
			if err != nil || len(config) == 0 {
				t.Fatalf("the system's Python has no sysconfig: %v", err)
			}
			files["lib/python"+version+"/"+filepath.Base(config[0])] = m.read(config[0])
			digits := "cp" + strings.ReplaceAll(version, ".", "")
			wheel := "spam-1.0-" + digits + "-" + digits + "-linux_x86_64.whl"
			files[wheel] = []byte(pack(t, distOf("spam", strings.TrimSuffix(strings.TrimPrefix(wheel, "spam-1.0-"), ".whl"), "", map[string]string{"spam.so": string(tt.module)})))
			for file, data := range files {
				p := filepath.Join(prefix, file)
				if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(p, data, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			cmd := exec.CommandContext(t.Context(), filepath.Join(prefix, "bin", "python"+version), "-c", "import spam")
			cmd.Env = []string{"PYTHONHOME=/usr", "PYTHONPATH=" + filepath.Join(prefix, "site"), "PYTHONDONTWRITEBYTECODE=1"}
			told, err := cmd.CombinedOutput()
			if (err == nil) != tt.works {
				t.Fatalf("imported: %v\n%s", err, told)
			}
			r, err := Look(t.Context(), Target{Files: Machine("/"), Path: filepath.Join(prefix, wheel), Against: filepath.Join(prefix, "bin", "python"+version)})
			if err != nil {
				t.Fatal(err)
			}
			if refused := r.Count(audit.Refuse) > 0; refused == tt.works {
				t.Errorf("refused: %t, by %v, and the import said %s", refused, r.Units[0].Findings, told)
			}
		})
	}
}

// A wheel that is judged alone is undecided where one that it requires may bring what is
// missing, or where nobody said which glibc it is for; nothing else is.
func TestUndecided(t *testing.T) {
	t.Parallel()
	exe, version := systemPython(t)
	m := &mason{t: t, dir: t.TempDir()}
	digits := "cp" + strings.ReplaceAll(version, ".", "")
	tag := digits + "-" + digits + "-linux_x86_64"
	needs := func(soname string, flags ...string) []byte {
		return m.module("", "", append([]string{m.library(soname, "")}, flags...)...)
	}
	good := m.module("", "")
	for name, tt := range map[string]struct {
		module   []byte
		metadata string
		against  string
		want     audit.Severity
		needs    string
	}{
		"one that it requires may have it":      {needs("libtorch_here.so"), "Requires-Dist: torch\nRequires-Dist: numpy; python_version < '3'\n", exe, audit.Undecided, "torch, which"},
		"the same, by a search path":            {needs("libshiboken6.abi3.so.6.77", "-Wl,-rpath,$ORIGIN/../shiboken6"), "Requires-Dist: shiboken6\n", exe, audit.Undecided, "shiboken6"},
		"a search path, and nothing required":   {needs("libshiboken6.abi3.so.6.77", "-Wl,-rpath,$ORIGIN/../shiboken6"), "", exe, audit.Refuse, ""},
		"the system's":                          {needs("libglib-2.0.so.77", "-Wl,-rpath,$ORIGIN/../shiboken6"), "Requires-Dist: shiboken6\n", exe, audit.Refuse, ""},
		"required for an extra alone":           {needs("libtorch_here.so"), "Provides-Extra: x\nRequires-Dist: torch; extra == 'x'\n", exe, audit.Refuse, ""},
		"a program, no glibc":                   {m.read(m.gcc("p", "void *PyInit_spam(void) { return 0; } int main(void) { return 0; }", "-pie", "-rdynamic")), "", "", audit.Undecided, "glibc"},
		"alignment, no glibc":                   {with(t, good, elf.PT_LOAD, 0, atAlign, to(16)), "", "", audit.Undecided, "glibc"},
		"alignment, a glibc that does not care": {with(t, good, elf.PT_LOAD, 0, atAlign, to(16)), "", exe, audit.Warn, ""},
		"relocatable, no glibc":                 {header(good, 16, 1), "", "", audit.Refuse, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wheel := filepath.Join(t.TempDir(), "spam-1.0-"+tag+".whl")
			files := distOf("spam", tag, tt.metadata, map[string]string{"spam/__init__.py": "", "spam/spam.cpython-" + digits[2:] + "-x86_64-linux-gnu.so": string(tt.module)})
			if err := os.WriteFile(wheel, []byte(pack(t, files)), 0o644); err != nil {
				t.Fatal(err)
			}
			r, err := Look(t.Context(), Target{Files: Machine("/"), Path: wheel, Against: tt.against})
			if err != nil {
				t.Fatal(err)
			}
			var worst audit.Finding
			for _, f := range r.Units[0].Findings {
				if worst.Check == "" || slices.Index(order, f.Severity) < slices.Index(order, worst.Severity) {
					worst = f
				}
			}
			if worst.Severity != tt.want || !strings.Contains(worst.Needs, tt.needs) || (worst.Needs == "") != (tt.want != audit.Undecided) {
				t.Errorf("wanted %s, it needs %q; got %+v", tt.want, tt.needs, r.Units[0].Findings)
			}
		})
	}
}

// order is that of severities, worst first.
var order = []audit.Severity{audit.Refuse, audit.Undecided, audit.Warn}
