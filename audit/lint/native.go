package lint

import (
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"ampoule/audit/elf"
	"ampoule/packaging"
	"ampoule/tree"
)

// native is an ELF file of a wheel.
type native struct {
	*elf.File
	// member is its path in the wheel; place where it is installed, as far as that is known.
	member, place string
	// module is the name of the module whose start it exports; empty without one.
	module string
	libc   packaging.Libc
	// dirs are the directories of the wheel that its search paths name.
	dirs []string
	// from says which file of the wheel gives a needed library, by its soname; empty is none.
	from map[string]*native
}

// readNatives reads the wheel's ELF files that the loader would load.
func (x *exam) readNatives() error {
	for _, e := range x.files {
		if e.Size < int64(len(elf.Magic)) {
			continue
		}
		f, err := readELF(e)
		switch {
		case errors.Is(err, elf.ErrFormat), errors.Is(err, elf.ErrUnsupported):
			x.unsound = x.unsound || errors.Is(err, elf.ErrFormat)
			x.foreign = append(x.foreign, e.Path)
			if p, ok := x.inLibrary(e.Path); ok {
				x.extensions[p] = true // as far as its name tells
			}
			continue
		case err != nil:
			return err
		case f == nil:
			continue
		}
		x.add(e.Path, f)
	}
	x.resolve()
	return nil
}

// add notes an ELF file of the wheel.
func (x *exam) add(member string, f *elf.File) {
	n := &native{File: f, member: member, place: member, module: moduleOf(member, f), libc: libcOf(member, f), from: map[string]*native{}}
	if p, ok := x.inLibrary(member); ok {
		n.place = p
	}
	n.dirs = searched(path.Dir(n.place), f)
	x.natives = append(x.natives, n)
	x.extensions[n.place] = n.module != ""
}

// readELF reads a file; nil means that it is no ELF file that is loaded. One that is not
// sound gives an error that wraps elf.ErrFormat, one of 32 bits, or big-endian,
// elf.ErrUnsupported.
func readELF(e tree.Entry) (*elf.File, error) {
	r, err := e.Content.Open()
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", e.Path, err)
	}
	defer r.Close()
	at, ok := r.(io.ReaderAt)
	if !ok {
		return nil, nil // what holds ELF code is kept where it can be read anywhere
	}
	start := make([]byte, len(elf.Magic))
	if _, err := at.ReadAt(start, 0); err != nil {
		return nil, fmt.Errorf("reading %s: %w", e.Path, err)
	}
	if string(start) != elf.Magic {
		return nil, nil
	}
	f, err := elf.Read(at, e.Size)
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading %s: %w", e.Path, err)
	case f.Type != elf.Executable && f.Type != elf.Shared:
		return nil, nil
	}
	return f, nil
}

// moduleOf is the module that a file is, by the function that starts it: PyInit_NAME, of
// Python 2 initNAME, of Python 3.15 on PyModExport_NAME too.
func moduleOf(file string, f *elf.File) string {
	stem, _, _ := strings.Cut(path.Base(file), ".")
	for _, s := range f.Symbols {
		if !s.Exported() {
			continue
		}
		for _, prefix := range []string{"PyInit_", "PyModExport_"} {
			if name, ok := strings.CutPrefix(s.Name, prefix); ok {
				return name
			}
		}
		if s.Name == "init"+stem {
			return stem
		}
	}
	return ""
}

// libcOf is the C library that a file is for; empty where it does not say.
func libcOf(file string, f *elf.File) packaging.Libc {
	for _, name := range append([]string{path.Base(f.Interp)}, f.Needed...) {
		switch {
		case strings.HasPrefix(name, "ld-musl-"), strings.HasPrefix(name, "libc.musl-"), name == "libc.so":
			return packaging.Musl
		case strings.HasPrefix(name, "ld-linux"), name == "libc.so.6":
			return packaging.Glibc
		}
	}
	// Since Python 3.11 names of modules tell it, too.
	switch {
	case strings.HasSuffix(file, "-linux-musl.so"):
		return packaging.Musl
	case strings.HasSuffix(file, "-linux-gnu.so"):
		return packaging.Glibc
	}
	return ""
}

// resolve finds in the wheel the libraries that its files need, as the loader would from a
// module or a program: by the search paths of the one that needs a library, and of the one
// that was loaded first.
func (x *exam) resolve() {
	slices.SortFunc(x.natives, func(a, b *native) int { return strings.Compare(a.member, b.member) })
	s := &linker{places: map[string]*native{}, left: maxLookups}
	needed := map[string]bool{}
	for _, n := range x.natives {
		s.places[n.place] = n
		for _, soname := range n.Needed {
			needed[soname] = true
		}
	}
	for _, n := range x.natives {
		if n.module == "" && needed[path.Base(n.place)] {
			continue // it is loaded for others
		}
		s.load(n)
	}
	for _, n := range x.natives {
		s.find(n, nil)
	}
}

// maxLookups bounds how often a library is looked for, in all directories of a wheel
// together: far above what the largest wheels known take. What is not found then counts as a
// library that the wheel does not have.
const maxLookups = 1 << 23

// linker finds libraries among the files of a wheel.
type linker struct {
	// places are the files by where they are installed.
	places map[string]*native
	// left is how many lookups are left.
	left int
}

// load finds the libraries of a file that is loaded by itself, and those of the libraries.
func (s *linker) load(n *native) {
	seen, queue := map[*native]bool{n: true}, []*native{n}
	for len(queue) > 0 {
		for _, lib := range s.find(queue[0], n.dirs) {
			if !seen[lib] {
				seen[lib] = true
				queue = append(queue, lib)
			}
		}
		queue = queue[1:]
	}
}

// find finds the libraries that a file needs by its own search path and by another's.
func (s *linker) find(n *native, more []string) []*native {
	var found []*native
	for _, soname := range n.Needed {
		for _, dirs := range [][]string{more, n.dirs} {
			for _, dir := range dirs {
				if n.from[soname] != nil || s.left <= 0 {
					break
				}
				s.left--
				n.from[soname] = s.places[path.Join(dir, soname)]
			}
		}
		if lib := n.from[soname]; lib != nil {
			found = append(found, lib)
		}
	}
	return found
}

// searched are the directories of the wheel that the search paths of a file in a directory
// name, each once (ld.so(8)).
func searched(origin string, f *elf.File) []string {
	var dirs []string
	for _, list := range []*string{f.RPath, f.RunPath} {
		if list == nil {
			continue
		}
		for element := range strings.SplitSeq(*list, ":") {
			for _, token := range []string{"$ORIGIN", "${ORIGIN}"} {
				if rest, ok := strings.CutPrefix(element, token); ok && len(dirs) < maxDirs {
					dirs = append(dirs, path.Join(origin, rest))
				}
			}
		}
	}
	slices.Sort(dirs)
	return slices.Compact(dirs)
}

// maxDirs bounds the directories of a search path.
const maxDirs = 256
