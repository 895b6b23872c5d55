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
	// part has other files of the same distribution that are judged with it.
	says string
}

// only is a trial of one module.
func only(module []byte, check string) trial {
	return trial{files: map[string][]byte{"spam.so": module}, check: check}
}

// environment is a virtual environment of the system's Python with a distribution for each
// trial, t000 and on in the order of their names.
type environment struct {
	dir, site string
	names     []string
}

func build(t *testing.T, trials map[string]trial) environment {
	t.Helper()
	exe, version := systemPython(t)
	dir := t.TempDir()
	env := environment{dir: dir, site: filepath.Join(dir, "lib", "python"+version, "site-packages"), names: slices.Sorted(maps.Keys(trials))}
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
func (e environment) dist(name string) string {
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
func (e environment) imports(t *testing.T, trials map[string]trial) map[string]string {
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
		"32 bits":                         only(header(good, 4, 1), "parse"),
		"big-endian":                      only(header(good, 5, 2), "parse"),
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
