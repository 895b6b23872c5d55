package contents

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"slices"

	"ampoule/audit/elf"
	"ampoule/tree"
)

// executable matches the interpreter's file.
var executable = regexp.MustCompile(`^bin/python\d+\.\d+[a-z]*$`)

// symbols compares the symbols of ELF files that both have, differently, and of the
// interpreter, which has its version in its name.
func (d *Diff) symbols(a, b *tree.Tree) error {
	pairs := [][2]string{}
	for _, name := range d.Files.Changed {
		pairs = append(pairs, [2]string{name, name})
	}
	if from, to := interpreterOf(a), interpreterOf(b); from != "" && to != "" && from != to {
		pairs = append(pairs, [2]string{from, to})
	}
	for _, pair := range pairs {
		from, okFrom, err := symbolsOf(a, pair[0])
		if err != nil {
			return err
		}
		to, okTo, err := symbolsOf(b, pair[1])
		if err != nil {
			return err
		}
		if !okFrom || !okTo {
			continue
		}
		s := Symbols{
			File:         pair[1],
			DefinedAdded: without(to.defined, from.defined), DefinedRemoved: without(from.defined, to.defined),
			UndefinedAdded: without(to.undefined, from.undefined), UndefinedRemoved: without(from.undefined, to.undefined),
		}
		if len(s.DefinedAdded)+len(s.DefinedRemoved)+len(s.UndefinedAdded)+len(s.UndefinedRemoved) > 0 {
			d.Symbols = append(d.Symbols, s)
		}
	}
	slices.SortFunc(d.Symbols, func(x, y Symbols) int { return cmp.Compare(x.File, y.File) })
	return nil
}

// interpreterOf is the path of a tree's interpreter; empty without one.
func interpreterOf(t *tree.Tree) string {
	for _, e := range t.Sub("bin").Entries() {
		if p := path.Join("bin", e.Path); e.Kind == tree.File && executable.MatchString(p) {
			return p
		}
	}
	return ""
}

// names are the dynamic symbols of a file, sorted.
type names struct{ defined, undefined []string }

// symbolsOf reads the symbols of a file; it returns false for what is no sound ELF file of a
// kind that is read.
func symbolsOf(t *tree.Tree, name string) (n names, ok bool, err error) {
	e, found := t.Lookup(name)
	if !found || e.Kind != tree.File {
		return n, false, nil
	}
	r, err := e.Content.Open()
	if err != nil {
		return n, false, fmt.Errorf("opening %s: %w", name, err)
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	at, can := r.(io.ReaderAt)
	start := make([]byte, len(elf.Magic))
	if !can || e.Size < int64(len(start)) {
		return n, false, nil
	}
	if _, err := at.ReadAt(start, 0); err != nil || string(start) != elf.Magic {
		return n, false, err
	}
	f, err := elf.Read(at, e.Size)
	if errors.Is(err, elf.ErrFormat) || errors.Is(err, elf.ErrUnsupported) {
		return n, false, nil
	}
	if err != nil {
		return n, false, fmt.Errorf("reading %s: %w", name, err)
	}
	for _, s := range f.Symbols {
		text := s.Name
		if s.Version != "" {
			text += "@" + s.Version
		}
		switch {
		case s.Exported():
			n.defined = append(n.defined, text)
		case !s.Defined && s.Name != "":
			n.undefined = append(n.undefined, text)
		}
	}
	for _, list := range []*[]string{&n.defined, &n.undefined} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	return n, true, nil
}
