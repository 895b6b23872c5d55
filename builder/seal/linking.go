package seal

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"ampoule/audit"
	"ampoule/audit/elf"
	"ampoule/store"
	"ampoule/tree"
)

// linking is what an ELF file says about other files.
type linking struct {
	needed []string
	// search is its RUNPATH, or else its RPATH.
	search string
	// opens says that it may load more, by name.
	opens bool
}

// linking reads an entry that is an ELF file with a dynamic section; of any other it gives
// nothing, and of one that cannot be read neither: the gate looks at those.
func (f *finisher) linking(e tree.Entry) (*linking, error) {
	r, err := e.Content.Open()
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", e.Path, err)
	}
	defer r.Close()
	start := make([]byte, min(e.Size, int64(len(elf.Magic))))
	if _, err := io.ReadFull(r, start); err != nil {
		return nil, fmt.Errorf("reading %s: %w", e.Path, err)
	}
	if !audit.IsELF(start) {
		return nil, nil
	}
	spilled, err := spill(f.stage.Store.Dir(store.Tmp), start, r)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", e.Path, err)
	}
	defer spilled.Close()
	read, err := elf.Read(spilled, e.Size)
	if err != nil {
		return nil, nil
	}
	l := &linking{needed: read.Needed, opens: slices.ContainsFunc(read.Symbols, func(s elf.Symbol) bool {
		return !s.Defined && (s.Name == "dlopen" || s.Name == "dlmopen")
	})}
	switch {
	case read.RunPath != nil:
		l.search = *read.RunPath
	case read.RPath != nil:
		l.search = *read.RPath
	}
	return l, nil
}

// spill writes a file that is gone when it is closed.
func spill(dir string, start []byte, rest io.Reader) (_ *os.File, err error) {
	f, err := os.CreateTemp(dir, "elf-*")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	if err := os.Remove(f.Name()); err != nil {
		return nil, err
	}
	if _, err := f.Write(start); err != nil {
		return nil, err
	}
	_, err = io.Copy(f, rest)
	return f, err
}
