package audit

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ampoule/tree"
)

// The specimens are compiled by the host's gcc, a requirement of these tests,
// without the host's libc: their libc.so.6 is one of them.

const (
	site      = "lib/python3.13/site-packages/"
	dynload   = "lib/python3.13/lib-dynload/"
	suffix    = ".cpython-313-x86_64-linux-gnu.so"
	linkGnu   = "lib/x86_64-linux-gnu/"
	oldRPath  = "-Wl,--disable-new-dtags"
	newRPath  = "-Wl,--enable-new-dtags"
	asNeeded  = "-Wl,--no-as-needed"
	soname313 = "libpython3.13.so.1.0"
)

// workshop compiles specimens; equal ones once.
type workshop struct {
	dir   string
	mu    sync.Mutex
	built map[string]func() (string, error)
}

var shop = workshop{built: map[string]func() (string, error){}}

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "specimens")
	if err != nil {
		panic(err)
	}
	shop.dir = dir
	code := m.Run()
	if code == 0 && wholeRun() {
		if err := errors.Join(checkTable(), unheard()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.RemoveAll(dir)
	os.Exit(code)
}

// build compiles C source to a file of the given name, in a directory of its
// own, and returns its path. Flags come after the source, so that libraries may be among them.
func (w *workshop) build(t *testing.T, name, source string, flags ...string) string {
	t.Helper()
	key := fmt.Sprintf("%x", sha256.Sum256(fmt.Append(nil, name, source, flags)))[:16]
	w.mu.Lock()
	once := w.built[key]
	if once == nil {
		once = sync.OnceValues(func() (string, error) { return w.compile(filepath.Join(w.dir, key), name, source, flags) })
		w.built[key] = once
	}
	w.mu.Unlock()
	file, err := once()
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func (w *workshop) compile(dir, name, source string, flags []string) (string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	out := filepath.Join(dir, name)
	args := append([]string{"-x", "c", "-", "-x", "none", "-nostdlib", "-fPIC", "-o", out}, flags...)
	cmd := exec.Command("gcc", args...)
	cmd.Stdin = strings.NewReader(source)
	if output, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("compiling %s: %w\n%s", name, err, output)
	}
	return out, nil
}

// library compiles a shared library whose soname is its name.
func library(t *testing.T, name, source string, flags ...string) string {
	t.Helper()
	return shop.build(t, name, source, append([]string{"-shared", "-Wl,-soname," + name}, flags...)...)
}

// extension compiles an extension module.
func extension(t *testing.T, name string, flags ...string) string {
	t.Helper()
	return shop.build(t, name+suffix, "int PyList_New(void); int PyInit_"+name+"(void) { return PyList_New(); }", append([]string{"-shared", asNeeded}, flags...)...)
}

func versionScript(t *testing.T, script string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "version.map")
	if err := os.WriteFile(name, []byte(script), 0o644); err != nil {
		t.Fatal(err)
	}
	return "-Wl,--version-script=" + name
}

var libcScripts = map[string]string{
	"old":  "GLIBC_2.2.5 { global: libc_old; local: *; };",
	"mid":  "GLIBC_2.2.5 { global: libc_old; local: *; }; GLIBC_2.36 { global: libc_mid; } GLIBC_2.2.5;",
	"mark": "GLIBC_2.2.5 { global: libc_old; local: *; }; GLIBC_ABI_DT_RELR { global: libc_mark; }; GLIBC_2.36 { global: libc_mid; } GLIBC_2.2.5;",
	"new":  "GLIBC_2.2.5 { global: libc_old; local: *; }; GLIBC_2.36 { global: libc_mid; } GLIBC_2.2.5; GLIBC_2.99 { global: libc_new; } GLIBC_2.36;",
}

// libc is a libc.so.6 that knows versions up to 2.2.5 (old), 2.36 (mid) or 2.99 (new).
func libc(t *testing.T, age string) string {
	t.Helper()
	script := filepath.Join(shop.dir, age+".map")
	if err := writeOnce(script, libcScripts[age]); err != nil {
		t.Fatal(err)
	}
	source := "int libc_old(void){return 0;} int libc_mid(void){return 0;} int libc_new(void){return 0;} int libc_mark(void){return 0;}"
	return library(t, "libc.so.6", source, "-Wl,--version-script="+script)
}

var writing sync.Mutex

func writeOnce(name, text string) error {
	writing.Lock()
	defer writing.Unlock()
	if _, err := os.Stat(name); err == nil {
		return nil
	}
	return os.WriteFile(name, []byte(text), 0o644)
}

const pythonSource = `int _PyRuntime; int PyList_New(void){return 0;} int _PyX(void){return 0;}
int PyInit__builtin(void){return 0;} int libc_old(void);`

// interpreter is a python3.13 that holds libpython.
func interpreter(t *testing.T) string {
	t.Helper()
	return shop.build(t, "python3.13", pythonSource+"int main(void){return libc_old();}",
		"-Wl,-e,main", "-rdynamic", oldRPath, "-Wl,-rpath,$ORIGIN/../lib", libc(t, "old"))
}

// libpython313 is a library with that soname that holds the runtime.
func libpython313(t *testing.T) string {
	t.Helper()
	return library(t, soname313, pythonSource)
}

// sharedInterpreter is a python3.13 that needs libpython.
func sharedInterpreter(t *testing.T) string {
	t.Helper()
	return shop.build(t, "python3.13", "int PyList_New(void); int main(void){return PyList_New();}",
		"-Wl,-e,main", oldRPath, "-Wl,-rpath,$ORIGIN/../lib", libpython313(t), libc(t, "old"))
}

// fromFile makes a tree entry of a compiled file.
func fromFile(t *testing.T, at, file string) tree.Entry {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return tree.FileEntry(at, 0o755, data)
}

// wheelFile is the WHEEL of a .dist-info directory.
func wheelFile(info string, tags ...string) tree.Entry {
	text := "Wheel-Version: 1.0\n"
	for _, t := range tags {
		text += "Tag: " + t + "\n"
	}
	return tree.FileEntry(path.Join(info, "WHEEL"), 0o644, []byte(text))
}

// metadataFile is the METADATA of a .dist-info directory, with more lines.
func metadataFile(info, name, version string, lines ...string) tree.Entry {
	text := "Metadata-Version: 2.1\nName: " + name + "\nVersion: " + version + "\n"
	for _, line := range lines {
		text += line + "\n"
	}
	return tree.FileEntry(path.Join(info, "METADATA"), 0o644, []byte(text))
}

// installed gives entries of site-packages a .dist-info directory that records them.
func installed(name string, entries ...tree.Entry) []tree.Entry {
	info := site + name + "-1.0.dist-info/"
	entries = append(entries, wheelFile(info, "cp313-cp313-linux_x86_64"))
	if !slices.ContainsFunc(entries, func(e tree.Entry) bool { return e.Path == info+"METADATA" }) {
		entries = append(entries, metadataFile(info, name, "1.0"))
	}
	var record strings.Builder
	for i := range entries {
		entries[i].Owner = OwnerWheel + name
		rel, err := filepath.Rel(site, entries[i].Path)
		if err != nil {
			panic(err)
		}
		fmt.Fprintf(&record, "%s,%s,%d\n", rel, recordHash(entries[i]), entries[i].Size)
	}
	fmt.Fprintf(&record, "%s,,\n", strings.TrimPrefix(info, site)+"RECORD")
	return append(entries, tree.FileEntry(info+"RECORD", 0o644, []byte(record.String())))
}

func recordHash(e tree.Entry) string {
	data, err := e.ReadAll()
	if err != nil {
		panic(err)
	}
	sum := sha256.Sum256(data)
	return "sha256=" + base64.RawURLEncoding.EncodeToString(sum[:])
}

func newTree(t *testing.T, entries ...tree.Entry) *tree.Tree {
	t.Helper()
	made, err := tree.New(entries)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// rootfs is a target with glibc of an age and more entries.
func rootfs(t *testing.T, age string, more ...tree.Entry) *tree.Tree {
	t.Helper()
	loader := library(t, "ld-linux-x86-64.so.2", "int loader;")
	return newTree(t, append(more,
		tree.Entry{Path: "lib", Kind: tree.Symlink, Link: "usr/lib"},
		tree.Entry{Path: "lib64", Kind: tree.Symlink, Link: "/usr/lib64"},
		fromFile(t, "usr/"+linkGnu+"libc.so.6", libc(t, age)),
		fromFile(t, "usr/lib64/ld-linux-x86-64.so.2", loader))...)
}

var today = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

// subject is a sound tree with a static interpreter, judged in two targets, with
// more entries. Every module of it has loaded.
func subject(t *testing.T, more ...tree.Entry) Subject {
	t.Helper()
	return subjectWith(t, append(more, fromFile(t, "bin/python3.13", interpreter(t)))...)
}

// sysconfigFile is where an interpreter tells what it hands to those who build for it.
const sysconfigFile = "lib/python3.13/_sysconfigdata__linux_x86_64-linux-gnu.py"

// sysconfigOf makes that file of pairs of names and values, beside what fingerprints need.
func sysconfigOf(pairs ...string) tree.Entry {
	var b strings.Builder
	b.WriteString("# generated\nbuild_time_vars = {'EXT_SUFFIX': '" + suffix + "',\n 'SOABI': 'cpython-313-x86_64-linux-gnu',\n 'SIZEOF_INT': 4,\n 'LIBPYTHON': ''")
	for i := 0; i < len(pairs); i += 2 {
		fmt.Fprintf(&b, ",\n '%s': '%s'", pairs[i], pairs[i+1])
	}
	b.WriteString("}\n")
	return tree.FileEntry(sysconfigFile, 0o644, []byte(b.String()))
}

func subjectWith(t *testing.T, entries ...tree.Entry) Subject {
	t.Helper()
	if !slices.ContainsFunc(entries, func(e tree.Entry) bool { return strings.Contains(e.Path, "_sysconfigdata_") }) {
		entries = append(entries, sysconfigOf("CXX", "g++", "LDSHARED", "gcc -shared"))
	}
	s := Subject{
		Tree:   newTree(t, entries...),
		Prefix: "/opt/web",
		Targets: []Target{
			{Name: "container", Root: rootfs(t, "mid")},
			{Name: "vm", Root: rootfs(t, "mid"), Glibc: "2.36", CPU: "x86-64-v2"},
		},
		Now: today,
	}
	s.Loads = loadReports(t, s)
	return s
}

// loadReports reports that everything loaded.
func loadReports(t *testing.T, s Subject) []LoadReport {
	t.Helper()
	list, err := Loadable(s.Tree, s.Interpreter)
	if err != nil {
		t.Fatal(err)
	}
	own, err := TopLevels(s.Tree, s.Interpreter)
	if err != nil {
		t.Fatal(err)
	}
	var reports []LoadReport
	for _, target := range s.Targets {
		for _, m := range list {
			r := LoadReport{Target: target.Name, Kind: KindImport, Module: m.Name, File: m.File, OK: true, Runtimes: 1}
			if m.Name == "" {
				r.Kind = KindDlopen
			}
			reports = append(reports, r)
		}
		for _, m := range own {
			reports = append(reports, LoadReport{Target: target.Name, Kind: KindImport, Module: m.Name, OK: true, Runtimes: 1, Own: true})
		}
	}
	return reports
}

func judge(t *testing.T, s Subject) Verdict {
	t.Helper()
	v, err := Judge(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	findAgain(t, s)
	return v
}

// findAgain inspects a tree that was judged as if it stood on its first target and nobody knew
// where it came from: what is told there must be of use to somebody without a recipe.
func findAgain(t *testing.T, s Subject) {
	t.Helper()
	home, err := findInstallation(s.Tree, s.Interpreter)
	if err != nil {
		t.Fatal(err)
	}
	prefix := strings.TrimPrefix(s.Prefix, "/")
	entries := s.Tree.Entries()
	moved := make([]tree.Entry, len(entries))
	for i, e := range entries {
		e.Path = path.Join(prefix, e.Path)
		moved[i] = e
	}
	p := Place{Tree: newTree(t, moved...), Interpreter: path.Join(prefix, home.exe), Site: path.Join(prefix, home.site), CPU: "x86-64-v2"}
	in, err := NewInspector(s.Targets[0].Root).Inspect(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	wantPlaceWords(t, in.Findings)
}

// recipeWords are what only a recipe, its lock and its targets have.
var recipeWords = regexp.MustCompile(`(?i)\b(recipes?|locks?|locked|host list|exceptions?|gate|targets?|target's|toolchain('s)?|the tree|tree's|packages\.NAME|carry|carried|floor|runtime\.\w+)\b`)

// placeTexts notes which checks told something of what was found.
var placeTexts sync.Map

// wantPlaceWords wants findings about what was found to say nothing that only who has a recipe
// could do.
func wantPlaceWords(t *testing.T, findings []Finding) {
	t.Helper()
	for _, f := range findings {
		placeTexts.Store(f.Check, true)
		if word := recipeWords.FindString(f.Remedy); word != "" {
			t.Errorf("%s: the remedy for what is found has the word %q: %s", f.Check, word, f.Remedy)
		}
		if f.Remedy == "" || f.Severity == Undecided && f.Needs == "" {
			t.Errorf("%s: nothing says what to do: %+v", f.Check, f)
		}
	}
}

// unheard lists the checks that are made of what is found, and told nothing in any test.
func unheard() error {
	for _, c := range checks {
		if _, ok := placeTexts.Load(c.name); !ok && c.needs&aBuild == 0 {
			return fmt.Errorf("no specimen that was inspected where it stands has a finding of %s", c.name)
		}
	}
	return nil
}

// found lists a verdict's findings as "SEVERITY CHECK FILE: FIELD VALUE", those
// with an exception with "excepted" as their severity.
func found(v Verdict) []string {
	list := []string{}
	for _, f := range v.Findings {
		word := string(f.Severity)
		if f.Excepted != "" {
			word = "excepted"
		}
		list = append(list, fmt.Sprintf("%s %s %s: %s %s", word, f.Check, f.File, f.Field, f.Value))
	}
	return list
}

// expect compares a verdict's findings with the wanted ones, which may end in
// "*" to match any rest.
func expect(t *testing.T, v Verdict, want ...string) {
	t.Helper()
	noteSpecimen(t, want)
	got := found(v)
	for i := range min(len(got), len(want)) {
		if prefix, ok := strings.CutSuffix(want[i], "*"); ok && strings.HasPrefix(got[i], prefix) {
			got[i] = want[i]
		}
	}
	if diff := cmp.Diff(append([]string{}, want...), got); diff != "" {
		t.Errorf("findings (-want +got):\n%s", diff)
	}
	refused := false
	for _, w := range want {
		refused = refused || strings.HasPrefix(w, string(Refuse))
	}
	if v.Passed == refused {
		t.Errorf("passed: %t with findings %q", v.Passed, got)
	}
}

// inspected lists what one check says of a place, as found does, with absolute paths.
func inspected(t *testing.T, check string, machine Root, p Place) []string {
	t.Helper()
	in, err := NewInspector(machine).Inspect(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	wantPlaceWords(t, in.Findings)
	list := []string{}
	for _, f := range in.Findings {
		if f.Check == check {
			list = append(list, fmt.Sprintf("%s %s /%s: %s %s", f.Severity, f.Check, f.File, f.Field, f.Value))
		}
	}
	return list
}

// stripSections zeroes e_shoff, e_shnum and e_shstrndx of an ELF file.
func stripSections(t *testing.T, e tree.Entry) tree.Entry {
	t.Helper()
	data, err := e.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	clear(data[40:48])
	clear(data[60:64])
	return e.Replace(data)
}

// in places a compiled file below a directory under its own name.
func in(t *testing.T, dir, file string) tree.Entry {
	t.Helper()
	return fromFile(t, path.Join(dir, filepath.Base(file)), file)
}

// days counts the days from one date to another.
func days(t *testing.T, from, to string) int {
	t.Helper()
	a, err := time.Parse(time.DateOnly, from)
	if err != nil {
		t.Fatal(err)
	}
	b, err := time.Parse(time.DateOnly, to)
	if err != nil {
		t.Fatal(err)
	}
	return int(b.Sub(a) / (24 * time.Hour))
}
