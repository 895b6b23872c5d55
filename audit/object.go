package audit

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unique"
	"unsafe"

	"ampoule/audit/elf"
	"ampoule/tree"
)

// IsELF tells by the magic number whether bytes start as ELF files do. Four are enough.
func IsELF(start []byte) bool { return bytes.HasPrefix(start, []byte(elf.Magic)) }

// object is what the checks know of one ELF file.
type object struct {
	entry tree.Entry
	// File has no symbols left: what is needed of them is below.
	*elf.File
	// inits are the exported PyInit_* and PyModExport_* functions (PEP 489, PEP 793).
	inits []string
	// runtime are the symbols that it exports of those that only a Python runtime has,
	// sorted.
	runtime []string
	// gives are the names of the symbols that others can bind to; wants those that it asks
	// others for and cannot do without, in the symbol table's order.
	gives nameSet
	wants []want
	// api are the names of CPython's API among those of gives; empty unless it has a runtime.
	api []symbol
	// asks says that it asks others for anything of Python's API, weakly or not.
	asks bool
	// unwinds is a symbol of exception handling that it asks others for; empty without one.
	unwinds string
	// fault says why the file could not be read as ELF; then File holds the header at most.
	fault error
}

// symbol is the name of a dynamic symbol. Equal names are one string in memory: all
// modules ask for the same ones.
type symbol = unique.Handle[string]

// want is a symbol that a file asks others for.
type want struct {
	symbol
	// version is the one that the file insists on; empty without one. The check versions
	// tells where the target lacks it.
	version symbol
}

// runtimeSymbols are of what a process must have only one of: the state of the runtime,
// its entry point, and the type of all types.
var runtimeSymbols = []string{"_PyRuntime", "Py_BytesMain", typeOfTypes}

const typeOfTypes = "PyType_Type"

// isExtension tells whether a file that is loaded by name is a Python module.
func (o *object) isExtension() bool { return len(o.inits) > 0 && !o.IsExecutable() }

// holdsRuntime tells whether a process that maps the file has a Python runtime in it.
func (o *object) holdsRuntime() bool { return slices.Contains(o.runtime, "_PyRuntime") }

// loads tells whether the loader would have anything to do with the file.
func (o *object) loads() bool {
	return o.fault == nil && (o.Type == elf.Executable || o.Type == elf.Shared)
}

// depends reports whether the file works or not by what an interpreter or a machine has: it
// needs a library, a symbol or a loader. A static executable needs none, and neither do data.
func (o *object) depends() bool {
	return o.loads() && (len(o.Needed) > 0 || len(o.wants) > 0 || o.Interp != "")
}

// readTree reads every ELF file of a tree, by path.
func readTree(t *tree.Tree) (map[string]*object, error) { return readEach(t, readObject) }

// readEach reads the files of a tree that may be ELF files by a function.
func readEach(t *tree.Tree, read func(tree.Entry) (*object, error)) (map[string]*object, error) {
	objects := map[string]*object{}
	for _, e := range t.Entries() {
		if e.Kind != tree.File || e.Size < int64(len(elf.Magic)) {
			continue
		}
		o, err := read(e)
		if err != nil {
			return nil, err
		}
		if o != nil {
			objects[e.Path] = o
		}
	}
	return objects, nil
}

// eachSymbol reads an ELF file's symbols again.
func eachSymbol(e tree.Entry, each func(elf.Symbol)) error {
	r, err := e.Content.Open()
	if err != nil {
		return fmt.Errorf("opening %s: %w", e.Path, err)
	}
	defer r.Close()
	at, err := readerAt(r, e)
	if err != nil || at == nil {
		return err
	}
	if _, err = elf.ReadEach(at, e.Size, each); err != nil {
		return fmt.Errorf("reading %s: %w", e.Path, err)
	}
	return nil
}

// readObject reads a file; nil means that it is not an ELF file. Unsound ELF
// files are objects with a fault; only input and output errors are errors.
func readObject(e tree.Entry) (*object, error) {
	if _, ok := e.Content.(noELF); ok {
		return nil, nil
	}
	r, err := e.Content.Open()
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", e.Path, err)
	}
	defer r.Close()
	at, err := readerAt(r, e)
	if err != nil || at == nil {
		return nil, err
	}
	o := &object{entry: e}
	d := distiller{object: o, versions: map[string]symbol{"": unique.Make("")}}
	o.File, err = elf.ReadEach(at, e.Size, d.add)
	if d.kept > maxKept {
		err = errManyNames
	}
	switch {
	case errors.Is(err, elf.ErrFormat), errors.Is(err, elf.ErrUnsupported):
		o.fault = err
	case err != nil:
		return nil, fmt.Errorf("reading %s: %w", e.Path, err)
	}
	d.finish()
	return o, nil
}

// readerAt gives random access to an ELF file's content; nil when it is none.
func readerAt(r io.Reader, e tree.Entry) (io.ReaderAt, error) {
	start := make([]byte, len(elf.Magic))
	if at, ok := r.(io.ReaderAt); ok {
		if _, err := at.ReadAt(start, 0); err != nil {
			return nil, fmt.Errorf("reading %s: %w", e.Path, err)
		}
		if !IsELF(start) {
			return nil, nil
		}
		return at, nil
	}
	if _, err := io.ReadFull(r, start); err != nil {
		return nil, fmt.Errorf("reading %s: %w", e.Path, err)
	}
	if !IsELF(start) {
		return nil, nil
	}
	rest, err := io.ReadAll(io.LimitReader(r, e.Size-int64(len(start))))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", e.Path, err)
	}
	return bytes.NewReader(append(start, rest...)), nil
}

// maxKept bounds the names that are kept of one file, in bytes: several times what the
// largest known files have.
const maxKept = 32 << 20

var errManyNames = fmt.Errorf("%w: it asks for symbols whose names take more than %d MiB", ErrTooMuch, maxKept>>20)

// distiller keeps of a file's symbols what the checks need.
type distiller struct {
	*object
	exported []nameHash
	// versions are those that symbols had.
	versions map[string]symbol
	// kept counts the bytes of names and their handles.
	kept int
}

// add looks at one symbol, whose texts are gone afterwards.
func (d *distiller) add(s elf.Symbol) {
	d.asks = d.asks || !s.Defined && isPython(s.Name)
	if d.unwinds == "" && !s.Defined && unwinds(s.Name) {
		d.unwinds = strings.Clone(s.Name)
	}
	switch {
	case s.Exported():
		d.export(s.Name)
	case !s.Defined && !s.Weak && !s.Local && d.keep(s.Name):
		version, ok := d.versions[s.Version]
		if !ok {
			version = unique.Make(s.Version)
			d.versions[version.Value()] = version
		}
		d.wants = append(d.wants, want{unique.Make(s.Name), version})
	}
}

// keep reports whether there is room for a name.
func (d *distiller) keep(name string) bool {
	d.kept += len(name) + int(unsafe.Sizeof(want{})) + perName
	return d.kept <= maxKept
}

// export notes a symbol that others can bind to.
func (d *distiller) export(name string) {
	d.exported = append(d.exported, hashName(name))
	if isPython(name) && d.keep(name) {
		d.api = append(d.api, unique.Make(name))
	}
	if strings.HasPrefix(name, "PyInit") || strings.HasPrefix(name, "PyModExport") {
		if _, _, ok := strings.Cut(name, "_"); ok && d.keep(name) {
			d.inits = append(d.inits, strings.Clone(name))
		}
	}
	if i := slices.Index(runtimeSymbols, name); i >= 0 {
		d.runtime = append(d.runtime, runtimeSymbols[i])
	}
}

// finish puts what was seen into the form that the checks want.
func (d *distiller) finish() {
	insists := map[symbol]bool{}
	for _, n := range d.Needs {
		for _, v := range n.Versions {
			if !v.Weak {
				insists[unique.Make(v.Name)] = true
			}
		}
	}
	for i, w := range d.wants {
		if !insists[w.version] {
			d.wants[i].version = d.versions[""]
		}
	}
	d.gives = newNameSet(d.exported)
	d.wants = slices.Clip(d.wants)
	slices.Sort(d.inits)
	slices.Sort(d.runtime)
	if !d.holdsRuntime() {
		d.api = nil
	}
}
