package audit

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

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
	// runtime says that it defines _PyRuntime.
	runtime bool
	// unwinds is a symbol of exception handling that it asks others for; empty without one.
	unwinds string
	// fault says why the file could not be read as ELF; then File holds the header at most.
	fault error
}

// isExtension tells whether a file that is loaded by name is a Python module.
func (o *object) isExtension() bool { return len(o.inits) > 0 && !o.IsExecutable() }

// loads tells whether the loader would have anything to do with the file.
func (o *object) loads() bool {
	return o.fault == nil && (o.Type == elf.Executable || o.Type == elf.Shared)
}

// readTree reads every ELF file of a tree, by path.
func readTree(t *tree.Tree) (map[string]*object, error) {
	objects := map[string]*object{}
	for _, e := range t.Entries() {
		if e.Kind != tree.File || e.Size < int64(len(elf.Magic)) {
			continue
		}
		o, err := readObject(e)
		if err != nil {
			return nil, err
		}
		if o != nil {
			objects[e.Path] = o
		}
	}
	return objects, nil
}

// readObject reads a file; nil means that it is not an ELF file. Unsound ELF
// files are objects with a fault; only input and output errors are errors.
func readObject(e tree.Entry) (*object, error) {
	r, err := e.Content.Open()
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", e.Path, err)
	}
	defer r.Close()
	at, err := readerAt(r, e)
	if err != nil || at == nil {
		return nil, err
	}
	f, err := elf.Read(at, e.Size)
	o := &object{entry: e, File: f}
	switch {
	case errors.Is(err, elf.ErrFormat), errors.Is(err, elf.ErrUnsupported):
		o.fault = err
	case err != nil:
		return nil, fmt.Errorf("reading %s: %w", e.Path, err)
	}
	o.distil(f.Symbols)
	f.Symbols = nil
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

func (o *object) distil(symbols []elf.Symbol) {
	for _, s := range symbols {
		if o.unwinds == "" && !s.Defined && unwinds(s.Name) {
			o.unwinds = strings.Clone(s.Name)
		}
		if !s.Exported() {
			continue
		}
		if strings.HasPrefix(s.Name, "PyInit") || strings.HasPrefix(s.Name, "PyModExport") {
			if _, _, ok := strings.Cut(s.Name, "_"); ok {
				o.inits = append(o.inits, strings.Clone(s.Name))
			}
		}
		o.runtime = o.runtime || s.Name == "_PyRuntime"
	}
	slices.Sort(o.inits)
}
