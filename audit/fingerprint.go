package audit

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"slices"
	"strings"

	"ampoule/audit/elf"
	"ampoule/audit/policy"
	"ampoule/tree"
)

// The ways in which an executable gets libpython.
const (
	LinkStatic = "static"
	LinkShared = "shared"
)

// Fingerprint is the interpreter's link contract, measured from its files and
// never copied from build options: two interpreters with one fingerprint take
// each other's extension modules.
type Fingerprint struct {
	// Implementation is "cpython": it is the only one that is measured.
	Implementation string `json:"implementation"`
	// Version is PY_VERSION of patchlevel.h: 3.13.5.
	Version string `json:"version"`
	// SOABI and ExtSuffix are sysconfig's: cpython-313-x86_64-linux-gnu, and the
	// same with a dot before and .so after.
	SOABI     string `json:"soabi"`
	ExtSuffix string `json:"ext_suffix"`
	// Suffixes are the ends of the names by which import finds extension modules, in the
	// order in which it tries them (importlib.machinery.EXTENSION_SUFFIXES).
	Suffixes []string `json:"suffixes"`
	// Debug and FreeThreaded say that it was configured --with-pydebug and --disable-gil:
	// either has an ABI of its own. EnableShared says what it was configured to be; Link
	// what it is.
	Debug        bool `json:"debug"`
	FreeThreaded bool `json:"free_threaded"`
	EnableShared bool `json:"enable_shared"`
	// Machine is the executable's: x86-64.
	Machine string `json:"machine"`
	// Link is [LinkStatic] when the executable defines the runtime itself,
	// [LinkShared] when it needs libpython.
	Link string `json:"link"`
	// Libpython is the tree's own shared library; nil without one.
	Libpython *Libpython `json:"libpython"`
	// Exports counts the Py* and _Py* symbols of what holds the runtime;
	// ExportsSHA256 is the hash of their names, sorted, a line each.
	Exports       int    `json:"exports"`
	ExportsSHA256 string `json:"exports_sha256"`
	// Glibc is the highest GLIBC_ version that the executable and libpython require;
	// Versions are the highest of every other kind: CXXABI, GCC, GLIBCXX.
	Glibc    string            `json:"glibc"`
	Versions map[string]string `json:"versions"`
	// Compiler is what the interpreter says it was compiled by: "GCC 12.2.0".
	Compiler string `json:"compiler"`
	// LinkFlags are the variables of sysconfig by which build systems link extension
	// modules, those that are not empty.
	LinkFlags map[string]string `json:"link_flags"`
}

// Libpython is a shared libpython.
type Libpython struct {
	Soname string `json:"soname"`
	SHA256 string `json:"sha256"`
}

// Digest is "sha256:" and the hash of the canonical JSON: the fields in their
// order, without white space.
func (f Fingerprint) Digest() string {
	data, err := json.Marshal(f)
	if err != nil {
		panic(err) // strings, numbers and a struct of strings always encode
	}
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// ErrMeasure is wrapped by errors about interpreters that contradict themselves,
// or lack a part that the fingerprint needs.
var ErrMeasure = errors.New("interpreter cannot be measured")

// Measure reads the link contract of the interpreter in a tree: of bin/pythonX.Y,
// lib/libpythonX.Y.so.1.0, patchlevel.h and _sysconfigdata.
func Measure(t *tree.Tree) (Fingerprint, error) {
	f := Fingerprint{}
	home, err := findInstallation(t, "")
	if err == nil {
		err = f.measure(t, home)
	}
	if err != nil {
		return Fingerprint{}, fmt.Errorf("measuring interpreter: %w", err)
	}
	return f, nil
}

func (f *Fingerprint) measure(t *tree.Tree, home installation) error {
	var err error
	if f.Version, err = readVersion(t, home); err != nil {
		return err
	}
	config, err := readSysconfig(t, home)
	if err != nil {
		return err
	}
	f.Implementation = "cpython"
	f.SOABI, f.ExtSuffix = config.vars["SOABI"], config.vars["EXT_SUFFIX"]
	f.Suffixes = config.suffixes()
	f.Debug, f.FreeThreaded, f.EnableShared = config.isSet("Py_DEBUG"), config.isSet("Py_GIL_DISABLED"), config.isSet("Py_ENABLE_SHARED")
	f.LinkFlags = map[string]string{}
	for _, name := range linkVars {
		if value := strings.Join(strings.Fields(config.vars[name]), " "); value != "" {
			f.LinkFlags[name] = value
		}
	}
	if f.SOABI == "" || f.ExtSuffix == "" {
		return fmt.Errorf("%w: %s: SOABI %q, EXT_SUFFIX %q", ErrMeasure, config.file, f.SOABI, f.ExtSuffix)
	}
	exe, err := readELF(t, home.exe)
	if err != nil {
		return err
	}
	f.Machine = exe.Machine.String()
	holder, files := exe, []*elf.File{exe}
	name := path.Join(path.Dir(home.lib), home.soname())
	if e, ok := t.Lookup(name); ok {
		lib, err := readELF(t, name)
		if err != nil {
			return err
		}
		f.Libpython = &Libpython{Soname: lib.Soname, SHA256: e.SHA256}
		files = append(files, lib)
	}
	needs := slices.ContainsFunc(exe.Needed, IsLibpython)
	switch defines := definesRuntime(exe); {
	case defines && !needs:
		f.Link = LinkStatic
	case needs && !defines && f.Libpython != nil:
		f.Link, holder = LinkShared, files[1]
	default:
		return fmt.Errorf("%w: %s defines _PyRuntime: %t, needs libpython: %t, %s is there: %t",
			ErrMeasure, home.exe, defines, needs, name, f.Libpython != nil)
	}
	f.countExports(holder)
	f.Versions = highest(files)
	f.Glibc = f.Versions["GLIBC"]
	delete(f.Versions, "GLIBC")
	inside := home.exe
	if holder != exe {
		inside = name
	}
	f.Compiler, err = readCompiler(t, inside)
	return err
}

// compiler matches what sys.version ends with (Py_GetCompiler).
var compiler = regexp.MustCompile(`\[((?:GCC|Clang) [^\]\x00-\x1f]{1,80})\]\x00`)

// readCompiler looks for what a file that holds the runtime was compiled by; empty when it
// does not tell.
func readCompiler(t *tree.Tree, file string) (string, error) {
	e, _ := t.Lookup(file)
	data, err := readRuntime(e)
	if err != nil {
		return "", err
	}
	if m := compiler.FindSubmatch(data); m != nil {
		return string(m[1]), nil
	}
	return "", nil
}

// readRuntime reads what is searched of the file that holds a runtime.
func readRuntime(e tree.Entry) (_ []byte, err error) {
	r, err := e.Content.Open()
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", e.Path, err)
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	data, err := io.ReadAll(io.LimitReader(r, maxRuntime))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", e.Path, err)
	}
	return data, nil
}

// maxRuntime bounds what is searched of the file that holds a runtime, in bytes.
const maxRuntime = 256 << 20

var versionLine = regexp.MustCompile(`(?m)^#\s*define\s+PY_VERSION\s+"([^"]+)"`)

// readVersion reads PY_VERSION.
func readVersion(t *tree.Tree, home installation) (string, error) {
	top := path.Dir(path.Dir(home.lib))
	for _, dir := range []string{path.Base(home.lib), "python" + home.version + home.flags, "python" + home.version} {
		e, ok := t.Resolve(path.Join(top, "include", dir, "patchlevel.h"))
		if !ok {
			continue
		}
		data, err := readText(e)
		if err != nil {
			return "", err
		}
		if m := versionLine.FindSubmatch(data); m != nil {
			return string(m[1]), nil
		}
	}
	return "", fmt.Errorf("%w: no patchlevel.h with PY_VERSION", ErrMeasure)
}

// maxText bounds the text files read here, in bytes.
const maxText = 4 << 20

func readText(e tree.Entry) ([]byte, error) {
	if e.Size > maxText {
		return nil, fmt.Errorf("%w: %s has %d bytes", ErrMeasure, e.Path, e.Size)
	}
	return e.ReadAll()
}

// readELF reads an ELF file with its symbols.
func readELF(t *tree.Tree, name string) (*elf.File, error) {
	e, ok := t.Lookup(name)
	if !ok || e.Kind != tree.File {
		return nil, fmt.Errorf("%w: %s is not a file", ErrMeasure, name)
	}
	r, err := e.Content.Open()
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", name, err)
	}
	defer r.Close()
	at, err := readerAt(r, e)
	if err != nil {
		return nil, err
	}
	if at == nil {
		return nil, fmt.Errorf("%w: %s is not an ELF file", ErrMeasure, name)
	}
	f, err := elf.Read(at, e.Size)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	return f, nil
}

func definesRuntime(f *elf.File) bool {
	return slices.ContainsFunc(f.Symbols, func(s elf.Symbol) bool { return s.Exported() && s.Name == "_PyRuntime" })
}

func (f *Fingerprint) countExports(holder *elf.File) {
	var names []string
	for _, s := range holder.Symbols {
		if s.Exported() && (strings.HasPrefix(s.Name, "Py") || strings.HasPrefix(s.Name, "_Py")) {
			names = append(names, s.Name)
		}
	}
	slices.Sort(names)
	names = slices.Compact(names)
	sum := sha256.Sum256([]byte(strings.Join(names, "\n") + "\n"))
	f.Exports, f.ExportsSHA256 = len(names), hex.EncodeToString(sum[:])
}

// versionName matches versions that are compared: GLIBC_2.36, CXXABI_1.3.13, GCC_3.0.
var versionName = regexp.MustCompile(`^([A-Z][A-Z0-9]*)_(\d+(?:\.\d+)*)$`)

// highest returns the highest version of each kind that files require: GLIBC 2.36.
func highest(files []*elf.File) map[string]string {
	found := map[string]string{}
	for _, f := range files {
		for _, n := range f.Needs {
			for _, v := range n.Versions {
				m := versionName.FindStringSubmatch(v.Name)
				if m != nil && slices.Compare(policy.Numbers(m[2]), policy.Numbers(found[m[1]])) > 0 {
					found[m[1]] = m[2]
				}
			}
		}
	}
	return found
}
