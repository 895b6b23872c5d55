package audit

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
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
	// versioned are those of gives that have a version, or are hidden, with the index of how
	// in definitions, of which a file has few.
	versioned   map[nameHash]uint16
	definitions [][]definition
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
	// tells where the target lacks it. asked is the same, or one that it does not insist on.
	version, asked symbol
}

func (w want) String() string {
	if version := w.asked.Value(); version != "" {
		return w.Value() + "@" + version
	}
	return w.Value()
}

// definition is one way in which a file defines a symbol.
type definition struct {
	// version is empty without one.
	version string
	// hidden and first are of the index in DT_VERSYM: only who asks for the version gets it;
	// it is the first one of the file, or none.
	hidden, first bool
}

// binds reports whether a reference is bound to a definition in the file, as glibc's
// check_match decides.
func (o *object) binds(w want) bool { return o.bindsName(hashName(w.Value()), w) }

// bindsName is binds for whoever has the hash of the name.
func (o *object) bindsName(name nameHash, w want) bool {
	if !o.gives.has(name) {
		return false
	}
	set, ok := o.versioned[name]
	if !ok {
		return true
	}
	asked := w.asked.Value()
	return slices.ContainsFunc(o.definitions[set], func(d definition) bool {
		if asked == "" {
			return d.first || !d.hidden
		}
		return d.version == asked || d.version == "" && !d.hidden
	})
}

// runtimeSymbols are of what a process must have only one of: the state of the runtime,
// its entry point, and the type of all types.
var runtimeSymbols = []string{"_PyRuntime", "Py_BytesMain", typeOfTypes}

const typeOfTypes = "PyType_Type"

// IsExecutable tells executables from libraries, among these modules that name a loader as
// executables do.
func (o *object) IsExecutable() bool {
	if len(o.inits) > 0 && o.Type == elf.Shared && o.Flags1&elf.Flag1PIE == 0 && strings.Contains(path.Base(o.entry.Path), ".so") {
		return false
	}
	return o.File.IsExecutable()
}

// isExtension reports whether a file that is loaded by name is a Python module.
func (o *object) isExtension() bool { return len(o.inits) > 0 && !o.IsExecutable() }

// references reads what the loader looks for when it relocates the file.
func (o *object) references() (_ *elf.References, err error) {
	r, err := o.entry.Content.Open()
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", o.entry.Path, err)
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	at, err := readerAt(r, o.entry)
	if err != nil || at == nil {
		return &elf.References{}, err
	}
	refs, err := elf.ReadReferences(at, o.entry.Size)
	if err != nil && !errors.Is(err, elf.ErrFormat) {
		return nil, fmt.Errorf("reading %s: %w", o.entry.Path, err)
	}
	return refs, nil
}

// holdsRuntime reports whether a process that maps the file has a Python runtime in it.
func (o *object) holdsRuntime() bool { return slices.Contains(o.runtime, "_PyRuntime") }

// loads reports whether the loader would have anything to do with the file.
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
	d := distiller{object: o, versions: map[string]symbol{"": unique.Make("")}, defined: map[nameHash][]definition{}}
	o.File, err = elf.ReadEach(at, e.Size, d.add)
	if d.kept > maxNameBytes {
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

// maxNameBytes bounds the names that are kept of one file, in bytes: several times what the
// largest known files have.
const maxNameBytes = 32 << 20

var errManyNames = fmt.Errorf("%w: it asks for symbols whose names take more than %d MiB", ErrTooMuch, maxNameBytes>>20)

// distiller keeps of a file's symbols what the checks need.
type distiller struct {
	*object
	exported []nameHash
	// defined are the ways in which names with versions are, plain are the names without one.
	defined map[nameHash][]definition
	plain   []nameHash
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
		d.export(s)
	case !s.Defined && !s.Weak && !s.Local && d.keep(s.Name):
		version := d.version(s.Version)
		d.wants = append(d.wants, want{unique.Make(s.Name), version, version})
	}
}

// version is one that symbols have, held once.
func (d *distiller) version(text string) symbol {
	version, ok := d.versions[text]
	if !ok {
		version = unique.Make(text)
		d.versions[version.Value()] = version
	}
	return version
}

// keep reports whether there is room for a name.
func (d *distiller) keep(name string) bool {
	d.kept += len(name) + int(unsafe.Sizeof(want{})) + perName
	return d.kept <= maxNameBytes
}

// export notes a symbol that others can bind to.
func (d *distiller) export(s elf.Symbol) {
	name, hash := s.Name, hashName(s.Name)
	d.exported = append(d.exported, hash)
	if s.Version != "" || s.Hidden {
		d.defined[hash] = append(d.defined[hash], definition{d.version(s.Version).Value(), s.Hidden, s.Index <= firstVersion})
	} else {
		d.plain = append(d.plain, hash)
	}
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
	for _, name := range d.plain {
		if list, ok := d.defined[name]; ok {
			d.defined[name] = append(list, definition{first: true})
		}
	}
	d.define(d.defined)
}

// firstVersion is the index in DT_VERSYM of the first version that a file defines.
const firstVersion = 2

// define keeps how symbols are defined, equal ways once.
func (o *object) define(defined map[nameHash][]definition) {
	if len(defined) == 0 {
		return
	}
	known := map[string]uint16{}
	o.versioned = make(map[nameHash]uint16, len(defined))
	for name, list := range defined {
		key := ""
		for _, d := range list {
			key += fmt.Sprintf("%s %t %t ", d.version, d.hidden, d.first)
		}
		set, ok := known[key]
		if !ok {
			if len(o.definitions) > maxDefinitions {
				return // no file has that many; what is left out counts as without a version
			}
			set = uint16(len(o.definitions))
			known[key] = set
			o.definitions = append(o.definitions, list)
		}
		o.versioned[name] = set
	}
}

// maxDefinitions is the highest index of a way in which symbols are defined.
const maxDefinitions = 1<<16 - 2
